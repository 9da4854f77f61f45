"""Synaptic intelligence: what importance becomes, of which epoch, and what it holds."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from benchmark.evaluating.determinism import repeatable
from methods.si import SI
from tests.methods.consolidating import equal, learned, learned_recorded, started, weights
from tests.tiny import learn

PROTOCOLS = ("task", "class")


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_at_strength_0_it_is_adversarial_training_to_the_bit(tmp_path: Path, protocol: str) -> None:
    plain = learned(tmp_path, "madry_at", protocol)
    assert equal(weights(learned(tmp_path, "si", protocol, strength=0)), weights(plain))
    assert not equal(weights(learned(tmp_path, "si", protocol, strength=5)), weights(plain))


@pytest.mark.parametrize("training", ["madry", "trades", "clean", "free", "fast"])
def test_importance_adds_up_and_is_never_negative(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, training: str
) -> None:
    found, context, tasks = started(tmp_path, "si", training=training, damping=0.01)
    inner, ways = SI.consolidate, []
    monkeypatch.setattr(SI, "consolidate", lambda self, *rest: ways.append(self.way) or inner(self, *rest))
    expected: dict[str, torch.Tensor] = {}
    with repeatable():
        for task in tasks:
            learn(found, context, task, len(tasks))
            way = ways[-1]
            for name, integral in way.integral().items():
                gain = integral / (way.moved()[name] ** 2 + 0.01)
                expected[name] = (expected.get(name, torch.zeros(())) + gain).clamp(min=0)
    assert found.importance.keys() == expected.keys()
    for name, tensor in found.importance.items():
        torch.testing.assert_close(tensor, expected[name])
        assert bool((tensor >= 0).all())
    assert any(bool((integral < 0).any()) for integral in ways[0].integral().values()), "some are cut at 0"


def test_the_way_ends_at_the_kept_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found, context, tasks = started(tmp_path, "si", recipe={"epochs": 4})
    start = {name: parameter.detach().clone() for name, parameter in found.asked(0).named_parameters()}
    inner, ways = SI.consolidate, []
    monkeypatch.setattr(SI, "consolidate", lambda self, *rest: ways.append(self.way) or inner(self, *rest))
    with repeatable():
        learn(found, context, tasks[0], 2)
    now = dict(found.asked(0).named_parameters())
    for name, way in ways[0].moved().items():
        assert torch.equal(way, now[name].detach() - start[name])
    assert "head.weight" not in ways[0].moved()
    integral = {name: tensor.clone() for name, tensor in ways[0].integral().items()}
    ways[0].settle()
    assert equal(ways[0].integral(), integral), "its last step is in it"


def test_the_penalty_has_no_half(tmp_path: Path) -> None:
    found, context, tasks = started(tmp_path, "si", strength=0.3)
    with repeatable():
        learn(found, context, tasks[0], 2)
    penalty = found.penalty(found.asked(1), context)
    assert float(penalty.value().detach()) == 0
    with torch.no_grad():
        for parameter in penalty.parameters:
            parameter.add_(0.1)
    whole = sum(float(tensor.sum()) for tensor in found.importance.values())
    assert float(penalty.value().detach()) == pytest.approx(0.3 * whole * 0.01, rel=1e-4)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_steps_can_be_recorded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, protocol: str) -> None:
    recorded = learned_recorded(tmp_path, monkeypatch, "si", protocol=protocol)
    plain = learned(tmp_path, "si", protocol)
    assert equal(weights(recorded), weights(plain))
    assert equal(recorded.importance, plain.importance)
