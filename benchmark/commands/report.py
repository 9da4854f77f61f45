"""`report`: tables, figures, leaderboard and page, from stored results alone. No torch is imported."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from benchmark.commands.parsing import choices
from benchmark.commands.parsing.options import add_command, add_output, add_results, must_be_there
from benchmark.errors import ConfigError, nearest, quoted
from benchmark.planning.options import PUBLISHED

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import Console

    from benchmark.commands.parsing.options import Commands


def add_parser(commands: Commands) -> None:
    parser = add_command(
        commands,
        "report",
        execute,
        summary="write tables, figures and leaderboard from stored results",
        description="Write tables, figures, the leaderboard and its page from stored results. Needs no data and no torch.",
        examples={
            "report": "the runs in results/runs beside the published ones, into reports/output",
            "report --results my-runs --output my-report": "the same for runs and a report elsewhere",
            "report --presets digits fashion": "the boards of two presets alone, which is quicker",
        },
    )
    add_results(parser)
    add_output(parser, "the folder to write into; an older report there goes")
    action = parser.add_argument(
        "--presets", nargs="+", action="extend", metavar="NAME", help="the boards of these presets alone (default: all)"
    )
    choices.completed(action, choices.presets)


def execute(options: argparse.Namespace, console: Console) -> int:
    must_be_there(options.results)
    return report(options.results, options.output, console, options.presets)


def report(runs: Path, output: Path, console: Console, presets: Sequence[str] | None = None) -> int:
    """Write the report of the runs and of the published ones, and print the leaderboard. Returns 0.

    presets: the boards of these alone. Raises ConfigError if one has no run, StoreError if `output` cannot be written.
    """
    from reports.terminal import print_report
    from reports.write import write_report
    from results import load
    from results.files import require_folder
    from results.merged import merge

    require_folder(output)
    stored = load(runs, PUBLISHED)
    for run in stored.runs:
        if not run.published:
            merge(run.directory)
    if presets is not None:
        names = {name for run in stored.runs for name in run.protocols}
        for name in presets:
            if name not in names:
                raise ConfigError(f"--presets {quoted(name)}: no run of this preset is stored{nearest(name, names)}")
        stored = stored.under(presets)
    print_report(write_report(stored, output), console)
    return 0
