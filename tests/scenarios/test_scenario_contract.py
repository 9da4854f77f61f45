"""What every scenario owes its users, whatever its images are."""

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


def test_parts_are_uint8_images_of_the_announced_shape_with_labels_within_the_task(make_scenario: MakeScenario) -> None:
    scenario = make_scenario()
    stream, tasks = scenario.stream(), scenario.load()
    assert stream.names == tuple(task.name for task in tasks)
    assert stream.class_counts == tuple(len(task.classes) for task in tasks)
    assert len(stream.mean) == len(stream.std) == stream.image_shape[0]
    for position, task in enumerate(tasks):
        assert task.id == position
        assert list(task.classes) == sorted(task.classes)
        for part in (task.train, task.validation, task.test):
            assert part.images.dtype == torch.uint8
            assert part.labels.dtype == part.samples.dtype == torch.int64
            assert tuple(part.images.shape[1:]) == stream.image_shape
            assert part.labels.unique().tolist() == list(range(len(task.classes)))


def test_every_part_is_sorted_by_label_then_pixel_hash(make_scenario: MakeScenario) -> None:
    for task in make_scenario().load():
        for part in (task.train, task.validation, task.test):
            keys = list(zip(part.labels.tolist(), pixel_keys(part.images), strict=True))
            assert keys == sorted(keys)


def test_validation_is_a_fifth_of_each_class_and_disjoint_from_training(make_scenario: MakeScenario) -> None:
    for task in make_scenario().load():
        train, validation = set(task.train.samples.tolist()), set(task.validation.samples.tolist())
        assert not train & validation
        assert train | validation == set(range(len(train) + len(validation)))
        for label in range(len(task.classes)):
            held_out = int((task.validation.labels == label).sum())
            total = held_out + int((task.train.labels == label).sum())
            assert held_out == round(total / 5)


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


def test_a_file_has_at_most_one_scenario_and_the_three_are_found() -> None:
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
    assert set(found) == {"digits", "cifar100_superclasses", "image_folder"}


def test_scenarios_import_nothing_from_the_floors_above_or_beside() -> None:
    forbidden = {"methods", "benchmark", "attacks", "results", "reports", "tests"}
    for file in SCENARIOS.glob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            assert not {name.split(".")[0] for name in names} & forbidden, file
