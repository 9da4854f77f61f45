"""Methods that each break one thing, as source for the tests to write to disk, with what `check` must say of it.

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

METHODS: dict[str, tuple[str, list[str]]] = {
    "version": (method("    version = 0\n"), [r"Mine.version is 0: a whole number from 1 on"]),
    "docstring": (
        method("").replace('    "A method of a third party."\n', ""),
        [r"Mine has no docstring: write one whose first line"],
    ),
    "other settings": (
        method("    class Settings:\n        pass\n"),
        [r"Mine.Settings is 'Settings': a class that extends MethodSettings"],
    ),
    "loose settings": (
        method("    class Settings(MadryAT.Settings, extra='ignore'):\n        pass\n"),
        [r"Settings takes settings it does not know.*leave `model_config`"],
    ),
    "a default out of range": (
        method(
            "    class Settings(MadryAT.Settings):\n"
            "        from pydantic import Field\n"
            "        share: float = Field(1.5, le=1)\n"
        ),
        [r"the defaults of Settings are not valid: share = 1.5: Input should be less than or equal to 1"],
    ),
    "no default": (
        method("    class Settings(MadryAT.Settings):\n        share: float\n"),
        [r"no settings by default \(.*share: missing\): give every setting a default"],
    ),
    "an unknown need": (
        method("    needs = frozenset({'all_task'})\n"),
        [r"needs holds 'all_task': a known word; did you mean 'all_tasks'"],
    ),
    "claims as text": (
        method("    claims = 'unforgetting'\n"),
        [r"claims is 'unforgetting': a frozenset of words"],
    ),
    "an unknown requirement": (
        method("    @classmethod\n    def requires(cls, settings):\n        return [RunSpec('single_task')]\n"),
        [r"cannot be planned: method 'single_task' is not known.*: require methods and settings that exist"],
    ),
    "no epochs": (
        method("    @classmethod\n    def epochs(cls, settings, recipe):\n        return 0\n"),
        [r"epochs\(\) is 0: a number above 0"],
    ),
    "raises": (
        method(
            "    def learn(self, task, context):\n"
            "        if task.id == 1:\n"
            "            raise RuntimeError('planted\\nfailure')\n"
            "        super().learn(task, context)\n"
        ),
        [r"raises RuntimeError: planted failure, while learning task 1: see mine.py, line 3\d$"],
    ),
    "exits": (
        method("    def learn(self, task, context):\n        raise SystemExit(5)\n"),
        [r"raises SystemExit: 5, while learning task 0: see mine.py, line 3\d$"],
    ),
    "a state that is no state": (
        method(
            "    def state(self):\n        return State(super().state().tensors, {'batch_norms': torch.zeros(3)})\n"
        ),
        [r"its state cannot be stored: raises TypeError.*Tensor.*: state\(\) gives State"],
    ),
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
    "forgets its heads": (
        method(
            "    def state(self):\n"
            "        state = super().state()\n"
            "        return State({n: t for n, t in state.tensors.items() if 'heads' not in n}, state.values)\n"
            "    def load_state(self, state):\n"
            "        self.network.load_state_dict(state.under('network.'), strict=False)\n"
            "        self.batch_norms = {}\n"
        ),
        [
            r"a fresh instance with the stored state hands out another classifier\(0\) \(head.*: state\(\) must hold everything",
            r"after a kill before task 1 it goes on to other classifiers than in one go \(classifier\(0\): head",
        ],
    ),
    "cannot take its state": (
        method("    def load_state(self, state):\n        self.network.load_state_dict({})\n"),
        [
            r"raises RuntimeError: Error\(s\) in loading state_dict.*: see mine.py, line 3\d$",
        ]
        * 3,
    ),
    "a memory that the state lacks": (
        method(
            "    def begin(self, stream, context):\n"
            "        super().begin(stream, context)\n"
            "        self.seen = 0\n"
            "    def learn(self, task, context):\n"
            "        self.seen += 1\n"
            "        recipe = context.recipe.model_copy(update={'learning_rate': 0.05 / self.seen})\n"
            "        fit = Fit(self.network, list(self.network.parameters()),\n"
            "                  lambda: context.validate(self.network.for_task(task.id), task),\n"
            "                  logits=lambda batch: self.network.for_task(task.id))\n"
            "        context.train(fit, [task], recipe=recipe)\n"
        ),
        [
            r"after a kill before task 1 it goes on to other classifiers than in one go .*: state\(\) must hold everything"
        ],
    ),
    "counts its instances": (
        method(
            "    made = [0]\n"
            "    def begin(self, stream, context):\n"
            "        super().begin(stream, context)\n"
            "        self.made[0] += 1\n"
            "        with torch.no_grad():\n"
            "            self.network.backbone.layers[0].weight.add_(0.001 * self.made[0])\n"
        ),
        [r"the same seed learns something else the second time \(classifier\(0\): .*\): nothing may be left over"],
    ),
    "global random numbers of torch": (
        method(
            "    def begin(self, stream, context):\n"
            "        super().begin(stream, context)\n"
            "        with torch.no_grad():\n"
            "            self.network.backbone.layers[0].weight.add_(0.01 * torch.randn(()))\n"
        ),
        [r"depends on global random numbers \(classifier\(0\): .*\): draw from context.rng"],
    ),
    "global random numbers of numpy": (
        method(
            "    def begin(self, stream, context):\n"
            "        super().begin(stream, context)\n"
            "        with torch.no_grad():\n"
            "            self.network.backbone.layers[0].weight.add_(0.01 * np.random.randn())\n"
        ),
        [r"depends on global random numbers"],
    ),
    "seeds everything": (
        method(
            "    def begin(self, stream, context):\n        torch.manual_seed(0)\n        super().begin(stream, context)\n"
        ),
        [r"seeds the global generator \(torch.manual_seed\): draw from context.rng"],
    ),
    "trains on test images": (
        method(
            "    def learn(self, task, context):\n"
            "        from scenarios.digits import Digits\n"
            "        test = Digits(Digits.Settings()).load()[task.id].test\n"
            "        super().learn(replace(task, train=test), context)\n"
        ),
        [r"it gets at test images: with others in the stream it learns something else .*: learn from task.train"],
    ),
    "trains on test images of the preset": (
        method(
            "    def learn(self, task, context):\n"
            "        from scenarios.base import SourceOptions\n"
            "        test = context.job.preset.scenario(SourceOptions()).load()[task.id].test\n"
            "        super().learn(replace(task, validation=test), context)\n"
        ),
        [SELECTED, r"it gets at test images"],
    ),
    "no seed": (
        method(
            "    def learn(self, task, context):\n"
            "        generator = torch.Generator().manual_seed(task.id)\n"
            "        with torch.no_grad():\n"
            "            for parameter in self.network.for_task(task.id).parameters():\n"
            "                parameter.copy_(0.1 * torch.randn(parameter.shape, generator=generator))\n"
            "        found = context.validate(self.network.for_task(task.id).eval(), task)\n"
            "        context.facts.record('selected_clean', found.clean)\n"
            "        context.facts.record('selected_robust', found.robust)\n"
        ),
        [r"another seed learns the same classifiers: initialise with context.network"],
    ),
    "writes to the images it is given": (
        method(
            "    def learn(self, task, context):\n"
            "        super().learn(task, context)\n"
            "        task.train.images.fill_(0)\n"
        ),
        [r"learning changes train.images of task 0: what is given is shared by all methods"],
    ),
    "changes a global setting": (
        method(
            "    def learn(self, task, context):\n"
            "        super().learn(task, context)\n"
            "        torch.set_float32_matmul_precision('high')\n"
        ),
        [r"learning leaves torch.set_float32_matmul_precision changed: change global settings not at all"],
    ),
    "changes what it selected": (
        method(
            "    def learn(self, task, context):\n"
            "        super().learn(task, context)\n"
            "        with torch.no_grad():\n"
            "            self.network.heads[task.id].bias.add_(torch.tensor([50.0, 0.0]))\n"
        ),
        [
            r"it selected by clean validation accuracy .*, but its classifier has .*: hand out the network that was selected"
        ],
    ),
    "does not say what it selected": (
        method(
            "    def learn(self, task, context):\n"
            "        with torch.no_grad():\n"
            "            for parameter in self.network.for_task(task.id).parameters():\n"
            "                generator = context.rng(task.id, 'own', 'weights')\n"
            "                parameter.copy_(0.1 * torch.randn(parameter.shape, generator=generator))\n"
        ),
        [r"does not say which validation accuracy it selected by: train with context.train"],
    ),
    "claims what is not so": (
        method("    claims = frozenset({'unforgetting'})\n"),
        [r"it claims 'unforgetting', but .* classifier\(0\) is another one .*\(backbone.*\): take the claim back"],
    ),
    "claims what only a copy shows": (
        method(
            "    claims = frozenset({'unforgetting'})\n"
            "    def begin(self, stream, context):\n"
            "        super().begin(stream, context)\n"
            "        self.copies = {}\n"
            "    def classifier(self, task):\n"
            "        return copy.deepcopy(self.copies.setdefault(task, super().classifier(task)))\n"
        ),
        [
            r"a fresh instance with the stored state hands out another classifier\(0\)",
            r"it claims 'unforgetting'",
            r"goes on to",
        ],
    ),
}
