"""The options of `time`."""

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
        "time",
        execute,
        summary="time training and attacks on this machine",
        description="Time training and attacks on this machine, each beside what it is compared with.",
        examples={
            "time": "the network and recipe of the preset cifar100",
            "time --preset digits --output times.json": "those of another preset, kept in a file",
        },
    )
    common.add_preset(
        parser, "the preset whose network and recipe are timed (default: cifar100)", required=False, default="cifar100"
    )
    common.add_data(parser, "the folder of the images: loading them is timed too", download=False)
    common.add_device(parser)
    parser.add_argument("--output", type=Path, metavar="FILE.json", help="write the numbers there too")


def execute(options: argparse.Namespace, console: Console) -> int:
    from benchmark.commands.timing.command import show_times

    return show_times(options.preset, options.data_root, options.device, options.output, console)
