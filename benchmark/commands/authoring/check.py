"""`check`: the requirements of a method, an attack or a scenario, one by one, on one plug-in."""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from benchmark.commands.parsing import choices
from benchmark.commands.parsing.options import add_command, add_data, add_overrides

if TYPE_CHECKING:
    from rich.console import Console

    from benchmark.commands.parsing.options import Commands


def add_parser(commands: Commands) -> None:
    parser = add_command(
        commands,
        "check",
        execute,
        summary="try the contract of a method, an attack or a scenario",
        description="Try every requirement that a method, an attack or a scenario must keep. Exit code 1 if one does not hold.",
        examples={
            "check my_method.py": "a plug-in of your own",
            "check cmat --set retrain_epochs=1": "a built-in one, with other settings",
        },
    )
    action = parser.add_argument(
        "plugin", metavar="NAME|FILE.py", help="a built-in plug-in, or the file of one of yours"
    )
    choices.completed(action, choices.plugins)
    add_overrides(parser, "settings of the plug-in, such as retrain_epochs=1")
    add_data(parser, "the folder of a scenario's images", download=False)


def execute(options: argparse.Namespace, console: Console) -> int:
    return check(options.plugin, options.overrides, options.data_root, console)


def check(name: str, overrides: Sequence[str], data_root: Path | None, console: Console) -> int:
    """Print for each requirement whether the plug-in keeps it. Returns 0, or 1 if it does not keep one.

    name: of a built-in plug-in, or the path of a file.
    overrides: `key=value` each, settings of the plug-in.
    Raises ConfigError if the file holds no plug-in, DataError if the images of a scenario are missing.
    """
    from benchmark.contract.requirement import RequirementResult
    from benchmark.contract.targets import check_target, find_target

    target = find_target(name)
    results: list[RequirementResult] = []
    console.print(f"checking {target}", highlight=False, markup=False)
    with tempfile.TemporaryDirectory(prefix="check-") as folder:
        for result in check_target(target, Path(folder), overrides, data_root):
            style = "dim" if result.skipped else "red" if result.problem else None
            console.print(str(result), style=style, highlight=False, markup=False)
            for line in result.odd:
                console.print(f"warn {line}", style="yellow", highlight=False, markup=False)
            results.append(result)
    failed = sum(bool(result.problem) for result in results)
    skipped = sum(bool(result.skipped) for result in results)
    counts = [f"{len(results)} requirements", f"{len(results) - failed - skipped} hold", f"{failed} failed"]
    if skipped:
        counts.append(f"{skipped} skipped: they need what failed")
    console.print(", ".join(counts), highlight=False, markup=False)
    return 1 if failed else 0
