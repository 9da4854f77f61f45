"""The thesis' two experiments as switches."""

from __future__ import annotations

from benchmark.commands.audit.switches import AuditedEvaluation, Switch
from reports.audit.small_tables import SMALL_TABLES

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

THESIS = AuditedEvaluation("thesis", SWITCHES, BUNDLES, SMALL_TABLES, ("madry_at", "packnet"))
