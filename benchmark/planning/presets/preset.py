"""A preset whose every key was checked: rows, attacks and data."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import torch

from attacks.base import Attack
from attacks.threat_model import ThreatModel, ThreatModelError, parse_fraction
from attacks.transfer import EARLIER
from benchmark.errors import ConfigError, nearest, quoted
from benchmark.evaluating.fingerprints import attack_name, evaluation_fields
from benchmark.evaluating.precision import Precision
from benchmark.evaluating.questions import Asking
from benchmark.evaluating.settings import Evaluation
from benchmark.planning.demands import Demand, check_attacks, demands, is_transfer, joined
from benchmark.planning.presets.file import MethodEntry, PresetFile
from benchmark.planning.presets.overrides import merged
from benchmark.planning.presets.validated import validated
from benchmark.plugins import METHODS, SCENARIOS, Plugin
from methods.base import Method, MethodSettings
from methods.training.recipe import Recipe
from reports.numbers.labels import label_mistake, likeness
from scenarios.base import DataError, Scenario, ScenarioSettings, SourceOptions, Task


@dataclass(frozen=True, slots=True)
class PresetRow:
    """A row of a preset, checked: what one row of the leaderboard is.

    plugin: the method.
    label: name of the row.
    settings: the method's settings, validated.
    recipe: how it trains.
    source: where settings and recipe come from; empty if they are the method's defaults and the preset's recipe.
    """

    plugin: Plugin[Method]
    label: str
    settings: MethodSettings
    recipe: Recipe
    source: str = ""


class Preset:
    """A validated preset.

    name: of its board; the file's stem, and the overrides if there are any.
    file: its keys, typed.
    eps: radius of the ranking's ball, exact, in pixel space [0, 1].
    matrix: attacks on every task seen so far, after each task.
    final: attacks after the last task, those of the matrix included, transfers left out.
    transfers: attacks after the last task whose images are made on another classifier.
    """

    def __init__(self, name: str, raw: dict[str, Any], where: str, *, rows_checked: bool = False) -> None:
        """Check a preset's keys. Raises ConfigError.

        where: begins the message of a mistake.
        rows_checked: True if the rows were checked before; they are then not made until somebody asks for them.
        """
        self.name, self._raw, self._where = name, raw, where
        self.file = validated(PresetFile, raw, where)
        try:
            self.eps = parse_fraction(self.file.eps)
            ThreatModel(self.eps)
        except ThreatModelError as error:
            raise ConfigError(f"{where}: eps: {error}") from None
        if len(set(self.file.seeds)) != len(self.file.seeds) or min(self.file.seeds) < 0:
            raise ConfigError(f"{where}: seeds = {self.file.seeds}: different numbers, 0 or more")
        self.matrix: list[Demand] = demands(self.evaluation.matrix, self.eps, f"{where}: evaluation.matrix")
        last = demands(self.evaluation.final, self.eps, f"{where}: evaluation.final")
        if any(is_transfer(demand) for demand in self.matrix):
            raise ConfigError(
                f"{where}: evaluation.matrix: transfers (from) are made after the last task; put them into final"
            )
        self.final: list[Demand] = joined([*self.matrix, *(demand for demand in last if not is_transfer(demand))])
        self.transfers: list[Demand] = joined(demand for demand in last if is_transfer(demand))
        if not rows_checked:
            self._check_labels()

    @cached_property
    def rows(self) -> list[PresetRow]:
        """The methods to compare. Raises ConfigError."""
        return [self.row(entry) for entry in self.file.methods]

    def _check_labels(self) -> None:
        """Raise ConfigError if two rows have one label or look as if, or a transfer comes from a row that is not there."""
        labels = [row.label for row in self.rows]
        by_look: dict[str, str] = {}
        for label in labels:
            other = by_look.get(likeness(label))
            if other == label:
                raise ConfigError(
                    f"{self._where}: methods: label {quoted(label)} stands twice; give each row its own label"
                )
            if other is not None:
                raise ConfigError(
                    f"{self._where}: methods: labels {quoted(other)} and {quoted(label)} differ in case, spaces or Unicode form "
                    "alone; give each row a label that readers can tell apart"
                )
            by_look[likeness(label)] = label
        for demand in self.transfers:
            source = getattr(demand.attack, "source", "")
            if source not in (EARLIER, *labels):
                known = nearest(source, [EARLIER, *labels])
                raise ConfigError(f"{self._where}: evaluation.final: from {source!r} is no row of this preset{known}")

    @property
    def evaluation(self) -> Evaluation:
        """The preset's section `evaluation`."""
        return self.file.evaluation

    def attack_name(self, attack: Attack) -> str:
        """The attack's name in the tables of this preset, with its evaluation seed and precision if they are not the usual."""
        return attack_name(attack, self.seed_of(attack), self.precision_of(attack))

    def precision_of(self, attack: Attack) -> Precision:
        """The precision in which an attack may walk under this preset; float32 for one that does not walk."""
        return self.evaluation.precision if attack.walks else "fp32"

    def seed_of(self, attack: Attack) -> int:
        """The seed of an attack's random numbers under this preset; 0 for one that draws none."""
        return self.evaluation.seed if attack.seeded else 0

    def evaluation_fields(self, attack: Attack, task: Task) -> Mapping[str, Any]:
        """The fields that identify an evaluation by this preset, apart from the classifier."""
        return evaluation_fields(attack, task.test_fingerprint, self.seed_of(attack), self.precision_of(attack))

    @property
    def ranking(self) -> ThreatModel:
        """The ball of the ranking: the preset's eps, in the norm of the matrix' first attack that has an eps."""
        norms = (demand.attack.threat_model.norm for demand in self.matrix if demand.attack.threat_model.eps)
        return ThreatModel(self.eps, next(norms, "linf"))

    @property
    def asking(self) -> Asking:
        """The conditions under which classifiers are asked after the last task."""
        matrix = {demand.attack: self.attack_name(demand.attack) for demand in self.matrix}
        return Asking(self.evaluation, self.ranking, matrix)

    def __reduce__(self) -> tuple[Callable[..., Preset], tuple[str, dict[str, Any], str]]:
        """Pickle the keys alone, for classes from files outside the repository cannot be pickled.

        Paths of files become absolute: the other process may have another working directory. Rows are not made there, because
        a method that learns alone should not share its process with the files of others.
        """
        return partial(Preset, rows_checked=True), (self.name, with_absolute_files(self._raw), self._where)

    @cached_property
    def scenario_plugin(self) -> Plugin[Scenario]:
        """The preset's scenario. Raises ConfigError."""
        if "name" not in self.file.scenario:
            raise ConfigError(f"{self._where}: scenario.name is missing{nearest('', SCENARIOS.all())}")
        return SCENARIOS.find(str(self.file.scenario["name"]))

    @cached_property
    def scenario_settings(self) -> ScenarioSettings:
        """The scenario's settings. Raises ConfigError."""
        given = {key: value for key, value in self.file.scenario.items() if key != "name"}
        return validated(self.scenario_plugin.cls.Settings, given, f"{self._where}: scenario")

    def must_tell_tasks(self, command: str) -> None:
        """Raise ConfigError if an image's task is not told at test. command: that cannot measure it, for the message."""
        if self.scenario_settings.protocol != "task":
            raise ConfigError(
                f"{command} measures classifiers of one task each, and {self.name} has one head for all classes seen "
                "(scenario.protocol: class); take `run`, or add --set scenario.protocol=task"
            )

    def must_not_tell_tasks(self, source: SourceOptions) -> None:
        """Raise ConfigError if an image's task is told at test: then somebody must say which task is meant."""
        if self.scenario_settings.protocol == "task":
            names = enumerate(self.scenario(source).stream().names)
            raise ConfigError(
                f"--task is missing: preset {self.name} tells the task at test (scenario.protocol: task); "
                f"valid: {', '.join(f'{i} ({name})' for i, name in names)}"
            )

    def scenario(self, source: SourceOptions) -> Scenario:
        """The scenario, its data not yet loaded. Raises ConfigError if network or attacks cannot go with it."""
        scenario = self.scenario_plugin.cls(self.scenario_settings, source)
        try:
            with torch.device("meta"):
                self.file.backbone.build(scenario.stream().image_shape)
            stream = scenario.stream()
            check_attacks(self.matrix, stream, "evaluation.matrix")
            check_attacks([*self.final, *self.transfers], stream, "evaluation", last=True)
            # Their images are made on classifiers of earlier turns, which know fewer classes under protocol `class`.
            earlier = [each for each in self.transfers if getattr(each.attack, "source", "") == EARLIER]
            check_attacks(earlier, stream, "evaluation.final")
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
        """This preset with some keys of its file changed (`methods`, `scenario` ...), checked like any file."""
        return Preset(self.name, {**self._raw, **changes}, self._where)

    def row(self, entry: MethodEntry) -> PresetRow:
        """The row that an entry of `methods` describes. Raises ConfigError."""
        plugin = METHODS.find(entry.method)
        label = entry.label or plugin.name
        if mistake := label_mistake(label):
            raise ConfigError(f"{self._where}: methods: label {quoted(label)} {mistake}")
        where = f"{self._where}: methods.{label}"
        settings = validated(plugin.cls.Settings, entry.settings, f"{where}.settings")
        recipe = self.file.recipe
        if entry.recipe:
            recipe = validated(Recipe, merged(recipe.model_dump(), entry.recipe), f"{where}.recipe")
        return PresetRow(plugin, label, settings, recipe, entry.source)

    def choose(self, names: Sequence[str] | None) -> list[PresetRow]:
        """The rows that `--methods` names; None: all rows of the preset.

        A name is a row's label, or else a method's, or else any known method or file, with its defaults. Raises ConfigError.
        """
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


def with_absolute_files(raw: Any) -> Any:
    """The keys of a preset with the paths of plug-in files made absolute. raw: JSON."""
    if isinstance(raw, Mapping):
        return {key: with_absolute_files(value) for key, value in raw.items()}
    if isinstance(raw, list | tuple):
        return [with_absolute_files(value) for value in raw]
    return str(Path(raw).absolute()) if isinstance(raw, str) and raw.endswith(".py") else raw
