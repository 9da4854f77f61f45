"""From missing cells of one task to stored evaluations: what is there is copied, the rest is attacked, all of it is recorded."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from torch import nn

from attacks.base import Attack
from benchmark.evaluating.evaluation import CONTRACT_IMAGES, check_classifier, measure, subset
from benchmark.evaluating.fingerprints import classifier_fingerprint
from benchmark.evaluating.kept_images import broken_images
from benchmark.planning.cells import Cell, shared_work
from benchmark.running.recording import Recorder
from results.files import StoreError
from scenarios.base import Task
from scenarios.parts.augmentation import to_float

Told = Callable[[int, int, Sequence[Attack], Exception | None], None]
"""After which task, on which task, which attacks went through, and what went wrong."""


def measure_cells(cells: Sequence[Cell], classifier: nn.Module, task: Task, recorder: Recorder, tell: Told) -> None:
    """Measure cells of one task and turn. An attack that raises fails the cells of its run, is told, and the rest goes on.

    Raises AttackError for a classifier that does not keep its contract, StoreError and OSError.
    """
    check_classifier(classifier, to_float(task.test.images[:CONTRACT_IMAGES]), len(task.classes))
    fingerprint = classifier_fingerprint(classifier)
    left = []
    for cell in cells:
        rest = recorder.reuse(cell, task, fingerprint)
        if rest is None:
            tell(cell.after_task, task.id, [cell.attack], None)
        else:
            left.append(rest)
    evaluation = recorder.preset.file.evaluation
    for work in shared_work(left):
        failure = None
        try:
            test = subset(task.test, work.samples)
            measured = measure(
                classifier,
                test,
                work.run,
                seed=evaluation.seed,
                key=task.test_fingerprint,
                batch_size=evaluation.batch_size,
                keep_images=evaluation.keep_images,
            )
            if evaluation.keep_images:
                for attack, scored in measured.attacks.items():
                    kept = broken_images(scored, measured, test, classifier)
                    recorder.keep_images(work, attack, task, fingerprint, kept)
            # Last, because a cell that is recorded is done.
            recorder.record(work, task, fingerprint, measured)
        except (StoreError, OSError):
            raise
        except Exception as error:
            failure = error
        tell(work.after_task, task.id, work.run.members, failure)
