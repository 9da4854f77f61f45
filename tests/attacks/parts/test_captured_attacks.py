"""On a GPU: the iterates of captured attacks are those of the same functions run as they are."""

from __future__ import annotations

import dataclasses
import weakref

import pytest
import torch
from torch import nn

from attacks.apgd import APGD
from attacks.base import AttackResult
from attacks.fab import FAB
from attacks.parts.graphs import capture
from attacks.parts.sharing import share_runs
from attacks.pgd import PGD
from attacks.square import Square
from attacks.threat_model import ThreatModel
from benchmark.evaluating.determinism import repeatable
from tests.attacks.attack_cases import EIGHT, batch, small_conv

on_a_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")


@pytest.fixture(autouse=True)
def _no_graphs_of_others(monkeypatch):
    monkeypatch.setattr(capture, "_shared", type(capture._shared)())
    monkeypatch.setattr(capture, "_own", weakref.WeakKeyDictionary())


def on(device, count=12, seed=0):
    images, labels, start = batch(count=count, seed=seed)
    return images.to(device), labels.to(device), dataclasses.replace(start, samples=start.samples.to(device))


def sweep(norm: str):
    model = ThreatModel("8/255", norm)
    wanted = [(3, "eps/4", 1), (6, "eps/4", 2), (2, "eps", 1)]
    (run,) = share_runs([PGD(threat_model=model, steps=k, step_size=a, restarts=r) for k, a, r in wanted])
    return run


def runs_of(kind: str, norm: str):
    model = ThreatModel("1/8" if norm == "linf" else "1/2", norm)
    attack = {
        "apgd": APGD(threat_model=model, steps=20, loss="margin", targets=2),
        "fab": FAB(threat_model=model, steps=20),
        "square": Square(threat_model=model, queries=100),
    }[kind]
    return lambda *inputs: {attack: attack.run(*inputs)}


def equal(mine: AttackResult, other: AttackResult, steps: int) -> None:
    for kind in ("final", "any"):
        expected, found = (getattr(result, kind)[steps] for result in (mine, other))
        assert torch.equal(expected.predicted, found.predicted)
        assert torch.equal(expected.margin, found.margin)
    assert torch.equal(mine.worst, other.worst)
    assert mine.trace == other.trace
    assert mine.gradient_evaluations == other.gradient_evaluations
    assert mine.forward_passes == other.forward_passes


@on_a_gpu
@pytest.mark.cuda
@pytest.mark.parametrize("norm", ["linf", "l2"])
@pytest.mark.parametrize("kind", ["walks", "apgd", "fab", "square"])
@repeatable()
def test_captured_attacks_equal_uncaptured_ones_to_the_bit(kind, norm, monkeypatch):
    # Two networks of one structure, so that they share graphs; two batches of one shape, and a ragged one.
    networks = [small_conv(seed=seed).cuda().requires_grad_(False) for seed in (0, 1)]
    batches = [on("cuda", 40), on("cuda", 40, seed=1), on("cuda", 5, seed=2)]
    cases = [(network, *inputs) for network in networks for inputs in batches]
    run = (lambda *inputs: sweep(norm).run(*inputs).results) if kind == "walks" else runs_of(kind, norm)
    monkeypatch.setattr(capture, "SIGHTINGS", 0)
    captured = [run(*inputs) for inputs in cases]
    (graphs,) = capture._shared.values()
    assert not graphs.impossible
    assert graphs._made
    monkeypatch.setattr(capture, "SIGHTINGS", 10**9)
    capture.forget_graphs()
    for inputs, mine in zip(cases, captured, strict=True):
        for attack, result in run(*inputs).items():
            equal(result, mine[attack], attack.steps)
    assert not graphs._made


@on_a_gpu
@pytest.mark.cuda
def test_a_classifier_that_waits_for_the_device_is_run_as_it_is(monkeypatch):
    class Waits(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = small_conv()

        def forward(self, images):
            return self.inner(images) * (1.0 if images.sum().item() > -1 else 2.0)

    monkeypatch.setattr(capture, "SIGHTINGS", 0)
    images, labels, start = on("cuda")
    attack = PGD(threat_model=EIGHT, steps=3, step_size="eps/4")
    waiting = attack.run(Waits().cuda().eval().requires_grad_(False), images, labels, start)
    plain = attack.run(small_conv().cuda().requires_grad_(False), images, labels, start)
    assert torch.equal(waiting.any[3].predicted, plain.any[3].predicted)
