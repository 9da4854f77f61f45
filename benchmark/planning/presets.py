"""Presets: what is compared, on which data, under which attacks. YAML files, validated, with one clear line per mistake."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, TypeVar

import torch
import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from attacks.threat_model import ThreatModel, ThreatModelError, parse_fraction
from attacks.transfer import EARLIER
from benchmark.errors import ConfigError, nearest
from benchmark.planning.demands import Demand, check_classes, demands, is_transfer, joined
from benchmark.plugins import METHODS, SCENARIOS, Plugin
from methods.backbones import BackboneChoice
from methods.base import Method, MethodSettings
from methods.training.recipe import Recipe
from scenarios.base import DataError, Scenario, ScenarioSettings, SourceOptions

FOLDER = Path(__file__).parents[1] / "presets"
M = TypeVar("M", bound=BaseModel)


class Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class MethodEntry(Strict):
    """A row: a method, the label it goes by, its settings, and where its definition differs from the preset's recipe.

    source: where settings and recipe are from; without one they are the method's defaults and the preset's recipe.
    """

    method: str
    label: str = ""
    settings: dict[str, Any] = {}
    recipe: dict[str, Any] = {}
    source: str = ""


class Evaluation(Strict):
    """matrix: attacks run on every seen task after every task; final: attacks run after the last task only.

    batch_size: rows that go through a classifier at once, at most. keep_images: store the adversarial images of what is broken.
    checks: which extra attacks are made for the verdicts alone: none, the final ones on a subset, or the deep ones too.
    """

    seed: int = Field(0, ge=0)
    batch_size: int = Field(500, ge=1)
    precision: Literal["fp32"] = "fp32"
    matrix: list[dict[str, Any]] = Field(min_length=1)
    final: list[dict[str, Any]] = []
    keep_images: bool = False
    checks: Literal["none", "final", "deep"] = "final"


class PresetFile(Strict):
    """What stands in a preset's YAML file."""

    description: str
    scenario: dict[str, Any]
    backbone: BackboneChoice
    eps: str | float | int
    recipe: Recipe
    methods: list[MethodEntry] = Field(min_length=1)
    optional: list[MethodEntry] = Field([], description="rows that are run where `--methods` names them")
    seeds: list[int] = Field([0], min_length=1)
    evaluation: Evaluation
    threads: int | None = Field(None, ge=1, description="CPU threads per worker; all cores for one worker if not given")
    keep: Literal["auto", "all", "last"] = "auto"


class PresetRow:
    """A method of a preset with everything checked: what one row of the leaderboard is."""

    def __init__(
        self, plugin: Plugin[Method], label: str, settings: MethodSettings, recipe: Recipe, source: str = ""
    ) -> None:
        self.plugin, self.label, self.settings, self.recipe, self.source = plugin, label, settings, recipe, source


class Preset:
    """A validated preset. `name` is what boards go by: the file's stem, and the overrides if there are any."""

    def __init__(self, name: str, raw: dict[str, Any], where: str) -> None:
        self.name, self._raw, self._where = name, raw, where
        self.file = validated(PresetFile, raw, where)
        try:
            self.eps = parse_fraction(self.file.eps)
            ThreatModel(self.eps)
        except ThreatModelError as error:
            raise ConfigError(f"{where}: eps: {error}") from None
        if len(set(self.file.seeds)) != len(self.file.seeds) or min(self.file.seeds) < 0:
            raise ConfigError(f"{where}: seeds = {self.file.seeds}: different numbers, 0 or more")
        self.matrix: list[Demand] = demands(self.file.evaluation.matrix, self.eps, f"{where}: evaluation.matrix")
        last = demands(self.file.evaluation.final, self.eps, f"{where}: evaluation.final")
        if any(is_transfer(demand) for demand in self.matrix):
            raise ConfigError(
                f"{where}: evaluation.matrix: transfers (from) are made after the last task; put them into final"
            )
        self.final: list[Demand] = joined([*self.matrix, *(demand for demand in last if not is_transfer(demand))])
        self.transfers: list[Demand] = joined(demand for demand in last if is_transfer(demand))
        self.rows = [self.row(entry) for entry in self.file.methods]
        labels = [row.label for row in self.rows]
        if repeated := {label for label in labels if labels.count(label) > 1}:
            raise ConfigError(
                f"{where}: methods: label {sorted(repeated)[0]!r} stands twice; give each row its own label"
            )
        for demand in self.transfers:
            source = getattr(demand.attack, "source", "")
            if source not in (EARLIER, *labels):
                known = nearest(source, [EARLIER, *labels])
                raise ConfigError(f"{where}: evaluation.final: from {source!r} is no row of this preset{known}")

    @property
    def ranking(self) -> ThreatModel:
        """The ball of the ranking: the preset's eps, in the norm of the matrix' first attack that has an eps."""
        norms = (demand.attack.threat_model.norm for demand in self.matrix if demand.attack.threat_model.eps)
        return ThreatModel(self.eps, next(norms, "linf"))

    @property
    def checks(self) -> str:
        """Which extra attacks are made for the verdicts alone; no part of what is compared, so no part of the name."""
        return self.file.evaluation.checks

    def __reduce__(self) -> tuple[type[Preset], tuple[str, dict[str, Any], str]]:
        """Another process makes it anew: classes from files outside the repository cannot be pickled."""
        return Preset, (self.name, self._raw, self._where)

    @cached_property
    def scenario_plugin(self) -> Plugin[Scenario]:
        if "name" not in self.file.scenario:
            raise ConfigError(f"{self._where}: scenario.name is missing{nearest('', SCENARIOS.all())}")
        return SCENARIOS.find(str(self.file.scenario["name"]))

    @cached_property
    def scenario_settings(self) -> ScenarioSettings:
        given = {key: value for key, value in self.file.scenario.items() if key != "name"}
        return validated(self.scenario_plugin.cls.Settings, given, f"{self._where}: scenario")

    def scenario(self, source: SourceOptions) -> Scenario:
        scenario = self.scenario_plugin.cls(self.scenario_settings, source)
        try:
            with torch.device("meta"):
                self.file.backbone.build(scenario.stream().image_shape)
            check_classes([*self.final, *self.transfers], scenario.stream().class_counts, "evaluation")
        except (DataError, ValueError) as error:
            raise ConfigError(f"{self._where}: {error}") from None
        return scenario

    def elsewhere(self, scenario: Mapping[str, Any], method: str, settings: Mapping[str, Any]) -> Preset:
        """This preset's network, recipe and matrix on another scenario, where one method of it is pre-trained."""
        evaluation = {**self._raw["evaluation"], "final": []}
        row = {"method": method, "settings": dict(settings)}
        raw = {**self._raw, "scenario": dict(scenario), "methods": [row], "evaluation": evaluation}
        return Preset(f"{self.name}: pre-training", raw, f"{self._where}: pre-training")

    def altered(self, **changes: Any) -> Preset:
        """This preset with other values of some of its file's keys (`methods`, `scenario` ...), checked like any file."""
        return Preset(self.name, {**self._raw, **changes}, self._where)

    def row(self, entry: MethodEntry) -> PresetRow:
        plugin = METHODS.find(entry.method)
        where = f"{self._where}: methods.{entry.label or plugin.name}"
        settings = validated(plugin.cls.Settings, entry.settings, f"{where}.settings")
        recipe = self.file.recipe
        if entry.recipe:
            recipe = validated(Recipe, _merged(recipe.model_dump(), entry.recipe), f"{where}.recipe")
        return PresetRow(plugin, entry.label or plugin.name, settings, recipe, entry.source)

    def choose(self, names: Sequence[str] | None) -> list[PresetRow]:
        """The rows that `--methods` names: by label, else by method name, else any known method or file with its defaults."""
        if names is None:
            return self.rows
        chosen: list[PresetRow] = []
        for name in names:
            if name.endswith(".py"):
                named = [row for row in self.rows if row.plugin.reference == METHODS.find(name).reference]
            else:
                labelled = [row for row in self.rows if row.label == name]
                named = labelled or [row for row in self.rows if row.plugin.name == name]
            if not named and not name.endswith(".py") and name not in METHODS.all():
                valid = {row.label for row in self.rows} | set(METHODS.all())
                raise ConfigError(
                    f"--methods: {name!r} is neither a label of this preset nor a method{nearest(name, valid)}"
                )
            for row in named or [self.row(MethodEntry(method=name))]:
                if row.label not in [other.label for other in chosen]:
                    chosen.append(row)
        return chosen


def available() -> dict[str, Path]:
    """Built-in presets by name."""
    return {path.stem: path for path in sorted(FOLDER.glob("*.yaml"))}


def load_preset(
    name: str,
    overrides: Sequence[str] = (),
    seeds: Sequence[int] | None = None,
    methods: Sequence[str] | None = None,
    pretrain: str | None = None,
    checks: str | None = None,
) -> Preset:
    """The preset called `name`, or in the file `name`, with `--set` overrides `key.path=value` (values are YAML).

    seeds replace the preset's. methods: of `--methods`; files among them become rows, so that overrides reach them.
    pretrain: the scenario that rows of methods which can be pre-trained start from, as an override of their setting. Overrides
    become part of the name: rows that were run under other settings are never compared silently. checks: instead of the preset's
    `evaluation.checks`; no number depends on it, so it is no part of the name.
    Raises ConfigError.
    """
    builtin = available()
    path = builtin.get(name) or Path(name)
    if path.suffix not in (".yaml", ".yml") or not path.is_file():
        raise ConfigError(f"preset {name!r} is neither a built-in preset nor a YAML file{nearest(name, builtin)}")
    if name not in builtin and path.stem in builtin and path.resolve() != builtin[path.stem].resolve():
        raise ConfigError(f"{path}: a built-in preset is called {path.stem!r}; give the file another name")
    try:
        raw = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigError(f"{path}: not readable as YAML ({' '.join(str(error).split())})") from None
    if not isinstance(raw, dict):
        raise ConfigError(f"{path}: expected keys and values, found {type(raw).__name__}")
    if "extends" in raw:
        raw = _extended(raw, path)
    for method in methods or ():
        _add_row(raw, method)
    if pretrain is not None:
        overrides = [*overrides, *_pretraining(raw, pretrain)]
    keys = [override.partition("=")[0] for override in overrides]
    if repeated := {key for key in keys if keys.count(key) > 1}:
        raise ConfigError(f"--set: {sorted(repeated)[0]} is set twice; give it one value")
    for override in overrides:
        _override(raw, override)
    if seeds is not None:
        raw["seeds"] = list(seeds)
    if checks is not None and isinstance(raw.get("evaluation"), dict):
        raw["evaluation"] = {**raw["evaluation"], "checks": checks}
    return Preset(" ".join([path.stem, *sorted(overrides)]), raw, path.stem)


def _extended(raw: dict[str, Any], path: Path) -> dict[str, Any]:
    """A preset that `extends` a built-in one: its keys over that one's, lists whole. Raises ConfigError."""
    name = str(raw["extends"])
    base = available().get(name)
    if base is None or base.stem == path.stem:
        raise ConfigError(f"{path.stem}: extends = {name!r}: not a built-in preset{nearest(name, available())}")
    under = yaml.safe_load(base.read_text(encoding="utf-8"))
    if "extends" in under:
        raise ConfigError(f"{path.stem}: extends = {name!r}: that one extends another; extend {under['extends']!r}")
    return _merged(under, {key: value for key, value in raw.items() if key != "extends"})


def _add_row(raw: dict[str, Any], method: str) -> None:
    """Give a method of `--methods` that has no row in the preset one: an optional row, or else one with its defaults."""
    entries, optional = raw.get("methods"), raw.get("optional")
    if not isinstance(entries, list):
        return
    if any(isinstance(entry, dict) and method in _names(entry) for entry in entries):
        return
    found = [entry for entry in optional or [] if isinstance(entry, dict) and method in _names(entry)]
    if found:
        entries += found
        return
    plugin = METHODS.find(method) if method.endswith(".py") else METHODS.all().get(method)
    if plugin is not None:
        entries.append({"method": method, "label": plugin.name})


def _pretraining(raw: dict[str, Any], scenario: str) -> list[str]:
    """Overrides that set what the rows of methods with a setting `pretrain` are pre-trained on."""
    entries = [entry for entry in raw.get("methods") or [] if isinstance(entry, dict)]
    able = [name for name, plugin in METHODS.all().items() if "pretrain" in plugin.cls.Settings.model_fields]
    labels = [_label(entry) for entry in entries if entry.get("method") in able]
    if not labels:
        raise ConfigError(
            f"--pretrain {scenario}: no row of this preset can be pre-trained; add --methods {' or '.join(able)}"
        )
    return [f"methods.{label}.pretrain={scenario}" for label in labels]


def _override(raw: dict[str, Any], text: str) -> None:
    key, equals, value = text.partition("=")
    parts = key.split(".")
    if not equals or not all(parts):
        raise ConfigError(f"--set {text!r}: expected key.path=value, such as recipe.epochs=5")
    try:
        parsed = yaml.safe_load(value)
    except yaml.YAMLError:
        raise ConfigError(f"--set {text!r}: the value is not valid YAML") from None
    if parts[0] == "methods":
        _override_method(raw, parts[1:], parsed, text)
        return
    place = raw
    for part in parts[:-1]:
        if not isinstance(place.get(part), dict):
            # Fields left to their defaults are not in the file; an unknown one is found when the preset is validated.
            if place.get(part) is not None:
                what = "is a list; set it whole" if isinstance(place[part], list) else "holds no keys in this preset"
                raise ConfigError(f"--set {text!r}: {part} {what}")
            place[part] = {}
        place = place[part]
    place[parts[-1]] = parsed


def _override_method(raw: dict[str, Any], parts: list[str], value: Any, text: str) -> None:
    """`methods.LABEL.key=value` sets a setting of that row; `methods.LABEL.recipe.key=value` its recipe."""
    if len(parts) < 2 or parts[1:] == ["recipe"]:
        raise ConfigError(f"--set {text!r}: expected methods.LABEL.setting=value")
    rows = raw.get("methods")
    entries = [entry for entry in rows if isinstance(entry, dict)] if isinstance(rows, list) else []
    # As in --methods: a label names one row; a method's name all rows of it that have other labels too.
    chosen = [entry for entry in entries if _label(entry) == parts[0]] or [
        entry for entry in entries if entry.get("method") == parts[0]
    ]
    if not chosen:
        names = {name for entry in entries for name in _names(entry)}
        raise ConfigError(f"--set {text!r}: no row {parts[0]!r} in this preset{nearest(parts[0], names)}")
    for entry in chosen:
        place = entry.setdefault("recipe" if parts[1] == "recipe" else "settings", {})
        path = parts[2:] if parts[1] == "recipe" else parts[1:]
        for part in path[:-1]:
            place = place.setdefault(part, {})
            if not isinstance(place, dict):
                raise ConfigError(f"--set {text!r}: {part} holds no keys in this preset")
        place[path[-1]] = value


def _names(entry: dict[str, Any]) -> set[str]:
    named = {str(entry[key]) for key in ("label", "method") if entry.get(key)}
    return named | {_label(entry)} if named else named


def _label(entry: dict[str, Any]) -> str:
    """What a row goes by: its label, or the name of its method, which is that of its file."""
    return str(entry.get("label") or Path(str(entry.get("method", ""))).stem)


def _merged(base: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for key, value in changes.items():
        nested = isinstance(value, dict) and isinstance(merged.get(key), dict)
        merged[key] = _merged(merged[key], value) if nested else value
    return merged


def validated(model: type[M], given: Any, where: str) -> M:
    """`model` made from `given`. Raises ConfigError: the field, the value, what would be right; the first of the mistakes."""
    try:
        return model.model_validate(given)
    except ValidationError as error:
        errors = error.errors()
        # An unknown key explains a missing one: name it first.
        first = next((item for item in errors if item["type"] == "extra_forbidden"), errors[0])
        field = ".".join(str(part) for part in first["loc"])
        more = f" (and {len(errors) - 1} more)" if len(errors) > 1 else ""
        if first["type"] == "extra_forbidden":
            valid = _fields_at(model, first["loc"][:-1])
            raise ConfigError(f"{where}: {field}: unknown key{nearest(str(first['loc'][-1]), valid)}{more}") from None
        if first["type"] == "missing":
            raise ConfigError(f"{where}: {field}: missing{more}") from None
        message = first["msg"].removeprefix("Value error, ")
        # What several fields break together says itself which they are.
        value = f"{field} = {first['input']!r}: " if field else ""
        raise ConfigError(f"{where}: {value}{message}{more}") from None


def _fields_at(model: type[BaseModel], path: Sequence[int | str]) -> set[str]:
    """Valid keys of the model that stands at `path` inside `model`."""
    models = [model]
    for part in path:
        if isinstance(part, int):
            continue
        # One of several models, told apart by their field `name`: its value is a part of the path too.
        tagged = [each for each in models if "name" in each.model_fields and each.model_fields["name"].default == part]
        if tagged:
            models = tagged
            continue
        annotation: Any = models[0].model_fields[part].annotation
        inner = [arg for arg in [annotation, *getattr(annotation, "__args__", ())] if isinstance(arg, type)]
        models = [arg for arg in inner if issubclass(arg, BaseModel)]
        if not models:
            return set()
    return set(models[0].model_fields)
