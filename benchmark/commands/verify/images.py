"""Stored adversarial images: of an evaluation that is there, as many as it says, in the ball, in the box, and still wrong."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from safetensors import SafetensorError, safe_open

from benchmark.commands.verify.findings import Finding, Problems
from benchmark.commands.verify.records import Records
from benchmark.commands.verify.weights import restored
from benchmark.evaluating.kept_images import verify_images
from benchmark.planning.jobs import Job
from benchmark.planning.machine import Machine
from reports.numbers.wording import counted
from results.adversarial import FOLDER, read_images
from results.files import StoreError
from scenarios.base import Task

NOTED = ("attack", "norm", "eps", "classifier", "task", "after_task")


def check_images(
    records: Records, job: Job | None, machine: Machine | None, tasks: Sequence[Task] | None, why: str
) -> Finding:
    """Every stored image against the classifier it is said to break. why: what is lacking where there is no job."""
    files = sorted((records.run.directory / FOLDER).glob("*.safetensors"))
    problems = Problems()
    if not files:
        return Finding("images", "", (), "none are stored (`run ... --set evaluation.keep_images=true` keeps them)")
    cells: dict[tuple[int, int], list[Path]] = {}
    for path in files:
        try:
            notes = _notes(path)
            turn, task = int(notes["after_task"]), int(notes["task"])
            _check_record(path, notes, records, problems)
            cells.setdefault((turn, task), []).append(path)
        except StoreError as error:
            problems.add(_reason(error, path), [_short(path)])
        except (KeyError, ValueError):
            problems.add("images that do not say what they are of", [_short(path)])
    if job is None or machine is None or tasks is None:
        return Finding("images", counted(len(files), "part"), problems.lines(), f"against classifiers: {why}")
    for turn, task in cells:
        if not 0 <= task < len(tasks):
            problems.add("images of a task that is not there", [f"task {task} after task {turn}"])
    images = in_bytes = 0
    left_out: set[str] = set()
    for found in restored(job, machine, tasks, list(cells), lambda turn, _: left_out.add(f"after task {turn}")):
        for path in cells[found.turn, found.task.id]:
            try:
                checked = verify_images(path, found.classifier, found.task)
            except StoreError as error:
                problems.add(_reason(error, path), [_short(path)])
                continue
            images += checked.images
            in_bytes += checked.in_bytes
            where = f"{checked.attack} on task {found.task.id} after task {found.turn}"
            for problem in checked.problems:
                problems.add(problem, [where])
    lacking = f"images {', '.join(sorted(left_out))}: no classifier" if left_out else ""
    checked_ = f"{counted(images, 'image')} in {counted(len(files), 'part')}, {in_bytes:,} in 8 bits"
    return Finding("images", checked_, problems.lines(), lacking)


def _notes(path: Path) -> dict[str, str]:
    try:
        with safe_open(path, framework="pt") as file:
            return dict(file.metadata() or {})
    except (OSError, SafetensorError) as error:
        raise StoreError(f"{path}: not readable as adversarial images ({str(error).splitlines()[0]})") from error


def _check_record(path: Path, notes: Mapping[str, str], records: Records, problems: Problems) -> None:
    """Hold images against the evaluation of the same part: what it is of, and which samples it says are wrong."""
    evaluations = records.evaluations[records.evaluations["part"] == path.stem]
    if len(evaluations) != 1:
        problems.add("images of no stored evaluation", [_short(path)])
        return
    row = evaluations.iloc[0]
    where = f"{row['attack']} on task {row['task']} after task {row['after_task']}"
    other = [name for name in NOTED if notes.get(name) != str(row[name])]
    if other:
        problems.add("images that are not what their evaluation says", [f"{where} ({', '.join(other)})"])
        return
    kept, _ = read_images(path)
    rows = records.predictions[records.predictions["part"] == path.stem]
    wrong = set(rows.loc[rows["predicted"] != rows["label"], "sample"].tolist())
    held = kept.samples.tolist()
    if len(held) != len(set(held)):
        problems.add("a sample with two images", [where])
    if set(held) != wrong:
        problems.add("images of other samples than the predictions say are wrong", [where])


def _short(path: Path) -> str:
    identifier, _, rest = path.stem.partition(".")
    return f"{FOLDER}/{identifier[:8]}...{rest}" if rest else f"{FOLDER}/{path.name}"


def _reason(error: StoreError, path: Path) -> str:
    return str(error).removeprefix(f"{path}: ")
