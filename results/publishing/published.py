"""Publishing runs: `python -m results.publishing PRESET` copies finished runs of a preset into `results/published/`.

A published run is a tracked record: every table as one part, no checkpoints, no files that were set aside. Its rows are those of
the run.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from results import schema
from results.file_names import file_name
from results.files import StoreError, whole_file, write_json
from results.parts import parts_of, read_parts, write_rows
from results.records import Run, load, read_run

HERE = Path(__file__).parents[1]


def publish(run: Run, folder: Path) -> Path:
    """Copy a run into `folder` and return the copy's directory. An older copy is replaced, part by part.

    Raises StoreError if a part of the run is unreadable, if the run failed, was stopped or is still being worked on, or if it
    lacks something that the older copy holds.
    """
    if run.failures:
        raise StoreError(f"{run.directory}: the run failed ({run.failures[-1].get('message', '')})")
    if (run.directory / "running").exists():
        raise StoreError(f"{run.directory}: the run is still being worked on")
    if not (run.facts["phase"] == schema.COSTS).any():
        raise StoreError(f"{run.directory}: the run was stopped before its end; the same `run` command goes on")
    target = folder / run.directory.name
    if (target / "config.json").exists() and (lost := _cells(read_run(target, published=True)) - _cells(run)):
        after_task, task, attack, _ = min(lost)
        raise StoreError(
            f"{target}: holds {len(lost):,} outcomes that the run to publish lacks, such as {attack} on task {task} after task "
            f"{after_task}; make them with `run`, or delete this record if it is to go"
        )
    for table, columns in schema.TABLES.items():
        rows, problems = read_parts(parts_of(run.directory, table), columns)
        if problems:
            raise StoreError(str(problems[0]))
        with whole_file(target / table / "all.parquet") as temporary:
            write_rows(rows, temporary, level=19)
    tasks = (run.directory / "tasks.parquet").read_bytes()
    with whole_file(target / "tasks.parquet") as temporary:
        temporary.write_bytes(tasks)
    # The configuration comes last: a directory without one is no run.
    write_json(target / "config.json", run.config)
    return target


def _cells(run: Run) -> set[tuple[int, int, str, int]]:
    """Every outcome of a run: the task learned last, the attacked task, the attack and the sample."""
    rows = run.predictions
    return set(zip(*(rows[name].tolist() for name in ("after_task", "task", "attack", "sample")), strict=True))


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m results.publishing", description="publish the runs of a preset")
    parser.add_argument("preset", help="a board's name, such as cifar100-cpu")
    parser.add_argument("--results", type=Path, default=HERE / "runs", metavar="DIR")
    parser.add_argument("--published", type=Path, default=HERE / "published", metavar="DIR")
    options = parser.parse_args(arguments)
    stored = load(options.results, None)
    # Prerequisites, runs that other rows need, are no rows of the preset.
    runs = [
        run
        for run in stored.runs
        if run.protocols.get(options.preset, {"row_of_preset": False}).get("row_of_preset", True)
    ]
    try:
        if stored.unreadable:
            raise StoreError(f"{stored.unreadable[0]}; mend it or move it away, so that no run is left out unseen")
        if not runs:
            raise StoreError(f"no run of preset {options.preset} in {options.results}")
        for run in runs:
            print(f"{run.label} seed {run.seed}: {publish(run, options.published / file_name(options.preset))}")
    except StoreError as error:
        sys.stderr.write(f"error: {error}\n")
        return 2
    return 0
