"""Streams that split the classes of one data set into tasks of equal size."""

from __future__ import annotations

import re
from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from scenarios.base import DataError, Progress, RawTask, Scenario, ScenarioSettings
from scenarios.parts.labels import PARTS

ClassOrder = Annotated[int, Field(ge=0)] | list[int | str]


class SplitSettings(ScenarioSettings):
    """The classes of a task, and the order in which classes are dealt out to tasks."""

    classes_per_task: int = Field(2, ge=2, description="classes of each task; must divide the data set's")
    class_order: ClassOrder | None = Field(
        None,
        description="a seed, or all classes by name or number; the data set's own order if not given. Tasks take them in turn",
    )


class SplitScenario(Scenario):
    """The classes of one data set, a few of them a task.

    Tasks take the classes in the order of `class_order`; within a task they stand in alphabetical order, as in every scenario. A
    task of two classes is named by them, a larger one by the data set and its number.

    classes: names, in the order of the data set's own numbers.
    data_name: of the data set, in names of tasks.

    A subclass sets these two and defines `parts`.
    """

    Settings: ClassVar[type[ScenarioSettings]] = SplitSettings
    settings: SplitSettings
    classes: ClassVar[tuple[str, ...]]
    data_name: ClassVar[str]

    @classmethod
    def identity_settings(cls, settings: ScenarioSettings) -> dict[str, Any]:
        """Without the two ways to say which classes a task has: names, classes and pixels are in the fingerprint."""
        found = super().identity_settings(settings)
        return {key: value for key, value in found.items() if key not in ("classes_per_task", "class_order")}

    @abstractmethod
    def parts(self, classes: Sequence[str], progress: Progress | None = None) -> list[RawTask]:
        """The images of these classes at least, in tasks of any kind. Raises DataError."""

    def task_classes(self) -> list[tuple[str, tuple[str, ...]]]:
        """Raises DataError if the classes do not divide, or their order is none of all of them."""
        dealt = self._dealt()
        width = len(str(len(dealt) - 1))
        return [
            (_named(members) if len(members) == 2 else f"{self.data_name}_{i:0{width}d}", members)
            for i, members in enumerate(dealt)
        ]

    def raw_tasks(self, names: Sequence[str], progress: Progress | None = None) -> list[RawTask]:
        tasks = {name: members for name, members in self.task_classes() if name in names}
        wanted = {member for members in tasks.values() for member in members}
        parts = self.parts([name for name in self.classes if name in wanted], progress)
        return cut(parts, {name: tasks[name] for name in names})

    def _dealt(self) -> list[tuple[str, ...]]:
        """The classes of each task, in alphabetical order. Raises DataError."""
        count, size = len(self.classes), self.settings.classes_per_task
        if count % size:
            valid = ", ".join(str(number) for number in range(2, count + 1) if count % number == 0)
            raise DataError(
                f"scenario.classes_per_task = {size}: does not divide the {count} classes of {self.data_name}; valid: {valid}"
            )
        ordered = [self.classes[number] for number in self._order()]
        return [tuple(sorted(ordered[start : start + size])) for start in range(0, count, size)]

    def _order(self) -> list[int]:
        """The numbers of all classes, in the order in which tasks take them. Raises DataError."""
        given, count = self.settings.class_order, len(self.classes)
        if given is None:
            return list(range(count))
        if isinstance(given, int):
            return [int(number) for number in np.random.default_rng(given).permutation(count)]
        numbers = [self._number(each) for each in given]
        twice = [self.classes[number] for number in numbers if numbers.count(number) > 1]
        if twice:
            raise DataError(f"scenario.class_order: class {twice[0]} stands twice; name each class once")
        if lacking := [name for number, name in enumerate(self.classes) if number not in numbers]:
            more = f" and {len(lacking) - 3} more" if len(lacking) > 3 else ""
            raise DataError(
                f"scenario.class_order: names {len(numbers)} of {count} classes and lacks {', '.join(lacking[:3])}{more}; "
                "name all of them, and leave tasks out with scenario.tasks"
            )
        return numbers

    def _number(self, given: int | str) -> int:
        """The number of a class, from its name or number. Raises DataError."""
        if isinstance(given, str) and given in self.classes:
            return self.classes.index(given)
        if isinstance(given, int) and 0 <= given < len(self.classes):
            return given
        some = ", ".join(self.classes[:6])
        raise DataError(
            f"scenario.class_order: {self.data_name} has no class {given}; its classes are {some} and so on, or 0 to "
            f"{len(self.classes) - 1}"
        )


def _named(members: Sequence[str]) -> str:
    """A name for a task of few classes: theirs, without signs that a reader or a file name stumbles over."""
    return "_".join(re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-") for name in members)


def cut(parts: Sequence[RawTask], tasks: Mapping[str, tuple[str, ...]]) -> list[RawTask]:
    """Tasks of other classes, cut from tasks that were read. Lines about the data go to the first task that is cut from it.

    parts: each class stands in one of them.
    tasks: class names in alphabetical order, by the name of the task.
    """
    made, told = [], set()
    for name, classes in tasks.items():
        sources = [part for part in parts if set(part.classes) & set(classes)]
        train, test = (_gathered(sources, classes, part) for part in PARTS)
        warnings = tuple(line for source in sources if source.name not in told for line in source.warnings)
        told |= {source.name for source in sources}
        published = all(source.published for source in sources)
        made.append(RawTask(name, classes, *train, *test, warnings=warnings, published=published))
    return made


def _gathered(
    sources: Sequence[RawTask], classes: Sequence[str], part: str
) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Images and labels of some classes in "train" or "test"; labels are places in `classes`."""
    found = list(_rows(sources, classes, part))
    return np.concatenate([images for images, _ in found]), np.concatenate([labels for _, labels in found])


def _rows(
    sources: Sequence[RawTask], classes: Sequence[str], part: str
) -> Iterator[tuple[NDArray[np.uint8], NDArray[np.int64]]]:
    for source in sources:
        images, labels = (
            (source.train_images, source.train_labels) if part == "train" else (source.test_images, source.test_labels)
        )
        places = np.array([classes.index(name) if name in classes else -1 for name in source.classes])[labels]
        chosen = np.flatnonzero(places >= 0)
        yield images[chosen], places[chosen]
