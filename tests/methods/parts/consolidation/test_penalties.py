"""The quadratic penalty and its gradient are those of the formula, beside any objective."""

from __future__ import annotations

from fractions import Fraction

import torch
from torch import Tensor, nn

from attacks.threat_model import ThreatModel
from methods.parts.consolidation.penalties import PenalisedObjective, QuadraticPenalty
from methods.training import AdversarialTraining, Batch, CleanTraining, Fit, InnerAttack, Validation
from methods.training.algorithms.fast import FastSettings
from methods.training.algorithms.free import FreeSettings
from methods.training.fit import make_optimizer
from tests.methods.training.training_cases import network, recipe


def toy() -> tuple[list[nn.Parameter], list[Tensor]]:
    """Two parameters, of which one has lain in another order since it was made, and their stiffness."""
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(4, 3, 2, 2, generator=generator).to(memory_format=torch.channels_last)
    parameters = [nn.Parameter(weight), nn.Parameter(torch.randn(5, generator=generator))]
    return parameters, [torch.rand(p.shape, generator=generator) * 7 for p in parameters]


def moved(parameters: list[nn.Parameter]) -> list[Tensor]:
    """Move the parameters, and tell by how much."""
    generator = torch.Generator().manual_seed(1)
    ways = [torch.randn(p.shape, generator=generator) for p in parameters]
    with torch.no_grad():
        for parameter, way in zip(parameters, ways, strict=True):
            parameter.add_(way)
    return ways


def test_value_and_gradient_are_those_of_the_formula() -> None:
    parameters, stiffness = toy()
    penalty = QuadraticPenalty(parameters, stiffness)
    ways = moved(parameters)
    value = penalty.value()
    (3 * value).backward()
    expected = sum(0.5 * (k.double() * d.double().square()).sum() for k, d in zip(stiffness, ways, strict=True))
    torch.testing.assert_close(value.detach().double(), expected, rtol=1e-6, atol=0)
    for parameter, own, k, way in zip(parameters, penalty.gradients(), stiffness, ways, strict=True):
        torch.testing.assert_close(own, k * way)
        torch.testing.assert_close(parameter.grad, 3 * k * way)


def test_where_nothing_has_moved_there_is_neither_a_penalty_nor_a_gradient() -> None:
    parameters, stiffness = toy()
    value = QuadraticPenalty(parameters, stiffness).value()
    value.backward()
    assert float(value.detach()) == 0
    assert all(not parameter.grad.any() for parameter in parameters if parameter.grad is not None)


def test_a_step_in_parts_pays_the_penalty_once() -> None:
    found = []
    for micro_batch in (None, 5):
        net, chosen = network(), recipe(micro_batch=micro_batch)
        penalty = QuadraticPenalty(list(net.parameters()), [torch.full_like(p, 0.5) for p in net.parameters()])
        moved(list(net.parameters()))
        fit = Fit(net, list(net.parameters()), _unused, PenalisedObjective(CleanTraining(), penalty))
        attack = InnerAttack(net, ThreatModel(Fraction(1, 5)), 0.05, 1, "eval", torch.Generator())
        images = torch.rand(13, 1, 8, 8, generator=torch.Generator().manual_seed(2))
        batch = Batch(images, torch.arange(13) % 2, torch.zeros(13, dtype=torch.int64))
        net.eval()
        loss, _ = fit.move(batch, attack, chosen, make_optimizer(fit.parameters, chosen))
        found.append(loss)
    torch.testing.assert_close(*found)


def _unused() -> Validation:
    raise AssertionError("a single step validates nothing")


def test_in_everything_else_it_is_the_objective_inside() -> None:
    parameters, stiffness = toy()
    penalty = QuadraticPenalty(parameters, stiffness)
    for inner in (
        CleanTraining(),
        AdversarialTraining(),
        FreeSettings(replays=3).objective(),
        FastSettings().objective(),
    ):
        around = PenalisedObjective(inner, penalty)
        assert (around.robust, around.replays, around.watch) == (inner.robust, inner.replays, inner.watch)
        assert around.recipe(recipe()) == inner.recipe(recipe())
        assert around.passes(recipe()) == inner.passes(recipe())
        assert around.image_gradients(recipe()) == inner.image_gradients(recipe())
