"""Stored verdicts against what the records say now."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from benchmark.commands.verify.findings import Finding, Problems
from benchmark.running.verdict_files import NAME, verdicts_of
from reports.numbers.wording import counted
from results.files import StoreError, read_json
from results.records import Run


def check_verdicts(run: Run, runs: Path, published: Path | None) -> list[Finding]:
    """Derive the verdicts of a run again under every preset that its file has; no group where there is no file.

    runs, published: where the other rows are, which some checks compare with. Checks that are stored and no longer made, or made
    and not stored, are of another version and not compared.
    """
    path = run.directory / NAME
    if not path.exists():
        return []
    problems, count = Problems(), 0
    try:
        stored = read_json(path)
        for preset, said in stored.items():
            if preset not in run.protocols:
                problems.add("verdicts under a preset that did not demand the run", [preset])
                continue
            try:
                found = verdicts_of(runs, published, preset).get(run.hash)
            except (ArithmeticError, LookupError, TypeError, ValueError) as error:
                # Numbers are made of what was demanded: where that is no demand, none can be.
                problems.add("verdicts cannot be derived from these records", [f"{preset} ({error})"])
                continue
            if found is None:
                problems.add("verdicts under a preset that the run is no row of", [preset])
                continue
            mine, theirs = _by_check(found[1]), _by_check(said)
            both = [name for name in mine if name in theirs]
            count += len(both)
            differing = [f"{name} ({theirs[name]}, now {mine[name]})" for name in both if mine[name] != theirs[name]]
            problems.add("a verdict that the records do not give", differing)
            if set(mine) == set(theirs) and not differing and said.get("verdict") != found[1]["verdict"]:
                problems.add("an overall verdict that the checks do not give", [f"{preset} ({said.get('verdict')})"])
    except (StoreError, AttributeError, KeyError, TypeError):
        problems.add(f"{NAME} cannot be read")
    return [Finding("verdicts", counted(count, "verdict"), problems.lines())]


def _by_check(verdicts: dict[str, Any]) -> dict[str, str]:
    return {str(each["check"]): str(each["status"]) for each in verdicts["checks"]}
