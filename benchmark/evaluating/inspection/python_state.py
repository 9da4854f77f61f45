"""A hash of all that a classifier holds in Python: two hashes are equal only if nothing that it could remember by has changed.

Parameters, buffers and plain tensors are in a classifier's fingerprint, which names evaluations. A classifier can remember in a
dict, in a closure or in a global of its file just as well. This hash is compared before and after an attack and stored nowhere.
"""

from __future__ import annotations

import ctypes
import functools
import hashlib
import io
import itertools
import os
import random
import sys
import types
import weakref
from collections import OrderedDict, deque
from collections.abc import Iterable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from benchmark.evaluating.inspection.code_files import package_folders
from results.checkpoints import tensor_hash

MOST_BYTES = 64 * 2**20
"""Bytes of arrays, tensors and texts that are read. Of what comes later, sizes and versions count alone."""
MOST_OBJECTS = 100_000
"""Objects that are looked into. Of what comes later, types and lengths count alone."""

OURS = {"attacks", "benchmark", "reports", "results", "scenarios"}
"""Packages of the benchmark whose classes and globals hold nothing of a classifier. Those of methods are looked into."""
OUR_METHODS = (
    "methods.backbones",
    "methods.base",
    "methods.settings",
    "methods.parts",
    "methods.training",
    "methods.strategies",
)
NO_STATE = {"_abc", "_frozen_importlib", "_frozen_importlib_external", "abc", "asyncio", "enum", "importlib", "inspect",
            "logging", "re", "typing", "unittest", "warnings"}  # fmt: skip
"""Modules of the standard library whose objects change by themselves, such as loggers, or hold nothing of a classifier."""
OF_FINGERPRINT = ("_parameters", "_buffers", "_modules", "training")
"""Attributes of a registered module that its fingerprint holds already."""


@dataclass(frozen=True, slots=True)
class PythonState:
    """A hash of what a classifier holds in Python.

    digest: SHA-256, 64 hex digits.
    whole: False if the classifier holds more than is looked into.
    """

    digest: str
    whole: bool


def python_state(classifier: nn.Module) -> PythonState:
    """Hash everything that a classifier's modules hold in Python.

    That is attributes, hooks, and whatever these refer to: containers, arrays, tensors, objects, closures, defaults and
    attributes of functions. Of classes and functions that come from files of neither torch, the standard library, installed
    packages nor the benchmark, class attributes and the file's globals count too. What C code keeps for itself is not seen, nor
    are files.
    """
    walk = _StateWalk()
    registered = list(classifier.modules())
    # In the fingerprint already.
    for tensor in itertools.chain(classifier.parameters(), classifier.buffers()):
        walk.know(tensor)
    for module in registered:
        walk.know(module)
    for module in registered:
        plain, others = [type(module).__qualname__], []
        for name, value in vars(module).items():
            if name in OF_FINGERPRINT:
                continue
            plain.append(name)
            # Most of a module are numbers and empty dicts of hooks.
            if value is None or type(value) in (bool, int, float, str):
                plain.append(repr(value))
            elif type(value) in (dict, OrderedDict) and not value:
                plain.append("{}")
            else:
                others.append(value)
        walk.emit(" ".join(plain))
        walk.follow([*others, type(module)])
    return PythonState(walk.hash.hexdigest(), walk.whole)


class _StateWalk:
    """A walk over objects, each once, in the order in which they refer to each other."""

    def __init__(self) -> None:
        self.hash = hashlib.sha256()
        self.bytes, self.objects, self.whole = MOST_BYTES, MOST_OBJECTS, True
        self._known: dict[int, int] = {}
        self._globals: dict[int, _Globals] = {}
        # So that no object takes the id of one that was there before.
        self._alive: list[Any] = []

    def know(self, value: Any) -> bool:
        """Note an object. Returns True if it was known before; then its number stands for it."""
        number = self._known.setdefault(id(value), len(self._known))
        if number < len(self._alive):
            self.emit(f"#{number}")
            return True
        self._alive.append(value)
        return False

    def emit(self, *words: object) -> None:
        for word in words:
            self.hash.update(str(word).encode(errors="replace"))
            self.hash.update(b"\0")

    def follow(self, values: Iterable[Any]) -> None:
        """Hash values and everything they refer to."""
        waiting = [iter(list(values))]
        while waiting:
            for value in waiting[-1]:
                waiting.append(iter(self._one(value)))
                break
            else:
                waiting.pop()

    def _one(self, value: Any) -> list[Any]:
        """Hash one object without what it refers to, and return that."""
        kind = type(value)
        if value is None or kind in (bool, int, float, complex):
            self.objects -= 1
            if self.objects > 0:
                self.emit(value)
            return []
        if kind in (str, bytes):
            self.objects -= 1
            self._read(value.encode(errors="replace") if kind is str else value)
            return []
        if self.know(value):
            return []
        self.emit(kind.__qualname__)
        if self.objects <= 0:
            self.whole = False
            self.emit(_length(value))
            return []
        self.objects -= 1
        return self._inside(value, kind)

    def _inside(self, value: Any, kind: type) -> list[Any]:
        if isinstance(value, Tensor):
            self._tensor(value)
            return []
        if isinstance(value, np.ndarray):
            return self._array(value)
        if isinstance(value, dict | list | tuple | set | frozenset | deque | Mapping):
            return self._container(value)
        if isinstance(value, type):
            return (
                list(_own(vars(value))) + list(value.__bases__)
                if _of_a_stranger(value.__module__)
                else self._named(value)
            )
        if isinstance(value, types.ModuleType):
            return list(_own(vars(value))) if _of_a_stranger(value.__name__) else self._named(value)
        found = self._callable(value)
        if found is not None:
            return found
        found = self._with_hidden_state(value)
        if found is not None:
            return found
        root = kind.__module__.partition(".")[0]
        if root in NO_STATE or (root == "torch" and not isinstance(value, nn.Module)):
            return []
        return [*_attributes(value), *([kind] if _of_a_stranger(kind.__module__) else [])]

    def _callable(self, value: Any) -> list[Any] | None:
        """The things that a function holds; None for anything else."""
        if isinstance(value, types.FunctionType):
            cells = [_content(cell) for cell in value.__closure__ or ()]
            held = [value.__defaults__, value.__kwdefaults__, *cells, *vars(value).values()]
            self.emit(value.__qualname__, id(value.__code__))
            strange = _of_a_stranger(str(value.__globals__.get("__name__")), value.__globals__.get("__file__"))
            return [*held, self._globals_of(value.__globals__)] if strange else held
        if isinstance(value, types.MethodType):
            return [value.__self__, value.__func__]
        if isinstance(value, functools.partial):
            return [value.func, value.args, value.keywords, *_attributes(value)]
        if isinstance(value, staticmethod | classmethod):
            return [value.__func__]
        if isinstance(value, property):
            return [value.fget, value.fset, value.fdel]
        if isinstance(value, functools._lru_cache_wrapper):
            # Hits are no memory.
            info = value.cache_info()
            self.emit(info.misses, info.currsize)
            return [value.__wrapped__]
        if isinstance(value, types.BuiltinFunctionType):
            # Such as the `append` of a list.
            return [] if isinstance(value.__self__, types.ModuleType | type) else [value.__self__]
        return None

    def _with_hidden_state(self, value: Any) -> list[Any] | None:
        """The things that an object holds elsewhere than in its attributes; None for an object of another kind."""
        if isinstance(value, _Globals):
            return list(_own(value.names))
        if isinstance(value, torch.Generator):
            return [value.get_state()]
        if isinstance(value, random.Random):
            return [value.getstate(), *_attributes(value)]
        if isinstance(value, np.random.Generator):
            return [value.bit_generator.state]
        if isinstance(value, np.random.RandomState):
            return [value.get_state(legacy=False)]
        if isinstance(value, ContextVar):
            return [value.get(None)]
        if isinstance(value, weakref.ReferenceType):
            return [value()]
        if isinstance(value, types.CellType):
            return [_content(value)]
        if isinstance(value, io.BytesIO | io.StringIO):
            return [value.getvalue()]
        if isinstance(value, itertools.count):
            return [repr(value)]
        if isinstance(value, types.GeneratorType):
            frame = value.gi_frame
            return [] if frame is None else [frame.f_lasti, dict(frame.f_locals)]
        if isinstance(value, bytearray | memoryview | ctypes.Array) or type(value).__module__ in ("array", "mmap"):
            self._read(memoryview(value).cast("B") if not isinstance(value, ctypes.Array) else bytes(value))
            return []
        return None

    def _globals_of(self, names: dict[str, Any]) -> _Globals:
        return self._globals.setdefault(id(names), _Globals(names))

    def _named(self, value: Any) -> list[Any]:
        self.emit(value.__name__)
        return []

    def _container(self, value: Any) -> list[Any]:
        self.emit(len(value))
        # A list of millions is not even copied.
        first = itertools.islice(value.items() if isinstance(value, Mapping) else value, max(0, self.objects))
        inside = [part for item in first for part in item] if isinstance(value, Mapping) else list(first)
        self.whole &= len(value) <= self.objects
        # A subclass may hold more; the containers themselves have no attributes.
        return inside + (_attributes(value) if hasattr(value, "__dict__") else [])

    def _tensor(self, value: Tensor) -> None:
        try:
            # A lazy layer's parameter has no shape yet, and says so by an error.
            self.emit(value.shape, value.dtype)
            if self._take(value.nbytes):
                self.emit(tensor_hash(value.detach()))
            else:
                # Counts what was written in place.
                self.emit(value.data_ptr(), value._version)
        except (RuntimeError, NotImplementedError, AttributeError, ValueError, TypeError):
            self.emit("unreadable")

    def _array(self, value: np.ndarray) -> list[Any]:
        self.emit(value.shape, value.dtype)
        if value.dtype.hasobject:
            return value.ravel().tolist()
        if self._take(value.nbytes):
            self.hash.update(np.ascontiguousarray(value).tobytes())
        else:
            self.emit(value.ctypes.data)
        return []

    def _read(self, value: bytes | memoryview) -> None:
        self.emit(len(value))
        if self._take(len(value)):
            self.hash.update(value)

    def _take(self, size: int) -> bool:
        """True if so many bytes may still be read."""
        if size > self.bytes:
            self.whole = False
            return False
        self.bytes -= size
        return True


class _Globals:
    """The globals of a file, as an object that is met once."""

    def __init__(self, names: dict[str, Any]) -> None:
        self.names = names


def _own(names: Mapping[str, Any]) -> Iterable[Any]:
    """Names and values of a class or a file, without those that Python makes."""
    for name, value in list(names.items()):
        if not (name.startswith("__") and name.endswith("__")) or isinstance(value, types.FunctionType):
            yield name
            yield value


def _attributes(value: Any) -> list[Any]:
    """Names and values of an object's attributes, in its dict and in slots."""
    found: list[Any] = []
    held = getattr(value, "__dict__", None)
    if isinstance(held, dict):
        found += [part for item in held.items() for part in item]
    for cls in type(value).__mro__:
        slots = vars(cls).get("__slots__", ())
        for name in (slots,) if isinstance(slots, str) else slots:
            if name not in ("__dict__", "__weakref__"):
                hidden = (
                    f"_{cls.__name__.lstrip('_')}{name}" if name.startswith("__") and not name.endswith("__") else name
                )
                found += [name, getattr(value, hidden, None)]
    return found


def _content(cell: types.CellType) -> Any:
    try:
        return cell.cell_contents
    except ValueError:  # an empty cell
        return None


def _length(value: Any) -> object:
    """The size of a value, as far as that is told without looking inside."""
    try:
        if isinstance(value, Tensor):
            return value.shape, value._version if not value.is_inference() else 0
        return len(value)
    except Exception:
        return ""


def _of_a_stranger(name: str, file: str | None = None) -> bool:
    """True if a module is somebody's own file. name: of the module; file: its path, if `sys.modules` may not know it."""
    file = file or getattr(sys.modules.get(name), "__file__", None)
    return _strange(name, file)


@functools.lru_cache(maxsize=4096)
def _strange(name: str, file: str | None) -> bool:
    root = name.partition(".")[0]
    if root in OURS or (root in sys.stdlib_module_names and root != "__main__") or name.startswith(OUR_METHODS):
        return False
    if file is None:
        return root in ("__main__", "None")
    return not os.path.realpath(file).startswith(package_folders()) and "site-packages" not in file
