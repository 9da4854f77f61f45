"""Fingerprints of classifiers, and the names and ids of their evaluations."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from attacks.base import Attack
from methods import backbones
from results.checkpoints import tensor_hash
from results.files import digest


def classifier_fingerprint(classifier: nn.Module) -> str:
    """SHA-256 over everything that decides what a classifier answers: 64 hex digits.

    That is its structure, the modes of its modules, every parameter and buffer, and also non-persistent buffers, plain tensors
    and numbers that modules hold as attributes, which a state dict leaves out.
    """
    state = hashlib.sha256(repr(classifier).encode())
    for name, module in classifier.named_modules():
        # A frozen script has no mode; it is the one in which it was frozen.
        state.update(f"{name} {getattr(module, 'training', False)}\n".encode())
    stored = classifier.state_dict(keep_vars=True)
    for name, tensor in stored.items():
        state.update(f"{name} {_stored(tensor)}\n".encode())
    for name, buffer in classifier.named_buffers(remove_duplicate=False):
        if name not in stored:
            state.update(f"{name} not stored {tensor_hash(buffer)}\n".encode())
    for name, module in classifier.named_modules():
        for key, value in sorted(_attributes(module).items()):
            what = tensor_hash(value) if isinstance(value, Tensor) else repr(value)
            state.update(f"{name} {key} {what}\n".encode())
    for name, module in classifier.named_modules():
        state.update(_script(name, module))
    return state.hexdigest()


def _script(name: str, module: nn.Module) -> bytes:
    """The code of a graph, or of a scripted or traced module, which no `repr` tells, and the tensors written into it."""
    if isinstance(module, torch.fx.GraphModule):
        return f"{name} {module.code}\n".encode()
    if not isinstance(module, torch.jit.ScriptModule):
        return b""
    try:
        graph, (_, constants) = str(module.inlined_graph), module.code_with_constants
    except (RuntimeError, AttributeError):  # one without `forward`
        return b""
    tensors = " ".join(f"{key} {tensor_hash(value)}" for key, value in sorted(constants.const_mapping.items()))
    # Torch numbers classes of one name as they come, so the same network gets other numbers in another process. Comments name
    # files and lines.
    code = re.sub(r"\.___torch_mangle_[0-9]+|#.*", "", graph)
    return f"{name} {code} {tensors}\n".encode()


def _stored(value: object) -> str:
    """A value of a state dict as text. Quantised layers store types and tuples beside tensors."""
    if isinstance(value, Tensor):
        kind = f" {value.dtype}" if value.is_quantized else ""
        return f"{value.requires_grad} {tensor_hash(value.dequantize() if value.is_quantized else value)}{kind}"
    if isinstance(value, tuple | list):
        return f"({', '.join(map(_stored, value))})"
    return repr(value)


def _attributes(module: nn.Module) -> dict[str, Any]:
    """Attributes of a module, by name, that decide what it computes but are neither in its state dict nor in its `repr`.

    Layers of torch print their numbers, and our backbones hold no number that changes what they compute: of these modules only
    tensors count. Of all other modules every plain tensor, number and text counts.
    """
    ours = type(module).__module__.startswith("torch.") or type(module).__module__ == backbones.__name__
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


def attack_name(attack: Attack, seed: int) -> str:
    """The attack's name in tables: its own, followed by the evaluation seed if that is not 0."""
    return attack.name if seed == 0 else f"{attack.name} seed={seed}"
