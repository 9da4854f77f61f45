"""The identity of a run: its hashes are computed again, and two identities are compared field by field."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from benchmark.commands.verify.findings import Finding, Problems
from benchmark.planning.protocols import flat
from reports.numbers.wording import counted
from results.files import canonical_json, digest
from results.records import DIRECTORY_DIGITS, NAMES, Results, Run, identity_hash


def verify_identity(run: Run, results: Results) -> Finding:
    """Compute the hashes of the identity and of its row again, and compare the directory's name with them."""
    problems = Problems()
    fields = row_fields(run)
    found = identity_hash(run.identity)
    if found != run.hash:
        problems.add(f"the identity hashes to {found[:DIRECTORY_DIGITS]}, not to {run.hash[:DIRECTORY_DIGITS]}: edited")
    if run.directory.name != run.hash[:DIRECTORY_DIGITS]:
        problems.add(f"the directory is not named by the identity ({run.hash[:DIRECTORY_DIGITS]})")
    left_out = _verify_row(run, fields, {each.hash: each.row for each in results.runs}, problems)
    return Finding("identity", "config.json", problems.lines(), left_out)


def row_fields(run: Run) -> dict[str, Any]:
    """The fields of a run's identity that all seeds of its row have in common."""
    return {name: value for name, value in run.identity.items() if name not in (*NAMES, "seed")}


def _verify_row(run: Run, fields: Mapping[str, Any], rows: Mapping[str, str], problems: Problems) -> str:
    """Compute the row's hash again; return what could not be verified. rows: the row of each stored run, by the run's hash."""
    prerequisites = run.identity.get("prerequisites", [])
    needed = [str(each) for each in prerequisites] if isinstance(prerequisites, list) else []
    if needed and digest(fields) == run.row:
        return "the row's hash is of an older form, by which other seeds do not join this one"
    lacking = [each for each in needed if each not in rows]
    if lacking:
        return f"the row's hash: {counted(len(lacking), 'run')} needed for it not stored here"
    if digest({**fields, "prerequisites": sorted(rows[each] for each in needed)}) != run.row:
        problems.add("the row's hash is not that of the identity without its seed")
    return ""


def differing(stored: Mapping[str, Any], made: Mapping[str, Any]) -> str:
    """The fields that two identities differ in, by dotted name. Labels do not count: each preset has its own."""
    ours, theirs = (
        flat({name: value for name, value in as_stored(each).items() if name not in NAMES}) for each in (stored, made)
    )
    return ", ".join(name for name in dict.fromkeys([*ours, *theirs]) if ours.get(name) != theirs.get(name))


def as_stored(values: Mapping[str, Any]) -> dict[str, Any]:
    """The values as they come back from a JSON file: lists instead of tuples."""
    found: dict[str, Any] = json.loads(canonical_json(values))
    return found
