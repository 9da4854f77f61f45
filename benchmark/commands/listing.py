"""`list`: what there is to choose from, and what is stored."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmark.commands.parsing.options import add_command, add_results, must_be_there
from benchmark.planning.options import PUBLISHED
from benchmark.planning.preset_files import available, read_preset

if TYPE_CHECKING:
    from rich.console import Console

    from benchmark.commands.parsing.options import Commands
    from benchmark.plugins import Kind
    from methods.base import Method

Rows = list[dict[str, str]]
"""The lines of a table, each a text by column."""


def add_parser(commands: Commands) -> None:
    parser = add_command(
        commands,
        "list",
        execute,
        summary="show methods, attacks, scenarios, presets and stored runs",
        description="Show what there is to choose from. Without a word: everything but the runs.",
        examples={
            "list": "methods, attacks, scenarios and presets",
            "list presets": "one kind alone",
            "list runs --results my-runs": "the runs in a folder beside the published ones",
        },
    )
    parser.add_argument("what", nargs="?", choices=[*KINDS, "runs"])
    add_results(parser)


def execute(options: argparse.Namespace, console: Console) -> int:
    must_be_there(options.results)
    if options.what == "runs":
        show_runs(options.results, PUBLISHED, console)
    else:
        for name in [options.what] if options.what else KINDS:
            show(name, KINDS[name](), console)
    return 0


def methods() -> Rows:
    """Every method: name, summary, what it needs and claims, and its paper."""
    from benchmark.plugins import METHODS
    from methods.base import NEEDS

    return [
        row
        | {
            "needs": ", ".join(NEEDS.get(word, word) for word in sorted(plugin.cls.needs)),
            "claims": ", ".join(_claims(plugin.cls)),
            "paper": plugin.cls.paper,
        }
        for row, plugin in zip(_summaries(METHODS), METHODS.all().values(), strict=True)
    ]


def attacks() -> Rows:
    """Every attack, by the name that presets use."""
    from benchmark.plugins import ATTACKS

    return [row | {"name": row["name"].replace("_", "-")} for row in _summaries(ATTACKS)]


def scenarios() -> Rows:
    from benchmark.plugins import SCENARIOS

    return _summaries(SCENARIOS)


def presets() -> Rows:
    """Every built-in preset. Imports no torch."""
    files = {name: read_preset(path) for name, path in available().items()}
    return [{"name": name, "summary": " ".join(str(file["description"]).split())} for name, file in files.items()]


KINDS: dict[str, Callable[[], Rows]] = {
    "methods": methods,
    "attacks": attacks,
    "scenarios": scenarios,
    "presets": presets,
}
"""The tables of `list`, by the word that asks for them. Stored runs have a table of their own."""


def _summaries(kind: Kind[Any]) -> Rows:
    return [{"name": plugin.name, "summary": plugin.summary} for plugin in kind.all().values()]


def _claims(cls: type[Method]) -> list[str]:
    """The claims of a method. Those that it makes under other settings than its defaults are marked."""
    from methods.base import CLAIMS

    try:
        by_default = cls(cls.Settings()).claimed()
    except ValueError:  # it has no defaults
        by_default = cls.claims
    return [CLAIMS.get(c, c) + ("" if c in by_default else " (by setting)") for c in sorted(cls.claims)]


def show(title: str, rows: Rows, console: Console) -> None:
    """Print a table. rows: one or more."""
    from rich.table import Table

    table = Table(*rows[0], title=title, title_justify="left")
    for row in rows:
        table.add_row(*row.values())
    console.print(table)


def show_runs(runs: Path, published: Path, console: Console) -> None:
    """Print a line per stored run, and below them what could not be read."""
    from results import load

    results = load(runs, published)
    rows = [
        {
            "run": "published" if run.published else run.directory.name,
            "label": run.label,
            "seed": str(run.seed),
            "presets": ", ".join(sorted(run.protocols)),
            "state": f"failed: {run.failures[-1].get('message', '')}"
            if run.failures
            else f"{run.predictions['after_task'].nunique()} tasks evaluated",
        }
        for run in results.runs
    ]
    if rows:
        show("runs", rows, console)
    else:
        console.print(f"no runs in {runs}", highlight=False, markup=False)
    for problem in results.problems:
        console.print(f"not readable: {problem}", style="yellow", highlight=False, markup=False)
