"""The stored outcomes of an audit's cells: one JSON file each, named by all that decides the outcome."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmark.commands.audit import pgd
from benchmark.commands.audit.attacking.cells import AuditCell
from benchmark.planning.machine import Machine
from benchmark.planning.stored_runs import task_checkpoints, task_key
from results.checkpoints import Checkpoints
from results.files import StoreError, digest, read_json, write_json
from results.store import RunStore
from scenarios.base import Task

COLUMNS = ("samples", "labels", "predicted")


@dataclass(frozen=True)
class CellOutcome:
    """The outcome of a cell: sample id, label and predicted class of each image, int (N,) each."""

    samples: np.ndarray
    labels: np.ndarray
    predicted: np.ndarray

    @property
    def correct(self) -> np.ndarray:
        """True for each image that is classified right: bool (N,)."""
        return self.predicted == self.labels


class CellStore:
    """A folder of outcomes.

    folder: of the files.
    tasks: the data of the preset.
    samples: test images per task, at most.
    seed: of the evaluation.
    machines: the machine whose folder holds a run, by the run's hash.
    """

    def __init__(
        self, folder: Path, tasks: Sequence[Task], samples: int, seed: int, machines: Mapping[str, Machine]
    ) -> None:
        self.folder, self.tasks, self.samples, self.seed, self.machines = folder, tasks, samples, seed, machines
        self._fingerprints: dict[tuple[str, int], dict[str, str]] = {}
        self._outcomes: dict[str, CellOutcome] = {}

    def id(self, cell: AuditCell) -> str:
        """SHA-256 over everything that decides the outcome. Raises StoreError if a checkpoint is not there."""
        source = cell.attack.source
        return digest(
            {
                "version": pgd.VERSION,
                "classifier": self._fingerprint(cell.job.hash, cell.turn, cell.task),
                "task": self.tasks[cell.task].test_fingerprint,
                "samples": self.images(cell),
                "seed": self.seed,
                **cell.attack.to_json(),
                "source": self._fingerprint(source.hash, len(self.tasks) - 1, cell.task) if source else None,
            }
        )

    def images(self, cell: AuditCell) -> int:
        """The number of test images that a cell's attack is run on."""
        return cell.images(len(self.tasks[cell.task].test), self.samples)

    def _fingerprint(self, run: str, turn: int, task: int) -> str:
        """The fingerprint of a task's classifier after a turn, as the run recorded it when it learned. run: its hash."""
        if (run, turn) not in self._fingerprints:
            checkpoints = Checkpoints(RunStore(self.machines[run].runs, run).directory / "checkpoints")
            names = task_checkpoints(checkpoints)
            # A method that does not forget keeps its last state alone, and that says the same of every turn.
            name = task_key(turn) if task_key(turn) in names or not names else names[-1]
            self._fingerprints[run, turn] = checkpoints.values(name)["classifiers"]
        return self._fingerprints[run, turn][str(task)]

    def path(self, cell: AuditCell) -> Path:
        """The file of a cell's outcome, whether it is there or not."""
        return self.folder / f"{self.id(cell)[:32]}.json"

    def lacking(self, cells: Sequence[AuditCell]) -> list[AuditCell]:
        """The cells without a readable outcome. Of cells with the same id only the first."""
        found: dict[str, AuditCell] = {}
        for cell in cells:
            name = self.id(cell)
            if name not in found and self._stored(cell) is None:
                found[name] = cell
        return list(found.values())

    def outcome(self, cell: AuditCell) -> CellOutcome:
        """Read the outcome of a cell. Raises StoreError if it is not stored."""
        found = self._stored(cell)
        if found is None:
            raise StoreError(f"{self.path(cell)}: not there, or not whole; the same command makes it")
        return found

    def _stored(self, cell: AuditCell) -> CellOutcome | None:
        """The outcome of a cell; None if its file is not there, cannot be read, or is of another cell."""
        name = self.id(cell)
        if name not in self._outcomes:
            if not self.path(cell).exists():
                return None
            try:
                values = read_json(self.path(cell))
                if values["id"] != name:
                    return None
                self._outcomes[name] = CellOutcome(*(np.asarray(values[column], int) for column in COLUMNS))
            except (StoreError, KeyError, ValueError, TypeError):
                return None
        return self._outcomes[name]

    def store(self, cell: AuditCell, outcome: CellOutcome) -> None:
        """Write an outcome, with a description of its cell for people who look into the file."""
        of = {
            "run": cell.job.hash, "label": cell.job.label, "seed": cell.job.seed, "after_task": cell.turn, "task": cell.task,
            **cell.attack.to_json(),
        }  # fmt: skip
        values = {column: getattr(outcome, column).tolist() for column in COLUMNS}
        write_json(self.path(cell), {"id": self.id(cell), "of": of, **values})
