"""The classifiers of a run, made again from its checkpoints: they must be those that were evaluated, and answer as recorded."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import pandas as pd
import torch
from torch import nn

from attacks.base import margins
from benchmark.commands.verify.checkpoints import NONE_HERE
from benchmark.commands.verify.findings import Finding, Problems
from benchmark.commands.verify.presets import Made, Origin
from benchmark.commands.verify.records.files import Records
from benchmark.evaluating.attacking import subset
from benchmark.evaluating.fingerprints import classifier_fingerprint
from benchmark.evaluating.kept_images import logits_of
from benchmark.learning.restoring import Classifiers
from benchmark.planning.stored_runs import task_checkpoints, task_key
from methods.base import MethodError
from reports.numbers.wording import counted
from results.checkpoints import Checkpoints
from results.files import StoreError
from results.schema import SAFE_MARGIN
from results.store import RunStore
from scenarios.base import Task
from scenarios.parts.augmentation import to_float


@dataclass(frozen=True, slots=True)
class Restored:
    """The classifier of a task as it was after a turn, made from a checkpoint."""

    turn: int
    task: Task
    classifier: nn.Module

    @property
    def place(self) -> str:
        """The task and the turn in words."""
        return f"task {self.task.id} after task {self.turn}"


def restored(made: Made, cells: Sequence[tuple[int, int]], tell: Callable[[int, str], None]) -> Iterator[Restored]:
    """Make the classifiers of cells (turn, task), turn by turn: the network of one turn is in memory at a time.

    tell: called as tell(turn, reason) for a turn that has no classifiers; the reason is empty if no checkpoint of it was kept.
    """
    folder = RunStore(made.machine.runs, made.job.hash).directory
    for turn in sorted({turn for turn, _ in cells}):
        classifiers = Classifiers(made.machine)
        for task in sorted({task for at, task in cells if at == turn and 0 <= task < len(made.tasks)}):
            try:
                yield Restored(turn, made.tasks[task], classifiers.of(made.job, turn, task))
            except MethodError:
                tell(turn, "")
                break
            except StoreError as error:
                tell(turn, str(error).removeprefix(f"{folder}/"))
                break
            except (LookupError, RuntimeError, TypeError, ValueError, AttributeError, AssertionError) as error:
                # Tensors of another shape, or other names than the method's: a manifest that was edited or exchanged.
                tell(turn, f"{task_key(turn)}.json is not a state of this method ({' '.join(str(error).split())[:80]})")
                break


def verify_classifiers(records: Records, origin: Origin) -> Finding:
    """Make every evaluated classifier again; compare its fingerprint and its clean predictions. No attack is run."""
    checkpoints = records.run.directory / "checkpoints"
    if origin.made is None:
        return Finding("classifiers", "", (), origin.lacking if checkpoints.is_dir() else NONE_HERE)
    evaluations = records.evaluations
    evaluated = evaluations.groupby(["after_task", "task"])["classifier"].agg(set)
    cells = [(int(turn), int(task)) for turn, task in evaluated.index]
    if not task_checkpoints(Checkpoints(checkpoints)):
        return Finding("classifiers", "", (), NONE_HERE)
    if not cells:
        return Finding("classifiers", "", (), "none was evaluated")
    problems = Problems()
    unkept: list[str] = []

    def tell(turn: int, reason: str) -> None:
        if reason:
            problems.add("a checkpoint that makes no classifier", [f"task {turn}: {reason}"])
        else:
            unkept.append(f"task {turn}")

    clean = set(evaluations.loc[evaluations["kind"] == "clean", "evaluation_id"])
    predictions = records.predictions[records.predictions["evaluation_id"].isin(clean)]
    classifiers = repeated = 0
    for found in restored(origin.made, cells, tell):
        if evaluated[found.turn, found.task.id] != {classifier_fingerprint(found.classifier)}:
            problems.add("the checkpoint is not the classifier that was evaluated", [found.place])
        rows = predictions[(predictions["after_task"] == found.turn) & (predictions["task"] == found.task.id)]
        rows = rows[rows["sample"].isin(found.task.test.samples.tolist())]
        wrong = _answered_otherwise(rows, found.classifier, found.task)
        samples = [f"sample {sample} of {found.place}" for sample in wrong]
        problems.add("a clean prediction that the checkpoint does not make", samples)
        classifiers += 1
        repeated += len(rows)
    verified = f"{counted(classifiers, 'classifier')}, {counted(repeated, 'clean prediction')} made again"
    left_out = f"no checkpoint was kept after {', '.join(unkept)}" if unkept else ""
    return Finding("classifiers", verified, problems.lines(), left_out)


def _answered_otherwise(rows: pd.DataFrame, classifier: nn.Module, task: Task) -> list[int]:
    """The samples whose stored clean prediction or margin the classifier does not give, by more than rounding."""
    test = subset(task.test, rows["sample"].unique().tolist())
    logits = logits_of(classifier, to_float(test.images))
    order = {int(sample): i for i, sample in enumerate(test.samples.tolist())}
    logits = logits[torch.tensor([order[int(sample)] for sample in rows["sample"]], dtype=torch.int64)]
    labels, predicted = (torch.tensor(rows[name].to_numpy(), dtype=torch.int64) for name in ("label", "predicted"))
    classes = logits.shape[1]
    known = (labels >= 0) & (labels < classes) & (predicted >= 0) & (predicted < classes)
    labels, predicted = labels.clamp(0, classes - 1), predicted.clamp(0, classes - 1)
    below_best = logits.amax(1) - logits.gather(1, predicted[:, None]).squeeze(1)
    off = (margins(logits, labels) - torch.tensor(rows["margin"].to_numpy())).abs()
    wrong = ~known | ~(below_best <= SAFE_MARGIN) | ~(off <= SAFE_MARGIN * (1 + logits.abs().amax(1)))
    return [int(sample) for sample in rows["sample"].to_numpy()[wrong.numpy()]]
