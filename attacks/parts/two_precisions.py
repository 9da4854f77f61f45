"""A classifier in two precisions: attacks walk on a fast one that rounds, and the exact one says what they found."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn


class TwoPrecisions(nn.Module):
    """An exact classifier that carries a fast one with it. Asked as any classifier is, the exact one answers.

    So an attack that knows nothing of precisions is as exact as ever. One that does takes its gradients where `walking` says, and
    counts an image as broken only if the exact classifier is wrong on it.

    exact: images float32 or float64 (N, C, H, W) in [0, 1] → logits float (N, C).
    fast: the same function up to rounding; answers in the images' dtype.
    tf32: True if the fast one computes in TF32. That is a switch of the whole process, which is thrown around it.
    """

    def __init__(self, exact: nn.Module, fast: nn.Module, tf32: bool = False) -> None:
        super().__init__()
        self.exact, self.tf32 = exact, tf32
        # In a tuple: modes, parameters and state of this module are those of the exact classifier alone.
        self._fast = (fast,)
        self.training = exact.training

    @property
    def fast(self) -> nn.Module:
        """The fast classifier."""
        return self._fast[0]

    def forward(self, images: Tensor) -> Tensor:
        if not self.tf32:
            return self.exact(images)  # type: ignore[no-any-return]
        with tf32_allowed(False):
            return self.exact(images)  # type: ignore[no-any-return]


@contextmanager
def walking(classifier: nn.Module) -> Iterator[tuple[nn.Module, nn.Module | None]]:
    """The classifier to walk on, and the judge of what is found there; None: there is one precision, and no judge is needed."""
    if not isinstance(classifier, TwoPrecisions):
        yield classifier, None
    elif not classifier.tf32:
        yield classifier.fast, classifier
    else:
        with tf32_allowed(True):
            yield classifier.fast, classifier


def exact_of(classifier: nn.Module) -> nn.Module:
    """The exact one of two precisions; a classifier of one precision itself."""
    return classifier.exact if isinstance(classifier, TwoPrecisions) else classifier


def in_both(classifier: nn.Module, wrapped: Callable[[nn.Module], nn.Module]) -> nn.Module:
    """`wrapped(classifier)`, in both precisions if it has two."""
    if not isinstance(classifier, TwoPrecisions):
        return wrapped(classifier)
    return TwoPrecisions(wrapped(classifier.exact), wrapped(classifier.fast), classifier.tf32)


@contextmanager
def tf32_allowed(allowed: bool) -> Iterator[None]:
    """Allow or forbid TF32 in products and convolutions, and set it afterwards as it was."""
    cudnn, matmul = torch.backends.cudnn, torch.backends.cuda.matmul
    before = (cudnn.allow_tf32, matmul.allow_tf32)
    cudnn.allow_tf32, matmul.allow_tf32 = allowed, allowed
    try:
        yield
    finally:
        cudnn.allow_tf32, matmul.allow_tf32 = before
