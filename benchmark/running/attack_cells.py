"""Missing cells of one task become stored evaluations: known outcomes are copied, the rest is attacked and recorded."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass

from torch import nn

from attacks.base import Attack
from attacks.parts.clock import purpose
from benchmark.evaluating.attacking import arithmetic_of, attack_task
from benchmark.evaluating.classifier_contract import CONTRACT_IMAGES, check_classifier
from benchmark.evaluating.inspection.kept_state import StateWatch
from benchmark.evaluating.kept_images import broken_images
from benchmark.evaluating.precision import Arithmetic
from benchmark.learning.handed_over import Shelf
from benchmark.planning.cells import Cell, Work, shared_work
from benchmark.running.gpu import raise_if_lost
from benchmark.running.recording import Recorder
from benchmark.running.seconds.left import OutOfTime
from results.files import StoreError
from results.schema import PROBES
from scenarios.base import Task
from scenarios.parts.augmentation import to_float

Tell = Callable[[int, int, Sequence[Attack], BaseException | None], None]
"""Told how cells ended: id of the task learned last, id of the attacked task, the attacks, and the error if they failed."""

Timed = Callable[[Work], AbstractContextManager[None]]
"""Gives the block in which attacks that run together are made."""


@dataclass(frozen=True, slots=True)
class _Target:
    """A classifier that is attacked on its task.

    fingerprint: of the classifier as it was before any attack.
    """

    task: Task
    arithmetic: Arithmetic
    watch: StateWatch
    fingerprint: str


@dataclass(frozen=True, slots=True)
class CellAttacks:
    """Attacks that a run's cells demand, and the places to which their outcomes go.

    recorder: of the run.
    tell: is called for each group of attacks that ran together.
    timed: gives the block in which attacks that run together are made; if it raises OutOfTime, they are left out.
    shelf: keeps images that are to be judged afresh; None to keep none.
    """

    recorder: Recorder
    tell: Tell
    timed: Timed
    shelf: Shelf | None = None

    def make(self, cells: Sequence[Cell], classifier: nn.Module, task: Task, *, again: bool = False) -> None:
        """Attack a task's classifier as its missing cells demand, and record the outcomes.

        cells: of this task and of one turn.
        again: True for cells that are recorded, which are attacked once more for their images alone.
        An attack that raises or ends the program fails the cells of its group; the others go on. Raises BrokenContract for a
        classifier that does not keep its contract, StoreError and OSError if nothing can be stored, DeviceLost.
        """
        if not cells:
            return
        with purpose(PROBES):
            answers = task.answers(cells[0].after_task)
            check_classifier(classifier, to_float(task.test.images[:CONTRACT_IMAGES]), answers)
        with purpose("hash"):
            snapshot = self.recorder.snapshots.take(classifier, task.id)
            fingerprint = snapshot.fingerprint
        left = cells if again else self._not_copied(cells, task, fingerprint)
        works = shared_work(left)
        if not works:
            return
        with purpose("prepare"):
            arithmetic = arithmetic_of(classifier, task.test, self.recorder.preset.evaluation.precision)
        target = _Target(task, arithmetic, StateWatch(classifier, snapshot), fingerprint)
        for work in works:
            failure: BaseException | None = None
            try:
                with self.timed(work):
                    self._make_together(work, target, again=again)
            except OutOfTime:
                # Another attack may be shorter.
                continue
            except (StoreError, OSError):
                raise
            except (Exception, SystemExit) as error:
                raise_if_lost(error, task.test.labels.device)
                # An attack that calls `sys.exit` fails like one that raises.
                failure = error
            self.tell(work.after_task, task.id, work.run.members, failure)

    def _not_copied(self, cells: Sequence[Cell], task: Task, fingerprint: str) -> list[Cell]:
        """The cells, or parts of them, of which no outcome of this classifier is stored. The others are copied and told."""
        left = []
        for cell in cells:
            with purpose("write"):
                rest = self.recorder.reuse(cell, task, fingerprint)
            if rest is None:
                self.tell(cell.after_task, task.id, [cell.attack], None)
            else:
                left.append(rest)
        return left

    def _make_together(self, work: Work, target: _Target, *, again: bool) -> None:
        """Make attacks that run together, and record their outcomes. again: as of `make`."""
        recorder, evaluation = self.recorder, self.recorder.preset.evaluation
        task, fingerprint = target.task, target.fingerprint
        wanted = self.shelf is not None and any(self.shelf.wants(attack) for attack in work.run.members)
        shelf = self.shelf if wanted else None
        keep_images = evaluation.keep_images or shelf is not None
        with purpose(f"{'extra' if work.extra else 'attack'} {work.run.attack.kind}"):
            attacked = attack_task(
                target.arithmetic.exact,
                task,
                work.samples,
                work.run,
                evaluation,
                arithmetic=target.arithmetic,
                watch=target.watch,
                keep_images=keep_images,
            )
        with purpose("write"):
            if evaluation.keep_images and not again:
                for attack, outcomes in attacked.outcomes.items():
                    kept = broken_images(outcomes, attacked, task, target.arithmetic.exact)
                    recorder.keep_images(work, attack, task, fingerprint, kept)
            if shelf is not None:
                shelf.put(recorder.named(attacked, task, fingerprint), task.id, attacked)
            # Last, because a cell that is recorded is done.
            if not again:
                recorder.record(work, task, fingerprint, attacked)
