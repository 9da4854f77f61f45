"""Fast copies of classifiers, for attacks that compute in another precision than the one in which classifiers are judged.

`evaluation.precision` is a permission: a classifier or a machine for which a precision is of no use is attacked in float32.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from attacks.parts.guard import classifier_kept, random_state_kept
from attacks.parts.two_precisions import TwoPrecisions, exact_of, walking
from attacks.victim import checked_logits, image_gradient, usable_in_autograd
from methods.training.folded import folded_copy

Precision = Literal["fp32", "tf32", "bf16", "fp16"]

LONG_NAMES: dict[str, Precision] = {"float32": "fp32", "bfloat16": "bf16", "float16": "fp16"}
"""Other names of precisions, as torch writes them. They are stored under the short ones."""


def short_name(name: object) -> object:
    """A precision's short name, of its long one or of itself; anything else as it is."""
    return LONG_NAMES.get(name, name) if isinstance(name, str) else name


DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}

COMPARED = 32
"""Random images on which a fast copy is compared with the classifier."""

LARGEST_DIFFERENCE = 0.25
"""Mean difference of logits, over their mean distance from an image's mean logit, beyond which a copy is not taken."""

LEAST_COSINE = 0.5
"""Median cosine of the image gradients of copy and classifier, below which a copy is not taken."""


@dataclass(frozen=True, slots=True)
class Arithmetic:
    """The way in which attacks compute on one classifier.

    classifier: the one to attack: of two precisions, or the exact one alone.
    precision: in which attacks are allowed to walk.
    reason: why they walk in float32 though another precision was allowed; empty if they do not.
    """

    classifier: nn.Module
    precision: Precision
    reason: str = ""

    @property
    def exact(self) -> nn.Module:
        """The classifier that judges."""
        return exact_of(self.classifier)

    @property
    def walked(self) -> Precision:
        """The precision in which attacks walk."""
        return "fp32" if self.reason else self.precision

    def said(self) -> dict[str, str]:
        """For the record: the precision in which attacks walked, and why it was float32 if another one was allowed.

        Empty if float32 alone was allowed.
        """
        if self.reason:
            return {"walked": "fp32", "because": self.reason}
        return {} if self.precision == "fp32" else {"walked": self.precision}

    def notes(self) -> list[str]:
        """A line if attacks walk in float32 though another precision was allowed."""
        return [f"attacks walk in float32: {self.reason}"] if self.reason else []

    def without_copy(self, reason: str) -> Arithmetic:
        """The exact classifier alone. reason: why the copy is of no use."""
        return Arithmetic(self.exact, self.precision, reason)


def arithmetic_for(
    classifier: nn.Module, shape: Sequence[int], device: torch.device, precision: Precision
) -> Arithmetic:
    """The way to attack a classifier if a precision is allowed.

    shape: of an image, (C, H, W).
    A classifier is attacked in float32 if the device has no such precision, if it cannot be copied or answers otherwise in it, or
    if the copy's gradient points elsewhere. It is asked about random images alone: of those to be attacked it learns nothing.
    """
    if precision == "fp32":
        return Arithmetic(classifier, precision)
    if missing := _lacks(precision, device):
        return Arithmetic(classifier, precision, missing)
    images, reason = _smooth_images(shape, device), ""
    for make in _makers(precision):
        try:
            with random_state_kept(), classifier_kept(classifier):
                both = make(classifier)
                if both is None:
                    continue
                reason = _differs(both, images)
        except Exception as error:
            # Whatever a stranger's classifier does in another precision, it can be attacked in its own.
            reason = f"its copy in {precision} fails: {type(error).__name__}"
            continue
        if not reason:
            return Arithmetic(both, precision)
    return Arithmetic(classifier, precision, reason)


def _smooth_images(shape: Sequence[int], device: torch.device) -> Tensor:
    """Random images that vary as slowly as photographs do: float32 (COMPARED, C, H, W) in [0, 1], always the same."""
    generator = torch.Generator().manual_seed(0)
    coarse = torch.rand(COMPARED, shape[0], 4, 4, generator=generator)
    return F.interpolate(coarse, size=tuple(shape[1:]), mode="bilinear", align_corners=True).clamp(0, 1).to(device)


def _lacks(precision: Precision, device: torch.device) -> str:
    """The reason why a precision saves nothing on a device; empty if it does."""
    if device.type == "cuda":
        major = torch.cuda.get_device_capability(device)[0]
        return "" if major >= (7 if precision == "fp16" else 8) else f"this GPU has no {precision}"
    if device.type == "cpu" and precision == "bf16":
        return "" if _processor_has_bf16() else "this processor has no bfloat16"
    return f"no {precision} on {device.type}"


def _processor_has_bf16() -> bool:
    """True if products of bfloat16 are instructions of the processor; where they are emulated they cost more than float32."""
    found: dict[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()
    return any(found.get(name, False) for name in ("avx512_bf16", "amx_bf16", "arm_bf16", "bf16"))


def _makers(precision: Precision) -> list[Callable[[nn.Module], TwoPrecisions | None]]:
    """The ways to make a fast copy, the fastest first."""
    if precision == "tf32":
        return [lambda classifier: TwoPrecisions(classifier, _Through(classifier), tf32=True)]
    dtype = DTYPES[precision]

    def folded(classifier: nn.Module) -> TwoPrecisions | None:
        copied = folded_copy(classifier, dtype)
        return None if copied is None else TwoPrecisions(classifier, copied)

    return [folded, lambda classifier: TwoPrecisions(classifier, _Autocast(classifier, dtype))]


class _Through(nn.Module):
    """A classifier under another name, so that what is kept of it in one precision is not taken for the other."""

    def __init__(self, classifier: nn.Module) -> None:
        super().__init__()
        self.classifier = classifier
        self.training = classifier.training

    def forward(self, images: Tensor) -> Tensor:
        return self.classifier(images)  # type: ignore[no-any-return]


class _Autocast(_Through):
    """A classifier under autocast; it answers in the images' dtype."""

    def __init__(self, classifier: nn.Module, dtype: torch.dtype) -> None:
        super().__init__(classifier)
        self.dtype = dtype

    def forward(self, images: Tensor) -> Tensor:
        # Without its cache: weights are cast once per pass, and a captured pass must not read what another one has made.
        with torch.autocast(images.device.type, self.dtype, cache_enabled=False):
            logits: Tensor = self.classifier(images)
        return logits.to(images.dtype)


def _differs(both: TwoPrecisions, images: Tensor) -> str:
    """The way in which the fast classifier differs from the exact one by more than rounding; empty if it does not."""
    exact, gradient = _answers(both.exact, images)
    # As attacks ask it: TF32 is a switch of the process, not of the copy.
    with walking(both) as (copied, _):
        fast, its_gradient = _answers(copied, images)
    if torch.equal(exact, fast):
        return "it computes in a precision of its own"
    if not bool(fast.isfinite().all()):
        return "its logits are not finite in lower precision"
    spread = (exact - exact.mean(1, keepdim=True)).abs().mean()
    if float((exact - fast).abs().mean()) > LARGEST_DIFFERENCE * float(spread):
        return "its logits differ in lower precision by more than rounding"
    cosine = F.cosine_similarity(gradient.flatten(1).double(), its_gradient.flatten(1).double())
    known = cosine[gradient.flatten(1).abs().amax(1) > 0]
    if len(known) and float(known.median()) < LEAST_COSINE:
        return "its gradient points elsewhere in lower precision"
    return ""


def _answers(classifier: nn.Module, images: Tensor) -> tuple[Tensor, Tensor]:
    """Logits (N, C), and the image gradient of the lead of each image's largest logit over its mean logit."""
    with torch.inference_mode(False), torch.enable_grad():
        points = usable_in_autograd(images).clone().requires_grad_()
        logits = checked_logits(classifier, points, 0)
        lead = logits.amax(1).sum() - logits.mean(1).sum()
        return logits.detach(), image_gradient(lead, points)
