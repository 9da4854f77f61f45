"""An audited protocol as named fields beside the canonical one, and the switches that turn them.

Everything that departs from the benchmark's own protocol stands in this package; who departed how is in `protocols/`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

from benchmark.errors import ConfigError, nearest
from methods.settings import Strict
from methods.training.recipe import StepSize

Space = Literal["pixels", "normalised"]
TASK_BATCH = "task batch"
"""Batch norm by the statistics of all images of a task at once, in the attack and in the answer."""
ALONE: dict[str, tuple[int, bool]] = {"pgd-100": (100, True), "fgsm": (1, False)}
"""Attacks that are an evaluation of their own: steps, and True for a random start. The last iterate counts, the loss is CE."""


class TrainingProtocol(Strict):
    """The fields that decide how a network is trained.

    eps_space: the units of eps and step size, pixels in [0, 1] or the network's normalised input.
    clamp_box_training, clamp_box_evaluation: the range that adversarial images are clamped to after the projection onto the ball,
        valid pixels or [0, 1] in normalised space.
    eps: a multiple of the preset's.
    step_size: a multiple of this protocol's own eps, or a number, in the units of eps.
    random_start: False to start from the image itself.
    eval_attack: the attack of the evaluation, which also validates epochs: the suite counts any iterate and the clean image, the
        training attack its final iterate alone.
    attack_bn_in_training: the mode of the network during the training attack.
    normalisation: the stream's constants, or each task's own.
    """

    eps_space: Space = "pixels"
    clamp_box_training: Space = "pixels"
    clamp_box_evaluation: Space = "pixels"
    eps: Literal["eps", "eps/2", "eps/4"] = "eps"
    step_size: StepSize = "eps/4"
    random_start: bool = True
    eval_attack: Literal["suite", "training attack"] = "suite"
    attack_bn_in_training: Literal["eval", "train"] = "eval"
    normalisation: Literal["stream", "task"] = "stream"


class AuditProtocol(TrainingProtocol):
    """A whole protocol. The defaults are the canonical one.

    eval_loss: the losses of the suite.
    eval_bn: the mode of the network while attacked images are classified; train mode on batches of one class. In a task batch it
        is attacked and classifies by the statistics of all images of the task at once.
    eval_eps: the multiple of the preset's eps that the evaluation attacks with, whatever the network was trained at; None: `eps`.
    eval_step_size: the step of the evaluation, a multiple of the evaluation's own eps; None: `step_size`.
    eval_alone: a single attack in the place of the suite (`ALONE`); empty for `eval_attack`.
    reclassified: True if the attacks of the suite run one after another on the images that are still right, and the images
        that they leave are answered anew, all of a task in one batch. Otherwise an image is broken where an attack saw it broken.
    selection_split: the images that epochs are chosen by.
    eval_time: the end of the sequence, or right after each task.
    sequence: PackNet and CMAT go on from the task before, or start every task from random weights.
    gate: the accuracy that a task must reach in them.
    """

    eval_loss: Literal["ce and dlr", "ce"] = "ce and dlr"
    eval_bn: Literal["eval", "train", "task batch"] = "eval"
    eval_eps: Literal["eps", "eps/2", "eps/4"] | None = None
    eval_step_size: StepSize | None = None
    eval_alone: Literal["", "pgd-100", "fgsm"] = ""
    reclassified: bool = False
    selection_split: Literal["validation", "test"] = "validation"
    eval_time: Literal["end", "each"] = "end"
    sequence: Literal["sequential", "independent"] = "sequential"
    gate: Literal["validation", "train accuracy"] = "validation"

    def training(self) -> TrainingProtocol:
        """The fields that decide how a network is trained."""
        return TrainingProtocol(**{name: getattr(self, name) for name in TrainingProtocol.model_fields})

    def evaluated(self) -> TrainingProtocol:
        """The fields of training with the ball and the step of the evaluation in their place."""
        found = self.training()
        return found.model_copy(
            update={"eps": self.eval_eps or found.eps, "step_size": self.eval_step_size or found.step_size}
        )

    @property
    def counts_clean(self) -> bool:
        """True if an image must be right without an attack too: the suite decides, where its own verdicts stand."""
        return self.eval_attack == "suite" and not self.eval_alone and not self.reclassified

    def turned(self, changes: Mapping[str, Any]) -> AuditProtocol:
        """This protocol with other values of some fields."""
        return AuditProtocol.model_validate({**self.model_dump(), **changes})


@dataclass(frozen=True)
class Switch:
    """A field of the protocol at another value, or a few that make one departure; a bundle is several of these.

    name: as on the command line.
    changes: the fields and their values.
    trains: True if a network is trained anew for it.
    findings: the numbers of what was found in the released code, such as A1.
    canonical, turned: the two values in words, on CIFAR-100.
    expected: the effect that is expected on the reported number, and the reason.
    methods: the rows on which the switch is turned.
    bundle: True if several fields are turned.
    """

    name: str
    changes: Mapping[str, Any]
    trains: bool
    findings: str
    canonical: str
    turned: str
    expected: str
    methods: tuple[str, ...] = ("madry_at",)
    bundle: bool = False


@dataclass(frozen=True)
class AuditedEvaluation:
    """Somebody's evaluation as switches against the canonical one.

    name: as on the command line.
    tables: the names of the small tables that go with it.
    methods: the rows that are audited unless others are asked for.
    """

    name: str
    switches: Sequence[Switch]
    bundles: Sequence[Switch]
    tables: Sequence[str]
    methods: Sequence[str]

    @cached_property
    def by_name(self) -> dict[str, Switch]:
        """Switches and bundles."""
        return {switch.name: switch for switch in (*self.switches, *self.bundles)}

    def singles_in(self, bundle: Switch) -> list[Switch]:
        """The switches whose effects a bundle should be the sum of: each turns fields to the values that the bundle has.

        Empty if the bundle has a field at another value than its switch: then there is no such sum.
        """
        rows = set(bundle.methods)
        found = [s for s in self.switches if s.changes.items() <= bundle.changes.items() and set(s.methods) & rows]
        fields = {field for switch in found for field in switch.changes}
        return found if fields == set(bundle.changes) else []

    def chosen(self, names: Sequence[str] | None, methods: Sequence[str]) -> list[Switch]:
        """The switches and bundles of the methods that `--switches` names; None: all of them. Raises ConfigError."""
        mine = [switch for switch in self.by_name.values() if set(switch.methods) & set(methods)]
        if names is None:
            return mine
        valid = {switch.name for switch in mine} | set(self.tables)
        for name in names:
            if name not in valid:
                raise ConfigError(f"--switches {name}: no switch of {', '.join(methods)}{nearest(name, valid)}")
        return [switch for switch in mine if switch.name in names]
