"""`report`: tables, figures, leaderboard and page, from stored results alone. No torch is imported."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from benchmark.commands.parsing.options import add_command, add_output, add_results, must_be_there
from benchmark.planning.options import PUBLISHED

if TYPE_CHECKING:
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
        },
    )
    add_results(parser)
    add_output(parser, "the folder to write into; an older report there goes")


def execute(options: argparse.Namespace, console: Console) -> int:
    must_be_there(options.results)
    return report(options.results, options.output, console)


def report(runs: Path, output: Path, console: Console) -> int:
    """Write the report of the runs and of the published ones, and print the leaderboard. Returns 0."""
    from reports.terminal import print_report
    from reports.write import write_report
    from results import load
    from results.merged import merge

    stored = load(runs, PUBLISHED)
    for run in stored.runs:
        if not run.published:
            merge(run.directory)
    print_report(write_report(stored, output), console)
    return 0
