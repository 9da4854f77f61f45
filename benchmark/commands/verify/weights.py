"""What needs the stored checkpoints: are they whole, are they what was measured, and do they still say what is recorded?"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import pandas as pd
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from attacks.base import margins
from benchmark.commands.verify.findings import Finding, Problems
from benchmark.commands.verify.records import Records
from benchmark.evaluating.attacking import subset
from benchmark.evaluating.determinism import full_precision, repeatable
from benchmark.evaluating.fingerprints import classifier_fingerprint
from benchmark.learning.restoring import Classifiers
from benchmark.planning.jobs import Job
from benchmark.planning.machine import Machine
from benchmark.planning.stored_runs import task_checkpoints, task_key
from methods.base import MethodError
from reports.numbers.wording import counted
from results.checkpoints import Checkpoints, tensor_hash
from results.files import StoreError, read_json
from results.records import Run
from results.schema import SAFE_MARGIN
from results.store import RunStore
from scenarios.base import Task
from scenarios.parts.augmentation import to_float

NONE = "there are no checkpoints here (published records have none)"


def check_checkpoints(run: Run, job: Job | None, turns: Sequence[int]) -> Finding:
    """Every manifest readable, every blob there and of the content its name says, and those kept that the preset keeps.

    turns: after which tasks something was measured.
    """
    folder = run.directory / "checkpoints"
    checkpoints, problems = Checkpoints(folder), Problems()
    if not checkpoints.names():
        return Finding("checkpoints", "", (), NONE)
    needed: set[str] = set()
    for name in checkpoints.names():
        try:
            needed |= {key + "" for key in read_json(folder / f"{name}.json")["tensors"].values()}
        except (StoreError, AttributeError, KeyError, TypeError):
            problems.add("a manifest that cannot be read", [f"{name}.json"])
    there = {path.stem: path for path in sorted((folder / "blobs").glob("*.safetensors"))}
    problems.add("a blob that is missing", [f"{key[:12]}" for key in sorted(needed - set(there))])
    for key, path in there.items():
        try:
            if tensor_hash(load_file(path)["tensor"]) != key:
                problems.add("a blob whose content is not what its name says", [path.name[:12]])
        except (OSError, SafetensorError, KeyError):
            problems.add("a blob that cannot be read", [path.name[:12]])
    if job is not None:
        problems.add("a checkpoint that is missing", [f"{k}.json" for k in _kept(job, turns) if k not in checkpoints])
    checked = f"{counted(len(checkpoints.names()), 'checkpoint')} of {counted(len(there), 'blob')}"
    return Finding("checkpoints", checked, problems.lines())


def _kept(job: Job, turns: Sequence[int]) -> list[str]:
    """The checkpoints that a run of this job keeps once so many tasks were learned."""
    keep = job.preset.file.keep
    if keep == "last" or (keep == "auto" and job.claims_unforgetting):
        turns = turns[-1:]
    return [task_key(turn) for turn in turns]


@dataclass(frozen=True, slots=True)
class Restored:
    """A classifier as its checkpoint has it: of a task, after a turn."""

    turn: int
    task: Task
    classifier: nn.Module


def restored(
    job: Job,
    machine: Machine,
    tasks: Sequence[Task],
    cells: Sequence[tuple[int, int]],
    tell: Callable[[int, str], None],
) -> Iterator[Restored]:
    """The classifiers of cells (turn, task), turn by turn, so that one turn's network is in memory at a time.

    tell: called as tell(turn, why) for a turn whose classifiers cannot be had.
    """
    folder = RunStore(machine.runs, job.hash).directory
    for turn in sorted({turn for turn, _ in cells}):
        classifiers = Classifiers(machine)
        for task in sorted({task for at, task in cells if at == turn and task < len(tasks)}):
            try:
                yield Restored(turn, tasks[task], classifiers.of(job, turn, task))
            except MethodError:
                tell(turn, "")
                break
            except StoreError as error:
                tell(turn, str(error).removeprefix(f"{folder}/"))
                break
            except (KeyError, RuntimeError, TypeError, ValueError, AttributeError) as error:
                # Tensors of another shape, or other names than the method's: a manifest that was edited or exchanged.
                tell(turn, f"{task_key(turn)}.json is not a state of this method ({' '.join(str(error).split())[:80]})")
                break


def check_classifiers(records: Records, job: Job, machine: Machine, tasks: Sequence[Task]) -> Finding:
    """Fingerprints of the classifiers that were measured, and their clean predictions made again: no attack is run."""
    problems, left_out = Problems(), []
    evaluations = records.evaluations
    measured = evaluations.groupby(["after_task", "task"])["classifier"].agg(set)
    cells = [(int(turn), int(task)) for turn, task in measured.index]
    known = task_checkpoints(Checkpoints(records.run.directory / "checkpoints"))
    if not known or not cells:
        return Finding("classifiers", "", (), "nothing was measured of them" if known else NONE)

    def tell(turn: int, why: str) -> None:
        if why:
            problems.add("a checkpoint that makes no classifier", [f"task {turn}: {why}"])
        else:
            left_out.append(f"task {turn}")

    ids = set(evaluations.loc[evaluations["kind"] == "clean", "evaluation_id"])
    clean = records.predictions[records.predictions["evaluation_id"].isin(ids)]
    count, made = 0, 0
    for found in restored(job, machine, tasks, cells, tell):
        where = f"task {found.task.id} after task {found.turn}"
        made += 1
        if measured[found.turn, found.task.id] != {classifier_fingerprint(found.classifier)}:
            problems.add("the checkpoint is not the classifier that was measured", [where])
        rows = clean[(clean["after_task"] == found.turn) & (clean["task"] == found.task.id)]
        rows = rows[rows["sample"].isin(found.task.test.samples.tolist())]
        count += len(rows)
        wrong = _differing(rows, found.classifier, found.task)
        problems.add("a clean prediction that the checkpoint does not make", [f"sample {s} of {where}" for s in wrong])
    checked = f"{counted(made, 'classifier')}, {counted(count, 'clean prediction')} made again"
    unkept = f"no checkpoint was kept after {', '.join(left_out)}" if left_out else ""
    return Finding("classifiers", checked, problems.lines(), unkept)


def _differing(rows: pd.DataFrame, classifier: nn.Module, task: Task) -> list[int]:
    """Samples of which the classifier says something else than is stored, by more than rounding."""
    test = subset(task.test, rows["sample"].unique().tolist())
    logits = logits_of(classifier, to_float(test.images))
    order = {int(sample): i for i, sample in enumerate(test.samples.tolist())}
    index = torch.tensor([order[int(sample)] for sample in rows["sample"]], dtype=torch.int64)
    logits, labels = logits[index], torch.tensor(rows["label"].to_numpy(), dtype=torch.int64)
    predicted = torch.tensor(rows["predicted"].to_numpy(), dtype=torch.int64)
    classes = logits.shape[1]
    known = (labels >= 0) & (labels < classes) & (predicted >= 0) & (predicted < classes)
    labels, predicted = labels.clamp(0, classes - 1), predicted.clamp(0, classes - 1)
    lost = logits.amax(1) - logits.gather(1, predicted[:, None]).squeeze(1)
    off = (margins(logits, labels) - torch.tensor(rows["margin"].to_numpy())).abs()
    wrong = ~known | ~(lost <= SAFE_MARGIN) | ~(off <= SAFE_MARGIN * (1 + logits.abs().amax(1)))
    return [int(sample) for sample in rows["sample"].to_numpy()[wrong.numpy()]]


def logits_of(classifier: nn.Module, images: Tensor, rows: int = 500) -> Tensor:
    """Logits float32 (N, classes) on the CPU, as an evaluation computes them."""
    found = []
    with torch.no_grad(), repeatable(), full_precision():
        for some in images.split(rows):
            found.append(classifier(some).float().cpu())
    return torch.cat(found) if found else torch.empty(0, 1)
