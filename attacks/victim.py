"""The classifier under attack: inputs and answers are checked, passes are counted.

A plug-in imports from here.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import torch
from torch import Tensor, nn

from attacks.base import AttackError
from attacks.starts import Starts

__all__ = [
    "Victim",
    "check_inputs",
    "check_samples",
    "checked_logits",
    "image_gradient",
    "lost_shares",
    "usable_in_autograd",
]


class Victim:
    """A classifier with the batch it is attacked on. Make and use it inside `torch.inference_mode(False)`.

    classifier: images float (N, C, H, W) in [0, 1] → logits float (N, C).
    images: float32 or float64 (N, C, H, W) in [0, 1], usable in autograd.
    labels: int64 (N,).
    largest_label: of the batch.
    gradient_evaluations, forward_passes: made so far, counted in images; those of `note` from the next `check_finite` on.

    Raises AttackError for a batch that `Attack.run` does not accept.
    """

    def __init__(self, classifier: nn.Module, images: Tensor, labels: Tensor) -> None:
        self.largest_label = check_inputs(images, labels)
        self.classifier = classifier
        self.images, self.labels = usable_in_autograd(images), usable_in_autograd(labels)
        self.gradient_evaluations = self.forward_passes = 0
        self._not_finite: list[Tensor] = []
        self._noted = torch.zeros(3, dtype=torch.int64, device=self.labels.device)

    def __len__(self) -> int:
        return len(self.images)

    def parts(self, rows: int, most: int = 0) -> list[slice]:
        """`rows` rows in parts of about equal size, none larger than the batch, or than `most` if that is more.

        The batch is as large as fits in memory, so larger parts might not.
        """
        count = -(-rows // max(len(self), most))
        ends = [part * rows // count for part in range(count + 1)] if count else []
        return [slice(first, last) for first, last in pairwise(ends)]

    def logits(self, points: Tensor) -> Tensor:
        """Logits (M, C) of points (M, ...), in at least float32.

        Raises AttackError if their shape is wrong, or if the points are no tensor.
        `check_finite` says later if they were finite, so that nothing waits for the device here.
        """
        if not isinstance(points, Tensor):
            raise AttackError(
                f"the attack asks about a {type(points).__name__}; expected a tensor of images (M, C, H, W)"
            )
        logits = checked_logits(self.classifier, points, self.largest_label)
        self.forward_passes += len(points)
        self._not_finite.append((~logits.detach().isfinite()).any(1).sum())
        return logits

    def logits_only(self, points: Tensor) -> Tensor:
        """As `logits`, without recording a graph."""
        with torch.no_grad():
            return self.logits(points)

    def gradient(self, loss: Tensor, points: Tensor) -> Tensor:
        """The gradient of a scalar with respect to `points`, counted; NaN where it is NaN."""
        self.gradient_evaluations += len(points)
        return image_gradient(loss, points)

    def note(self, gradients: Tensor, passes: Tensor, not_finite: Tensor) -> None:
        """Count what an attack asked the classifier by itself, in images: int64 scalars. Nothing waits for the device here.

        not_finite: the images whose logits were not finite.
        """
        self._noted += torch.stack([gradients, passes, not_finite])

    def check_finite(self) -> None:
        """Raise AttackError if any logits so far were NaN or infinite. One transfer to the host."""
        if self._not_finite:
            self._noted[2] += torch.stack(self._not_finite).sum()
        gradients, passes, broken = self._noted.tolist()
        self.gradient_evaluations += gradients
        self.forward_passes += passes
        self._not_finite.clear()
        self._noted.zero_()
        if broken:
            raise AttackError(f"the classifier returned logits that are not finite (NaN or infinite), {broken} times")


def checked_logits(classifier: Callable[[Tensor], Tensor], points: Tensor, largest_label: int) -> Tensor:
    """Logits (N, C) of points (N, ...), in at least float32.

    Raises AttackError if the classifier returns anything but float logits of two classes or more, or lacks the largest label.
    """
    logits = classifier(points)
    if not isinstance(logits, Tensor):
        raise AttackError(f"the classifier returned a {type(logits).__name__}; expected a tensor of logits (N, C)")
    count = len(points)
    if logits.ndim != 2 or len(logits) != count or logits.shape[1] < 2 or not logits.is_floating_point():
        raise AttackError(
            f"the classifier returned {logits.dtype} of shape {tuple(logits.shape)}; "
            f"expected float logits ({count}, C) with C of 2 or more"
        )
    if largest_label >= logits.shape[1]:
        raise AttackError(f"label {largest_label} is outside 0..{logits.shape[1] - 1}, the classifier's classes")
    return logits if logits.dtype == torch.float64 else logits.float()


def image_gradient(loss: Tensor, points: Tensor) -> Tensor:
    """The gradient of a scalar with respect to the image. Zeros if the classifier cuts it: evidence for the trace, no crash."""
    if not loss.requires_grad:
        return torch.zeros_like(points)
    return torch.autograd.grad(loss, points, allow_unused=True, materialize_grads=True)[0]


def lost_shares(gradient: Tensor) -> tuple[Tensor, Tensor]:
    """For a trace, the shares of each image's gradient that are exactly zero, and that are NaN or infinite: float (N,) each.

    gradient: float (N, C, H, W). Nothing waits for the device.
    """
    zero, not_finite = gradient == 0, ~gradient.isfinite()
    return zero.flatten(1).float().mean(1), not_finite.flatten(1).float().mean(1)


def usable_in_autograd(tensor: Tensor) -> Tensor:
    """The tensor outside any graph; a copy if it was made in inference mode."""
    return tensor.clone() if tensor.is_inference() else tensor.detach()


def check_inputs(images: Tensor, labels: Tensor) -> int:
    """The largest label. Raises AttackError for a batch that `Attack.run` does not accept. One transfer to the host."""
    if images.ndim != 4 or len(images) == 0 or images.dtype not in (torch.float32, torch.float64):
        raise AttackError(
            f"images are {images.dtype} {tuple(images.shape)}; expected float32 (N, C, H, W) with N above 0"
        )
    if labels.shape != images.shape[:1] or labels.dtype != torch.int64:
        raise AttackError(f"labels are {labels.dtype} {tuple(labels.shape)}; expected int64 ({len(images)},)")
    ends = torch.stack(
        [*(end.double() for end in torch.aminmax(images)), *(end.double() for end in torch.aminmax(labels))]
    )
    low, high, smallest, largest = ends.tolist()
    if not (low >= 0 and high <= 1):
        raise AttackError(f"images reach {low:.6g} .. {high:.6g}; expected pixels in [0, 1]")
    if smallest < 0:
        raise AttackError(f"label {int(smallest)} is negative")
    return int(largest)


def check_samples(start: Starts, images: Tensor) -> None:
    """Raise AttackError unless there is a sample id for each image."""
    if len(start.samples) != len(images):
        raise AttackError(f"{len(start.samples)} sample ids were given for {len(images)} images")
