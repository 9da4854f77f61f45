"""The weights that a file loads into its network, watched: those that do not fit, and those that were never loaded."""

from __future__ import annotations

import functools
import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from results.files import in_place_of_data

SHOWN = 3
"""Names that a message shows of a long list."""

COUNTERS = "num_batches_tracked"
"""A buffer of batch norms that changes no answer, and that old files do not hold."""

KNOWN_PREFIXES = {"module.": "nn.DataParallel", "_orig_mod.": "torch.compile"}
"""Prefixes of keys, and what puts them there."""


@dataclass
class Loading:
    """The calls of `load_state_dict` and `torch.load` while a network was made.

    refused: errors of calls that failed, and a line on each.
    ignored: keys of states that no weight was found for, by the module that was given them.
    first: weights that no state held so far, by id: the weight, its name, and the values it kept.
    """

    refused: list[tuple[BaseException, str]] = field(default_factory=list)
    ignored: list[tuple[nn.Module, list[str]]] = field(default_factory=list)
    first: dict[int, tuple[Tensor, str, Tensor]] = field(default_factory=dict)
    _loaded: dict[int, Tensor] = field(default_factory=dict)

    def line_on(self, error: BaseException | None) -> str | None:
        """The line on a call that led to an error; None if none did."""
        while error is not None:
            for refused, line in self.refused:
                if refused is error:
                    return line
            error = error.__cause__ or error.__context__
        return None

    def warnings(self, module: nn.Module) -> list[str]:
        """A line if weights of the module were never loaded, or others were left out: empty or one."""
        own = {id(tensor) for tensor in chain(module.parameters(), module.buffers())}
        parts = {id(part) for part in module.modules()}
        kept = [name for key, (tensor, name, then) in self.first.items() if key in own and _alike(tensor, then)]
        ignored = [key for part, keys in self.ignored if id(part) in parts for key in keys]
        words = [f"kept the first values of {_some(kept)}"] if kept else []
        words += [f"found no place for {_some(ignored)}"] if ignored else []
        return [f"weights: load_state_dict(strict=False) {' and '.join(words)}"] if words else []

    def note(self, module: nn.Module, state: Mapping[str, Any]) -> None:
        """Take note of a state that was loaded."""
        own = module.state_dict(keep_vars=True)
        for name, tensor in own.items():
            if not isinstance(tensor, Tensor):
                continue
            if name in state or name.endswith(COUNTERS):
                self.first.pop(id(tensor), None)
                self._loaded[id(tensor)] = tensor
            elif id(tensor) not in self._loaded:
                self.first[id(tensor)] = tensor, name, tensor.detach().clone()
        self.ignored.append((module, [str(key) for key in state if key not in own]))


@contextmanager
def watched_loading() -> Iterator[Loading]:
    """Watch every `load_state_dict` and `torch.load` inside."""
    loading, original, read = Loading(), nn.Module.load_state_dict, torch.load

    @functools.wraps(read)
    def watched_read(file: Any, *more: Any, **options: Any) -> Any:
        try:
            return read(file, *more, **options)
        except Exception as error:
            if isinstance(file, str | os.PathLike) and (line := in_place_of_data(Path(file))):
                loading.refused.append((error, line))
            raise

    @functools.wraps(original)
    def watched(self: nn.Module, state_dict: Mapping[str, Any], *more: Any, **options: Any) -> Any:
        try:
            result = original(self, state_dict, *more, **options)
        except Exception as error:
            loading.refused.append((error, misfit(self, state_dict, error)))
            raise
        loading.note(self, state_dict)
        return result

    nn.Module.load_state_dict = watched  # type: ignore[method-assign]
    torch.load = watched_read
    try:
        yield loading
    finally:
        torch.load = read
        nn.Module.load_state_dict = original  # type: ignore[method-assign]


def misfit(module: nn.Module, state: object, error: BaseException) -> str:
    """One line on a state that a module refused: what is missing, what is too much, and what would be right."""
    if not isinstance(state, Mapping):
        more = "; load its state_dict()" if isinstance(state, nn.Module) else ""
        return f"load_state_dict was given a {type(state).__name__}, expected a state dict{more}"
    weights = module.state_dict()
    own = set(weights)
    missing, ignored = sorted(own - set(state)), [str(key) for key in state if key not in own]
    parts = [f"missing {_some(missing)}"] if missing else []
    parts += [f"unexpected {_some(ignored)}"] if ignored else []
    sizes = [
        f"{name} is {tuple(state[name].shape)} in the state and {tuple(weight.shape)} in the network"
        for name, weight in weights.items()
        if isinstance(weight, Tensor) and isinstance(state.get(name), Tensor) and state[name].shape != weight.shape
    ]
    parts += [f"of another shape {_some(sizes)}"] if sizes else []
    return f"its weights do not fit: {', '.join(parts) or ' '.join(str(error).split())}{_mend(own, state)}"


def _mend(own: set[str], state: Mapping[str, Any]) -> str:
    """The end of a line that says what would be right; empty if nothing tells."""
    for key, value in state.items():
        if isinstance(value, Mapping) and (set(value) & own or _prefix(own, list(value))):
            return f"; its weights lie under {key!r}: load_state_dict(state[{key!r}]){_mend(own, value)}"
        if isinstance(value, nn.Module):
            return f"; {key!r} is a module: load_state_dict(state[{key!r}].state_dict())"
    keys = [str(key) for key in state]
    prefix = _prefix(own, keys)
    if prefix:
        by = f" (of {KNOWN_PREFIXES[prefix]})" if prefix in KNOWN_PREFIXES else ""
        return f"; its keys begin with {prefix!r}{by}: strip it with key.removeprefix({prefix!r})"
    prefix = _prefix(set(keys), sorted(own))
    return f"; load it into the module inside, its .{prefix.rstrip('.')}" if prefix else ""


def _prefix(own: set[str], keys: Sequence[object]) -> str:
    """The prefix without which most keys are among `own`; empty if there is none."""
    found: Counter[str] = Counter()
    for key in map(str, keys):
        for end in (index + 1 for index, letter in enumerate(key) if letter == "."):
            if key[end:] in own:
                found[key[:end]] += 1
    (best, count), *_ = found.most_common(1) or [("", 0)]
    return best if count > sum(str(key) in own for key in keys) else ""


def _alike(now: Tensor, then: Tensor) -> bool:
    """True if a weight still has its values, as far as another type of numbers can hold them."""
    if now.is_meta or then.is_meta or now.shape != then.shape:
        return False
    now, then = now.detach().cpu().double(), then.cpu().double()
    return torch.allclose(now, then, rtol=0.01, atol=1e-6, equal_nan=True)


def _some(names: Sequence[str]) -> str:
    """The number of names and the first of them, such as `62 (a, b, c, ...)`."""
    shown = ", ".join(names[:SHOWN]) + (", ..." if len(names) > SHOWN else "")
    return f"{len(names)} ({shown})"
