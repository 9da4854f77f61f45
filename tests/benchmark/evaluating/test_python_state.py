"""Python state: memory in all its hiding places changes the hash, and what honest modules do does not."""

from __future__ import annotations

import ctypes
import functools
import itertools
import random
import sys
from array import array
from collections import OrderedDict, deque
from contextvars import ContextVar
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from attacks.clean import Clean
from attacks.parts.sharing import SharedRun
from benchmark.evaluating.attacking import attack_images
from benchmark.evaluating.fingerprints import classifier_fingerprint
from benchmark.evaluating.inspection.python_state import MOST_OBJECTS, python_state
from benchmark.evaluating.precision import Arithmetic
from scenarios.base import ImageSet
from tests.benchmark.evaluating.planted_gradients import network
from tests.ending import ending

IN_THE_FILE: list[object] = []
VARIABLE: ContextVar[tuple[object, ...]] = ContextVar("memory", default=())


class Remembers(nn.Module):
    """A network that calls `remember` with every batch."""

    of_the_class: list[object] = []  # noqa: RUF012

    def __init__(self, remember=lambda images: None, held=None):
        super().__init__()
        self.inner, self.remember, self.held = network(), remember, held

    def forward(self, images: Tensor) -> Tensor:
        self.remember(images)
        return self.inner(images)


class Slotted:
    __slots__ = ("__secret", "open")

    def __init__(self):
        self.open, self.__secret = 0, []

    def keep(self, images):
        self.__secret.append(len(images))


def in_a_closure():
    memory: list[object] = []
    return Remembers(lambda images: memory.append(images.sum()))


def in_a_default():
    def remember(images, memory=[]):  # noqa: B006
        memory.append(1)

    return Remembers(remember)


def on_a_function():
    def remember(images):
        remember.seen = getattr(remember, "seen", 0) + 1

    return Remembers(remember)


def in_an_object(held, remember):
    return Remembers(lambda images: remember(held), held)


def in_a_hook():
    classifier, memory = Remembers(), {}
    classifier.inner[0].register_forward_hook(lambda module, given, out: memory.update({len(memory): out.sum()}))
    return classifier


def in_a_cache():
    @functools.lru_cache
    def seen(number):
        return number

    return Remembers(lambda images: seen(float(images.sum())))


def in_a_module_out_of_sight():
    hidden = [nn.Linear(1, 1)]
    return Remembers(lambda images: hidden[0].bias.data.add_(1))


def write_array(held):
    held[0] += 1


MEMORIES = {
    "dict": lambda: in_an_object({}, lambda held: held.update({len(held): 1})),
    "dict, a value replaced": lambda: in_an_object({0: 0}, lambda held: held.update({0: held[0] + 1})),
    "dict, order": lambda: in_an_object(OrderedDict.fromkeys("ab"), lambda held: held.move_to_end(next(iter(held)))),
    "list": lambda: in_an_object([], lambda held: held.append(1)),
    "list of lists": lambda: in_an_object([[[]]], lambda held: held[0][0].append(1)),
    "set": lambda: in_an_object(set(), lambda held: held.add(len(held))),
    "deque": lambda: in_an_object(deque([0], maxlen=1), lambda held: held.append(held[0] + 1)),
    "numpy": lambda: in_an_object(np.zeros(3), write_array),
    "numpy of objects": lambda: in_an_object(np.array([[], None], dtype=object), lambda held: held[0].append(1)),
    "bytearray": lambda: in_an_object(bytearray(2), write_array),
    "array": lambda: in_an_object(array("d", [0.0]), write_array),
    "ctypes": lambda: in_an_object((ctypes.c_int * 2)(), write_array),
    "tensor in a list": lambda: in_an_object([torch.zeros(1)], lambda held: held[0].add_(1)),
    "object": lambda: in_an_object(SimpleNamespace(seen=0), lambda held: setattr(held, "seen", held.seen + 1)),
    "slots": lambda: in_an_object(Slotted(), lambda held: held.keep([1])),
    "bound method": lambda: Remembers(deque().append),
    "partial": lambda: Remembers(functools.partial(list.append, [])),
    "random": lambda: in_an_object(random.Random(0), lambda held: held.random()),
    "generator of torch": lambda: in_an_object(torch.Generator(), lambda held: torch.rand(1, generator=held)),
    "generator of numpy": lambda: in_an_object(np.random.default_rng(0), lambda held: held.random()),
    "counter": lambda: in_an_object(itertools.count(), next),
    "closure": in_a_closure,
    "default": in_a_default,
    "attribute of a function": on_a_function,
    "hook": in_a_hook,
    "lru_cache": in_a_cache,
    "module out of sight": in_a_module_out_of_sight,
    "class": lambda: Remembers(lambda images: Remembers.of_the_class.append(1)),
    "file": lambda: Remembers(lambda images: IN_THE_FILE.append(1)),
    "context variable": lambda: Remembers(lambda images: VARIABLE.set((*VARIABLE.get(), 1)) and None),
}


@pytest.mark.parametrize("name", MEMORIES)
def test_memory_changes_the_state_and_not_the_fingerprint(name):
    classifier = MEMORIES[name]().eval()
    before, identity = python_state(classifier), classifier_fingerprint(classifier)
    assert python_state(classifier) == before
    classifier(torch.zeros(2, 1, 8, 8))
    assert python_state(classifier) != before
    assert classifier_fingerprint(classifier) == identity


class Lazy(nn.Module):
    """A module that makes what it needs at first use, in three usual ways."""

    def __init__(self):
        super().__init__()
        self.inner, self.grids = network(), {}

    @functools.cached_property
    def scale(self) -> float:
        return 2.0

    @staticmethod
    @functools.lru_cache
    def table(side: int) -> Tensor:
        return torch.ones(side)

    def forward(self, images: Tensor) -> Tensor:
        side = images.shape[-1]
        if side not in self.grids:
            self.grids[side] = torch.ones(1, 1, side, side)
        return self.inner(images * self.grids[side] * self.table(side)) * self.scale


def attacked(classifier):
    images = ImageSet(torch.arange(4 * 64).reshape(4, 1, 8, 8).byte(), torch.tensor([0, 1, 0, 1]), torch.arange(4))
    return attack_images(
        Arithmetic(classifier.eval().requires_grad_(False), "fp32"),
        images,
        SharedRun((Clean(),)),
        seed=0,
        key="",
        batch_size=2,
    )


def test_what_an_honest_module_makes_at_first_use_is_no_change():
    assert attacked(Lazy()).unchanged


@pytest.mark.parametrize("name", ["dict", "closure", "file", "class", "hook"])
def test_an_attack_on_a_classifier_that_remembers_changes_it(name):
    assert not attacked(MEMORIES[name]()).unchanged


def test_networks_of_torch_and_ours_stay_as_they_are():
    spectral = nn.utils.parametrizations.spectral_norm(nn.Linear(8, 8))
    attention = nn.TransformerEncoderLayer(8, 2, 8, batch_first=True)
    for layers, shape in (
        (spectral, (2, 8)),
        (attention, (2, 3, 8)),
        (nn.LSTM(8, 8), (2, 3, 8)),
        (network(), (2, 1, 8, 8)),
    ):
        layers.eval()
        before = python_state(layers)
        for _ in range(2):
            layers(torch.rand(shape))
        assert python_state(layers) == before


def test_a_draw_for_the_image_that_warms_up_does_not_move_the_global_generator():
    classifier = Remembers(lambda images: torch.rand(1) if len(images) == 1 else None)
    drawn = torch.get_rng_state()
    assert attacked(classifier).unchanged
    assert torch.equal(torch.get_rng_state(), drawn)


def test_circles_and_deep_nests_end():
    circle: list[object] = []
    circle.append({"itself": circle})
    deep: list[object] = []
    for _ in range(20_000):
        deep = [deep]
    assert python_state(Remembers(held=(circle, deep))).whole


@pytest.mark.parametrize(
    "huge",
    [
        lambda: list(range(20 * MOST_OBJECTS)),
        lambda: [[number] for number in range(3 * MOST_OBJECTS)],
        lambda: {number: str(number) for number in range(3 * MOST_OBJECTS)},
        lambda: np.zeros(40_000_000),
        lambda: [torch.zeros(40_000_000)],
        lambda: b"0" * 200_000_000,
    ],
    ids=["list", "lists", "dict", "array", "tensor", "bytes"],
)
def test_a_state_that_is_too_large_is_cut_and_says_so(huge):
    classifier = Remembers(held=huge())
    with ending():
        found = python_state(classifier)
    assert not found.whole
    assert python_state(classifier) == found


def test_a_large_memory_shows_by_its_length_and_a_large_tensor_by_its_version():
    memory, tensor = list(range(2 * MOST_OBJECTS)), torch.zeros(40_000_000)
    first, second = Remembers(held=memory), Remembers(held=[tensor])
    before = python_state(first), python_state(second)
    memory.append(1)
    tensor[0] = 1
    assert python_state(first) != before[0]
    assert python_state(second) != before[1]


def test_objects_that_cannot_be_looked_into_do_not_stop_it():
    class Hostile:
        def __getattr__(self, name):
            raise RuntimeError(name)

        def __len__(self):
            raise RuntimeError("len")

    held = [Hostile(), object(), sys.stdout, (number for number in range(3)), torch.device("cpu"), lambda: held]
    classifier = Remembers(held=held)
    assert python_state(classifier) == python_state(classifier)


def test_a_lazy_parameter_within_reach_is_no_crash():
    holder = network()
    holder.lazy = [nn.LazyLinear(2).weight]
    assert python_state(holder).digest == python_state(holder).digest
