"""The losses that attacks maximise: one number per sample, larger where the classifier is worse off."""

from __future__ import annotations

import difflib
from collections.abc import Callable

import torch.nn.functional as F
from torch import Tensor

from attacks.base import AttackError, other_logits

Loss = Callable[[Tensor, Tensor], Tensor]
"""Logits (N, C) and labels int64 (N,) to a loss per sample, float (N,)."""


def cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """Cross-entropy (Madry et al. 2018, eq. 2.1)."""
    return F.cross_entropy(logits, labels, reduction="none")


def margin(logits: Tensor, labels: Tensor) -> Tensor:
    """Largest other logit minus the label's (Carlini and Wagner 2017, f6 with κ = ∞): positive when misclassified."""
    return other_logits(logits, labels).amax(1) - logits.gather(1, labels[:, None]).squeeze(1)


def difference_of_logits_ratio(logits: Tensor, labels: Tensor) -> Tensor:
    """The margin over the gap between the first and the third logit (DLR; Croce and Hein 2020, eq. 6).

    It does not change when the logits are shifted or scaled. Raises AttackError below three classes: there is no third logit.
    """
    check_loss("dlr", 0, logits.shape[1])
    ordered = logits.topk(3, dim=1).values
    return margin(logits, labels) / (ordered[:, 0] - ordered[:, 2] + 1e-12)


def targeted_cross_entropy(logits: Tensor, labels: Tensor, targets: Tensor) -> Tensor:
    """Minus the cross-entropy of the target class (Kurakin et al. 2017, the iterative least-likely class method)."""
    return -F.cross_entropy(logits, targets, reduction="none")


def targeted_margin(logits: Tensor, labels: Tensor, targets: Tensor) -> Tensor:
    """The target's logit minus the label's: positive when the target wins over the label."""
    return logits.gather(1, targets[:, None]).squeeze(1) - logits.gather(1, labels[:, None]).squeeze(1)


def targeted_difference_of_logits_ratio(logits: Tensor, labels: Tensor, targets: Tensor) -> Tensor:
    """Targeted DLR (Croce and Hein 2020, eq. 7): (z_t − z_y) / (z_π1 − (z_π3 + z_π4) / 2).

    Raises AttackError below four classes: there is no fourth logit.
    """
    check_loss("dlr", 1, logits.shape[1])
    ordered = logits.topk(4, dim=1).values
    gap = ordered[:, 0] - (ordered[:, 2] + ordered[:, 3]) / 2
    return targeted_margin(logits, labels, targets) / (gap + 1e-12)


LOSSES: dict[str, Loss] = {"ce": cross_entropy, "margin": margin, "dlr": difference_of_logits_ratio}

TargetedLoss = Callable[[Tensor, Tensor, Tensor], Tensor]
"""Logits (N, C), labels and target classes int64 (N,) to a loss per sample, larger where the target is nearer."""

TARGETED: dict[str, TargetedLoss] = {
    "ce": targeted_cross_entropy,
    "margin": targeted_margin,
    "dlr": targeted_difference_of_logits_ratio,
}


def fewest_classes(loss: str, targets: int = 0) -> int:
    """The fewest classes that a classifier must have for this loss; targets: above 0 for the targeted loss."""
    return (4 if targets else 3) if loss == "dlr" else 2


def check_loss(loss: str, targets: int, classes: int) -> None:
    """Raise AttackError if a classifier of so many classes is too small for this loss."""
    if classes < fewest_classes(loss, targets):
        raise AttackError(
            f"{'targeted loss' if targets else 'loss'} {loss} needs {fewest_classes(loss, targets)} classes, "
            f"the classifier has {classes}; use ce or margin"
        )


def likeliest_others(logits: Tensor, labels: Tensor, count: int) -> Tensor:
    """The `count` classes of largest logit other than the label, likeliest first: int64 (N, min(count, C − 1))."""
    return other_logits(logits, labels).topk(min(count, logits.shape[1] - 1), dim=1).indices


def find_loss(name: str) -> Loss:
    """The loss of that name. Raises AttackError, with the nearest valid name, if there is none."""
    if name in LOSSES:
        return LOSSES[name]
    nearest = difflib.get_close_matches(str(name), LOSSES, n=1, cutoff=0.0)[0]
    raise AttackError(f"loss {name!r} is not known; did you mean {nearest}? valid: {', '.join(LOSSES)}")
