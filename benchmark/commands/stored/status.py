"""`status`: what is running, finished and failed in a folder of runs, and how long it will take."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from benchmark.commands.parsing import options as common

if TYPE_CHECKING:
    from rich.console import Console

    from benchmark.commands.stored.folder_state import FolderState
    from benchmark.running.progress.alive import Pulse

SECONDS = 2.0
"""Between two looks of `--watch`."""


def add_parser(commands: common.Commands) -> None:
    parser = common.add_command(
        commands,
        "status",
        execute,
        summary="show what is running, finished, failed, and how long is left",
        description=(
            "Show what is running, finished, failed, and how long is left. It reads files alone, so it may be asked from any\n"
            "terminal, and from any machine that sees the folder of runs."
        ),
        examples={
            "status": "the runs in results/runs",
            "status --watch": "the same, live, until nothing runs any more",
            "status --results /shared/runs --preset cifar100 --json": "one board of several machines, for a script",
        },
    )
    common.add_results(parser)
    parser.add_argument("--preset", metavar="NAME", help="runs of this board alone")
    parser.add_argument("--watch", action="store_true", help="look again every few seconds until nothing runs any more")
    parser.add_argument("--json", action="store_true", help="as JSON, a line per look, with the finished runs too")


def execute(options: argparse.Namespace, console: Console) -> int:
    common.must_be_there(options.results)
    from benchmark.commands.stored.folder_state import take
    from benchmark.running.progress.alive import Pulse

    pulse = Pulse(options.results)

    def look() -> FolderState:
        return take(options.results, options.preset, pulse)

    say = _say_json if options.json else _printed_on(console)
    found = _settled(look, pulse)
    if not (options.watch and found.is_running):
        say(found)
    elif options.json or not console.is_terminal:
        _watch(look, found, say)
    else:
        _watch_in_place(look, found, console)
    return 0


def _settled(look: Callable[[], FolderState], pulse: Pulse) -> FolderState:
    """The present state. If the times of files make no sense, a second look some seconds later tells what lives."""
    from results.store import HEARTBEAT_SECONDS

    found = look()
    if pulse.unsure:
        time.sleep(HEARTBEAT_SECONDS + SECONDS)
        found = look()
    return found


def _watch(look: Callable[[], FolderState], found: FolderState, say: Callable[[FolderState], None]) -> None:
    """Look again and again until nothing runs any more, and say what changed."""
    say(found)
    while found.is_running:
        time.sleep(SECONDS)
        before, found = found, look()
        if found != before:
            say(found)


def _watch_in_place(look: Callable[[], FolderState], found: FolderState, console: Console) -> None:
    """The same on a terminal, in one place."""
    from rich.live import Live

    with Live(found.table(), console=console, auto_refresh=False) as live:
        while found.is_running:
            time.sleep(SECONDS)
            found = look()
            live.update(found.table(), refresh=True)


def _printed_on(console: Console) -> Callable[[FolderState], None]:
    return lambda found: console.print(found.table())


def _say_json(found: FolderState) -> None:
    sys.stdout.write(json.dumps(found.to_json(), ensure_ascii=False) + "\n")
    sys.stdout.flush()
