"""The stored verdicts of a run: its records must give the same ones now."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from benchmark.commands.verify.findings import Finding, Problems
from benchmark.running.verdict_files import NAME, verdicts_of
from reports.numbers.wording import counted
from results.files import StoreError, read_json
from results.records import Run


def verify_verdicts(run: Run, runs: Path, published: Path | None) -> list[Finding]:
    """Judge a run again under every preset that its file of verdicts names. No finding if there is no file.

    runs, published: the folders of the other rows, which some checks compare with. A check that is only stored, or only made
    now, is of another version and not compared.
    """
    path = run.directory / NAME
    if not path.exists():
        return []
    problems, count = Problems(), 0
    try:
        for preset, stored in read_json(path).items():
            if preset not in run.protocols:
                problems.add("verdicts under a preset that did not demand the run", [preset])
                continue
            # A run whose demand was edited is no row: no number can be made of it.
            found = verdicts_of(runs, published, preset).get(run.hash)
            if found is None:
                problems.add("verdicts under a preset that the run is no row of", [preset])
                continue
            count += _compare(preset, stored, found[1], problems)
    except (StoreError, AttributeError, KeyError, TypeError):
        problems.add(f"{NAME} cannot be read")
    return [Finding("verdicts", counted(count, "verdict"), problems.lines())]


def _compare(preset: str, stored: dict[str, Any], now: dict[str, Any], problems: Problems) -> int:
    """Compare the verdicts under one preset; return how many there are on both sides."""
    before, after = _by_check(stored), _by_check(now)
    both = [name for name in after if name in before]
    differing = [f"{name} ({before[name]}, now {after[name]})" for name in both if after[name] != before[name]]
    problems.add("a verdict that the records do not give", differing)
    if set(after) == set(before) and not differing and stored.get("verdict") != now["verdict"]:
        problems.add("an overall verdict that the checks do not give", [f"{preset} ({stored.get('verdict')})"])
    return len(both)


def _by_check(verdicts: dict[str, Any]) -> dict[str, str]:
    """The status of every verdict, by its check."""
    return {str(each["check"]): str(each["status"]) for each in verdicts["checks"]}
