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
from attacks.transfer import Transfer
from benchmark.errors import ConfigError, nearest
from benchmark.plugins import ATTACKS, Plugin


@dataclass(frozen=True)
class Demand:
    """An attack, and on how many samples of each task (None: all)."""

    attack: Attack
    samples: int | None = None

    def covers(self, test_size: int) -> int:
        return test_size if self.samples is None else min(self.samples, test_size)


def demands(entries: Sequence[Mapping[str, Any]], eps: Fraction, where: str) -> list[Demand]:
    """The attacks of a preset's list. A field given as a list is a sweep; several such fields are multiplied out.

    `from: [label, earlier]` makes transfers: the attack is made on those classifiers. where: the field's place in the preset, for
    messages. Raises ConfigError.
    """
    return joined([demand for i, entry in enumerate(entries) for demand in _expand(entry, eps, f"{where}[{i}]")])


def joined(demands: Iterable[Demand]) -> list[Demand]:
    """The demands without repetition: the same attack twice is one attack, on the larger number of samples."""
    found: dict[Attack, Demand] = {}
    for demand in demands:
        counts = (found.get(demand.attack, demand).samples, demand.samples)
        found[demand.attack] = Demand(demand.attack, None if None in counts else max(c for c in counts if c))
    return list(found.values())


def is_transfer(demand: Demand) -> bool:
    """Whether the attack needs another classifier, and so can only be made when that one is there."""
    return isinstance(demand.attack, Transfer)


def check_classes(demands: Iterable[Demand], class_counts: Sequence[int], where: str) -> None:
    """Raise ConfigError for an attack that cannot be run on a task of so many classes, before anything is trained."""
    for demand in demands:
        for task, count in enumerate(class_counts):
            try:
                demand.attack.check_classes(count)
            except AttackError as error:
                raise ConfigError(f"{where}: {demand.attack.name} on task {task}: {error}") from None


def _expand(entry: Mapping[str, Any], eps: Fraction, where: str) -> list[Demand]:
    if "attack" not in entry:
        raise ConfigError(f"{where}: expected {{attack: NAME, ...}}, got {entry!r}")
    fields = dict(entry)
    kind, _, algorithm = str(fields.pop("attack")).partition(":")
    plugin = ATTACKS.find(kind)
    samples = fields.pop("samples", None)
    if samples is not None and (not isinstance(samples, int) or isinstance(samples, bool) or samples < 1):
        raise ConfigError(f"{where}.samples = {samples!r}: a number of images per task, 1 or more")
    sources = _sources(fields.pop("from", None), where)
    if plugin.cls is Transfer:
        raise ConfigError(
            f"{where}: a transfer is written as the attack that makes it, with from: {{attack: pgd, from: [LABEL]}}"
        )
    if not algorithm:
        _check_fields(plugin, fields, where)
    swept = {name: value if isinstance(value, list) else [value] for name, value in fields.items()}
    if empty := [name for name, values in swept.items() if not values]:
        raise ConfigError(f"{where}.{empty[0]} = []: an empty sweep; give one value or more")
    attacks = []
    for values in itertools.product(*swept.values()):
        chosen = dict(zip(swept, values, strict=True))
        place = f"{where} ({plugin.name})"
        attack = _others(algorithm, chosen, eps, place) if algorithm else _build(plugin.cls, chosen, eps, place)
        made: list[Attack] = [attack]
        if sources:
            made = [Transfer(threat_model=attack.threat_model, source=source, made_with=attack) for source in sources]
        attacks += [Demand(each, samples) for each in made]
    return attacks


def _check_fields(plugin: Plugin[Attack], fields: Mapping[str, Any], where: str) -> None:
    specified = {field.name for field in dataclasses.fields(plugin.cls) if field.init and field.compare}
    valid = specified - {"threat_model"} | {"norm", "eps"}
    for name in fields:
        if name not in valid:
            known = nearest(name, valid | {"samples", "from"})
            raise ConfigError(f"{where}: attack {plugin.name} has no field {name!r}{known}")


def _sources(given: Any, where: str) -> list[str]:
    sources = [] if given is None else given if isinstance(given, list) else [given]
    if given is not None and (not sources or not all(isinstance(source, str) and source for source in sources)):
        raise ConfigError(f"{where}.from = {given!r}: labels of rows, or earlier")
    return sources


def _others(algorithm: str, fields: dict[str, Any], eps: Fraction, where: str) -> Attack:
    """An attack of torchattacks: `torchattacks:CW`."""
    from attacks.torchattacks import L2_ONLY, Torchattacks

    try:
        norm = fields.pop("norm", "l2" if algorithm in L2_ONLY else "linf")
        model = ThreatModel(parse_fraction(fields.pop("eps", eps), eps), norm)
        return Torchattacks.from_fields(algorithm, model, fields)
    except (AttackError, ThreatModelError) as error:
        raise ConfigError(f"{where}: {error}") from None


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
