"""The target of `check`: a plug-in by name or file, put on trial against the requirements of its kind."""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Callable, Iterator, Sequence
from dataclasses import MISSING, dataclass, fields, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import torch

from attacks.base import Attack, AttackError
from benchmark.contract.attack_requirements import ATTACK_REQUIREMENTS
from benchmark.contract.attack_trial import AttackTrial
from benchmark.contract.method_requirements import METHOD_REQUIREMENTS
from benchmark.contract.method_trial import Learned, MethodTrial
from benchmark.contract.requirement import RequirementResult, results_of
from benchmark.contract.scenario_requirements import SCENARIO_REQUIREMENTS, ScenarioTrial
from benchmark.errors import ConfigError, nearest, quoted
from benchmark.planning.demands import demands
from benchmark.planning.preset_files import YamlMistake, read_yaml
from benchmark.planning.presets import validated
from benchmark.plugins import ATTACKS, METHODS, SCENARIOS, Kind, Plugin, import_file
from scenarios.base import DataError, Scenario, SourceOptions

KINDS: tuple[Kind[Any], ...] = (METHODS, ATTACKS, SCENARIOS)
EPS = Fraction(8, 255)
NEEDED: dict[str, Any] = {"steps": 4, "step_size": "eps/4"}
"""Values for an attack's fields that have no default; `--set` gives others."""


@dataclass(frozen=True, slots=True)
class PluginTarget:
    """A plug-in and its kind."""

    kind: Kind[Any]
    plugin: Plugin[Any]

    def __str__(self) -> str:
        return f"{self.kind.noun} {self.plugin.name} ({self.plugin.path})"


def find_target(name: str) -> PluginTarget:
    """The plug-in called `name`, or in the file `name` if that ends in .py. Raises ConfigError, one line."""
    if name.endswith(".py"):
        return _in_file(Path(name))
    for kind in KINDS:
        if name.replace("-", "_") in kind.all():
            return PluginTarget(kind, kind.find(name))
    known = {known for kind in KINDS for known in kind.all()}
    raise ConfigError(f"{name!r} is no method, attack or scenario, and no .py file{nearest(name, known)}")


def _in_file(path: Path) -> PluginTarget:
    path = path.resolve()
    if not path.is_file():
        raise ConfigError(f"{path}: no such file")
    # First the file alone: a kind imports its whole folder, where another file may be broken.
    module = import_file(path, f"_checked_{hashlib.sha256(str(path).encode()).hexdigest()[:8]}_{path.stem}")
    found = {
        kind
        for kind in KINDS
        for value in vars(module).values()
        if inspect.isclass(value) and issubclass(value, kind.base) and value.__module__ == module.__name__
    }
    if len(found) != 1:
        nouns = " and ".join(sorted(kind.noun for kind in found)) or "none"
        bases = ", ".join(kind.base.__name__ for kind in KINDS)
        raise ConfigError(f"{path}: expected one class that extends one of {bases}; found {nouns}")
    (kind,) = found
    built_in = kind.all().get(path.stem)
    if built_in is not None and built_in.path.resolve() == path:
        return PluginTarget(kind, built_in)
    return PluginTarget(kind, kind.from_file(path))


def check_target(
    target: PluginTarget, folder: Path, overrides: Sequence[str], data_root: Path | None
) -> Iterator[RequirementResult]:
    """Test the requirements of a plug-in one after another.

    folder: for runs that a method learns.
    overrides: settings or fields of the plug-in, `key=value` each.
    data_root: folder of the data sets, for a scenario.
    Raises ConfigError if overrides are wrong or missing, DataError if a scenario's images are missing.
    """
    one_thread()
    if target.kind is METHODS:
        return results_of(METHOD_REQUIREMENTS, MethodTrial(target.plugin, folder, overrides))
    given = parsed(overrides)
    if target.kind is ATTACKS:
        return results_of(ATTACK_REQUIREMENTS, attack_trial(target.plugin, given))
    return results_of(SCENARIO_REQUIREMENTS, scenario_trial(target.plugin, given, SourceOptions(data_root)))


def problems_of(name: str | Path, folder: Path, overrides: Sequence[str] = ()) -> list[str]:
    """The requirements that a plug-in breaks, one line each with what to change; empty if it keeps its contract. For tests."""
    return [
        result.problem
        for result in check_target(find_target(str(name)), folder, overrides, None)
        if result.problem is not None
    ]


def learned(name: str | Path, folder: Path, overrides: Sequence[str] = ()) -> Learned:
    """Let a method learn the tiny stream (`contract/tiny.yaml`). For tests."""
    one_thread()
    return MethodTrial(find_target(str(name)).plugin, folder, overrides).usual


def one_thread() -> None:
    """Use one thread: networks this small lose time to more of them, much of it on a machine with other work."""
    torch.set_num_threads(1)


def parsed(overrides: Sequence[str]) -> dict[str, Any]:
    """The overrides as a dictionary; values are YAML. Raises ConfigError."""
    given = {}
    for override in overrides:
        key, equals, value = override.partition("=")
        if not equals or not key:
            raise ConfigError(f"--set {quoted(override)}: expected key=value, such as steps=5")
        try:
            given[key] = read_yaml(value)
        except YamlMistake as error:
            raise ConfigError(f"--set {quoted(override)}: the value is not valid YAML ({error})") from None
    return given


def attack_trial(plugin: Plugin[Attack], given: dict[str, Any]) -> AttackTrial:
    """Make an attack as a preset makes it. Raises ConfigError."""
    required = {item.name for item in fields(plugin.cls) if item.default is MISSING and item.default_factory is MISSING}
    entry = {**{name: value for name, value in NEEDED.items() if name in required}, **given}
    missing = required - entry.keys() - {"threat_model"}
    if missing:
        raise ConfigError(f"{plugin.name}: {min(missing)} has no default; give it with --set {min(missing)}=VALUE")
    try:
        (demand, *more) = demands([{"attack": plugin.reference, **entry}], EPS, "check")
    except ConfigError as error:
        # There is no list that it stands in.
        line = str(error).removeprefix("check[0]: ").replace(f"check[0] ({plugin.name})", plugin.name)
        raise ConfigError(line) from None
    if more:
        raise ConfigError("--set: one value for each field, no list of them: one attack is checked")
    trial = AttackTrial(_remade(demand.attack), plugin.path)
    try:
        _ = trial.classes
    except AttackError as error:
        raise ConfigError(f"{plugin.name}: {error}") from None
    return trial


def _remade(attack: Attack) -> Callable[..., Attack]:
    return lambda **changes: replace(attack, **changes)


def scenario_trial(plugin: Plugin[Scenario], given: dict[str, Any], source: SourceOptions) -> ScenarioTrial:
    """Make a scenario with these settings. Raises ConfigError, and DataError if its images are missing."""

    def make(**changes: Any) -> Scenario:
        return plugin.cls(validated(plugin.cls.Settings, {**given, **changes}, f"--set ({plugin.name})"), source)

    trial = ScenarioTrial(make, plugin.path)
    # Missing images are no fault of the file. Any other error is left to the requirements.
    try:
        _ = trial.tasks
    except Exception as error:
        if isinstance(error, ConfigError | DataError):
            raise
    return trial
