"""The contract of an attack: a small value that makes adversarial images of a classifier and says what they did.

An attack is a frozen dataclass of its settings (its specification). It works in pixel space and knows nothing of tasks, methods
or files. Attacks of one `family` are run in one go (`run_together`): those that differ only in `steps` share one trajectory, the
longest one, and are read off at its checkpoints; PGD puts step sizes, restarts and eps side by side too.

A plug-in imports from here.
"""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from pathlib import PurePath
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from attacks.starts import Starts
from attacks.threat_model import ThreatModel, over_255

__all__ = [
    "ADDED_LATER",
    "MANY",
    "Attack",
    "AttackError",
    "AttackResult",
    "Outcome",
    "SharedResult",
    "Trace",
    "added_later",
    "at_checkpoint",
    "describe",
    "is_worse",
    "margins",
    "other_logits",
    "outcome_of",
    "without",
    "worse",
]

MANY = 1_000_000
"""More classes than any attack has targets."""


class AttackError(Exception):
    """An attack could not be made or run; the message is one line."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """The answers of a classifier to the images of one batch.

    predicted: int64 (N,), the class of the largest logit.
    margin: float32 (N,), the logit of the label minus the largest other logit.
    """

    predicted: Tensor
    margin: Tensor


@dataclass(frozen=True, slots=True)
class Trace:
    """The course of an attack, averaged over samples: lists of Python numbers, one per iterate 0..k or per gradient 1..k.

    loss: per iterate, the mean attack loss.
    zero_gradients: per gradient, the share of its entries that are exactly zero.
    non_finite: per gradient, the share of its entries that are NaN or infinite.
    largest_change: per iterate, the largest change of any image, in the norm.
    standing: for an attack of several parts, how many samples are still right before the first and after each, by the part's
        name.
    """

    loss: list[float] = field(default_factory=list)
    zero_gradients: list[float] = field(default_factory=list)
    non_finite: list[float] = field(default_factory=list)
    largest_change: list[float] = field(default_factory=list)
    standing: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class AttackResult:
    """The result of `Attack.run` for one batch.

    final: by number of steps, the outcome at that iterate (over restarts: at the smallest margin).
    any: by number of steps, the outcome at the smallest margin met at any iterate from the start up to that one, of any restart.
    adversarial: float (N, C, H, W), the images at which `final` after the most steps was found.
    worst: float (N, C, H, W), likewise for `any`.
    trace: the course of the attack.
    gradient_evaluations: image gradients that were taken, summed over images and restarts.
    forward_passes: images that went forward through the classifier, likewise.
    """

    final: dict[int, Outcome]
    any: dict[int, Outcome]
    adversarial: Tensor
    worst: Tensor
    trace: Trace
    gradient_evaluations: int
    forward_passes: int


@dataclass(frozen=True, slots=True)
class SharedResult:
    """The result of `Attack.run_together` for one batch.

    results: of each attack.
    gradient_evaluations, forward_passes: what all of them cost together, counted as in `AttackResult`.
    """

    results: dict[Attack, AttackResult]
    gradient_evaluations: int
    forward_passes: int


@dataclass(frozen=True, kw_only=True)
class Attack(ABC):
    """Base of all attacks. Subclasses are frozen dataclasses, and all of their fields together are the specification.

    version: raised on purpose whenever the attack would give other predictions for the same specification.
    iterative: True if any-iterate accuracy differs from the final one and is recorded beside it.
    batch_free: True if the result for an image is the same, up to rounding, in any batch; False for others' code, and for an
        attack that learns from a whole batch.
    walks: True if it finds its way on the classifier, so that the precision in which it may do so is part of its evaluation.
    seeded: False if no random number decides anything, so that its evaluation is the same under any seed.
    file_hash: SHA-256 of the attack's file if that lies outside this folder, where no version guards it: part of the
        specification.
    threat_model: the changes that the attack may make.
    """

    version: ClassVar[int]
    iterative: ClassVar[bool] = False
    batch_free: ClassVar[bool] = True
    walks: ClassVar[bool] = True
    seeded: ClassVar[bool] = True
    file_hash: ClassVar[str | None] = None

    threat_model: ThreatModel

    @property
    def kind(self) -> str:
        """The attack's name on the command line: the name of its file, with dashes."""
        return PurePath(type(self).__module__.replace(".", "/")).name.replace("_", "-")

    # Not annotated, so that it is no field; not a property either, because a subclass's field could not be set over one.
    steps = 0
    """Number of gradient steps: `steps = 1` where it is fixed, `steps: int = field()` where it must be given."""

    def specification(self) -> dict[str, Any]:
        """Every field as JSON. With the version it identifies the attack. Fractions are exact strings.

        A field made by `added_later` is left out at its default: the attack is then what it was before there was the field.
        """
        fields: dict[str, Any] = {"attack": self.kind, "version": self.version}
        fields |= {"file": self.file_hash} if self.file_hash else {}
        fields |= {"norm": self.threat_model.norm, "eps": str(self.threat_model.eps)}
        for item in dataclasses.fields(self):
            value = getattr(self, item.name)
            left_out = item.metadata.get(ADDED_LATER) and value == item.default
            # Two equal attacks may differ in a field of `compare=False`, so it is no part of the specification.
            if item.name != "threat_model" and item.compare and not left_out:
                fields[item.name] = _as_json(value)
        return fields

    @property
    @abstractmethod
    def name(self) -> str:
        """The name for people, with every field that differs from its default: `pgd-40 linf 8/255 a=2/255`."""

    def passes(self, classes: int = MANY) -> float:
        """The most forward-sized passes that the attack costs per image, for estimates of time. An image gradient counts two.

        classes: of the classifier.
        """
        restarts, eot = (max(1, getattr(self, name, 1)) for name in ("restarts", "eot"))
        targets = max(1, min(getattr(self, "targets", 1), classes - 1))
        return restarts * targets * (2 * self.steps * eot + 1)

    def warnings(self) -> tuple[str, ...]:
        """Remarks on settings that are allowed but hardly meant, one line each, for the record."""
        return ()

    def warnings_of_classes(self, count: int) -> tuple[str, ...]:
        """Remarks on settings that are allowed but hardly meant for a classifier of `count` classes, one line each."""
        given, usual = (getattr(each, "targets", 0) for each in (self, type(self)))
        if given == usual:
            return ()
        if count == 2 and usual == 0:
            return (f"targets = {given}: of 2 classes one is aimed at, which is what the attack without targets does",)
        return (f"targets = {given}: of {count} classes {count - 1} can be aimed at",) if given >= count else ()

    def check_classes(self, count: int) -> None:
        """Raise AttackError unless the attack can be run on a classifier of `count` classes; asked before anything is run."""
        if count < 2:
            raise AttackError(f"{self.name}: a classifier needs 2 classes, this one has {count}")

    def check_images(self, shape: tuple[int, int, int], classes: int) -> None:
        """Raise AttackError unless the attack can be run on such images and so many classes; asked before anything is run.

        shape: (C, H, W).
        """
        self.check_classes(classes)

    def family(self) -> tuple[Any, ...]:
        """The family of this attack: attacks of one class and equal families may be run by one call of `run_together`.

        By default they differ only in how many steps of one trajectory they take. An attack whose iterates depend on the number
        of steps to come (a schedule over them) must override this and keep `steps` in.
        """
        return without(self.specification(), "steps")

    def checked(self, checkpoints: Sequence[int] | None) -> tuple[int, ...]:
        """The checkpoints in order, `steps` alone if None. Raises AttackError unless all are in 0..`steps`."""
        reported = (self.steps,) if checkpoints is None else tuple(sorted(set(checkpoints)))
        if not reported or reported[0] < 0 or reported[-1] > self.steps:
            raise AttackError(
                f"checkpoints {list(reported)} of {self.name}: expected numbers of steps in 0..{self.steps}"
            )
        return reported

    @classmethod
    def passes_together(cls, attacks: Sequence[Attack], classes: int = MANY) -> float:
        """As `passes`, for attacks of one family that run together."""
        return max(attack.passes(classes) for attack in attacks)

    @classmethod
    def rows_per_image(cls, attacks: Sequence[Attack]) -> int:
        """Copies of an image that go through the classifier at once when these attacks of a family run together."""
        return 1

    @classmethod
    def run_together(
        cls, attacks: Sequence[Attack], classifier: nn.Module, images: Tensor, labels: Tensor, start: Starts
    ) -> SharedResult:
        """Attack one batch with several attacks of one family; arguments and errors as `run`.

        Each result has one checkpoint, the attack's own steps, and is that of the attack alone, up to rounding where copies of an
        image share a batch.
        """
        longest = max(attacks, key=lambda attack: attack.steps)
        shared = longest.run(classifier, images, labels, start, sorted({attack.steps for attack in attacks}))
        results = {attack: at_checkpoint(shared, attack.steps) for attack in attacks}
        return SharedResult(results, shared.gradient_evaluations, shared.forward_passes)

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

        classifier: images float (N, C, H, W) in [0, 1] → logits float (N, C), in the mode in which it is to be attacked.
        images: float32 or float64 (N, C, H, W) in [0, 1].
        labels: int64 (N,), 0..C-1.
        start: the only source of random numbers.
        checkpoints: numbers of steps to report, each 0 to `steps`; None: `steps` alone.

        Raises ThreatModelError if an adversarial image leaves the ball or the box. Raises AttackError if an input is out of
        range, or if the classifier's logits have another shape or are not finite.
        """


def _as_json(value: Any) -> Any:
    if isinstance(value, Attack):
        return value.specification()
    if isinstance(value, tuple):
        return [_as_json(item) for item in value]
    return str(value) if isinstance(value, Fraction) else value


ADDED_LATER = "added later"
"""Key of a field's metadata: the field was made by `added_later`."""


def added_later(default: Any) -> Any:
    """A dataclass field that an attack got after numbers were stored: at its default it is no part of the specification.

    default: must mean what was done before the field was there.
    """
    return field(default=default, metadata={ADDED_LATER: True})


def without(specification: Mapping[str, Any], *names: str) -> tuple[tuple[str, str], ...]:
    """A specification as a hashable value, without the fields of these names."""
    return tuple(sorted((key, repr(value)) for key, value in specification.items() if key not in names))


def at_checkpoint(result: AttackResult, steps: int) -> AttackResult:
    """The result of the attack of `steps` steps, read off a longer one: its outcomes, and its part of the trace.

    `adversarial` and `worst` stay those of the longest attack.
    """
    trace = result.trace
    return replace(
        result,
        final={steps: result.final[steps]},
        any={steps: result.any[steps]},
        trace=Trace(
            trace.loss[: steps + 1],
            trace.zero_gradients[:steps],
            trace.non_finite[:steps],
            trace.largest_change[: steps + 1],
            trace.standing,
        ),
    )


def other_logits(logits: Tensor, labels: Tensor) -> Tensor:
    """The logits (N, C) with -inf in the label's place."""
    # Compared, because `one_hot` looks at the labels, for which the host would have to wait.
    classes = torch.arange(logits.shape[1], device=logits.device)
    return logits.masked_fill(classes == labels[:, None], -torch.inf)


def margins(logits: Tensor, labels: Tensor) -> Tensor:
    """The label's logit minus the largest other logit: float32 (N,) from logits (N, C), C ≥ 2."""
    if logits.dtype != torch.float64:
        logits = logits.float()  # the difference of two half-precision logits can overflow or round to zero
    own = logits.gather(1, labels[:, None]).squeeze(1)
    return (own - other_logits(logits, labels).amax(1)).float()


def outcome_of(logits: Tensor, labels: Tensor) -> Outcome:
    """The outcome that logits (N, C) of images with these labels, int64 (N,), stand for."""
    return Outcome(logits.argmax(1), margins(logits, labels))


def is_worse(first: Outcome, second: Outcome, labels: Tensor) -> Tensor:
    """The samples in which `second` is worse for the classifier: of smaller margin, or of an equal one and wrong. Bool (N,)."""
    tie = (second.margin == first.margin) & (second.predicted != labels) & (first.predicted == labels)
    return (second.margin < first.margin) | tie


def worse(first: Outcome, second: Outcome, labels: Tensor) -> Outcome:
    """Per sample the outcome with the smaller margin; of equal ones the wrong one, else the first."""
    take = is_worse(first, second, labels)
    return Outcome(torch.where(take, second.predicted, first.predicted), torch.where(take, second.margin, first.margin))


def describe(kind: str, threat_model: ThreatModel, extras: dict[str, Any]) -> str:
    """`kind norm eps` followed by ` key=value` for each extra; fractions are written over 255."""
    words = [kind, str(threat_model)]
    words += [f"{key}={over_255(value) if isinstance(value, Fraction) else value}" for key, value in extras.items()]
    return " ".join(words)
