"""Streams that split the classes of one data set: which classes a task has, and one line for an order that is none."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from scenarios.base import DataError, RawTask, Scenario, SourceOptions, fingerprint_of_tasks
from scenarios.parts.cifar100.classes import FINE_NAMES
from scenarios.parts.splits import cut
from scenarios.split_cifar10 import SplitCifar10
from scenarios.split_cifar100 import SplitCifar100
from scenarios.split_fashion_mnist import SplitFashionMnist
from tests.scenarios.tiny_cifar100 import Rows, TinySplitCifar100
from tests.scenarios.tiny_small_images import TinySplitCifar10, TinySplitFashionMnist, drawn


def made(kind: type[Scenario], **settings: Any) -> Scenario:
    return kind(kind.Settings(**settings))


@pytest.mark.parametrize(
    ("kind", "settings", "tasks", "classes"),
    [
        (SplitCifar10, {}, 5, 2),
        (SplitFashionMnist, {}, 5, 2),
        (SplitCifar100, {}, 10, 10),
        (SplitCifar100, {"classes_per_task": 5}, 20, 5),
        (SplitCifar10, {"classes_per_task": 10}, 1, 10),
    ],
)
def test_every_class_stands_in_one_task(
    kind: type[Scenario], settings: dict[str, Any], tasks: int, classes: int
) -> None:
    for order in (None, 0, 7):
        found = made(kind, class_order=order, **settings).task_classes()
        assert [len(members) for _, members in found] == [classes] * tasks
        assert sorted(name for _, members in found for name in members) == sorted(kind.classes)  # type: ignore[attr-defined]
        assert len({name for name, _ in found}) == tasks


def test_without_an_order_tasks_take_the_classes_in_that_of_the_data_set() -> None:
    assert made(SplitCifar100).task_classes()[0] == ("cifar100_0", FINE_NAMES[:10])
    assert made(SplitCifar100, classes_per_task=5).task_classes()[19] == ("cifar100_19", FINE_NAMES[95:])
    assert made(SplitCifar10).task_classes()[:2] == [
        ("airplane_automobile", ("airplane", "automobile")),
        ("bird_cat", ("bird", "cat")),
    ]
    # The numbers of Fashion-MNIST are in no alphabetical order; within a task classes are.
    assert made(SplitFashionMnist).task_classes()[:2] == [
        ("t-shirt-top_trouser", ("T-shirt/top", "Trouser")),
        ("dress_pullover", ("Dress", "Pullover")),
    ]


def test_a_seed_gives_the_same_order_everywhere_and_another_seed_another_one() -> None:
    # Written down: what numpy's generator draws is part of the identity of a stream.
    names = [name for name, _ in made(SplitCifar10, class_order=0).task_classes()]
    assert names == ["deer_frog", "bird_horse", "cat_dog", "airplane_truck", "automobile_ship"]
    orders = {tuple(made(SplitCifar100, class_order=seed).task_classes()) for seed in range(5)}
    assert len(orders) == 5


def test_an_order_by_names_numbers_or_both_is_taken_as_it_stands() -> None:
    names = list(reversed(SplitCifar10.classes))
    mixed = [name if i % 2 else 9 - i for i, name in enumerate(names)]
    by_name, by_number, by_both = (
        made(SplitCifar10, class_order=order).task_classes() for order in (names, list(range(9, -1, -1)), mixed)
    )
    assert by_name == by_number == by_both
    assert [name for name, _ in by_name] == ["ship_truck", "frog_horse", "deer_dog", "bird_cat", "airplane_automobile"]


@pytest.mark.parametrize(
    ("kind", "settings", "says"),
    [
        (
            SplitCifar10,
            {"classes_per_task": 3},
            "classes_per_task = 3: does not divide the 10 classes of cifar10; valid: 2, 5, 10",
        ),
        (SplitCifar100, {"classes_per_task": 7}, "valid: 2, 4, 5, 10, 20, 25, 50, 100"),
        (SplitCifar10, {"class_order": [*range(9), 3]}, "class cat stands twice"),
        (SplitCifar10, {"class_order": [*range(9), "cat"]}, "class cat stands twice"),
        (SplitCifar10, {"class_order": [*range(9), "lorry"]}, "cifar10 has no class lorry; its classes are airplane, "),
        (SplitCifar10, {"class_order": [*range(9), 10]}, "cifar10 has no class 10; its classes are airplane, "),
        (SplitCifar10, {"class_order": [*range(9), -1]}, "no class -1"),
        (SplitCifar10, {"class_order": [0, 1, 2, 3]}, "names 4 of 10 classes and lacks deer, dog, frog and 3 more"),
        (SplitFashionMnist, {"class_order": []}, "names 0 of 10 classes"),
        (SplitCifar10, {"tasks": 6}, "scenario.tasks = 6: this scenario has 5 tasks"),
    ],
)
def test_classes_that_do_not_divide_or_an_order_that_is_none_are_one_line(
    kind: type[Scenario], settings: dict[str, Any], says: str
) -> None:
    with pytest.raises(DataError) as error:
        made(kind, **settings).stream()
    assert says in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("settings", [{"classes_per_task": 1}, {"class_order": -1}, {"class_order": "cat"}])
def test_settings_out_of_range_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(settings))):
        SplitCifar10.Settings(**settings)


@pytest.mark.parametrize(("kind", "copy"), [(TinySplitCifar10, "tiny_batches"), (TinySplitFashionMnist, "tiny_idx")])
def test_a_task_holds_the_images_of_its_classes(
    kind: type[TinySplitCifar10 | TinySplitFashionMnist], copy: str, request: pytest.FixtureRequest
) -> None:
    parts = drawn(kind.images)
    scenario = kind(kind.Settings(classes_per_task=5, class_order=3), SourceOptions(request.getfixturevalue(copy)))
    for task in scenario.load():
        for label, name in enumerate(task.classes):
            mine = parts["test"].numbers == kind.classes.index(name)
            expected = {image.tobytes() for image in parts["test"].images[mine]}
            found = {image.numpy().tobytes() for image in task.test.images[task.test.labels == label]}
            assert found == expected


def test_cifar100_is_split_across_its_superclasses(tiny_parquet: Path, tiny_parts: dict[str, Rows]) -> None:
    settings = TinySplitCifar100.Settings(class_order=1, tasks=3)
    for task in TinySplitCifar100(settings, SourceOptions(tiny_parquet)).load():
        for label, name in enumerate(task.classes):
            rows = tiny_parts["test"]
            expected = {i.transpose(2, 0, 1).tobytes() for i in rows.images[rows.fine == FINE_NAMES.index(name)]}
            assert {i.numpy().tobytes() for i in task.test.images[task.test.labels == label]} == expected


def test_two_ways_to_say_the_same_tasks_are_one_identity(tiny_idx: Path) -> None:
    kind, source = TinySplitFashionMnist, SourceOptions(tiny_idx)
    plain, told, other = (kind.Settings(class_order=order) for order in (None, list(TinySplitFashionMnist.classes), 1))
    assert kind.identity_settings(plain) == kind.identity_settings(told)
    prints = [fingerprint_of_tasks(kind(settings, source).load()) for settings in (plain, told, other)]
    assert prints[0] == prints[1] != prints[2]


def test_labels_count_on_where_no_task_is_told(tiny_idx: Path) -> None:
    settings = TinySplitFashionMnist.Settings(protocol="class", class_order=2)
    tasks = TinySplitFashionMnist(settings, SourceOptions(tiny_idx)).load()
    assert [task.test.labels.unique().tolist() for task in tasks] == [[0, 1], [2, 3], [4, 5], [6, 7], [8, 9]]


def test_lines_about_the_data_are_told_once_and_only_whole_copies_are_published() -> None:
    def read(name: str, classes: tuple[str, ...], published: bool) -> RawTask:
        images, labels = np.zeros((4, 1, 2, 2), np.uint8), np.arange(4) % 2
        return RawTask(name, classes, images, labels, images, labels, warnings=(f"of {name}",), published=published)

    parts = [read("one", ("a", "b"), True), read("two", ("c", "d"), False)]
    first, second, third = cut(parts, {"x": ("a", "c"), "y": ("b", "d"), "z": ("a", "b")})
    assert [first.warnings, second.warnings] == [("of one", "of two"), ()]
    assert [first.published, second.published, third.published] == [False, False, True]
