"""The losses that attacks climb: one number per sample, larger where the classifier is worse off."""

from __future__ import annotations

import difflib
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from attacks.base import AttackError

Loss = Callable[[Tensor, Tensor], Tensor]
"""Logits (N, C) and labels int64 (N,) to a loss per sample, float (N,)."""


def _others(logits: Tensor, labels: Tensor) -> Tensor:
    """The largest logit of another class: (N,)."""
    return logits.masked_fill(F.one_hot(labels, logits.shape[1]).bool(), -torch.inf).amax(1)


def cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """Cross-entropy (Madry et al. 2018, eq. 2.1)."""
    return F.cross_entropy(logits, labels, reduction="none")


def margin(logits: Tensor, labels: Tensor) -> Tensor:
    """Largest other logit minus the label's (Carlini and Wagner 2017, f6 with κ = ∞): positive when misclassified."""
    return _others(logits, labels) - logits.gather(1, labels[:, None]).squeeze(1)


def difference_of_logits_ratio(logits: Tensor, labels: Tensor) -> Tensor:
    """The margin over the gap between the first and the third logit (DLR; Croce and Hein 2020, eq. 6).

    It does not change when the logits are shifted or scaled. Raises AttackError below three classes, where there is no
    third logit.
    """
    if logits.shape[1] < 3:
        raise AttackError(f"loss dlr needs 3 classes, the classifier has {logits.shape[1]}; use ce or margin")
    ordered = logits.topk(3, dim=1).values
    return margin(logits, labels) / (ordered[:, 0] - ordered[:, 2] + 1e-12)


LOSSES: dict[str, Loss] = {"ce": cross_entropy, "margin": margin, "dlr": difference_of_logits_ratio}


def find_loss(name: str) -> Loss:
    """The loss of that name. Raises AttackError, with the nearest valid name, if there is none."""
    if name in LOSSES:
        return LOSSES[name]
    nearest = difflib.get_close_matches(str(name), LOSSES, n=1, cutoff=0.0)[0]
    raise AttackError(f"loss {name!r} is not known; did you mean {nearest}? valid: {', '.join(LOSSES)}")
