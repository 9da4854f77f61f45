"""Missing cells of one task become stored evaluations: known outcomes are copied, the rest is attacked and recorded."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from torch import nn

from attacks.base import Attack
from benchmark.evaluating.attacking import attack_task
from benchmark.evaluating.classifier_contract import CONTRACT_IMAGES, check_classifier
from benchmark.evaluating.fingerprints import classifier_fingerprint
from benchmark.evaluating.kept_images import broken_images
from benchmark.learning.handed_over import Shelf
from benchmark.planning.cells import Cell, Work, shared_work
from benchmark.running.recording import Recorder
from results.files import StoreError
from scenarios.base import Task
from scenarios.parts.augmentation import to_float

Tell = Callable[[int, int, Sequence[Attack], BaseException | None], None]
"""Told how cells ended: id of the task learned last, id of the attacked task, the attacks, and the error if they failed."""


def attack_and_record(
    cells: Sequence[Cell], classifier: nn.Module, task: Task, recorder: Recorder, tell: Tell, shelf: Shelf | None = None
) -> None:
    """Attack a task's classifier as its missing cells demand, and record the outcomes.

    cells: of this task and of one turn.
    tell: is called for each group of attacks that ran together.
    shelf: keeps images that are to be judged afresh; None to keep none.
    An attack that raises or ends the program fails the cells of its group; the others go on. Raises BrokenContract for a
    classifier that does not keep its contract, StoreError and OSError if nothing can be stored.
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
    for work in shared_work(left):
        failure: BaseException | None = None
        try:
            _attack_and_record(work, classifier, fingerprint, task, recorder, shelf)
        except (StoreError, OSError):
            raise
        except (Exception, SystemExit) as error:
            # An attack that calls `sys.exit` fails like one that raises.
            failure = error
        tell(work.after_task, task.id, work.run.members, failure)


def _attack_and_record(
    work: Work, classifier: nn.Module, fingerprint: str, task: Task, recorder: Recorder, shelf: Shelf | None
) -> None:
    evaluation = recorder.preset.evaluation
    shown = shelf is not None and any(shelf.wants(attack) for attack in work.run.members)
    keep_images = evaluation.keep_images or shown
    attacked = attack_task(classifier, task, work.samples, work.run, evaluation, keep_images=keep_images)
    if evaluation.keep_images:
        for attack, outcomes in attacked.outcomes.items():
            kept = broken_images(outcomes, attacked, task, classifier)
            recorder.keep_images(work, attack, task, fingerprint, kept)
    if shelf is not None and shown:
        shelf.put(recorder.named(attacked, task, fingerprint), task.id, attacked)
    # Last, because a cell that is recorded is done.
    recorder.record(work, task, fingerprint, attacked)
