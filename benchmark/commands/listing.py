"""`list`: what there is to choose from, and what is stored."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml
from rich.console import Console
from rich.table import Table

from benchmark.planning.presets import available
from benchmark.plugins import ATTACKS, METHODS, SCENARIOS, Kind
from methods.base import CLAIMS, NEEDS, Method
from results import load

WHAT = ("methods", "attacks", "scenarios", "presets", "runs")


def show(what: str | None, runs: Path, published: Path, console: Console) -> None:
    """Print one of `WHAT`, or all but the runs."""
    for name in [what] if what else WHAT[:-1]:
        if name == "presets":
            _presets(console)
        elif name == "runs":
            _runs(runs, published, console)
        else:
            kinds: dict[str, Kind[Any]] = {"methods": METHODS, "attacks": ATTACKS, "scenarios": SCENARIOS}
            _plugins(kinds[name], name, console)


def _plugins(kind: Kind[Any], title: str, console: Console) -> None:
    table = Table(title=title, title_justify="left")
    columns = ["name", "what it is"] + (["needs", "claims", "paper"] if kind.base is Method else [])
    for column in columns:
        table.add_column(column)
    for plugin in kind.all().values():
        extra = []
        if kind.base is Method:
            needs = [NEEDS.get(word, word) for word in sorted(plugin.cls.needs)]
            extra = [", ".join(needs), ", ".join(_claims(plugin.cls)), plugin.cls.paper]
        name = plugin.name.replace("_", "-") if kind is ATTACKS else plugin.name
        table.add_row(name, plugin.summary, *extra)
    console.print(table)


def _claims(cls: type[Method]) -> list[str]:
    """What a method claims, and what it claims under other settings than its defaults."""
    try:
        by_default = cls(cls.Settings()).claimed()
    except ValueError:  # it has no defaults
        by_default = cls.claims
    return [CLAIMS.get(c, c) + ("" if c in by_default else " (by setting)") for c in sorted(cls.claims)]


def _presets(console: Console) -> None:
    table = Table("name", "what it is", title="presets", title_justify="left")
    for name, path in available().items():
        table.add_row(name, " ".join(str(yaml.safe_load(path.read_text(encoding="utf-8"))["description"]).split()))
    console.print(table)


def _runs(runs: Path, published: Path, console: Console) -> None:
    results = load(runs, published)
    table = Table("run", "label", "seed", "presets", "state", title="runs", title_justify="left")
    for run in results.runs:
        turns = sorted(run.predictions["after_task"].unique()) if len(run.predictions) else []
        state = f"failed: {run.failures[-1].get('message', '')}" if run.failures else f"{len(turns)} tasks measured"
        place = "published" if run.published else run.directory.name
        table.add_row(place, run.label, str(run.seed), ", ".join(sorted(run.protocols)), state)
    console.print(table)
    for problem in results.problems:
        console.print(f"not readable: {problem}", style="yellow", highlight=False, markup=False)
    if not results.runs:
        console.print(f"no runs in {runs}", highlight=False, markup=False)
