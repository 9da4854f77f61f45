"""EWC: of what the Fisher information is, what it holds, and how it goes from task to task."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from benchmark.evaluating.determinism import repeatable
from methods import ewc
from methods.backbones import BatchNorm
from methods.base import State
from methods.parts.consolidation.fisher import fisher_information
from tests.methods.consolidating import equal, learned, learned_recorded, started, weights
from tests.tiny import learn

PROTOCOLS = ("task", "class")
OWN_HEAD = {"head.weight", "head.bias"}


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_at_strength_0_it_is_adversarial_training_to_the_bit(tmp_path: Path, protocol: str) -> None:
    plain = learned(tmp_path, "madry_at", protocol)
    assert equal(weights(learned(tmp_path, "ewc", protocol, strength=0)), weights(plain))
    assert not equal(weights(learned(tmp_path, "ewc", protocol)), weights(plain))


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_it_holds_what_tasks_share_and_no_more(tmp_path: Path, protocol: str) -> None:
    found = learned(tmp_path, "ewc", protocol)
    heads = {name for name in found.importance if name.startswith("head.")}
    assert bool(heads) is (protocol == "class")
    backbone = {f"backbone.{name}" for name, _ in found.network.backbone.named_parameters()}
    assert found.importance.keys() - heads == backbone


def test_batch_norm_that_is_a_tasks_own_is_not_held(tmp_path: Path) -> None:
    found = learned(tmp_path, "ewc", turns=1, per_task_bn=True)
    left_out = {name for name, _ in found.asked(0).named_parameters()} - found.importance.keys() - OWN_HEAD
    norms = [name for name, module in found.network.backbone.named_modules() if isinstance(module, BatchNorm)]
    assert left_out == {f"backbone.{name}.{own}" for name in norms for own in ("weight", "bias")}


def test_the_fisher_information_is_of_the_kept_network_and_adds_up_with_decay(tmp_path: Path) -> None:
    found, context, tasks = started(tmp_path, "ewc", decay=0.25)
    expected: dict[str, torch.Tensor] = {}
    with repeatable():
        for task in tasks:
            learn(found, context, task, len(tasks))
            fresh = found._information(task.to_learn(), context)
            expected = {name: 0.25 * expected.get(name, torch.zeros(())) + own for name, own in fresh.items()}
            assert equal(found.importance, expected)
    assert all(bool((tensor >= 0).all()) for tensor in expected.values())


def test_the_penalty_begins_at_the_kept_network(tmp_path: Path) -> None:
    found, context, tasks = started(tmp_path, "ewc", strength=3.0, decay=0.5)
    assert found.penalty(found.asked(0), context) is None
    with repeatable():
        learn(found, context, tasks[0], 2)
    penalty = found.penalty(found.asked(1), context)
    assert float(penalty.value().detach()) == 0
    with torch.no_grad():
        for parameter in penalty.parameters:
            parameter.add_(0.1)
    whole = sum(float(tensor.sum()) for tensor in found.importance.values())
    # lambda / 2 · gamma · F · d²
    assert float(penalty.value().detach()) == pytest.approx(3.0 / 2 * 0.5 * whole * 0.01, rel=1e-4)


def test_important_weights_move_less(tmp_path: Path) -> None:
    ways = []
    for strength in (0.0, 100.0):
        found, context, tasks = started(tmp_path, "ewc", strength=strength, training="clean", recipe={"epochs": 4})
        with repeatable():
            learn(found, context, tasks[0], 2)
            penalty, importance = found.penalty(found.asked(1), context), dict(found.importance)
            learn(found, context, tasks[1], 2)
        parts = zip(penalty.parameters, penalty.anchors, importance.values(), strict=True)
        ways.append(sum(float((f * (p.detach() - a).square()).sum()) for p, a, f in parts))
    assert ways[1] < 0.5 * ways[0]


def test_no_weight_is_held_more_stiffly_than_a_step_can_take(tmp_path: Path) -> None:
    found, context, tasks = started(tmp_path, "ewc", strength=1e6)
    with repeatable():
        learn(found, context, tasks[0], 2)
        largest = [float(stiffness.max()) for stiffness in found.penalty(found.asked(1), context).stiffness]
        learn(found, context, tasks[1], 2)
    assert max(largest) == pytest.approx(1 / context.recipe.learning_rate)
    assert all(bool(tensor.isfinite().all()) for tensor in weights(found).values())


def images_of(monkeypatch: pytest.MonkeyPatch, folder: Path, **settings: Any) -> tuple[torch.Tensor, torch.Tensor]:
    """The images that the Fisher information of the first task is taken of, and their clean ones."""
    given: list[tuple[Any, ...]] = []
    monkeypatch.setattr(ewc, "fisher_information", lambda *args: given.append(args) or fisher_information(*args))
    attacked: list[torch.Tensor] = []
    inner = ewc.EWC._attacked
    monkeypatch.setattr(
        ewc.EWC,
        "_attacked",
        lambda self, net, images, *rest: attacked.append(images) or inner(self, net, images, *rest),
    )
    learned(folder, "ewc", turns=1, **settings)
    ((_, _, images, _, _, _),) = given
    return images, attacked[0] if attacked else images


def test_its_images_are_attacked_in_the_ball_unless_clean_ones_are_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    images, clean = images_of(monkeypatch, tmp_path, fisher_images=20)
    assert len(images) == 20
    apart = (images - clean).abs()
    assert 0.05 < float(apart.max()) <= 0.2 + 1e-6
    assert 0 <= float(images.min()) <= float(images.max()) <= 1


@pytest.mark.parametrize("settings", [{"fisher_of": "clean"}, {"training": "clean"}], ids=str)
def test_clean_images_are_the_training_images_as_they_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, settings: dict[str, Any]
) -> None:
    images, clean = images_of(monkeypatch, tmp_path, fisher_images=None, **settings)
    assert torch.equal(images, clean)
    _, _, tasks = started(tmp_path, "ewc")
    own = tasks[0].train.images.float() / 255
    assert len(images) == len(own)
    assert torch.equal(images.flatten(1).sum(1).sort().values, own.flatten(1).sum(1).sort().values)


def test_steps_can_be_recorded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recorded = learned_recorded(tmp_path, monkeypatch, "ewc")
    plain = learned(tmp_path, "ewc")
    assert equal(weights(recorded), weights(plain))
    assert equal(recorded.importance, plain.importance)


def test_importance_is_part_of_the_state(tmp_path: Path) -> None:
    found = learned(tmp_path, "ewc")
    other, _, _ = started(tmp_path, "ewc")
    state = found.state()
    assert equal(state.under("importance."), found.importance)
    other.load_state(State(dict(reversed(state.tensors.items())), state.values))
    assert equal(other.importance, found.importance)
