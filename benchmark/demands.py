"""From a preset's attack entries to attacks: sweeps multiplied out, every field checked."""

from __future__ import annotations

import dataclasses
import itertools
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from attacks.base import Attack, AttackError
from attacks.threat_model import ThreatModel, ThreatModelError, parse_fraction
from benchmark.errors import ConfigError, nearest
from benchmark.plugins import ATTACKS


@dataclass(frozen=True)
class Demand:
    """An attack, and on how many samples of each task (None: all)."""

    attack: Attack
    samples: int | None = None

    def covers(self, test_size: int) -> int:
        return test_size if self.samples is None else min(self.samples, test_size)


def demands(entries: Sequence[Mapping[str, Any]], eps: Fraction, where: str) -> list[Demand]:
    """The attacks of a preset's list. A field given as a list is a sweep; several such fields are multiplied out.

    where: the field's place in the preset, for messages. Raises ConfigError.
    """
    return joined([demand for i, entry in enumerate(entries) for demand in _expand(entry, eps, f"{where}[{i}]")])


def joined(demands: Iterable[Demand]) -> list[Demand]:
    """The demands without repetition: the same attack twice is one attack, on the larger number of samples."""
    found: dict[Attack, Demand] = {}
    for demand in demands:
        counts = (found.get(demand.attack, demand).samples, demand.samples)
        found[demand.attack] = Demand(demand.attack, None if None in counts else max(c for c in counts if c))
    return list(found.values())


def _expand(entry: Mapping[str, Any], eps: Fraction, where: str) -> list[Demand]:
    if "attack" not in entry:
        raise ConfigError(f"{where}: expected {{attack: NAME, ...}}, got {entry!r}")
    fields = dict(entry)
    plugin = ATTACKS.find(str(fields.pop("attack")))
    samples = fields.pop("samples", None)
    if samples is not None and (not isinstance(samples, int) or isinstance(samples, bool) or samples < 1):
        raise ConfigError(f"{where}.samples = {samples!r}: a number of images per task, 1 or more")
    valid = {field.name for field in dataclasses.fields(plugin.cls)} - {"threat_model"} | {"norm", "eps"}
    for name in fields:
        if name not in valid:
            raise ConfigError(
                f"{where}: attack {plugin.name} has no field {name!r}{nearest(name, valid | {'samples'})}"
            )
    swept = {name: value if isinstance(value, list) else [value] for name, value in fields.items()}
    if empty := [name for name, values in swept.items() if not values]:
        raise ConfigError(f"{where}.{empty[0]} = []: an empty sweep; give one value or more")
    attacks = []
    for values in itertools.product(*swept.values()):
        chosen = dict(zip(swept, values, strict=True))
        attacks.append(Demand(_build(plugin.cls, chosen, eps, f"{where} ({plugin.name})"), samples))
    return attacks


def _build(cls: type[Attack], fields: dict[str, Any], eps: Fraction, where: str) -> Attack:
    try:
        has_own = any(
            field.name == "threat_model" and field.default is not dataclasses.MISSING
            for field in dataclasses.fields(cls)
        )
        if has_own and ("eps" in fields or "norm" in fields):
            raise ConfigError(f"{where}: this attack has a threat model of its own; leave eps and norm out")
        if not has_own:
            own_eps = parse_fraction(fields.pop("eps", eps), eps)
            fields["threat_model"] = ThreatModel(own_eps, fields.pop("norm", "linf"))
        return cls(**fields)
    except (AttackError, ThreatModelError) as error:
        raise ConfigError(f"{where}: {error}") from None
    except TypeError as error:
        missing = re.findall(r"'(\w+)'", str(error)) if "missing" in str(error) else []
        raise ConfigError(f"{where}: missing {', '.join(missing)}" if missing else f"{where}: {error}") from None
