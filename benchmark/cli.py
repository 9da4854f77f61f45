"""The command line: joins the commands, and turns mistakes of users into one line and an exit code.

A command's module adds its parser and imports what is large (torch, pandas) only when it is executed, so that help and mistakes
are answered at once.
"""

from __future__ import annotations

import argparse
import errno
import os
import shlex
import sys
import threading
from collections.abc import Sequence
from typing import TYPE_CHECKING

from benchmark.commands import completion, listing, report, run
from benchmark.commands.audit import parser as audit
from benchmark.commands.authoring import check, new_method
from benchmark.commands.evaluate import parser as evaluate
from benchmark.commands.parsing.options import OUTPUT, OneLineParser, examples_text
from benchmark.commands.stored import merge, pack, status
from benchmark.commands.timing import parser as timing
from benchmark.commands.tune import parser as tune
from benchmark.commands.verify import parser as verify
from benchmark.errors import ConfigError, one_line
from benchmark.planning.options import RUNS, RunOptions
from benchmark.processes import Terminated, end_when_told, steady_streams

if TYPE_CHECKING:
    from rich.console import Console

COMMANDS = (
    run,
    status,
    report,
    listing,
    evaluate,
    audit,
    tune,
    verify,
    pack,
    merge,
    check,
    new_method,
    timing,
    completion,
)
DEFAULT_PRESET = "digits"
RESUMED = ("run", "audit", "tune")
"""Commands that go on where they were stopped."""

NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EIO)
"""Errors of a disk, which libraries raise without the name of the file."""

PLACES = ("--data-root", "--results", "--output")
"""Options whose values say where somebody keeps files, which is of no use to others."""
LOG = "--log"
"""The option whose value may name a tool and, after `=`, a place."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command.

    Exit codes: 0 done; 1 something failed (a cell, a requirement, with --strict a check); 2 the command, the configuration or the
    data is wrong; 130 stopped by Ctrl-C, 143 by SIGTERM.
    """
    with steady_streams():
        return _main(list(sys.argv[1:] if arguments is None else arguments))


def _main(given: Sequence[str]) -> int:
    try:
        try:
            return _executed(given)
        finally:
            # A full disk may show only here, and nothing may be lost without a word.
            sys.stdout.flush()
    except ConfigError as error:
        return _mistake(str(error))
    except OSError as error:
        if error.filename is None and error.errno not in NO_ROOM:
            raise
        return _mistake(f"{error.filename}: {error.strerror}" if error.filename else str(error.strerror))
    except KeyboardInterrupt as stopped:
        goes_on = not given or given[0] in RESUMED
        sys.stderr.write("stopped; the same command goes on from the last finished stage\n" if goes_on else "stopped\n")
        return 143 if isinstance(stopped, Terminated) else 130
    except Exception as error:
        if not _is_mistake(error):
            raise
        return _mistake(str(error))


def _executed(given: Sequence[str]) -> int:
    """Execute the command. Returns its exit code."""
    parser = make_parser()
    if "_ARGCOMPLETE" in os.environ:
        import argcomplete

        argcomplete.autocomplete(parser)
    options = parser.parse_args(given)
    options.command = recorded(given)
    if threading.current_thread() is threading.main_thread():
        # From a scheduler: workers end, files are whole, the same command goes on.
        end_when_told()
    try:
        code: int = options.execute(options, _console())
        return code
    except SystemExit as error:
        # No command ends like this. Code of a plug-in does, and would end the program without a word.
        from benchmark.plugins import ended

        return _mistake(f"code of a plug-in ends the program {ended(error)}")


def _mistake(line: str) -> int:
    sys.stderr.write(f"error: {one_line(line)}\n")
    return 2


def _is_mistake(error: Exception) -> bool:
    """True if the message of an error is all that a user needs; any other error is a bug and shows its traceback."""
    from results.files import StoreError

    if isinstance(error, StoreError):
        return True
    # Imported last: whoever raised one of these has imported torch already, and `report` raises neither.
    from methods.base import MethodError
    from scenarios.base import DataError

    return isinstance(error, DataError | MethodError)


def _console() -> Console:
    from reports.console import PlainConsole

    # A file or a pipe has no width: tables get enough to be read, and lines are not broken.
    return PlainConsole() if sys.stdout.isatty() else PlainConsole(width=120, soft_wrap=True)


def recorded(given: Sequence[str]) -> str:
    """The command line as it is recorded with results: `DIR` stands for the places of files."""
    words = [_without_place(before, word) for before, word in zip(["", *given], given, strict=False)]
    # An argument may hold bytes that are no UTF-8; a file of records may not.
    return shlex.join(["python", "run_benchmark.py", *words]).encode("utf-8", "replace").decode("utf-8")


def _without_place(before: str, word: str) -> str:
    """A word of the command line as it is recorded. before: the word before it."""
    name, equals, value = word.partition("=")
    if before in PLACES:
        return "DIR"
    if equals and (name in PLACES or before == LOG):
        return f"{name}=DIR"
    if name == LOG and "=" in value:
        return f"{LOG}={value.partition('=')[0]}=DIR"
    return word


def make_parser() -> OneLineParser:
    parser = OneLineParser(
        prog="run_benchmark.py",
        description=(
            "A benchmark of continual adversarial defenses. Without a command: the preset digits end to end, and its report."
        ),
        epilog=examples_text(
            {
                "run --preset cifar100-cpu --methods packnet": "one method on real images, on a CPU",
                "report": "the leaderboard, from everything stored",
                "run --help": "the options of a command, with examples",
            }
        ),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action=_Version, help="show the version and the commit")
    parser.set_defaults(execute=_run_and_report)
    commands = parser.add_subparsers(title="commands", metavar="COMMAND")
    for command in COMMANDS:
        command.add_parser(commands)
    return parser


class _Version(argparse.Action):
    """Asks for the version only when it is wanted: git takes a moment."""

    def __init__(self, option_strings: Sequence[str], dest: str, help: str | None = None) -> None:
        super().__init__(option_strings, argparse.SUPPRESS, nargs=0, default=argparse.SUPPRESS, help=help)

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        from benchmark.version import version

        sys.stdout.write(f"{version()}\n")
        parser.exit()


def _run_and_report(options: argparse.Namespace, console: Console) -> int:
    """Run the default preset and report it."""
    code = run.run(RunOptions(DEFAULT_PRESET, apart=run.APART, command=options.command), console)
    return max(code, report.report(RUNS, OUTPUT, console))
