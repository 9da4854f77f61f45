"""Fingerprints of classifiers, and the names and ids of their evaluations."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn

from attacks.base import Attack
from attacks.parts.guard import equal_in_one_wait
from methods import backbones
from results.checkpoints import side_by_side, tensor_hash
from results.files import digest

MOST_BYTES = 2 * 2**30
"""Bytes of the copies that `Snapshots` keeps of classifiers that are not the last one."""
HOST = "cpu"
LARGE = 8 * 2**20
"""Bytes of tensors from which on several threads hash them."""
_WITHOUT_BIAS = re.compile(r"((?:Batch|Instance|Group|Layer)Norm\w*\([^\n]*?affine=(True|False))(?!, bias=)")
"""Norms as torch printed them before it told whether they have a bias: they had one wherever they had weights."""


def classifier_fingerprint(classifier: nn.Module) -> str:
    """SHA-256 over everything that decides what a classifier answers: 64 hex digits.

    That is its structure, the modes of its modules, every parameter and buffer, and also non-persistent buffers, plain tensors
    and numbers that modules hold as attributes, which a state dict leaves out.
    """
    parts = list(_parts(classifier))
    hashes = iter(_hashes([part for part in parts if isinstance(part, Tensor)]))
    return _digest(next(hashes) if isinstance(part, Tensor) else part for part in parts)


class Snapshot:
    """A classifier as it is now: all of what its fingerprint is of, with copies of its tensors where they are.

    It tells whether the classifier is still the same bit for bit, without reading a tensor to the host.
    """

    def __init__(self, classifier: nn.Module, like: Iterable[Snapshot] = ()) -> None:
        """like: earlier snapshots; tensors that are equal to theirs are neither copied nor hashed once more."""
        parts = list(_parts(classifier))
        known = _known(parts, [snapshot.parts for snapshot in like])
        self.parts: list[str | _Copy] = [
            (known.get(place) or _Copy(part)) if isinstance(part, Tensor) else part for place, part in enumerate(parts)
        ]

    @cached_property
    def fingerprint(self) -> str:
        """As `classifier_fingerprint` of the classifier as it was."""
        copies = [part for part in self.parts if isinstance(part, _Copy) and part.hash is None]
        for copy, found in zip(copies, _hashes([copy.tensor() for copy in copies]), strict=True):
            copy.hash = found
        return _digest(str(part.hash) if isinstance(part, _Copy) else part for part in self.parts)

    def is_of(self, classifier: nn.Module) -> bool:
        """True if the classifier's fingerprint is still this one's."""
        now = list(_parts(classifier))
        if len(now) != len(self.parts):
            return False
        left: list[tuple[Tensor, Tensor]] = []
        for before, part in zip(self.parts, now, strict=True):
            pair = before.pair(part) if isinstance(before, _Copy) else None
            if pair is not None:
                left.append(pair)
            elif not (before.equals(part) if isinstance(before, _Copy) else before == part):
                return False
        return _all_equal(left)

    def nbytes(self) -> int:
        """Bytes of its copies."""
        return sum(part.nbytes for part in self.parts if isinstance(part, _Copy))


class Snapshots:
    """Snapshots of the classifiers of one run, which have most of their tensors in common.

    A network that all tasks share is hashed once per turn, and a classifier that does not change once per run.
    """

    def __init__(self) -> None:
        self._last: Snapshot | None = None
        self._of_task: dict[int, Snapshot] = {}

    def take(self, classifier: nn.Module, task: int) -> Snapshot:
        """A snapshot of the classifier of a task, by its id."""
        known = [snapshot for snapshot in (self._of_task.get(task), self._last) if snapshot is not None]
        self._last = Snapshot(classifier, known)
        self._of_task.pop(task, None)
        if self._last.nbytes() + self._nbytes() <= MOST_BYTES:
            self._of_task[task] = self._last
        return self._last

    def _nbytes(self) -> int:
        copies = {id(part): part for snapshot in self._of_task.values() for part in snapshot.parts}
        return sum(part.nbytes for part in copies.values() if isinstance(part, _Copy))


class _Copy:
    """A tensor as it was: a copy on its device, or its hash alone if it is of a kind that cannot be compared by its bits.

    hash: as `tensor_hash` gives it; None until it is known.
    """

    def __init__(self, tensor: Tensor) -> None:
        with torch._C.DisableTorchFunctionSubclass():
            bits = _bits(tensor)
            self._bits = None if bits is None else bits.clone()
        self.dtype, self.nbytes = tensor.dtype, 0 if self._bits is None else self._bits.nbytes
        self.hash = tensor_hash(tensor) if self._bits is None else None

    def tensor(self) -> Tensor:
        """The tensor that was copied."""
        assert self._bits is not None
        return self._bits.view(self.dtype)

    def equals(self, now: object) -> bool:
        """True if it is a tensor of the same type, shape and bits, in the same place."""
        if not isinstance(now, Tensor):
            return False
        if (pair := self.pair(now)) is not None:
            return _all_equal([pair])
        with torch._C.DisableTorchFunctionSubclass():
            bits = _bits(now)
        return bits is None and self._bits is None and tensor_hash(now) == self.hash

    def pair(self, now: object) -> tuple[Tensor, Tensor] | None:
        """The bits of a tensor and of this one, if it is the same one if and only if these are equal."""
        if not isinstance(now, Tensor) or self._bits is None:
            return None
        with torch._C.DisableTorchFunctionSubclass():
            bits = _bits(now)
        if bits is None or (now.dtype, bits.shape, bits.device) != (self.dtype, self._bits.shape, self._bits.device):
            return None
        return bits, self._bits


def _known(parts: Sequence[str | Tensor], others: Sequence[Sequence[str | _Copy]]) -> dict[int, _Copy]:
    """The copies in earlier snapshots that tensors are equal to, by the place of the tensor.

    The host waits for a GPU once, and not for each tensor: while others use the GPU too, every wait lasts until it is this
    process's turn.
    """
    found: dict[int, _Copy] = {}
    asked: dict[tuple[int, int], tuple[int, _Copy, tuple[Tensor, Tensor]]] = {}
    for place, part in enumerate(parts):
        for copy in (other[place] for other in others if place < len(other)):
            if not isinstance(part, Tensor) or not isinstance(copy, _Copy) or place in found:
                continue
            pair = copy.pair(part)
            if pair is not None and pair[0].device.type != HOST:
                asked[place, id(copy)] = (place, copy, pair)
            elif copy.equals(part):
                found[place] = copy
    for (place, copy, _), same in zip(
        asked.values(), equal_in_one_wait([pair for *_, pair in asked.values()]), strict=True
    ):
        if same:
            found.setdefault(place, copy)
    return found


def _all_equal(pairs: Sequence[tuple[Tensor, Tensor]]) -> bool:
    """True if the tensors of every pair are equal. The host waits for a GPU once, and not for each pair."""
    with torch._C.DisableTorchFunctionSubclass():
        if any(not torch.equal(*pair) for pair in pairs if pair[0].device.type == HOST):
            return False
    return all(equal_in_one_wait([pair for pair in pairs if pair[0].device.type != HOST]))


def _bits(tensor: Tensor) -> Tensor | None:
    """A dense tensor as whole numbers of its bits, where it is; None for any other one.

    Floating-point numbers are no bits: zero equals minus zero, and NaN equals nothing.
    """
    # What a subclass says of itself is not asked; one that holds other tensors has no bits of its own.
    plain = type(tensor).__torch_dispatch__ is Tensor.__torch_dispatch__ and tensor.layout == torch.strided
    size = tensor.element_size() if plain and not tensor.is_meta and not tensor.is_quantized else 0
    if size not in _WORDS or tensor.is_conj() or tensor.is_neg():
        return None
    return tensor.detach().view(_WORDS[size])


_WORDS = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}


def _hashes(tensors: Sequence[Tensor]) -> list[str]:
    """The hash of each tensor. Large ones are read and hashed side by side, where the process may use several cores."""
    if sum(tensor.nbytes for tensor in tensors if tensor.layout == torch.strided) < LARGE:
        return [tensor_hash(tensor) for tensor in tensors]
    return side_by_side(tensor_hash, tensors)


def _digest(parts: Iterable[str]) -> str:
    state = hashlib.sha256()
    for part in parts:
        state.update(part.encode())
    return state.hexdigest()


def printed(classifier: nn.Module) -> str:
    """The structure of a classifier as text, the same under every version of torch that is supported."""
    return _WITHOUT_BIAS.sub(r"\1, bias=\2", repr(classifier))


def _parts(classifier: nn.Module) -> Iterator[str | Tensor]:
    """Everything that a fingerprint is of, in order: texts, and tensors in the places of their hashes."""
    yield printed(classifier)
    for name, module in classifier.named_modules():
        # A frozen script has no mode; it is the one in which it was frozen.
        yield f"{name} {getattr(module, 'training', False)}\n"
    stored = classifier.state_dict(keep_vars=True)
    for name, tensor in stored.items():
        yield f"{name} "
        yield from _stored(tensor)
        yield "\n"
    for name, buffer in classifier.named_buffers(remove_duplicate=False):
        if name not in stored:
            yield f"{name} not stored "
            yield buffer
            yield "\n"
    for name, module in classifier.named_modules():
        for key, value in sorted(_attributes(module).items()):
            yield f"{name} {key} "
            yield value if isinstance(value, Tensor) else repr(value)
            yield "\n"
    for name, module in classifier.named_modules():
        yield from _script(name, module)


def _script(name: str, module: nn.Module) -> Iterator[str | Tensor]:
    """The code of a graph, or of a scripted or traced module, which no `repr` tells, and the tensors written into it."""
    if isinstance(module, torch.fx.GraphModule):
        yield f"{name} {module.code}\n"
    if isinstance(module, torch.fx.GraphModule) or not isinstance(module, torch.jit.ScriptModule):
        return
    try:
        graph, (_, constants) = str(module.inlined_graph), module.code_with_constants
    except (RuntimeError, AttributeError):  # one without `forward`
        return
    # Torch numbers classes of one name as they come, so the same network gets other numbers in another process. Comments name
    # files and lines.
    code = re.sub(r"\.___torch_mangle_[0-9]+|#.*", "", graph)
    yield f"{name} {code} "
    for place, (key, value) in enumerate(sorted(constants.const_mapping.items())):
        yield f"{' ' if place else ''}{key} "
        yield value
    yield "\n"


def _stored(value: object) -> Iterator[str | Tensor]:
    """A value of a state dict. Quantised layers store types and tuples beside tensors."""
    if isinstance(value, Tensor):
        yield f"{value.requires_grad} "
        yield value.dequantize() if value.is_quantized else value
        yield f" {value.dtype}" if value.is_quantized else ""
    elif isinstance(value, tuple | list):
        yield "("
        for place, item in enumerate(value):
            yield ", " if place else ""
            yield from _stored(item)
        yield ")"
    else:
        yield repr(value)


def _attributes(module: nn.Module) -> dict[str, Any]:
    """Attributes of a module, by name, that decide what it computes but are neither in its state dict nor in its `repr`.

    Layers of torch print their numbers, and our backbones hold no number that changes what they compute: of these modules only
    tensors count. Of all other modules every plain tensor, number and text counts.
    """
    ours = type(module).__module__.startswith(("torch.", f"{backbones.__name__}."))
    kinds = (Tensor,) if ours else (Tensor, int, float, str)
    return {key: value for key, value in vars(module).items() if isinstance(value, kinds) and key != "training"}


def evaluation_fields(attack: Attack, test_fingerprint: str, seed: int, precision: str) -> Mapping[str, Any]:
    """The fields that identify an evaluation, apart from the classifier."""
    return {
        "attack": attack.specification(),
        "task": test_fingerprint,
        "seed": seed,
        "precision": precision,
    }


def evaluation_id(classifier: str, fields: Mapping[str, Any]) -> str:
    """SHA-256 over the classifier's fingerprint and the other fields of its evaluation: 64 hex digits."""
    return digest({"classifier": classifier, **fields})


def attack_name(attack: Attack, seed: int, precision: str = "fp32") -> str:
    """The attack's name in tables: its own, followed by the evaluation seed if that is not 0, and by the precision of its walk.

    precision: `fp32` is not named.
    """
    words = [attack.name, *([f"seed={seed}"] if seed else []), *([f"in={precision}"] if precision != "fp32" else [])]
    return " ".join(words)
