"""The options of `tune`. What is large is imported when the command is executed."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from benchmark.commands.parsing import options as common

if TYPE_CHECKING:
    from rich.console import Console

TASKS = 3
"""Tasks that are learned for each point of a grid, from the start of the stream."""


def add_parser(commands: common.Commands) -> None:
    parser = common.add_command(
        commands,
        "tune",
        execute,
        summary="find the values of a grid for which a preset's rows validate best",
        description=(
            "Learn the first tasks of a preset for every point of a grid, and compare how many validation images are right\n"
            "under the validation attack after the last of them. No test image is looked at, and the preset stays as it is:\n"
            "tables and a figure say what would be better. The same command goes on where it was stopped.\n"
            "Exit codes: 0 done; 1 something failed (the rest is compared); 2 the command is wrong."
        ),
        examples={
            "tune --preset digits": "half and twice the learning rate of the preset, for all its rows",
            "tune --preset cifar100-cpu --methods cmat packnet --grid recipe.learning_rate=0.01,0.02,0.04": "a grid of your own",
            "tune --preset digits --methods packnet --grid methods.packnet.retrain_epochs=3,6": "a setting of a method",
        },
    )
    common.add_preset(parser, "the preset whose rows are tuned")
    common.add_methods(parser, "labels, methods or files of methods (default: all rows of the preset)")
    parser.add_argument(
        "--grid",
        nargs="+",
        action="extend",
        metavar="KEY=V,V",
        help="values of a key of the recipe or of a row; of several keys every combination "
        "(default: recipe.learning_rate at half, once and twice the preset's)",
    )
    parser.add_argument(
        "--tasks", type=int, default=TASKS, metavar="N", help=f"tasks from the start of the stream (default: {TASKS})"
    )
    parser.add_argument(
        "--seeds", nargs="+", action="extend", type=int, metavar="N", help="seeds of the runs (default: 0)"
    )
    common.add_overrides(parser)
    common.add_results(parser, "the folder of stored runs; those of the grid are stored beside it, in tuning/runs")
    common.add_output(parser, "the folder for table and figure; those of an earlier call go")
    common.add_learning(parser)


def execute(options: argparse.Namespace, console: Console) -> int:
    run = common.run_options(options)
    from benchmark.commands.tune.command import TuneOptions, tune

    return tune(TuneOptions(run, options.grid, options.tasks, options.output), console)
