"""The thesis' protocol as named fields beside the canonical one: the switches, each of which turns one field, and the bundles.

Everything that departs from the benchmark's own protocol stands in this package.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from benchmark.errors import ConfigError, nearest
from methods.settings import Strict
from methods.training.recipe import StepSize
from reports.audit.small_tables import SMALL_TABLES

Space = Literal["pixels", "normalised"]


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
    eval_bn: the mode of the network while attacked images are classified; train mode on batches of one class.
    selection_split: the images that epochs are chosen by.
    eval_time: the end of the sequence, or right after each task.
    sequence: PackNet and CMAT go on from the task before, or start every task from random weights.
    gate: the accuracy that a task must reach in them.
    """

    eval_loss: Literal["ce and dlr", "ce"] = "ce and dlr"
    eval_bn: Literal["eval", "train"] = "eval"
    selection_split: Literal["validation", "test"] = "validation"
    eval_time: Literal["end", "each"] = "end"
    sequence: Literal["sequential", "independent"] = "sequential"
    gate: Literal["validation", "train accuracy"] = "validation"

    def training(self) -> TrainingProtocol:
        """The fields that decide how a network is trained."""
        return TrainingProtocol(**{name: getattr(self, name) for name in TrainingProtocol.model_fields})

    def turned(self, changes: Mapping[str, Any]) -> AuditProtocol:
        """This protocol with other values of some fields."""
        return AuditProtocol.model_validate({**self.model_dump(), **changes})


@dataclass(frozen=True)
class Switch:
    """A field of the protocol at the thesis' value; a bundle is several fields.

    name: as on the command line.
    changes: the fields and their values.
    trains: True if a network is trained anew for it.
    findings: the numbers that the audit of the thesis' code gives what it found, such as A1.
    canonical, thesis: the two values in words, on CIFAR-100.
    expected: the effect that is expected on the reported number, and the reason.
    methods: the rows on which the switch is turned.
    bundle: True if several fields are turned.
    """

    name: str
    changes: Mapping[str, Any]
    trains: bool
    findings: str
    canonical: str
    thesis: str
    expected: str
    methods: tuple[str, ...] = ("madry_at",)
    bundle: bool = False


PACKED = ("packnet", "cmat")
GATES = {"packnet": 0.97, "cmat": 0.95}
"""The published gates on training accuracy, by method."""

SWITCHES: tuple[Switch, ...] = (
    Switch(
        "eps_space", {"eps_space": "normalised"}, True, "A1", "pixels", "normalised",
        "up, much: eps shrinks by each channel's standard deviation, to about a quarter of what it says",
    ),
    Switch(
        "clamp_box_training", {"clamp_box_training": "normalised"}, True, "A2", "valid pixels", "[0, 1] normalised",
        "down where it is turned alone: the network learns images that nobody attacks it with",
    ),
    Switch(
        "clamp_box_evaluation", {"clamp_box_evaluation": "normalised"}, False, "A2", "valid pixels", "[0, 1] normalised",
        "down on photographs where it is turned alone: the clamp moves most pixels further than eps; up where a network reads "
        "such images all the same (trained with it, or of few grey values), because most pixels cannot be moved any more",
    ),
    Switch(
        "eps", {"eps": "eps/4"}, True, "A4", "8/255", "2/255", "up, much: a quarter of the radius, in training and in evaluation"
    ),
    Switch(
        "step_size", {"step_size": "1.5"}, True, "A3", "2/255", "1.5",
        "up, a little: every step ends in a corner of the ball, so more steps find little more",
    ),
    Switch(
        "eval_attack", {"eval_attack": "training attack"}, False, "A3, A11", "worst case of the suite", "the training attack",
        "up: one attack, its final iterate alone, is weaker than the worst of six",
    ),
    Switch(
        "eval_loss", {"eval_loss": "ce"}, False, "A3", "CE and DLR", "CE", "up or nothing: a subset of the attacks",
    ),
    Switch(
        "eval_bn", {"eval_bn": "train"}, False, "A3, A7", "eval mode", "train mode, class-sorted batches",
        "down: batch statistics of a single class are not those that the network learned with",
    ),
    Switch(
        "attack_bn_in_training", {"attack_bn_in_training": "train"}, True, "A6", "eval mode", "train mode",
        "small, of either sign: batch norm statistics are moved by every step of the attack",
    ),
    Switch(
        "selection_split", {"selection_split": "test"}, True, "A10", "validation", "test",
        "up, a little: the best epoch on the images that are reported",
    ),
    Switch(
        "eval_time", {"eval_time": "each"}, False, "A12, A13", "end of sequence", "right after each task",
        "up, much: what was forgotten is not measured", methods=("madry_at", *PACKED),
    ),
    Switch(
        "normalisation", {"normalisation": "task"}, True, "A1", "one for all tasks", "per task",
        "small, of either sign: another scale of the input",
    ),
    Switch(
        "sequence", {"sequence": "independent"}, True, "A12, A13", "sequential", "independent networks",
        "up: every task has the whole network, and nothing to remember", methods=PACKED,
    ),
    Switch(
        "gate", {"gate": "train accuracy"}, True, "A12", "robust validation accuracy",
        "train accuracy > .95 (CMAT), .97 (PackNet)",
        "down where it is turned alone: where the gate is missed, the weights of every task before are thrown away",
        methods=PACKED,
    ),
)  # fmt: skip

_CIFAR_BUNDLE = {
    "eps_space": "normalised", "clamp_box_training": "normalised", "clamp_box_evaluation": "normalised", "eps": "eps/4",
    "step_size": "1.5", "eval_attack": "training attack", "eval_loss": "ce", "attack_bn_in_training": "train",
    "selection_split": "test", "eval_time": "each", "normalisation": "task",
}  # fmt: skip
_HIGH_RESOLUTION_BUNDLE = _CIFAR_BUNDLE | {
    "eps": "eps/2", "step_size": "eps/2", "random_start": False, "attack_bn_in_training": "eval", "eval_bn": "train",
}  # fmt: skip
ALL, ALL_HIGH_RESOLUTION, ALL_PACKED = "all", "all_high_resolution", "all_packed"
BUNDLES: tuple[Switch, ...] = (
    Switch(
        ALL, _CIFAR_BUNDLE, True, "A1-A6, A10-A12", "-", "the CIFAR-100 experiment",
        "up, much; whether attacked images are classified better than clean ones is measured", bundle=True,
    ),
    Switch(
        ALL_HIGH_RESOLUTION, _HIGH_RESOLUTION_BUNDLE, True, "A1-A3, A7, A10", "-", "the high-resolution experiment",
        "up by eps, down by batch norm", bundle=True,
    ),
    Switch(
        ALL_PACKED, {"sequence": "independent", "gate": "train accuracy", "eval_time": "each"}, True, "A12, A13", "-",
        "independent networks, each measured when it was learned", "as `sequence`", methods=PACKED, bundle=True,
    ),
)  # fmt: skip

BY_NAME = {switch.name: switch for switch in (*SWITCHES, *BUNDLES)}


def singles_in(bundle: Switch) -> list[Switch]:
    """The switches whose effects a bundle should be the sum of: each turns one field to the value that the bundle has.

    Empty if the bundle has a field at another value than its switch: then there is no such sum.
    """
    found = []
    for switch in SWITCHES:
        for field, value in switch.changes.items():
            if bundle.changes.get(field) == value and set(switch.methods) & set(bundle.methods):
                found.append(switch)
    fields = {field for switch in found for field in switch.changes}
    return found if fields == set(bundle.changes) else []


def chosen(names: list[str] | None, methods: list[str]) -> list[Switch]:
    """The switches and bundles of the methods that `--switches` names; None: all of them. Raises ConfigError."""
    mine = [switch for switch in BY_NAME.values() if set(switch.methods) & set(methods)]
    if names is None:
        return mine
    valid = {switch.name for switch in mine} | set(SMALL_TABLES)
    for name in names:
        if name not in valid:
            raise ConfigError(f"--switches {name}: no switch of {', '.join(methods)}{nearest(name, valid)}")
    return [switch for switch in mine if switch.name in names]
