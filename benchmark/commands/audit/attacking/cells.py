"""The cells of an audit: one attack on one classifier each. The number of every protocol is read from cells."""

from __future__ import annotations

from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any

from attacks.parts.losses import fewest_classes
from benchmark.commands.audit.pgd import Geometry
from benchmark.commands.audit.switches import ALONE, AuditProtocol
from benchmark.planning.jobs import Job
from reports.numbers.metrics import CLEAN
from results.files import digest

SUITE_STEPS = 40
SUITE_FACTORS = (Fraction(1, 2), Fraction(1), Fraction(2))
"""The suite is PGD-40, any iterate, with these multiples of the protocol's step size, under each loss."""
IN_TURN = "in turn"
"""In the place of a loss: several attacks, one after another."""


@dataclass(frozen=True)
class AuditAttack:
    """An attack of an audited protocol, and the way in which its images are classified.

    loss: the loss that is climbed; `clean` for unchanged images, `in turn` for several attacks.
    reads: the iterate that counts, `final` or `any` (the worst of all).
    steps: 0 or more.
    geometry: the ball, the box and the step; None for unchanged images.
    bn_mode: the mode of the network while it classifies; in `train` the batches are of one class, in `task batch` it is attacked
        and classifies by the statistics of all images at once.
    in_turn: attacks that run one after another, each on the images that are still right. The images that they leave are answered
        anew in one batch, and these answers count.
    source: the job whose classifier of the task the images are made on (black-box); None for the attacked classifier itself.
    """

    loss: str
    reads: str = "final"
    steps: int = 0
    geometry: Geometry | None = None
    bn_mode: str = "eval"
    in_turn: tuple[AuditAttack, ...] = ()
    source: Job | None = None

    def to_json(self) -> dict[str, Any]:
        """The fields as they are stored, the source by its run's hash."""
        found: dict[str, Any] = {
            "loss": self.loss, "reads": self.reads, "steps": self.steps, "bn_mode": self.bn_mode,
            "geometry": self.geometry.to_json() if self.geometry else None,
            "source": self.source.hash if self.source else None,
        }  # fmt: skip
        # Only where there are some: outcomes that are stored already keep their names.
        return found | ({"in_turn": [each.to_json() for each in self.in_turn]} if self.in_turn else {})


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
    """The attacks of a protocol: its suite, or one attack alone. A suite whose images are answered anew is one of them.

    steps: of the training attack. preset_eps: in pixels, in [0, 1]. classes: of the task; with two of them there is no DLR, and
    the margin takes its place.
    """
    geometry = Geometry.of(protocol.evaluated(), preset_eps, protocol.clamp_box_evaluation)
    if protocol.eval_alone:
        alone, random_start = ALONE[protocol.eval_alone]
        # A single step goes all the way.
        size = geometry.eps if alone == 1 else geometry.step_size
        found = replace(geometry, step_size=size, random_start=random_start)
        return [AuditAttack("ce", "final", alone, found, protocol.eval_bn)]
    if protocol.eval_attack == "training attack":
        return [AuditAttack("ce", "final", steps, geometry, protocol.eval_bn)]
    second = "dlr" if classes >= fewest_classes("dlr") else "margin"
    losses = ["ce"] if protocol.eval_loss == "ce" else ["ce", second]
    sizes = [replace(geometry, step_size=geometry.step_size * factor) for factor in SUITE_FACTORS]
    suite = [AuditAttack(loss, "any", SUITE_STEPS, size, protocol.eval_bn) for loss in losses for size in sizes]
    if not protocol.reclassified:
        return suite
    steps = sum(attack.steps for attack in suite)
    return [AuditAttack(IN_TURN, "final", steps, bn_mode=protocol.eval_bn, in_turn=tuple(suite))]


def clean_attack(protocol: AuditProtocol) -> AuditAttack:
    """The unchanged images, classified as the protocol classifies attacked ones."""
    return AuditAttack(CLEAN, bn_mode=protocol.eval_bn)


def turn_of(protocol: AuditProtocol, task: int, tasks: int) -> int:
    """The task after which a task's classifier is taken. Independent networks are taken right after their own."""
    return task if protocol.eval_time == "each" or protocol.sequence == "independent" else tasks - 1
