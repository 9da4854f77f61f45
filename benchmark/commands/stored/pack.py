"""`pack`: the records of runs as one file."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from benchmark.commands.parsing import choices
from benchmark.commands.parsing import options as common

if TYPE_CHECKING:
    from rich.console import Console

    from results.records import Results, Run


def add_parser(commands: common.Commands) -> None:
    parser = common.add_command(
        commands,
        "pack",
        execute,
        summary="write the records of runs into one file, to be merged elsewhere",
        description=(
            "Write the records of runs, and of those that they need, into one file: a zip archive that `merge` takes in\n"
            "elsewhere. The same records make the same bytes. A run that is being worked on is left out."
        ),
        examples={
            "pack -o mine.zip": "all runs in results/runs, without their weights",
            "pack cmat --preset digits -o cmat.zip": "the row cmat of one board, and the runs that it needs",
            "pack --weights -o all.zip": "with checkpoints: another machine goes on, attacks and verifies",
        },
    )
    action = parser.add_argument(
        "runs", nargs="*", metavar="RUN", help="the beginning of a run's hash, or its label (default: all)"
    )
    choices.completed(action, choices.runs)
    parser.add_argument("--preset", metavar="NAME", help="runs of this board alone")
    common.add_results(parser)
    parser.add_argument(
        "--weights", action="store_true", help="with the checkpoints, from which classifiers are made again"
    )
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="FILE", help="the file to write")


def execute(options: argparse.Namespace, console: Console) -> int:
    common.must_be_there(options.results)
    from benchmark.commands.stored.checked import require_mergeable
    from benchmark.running.progress.alive import Pulse, worker_of
    from reports.numbers.wording import counted
    from results.files import StoreError, require_place, whole_file
    from results.publishing.archive import write_archive
    from results.publishing.packing import bytes_of, needed_with, records_of
    from results.records import load

    def say(text: str, style: str | None = None) -> None:
        console.print(text, style=style, highlight=False, markup=False)

    require_place(options.output)
    stored = load(options.results, None)
    chosen = needed_with(_chosen(options.runs, options.preset, stored, options.results), stored.runs)
    packed, pulse = [], Pulse(options.results)
    for run in chosen:
        if worker_of(run.directory, pulse):
            say(f"left out: {run.label} seed {run.seed} is being worked on", "yellow")
            continue
        packed.append((run.directory, run.identity, records_of(run, weights=options.weights)))
    if not packed:
        raise StoreError(f"{options.results}: every run that was asked for is being worked on; wait for it or stop it")
    with whole_file(options.output) as unchecked:
        write_archive(unchecked, packed)
        require_mergeable(unchecked, unchecked.parent)
    size = sum(bytes_of(directory, files) for directory, _, files in packed)
    say(f"{counted(len(packed), 'run')}, {size / 1e6:.1f} MB: {options.output}")
    return 0


def _chosen(names: Sequence[str], preset: str | None, stored: Results, runs: Path) -> list[Run]:
    """The runs that were asked for. Raises ConfigError if a name or a board is not there, StoreError if a run is unreadable."""
    from benchmark.errors import ConfigError, nearest
    from benchmark.planning.stored_runs import find_stored_run
    from results.records import Results

    among = [run for run in stored.runs if preset is None or preset in run.protocols]
    if not among:
        if preset is None:
            raise ConfigError(f"--results {runs}: no run is stored there")
        boards = {name for run in stored.runs for name in run.protocols}
        raise ConfigError(f"--preset {preset!r}: no run of it in {runs}{nearest(preset, boards)}")
    found = [find_stored_run(name, Results(among, stored.unreadable), runs) for name in names]
    return found or among
