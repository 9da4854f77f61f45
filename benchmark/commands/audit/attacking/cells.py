"""The cells of an audit: one attack on one classifier each. The number of every protocol is read from cells."""

from __future__ import annotations

from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any

from attacks.parts.losses import fewest_classes
from benchmark.commands.audit.pgd import Geometry
from benchmark.commands.audit.switches import AuditProtocol
from benchmark.planning.jobs import Job
from reports.numbers.metrics import CLEAN
from results.files import digest

SUITE_STEPS = 40
SUITE_FACTORS = (Fraction(1, 2), Fraction(1), Fraction(2))
"""The suite is PGD-40, any iterate, with these multiples of the protocol's step size, under each loss."""


@dataclass(frozen=True)
class AuditAttack:
    """An attack of an audited protocol, and the way in which its images are classified.

    loss: the loss that is climbed; `clean` for unchanged images.
    reads: the iterate that counts, `final` or `any` (the worst of all).
    steps: 0 or more.
    geometry: the ball, the box and the step; None for unchanged images.
    bn_mode: the mode of the network while it classifies; in `train` the batches are of one class.
    source: the job whose classifier of the task the images are made on (black-box); None for the attacked classifier itself.
    """

    loss: str
    reads: str = "final"
    steps: int = 0
    geometry: Geometry | None = None
    bn_mode: str = "eval"
    source: Job | None = None

    def to_json(self) -> dict[str, Any]:
        """The fields as they are stored, the source by its run's hash."""
        return {
            "loss": self.loss, "reads": self.reads, "steps": self.steps, "bn_mode": self.bn_mode,
            "geometry": self.geometry.to_json() if self.geometry else None,
            "source": self.source.hash if self.source else None,
        }  # fmt: skip


@dataclass(frozen=True)
class AuditCell:
    """An attack on the classifier of a task, as it was after `turn`.

    whole: True if it is run on all test images of the task, whatever number of samples was asked for.
    """

    job: Job
    turn: int
    task: int
    attack: AuditAttack
    whole: bool = False

    @property
    def key(self) -> str:
        """A hash that is known before anything is learned. Cells with equal keys are the same cell."""
        return digest([self.job.hash, self.turn, self.task, self.attack.to_json(), self.whole])

    def images(self, test: int, samples: int) -> int:
        """The number of images that are attacked, of so many test images, if so many samples are asked for."""
        return test if self.whole else min(samples, test)


def attacks_of(protocol: AuditProtocol, steps: int, preset_eps: Fraction, classes: int) -> list[AuditAttack]:
    """The attacks of a protocol: its suite, or the training attack alone.

    steps: of the training attack. preset_eps: in pixels, in [0, 1]. classes: of the task; with two of them there is no DLR, and
    the margin takes its place.
    """
    geometry = Geometry.of(protocol, preset_eps, protocol.clamp_box_evaluation)
    if protocol.eval_attack == "training attack":
        return [AuditAttack("ce", "final", steps, geometry, protocol.eval_bn)]
    second = "dlr" if classes >= fewest_classes("dlr") else "margin"
    losses = ["ce"] if protocol.eval_loss == "ce" else ["ce", second]
    sizes = [replace(geometry, step_size=geometry.step_size * factor) for factor in SUITE_FACTORS]
    return [AuditAttack(loss, "any", SUITE_STEPS, size, protocol.eval_bn) for loss in losses for size in sizes]


def clean_attack(protocol: AuditProtocol) -> AuditAttack:
    """The unchanged images, classified as the protocol classifies attacked ones."""
    return AuditAttack(CLEAN, bn_mode=protocol.eval_bn)


def turn_of(protocol: AuditProtocol, task: int, tasks: int) -> int:
    """The task after which a task's classifier is taken. Independent networks are taken right after their own."""
    return task if protocol.eval_time == "each" or protocol.sequence == "independent" else tasks - 1
