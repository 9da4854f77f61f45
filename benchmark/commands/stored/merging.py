"""Packed runs taken into a folder of runs: new ones whole, of the others what is lacking."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from rich.console import Console

from benchmark.commands.stored.checked import extracted, staging
from benchmark.commands.stored.union import apply, union_of
from benchmark.planning.machine import check_writable
from benchmark.running.verdict_files import write_verdicts
from reports.numbers.wording import counted
from results.files import StoreError
from results.publishing.archive import opened
from results.records import Run, read_run
from results.store import RunStore


def merge(files: Sequence[Path], runs: Path, published: Path, console: Console) -> int:
    """Take the runs of packed files into the folder `runs`, and judge the rows of their presets again.

    published: the folder of tracked runs, which some checks compare with.
    Returns 0, or 1 if a run could not be taken in; the others are. Raises StoreError, before anything is written, if a file holds
    no packed records.
    """
    with ExitStack() as stack:
        archives = [stack.enter_context(opened(file)) for file in files]
        check_writable(runs)
        presets: set[str] = set()
        failures = []
        folder = stack.enter_context(staging(runs))
        for number, archive in enumerate(archives):
            for packed in archive.runs.values():
                place = folder / str(number)
                place.mkdir(exist_ok=True)
                try:
                    run = extracted(archive, packed, place)
                    said = _take_in(run, packed.files, runs)
                except (StoreError, OSError) as error:
                    failures.append(f"{archive.path}: {error}")
                    # What is left of it here would keep the next one from the disk.
                    shutil.rmtree(place, ignore_errors=True)
                else:
                    presets |= set(run.protocols)
                    console.print(f"{packed}: {said}", highlight=False, markup=False)
    for failure in failures:
        console.print(f"failed: {failure}", style="red", highlight=False, markup=False)
    for preset in sorted(presets):
        write_verdicts(runs, published, preset)
    return 1 if failures else 0


def _take_in(run: Run, files: Sequence[str], runs: Path) -> str:
    """Take in a run that was extracted and verified; return what that changed, in words. Raises StoreError."""
    store = RunStore(runs, run.hash)
    if not store.directory.exists():
        store.move_in(run.directory)
        return f"new, {counted(len(files), 'file')}"
    with store.working():
        if not store.exists():
            # Nothing but what a process left that was killed before it wrote what the run is.
            store.write_config(run.identity, run.config.get("provenance", {}))
        union = union_of(read_run(store.directory), run, files)
        if not union:
            return "nothing that is not here"
        apply(union, store.read(), run)
    return f"{counted(len(union.add), 'file')} added" if union.add else "its demands were noted"
