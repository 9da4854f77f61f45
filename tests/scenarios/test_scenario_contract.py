"""The contract of scenarios, whatever their images are."""

from __future__ import annotations

import ast
import dataclasses
import hashlib
import importlib
import inspect
import itertools
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from benchmark.contract.requirement import Requirement, problem_of
from benchmark.contract.scenario_requirements import SCENARIO_REQUIREMENTS, ScenarioTrial
from scenarios.base import (
    DataError,
    ImageSet,
    LearnTask,
    RawTask,
    Scenario,
    ScenarioSettings,
    fingerprint_of_tasks,
)
from tests.scenarios.tiny_cifar100 import MakeScenario

SCENARIOS = Path(__file__).parents[2] / "scenarios"


def pixel_keys(images: torch.Tensor) -> list[bytes]:
    return [hashlib.sha256(image.numpy().tobytes()).digest() for image in images]


@pytest.mark.parametrize("check", SCENARIO_REQUIREMENTS, ids=str)
def test_contract(make_scenario: MakeScenario, check: Requirement[ScenarioTrial]) -> None:
    """Our scenarios meet what `run_benchmark.py check` asks of a stranger's (`benchmark/contract/scenario_requirements.py`)."""
    assert problem_of(check, ScenarioTrial(make_scenario, Path(inspect.getfile(type(make_scenario()))))) is None


def test_no_image_is_both_trained_on_and_tested_on(make_scenario: MakeScenario) -> None:
    for task in make_scenario().load():
        learned = {*pixel_keys(task.train.images), *pixel_keys(task.validation.images)}
        assert not learned & set(pixel_keys(task.test.images))


def test_what_a_method_learns_from_has_no_test_images(make_scenario: MakeScenario) -> None:
    task = make_scenario(tasks=1).load()[0]
    learn = task.to_learn()
    assert {field.name for field in dataclasses.fields(LearnTask)} == {"id", "name", "classes", "train", "validation"}
    assert not hasattr(learn, "test")
    assert learn.train is task.train


def test_the_order_in_which_files_are_read_changes_nothing(
    make_scenario: MakeScenario, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = make_scenario().load()
    scenario = make_scenario()
    read = scenario.raw_tasks
    rng = np.random.default_rng(1)

    def shuffled(names: list[str], progress: object = None) -> list[RawTask]:
        tasks = []
        for raw in read(names):
            a, b = rng.permutation(len(raw.train_labels)), rng.permutation(len(raw.test_labels))
            parts = (raw.train_images[a], raw.train_labels[a], raw.test_images[b], raw.test_labels[b])
            tasks.append(RawTask(raw.name, raw.classes, *parts))
        return tasks

    monkeypatch.setattr(scenario, "raw_tasks", shuffled)
    assert fingerprint_of_tasks(scenario.load()) == fingerprint_of_tasks(plain)


def test_one_changed_pixel_changes_the_fingerprint(
    make_scenario: MakeScenario, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = make_scenario(tasks=1).load()[0]
    scenario = make_scenario(tasks=1)
    raw = scenario.raw_tasks([before.name])
    raw[0].train_images[0, 0, 0, 0] ^= 1
    monkeypatch.setattr(scenario, "raw_tasks", lambda names, progress: raw)
    after = scenario.load()[0]
    assert after.fingerprint != before.fingerprint
    assert after.test_fingerprint == before.test_fingerprint


@pytest.mark.parametrize("kind", [np.int32, np.uint8])
def test_labels_of_another_type_of_integer_are_the_same_labels(
    make_scenario: MakeScenario, monkeypatch: pytest.MonkeyPatch, kind: type
) -> None:
    plain, scenario = make_scenario(tasks=1).load(), make_scenario(tasks=1)
    (raw,) = scenario.raw_tasks([plain[0].name])
    narrow = RawTask(
        raw.name,
        raw.classes,
        raw.train_images,
        raw.train_labels.astype(kind),
        raw.test_images,
        raw.test_labels.astype(kind),
    )
    monkeypatch.setattr(scenario, "raw_tasks", lambda names, progress: [narrow])
    (task,) = scenario.load()
    assert fingerprint_of_tasks([task]) == fingerprint_of_tasks(plain)
    assert {part.labels.dtype for part in (task.train, task.validation, task.test)} == {torch.int64}


def test_order_is_a_permutation_that_moves_whole_tasks(make_scenario: MakeScenario) -> None:
    plain = make_scenario(tasks=None)
    streams = {tuple(make_scenario(tasks=None, order=seed).stream().names) for seed in range(8)}
    assert len(streams) > 1
    assert {tuple(sorted(names)) for names in streams} == {tuple(sorted(plain.stream().names))}
    assert make_scenario(order=3).stream() == make_scenario(order=3).stream()
    moved = {task.name: task.fingerprint for task in make_scenario(tasks=2, order=1).load()}
    stay = {task.name: task.fingerprint for task in make_scenario(tasks=None).load()}
    assert all(stay[name] == fingerprint for name, fingerprint in moved.items())


def test_tasks_takes_the_first_of_the_stream(make_scenario: MakeScenario) -> None:
    assert [task.name for task in make_scenario(tasks=2).load()] == list(make_scenario(tasks=None).stream().names[:2])
    with pytest.raises(DataError, match=r"scenario\.tasks = 99: this scenario has \d+ tasks"):
        make_scenario(tasks=99).load()


def test_train_fraction_takes_nested_subsets_and_leaves_the_test_part(make_scenario: MakeScenario) -> None:
    def used(fraction: float) -> set[int]:
        task = make_scenario(tasks=1, train_fraction=fraction).load()[0]
        return {*task.train.samples.tolist(), *task.validation.samples.tolist()}

    half, most, everything = used(0.5), used(0.8), used(1.0)
    assert half < most < everything
    assert len(half) / len(everything) == pytest.approx(0.5, abs=0.05)
    whole, part = (make_scenario(tasks=1, train_fraction=fraction).load()[0] for fraction in (1.0, 0.5))
    assert whole.test_fingerprint == part.test_fingerprint
    assert whole.fingerprint != part.fingerprint


def test_a_fraction_that_leaves_a_class_without_training_images_is_refused(make_scenario: MakeScenario) -> None:
    with pytest.raises(DataError, match="too few training images"):
        make_scenario(tasks=1, train_fraction=0.001).load()


@given(st.lists(st.integers(0, 4), min_size=1, max_size=60))
def test_each_prefix_of_the_balanced_order_is_balanced(labels: list[int]) -> None:
    tensor = torch.tensor(sorted(labels))
    images = ImageSet(torch.zeros(len(labels), 1, 1, 1, dtype=torch.uint8), tensor, torch.arange(len(labels)))
    order = images.balanced_order()
    assert sorted(order.tolist()) == list(range(len(labels)))
    totals = {label: labels.count(label) for label in set(labels)}
    for n in range(len(labels) + 1):
        taken = {label: int((tensor[order[:n]] == label).sum()) for label in totals}
        # A class may lag behind another only if it has no more images.
        for a, b in itertools.permutations(totals, 2):
            assert taken[a] >= taken[b] - 1 or taken[a] == totals[a]


@pytest.mark.parametrize(
    "settings", [{"tasks": 0}, {"order": -1}, {"train_fraction": 0}, {"train_fraction": 1.1}, {"a": 1}]
)
def test_settings_out_of_range_or_unknown_are_refused(settings: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=next(iter(settings))):
        ScenarioSettings(**settings)


def test_tasks_can_be_left_out_at_the_start_and_are_those_that_follow(make_scenario: MakeScenario) -> None:
    names = make_scenario(tasks=None).stream().names
    assert make_scenario(tasks=None, skip=1).stream().names == names[1:]
    assert make_scenario(tasks=1, skip=1).stream().names == names[1:2]
    assert [task.name for task in make_scenario(tasks=1, skip=1).load()] == [names[1]]
    with pytest.raises(DataError, match="after skip"):
        make_scenario(tasks=len(names), skip=1).stream()


def test_leaving_out_no_task_is_no_other_identity() -> None:
    assert Scenario.identity_settings(ScenarioSettings()) == Scenario.identity_settings(ScenarioSettings(skip=0))
    assert "skip" not in Scenario.identity_settings(ScenarioSettings())
    assert Scenario.identity_settings(ScenarioSettings(skip=2))["skip"] == 2


def test_a_file_has_at_most_one_scenario_and_the_known_ones_are_found() -> None:
    found = {}
    for file in SCENARIOS.glob("[!_]*.py"):
        module = importlib.import_module(f"scenarios.{file.stem}")
        classes = [
            c
            for c in vars(module).values()
            if inspect.isclass(c) and issubclass(c, Scenario) and not inspect.isabstract(c)
        ]
        own = [c for c in classes if c.__module__ == module.__name__]
        assert classes == own
        assert len(own) <= 1
        if own:
            found[file.stem] = own[0]
            assert isinstance(own[0].version, int)
    known = {"digits", "cifar100_superclasses", "fine_grained", "image_folder", "parquet", "photo_patches"}
    assert set(found) >= known | {"split_cifar10", "split_cifar100", "split_fashion_mnist"}


def test_scenarios_import_nothing_from_the_floors_above_or_beside() -> None:
    forbidden = {"methods", "benchmark", "attacks", "results", "reports", "tests"}
    for file in SCENARIOS.glob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            assert not {name.split(".")[0] for name in names} & forbidden, file
