"""What an audit measures: single attacks on single classifiers, stored by content, from which every protocol's number is read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from attacks.parts.losses import fewest_classes
from benchmark.commands.audit import attack
from benchmark.commands.audit.attack import Geometry
from benchmark.commands.audit.protocol import AuditProtocol
from benchmark.planning.jobs import Job
from benchmark.planning.machine import Machine
from benchmark.planning.stored_runs import task_checkpoints, task_key
from results.checkpoints import Checkpoints
from results.files import StoreError, digest, read_json, write_json
from results.store import RunStore
from scenarios.base import Task

SUITE_STEPS = 40
SUITE_FACTORS = (Fraction(1, 2), Fraction(1), Fraction(2))
"""The suite: PGD-40, any iterate, with half, once and twice the protocol's step size, under each loss."""
CLEAN = "clean"


@dataclass(frozen=True)
class AuditLane:
    """One way to read a classifier. loss: `clean` for unchanged images; reads: the final iterate, or the worst of any.

    bn_mode: train: classified in train mode, in batches of one class. source: the job whose classifier of the task the images
    are made on (black-box), None: the classifier itself.
    """

    loss: str
    reads: str = "final"
    steps: int = 0
    geometry: Geometry | None = None
    bn_mode: str = "eval"
    source: Job | None = None

    def to_json(self) -> dict[str, Any]:
        """Without the source's classifier, which only its run tells."""
        return {
            "loss": self.loss, "reads": self.reads, "steps": self.steps, "bn_mode": self.bn_mode,
            "geometry": self.geometry.to_json() if self.geometry else None,
            "source": self.source.hash if self.source else None,
        }  # fmt: skip


@dataclass(frozen=True)
class AuditCell:
    """A lane on the classifier of a task, as it was after `turn`."""

    job: Job
    turn: int
    task: int
    lane: AuditLane

    @property
    def key(self) -> str:
        """What tells cells apart before anything is learned: equal keys are one measurement."""
        return digest([self.job.hash, self.turn, self.task, self.lane.to_json()])


@dataclass(frozen=True)
class Reading:
    """What one lane found: predicted class and label of each sample, int (N,)."""

    samples: np.ndarray
    labels: np.ndarray
    predicted: np.ndarray

    @property
    def correct(self) -> np.ndarray:
        return self.predicted == self.labels


def lanes_of(protocol: AuditProtocol, steps: int, preset_eps: Fraction, classes: int) -> list[AuditLane]:
    """The attacks of a protocol. steps: of the training attack. Below three classes the margin stands for DLR."""
    geometry = Geometry.of(protocol, preset_eps, protocol.clamp_box_evaluation)
    if protocol.eval_attack == "training attack":
        return [AuditLane("ce", "final", steps, geometry, protocol.eval_bn)]
    second = "dlr" if classes >= fewest_classes("dlr") else "margin"
    losses = ["ce"] if protocol.eval_loss == "ce" else ["ce", second]
    sizes = [replace(geometry, step_size=geometry.step_size * factor) for factor in SUITE_FACTORS]
    return [AuditLane(loss, "any", SUITE_STEPS, size, protocol.eval_bn) for loss in losses for size in sizes]


class Measurements:
    """The stored outcomes of an audit, one JSON file each, named by content: classifier, images, lane.

    homes: by a run's hash the machine whose folder holds it.
    """

    def __init__(
        self, folder: Path, tasks: Sequence[Task], samples: int, seed: int, homes: Mapping[str, Machine]
    ) -> None:
        self.folder, self.tasks, self.samples, self.seed, self.homes = folder, tasks, samples, seed, homes
        self._fingerprints: dict[tuple[str, int], dict[str, str]] = {}
        self._read: dict[str, Reading] = {}

    def id(self, cell: AuditCell) -> str:
        """SHA-256 over everything that decides the outcome. Raises StoreError where the checkpoint is not there."""
        source = cell.lane.source
        return digest(
            {
                "version": attack.VERSION,
                "classifier": self._fingerprint(cell.job, cell.turn, cell.task),
                "task": self.tasks[cell.task].test_fingerprint,
                "samples": min(self.samples, len(self.tasks[cell.task].test)),
                "seed": self.seed,
                **cell.lane.to_json(),
                "source": self._fingerprint(source, len(self.tasks) - 1, cell.task) if source else None,
            }
        )

    def _fingerprint(self, job: Job, turn: int, task: int) -> str:
        """Of the classifier of a task after a turn, as the run recorded it when it learned."""
        if (job.hash, turn) not in self._fingerprints:
            directory = RunStore(self.homes[job.hash].runs, job.hash).directory
            checkpoints = Checkpoints(directory / "checkpoints")
            names = task_checkpoints(checkpoints)
            # A method that does not forget keeps its last state alone, and that says the same of every turn.
            name = task_key(turn) if task_key(turn) in names or not names else names[-1]
            self._fingerprints[job.hash, turn] = checkpoints.values(name)["classifiers"]
        return self._fingerprints[job.hash, turn][str(task)]

    def path(self, cell: AuditCell) -> Path:
        return self.folder / f"{self.id(cell)[:32]}.json"

    def lacking(self, cells: Sequence[AuditCell]) -> list[AuditCell]:
        """Each measurement that is not stored, once; a file that cannot be read is not stored."""
        found: dict[str, AuditCell] = {}
        for cell in cells:
            name = self.id(cell)
            if name not in found and self._stored(cell) is None:
                found[name] = cell
        return list(found.values())

    def reading(self, cell: AuditCell) -> Reading:
        """Raises StoreError if it is not stored."""
        found = self._stored(cell)
        if found is None:
            raise StoreError(f"{self.path(cell)}: not there, or not whole; the same command measures it")
        return found

    def _stored(self, cell: AuditCell) -> Reading | None:
        name = self.id(cell)
        if name not in self._read:
            if not self.path(cell).exists():
                return None
            try:
                values = read_json(self.path(cell))
                if values["id"] != name:
                    return None
                columns = (np.asarray(values[column], int) for column in ("samples", "labels", "predicted"))
                self._read[name] = Reading(*columns)
            except (StoreError, KeyError, ValueError, TypeError):
                return None
        return self._read[name]

    def store(self, cell: AuditCell, reading: Reading) -> None:
        """Write a measurement: what it is of, for people, and what was found."""
        of = {
            "run": cell.job.hash, "label": cell.job.label, "seed": cell.job.seed, "after_task": cell.turn, "task": cell.task,
            **cell.lane.to_json(),
        }  # fmt: skip
        found = {column: getattr(reading, column).tolist() for column in ("samples", "labels", "predicted")}
        write_json(self.path(cell), {"id": self.id(cell), "of": of, **found})


def turn_of(protocol: AuditProtocol, task: int, tasks: int) -> int:
    """After which task a task's classifier is taken: independent networks are each their own."""
    return task if protocol.eval_time == "each" or protocol.sequence == "independent" else tasks - 1
