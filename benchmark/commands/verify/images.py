"""The stored adversarial images of a run: each belongs to an evaluation, is in the ball and in the box, and is still wrong."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from safetensors import SafetensorError, safe_open

from benchmark.commands.verify.classifiers import restored
from benchmark.commands.verify.findings import Finding, Problems
from benchmark.commands.verify.presets import Made, Origin
from benchmark.commands.verify.records.files import Records, place_of
from benchmark.evaluating import kept_images
from reports.numbers.wording import counted
from results.adversarial import FOLDER, read_images
from results.files import StoreError

NOTED = ("attack", "norm", "eps", "classifier", "task", "after_task")
"""Columns of an evaluation that are written with its images too."""
NONE_STORED = "none are stored (`run ... --set evaluation.keep_images=true` keeps them)"

Cells = dict[tuple[int, int], list[Path]]
"""Files of images by (turn, task)."""


def verify_images(records: Records, origin: Origin) -> Finding:
    """Compare stored images with their evaluations, and classify them again by the classifiers they are said to break."""
    files = sorted((records.run.directory / FOLDER).glob("*.safetensors"))
    if not files:
        return Finding("images", "", (), NONE_STORED)
    problems = Problems()
    cells = _verify_notes(files, records, problems)
    count = counted(len(files), "part")
    if origin.made is None:
        return Finding("images", count, problems.lines(), f"against classifiers: {origin.lacking}")
    images, in_bytes, unkept = _classify(cells, origin.made, problems)
    left_out = f"images {', '.join(unkept)}: no classifier" if unkept else ""
    verified = f"{counted(images, 'image')} in {count}, {in_bytes:,} in 8 bits"
    return Finding("images", verified, problems.lines(), left_out)


def _verify_notes(files: list[Path], records: Records, problems: Problems) -> Cells:
    """Compare every file with its evaluation; return the files that say which cell they are of."""
    cells: Cells = {}
    for path in files:
        try:
            notes = _notes(path)
            turn, task = int(notes["after_task"]), int(notes["task"])
            _verify_evaluation(path, notes, records, problems)
            cells.setdefault((turn, task), []).append(path)
        except StoreError as error:
            problems.add(_reason(error, path), [_short(path)])
        except (KeyError, ValueError):
            problems.add("images that do not say what they are of", [_short(path)])
    return cells


def _classify(cells: Cells, made: Made, problems: Problems) -> tuple[int, int, list[str]]:
    """Classify stored images again. Returns how many, how many of them are in 8 bits, and the turns without a classifier."""
    for turn, task in cells:
        if not 0 <= task < len(made.tasks):
            problems.add("images of a task that is not there", [f"task {task} after task {turn}"])
    images = in_bytes = 0
    unkept: set[str] = set()
    for found in restored(made, list(cells), lambda turn, _: unkept.add(f"after task {turn}")):
        for path in cells[found.turn, found.task.id]:
            try:
                part = kept_images.verify_images(path, found.classifier, found.task)
            except StoreError as error:
                problems.add(_reason(error, path), [_short(path)])
                continue
            images += part.images
            in_bytes += part.in_bytes
            for problem in part.problems:
                problems.add(problem, [f"{part.attack} on {found.place}"])
    return images, in_bytes, sorted(unkept)


def _notes(path: Path) -> dict[str, str]:
    """The metadata of a file of images. Raises StoreError if it cannot be read."""
    try:
        with safe_open(path, framework="pt") as file:
            return dict(file.metadata() or {})
    except (OSError, SafetensorError) as error:
        raise StoreError(f"{path}: not readable as adversarial images ({str(error).splitlines()[0]})") from error


def _verify_evaluation(path: Path, notes: Mapping[str, str], records: Records, problems: Problems) -> None:
    """Compare images with the evaluation of the same part: what they are of, and which samples are classified wrong."""
    evaluations = records.evaluations[records.evaluations["part"] == path.stem]
    if len(evaluations) != 1:
        problems.add("images of no stored evaluation", [_short(path)])
        return
    row = evaluations.iloc[0]
    where = place_of(row)
    other = [name for name in NOTED if notes.get(name) != str(row[name])]
    if other:
        problems.add("images that are not what their evaluation says", [f"{where} ({', '.join(other)})"])
        return
    kept, _ = read_images(path)
    rows = records.predictions[records.predictions["part"] == path.stem]
    wrong = set(rows.loc[rows["predicted"] != rows["label"], "sample"].tolist())
    samples = kept.samples.tolist()
    if len(samples) != len(set(samples)):
        problems.add("a sample with two images", [where])
    if set(samples) != wrong:
        problems.add("images of other samples than the predictions say are wrong", [where])


def _short(path: Path) -> str:
    """A file's name with the beginning of its evaluation's id."""
    identifier, _, rest = path.stem.partition(".")
    return f"{FOLDER}/{identifier[:8]}...{rest}" if rest else f"{FOLDER}/{path.name}"


def _reason(error: StoreError, path: Path) -> str:
    """An error about a file without the file's path."""
    return str(error).removeprefix(f"{path}: ")
