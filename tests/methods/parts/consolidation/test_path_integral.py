"""The path integral is what it is where it is known, of the steps that are made, and of the epoch that is kept."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
import torch
from torch import Tensor, nn

from methods.parts.consolidation.path_integral import WayOfParameters
from methods.parts.consolidation.penalties import PenalisedObjective, QuadraticPenalty
from methods.training import AdversarialTraining, Fit, Validation, train
from methods.training.captured import StepRecorder
from scenarios.base import LearnTask
from tests.methods.training.recording import StandIn
from tests.methods.training.training_cases import EPS, digits_task, network, recipe


class Bowl(nn.Module):
    """½ · a · θ², entry by entry, and a parameter that nothing moves."""

    def __init__(self) -> None:
        super().__init__()
        self.theta, self.still = nn.Parameter(torch.tensor([2.0, -1.0])), nn.Parameter(torch.ones(3))

    def forward(self, a: Tensor) -> Tensor:
        return 0.5 * (a * self.theta.square()).sum()


def descended(way: WayOfParameters, a: Tensor, steps: int, optimizer: torch.optim.Optimizer) -> None:
    for _ in range(steps):
        optimizer.zero_grad()
        way(a).backward()
        way.after_backward()
        optimizer.step()
    way.settle()


def test_in_a_bowl_it_is_the_fall_of_the_loss() -> None:
    bowl, a = Bowl(), torch.tensor([3.0, 0.5])
    start = bowl.theta.detach().clone()
    way = WayOfParameters(bowl, dict(bowl.named_parameters()))
    descended(way, a, 2000, torch.optim.SGD([bowl.theta], lr=1e-3))
    end = bowl.theta.detach()
    torch.testing.assert_close(way.integral()["theta"], a / 2 * (start**2 - end**2), rtol=5e-3, atol=0)
    torch.testing.assert_close(way.moved()["theta"], end - start)
    assert not way.integral()["still"].any()


@pytest.mark.parametrize("penalised", [False, True])
def test_it_is_of_the_steps_that_are_made_and_of_the_loss_without_the_penalty(penalised: bool) -> None:
    bowl, a = Bowl(), torch.tensor([3.0, 0.5])
    penalty = QuadraticPenalty([bowl.theta], [torch.tensor([20.0, 4.0])])
    way = WayOfParameters(bowl, {"theta": bowl.theta}, penalty if penalised else None)
    optimizer = torch.optim.SGD([bowl.theta], lr=0.02, momentum=0.9, nesterov=True, weight_decay=0.1)
    expected = torch.zeros(2, dtype=torch.float64)
    for _ in range(30):
        before = bowl.theta.detach().double()
        optimizer.zero_grad()
        (way(a) + (penalty.value() if penalised else 0)).backward()
        way.after_backward()
        optimizer.step()
        expected -= (a * before) * (bowl.theta.detach().double() - before)
    way.settle()
    torch.testing.assert_close(way.integral()["theta"].double(), expected, rtol=1e-4, atol=1e-5)
    way.settle()
    torch.testing.assert_close(way.integral()["theta"].double(), expected, rtol=1e-4, atol=1e-5)


@pytest.fixture(scope="module")
def task() -> LearnTask:
    return digits_task(0.3)


def trained(
    task: LearnTask, epochs: int, validate: Callable[[], Validation], recorder: StepRecorder | None = None
) -> WayOfParameters:
    net = network()
    penalty = QuadraticPenalty(list(net.parameters()), [torch.full_like(p, 0.3) for p in net.parameters()])
    way = WayOfParameters(net, dict(net.named_parameters()), penalty)

    def settled() -> Validation:
        way.settle()
        return validate()

    fit = Fit(
        way,
        list(net.parameters()),
        settled,
        PenalisedObjective(AdversarialTraining(), penalty),
        after_backward=way.after_backward,
    )
    rng = lambda purpose: torch.Generator().manual_seed(len(purpose))  # noqa: E731
    train(fit, [task], recipe(epochs=epochs, schedule="constant"), EPS, rng, recorder=recorder)
    return way


def worse_and_worse() -> Iterator[Validation]:
    for right in (3, 2, 1):
        yield Validation(torch.arange(4) < right, torch.arange(4) < right)


def test_it_is_of_the_epoch_that_is_kept(task: LearnTask) -> None:
    scores, one = worse_and_worse(), worse_and_worse()
    kept = trained(task, 3, lambda: next(scores))
    short = trained(task, 1, lambda: next(one))
    for name, integral in short.integral().items():
        assert torch.equal(kept.integral()[name], integral)
        assert torch.equal(kept.moved()[name], short.moved()[name])
    assert any(integral.any() for integral in kept.integral().values())


def test_it_can_be_recorded_with_the_step(task: LearnTask) -> None:
    scores, again, recorder = worse_and_worse(), worse_and_worse(), StandIn()
    plain = trained(task, 2, lambda: next(scores))
    recorded = trained(task, 2, lambda: next(again), recorder)
    assert recorder.repeated > 2
    assert all(torch.equal(recorded.integral()[name], tensor) for name, tensor in plain.integral().items())
