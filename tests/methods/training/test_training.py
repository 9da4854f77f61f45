"""The shared training loop: what it costs, what it keeps, what it leaves alone."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from methods.training import (
    AdversarialTraining,
    CleanTraining,
    Diverged,
    Fit,
    SecondOptimizer,
    Selected,
    Step,
    Validation,
    train,
)
from methods.training.recipe import Recipe
from scenarios.base import LearnTask, ScenarioSettings
from scenarios.digits import Digits
from tests.methods.training.training_cases import EPS, digits_task, network, recipe, same


@pytest.fixture(scope="module")
def task() -> LearnTask:
    return digits_task(0.3)


def generator(purpose: str) -> torch.Generator:
    return torch.Generator().manual_seed(len(purpose))


class Scripted:
    """A validation that returns the given robust accuracies in turn, out of ten images."""

    def __init__(self, *robust: int) -> None:
        self.robust, self.states = list(robust), []

    def watch(self, net: nn.Module) -> Scripted:
        self.net = net
        return self

    def __call__(self) -> Validation:
        self.states.append({name: tensor.clone() for name, tensor in self.net.state_dict().items()})
        right = torch.arange(10) < self.robust[len(self.states) - 1]
        return Validation(torch.ones(10, dtype=torch.bool), right)


def run(task: LearnTask, net: nn.Module, chosen: Recipe, script: Scripted, **fit: Any) -> Selected:
    return train(Fit(net, list(net.parameters()), script.watch(net), **fit), [task], chosen, EPS, generator)


def test_the_best_epoch_by_robust_validation_accuracy_is_kept(task: LearnTask) -> None:
    net, script = network(), Scripted(3, 8, 5)
    selected = run(task, net, recipe(epochs=3), script)
    assert selected.epoch == 1
    assert same(net, script.states[1])
    assert (selected.validation.robust, selected.last.robust) == (pytest.approx(0.8), pytest.approx(0.5))


def test_the_last_epoch_is_kept_when_it_is_asked_for(task: LearnTask) -> None:
    net, script = network(), Scripted(3, 8, 5)
    selected = run(task, net, recipe(epochs=3, selection={"keep": "last"}), script)
    assert selected.epoch == 2
    assert same(net, script.states[2])


def test_of_equal_epochs_the_first_is_kept(task: LearnTask) -> None:
    net, script = network(), Scripted(8, 8, 8)
    assert run(task, net, recipe(epochs=3), script).epoch == 0
    assert same(net, script.states[0])


def test_validation_happens_as_often_as_asked_and_after_the_last_epoch(task: LearnTask) -> None:
    script = Scripted(1, 2, 3)
    selected = run(task, network(), recipe(epochs=5, selection={"every": 2}), script)
    assert [epoch.epoch for epoch in selected.epochs if epoch.robust_validation is not None] == [1, 3, 4]


def test_patience_ends_training_after_so_many_validations_without_a_better_one(task: LearnTask) -> None:
    net, script = network(), Scripted(3, 8, 5, 8, 9, 9)
    chosen = recipe(epochs=6)
    selected = run(task, net, chosen, script, patience=2)
    assert [epoch.epoch for epoch in selected.epochs] == [0, 1, 2, 3], "equal is not better"
    assert selected.epoch == 1
    assert same(net, script.states[1])
    batches = len(task.train) // chosen.batch_size
    assert selected.image_gradients == 4 * batches * chosen.batch_size * chosen.attack.steps, (
        "what ran, not what was planned"
    )


def test_patience_with_the_last_epoch_kept_leaves_the_network_it_stopped_at(task: LearnTask) -> None:
    net, script = network(), Scripted(8, 5, 5, 5)
    selected = run(task, net, recipe(epochs=4, selection={"keep": "last"}), script, patience=2)
    assert selected.epoch == 2
    assert same(net, script.states[2])


def test_a_second_optimizer_moves_its_parameters_at_its_own_rate(task: LearnTask) -> None:
    net, mask = network(), nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD([mask], lr=1.0)
    steps: list[tuple[int, float]] = []

    def note(step: Step) -> None:
        steps.append((step.epoch, mask.item()))

    def backward() -> None:
        mask.grad = torch.full_like(mask, -1.0)

    run(
        task, net, recipe(epochs=3), Scripted(5, 5, 5), after_backward=backward, after_step=note,
        second=SecondOptimizer(optimizer, lambda epoch: (1.0, 10.0, 0.0)[epoch]),
    )  # fmt: skip
    batches = len(task.train) // 16
    assert [sum(epoch == e for epoch, _ in steps) for e in range(3)] == [batches] * 3
    ends = [max(value for epoch, value in steps if epoch == e) for e in range(3)]
    assert ends == [batches, 11 * batches, 11 * batches]


def test_a_step_is_told_its_number_and_its_epoch(task: LearnTask) -> None:
    seen: list[tuple[int, int, int]] = []
    run(
        task, network(), recipe(epochs=2), Scripted(5, 5),
        after_step=lambda step: seen.append((step.number, step.epoch, step.per_epoch)),
    )  # fmt: skip
    batches = len(task.train) // 16
    assert seen == [(number + 1, number // batches, batches) for number in range(2 * batches)]


def test_a_step_costs_as_many_forwards_as_the_attack_has_steps_and_one_more(task: LearnTask) -> None:
    net, chosen = network(), recipe(epochs=1, attack={"steps": 3})
    calls: list[bool] = []
    net.register_forward_hook(lambda module, inputs, output: calls.append(module.training))
    run(task, net, chosen, Scripted(5))
    batches = len(task.train) // chosen.batch_size
    assert calls == ([False] * 3 + [True]) * batches, "attack in eval mode, training step in train mode"


def test_the_inner_attack_takes_no_weight_gradients_and_its_images_stay_in_ball_and_box(task: LearnTask) -> None:
    net, seen = network(), []

    class Watched(AdversarialTraining):
        def loss(self, logits: Any, batch: Any, attack: Any) -> tuple[Tensor, Tensor]:
            for parameter in net.parameters():
                parameter.grad = None
            adversarial = attack(batch.images, lambda x: F.cross_entropy(logits(x), batch.labels, reduction="sum"))
            assert all(parameter.grad is None for parameter in net.parameters())
            seen.append((batch.images, adversarial))
            return super().loss(logits, batch, attack)

    run(task, net, recipe(epochs=1), Scripted(5), objective=Watched())
    for images, adversarial in seen:
        assert (adversarial - images).abs().max() <= float(EPS) + 1e-6
        assert (adversarial - images).abs().max() > float(EPS) / 2, "the attack moves"
        assert adversarial.min() >= 0
        assert adversarial.max() <= 1


def test_adversarial_training_resists_where_clean_training_does_not() -> None:
    from benchmark.evaluating.validation import validate

    task = Digits(ScenarioSettings(tasks=1)).load()[0].to_learn()
    chosen = recipe(epochs=10, batch_size=32, attack={"steps": 5}, selection={"steps": 10, "every": 5})
    reached = {}
    for objective in (CleanTraining(), AdversarialTraining()):
        net = network()
        fit = Fit(net, list(net.parameters()), lambda net=net: validate(net, task, chosen, EPS), objective)
        reached[type(objective)] = train(fit, [task], chosen, EPS, generator).validation
    assert min(validation.clean for validation in reached.values()) > 0.9
    assert reached[AdversarialTraining].robust > reached[CleanTraining].robust + 0.2


def test_weights_that_are_not_handed_over_do_not_move(task: LearnTask) -> None:
    net = network()
    head = [parameter.clone() for parameter in net.head.parameters()]
    train(Fit(net, list(net.backbone.parameters()), Scripted(1, 2).watch(net)), [task], recipe(), EPS, generator)
    assert all(torch.equal(a, b) for a, b in zip(head, net.head.parameters(), strict=True))


def test_no_gradient_is_left_behind(task: LearnTask) -> None:
    net, held = network(), torch.zeros(1, requires_grad=True)
    second = SecondOptimizer(torch.optim.SGD([held], lr=1.0), lambda epoch: 1.0)
    seen = []

    def after_backward() -> None:
        held.grad = torch.ones(1)
        seen.append(all(parameter.grad is not None for parameter in net.parameters()))

    run(task, net, recipe(epochs=1), Scripted(5), after_backward=after_backward, second=second)
    assert set(seen) == {True}
    assert all(parameter.grad is None for parameter in [*net.parameters(), held])


def test_callables_run_once_per_step_in_their_order(task: LearnTask) -> None:
    calls: list[str] = []
    net = network()
    run(
        task,
        net,
        recipe(epochs=1),
        Scripted(5),
        logits=lambda batch: (calls.append("logits"), net)[1],
        after_backward=lambda: calls.append("after_backward"),
        after_step=lambda step: calls.append("after_step"),
    )
    assert calls == ["logits", "after_backward", "after_step"] * (len(task.train) // 16)


def test_numbers_that_are_not_finite_stop_training(task: LearnTask) -> None:
    with pytest.raises(Diverged, match="epoch 1"):
        run(task, network(), recipe(learning_rate=1e18, momentum=0.0, batch_size=8), Scripted(5, 5))


def test_the_same_generators_train_the_same_network_to_the_bit(task: LearnTask) -> None:
    first, second = network(), network()
    run(task, first, recipe(), Scripted(1, 2))
    run(task, second, recipe(), Scripted(1, 2))
    assert same(first, second.state_dict())


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"schedule": "constant"}, [0.05] * 10),
        ({"milestones": [0.5, 0.8]}, [0.05] * 5 + [0.005] * 3 + [0.0005] * 2),
    ],
)
def test_learning_rate_schedules(changes: dict[str, Any], expected: list[float]) -> None:
    chosen = recipe(epochs=10, **changes)
    assert [chosen.rate(epoch) for epoch in range(10)] == pytest.approx(expected)


def test_the_cosine_schedule_falls_from_the_rate_to_almost_nothing() -> None:
    rates = [recipe(epochs=10, schedule="cosine").rate(epoch) for epoch in range(10)]
    assert rates[0] == 0.05
    assert rates == sorted(rates, reverse=True)
    assert rates[-1] < 0.002


@pytest.mark.parametrize(
    "changes",
    [
        {"epochs": 0},
        {"attack": {"steps": 0}},
        {"attack": {"step_size": "0"}},
        {"attack": {"step_size": "eps/zwei"}},
        {"milestones": [2]},
        {"optimizer": "lion"},
        {"momentum": 1.0},
    ],
)
def test_recipes_that_make_no_sense_are_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(ValueError):
        recipe(**changes)
