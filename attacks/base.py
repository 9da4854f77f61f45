"""The contract of an attack: a small value that, given a classifier and images, says what survives.

An attack is a frozen dataclass of its settings (its specification). It works in pixel space and knows nothing of
tasks, methods or files. Attacks that differ only in `steps` share one trajectory: the harness runs the longest one and
reads the others off at its checkpoints (`trajectory`, `run(..., checkpoints)`).
"""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import PurePath
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from attacks.starts import Starts
from attacks.threat_model import ThreatModel, over_255


class AttackError(Exception):
    """An attack could not be made or run; the message is one line."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a classifier says after an attack.

    predicted: int64 (N,); margin: float32 (N,), the logit of the label minus the largest other logit.
    """

    predicted: Tensor
    margin: Tensor


@dataclass(frozen=True, slots=True)
class Trace:
    """How an attack went, per iterate 0..k, averaged over samples: lists of Python numbers.

    loss: mean attack loss; zero_gradients: share of gradient entries that are exactly zero (one per gradient);
    non_finite: share of gradient entries that are not finite; largest_change: the largest pixel change of any image.
    """

    loss: list[float] = field(default_factory=list)
    zero_gradients: list[float] = field(default_factory=list)
    non_finite: list[float] = field(default_factory=list)
    largest_change: list[float] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class AttackResult:
    """What `Attack.run` returns for one batch.

    final: outcome at each checkpoint's iterate (over restarts: at the smallest margin); any: over all iterates from the
    start up to the checkpoint and all restarts, the outcome at the smallest margin met. Both keyed by number of steps.
    adversarial: float (N, C, H, W), the iterate after the most steps (over restarts: of the smallest margin).
    """

    final: dict[int, Outcome]
    any: dict[int, Outcome]
    adversarial: Tensor
    trace: Trace
    gradient_evaluations: int
    """How often the image gradient was taken for each image, restarts included (not multiplied by N)."""
    forward_passes: int
    """How often each image went forward through the classifier, restarts included."""


@dataclass(frozen=True, kw_only=True)
class Attack(ABC):
    """Base of all attacks. Subclasses are frozen dataclasses whose fields, all of them, are the specification."""

    version: ClassVar[int]
    """Raised on purpose whenever the attack would give other predictions for the same specification."""
    iterative: ClassVar[bool] = False
    """Whether any-iterate accuracy differs from the final one and is recorded beside it."""

    threat_model: ThreatModel

    @property
    def kind(self) -> str:
        """The attack's name on the command line: the name of its file."""
        return PurePath(type(self).__module__.replace(".", "/")).name

    # Not annotated, so that it is no field; not a property either, over which a subclass's field could not be set.
    steps = 0
    """Number of gradient steps: `steps = 1` where it is fixed, `steps: int = field()` where it must be set."""

    def specification(self) -> dict[str, Any]:
        """Every field as JSON: with the version, all that identifies what is measured. Fractions are exact strings."""
        fields: dict[str, Any] = {"attack": self.kind, "version": self.version}
        fields |= {"norm": self.threat_model.norm, "eps": str(self.threat_model.eps)}
        for item in dataclasses.fields(self):
            if item.name != "threat_model":
                value = getattr(self, item.name)
                fields[item.name] = str(value) if isinstance(value, Fraction) else value
        return fields

    @property
    @abstractmethod
    def name(self) -> str:
        """What people read: every field that differs from its default, e.g. `pgd-40 linf 8/255 a=2/255`."""

    def trajectory(self) -> tuple[Any, ...]:
        """Attacks with equal trajectories differ only in how many steps of it they take.

        An attack whose iterates depend on the number of steps to come (a schedule over them) must override this and
        keep `steps` in.
        """
        specification = self.specification()
        specification.pop("steps", None)
        return tuple(sorted((key, repr(value)) for key, value in specification.items()))

    @abstractmethod
    def run(
        self,
        classifier: nn.Module,
        images: Tensor,
        labels: Tensor,
        start: Starts,
        checkpoints: Sequence[int] | None = None,
    ) -> AttackResult:
        """Attack one batch.

        images: float32 (N, C, H, W) in [0, 1]; labels: int64 (N,); checkpoints: numbers of steps to report, 0 to
        `steps` (default: `steps` alone). Raises ThreatModelError if an adversarial image leaves the ball or the box,
        and AttackError if an input is out of range or the classifier returns logits of another shape or not finite.
        """


def margins(logits: Tensor, labels: Tensor) -> Tensor:
    """The label's logit minus the largest other logit: float32 (N,) from logits (N, C), C ≥ 2."""
    if logits.dtype != torch.float64:
        logits = logits.float()  # the difference of two half-precision logits can overflow or round to zero
    own = logits.gather(1, labels[:, None]).squeeze(1)
    others = logits.masked_fill(F.one_hot(labels, logits.shape[1]).bool(), -torch.inf)
    return (own - others.amax(1)).float()


def outcome_of(logits: Tensor, labels: Tensor) -> Outcome:
    return Outcome(logits.argmax(1), margins(logits, labels))


def is_worse(first: Outcome, second: Outcome, labels: Tensor) -> Tensor:
    """Where `second` is worse for the classifier: bool (N,). A smaller margin, or an equal one with a wrong class."""
    tie = (second.margin == first.margin) & (second.predicted != labels) & (first.predicted == labels)
    return (second.margin < first.margin) | tie


def worse(first: Outcome, second: Outcome, labels: Tensor) -> Outcome:
    """Per sample the outcome with the smaller margin; where they are equal, the one that is wrong, else the first."""
    take = is_worse(first, second, labels)
    return Outcome(torch.where(take, second.predicted, first.predicted), torch.where(take, second.margin, first.margin))


def describe(kind: str, threat_model: ThreatModel, extras: dict[str, Any]) -> str:
    """`kind norm eps` followed by ` key=value` for each extra; fractions are written over 255."""
    words = [kind, str(threat_model)]
    words += [f"{key}={over_255(value) if isinstance(value, Fraction) else value}" for key, value in extras.items()]
    return " ".join(words)
