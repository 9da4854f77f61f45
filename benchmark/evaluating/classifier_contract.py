"""The contract of a classifier, as far as it must hold before anything attacks it."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from attacks.base import AttackError
from attacks.victim import checked_logits

CONTRACT_IMAGES = 16
"""Images on which a classifier's contract is tried."""

PROBABILITY_TOLERANCE = 1e-3
"""Outputs count as probabilities if each image's sum is this close to 1."""


class BrokenContract(AttackError):
    """A classifier is not what the harness attacks. check: the name of the check whose verdict says so."""

    def __init__(self, check: str, message: str) -> None:
        super().__init__(message)
        self.check = check


def check_classifier(classifier: nn.Module, images: Tensor, classes: int) -> None:
    """Raise BrokenContract unless the classifier is in eval mode, frozen, and returns finite logits (N, classes).

    A classifier that writes to the images it is asked about is refused too: whoever asks it would go on with others.

    images: float (N, C, H, W) in [0, 1], a few of the task's.
    classes: number of classes among which it is to answer.
    """
    if any(getattr(module, "training", False) for module in classifier.modules()):
        raise BrokenContract("eval_mode", "the classifier is not in eval mode; return it after .eval()")
    if any(parameter.requires_grad for parameter in classifier.parameters()):
        raise BrokenContract("eval_mode", "the classifier is not frozen; return it after .requires_grad_(False)")
    asked = images.clone()
    with torch.no_grad():
        logits = checked_logits(classifier, asked, 0)
    if written_to(asked) or not torch.equal(asked, images):
        raise BrokenContract(
            "unchanged",
            "the classifier writes to the images it is asked about (an in-place layer comes first?); "
            "let it work on a copy, such as images.clone()",
        )
    if logits.shape[1] != classes:
        raise BrokenContract(
            "head_sliced",
            f"the classifier returns {logits.shape[1]} logits per image to answer among {classes} classes; "
            f"(N, {classes}) is right",
        )
    if not logits.isfinite().all():
        raise BrokenContract(
            "outputs_are_logits",
            "the classifier returns logits that are not finite (NaN or infinite) for unchanged images",
        )
    sums_to_one = (logits.sum(1) - 1).abs().amax() < PROBABILITY_TOLERANCE
    if logits.amin() >= 0 and sums_to_one:
        raise BrokenContract(
            "outputs_are_logits",
            "the classifier returns probabilities (they are not negative and sum to 1); return logits, without softmax",
        )


def written_to(copy: Tensor) -> bool:
    """True if a tensor that was cloned was written to since, with other values or not: autograd refuses that in a leaf."""
    return not copy.is_inference() and copy._version > 0
