"""The contract of an attack: a small value that, given a classifier and images, says what survives.

An attack is a frozen dataclass of its settings (its specification). It works in pixel space and knows nothing of
tasks, methods or files. Attacks of one `family` are run in one go (`run_together`): those that differ only in `steps` share
one trajectory, the longest one, and are read off at its checkpoints; PGD puts step sizes, restarts and eps side by side too.
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
import torch.nn.functional as F
from torch import Tensor, nn

from attacks.starts import Starts
from attacks.threat_model import ThreatModel, over_255

MANY = 1_000_000
"""A number of classes that no number of targets reaches."""


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
    non_finite: share of gradient entries that are not finite; largest_change: the largest change of any image, in the norm.
    standing: for an attack of several parts, how many samples are still right before and after each.
    """

    loss: list[float] = field(default_factory=list)
    zero_gradients: list[float] = field(default_factory=list)
    non_finite: list[float] = field(default_factory=list)
    largest_change: list[float] = field(default_factory=list)
    standing: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class AttackResult:
    """What `Attack.run` returns for one batch.

    final: outcome at each checkpoint's iterate (over restarts: at the smallest margin); any: over all iterates from the
    start up to the checkpoint and all restarts, the outcome at the smallest margin met. Both keyed by number of steps.
    adversarial: float (N, C, H, W), where `final` after the most steps was found; worst: likewise for `any`.
    """

    final: dict[int, Outcome]
    any: dict[int, Outcome]
    adversarial: Tensor
    worst: Tensor
    trace: Trace
    gradient_evaluations: int
    """How many image gradients were taken, summed over images and restarts."""
    forward_passes: int
    """How many images went forward through the classifier, likewise."""


@dataclass(frozen=True, slots=True)
class SharedResult:
    """What `Attack.run_together` returns for one batch: each attack's result, and what all of them cost together."""

    results: dict[Attack, AttackResult]
    gradient_evaluations: int
    forward_passes: int


@dataclass(frozen=True, kw_only=True)
class Attack(ABC):
    """Base of all attacks. Subclasses are frozen dataclasses whose fields, all of them, are the specification."""

    version: ClassVar[int]
    """Raised on purpose whenever the attack would give other predictions for the same specification."""
    iterative: ClassVar[bool] = False
    """Whether any-iterate accuracy differs from the final one and is recorded beside it."""
    batch_free: ClassVar[bool] = True
    """Whether the result for an image is the same, up to rounding, whatever batch it is in. False only for others' code."""

    file_hash: ClassVar[str | None] = None
    """SHA-256 of the attack's file where it lies outside this folder and no version guards it: part of what is measured."""

    threat_model: ThreatModel

    @property
    def kind(self) -> str:
        """The attack's name on the command line: the name of its file, with dashes."""
        return PurePath(type(self).__module__.replace(".", "/")).name.replace("_", "-")

    # Not annotated, so that it is no field; not a property either, over which a subclass's field could not be set.
    steps = 0
    """Number of gradient steps: `steps = 1` where it is fixed, `steps: int = field()` where it must be set."""

    def specification(self) -> dict[str, Any]:
        """Every field as JSON: with the version, all that identifies what is measured. Fractions are exact strings.

        A field made by `added_later` is left out at its default, where the attack is what it was before there was the field.
        """
        fields: dict[str, Any] = {"attack": self.kind, "version": self.version}
        fields |= {"file": self.file_hash} if self.file_hash else {}
        fields |= {"norm": self.threat_model.norm, "eps": str(self.threat_model.eps)}
        for item in dataclasses.fields(self):
            value = getattr(self, item.name)
            left_out = item.metadata.get(ADDED_LATER) and value == item.default
            # A field that two equal attacks may differ in (`compare=False`) does not say what is measured.
            if item.name != "threat_model" and item.compare and not left_out:
                fields[item.name] = _as_json(value)
        return fields

    @property
    @abstractmethod
    def name(self) -> str:
        """What people read: every field that differs from its default, e.g. `pgd-40 linf 8/255 a=2/255`."""

    def passes(self, classes: int = MANY) -> float:
        """Forward-sized passes that the attack costs per image of a classifier of so many classes, at most: for estimates.

        An image gradient counts two.
        """
        restarts, eot = (max(1, getattr(self, name, 1)) for name in ("restarts", "eot"))
        targets = max(1, min(getattr(self, "targets", 1), classes - 1))
        return restarts * targets * (2 * self.steps * eot + 1)

    def warnings(self) -> tuple[str, ...]:
        """What the record should say of these settings, one line each: allowed, but hardly meant."""
        return ()

    def check_classes(self, count: int) -> None:
        """Raise AttackError unless the attack can be run on a classifier of so many classes; asked before anything is run."""
        if count < 2:
            raise AttackError(f"{self.name}: a classifier needs 2 classes, this one has {count}")

    def family(self) -> tuple[Any, ...]:
        """Attacks of one class with equal families may be run by one call of `run_together`.

        Here they differ only in how many steps of one trajectory they take. An attack whose iterates depend on the
        number of steps to come (a schedule over them) must override this and keep `steps` in.
        """
        return without(self.specification(), "steps")

    def checked(self, checkpoints: Sequence[int] | None) -> tuple[int, ...]:
        """The checkpoints in order, `steps` alone where none are given. Raises AttackError for impossible ones."""
        reported = (self.steps,) if checkpoints is None else tuple(sorted(set(checkpoints)))
        if not reported or reported[0] < 0 or reported[-1] > self.steps:
            raise AttackError(
                f"checkpoints {list(reported)} of {self.name}: expected numbers of steps in 0..{self.steps}"
            )
        return reported

    @classmethod
    def passes_together(cls, attacks: Sequence[Attack], classes: int = MANY) -> float:
        """As `passes`, of attacks of one family that run together."""
        return max(attack.passes(classes) for attack in attacks)

    @classmethod
    def rows_per_image(cls, attacks: Sequence[Attack]) -> int:
        """How many copies of an image go through the classifier at once when these attacks of a family run together."""
        return 1

    @classmethod
    def run_together(
        cls, attacks: Sequence[Attack], classifier: nn.Module, images: Tensor, labels: Tensor, start: Starts
    ) -> SharedResult:
        """Attack one batch with several attacks of one family; arguments and errors as `run`.

        Each result is that of the attack alone (up to rounding, where copies of an image share a batch) and has one checkpoint,
        the attack's own steps.
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

        images: float32 or float64 (N, C, H, W) in [0, 1]; labels: int64 (N,); start: the only source of random numbers;
        checkpoints: numbers of steps to report, 0 to `steps` (default: `steps` alone). Raises ThreatModelError if an adversarial
        image leaves the ball or the box, and AttackError if an input is out of range or the classifier returns logits of another
        shape or not finite.
        """


def _as_json(value: Any) -> Any:
    if isinstance(value, Attack):
        return value.specification()
    if isinstance(value, tuple):
        return [_as_json(item) for item in value]
    return str(value) if isinstance(value, Fraction) else value


ADDED_LATER = "added later"


def added_later(default: Any) -> Any:
    """A field that an attack got after numbers were stored: at its default it is no part of the specification."""
    return field(default=default, metadata={ADDED_LATER: True})


def without(specification: Mapping[str, Any], *names: str) -> tuple[tuple[str, str], ...]:
    """A specification as a hashable value, some of its fields left out."""
    return tuple(sorted((key, repr(value)) for key, value in specification.items() if key not in names))


def at_checkpoint(result: AttackResult, steps: int) -> AttackResult:
    """The result of the attack of `steps` steps, read off a longer one: its outcomes, and its part of the trace.

    adversarial and worst stay those of the longest attack.
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
