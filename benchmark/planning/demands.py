"""The attacks that a preset demands, from its entries: sweeps are multiplied out, every field is checked."""

from __future__ import annotations

import dataclasses
import itertools
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any

from attacks.base import MANY, Attack, AttackError
from attacks.composition import Composition
from attacks.float32 import Float32
from attacks.made_with import MadeWith
from attacks.threat_model import ThreatModel, ThreatModelError, parse_fraction
from attacks.transfer import Transfer
from benchmark.errors import ConfigError, nearest, quoted
from benchmark.evaluating.precision import short_name
from benchmark.plugins import ATTACKS, Plugin
from scenarios.base import Stream

MOST_ATTACKS = 10_000
"""Attacks that one entry of a preset stands for, at most."""

_TAKEN: Mapping[str, str] = {
    "attack": "the name of an attack",
    "version": "of the class, not of an attack: annotate it as ClassVar[int]",
    "file": "the hash of an attack's file",
    "norm": "that of the threat model, self.threat_model.norm",
    "eps": "that of the threat model, self.threat_model.eps",
    "samples": "how many images of a task are attacked",
    "precision": "the precision in which an attack walks",
}
"""Words with a meaning in every entry or every specification, which no field of an attack may have as its name."""

_COLUMNS: Mapping[str, tuple[tuple[type, ...], str]] = {
    "steps": ((int,), "a whole number"),
    "step_size": ((Fraction, str), "a Fraction, such as exact_step_size gives (attacks/settings.py)"),
    "restarts": ((int,), "a whole number"),
    "loss": ((str,), "a text"),
}
"""Fields that have a column of their own in stored tables: the types that it can hold, and these in words."""


@dataclass(frozen=True)
class Demand:
    """An attack that is demanded on some samples of each task.

    attack: the attack.
    samples: number of samples per task, 1 or more; None: all.
    extra: True for an extra attack (`planning/extra_attacks.py`), which is run for the verdicts alone.
    """

    attack: Attack
    samples: int | None = None
    extra: bool = False

    def covers(self, test_size: int) -> int:
        """The number of samples that the demand covers in a test set of `test_size` images."""
        return test_size if self.samples is None else min(self.samples, test_size)


def demands(entries: Sequence[Mapping[str, Any]], eps: Fraction, where: str) -> list[Demand]:
    """The attacks that a list of a preset demands.

    A field whose value is a list is a sweep; several such fields are multiplied out. `from: [label, earlier]` makes transfers:
    the images are made on those classifiers. `precision: float32` makes an attack that walks in float32 whatever is allowed.
    eps: of the preset, in pixel space [0, 1]; an entry may have its own.
    where: place of the list in the preset, for messages.
    Raises ConfigError.
    """
    return joined([demand for i, entry in enumerate(entries) for demand in _expand(entry, eps, f"{where}[{i}]")])


def joined(demands: Iterable[Demand]) -> list[Demand]:
    """The demands without repetition: an attack that is demanded twice covers the larger number of samples."""
    found: dict[Attack, Demand] = {}
    for demand in demands:
        counts = (found.get(demand.attack, demand).samples, demand.samples)
        found[demand.attack] = replace(demand, samples=None if None in counts else max(c for c in counts if c))
    return list(found.values())


def is_transfer(demand: Demand) -> bool:
    """True if the attack makes its images on another classifier, which must be stored first."""
    return isinstance(demand.attack, Transfer)


def check_attacks(demands: Iterable[Demand], stream: Stream, where: str, *, last: bool = False) -> None:
    """Raise ConfigError, before anything is trained, if an attack cannot be run on a task: on its classes, or its images.

    last: True for attacks after the last task alone, when under protocol `class` all classes have been seen.
    """
    counts = stream.seen[-1:] if last and stream.seen else stream.answers
    for demand in demands:
        for task, count in enumerate(counts):
            try:
                demand.attack.check_images(stream.image_shape, count)
            except AttackError as error:
                mixed = isinstance(demand.attack, Composition) and any(map(demand.attack.variant.fits, counts))
                hint = (
                    f"; for tasks of {min(counts)} to {max(counts)} classes there is ensemble with composition: any"
                    if mixed
                    else ""
                )
                raise ConfigError(f"{where}: {demand.attack.name} on task {task}: {error}{hint}") from None


def warnings_of_attacks(demands: Iterable[Demand], stream: Stream) -> list[str]:
    """The warnings of attacks about settings that are hardly meant on the tasks of a stream, one line each."""
    fewest = min(stream.answers, default=MANY)
    return [
        f"{demand.attack.name}: {line}"
        for demand in demands
        for line in (*demand.attack.warnings(), *demand.attack.warnings_of_classes(fewest))
    ]


def _expand(entry: Mapping[str, Any], eps: Fraction, where: str) -> list[Demand]:
    """The demands of one entry, its sweeps multiplied out. Raises ConfigError."""
    if "attack" not in entry:
        raise ConfigError(f"{where}: expected {{attack: NAME, ...}}, got {quoted(entry)}")
    fields = dict(entry)
    kind, _, algorithm = str(fields.pop("attack")).partition(":")
    plugin = ATTACKS.find(kind)
    samples = fields.pop("samples", None)
    if samples is not None and (not isinstance(samples, int) or isinstance(samples, bool) or samples < 1):
        raise ConfigError(f"{where}.samples = {quoted(samples)}: a number of images per task, 1 or more")
    sources = _sources(fields.pop("from", None), where)
    in_float32 = _in_float32(fields.pop("precision", None), where)
    if issubclass(plugin.cls, MadeWith):
        raise ConfigError(f"{where}: {_WRITTEN_AS[plugin.cls]}")
    if not algorithm:
        _check_fields(plugin, fields, where)
    swept = {name: value if isinstance(value, list) else [value] for name, value in fields.items()}
    if empty := [name for name, values in swept.items() if not values]:
        raise ConfigError(f"{where}.{empty[0]} = []: an empty sweep; give one value or more")
    if (count := math.prod(len(values) for values in swept.values())) > MOST_ATTACKS:
        raise ConfigError(f"{where}: sweeps of {count:,} attacks in all, more than {MOST_ATTACKS:,}; give fewer values")
    attacks = []
    for values in itertools.product(*swept.values()):
        chosen = dict(zip(swept, values, strict=True))
        place = f"{where} ({plugin.name})"
        attack = (
            _of_torchattacks(algorithm, chosen, eps, place) if algorithm else _build(plugin.cls, chosen, eps, place)
        )
        made: list[Attack] = [attack]
        if sources:
            made = [Transfer(threat_model=attack.threat_model, source=source, made_with=attack) for source in sources]
        elif in_float32 and attack.walks:
            made = [Float32(threat_model=attack.threat_model, made_with=attack)]
        attacks += [Demand(each, samples) for each in made]
    return attacks


_WRITTEN_AS: Mapping[type[Attack], str] = {
    Transfer: "a transfer is written as the attack that makes it, with from: {attack: pgd, from: [LABEL]}",
    Float32: "an attack in float32 is written as that attack, with precision: {attack: pgd, precision: float32}",
}
"""What to write instead of an attack that is made with another one."""


def _in_float32(given: Any, where: str) -> bool:
    """True if an entry asks for float32 whatever `evaluation.precision` allows. Raises ConfigError for anything else."""
    if given is not None and short_name(given) != "fp32":
        raise ConfigError(
            f"{where}.precision = {quoted(given)}: float32 is the one that an attack alone can ask for; others are allowed to "
            "all attacks by evaluation.precision"
        )
    return given is not None


def _check_fields(plugin: Plugin[Attack], fields: Mapping[str, Any], where: str) -> None:
    """Raise ConfigError for a field that the attack does not have, and for an attack with a field that every entry has."""
    specified = {field.name for field in dataclasses.fields(plugin.cls) if field.init and field.compare}
    if taken := sorted(specified & _TAKEN.keys()):
        raise ConfigError(
            f"{where} ({plugin.name}): it has a field of its own called {taken[0]!r}, which is {_TAKEN[taken[0]]}; "
            "give the field another name"
        )
    valid = specified - {"threat_model"} | {"norm", "eps"}
    for name in fields:
        if name not in valid:
            known = nearest(name, valid | {"samples", "from", "precision"})
            raise ConfigError(f"{where}: attack {plugin.name} has no field {quoted(name)}{known}")


def _sources(given: Any, where: str) -> list[str]:
    """The sources of an entry's transfers; empty without `from`. Raises ConfigError."""
    sources = [] if given is None else given if isinstance(given, list) else [given]
    if given is not None and (not sources or not all(isinstance(source, str) and source for source in sources)):
        raise ConfigError(f"{where}.from = {quoted(given)}: labels of rows, or earlier")
    return sources


def _of_torchattacks(algorithm: str, fields: dict[str, Any], eps: Fraction, where: str) -> Attack:
    """An attack of the library torchattacks, such as `torchattacks:CW`. Raises ConfigError."""
    from attacks.parts.foreign.algorithms import TorchattacksAlgorithm
    from attacks.torchattacks import Torchattacks

    try:
        norm = fields.pop("norm", TorchattacksAlgorithm(algorithm).usual_norm)
        model = ThreatModel(parse_fraction(fields.pop("eps", eps), eps), norm)
        return Torchattacks.from_fields(algorithm, model, fields)
    except (AttackError, ThreatModelError) as error:
        raise ConfigError(f"{where}: {error}") from None


def _build(cls: type[Attack], fields: dict[str, Any], eps: Fraction, where: str) -> Attack:
    """An attack with these fields, around it a threat model of `eps` and `norm`. Raises ConfigError."""
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
    except ThreatModelError as error:
        raise ConfigError(f"{where}: {error}") from None
    attack = _made(cls, fields, where)
    _check_values(attack, where)
    return attack


def _check_values(attack: Attack, where: str) -> None:
    """Raise ConfigError unless an attack can stand in tables, and be told from others, by its fields."""
    for name in _COLUMNS.keys() & {field.name for field in dataclasses.fields(attack)}:
        (types, words), value = _COLUMNS[name], getattr(attack, name)
        if value is not None and type(value) not in types:
            raise ConfigError(f"{where}: {name} = {quoted(value)}: {words}; tables have a column of that name")
    try:
        hash(attack)
    except TypeError as error:
        raise ConfigError(
            f"{where}: {error}; make its fields of numbers, texts, Fractions and tuples of them"
        ) from None


def _made(cls: type[Attack], fields: Mapping[str, Any], where: str) -> Attack:
    """An attack with these fields. Raises ConfigError, whatever its code raises."""
    try:
        return cls(**fields)
    except (AttackError, ThreatModelError) as error:
        raise ConfigError(f"{where}: {error}") from None
    except TypeError as error:
        missing = re.findall(r"'(\w+)'", str(error)) if "missing" in str(error) else []
        raise ConfigError(f"{where}: missing {', '.join(missing)}" if missing else f"{where}: {error}") from None
    except Exception as error:
        raise ConfigError(f"{where}: it cannot be made ({type(error).__name__}: {error})") from error
