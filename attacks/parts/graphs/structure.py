"""The structure of a classifier: all that it is but for the values of its tensors."""

from __future__ import annotations

from collections.abc import Hashable

import torch
from torch import nn

_OF_TORCH = set(vars(nn.Module()))
_HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")


def structure_of(module: nn.Module) -> Hashable | None:
    """All that a classifier is but for the values of its tensors: two with equal structures differ in these alone.

    None if it holds anything else than modules, tensors that it registered, and plain values, or has hooks.
    """
    parts: list[Hashable] = []
    for name, each in module.named_modules(remove_duplicate=False):
        own = {key: value for key, value in vars(each).items() if key not in _OF_TORCH}
        if any(vars(each)[hooks] for hooks in _HOOKS) or not all(map(_is_plain, own.values())):
            return None
        parts.append((name, type(each), each.training, repr(sorted(own.items(), key=lambda item: item[0]))))
    for name, tensor in (*module.named_parameters(), *module.named_buffers()):
        parts.append((name, tensor.shape, tensor.stride(), tensor.dtype, tensor.device, tensor.requires_grad))
    return tuple(parts)


def _is_plain(value: object) -> bool:
    if isinstance(value, list | tuple):
        return all(map(_is_plain, value))
    return value is None or type(value) in (bool, int, float, str, torch.dtype, torch.memory_format)
