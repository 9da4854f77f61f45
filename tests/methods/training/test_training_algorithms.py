"""TRADES, free and fast adversarial training: what a step minimises, what it costs, and when training ends."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from pydantic import ValidationError
from torch import Tensor, nn

from attacks.threat_model import ThreatModel
from methods.training import Batch, CollapseWatch, Fit, InnerAttack, Objective, Selected, Validation, train
from methods.training.algorithms.fast import FastSettings
from methods.training.algorithms.free import FreeSettings
from methods.training.algorithms.trades import TradesLoss, TradesSettings, divergence
from methods.training.choice import CleanChoice, FastChoice, FreeChoice, MadryChoice, TradesChoice, TrainedBy
from methods.training.recipe import Recipe
from results import load
from scenarios.base import LearnTask
from tests.methods.training.training_cases import EPS, digits_task, network, same
from tests.methods.training.training_cases import recipe as short_recipe
from tests.tiny import run_tiny


@pytest.fixture(scope="module")
def task() -> LearnTask:
    return digits_task(0.5)


def recipe(**changes: Any) -> Recipe:
    return short_recipe(**{"epochs": 3, **changes})


def batch(size: int = 8) -> Batch:
    generator = torch.Generator().manual_seed(1)
    return Batch(
        torch.rand(size, 1, 8, 8, generator=generator), torch.arange(size) % 2, torch.zeros(size, dtype=torch.int64)
    )


def attack_on(net: nn.Module, **changes: Any) -> InnerAttack:
    fields = {
        "network": net, "threat_model": ThreatModel(EPS), "step_size": 0.05, "steps": 3, "bn_mode": "eval",
        "generator": torch.Generator().manual_seed(2),
    }  # fmt: skip
    return InnerAttack(**{**fields, **changes})


def validation() -> Validation:
    return Validation(torch.ones(4, dtype=torch.bool), torch.ones(4, dtype=torch.bool))


def run(task: LearnTask, objective: Objective, chosen: Recipe, net: nn.Module | None = None, **fit: Any) -> Selected:
    net = net or network()
    fit = {"validate": validation, **fit}
    return train(
        Fit(net, list(net.parameters()), objective=objective, **fit), [task], chosen, EPS,
        lambda purpose: torch.Generator().manual_seed(len(purpose)),
    )  # fmt: skip


# -- TRADES -------------------------------------------------------------------------------------------------------------


def test_trades_is_clean_cross_entropy_and_beta_times_the_divergence(monkeypatch: pytest.MonkeyPatch) -> None:
    net, given = network().eval(), batch()
    moved = (given.images + 0.05).clamp(0, 1)
    monkeypatch.setattr(TradesLoss, "_attack", lambda self, logits, images, attack: moved)
    loss, output = TradesSettings(beta=3).objective().loss(net, given, attack_on(net))
    clean = net(given.images)
    p, q = clean.softmax(1), net(moved).softmax(1)
    by_hand = F.cross_entropy(clean, given.labels) + 3 * (p * (p / q).log()).sum(1).mean()
    assert float(loss.detach()) == pytest.approx(float(by_hand.detach()), rel=1e-5)
    assert torch.equal(output, net(moved))
    found = torch.autograd.grad(loss, list(net.parameters()))
    expected = torch.autograd.grad(by_hand, list(net.parameters()))
    assert all(torch.allclose(f, e, atol=1e-6) for f, e in zip(found, expected, strict=True)), "through both p and q"


def test_the_attack_of_trades_climbs_the_divergence_from_close_to_the_image_with_the_network_in_eval_mode() -> None:
    net, given = network(), batch()
    seen: list[tuple[Tensor, bool]] = []

    def logits(images: Tensor) -> Tensor:
        seen.append((images.detach().clone(), any(m.training for m in net.modules())))
        return net(images)

    objective = TradesSettings().objective()
    net.train()
    objective.loss(logits, given, attack_on(net))
    modes = [training for _, training in seen]
    assert modes == [False] * (1 + 3) + [True] * 2
    start = seen[1][0]
    assert 0 < float((start - given.images).abs().max()) < 0.01
    last = seen[-1][0]
    assert float((last - given.images).abs().max()) <= float(EPS) + 1e-6
    net.eval()
    with torch.no_grad():
        clean, before, after = net(given.images), net(start), net(last)
    assert float(divergence(clean, after)) > 2 * float(divergence(clean, before))


def test_classes_that_a_task_does_not_have_count_nothing_in_the_divergence() -> None:
    logits = torch.tensor([[1.0, 0.0, -torch.inf]], requires_grad=True)
    other = torch.tensor([[0.0, 1.0, -torch.inf]], requires_grad=True)
    value = divergence(logits, other)
    value.backward()
    assert float(value.detach()) == pytest.approx(float(divergence(logits[:, :2], other[:, :2]).detach()))
    assert logits.grad is not None
    assert bool(logits.grad.isfinite().all())


# -- free adversarial training --------------------------------------------------------------------------------


def test_free_training_replays_each_minibatch_and_makes_as_many_steps_as_anybody(task: LearnTask) -> None:
    seen: list[Tensor] = []

    class Watched(type(FreeSettings().objective())):  # type: ignore[misc]
        def loss(self, logits: Any, batch: Batch, attack: InnerAttack) -> tuple[Tensor, Tensor]:
            seen.append(batch.images.clone())
            return super().loss(logits, batch, attack)

    selected = run(task, Watched(4, "eps"), recipe(epochs=3))
    steps = len(task.train) // 16
    assert len(seen) == 3 * steps
    same = [torch.equal(a, b) for a, b in pairwise(seen)]
    assert same == [(k + 1) % 4 != 0 for k in range(len(same))], "across epochs too"
    assert selected.image_gradients == 3 * steps * 16


def test_the_free_perturbation_moves_with_every_backward_pass_and_is_carried_on() -> None:
    net, objective = network(), FreeSettings(step_size="eps/2").objective()
    attack, first, second = attack_on(net), batch(), Batch(batch().images.flip(0), batch().labels, batch().tasks)
    eps, perturbation = float(EPS), torch.zeros(8, 1, 8, 8)
    for given in (first, first, first, second, second, first, second):
        net.zero_grad()
        point = (given.images + perturbation).clamp(0, 1).requires_grad_()
        (gradient,) = torch.autograd.grad(F.cross_entropy(net(point), given.labels), point)
        loss, output = objective.loss(net, given, attack)
        assert torch.allclose(output, net(point), atol=1e-5), "the perturbation so far is on the images"
        loss.backward()
        objective.after_backward(attack)
        perturbation = (perturbation + eps / 2 * gradient.sign()).clamp(-eps, eps)
    assert any(p.grad is not None and bool(p.grad.any()) for p in net.parameters()), "the weights get the same pass"


# -- fast adversarial training --------------------------------------------------------------------------------


def test_fast_training_is_one_large_step_from_a_uniform_start(task: LearnTask) -> None:
    objective = FastSettings().objective()
    changed = objective.recipe(recipe())
    assert (changed.attack.steps, changed.attack.bn_mode) == (1, "train")
    assert changed.model_copy(update={"attack": recipe().attack}) == recipe(), "and nothing else is another"
    selected = run(task, objective, recipe(epochs=2))
    steps = len(task.train) // 16
    assert selected.image_gradients == (2 * steps + 2 * 5) * 16, "one a step, and the watch's five an epoch"
    assert selected.collapsed is None


class Collapses(CollapseWatch):
    """Says the given accuracies in turn, and keeps the network's state as each epoch left it."""

    def __init__(self, *accuracies: float) -> None:
        super().__init__(0.2, 5)
        object.__setattr__(self, "script", list(accuracies))
        object.__setattr__(self, "states", [])

    def accuracy(self, logits: Any, *arguments: Any) -> float:
        self.states.append({name: tensor.clone() for name, tensor in logits.state_dict().items()})
        return self.script.pop(0)


def collapse(
    task: LearnTask, accuracies: tuple[float, ...], robust: tuple[int, ...], **selection: Any
) -> tuple[Selected, nn.Module, list[dict[str, Tensor]]]:
    """Train with a collapse of accuracy on the attacked batches that begins in some epoch.

    accuracies: on the attacked images of every epoch in turn. robust: right answers of every validation in turn, out of ten.
    Returns the selection, the network that training leaves, and the network's state at the end of every epoch.
    """
    net, script, watch = network(), list(robust), Collapses(*accuracies)

    def look() -> Validation:
        return Validation(torch.ones(10, dtype=torch.bool), torch.arange(10) < script.pop(0))

    objective = FastSettings().objective()
    objective.watch = watch
    chosen = recipe(epochs=6, selection={"steps": 2, **selection})
    return run(task, objective, chosen, net, validate=look), net, watch.states


def test_a_collapse_ends_training_with_the_network_of_the_epoch_before(task: LearnTask) -> None:
    selected, net, states = collapse(task, (0.5, 0.6, 0.45, 0.2), (3, 4, 5), keep="last")
    assert (selected.collapsed, selected.epoch, len(selected.epochs)) == (3, 2, 4)
    assert same(net, states[2])
    assert selected.epochs[3].robust_validation is None


def test_after_a_collapse_the_best_epoch_before_it_is_kept(task: LearnTask) -> None:
    selected, net, states = collapse(task, (0.5, 0.6, 0.6, 0.3), (3, 8, 5), keep="best")
    assert (selected.collapsed, selected.epoch) == (3, 1)
    assert same(net, states[1])


def test_the_epoch_before_a_collapse_is_validated_if_it_was_not(task: LearnTask) -> None:
    selected, net, states = collapse(task, (0.5, 0.6, 0.6, 0.3), (3, 8), keep="best", every=2)
    assert (selected.collapsed, selected.epoch, selected.last.robust) == (3, 2, pytest.approx(0.8))
    assert same(net, states[2])


def test_a_fall_within_bounds_is_none(task: LearnTask) -> None:
    selected, _, _ = collapse(task, (0.5, 0.31, 0.12, 0.12, 0.12, 0.12), (1, 2, 3, 4, 5, 6))
    assert (selected.collapsed, len(selected.epochs)) == (None, 6)


def test_a_collapse_is_a_fact_of_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    accuracies = iter([0.9, 0.1, 0.9, 0.9])
    monkeypatch.setattr(CollapseWatch, "accuracy", lambda self, *arguments: next(accuracies))
    assert run_tiny(tmp_path, rows=[{"method": "fast_at"}]) == 0
    (run,) = load(tmp_path / "runs", None).runs
    found = run.facts[run.facts["name"] == "collapsed_epoch"]
    assert list(zip(found["task"], found["value"], strict=True)) == [(0, 1.0)]


def test_the_watch_measures_pgd_on_the_network_in_eval_mode_and_leaves_it_as_it_was() -> None:
    net, given = network().train(), batch(32)
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    found = CollapseWatch(0.2, 5).accuracy(net, given, attack_on(net), torch.Generator().manual_seed(3))
    assert same(net, before)
    assert all(m.training for m in net.modules())
    net.eval()
    attack = attack_on(net, steps=5, step_size=float(EPS) / 4, generator=torch.Generator().manual_seed(3))
    moved = attack(given.images, lambda x: F.cross_entropy(net(x), given.labels, reduction="sum"))
    assert found == pytest.approx(float((net(moved).argmax(1) == given.labels).double().mean()))


# -- as settings of a strategy --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("clean", CleanChoice()), ("madry", MadryChoice()), ("trades", TradesChoice()),
        ("free", FreeChoice()), ("fast", FastChoice()),
        ({"name": "trades", "beta": 3}, TradesChoice(beta=3)), ({"name": "free", "replays": 4}, FreeChoice(replays=4)),
    ],
)  # fmt: skip
def test_an_algorithm_is_named_or_given_with_its_settings(given: Any, expected: Any) -> None:
    assert TrainedBy(training=given).training == expected


@pytest.mark.parametrize("given", ["tradez", {"name": "trades", "replays": 4}, {"beta": 3}, 7])
def test_what_is_no_algorithm_is_refused(given: Any) -> None:
    with pytest.raises(ValidationError):
        TrainedBy(training=given)


def test_a_setting_that_came_later_is_part_of_an_identity_only_where_it_differs() -> None:
    assert TrainedBy().identity() == {}
    assert TrainedBy(training="trades").identity() == {"training": {"name": "trades", "beta": 6.0}}
    assert "rate_per" not in recipe().identity()
    assert recipe(rate_per="step").identity()["rate_per"] == "step"


# -- the learning rate ------------------------------------------------------------------------------------------------------


def rates(task: LearnTask, chosen: Recipe) -> list[float]:
    seen: list[float] = []
    note: Callable[[Any], None] = lambda step: seen.append(step.optimizer.param_groups[0]["lr"])  # noqa: E731
    run(task, FreeSettings().objective(), chosen, after_step=note)
    return seen


def test_a_cycle_rises_from_zero_to_the_rate_and_falls_again_step_by_step(task: LearnTask) -> None:
    found = rates(task, recipe(epochs=4, schedule="cyclic", rate_per="step"))
    steps, top = len(found), len(found) // 2
    assert found[0] == 0
    assert found[top] == pytest.approx(0.05)
    assert found[: top + 1] == pytest.approx([0.05 * k / top for k in range(top + 1)])
    assert found[top:] == pytest.approx([0.05 * (steps - k) / (steps - top) for k in range(top, steps)])


def test_a_cosine_per_step_falls_with_every_step_and_per_epoch_with_every_epoch(task: LearnTask) -> None:
    per_step = rates(task, recipe(epochs=3, schedule="cosine", rate_per="step"))
    per_epoch = rates(task, recipe(epochs=3, schedule="cosine"))
    assert len(set(per_step)) == len(per_step)
    assert len(set(per_epoch)) == 3
    assert per_step[:: len(per_step) // 3] == pytest.approx(per_epoch[:: len(per_epoch) // 3])


def test_a_cycle_per_epoch_is_refused_because_its_first_epoch_would_learn_nothing() -> None:
    with pytest.raises(ValidationError, match="rate_per"):
        recipe(schedule="cyclic")
