"""Reads a file of adversarial images that somebody else made. Nothing in it is trusted."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import numpy as np
import torch
from safetensors import safe_open
from torch import Tensor

from benchmark.errors import ConfigError

NOTES = ("name", "author", "attack", "classifier")
"""Texts that a file may say of itself: in a .npz each is an array of one string, in a .safetensors they are its metadata."""
EXPECTED = "expected `images` (N, C, H, W), uint8 or float in [0, 1], and `samples` (N,), whole numbers"
INTEGERS = (torch.int8, torch.uint8, torch.int16, torch.int32, torch.int64)
MOST_BYTES = 4 * 2**30
"""Bytes of an array, at most."""
LONGEST_NOTE = 500
"""Letters of a text that are kept."""


@dataclass(frozen=True, slots=True)
class SubmittedFile:
    """The content of a submitted file.

    images: float32 (N, C, H, W) in [0, 1].
    samples: int64 (N,), distinct; the sample id of each image in the task's test set.
    notes: the texts of `NOTES` that the file has.
    sha256: of the file's bytes, in hex.
    """

    images: Tensor
    samples: Tensor
    notes: dict[str, str]
    sha256: str


def read_submission(path: Path) -> SubmittedFile:
    """Read a file. Raises ConfigError, one line with the file's path, for all that is wrong whatever the data set is."""
    readers = {".npz": _from_npz, ".safetensors": _from_safetensors}
    if path.suffix not in readers:
        raise ConfigError(f"--submit {path}: a .npz or a .safetensors file is read")
    if not path.is_file():
        raise ConfigError(f"--submit {path}: no such file")
    try:
        tensors, notes = readers[path.suffix](path)
    # Damaged bytes can raise anything at all in the libraries that take them apart; each of them means the same to the user.
    except Exception as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise ConfigError(f"--submit {path}: not readable ({reason}); {EXPECTED}") from None
    for name in ("images", "samples"):
        if name not in tensors:
            held = ", ".join(sorted(tensors)) or "nothing"
            raise ConfigError(f"--submit {path}: holds no {name} (it holds {held}); {EXPECTED}")
    images, samples = _images(tensors["images"], path), _samples(tensors["samples"], path)
    if len(images) != len(samples):
        raise ConfigError(
            f"--submit {path}: {len(images)} images and {len(samples)} samples; one sample id for each image"
        )
    kept = {
        name: " ".join(str(notes[name]).split())[:LONGEST_NOTE] for name in NOTES if str(notes.get(name, "")).strip()
    }
    return SubmittedFile(images, samples, kept, sha256(path.read_bytes()).hexdigest())


def _from_npz(path: Path) -> tuple[dict[str, Tensor], Mapping[str, str]]:
    """The tensors `images` and `samples` of a .npz file, and its notes."""
    with zipfile.ZipFile(path) as archive:
        # A few bytes of an archive may stand for more than there is memory.
        if (size := max((entry.file_size for entry in archive.infolist()), default=0)) > MOST_BYTES:
            raise ValueError(
                f"an array of {size:,} bytes, more than the {MOST_BYTES:,} that are read; submit it in parts"
            )
    with np.load(path, allow_pickle=False) as file:
        arrays = {name: file[name] for name in ("images", "samples") if name in file.files}
        notes = {name: str(file[name].reshape(-1)[0]) for name in NOTES if name in file.files and file[name].size}
    return {name: torch.from_numpy(np.ascontiguousarray(array)) for name, array in arrays.items()}, notes


def _from_safetensors(path: Path) -> tuple[dict[str, Tensor], Mapping[str, str]]:
    """The tensors of a .safetensors file, and its notes."""
    with safe_open(path, framework="pt") as file:
        found = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - no mapping
        return found, dict(file.metadata() or {})


def _images(images: Tensor, path: Path) -> Tensor:
    """The images as float32 in [0, 1]. Raises ConfigError for another shape, type or range."""
    where = f"--submit {path}: images"
    if images.dim() != 4 or not images.numel():
        raise ConfigError(f"{where} of shape {tuple(images.shape)}; expected (N, C, H, W) with N of 1 or more")
    if images.dtype == torch.uint8:
        return images.float() / 255
    # Eight bits of floating point hold no number in [0, 1] as finely as an image needs.
    if not images.is_floating_point() or images.element_size() < 2:
        raise ConfigError(f"{where} are {str(images.dtype).removeprefix('torch.')}; expected uint8, or float in [0, 1]")
    broken = ~images.isfinite().flatten(1).all(1)
    if broken.any():
        raise ConfigError(
            f"{where} hold NaN or infinity ({int(broken.sum())} of {len(images)}); expected numbers in [0, 1]"
        )
    low, high = float(images.min()), float(images.max())
    if low < 0 or high > 1:
        raise ConfigError(
            f"{where} reach {low:.6f} .. {high:.6f}; floats are in [0, 1], whole numbers of 0..255 are uint8"
        )
    return images.float()


def _samples(samples: Tensor, path: Path) -> Tensor:
    """The sample ids as int64. Raises ConfigError for another shape or type, or an id that stands twice."""
    where = f"--submit {path}: samples"
    if samples.dtype not in INTEGERS or samples.dim() != 1:
        kind = str(samples.dtype).removeprefix("torch.")
        raise ConfigError(f"{where} are {kind} of shape {tuple(samples.shape)}; expected whole numbers (N,)")
    samples = samples.to(torch.int64)
    values, counts = samples.unique(return_counts=True)
    if (counts > 1).any():
        repeated = values[counts > 1].tolist()
        raise ConfigError(f"{where}: {repeated[0]} stands {int(counts.max())} times; one image for each sample")
    return samples
