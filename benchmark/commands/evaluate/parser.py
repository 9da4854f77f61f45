"""The options of `evaluate`."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from benchmark.commands.evaluate.files import module_file
from benchmark.commands.parsing import choices
from benchmark.commands.parsing import options as common

if TYPE_CHECKING:
    from rich.console import Console


def add_parser(commands: common.Commands) -> None:
    parser = common.add_command(
        commands,
        "evaluate",
        execute,
        summary="attack an nn.Module of yours under a preset's protocol",
        description=(
            "Attack an nn.Module of yours, from images in [0, 1] to logits, on one task under a preset's protocol.\n"
            "Under a preset that tells no task, such as fashion-class, it answers among the classes of all tasks.\n"
            "Nothing is trained. Exit code 1 if an attack fails."
        ),
        examples={
            "evaluate my_model.py --preset digits --task 0": "the one nn.Module in a file",
            "evaluate my_model.py:make --preset digits --task digits_2_3 --output attacks.csv": "what make() returns",
            "evaluate my_model.py --preset fashion-class": "one network for the classes of all tasks",
        },
    )
    action = parser.add_argument(
        "file", metavar="FILE.py[:NAME]", help="an nn.Module, or a class or function that makes one"
    )
    choices.completed(action, choices.python_files)
    common.add_preset(parser, "the preset whose data and attacks are used")
    parser.add_argument(
        "--task", metavar="T", help="number or name of the task (default, where no task is told at test: all tasks)"
    )
    common.add_overrides(parser)
    common.add_data(parser)
    common.add_device(parser)
    parser.add_argument(
        "--output", type=Path, metavar="FILE.csv|FILE.json", help="write the table there too; as JSON, everything found"
    )
    common.add_strict(parser)


def execute(options: argparse.Namespace, console: Console) -> int:
    # A mistyped file is told before anything large is imported.
    module_file(options.file)
    from benchmark.commands.evaluate.command import evaluate

    given = common.run_options(options)
    return evaluate(options.file, options.task, given, console, options.output, strict=options.strict)
