"""Stored attacks as attacks again: what a record says of an attack must be what that attack says of itself."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from attacks.base import Attack, AttackError
from attacks.parts.submitted import Submitted
from attacks.threat_model import ThreatModel, ThreatModelError
from benchmark.commands.verify.findings import Problems
from benchmark.errors import ConfigError
from benchmark.plugins import ATTACKS
from results.files import canonical_json

OWN = ("attack", "version", "file", "norm", "eps")
"""What every specification holds beside the attack's own fields."""


class UnknownAttackError(Exception):
    """The attack's file is not here, so nothing can be said of its name; one line."""


def rebuilt(specification: Mapping[str, Any]) -> Attack:
    """The attack that a stored specification describes.

    Raises UnknownAttackError for an attack that is not here, AttackError for fields that make no attack.
    """
    kind = str(specification.get("attack"))
    if specification.get("file"):
        raise UnknownAttackError(f"{kind} is of a file outside the repository")
    try:
        cls: type[Attack] = Submitted if kind == Submitted.KIND else ATTACKS.find(kind).cls
    except ConfigError:
        raise UnknownAttackError(f"there is no attack {kind} here") from None
    given = {name: value for name, value in specification.items() if name not in OWN}
    fields = {name: rebuilt(value) if _is_attack(value) else value for name, value in given.items()}
    known = {item.name for item in dataclasses.fields(cls) if item.init}
    try:
        model = ThreatModel(str(specification["eps"]), str(specification["norm"]))  # type: ignore[arg-type]
        if set(fields) - known:
            raise AttackError(f"{kind} has no field {sorted(set(fields) - known)[0]}")
        return cls(threat_model=model, **fields)
    except (KeyError, TypeError, ThreatModelError) as error:
        raise AttackError(f"{kind}: {error}") from None


def _is_attack(value: Any) -> bool:
    return isinstance(value, Mapping) and "attack" in value


def check_columns(row: Mapping[str, Any], specification: Mapping[str, Any], where: str, problems: Problems) -> None:
    """Hold an evaluation's row against its own specification, and that against the attack it describes.

    Raises UnknownAttackError where the attack is not here; its columns were held against the specification then.
    """
    plain = {"kind": "attack", "attack_version": "version", **{name: name for name in ("norm", "eps", "loss")}}
    plain |= {"step_size": "step_size", "restarts": "restarts"}
    for column, name in plain.items():
        if _plain(row[column]) != specification.get(name):
            problems.add(f"{column} is not what the specification says", [where])
    if canonical_json(specification) != row["specification"]:
        problems.add("a specification that is not in canonical form", [where])
    try:
        attack = rebuilt(specification)
    except AttackError as error:
        problems.add("a specification that makes no attack", [f"{where} ({error})"])
        return
    if _without_version(attack.specification()) != _without_version(specification):
        problems.add("a specification that lacks fields of its attack, or has others", [where])
    if int(row["steps"]) != attack.steps:
        problems.add("steps are not what the specification says", [where])
    name = attack.name if int(row["seed"]) == 0 else f"{attack.name} seed={int(row['seed'])}"
    if row["attack"] != name:
        problems.add("an attack's name that is not that of its specification", [f"{where} (it is {name})"])


def _plain(value: Any) -> Any:
    """A cell of a table as JSON has it: numbers whole, nothing where nothing is."""
    if value is None or value != value:
        return None
    return value if isinstance(value, str) else int(value)


def _without_version(specification: Mapping[str, Any]) -> dict[str, Any]:
    """Versions are raised on purpose: older numbers keep theirs."""
    return {
        name: _without_version(value) if _is_attack(value) else value
        for name, value in specification.items()
        if name != "version"
    }
