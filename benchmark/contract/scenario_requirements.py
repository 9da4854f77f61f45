"""The contract of a scenario (`scenarios/base.py`), requirement by requirement, on its own images."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from functools import cached_property
from pathlib import Path

import torch

from benchmark.contract import declared
from benchmark.contract.requirement import Broken, Requirement
from scenarios.base import VALIDATION_FRACTION, DataError, ImageSet, Scenario, ScenarioSettings, Task
from scenarios.canonical import centre

PARTS = ("train", "validation", "test")

DUPLICATES = 0.01
"""Share of a task's test images that may also be training images: published data sets hold some (CIFAR-100 ten in all)."""


class ScenarioTrial:
    """A scenario on trial.

    make: makes the scenario; settings that are given replace its own.
    path: of its file.
    """

    def __init__(self, make: Callable[..., Scenario], path: Path) -> None:
        self.make, self._path = make, path

    @property
    def path(self) -> Path:
        return self._path

    @cached_property
    def scenario(self) -> Scenario:
        return self.make()

    @cached_property
    def tasks(self) -> list[Task]:
        return self.scenario.load()

    def parts(self) -> Iterator[tuple[str, Task, ImageSet]]:
        """Every part of every task, each with its name for people."""
        for task in self.tasks:
            for name in PARTS:
                yield f"{name} of task {task.id} ({task.name})", task, getattr(task, name)


def settings_are_typed_and_valid(trial: ScenarioTrial) -> None:
    declared.settings_are_strict(type(trial.scenario), ScenarioSettings)
    declared.settings_are_valid(trial.scenario.settings)


def it_loads(trial: ScenarioTrial) -> None:
    if not trial.tasks:
        raise Broken("it loads no tasks", "task_classes() names them, raw_tasks() reads them")


def its_stream_is_what_it_loads(trial: ScenarioTrial) -> None:
    stream = trial.scenario.stream()
    if stream.names != tuple(task.name for task in trial.tasks):
        raise Broken(
            f"task_classes() names {list(stream.names)}, raw_tasks() reads {[task.name for task in trial.tasks]}",
            "read the tasks that are asked for, in the order in which they are asked for",
        )
    classes = dict(trial.scenario.chosen())
    for task in trial.tasks:
        if tuple(task.classes) != tuple(classes[task.name]):
            raise Broken(
                f"task {task.name} has other classes when read than in task_classes()", "the same tuple in both"
            )
    channels = stream.image_shape[0]
    if len(stream.mean) != channels or len(stream.std) != channels:
        raise Broken(
            f"mean and std have {len(stream.mean)} and {len(stream.std)} values", f"one per channel: {channels}"
        )
    if not all(0 <= mean <= 1 for mean in stream.mean) or not all(0 < std <= 1 for std in stream.std):
        raise Broken(f"mean {stream.mean}, std {stream.std}", "of pixels in [0, 1], not of 0..255; std above 0")


def names_are_unique_and_sorted(trial: ScenarioTrial) -> None:
    names = [task.name for task in trial.tasks]
    if repeated := sorted({name for name in names if names.count(name) > 1}):
        raise Broken(f"two tasks are called {repeated[0]!r}", "give each task a name of its own")
    for task in trial.tasks:
        if len(set(task.classes)) != len(task.classes):
            raise Broken(f"task {task.name} has a class twice ({', '.join(task.classes)})", "name each class once")
        if list(task.classes) != sorted(task.classes):
            raise Broken(
                f"the classes of task {task.name} are not in alphabetical order ({', '.join(task.classes)})",
                "sort them, and number labels in that order: then every reader of the data agrees",
            )


def images_and_labels_are_typed(trial: ScenarioTrial) -> None:
    shape = tuple(trial.scenario.image_shape)
    for name, task, part in trial.parts():
        size = tuple(part.images.shape[1:])
        # Training images may be larger: augmentation cuts them to what networks see.
        fits = (
            size[0] == shape[0] and size[1] >= shape[1] and size[2] >= shape[2] if part is task.train else size == shape
        )
        if part.images.dtype != torch.uint8 or not fits:
            raise Broken(
                f"{name}: images are {part.images.dtype} {tuple(part.images.shape)}",
                f"uint8 (N, {', '.join(map(str, shape))}), as image_shape says; those of train may be larger",
            )
        if part.labels.dtype != torch.int64 or part.samples.dtype != torch.int64:
            raise Broken(f"{name}: labels are {part.labels.dtype}, samples {part.samples.dtype}", "int64 (N,)")
        found, expected = part.labels.unique().tolist(), list(_labels(task))
        if found != expected:
            raise Broken(
                f"{name}: labels are {found}",
                f"{expected}, the places of the classes within the task"
                + (" behind those of earlier tasks" if task.seen else "")
                + ", and images of each",
            )


def parts_are_in_canonical_order(trial: ScenarioTrial) -> None:
    for name, task, part in trial.parts():
        keys = list(zip(part.labels.tolist(), _seen_hashes(part, task), strict=True))
        if keys != sorted(keys):
            raise Broken(
                f"{name}: not sorted by label and SHA-256 of the pixels",
                "leave the order to Scenario.load: give raw_tasks() in any order",
            )


def validation_is_held_out(trial: ScenarioTrial) -> None:
    for task in trial.tasks:
        train, validation = set(task.train.samples.tolist()), set(task.validation.samples.tolist())
        if train & validation:
            raise Broken(f"task {task.name}: {len(train & validation)} images are trained on and validated on", _LOAD)
        for label in _labels(task):
            held_out = int((task.validation.labels == label).sum())
            total = held_out + int((task.train.labels == label).sum())
            expected = max(1, round(VALIDATION_FRACTION * total))
            if total and held_out != expected:
                raise Broken(f"task {task.name}: {held_out} of {total} images of class {label} are validated on", _LOAD)


def _labels(task: Task) -> range:
    return range(task.first, task.first + len(task.classes))


_LOAD = "leave the split to Scenario.load: a stratified fifth of what is trained on"


def no_test_image_is_learned_from(trial: ScenarioTrial) -> None:
    learned: dict[bytes, str] = {}
    for task in trial.tasks:
        for part in (task.train, task.validation):
            learned |= dict.fromkeys(_seen_hashes(part, task), task.name)
    for task in trial.tasks:
        both = [learned[key] for key in _seen_hashes(task.test, task) if key in learned]
        if len(both) > DUPLICATES * len(task.test):
            raise Broken(
                f"{len(both)} test images of task {task.name} are images to learn from too (of task {both[0]})",
                "leave every image in one part: split before making tasks, and drop duplicates",
            )


def loading_again_gives_the_same(trial: ScenarioTrial) -> None:
    for task, again in zip(trial.tasks, trial.make().load(), strict=True):
        if task.fingerprint != again.fingerprint or task.test_fingerprint != again.test_fingerprint:
            raise Broken(
                f"task {task.name} has other images or labels when loaded again",
                "read the same data every time: no random split, no order of a set, no time",
            )


def tasks_takes_the_first(trial: ScenarioTrial) -> None:
    (first,) = trial.make(tasks=1).load()
    if first.fingerprint != trial.tasks[0].fingerprint:
        raise Broken(
            "with `tasks` 1 the first task is another than in the whole stream",
            "make each task from its own images alone, whichever others are asked for",
        )
    try:
        trial.make(tasks=10_000).load()
    except DataError:
        return
    raise Broken("`tasks` 10000 is no error", "leave the choice of tasks to Scenario.chosen")


def order_moves_whole_tasks(trial: ScenarioTrial) -> None:
    stay = {task.name: task.fingerprint for task in trial.tasks}
    for seed in range(3):
        for task in trial.make(order=seed, tasks=len(stay)).load():
            if stay.get(task.name, task.fingerprint) != task.fingerprint:
                raise Broken(
                    f"task {task.name} has other images in another order of tasks",
                    "make each task from its own images alone, wherever its place in the stream",
                )


def train_fraction_leaves_the_test_part(trial: ScenarioTrial) -> None:
    (whole,), (half,) = (trial.make(tasks=1, train_fraction=fraction).load() for fraction in (1.0, 0.5))
    if whole.test_fingerprint != half.test_fingerprint:
        raise Broken(
            "`train_fraction` 0.5 changes the test images", "leave it to Scenario.load: it thins training alone"
        )
    if not len(half.train) + len(half.validation) < len(whole.train) + len(whole.validation):
        raise Broken("`train_fraction` 0.5 leaves all training images", "leave it to Scenario.load")


def _seen_hashes(part: ImageSet, task: Task) -> list[bytes]:
    """SHA-256 of the pixels that a network sees of each image if nothing augments it: of the centre, where images are larger."""
    height, width = task.test.images.shape[-2:]
    images = centre(part.images, (height, width))
    return [hashlib.sha256(image.cpu().numpy().tobytes()).digest() for image in images]


SCENARIO_REQUIREMENTS: tuple[Requirement[ScenarioTrial], ...] = (
    Requirement("it has a version", lambda trial: declared.version_is_declared(type(trial.scenario))),
    Requirement(
        "it has a docstring, whose first line `list` shows",
        lambda trial: declared.docstring_is_there(type(trial.scenario)),
    ),
    Requirement("its settings are typed and their defaults valid", settings_are_typed_and_valid),
    Requirement(
        "it loads",
        it_loads,
        gate=True,
        odd=lambda trial: [line for task in trial.tasks for line in task.warnings],
    ),
    Requirement("its stream is what it loads", its_stream_is_what_it_loads),
    Requirement("names are unique, classes in alphabetical order", names_are_unique_and_sorted),
    Requirement("images are uint8 of the announced shape, labels 0..classes-1", images_and_labels_are_typed),
    Requirement("every part is sorted by label, then SHA-256 of the pixels", parts_are_in_canonical_order),
    Requirement("validation is a fifth of each class, and not trained on", validation_is_held_out),
    Requirement("no test image is learned from, in any task", no_test_image_is_learned_from),
    Requirement("loading again gives the same", loading_again_gives_the_same),
    Requirement("`tasks` takes the first of the stream", tasks_takes_the_first),
    Requirement("`order` moves whole tasks", order_moves_whole_tasks),
    Requirement("`train_fraction` thins training and nothing else", train_fraction_leaves_the_test_part),
)
