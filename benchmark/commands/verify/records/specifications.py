"""The stored specification of an attack: the attack is made of it again, and must say of itself what is recorded."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from attacks.base import Attack, AttackError
from attacks.parts.foreign.submitted import Submitted
from attacks.threat_model import ThreatModel, ThreatModelError
from benchmark.commands.verify.findings import Problems
from benchmark.errors import ConfigError
from benchmark.evaluating.fingerprints import attack_name
from benchmark.plugins import ATTACKS
from results.files import canonical_json
from results.records import name_of_older
from results.schema import OLDER_VERSIONS

COMMON = ("attack", "version", "file", "norm", "eps")
"""Fields of every specification; the others are the attack's own."""
IN_COLUMNS = {
    "kind": "attack",
    "norm": "norm",
    "eps": "eps",
    "step_size": "step_size",
    "restarts": "restarts",
    "loss": "loss",
    "attack_version": "version",
}
"""Columns of an evaluation that repeat a field of the specification, with the name of that field."""
OF_THE_ATTACK = (*IN_COLUMNS, "specification", "attack", "steps", "seed")
"""Columns of an evaluation that `verify_columns` reads."""


class UnknownAttackError(Exception):
    """The attack's file is not here, so its name and its fields cannot be verified. The message is one line."""


def made_of(specification: Mapping[str, Any]) -> Attack:
    """The attack that a specification describes.

    Raises UnknownAttackError if the attack is not here, and AttackError if the fields make no attack.
    """
    kind = str(specification.get("attack"))
    if specification.get("file"):
        raise UnknownAttackError(f"{kind} is of a file outside the repository")
    try:
        cls: type[Attack] = Submitted if kind == Submitted.KIND else ATTACKS.named(kind).cls
    except ConfigError:
        raise UnknownAttackError(f"there is no attack {kind} here") from None
    given = {name: value for name, value in specification.items() if name not in COMMON}
    version = specification.get("version")
    given |= OLDER_VERSIONS.get((kind, version), {}) if isinstance(version, int) else {}
    fields = {name: made_of(value) if _is_attack(value) else value for name, value in given.items()}
    known = {item.name for item in dataclasses.fields(cls) if item.init}
    try:
        model = ThreatModel(str(specification["eps"]), str(specification["norm"]))  # type: ignore[arg-type]
        if set(fields) - known:
            raise AttackError(f"{kind} has no field {sorted(set(fields) - known)[0]}")
        return cls(threat_model=model, **fields)
    except (KeyError, TypeError, ThreatModelError) as error:
        raise AttackError(f"{kind}: {error}") from None


def _is_attack(value: Any) -> bool:
    """True if a field of a specification is itself the specification of an attack."""
    return isinstance(value, Mapping) and "attack" in value


def verify_columns(row: Mapping[str, Any], specification: Mapping[str, Any], where: str, problems: Problems) -> None:
    """Compare an evaluation's row with its specification, and the specification with the attack that it describes.

    Raises UnknownAttackError if the attack is not here. The row was compared with the specification by then.
    """
    for column, name in IN_COLUMNS.items():
        if _as_json(row[column]) != specification.get(name):
            problems.add(f"{column} is not what the specification says", [where])
    if canonical_json(specification) != row["specification"]:
        problems.add("a specification that is not in canonical form", [where])
    try:
        attack = made_of(specification)
    except AttackError as error:
        problems.add("a specification that makes no attack", [f"{where} ({error})"])
        return
    if _without_versions(attack.specification()) != _without_versions(specification):
        problems.add("a specification that lacks fields of its attack, or has others", [where])
    if int(row["steps"]) != attack.steps:
        problems.add("steps are not what the specification says", [where])
    name = attack_name(attack, int(row["seed"]), str(row["precision"]))
    if name not in (row["attack"], name_of_older(row["attack"])):
        problems.add("an attack's name that is not that of its specification", [f"{where} (it is {name})"])


def _as_json(cell: Any) -> Any:
    """A cell of a table as JSON has it: whole numbers, and None for a missing value."""
    if cell is None or cell != cell:
        return None
    return cell if isinstance(cell, str) else int(cell)


def _without_versions(specification: Mapping[str, Any]) -> dict[str, Any]:
    """A specification without versions: they are raised on purpose, and older numbers keep theirs."""
    return {
        name: _without_versions(value) if _is_attack(value) else value
        for name, value in specification.items()
        if name != "version"
    }
