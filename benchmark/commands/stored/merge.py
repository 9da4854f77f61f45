"""`merge`: packed records back into a folder of runs."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from benchmark.commands.parsing import options as common

if TYPE_CHECKING:
    from rich.console import Console


def add_parser(commands: common.Commands) -> None:
    parser = common.add_command(
        commands,
        "merge",
        execute,
        summary="take in runs that `pack` wrote into files",
        description=(
            "Take in runs that `pack` wrote into files. Each is verified first, as far as its records go, and is taken in whole\n"
            "or not at all. Of a run that is here already, what is lacking is added. Exit code 1 if a run could not be taken in."
        ),
        examples={
            "merge theirs.zip": "into results/runs",
            "merge node-1.zip node-2.zip --results all": "several machines' runs into one folder, which need not be there",
        },
    )
    parser.add_argument("files", nargs="+", type=Path, metavar="FILE", help="files that `pack` wrote")
    common.add_results(parser)


def execute(options: argparse.Namespace, console: Console) -> int:
    from benchmark.commands.stored.merging import merge
    from benchmark.planning.options import PUBLISHED

    return merge(options.files, options.results, PUBLISHED, console)
