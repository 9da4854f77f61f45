"""CUDA graphs change nothing but the time: the graph's iterates are those of the same function run as it is."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from attacks.parts import capture
from attacks.parts.capture import capturable
from attacks.parts.sharing import share_runs
from attacks.pgd import PGD
from attacks.threat_model import ThreatModel
from tests.attacks.attack_cases import EIGHT, batch, small_conv

on_a_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")


def sweep(norm: str):
    model = ThreatModel("8/255", norm)
    wanted = [(3, "eps/4", 1), (6, "eps/4", 2), (2, "eps", 1)]
    (run,) = share_runs([PGD(threat_model=model, steps=k, step_size=a, restarts=r) for k, a, r in wanted])
    return run


def on(device, count=12, seed=0):
    images, labels, start = batch(count=count, seed=seed)
    moved = type(start)(start.seed, start.key, start.samples.to(device))
    return images.to(device), labels.to(device), moved


@on_a_gpu
@pytest.mark.cuda
@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_a_captured_sweep_equals_the_uncaptured_one_to_the_bit(norm, monkeypatch):
    classifier = small_conv().cuda().requires_grad_(False)
    # Two batches of one shape, so that a graph is replayed on other images; and a ragged one.
    batches = [on("cuda"), on("cuda", seed=1), on("cuda", count=5, seed=2)]
    captured = [sweep(norm).run(classifier, *each) for each in batches]
    graphs = [graph for graph in capture._captured[classifier].values() if graph is not None]
    assert graphs
    monkeypatch.setattr("attacks.parts.trajectory.capturable", lambda work, key, classifier, device: work)
    for each, mine in zip(batches, captured, strict=True):
        plain = sweep(norm).run(classifier, *each)
        for attack, result in plain.results.items():
            for kind in ("final", "any"):
                expected, found = (getattr(r, kind)[attack.steps] for r in (result, mine.results[attack]))
                assert torch.equal(expected.predicted, found.predicted)
                assert torch.equal(expected.margin, found.margin)
            assert torch.equal(result.worst, mine.results[attack].worst)
            assert result.trace == mine.results[attack].trace


@on_a_gpu
@pytest.mark.cuda
def test_a_classifier_that_waits_for_the_device_is_run_as_it_is():
    class Waits(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = small_conv()

        def forward(self, images):
            return self.inner(images) * (1.0 if images.sum().item() > -1 else 2.0)

    images, labels, start = on("cuda")
    attack = PGD(threat_model=EIGHT, steps=3, step_size="eps/4")
    waiting = attack.run(Waits().cuda().eval().requires_grad_(False), images, labels, start)
    plain = attack.run(small_conv().cuda().requires_grad_(False), images, labels, start)
    assert torch.equal(waiting.any[3].predicted, plain.any[3].predicted)


@on_a_gpu
@pytest.mark.cuda
def test_starts_are_the_same_on_a_gpu():
    _, _, start = batch()
    moved = type(start)(start.seed, start.key, start.samples.cuda())
    for draw in ("uniform", "inside"):
        assert torch.equal(getattr(start, draw)((12, 3, 8, 8)), getattr(moved, draw)((12, 3, 8, 8)).cpu())


def test_on_a_cpu_the_function_is_the_function():
    def work(*arguments):
        return arguments

    assert capturable(work, (), small_conv(), torch.device("cpu")) is work


def test_a_graph_is_captured_once_for_a_shape_and_told_the_new_tensors(monkeypatch):
    """The bookkeeping, with a graph that only remembers: no GPU is needed for it."""
    made = []

    class Pretended:
        def __init__(self, work, settings, tensors):
            if settings == ("broken",):
                raise RuntimeError("cannot be captured")
            made.append((settings, [tuple(tensor.shape) for tensor in tensors]))
            self.work, self.settings = work, settings

        def __call__(self, tensors):
            return self.work(*self.settings, *tensors)

    monkeypatch.setattr(capture, "Captured", Pretended)
    monkeypatch.setattr(torch.cuda, "synchronize", lambda: None)
    classifier = small_conv()

    def add(setting, first, second):
        return (first + second,)

    run = capturable(add, ("add",), classifier, torch.device("cuda"))
    again = capturable(add, ("add",), classifier, torch.device("cuda"))
    two, three = torch.ones(2), torch.ones(3)
    for function in (run, again):
        assert torch.equal(function("a", two, two)[0], two * 2)
        assert torch.equal(function("a", three, three * 2)[0], three * 3)
        assert torch.equal(function("b", two, two * 3)[0], two * 4)
        assert torch.equal(function("broken", two, two)[0], two * 2)
    assert made == [(("a",), [(2,), (2,)]), (("a",), [(3,), (3,)]), (("b",), [(2,), (2,)])]
    other = capturable(add, ("another",), classifier, torch.device("cuda"))
    other("a", two, two)
    assert len(made) == 4
