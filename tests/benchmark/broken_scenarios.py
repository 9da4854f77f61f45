"""Scenarios that each break one thing, with what `check` must say of it.

Each entry: what the class holds beside `SOUND`, then regular expressions, one for every line that must say FAIL, in their order;
no other may.
"""

from __future__ import annotations

SOUND = """
import random
from dataclasses import replace
import numpy as np
from scenarios.base import RawTask, ScenarioSettings, Task
from scenarios.digits import Digits


class Mine(Digits):
    "Digits in other clothes."

    version = 1
"""

RAW = "    def raw_tasks(self, names, progress=None):\n        tasks = super().raw_tasks(names, progress)\n"
LOAD = "    def load(self, device='cpu', progress=None):\n        tasks = super().load(device, progress)\n"

BROKEN: dict[str, tuple[str, list[str]]] = {
    "version": ("    version = 0\n", [r"Mine.version is 0: a whole number"]),
    "docstring": ('    __doc__ = ""\n', [r"Mine has no docstring: write one"]),
    "loose settings": (
        "    class Settings(ScenarioSettings, extra='allow'):\n        pass\n",
        [r"Settings takes settings it does not know"],
    ),
    "raises": (RAW + "        raise OSError('planted')\n", [r"raises OSError: planted: see mine.py, line 1\d$"]),
    "tasks in another order": (
        RAW + "        return tasks[::-1] if len(tasks) == 5 and self.settings.order is None else tasks\n",
        [
            r"task_classes\(\) names \['digits_0_1', .*\], raw_tasks\(\) reads \['digits_8_9', .*: read the tasks",
            r"with `tasks` 1 the first task is another",
        ],
    ),
    "classes that differ": (
        RAW + "        return [replace(task, classes=('0', '1')) for task in tasks]\n",
        [r"task digits_2_3 has other classes when read than in task_classes\(\)"],
    ),
    "mean of 0..255": ("    mean = (78.0,)\n", [r"mean \(78.0,\), std .*: of pixels in \[0, 1\]"]),
    "mean per colour": ("    mean = (0.3, 0.3, 0.3)\n", [r"mean and std have 3 and 1 values: one per channel: 1"]),
    "one name for two": (
        "    def task_classes(self):\n        return [('digits_0_1', ('0', '1'))] * 2\n",
        [r"two tasks are called 'digits_0_1': give each task a name of its own"],
    ),
    "classes not in order": (
        "    def task_classes(self):\n"
        "        return [(name, classes[::-1]) for name, classes in super().task_classes()]\n"
        + RAW
        + "        return [replace(t, train_labels=-t.train_labels, test_labels=-t.test_labels) for t in tasks]\n",
        [r"the classes of task digits_0_1 are not in alphabetical order \(1, 0\): sort them"],
    ),
    "another shape": (
        "    image_shape = (1, 28, 28)\n",
        [r"images are torch.uint8 \(\d+, 1, 8, 8\): uint8 \(N, 1, 28, 28\)"],
    ),
    "labels of the data set": (
        RAW + "        return [replace(t, test_labels=t.test_labels + 2) for t in tasks]\n",
        [r"test of task 0 \(digits_0_1\): labels are \[2, 3\]: \[0, 1\], the places of the classes"],
    ),
    "not sorted": (
        LOAD + "        flip = lambda part: part.select(__import__('torch').arange(len(part)).flip(0))\n"
        "        return [replace(task, test=flip(task.test)) for task in tasks]\n",
        [r"test of task 0 \(digits_0_1\): not sorted by label"],
    ),
    "validates on what it trains on": (
        LOAD + "        return [replace(task, validation=task.train) for task in tasks]\n",
        [r"images are trained on and validated on: leave the split to Scenario.load"],
    ),
    "a small validation part": (
        LOAD + "        every = lambda part: part.select(__import__('torch').arange(0, len(part), 2))\n"
        "        return [replace(task, validation=every(task.validation)) for task in tasks]\n",
        [r"\d+ of \d+ images of class 0 are validated on: leave the split"],
    ),
    "tests on what it trains on": (
        RAW + "        return [replace(t, test_images=t.train_images, test_labels=t.train_labels) for t in tasks]\n",
        [r"\d+ test images of task digits_0_1 are images to learn from too \(of task digits_0_1\)"],
    ),
    "tests on what another task trains on": (
        RAW + "        first = super().raw_tasks(['digits_0_1'])[0]\n"
        "        return [replace(t, train_images=np.concatenate([t.train_images, first.test_images]),\n"
        "                        train_labels=np.concatenate([t.train_labels, first.test_labels]))\n"
        "                if t.name == 'digits_8_9' else t for t in tasks]\n",
        [r"test images of task digits_0_1 are images to learn from too \(of task digits_8_9\)"],
    ),
    "other images every time": (
        "    read = [0]\n" + RAW + "        self.read[0] += 1\n"
        "        return [replace(t, train_images=t.train_images // np.uint8(self.read[0])) for t in tasks]\n",
        [
            r"task digits_0_1 has other images or labels when loaded again: read the same data every time",
            r"with `tasks` 1 the first task is another",
            r"task digits_\d_\d has other images in another order",
        ],
    ),
    "depends on how many are read": (
        RAW + "        return [replace(t, train_images=t.train_images | np.uint8(len(names) == 1)) for t in tasks]\n",
        [
            r"with `tasks` 1 the first task is another than in the whole stream: make each task from its own images alone"
        ],
    ),
    "takes as many as it likes": (
        "    def chosen(self):\n        return super().task_classes()[: self.settings.tasks]\n",
        [r"`tasks` 10000 is no error: leave the choice of tasks to Scenario.chosen"],
    ),
    "depends on its place": (
        RAW
        + "        return [replace(t, train_images=t.train_images | np.uint8(i % 2)) for i, t in enumerate(tasks)]\n",
        [r"task digits_\d_\d has other images in another order of tasks"],
    ),
    "thins the test part": (
        RAW + "        n = 1 if self.settings.train_fraction == 1 else 2\n"
        "        return [replace(t, test_images=t.test_images[::n], test_labels=t.test_labels[::n]) for t in tasks]\n",
        [r"`train_fraction` 0.5 changes the test images: leave it to Scenario.load"],
    ),
    "ignores train_fraction": (
        "    def load(self, device='cpu', progress=None):\n"
        "        whole = self.settings.model_copy(update={'train_fraction': 1.0})\n"
        "        return Digits(whole, self.source).load(device, progress)\n",
        [r"`train_fraction` 0.5 leaves all training images"],
    ),
}
