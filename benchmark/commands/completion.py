"""`completion`: what a shell must load to complete commands, options, presets and plug-ins."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING

from benchmark.commands.parsing.options import add_command

if TYPE_CHECKING:
    from rich.console import Console

    from benchmark.commands.parsing.options import Commands

SHELLS = ("bash", "zsh", "fish")


def add_parser(commands: Commands) -> None:
    parser = add_command(
        commands,
        "completion",
        execute,
        summary="print what a shell must load to complete commands and options",
        description=(
            "Print what a shell must load to complete ./run_benchmark.py with the Tab key. The virtual environment must be\n"
            "active (source .venv/bin/activate). To complete `python run_benchmark.py` instead, load in bash or zsh:\n"
            'eval "$(activate-global-python-argcomplete --dest=-)"'
        ),
        examples={"completion bash": 'eval "$(python run_benchmark.py completion bash)" in ~/.bashrc loads it'},
    )
    parser.add_argument("shell", choices=SHELLS)


def execute(options: argparse.Namespace, console: Console) -> int:
    from argcomplete import shellcode

    sys.stdout.write(shellcode(["run_benchmark.py"], shell=options.shell))
    return 0
