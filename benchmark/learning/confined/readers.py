"""Readers in C that tell Python's audit hooks nothing: wrapped, so that they ask as `open` does."""

from __future__ import annotations

import functools
import importlib
import sys
from collections.abc import Callable
from typing import Any

_READERS = (
    ("torch", "from_file"),
    ("torch.jit", "load"),
    ("torch._C", "import_ir_module"),
    ("torch._C", "PyTorchFileReader"),
    ("safetensors", "safe_open"),
    ("safetensors.torch", "safe_open"),
    ("safetensors.torch", "load_file"),
    ("safetensors.numpy", "load_file"),
    ("pyarrow", "memory_map"),
    ("pyarrow", "OSFile"),
    ("pyarrow", "input_stream"),
    ("pyarrow.parquet", "read_table"),
    ("pyarrow.parquet", "ParquetFile"),
    ("pyarrow.csv", "read_csv"),
    ("pyarrow.feather", "read_table"),
    ("pyarrow.fs", "LocalFileSystem"),
    ("pandas", "read_parquet"),
    ("torchvision.io", "read_file"),
    ("torchvision.io", "read_image"),
    ("cv2", "imread"),
    ("h5py", "File"),
    ("_posixshmem", "shm_open"),
)
"""Modules and their names that read a file, or memory that processes share, by its path: the first argument."""

_NEEDED = ("safetensors.torch", "_posixshmem")
"""Modules that are imported if they are not there yet, so that nobody imports them unwrapped."""


def wrap() -> None:
    """Wrap every known reader whose module is imported. Modules that a plug-in imports later are left as they are."""
    for name in _NEEDED:
        try:
            importlib.import_module(name)
        except ImportError:
            continue
    for module_name, name in _READERS:
        module = sys.modules.get(module_name)
        reader = getattr(module, name, None)
        if reader is not None:
            setattr(module, name, _asking(reader, f"{module_name}.{name}"))


def _asking(reader: Callable[..., Any], words: str) -> Callable[..., Any]:
    @functools.wraps(reader, updated=())
    def asked(*arguments: Any, **named: Any) -> Any:
        place = arguments[0] if arguments else next(iter(named.values()), words)
        # Streams in memory are read by the same functions; these are no places.
        if isinstance(place, str | bytes) or hasattr(place, "__fspath__"):
            sys.audit("open", place, "r", 0)
        return reader(*arguments, **named)

    return asked
