"""The bookkeeping of CUDA graphs, with graphs that only remember: no GPU is needed for it."""

from __future__ import annotations

import gc
import weakref

import pytest
import torch
from torch import nn

from attacks.parts.graphs import capture
from attacks.parts.graphs.capture import capturable, rung
from attacks.parts.graphs.structure import structure_of
from tests.attacks.attack_cases import SmallConv, small_conv

GPU = torch.device("cuda")


@pytest.fixture(autouse=True)
def _no_graphs_of_others(monkeypatch):
    monkeypatch.setattr(capture, "_shared", type(capture._shared)())
    monkeypatch.setattr(capture, "_own", weakref.WeakKeyDictionary())


class Graphs(list):
    """The shapes that were captured, in order. `breaks`: raised by the next capture."""

    breaks: RuntimeError | None = None


@pytest.fixture
def made(monkeypatch):
    """Graphs as they are: a work on tensors of its own, into which those of each call are put."""
    found = Graphs()

    class Pretended:
        def __init__(self, work, settings, tensors):
            if found.breaks is not None:
                raise found.breaks
            found.append((*settings, len(tensors[0])))
            self.work, self.settings, self.held = work, settings, [tensor.clone() for tensor in tensors]

        def __call__(self, tensors):
            for held, tensor in zip(self.held, tensors, strict=True):
                held.copy_(tensor)
            return self.work(*self.settings, *self.held)

    monkeypatch.setattr(capture, "Captured", Pretended)
    monkeypatch.setattr(torch.cuda, "synchronize", lambda: None)
    monkeypatch.setattr(capture, "SIGHTINGS", 0)
    return found


def answering(classifier, key="answer", batch=0):
    return capturable(lambda asked: lambda points: (asked(points), points.sum((1, 2, 3))), key, classifier, GPU, batch)


def points(count, seed=0):
    return torch.rand(count, 1, 8, 8, generator=torch.Generator().manual_seed(seed))


def test_on_a_cpu_the_function_is_the_function():
    def work(*arguments):
        return arguments

    assert capturable(lambda asked: work, (), small_conv(), torch.device("cpu"), 8) is work


def test_a_graph_is_captured_once_for_a_shape_and_told_the_new_tensors(made):
    classifier = small_conv()

    def adding(key):
        return capturable(lambda asked: lambda setting, first, second: (first + second,), key, classifier, GPU)

    two, three = torch.ones(2), torch.ones(3)
    for function in (adding("add"), adding("add")):
        assert torch.equal(function("a", two, two)[0], two * 2)
        assert torch.equal(function("a", three, three * 2)[0], three * 3)
        assert torch.equal(function("b", two, two * 3)[0], two * 4)
    assert made == [("a", 2), ("a", 3), ("b", 2)]
    adding("another")("a", two, two)
    assert len(made) == 4


def test_a_shape_is_captured_when_it_was_met_so_many_times(made, monkeypatch):
    monkeypatch.setattr(capture, "SIGHTINGS", 3)
    function = answering(small_conv())
    for count in (2, 5, 2, 2):
        function(points(count))
        assert not made
    function(points(2))
    assert made == [(2,)]


@pytest.mark.parametrize(
    ("size", "rungs"),
    [(500, [16, 32, 48, 64, 96, 128, 192, 256, 384, 500]), (40, [16, 32, 40]), (12, [12]), (100, [16, 32, 48, 64, 80, 100])],
)  # fmt: skip
def test_a_batch_shrinks_in_few_sizes(size, rungs):
    for rows in range(1, size + 1):
        assert rung(rows, size) == next(each for each in rungs if each >= rows)
    assert rung(size + 7, size) == size + 7
    assert rung(7, 0) == 7


def test_rows_are_filled_up_to_few_sizes_and_the_answers_are_those_of_the_rows(made):
    classifier = small_conv()
    function = answering(classifier, batch=40)
    for count in range(40, 0, -1):
        images = points(count, seed=count)
        logits, sums = function(images)
        assert logits.shape == (count, 3)
        torch.testing.assert_close(logits, classifier(images))
        torch.testing.assert_close(sums, images.sum((1, 2, 3)))
    assert made == [(40,), (32,), (16,)]


def test_rows_are_filled_up_with_the_first_one_with_a_graph_or_without(monkeypatch):
    monkeypatch.setattr(capture, "SIGHTINGS", 10**9)
    seen = []

    def work(points, labels):
        seen.append((points, labels))
        return (points,)

    function = capturable(lambda asked: work, (), small_conv(), GPU, 40)
    labels = torch.arange(20)
    for seed in (0, 1):
        images = points(20, seed)
        assert torch.equal(function(images, labels)[0], images)
        filled, filled_labels = seen[-1]
        assert torch.equal(filled[20:], images[:1].expand(12, 1, 8, 8))
        assert filled_labels[20:].tolist() == [0] * 12
    assert seen[0][1] is seen[1][1]  # what does not change is filled up once


def test_classifiers_of_one_structure_share_a_graph_each_with_its_own_weights(made):
    networks = [small_conv(seed=seed) for seed in range(3)]
    functions = [answering(network) for network in networks]
    for seed in range(2):  # in turn, twice
        for network, function in zip(networks, functions, strict=True):
            assert torch.equal(function(points(4, seed))[0], network(points(4, seed)))
    assert made == [(4,)]
    with torch.no_grad():
        networks[0].head.weight.mul_(2)
    assert torch.equal(answering(networks[0])(points(4))[0], networks[0](points(4)))


def test_another_structure_has_graphs_of_its_own_and_few_structures_are_kept(made, monkeypatch):
    monkeypatch.setattr(capture, "MOST_STRUCTURES", 2)
    networks = [small_conv(classes) for classes in (2, 3, 4)]
    for network in (*networks, networks[2], networks[1], networks[0]):
        assert torch.equal(answering(network)(points(4))[0], network(points(4)))
    assert len(made) == 4
    assert len(capture._shared) == 2


class Biased(nn.Module):
    """Adds what is in its file's reach and not in its tensors."""

    bias = 0.0

    def __init__(self):
        super().__init__()
        self.inner = small_conv()

    def forward(self, images):
        return self.inner(images) + type(self).bias


def test_a_classifier_that_answers_otherwise_than_its_structure_is_captured_by_itself(made):
    first, second = Biased(), Biased()
    assert torch.equal(answering(first)(points(4))[0], first(points(4)))
    held = capture._shared[structure_of(first)]._replica
    held.forward = lambda images: held.inner(images) + 1.0  # as if the graph had kept another number
    function = answering(second)
    for _ in range(3):
        assert torch.equal(function(points(4))[0], second(points(4)))
    assert torch.equal(answering(second)(points(4))[0], second(points(4)))
    assert made == [(4,), (4,)]


def test_only_what_is_tensors_and_plain_values_has_a_structure():
    def with_hook():
        module = small_conv()
        module.head.register_forward_hook(lambda *_: None)
        return module

    def with_attribute(value):
        module = small_conv()
        module.extra = value
        return module

    assert structure_of(small_conv(seed=0)) == structure_of(small_conv(seed=1))
    assert structure_of(with_attribute((1, "two", None))) == structure_of(with_attribute((1, "two", None)))
    structures = [
        structure_of(module)
        for module in (
            small_conv(), small_conv().train(), small_conv(4), small_conv().double(), with_attribute(1), with_attribute(2),
            small_conv().requires_grad_(False), nn.Sequential(small_conv()), small_conv().to(memory_format=torch.channels_last),
        )
    ]  # fmt: skip
    assert len(set(structures)) == len(structures)
    for hidden in ([torch.ones(2)], lambda images: images, {"a": 1}, object()):
        assert structure_of(with_attribute(hidden)) is None
    assert structure_of(with_hook()) is None


def test_a_classifier_without_a_structure_is_captured_by_itself_and_not_kept_alive(made):
    networks = [small_conv(seed=seed) for seed in range(2)]
    for network in networks:
        network.extra = [torch.ones(2)]
        function = answering(network)
        for seed in range(3):
            assert torch.equal(function(points(4, seed))[0], network(points(4, seed)))
    assert made == [(4,), (4,)]
    gone = weakref.ref(networks[0])
    del networks, network, function
    gc.collect()
    assert gone() is None
    assert not capture._own


def test_a_graph_that_reads_a_classifier_itself_is_made_anew_if_its_tensors_lie_elsewhere(made):
    network = small_conv()
    network.extra = [torch.ones(2)]
    for seed in range(2):
        answering(network)(points(4, seed))
    assert made == [(4,)]
    network.head.weight.data = network.head.weight.data * 2
    assert torch.equal(answering(network)(points(4))[0], network(points(4)))
    assert made == [(4,), (4,)]


def test_a_classifier_of_its_own_that_reads_more_than_its_tensors_is_run_as_it_is(made, monkeypatch):
    network = Biased()
    network.extra = [torch.ones(2)]
    function = answering(network)
    plain = capture.Captured.__call__
    # As if the graph had kept another number.
    monkeypatch.setattr(capture.Captured, "__call__", lambda *given: tuple(each + 1 for each in plain(*given)))
    for _ in range(3):
        assert torch.equal(function(points(4))[0], network(points(4)))
    assert made == [(4,)]


def test_what_cannot_be_captured_is_tried_once_and_run_as_it_is(made, monkeypatch):
    made.breaks = RuntimeError("operation not permitted when stream is capturing")
    monkeypatch.setattr(capture, "_memories", {0: object()})
    network = small_conv()
    for count in (4, 5):
        assert torch.equal(answering(network)(points(count))[0], network(points(count)))
    made.breaks = None
    answering(network)(points(6))
    assert not made
    assert not capture._memories  # the pool of a recording that failed takes no other one
    answering(network, "another work")(points(6))
    assert made == [(6,)]


class Counts(nn.Module):
    """Puts another tensor in the place of its buffer at every call."""

    def __init__(self):
        super().__init__()
        self.inner = small_conv()
        self.register_buffer("calls", torch.zeros(()))

    def forward(self, images):
        self.calls = self.calls + 1
        return self.inner(images)


def test_a_classifier_that_puts_other_tensors_in_the_place_of_its_own_is_not_captured(made, monkeypatch):
    class Runs(capture.Captured):
        def __init__(self, work, settings, tensors):
            super().__init__(work, settings, tensors)
            work(*settings, *tensors)  # as a capture does

    monkeypatch.setattr(capture, "Captured", Runs)
    network = Counts()
    for count in (4, 4, 5):
        assert torch.equal(answering(network)(points(count))[0], network.inner(points(count)))
    assert made == [(4,)]
    assert [graphs.impossible for graphs in capture._shared.values()] == [{"answer"}]


def ran_out() -> torch.OutOfMemoryError:
    return torch.OutOfMemoryError("CUDA out of memory")


def ruined() -> RuntimeError:
    """The error of a recording that ended because memory ran out."""
    error = RuntimeError("operation failed due to a previous error during capture")
    error.__context__ = ran_out()
    return error


@pytest.mark.parametrize("breaks", [ran_out, ruined])
def test_memory_that_runs_out_in_a_capture_frees_all_graphs_and_spares_that_shape(made, breaks):
    network, other = small_conv(), small_conv(5)
    for each in (network, other):
        answering(each)(points(4))
    made.breaks = breaks()
    assert torch.equal(answering(network)(points(9))[0], network(points(9)))
    made.breaks = None
    assert not any(graphs.find(shape) for graphs in capture._shared.values() for shape in list(graphs._made))
    answering(network)(points(9))
    answering(network)(points(4))
    assert made == [(4,), (4,), (4,)]


def test_the_graph_that_was_used_longest_ago_goes_first(made, monkeypatch):
    monkeypatch.setattr(capture, "MOST_GRAPHS", 2)
    function = answering(small_conv())
    for count in (1, 2, 1, 3, 1, 2):
        function(points(count))
    assert made == [(1,), (2,), (3,), (2,)]


def test_a_graph_belongs_to_the_switches_under_which_it_was_captured(made, monkeypatch):
    function = answering(small_conv())
    for allowed in (False, True, False):
        monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", allowed)
        function(points(4))
    assert made == [(4,), (4,)]


def test_a_network_keeps_its_tensors_while_others_share_its_graphs(made):
    first, second = SmallConv(3, 1, 0).eval(), SmallConv(3, 1, 1).eval()
    before = [tensor.clone() for tensor in first.state_dict().values()]
    for network in (first, second, first):
        answering(network)(points(4))
    assert all(map(torch.equal, before, first.state_dict().values()))
