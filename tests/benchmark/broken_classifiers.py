"""Methods whose classifiers break one thing, as source for the tests to write to disk, with what `check` must say of them.

Each entry: source, then regular expressions, one for every line that must say FAIL, in their order; no other may.
"""

from __future__ import annotations

METHOD = '''
import copy, random, time
from dataclasses import replace
import numpy as np
import torch
from torch import nn
from methods.base import Method, MethodSettings, RunSpec, State
from methods.madry_at import MadryAT
from methods.training import Fit


class Wrapped(nn.Module):
    """A classifier with something done to its images and logits."""

    def __init__(self, inner, before=lambda images: images, after=lambda logits: logits):
        super().__init__()
        self.inner, self.before, self.after = inner, before, after

    def forward(self, images):
        return self.after(self.inner(self.before(images)))


def wrapped(inner, **functions):
    return Wrapped(inner, **functions).eval().requires_grad_(False)


class Mine(MadryAT):
    "A method of a third party."

    version = 1
'''


def method(body: str) -> str:
    return METHOD + body


OLD = """
    def learn(self, task, context):
        super().learn(task, context)
        self.last = task.id

    def is_old(self, task):
        return task < getattr(self, "last", 1)

    def classifier(self, task):
"""

SELECTED = r"it selected by .* validation accuracy .*, but its classifier has"
"""Follows from whatever makes a classifier another function than the network that was trained."""

CLASSIFIERS: dict[str, tuple[str, list[str]]] = {
    "a function for a classifier": (
        method("    def classifier(self, task):\n        return super().classifier(task).forward\n"),
        [r"classifier\(0\) is a method: an nn.Module"],
    ),
    "training mode": (
        method("    def classifier(self, task):\n        return super().classifier(task).train()\n"),
        [r"classifier\(0\) is not in eval mode .*: hand out a copy in eval mode"],
    ),
    "one layer in training mode": (
        method(
            "    def classifier(self, task):\n"
            "        found = super().classifier(task)\n"
            "        found.backbone.layers[1].train()\n"
            "        return found\n"
        ),
        [r"not in eval mode \(backbone.layers.1 is in training mode\)"],
    ),
    "not frozen": (
        method("    def classifier(self, task):\n        return super().classifier(task).requires_grad_()\n"),
        [r"classifier\(0\) is not frozen \(.* takes a gradient\)"],
    ),
    "all heads at once": (
        method(
            "    def classifier(self, task):\n"
            "        whole = copy.deepcopy(self.network)\n"
            "        class All(nn.Module):\n"
            "            def __init__(self):\n"
            "                super().__init__()\n"
            "                self.whole = whole\n"
            "            def forward(self, images):\n"
            "                features = whole.backbone((images - whole.mean) / whole.std)\n"
            "                return torch.cat([head(features) for head in whole.heads], 1)\n"
            "        return All().eval().requires_grad_(False)\n"
        ),
        [r"classifier\(0\) returns 4 logits per image; task 0 has 2 classes: slice the head"],
    ),
    "other tasks masked by -inf": (
        method(
            "    def classifier(self, task):\n"
            "        pad = lambda logits: torch.nn.functional.pad(logits, (0, 2), value=float('-inf'))\n"
            "        return wrapped(super().classifier(task), after=pad)\n"
        ),
        [r"returns 4 logits per image, column 2 being -inf for every image; task 0 has 2 classes: slice the head"],
    ),
    "other tasks masked by 0": (
        method(
            "    def classifier(self, task):\n"
            "        pad = lambda logits: torch.nn.functional.pad(logits, (0, 2))\n"
            "        return wrapped(super().classifier(task), after=pad)\n"
        ),
        [r"returns 4 logits per image, column 2 being 0 for every image; task 0 has 2 classes: slice the head"],
    ),
    "one class masked": (
        method(
            "    def classifier(self, task):\n"
            "        mask = torch.tensor([0.0, float('-inf')])\n"
            "        return wrapped(super().classifier(task), after=lambda logits: logits + mask)\n"
        ),
        [r"classifier\(0\): column 1 of the logits is -inf for every image, as if masked: slice the head"],
    ),
    "one class at 0": (
        method(
            "    def classifier(self, task):\n"
            "        mask = torch.tensor([1.0, 0.0])\n"
            "        return wrapped(super().classifier(task), after=lambda logits: logits * mask)\n"
        ),
        [r"classifier\(0\): column 1 of the logits is 0 for every image, as if masked: slice the head"],
    ),
    "always the same": (
        method(
            "    def classifier(self, task):\n"
            "        return wrapped(super().classifier(task), before=torch.zeros_like)\n"
        ),
        [r"classifier\(0\) gives the same logits for every image \(.*\): look whether the images reach the head"],
    ),
    "NaN": (
        method(
            "    def classifier(self, task):\n"
            "        return wrapped(super().classifier(task), after=lambda logits: logits.sub(50).sqrt() if task else logits)\n"
        ),
        [r"classifier\(1\) returns logits that are not finite"],
    ),
    "an old task in training mode": (
        method(OLD + "        return super().classifier(task).train(self.is_old(task))\n"),
        [r"classifier\(0\) is not in eval mode"],
    ),
    "an old task with a head that grew": (
        method(
            OLD + "        found = super().classifier(task)\n"
            "        pad = lambda logits: torch.cat([logits, 2 * logits], 1)\n"
            "        return wrapped(found, after=pad) if self.is_old(task) else found\n"
        ),
        [r"classifier\(0\) returns 4 logits per image; task 0 has 2 classes: slice the head"],
    ),
    "an old task's head set to 0": (
        method(
            OLD + "        found = super().classifier(task)\n"
            "        return wrapped(found, after=lambda logits: 0 * logits) if self.is_old(task) else found\n"
        ),
        [
            r"classifier\(0\) gives the same logits for every image \(0, 0\): look whether",
            r"a gradient of exactly zero",
        ],
    ),
    "a tuple": (
        method(
            "    def classifier(self, task):\n"
            "        return wrapped(super().classifier(task), after=lambda logits: (logits, None))\n"
        ),
        [r"classifier\(0\): the classifier returned a tuple.*: return one tensor of logits"],
    ),
    "probabilities": (
        method(
            "    def classifier(self, task):\n"
            "        return wrapped(super().classifier(task), after=lambda logits: logits.softmax(1))\n"
        ),
        [r"classifier\(0\) returns probabilities.*: return logits, without softmax"],
    ),
    "statistics of the batch": (
        method(
            "    def classifier(self, task):\n"
            "        return wrapped(super().classifier(task), before=lambda images: images - 0.1 * images.mean(0))\n"
        ),
        [
            r"gives an image other logits in a batch of 1 than in a batch of \d+: make an image's logits depend",
            SELECTED,
        ],
    ),
    "fails on a batch of one": (
        method(
            "    def classifier(self, task):\n"
            "        return wrapped(super().classifier(task), after=lambda logits: logits.squeeze(0))\n"
        ),
        [r"raises IndexError|gives an image other logits in a batch of 1"],
    ),
    "random": (
        method(
            "    def classifier(self, task):\n"
            "        return wrapped(super().classifier(task), after=lambda logits: logits + 0.01 * torch.randn(logits.shape))\n"
        ),
        [r"gives other logits for the same images when asked twice: leave nothing in it that is random"],
    ),
    "writes to the images": (
        method(
            "    def classifier(self, task):\n"
            "        def before(images):\n"
            "            with torch.no_grad():\n"
            "                images.data.clamp_(0, 0.9)\n"
            "            return images\n"
            "        return wrapped(super().classifier(task), before=before)\n"
        ),
        [
            r"classifier\(0\) changes the images it is asked about: work on a copy",
            SELECTED,
        ],
    ),
    "counts": (
        method(
            "    def classifier(self, task):\n"
            "        found = super().classifier(task)\n"
            "        found.register_buffer('asked', torch.zeros(()))\n"
            "        found.register_forward_hook(lambda module, *given: module.asked.add_(1) and None)\n"
            "        return found\n"
        ),
        [r"classifier\(0\) changes itself when it is asked: leave nothing in it that counts"],
    ),
    "detached": (
        method(
            "    def classifier(self, task):\n"
            "        return wrapped(super().classifier(task), before=lambda images: images.detach())\n"
        ),
        [
            r"classifier\(0\) cuts the gradient.*: no torch.no_grad, detach",
            SELECTED,
        ],
    ),
    "rounded": (
        method(
            "    def classifier(self, task):\n"
            "        return wrapped(super().classifier(task), before=lambda images: (images * 8).round() / 8)\n"
        ),
        [
            r"a gradient of exactly zero at every image.*: no rounding",
            SELECTED,
        ],
    ),
    "shares its weights": (
        method(
            "    def classifier(self, task):\n"
            "        found, own = super().classifier(task), self.network.for_task(task)\n"
            "        for mine, theirs in zip(found.parameters(), own.parameters()):\n"
            "            mine.data = theirs.data\n"
            "        return found\n"
        ),
        [r"learning later tasks changes a classifier\(0\) that was handed out before: hand out a copy"],
    ),
    "hands its state's weights out": (
        method(
            "    def classifier(self, task):\n"
            "        found, own = super().classifier(task), self.network.for_task(task)\n"
            "        if task == 1:\n"
            "            found.head.weight.data = own.head.weight.data\n"
            "        return found\n"
        ),
        [r"changing the method's state changes a classifier\(1\) that was handed out before: hand out a copy"],
    ),
    "keeps what it hands out": (
        method(
            "    def classifier(self, task):\n"
            "        made = self.__dict__.setdefault('made', {})\n"
            "        self.learned = getattr(self, 'learned', 0)\n"
            "        return made.setdefault((task, self.learned), super().classifier(task))\n"
            "    def learn(self, task, context):\n"
            "        super().learn(task, context)\n"
            "        self.learned = task.id + 1\n"
        ),
        [r"changing a classifier\(0\) changes the method: hand out a copy"],
    ),
}
