"""The options of `verify`."""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from benchmark.commands.parsing import choices
from benchmark.commands.parsing import options as common
from benchmark.errors import ConfigError

if TYPE_CHECKING:
    from rich.console import Console


def add_parser(commands: common.Commands) -> None:
    parser = common.add_command(
        commands,
        "verify",
        execute,
        summary="verify what a stored run says of itself, without running an attack",
        description="Verify what a stored run says of itself, without running an attack. Exit code 1 if something does not hold.",
        examples={
            "verify 0e1f2a": "the run whose hash begins so; a label will do if one run alone has it",
            "verify cmat --submit images.npz --task 3": "score images of your own attack on a run, and keep them",
        },
    )
    action = parser.add_argument("run", metavar="RUN", help="the beginning of a run's hash, or its label")
    choices.completed(action, choices.runs)
    common.add_results(parser)
    common.add_preset(
        parser,
        "the preset that demanded the run, if its record does not say enough, or if other boards have a run of that label too",
        required=False,
    )
    common.add_data(parser, download=False)
    common.add_device(parser)
    parser.add_argument(
        "--submit",
        type=Path,
        metavar="FILE",
        help="adversarial images of another attack (.npz, .safetensors) to score and keep",
    )
    parser.add_argument("--task", metavar="T", help="with --submit: number or name of the task they are of")


def execute(options: argparse.Namespace, console: Console) -> int:
    common.must_be_there(options.results)
    if (options.submit is None) != (options.task is None):
        raise ConfigError("--submit FILE and --task T go together: images are of one task")
    submission = None if options.submit is None else (options.submit, options.task)
    given = common.run_options(options)
    from benchmark.commands.verify.command import verify

    # Nothing is written into what is verified, so no command is recorded.
    return verify(options.run, replace(given, preset=options.preset or "", command=""), console, submission)
