"""The records of a run that are packed: what is true of it wherever it lies. What is of a machine or derived stays behind."""

from __future__ import annotations

from pathlib import Path

from results.publishing.archive import is_record
from results.records import Run

PAIRED = ("predictions", "evaluations")
"""Tables whose parts count only if both are there."""


def records_of(run: Run, *, weights: bool = False) -> list[str]:
    """Paths of the records of a stored run inside its folder, with slashes, sorted.

    weights: True to take its checkpoints too, and the images that wait to be judged afresh.
    """
    root = run.directory
    paths = (path.relative_to(root) for path in root.rglob("*") if path.is_file() and not path.is_symlink())
    files = {path.as_posix() for path in paths}
    return sorted(file for file in files if is_record(file, weights=weights) and _is_whole(file, files))


def _is_whole(file: str, files: set[str]) -> bool:
    """False for one of two parts that a kill left alone: what it says does not count."""
    table, _, name = file.partition("/")
    return table not in PAIRED or all(f"{other}/{name}" in files for other in PAIRED)


def needed_with(runs: list[Run], among: list[Run]) -> list[Run]:
    """The runs with those that they need, and that these need, as far as they are stored. among: all stored runs."""
    by_hash = {run.hash: run for run in among}
    found: dict[str, Run] = {}
    left = list(runs)
    while left:
        run = left.pop()
        if run.hash not in found:
            found[run.hash] = run
            needed = run.identity.get("prerequisites")
            left += [by_hash[each] for each in (needed if isinstance(needed, list) else []) if each in by_hash]
    return [run for run in among if run.hash in found]


def bytes_of(directory: Path, files: list[str]) -> int:
    """The size of these files of a run."""
    return sum((directory / file).stat().st_size for file in files)
