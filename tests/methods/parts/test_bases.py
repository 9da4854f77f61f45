"""Projected gradients: what a basis holds does not move, whatever optimiser, momentum and weight decay do."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from methods.parts.projection.bases import Projection, grow
from methods.parts.projection.representations import InputColumns
from methods.training import Recipe, make_optimizer
from tests.methods.training.recording import StandIn

NAME = "layer.weight"
OPTIMIZERS: dict[str, dict[str, Any]] = {
    "sgd": {"momentum": 0.0, "weight_decay": 0.0},
    "momentum": {"momentum": 0.9, "nesterov": False, "weight_decay": 0.0},
    "nesterov and decay": {"momentum": 0.9, "nesterov": True, "weight_decay": 0.01},
    "adam and decay": {"optimizer": "adam", "weight_decay": 0.01},
}


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def layer(channels_last: bool = False) -> nn.Conv2d:
    found = nn.Conv2d(3, 4, 2, bias=False)
    found.weight.data = drawn(4, 3, 2, 2, seed=1)
    return found.to(memory_format=torch.channels_last) if channels_last else found


def basis_of(count: int) -> Tensor:
    return torch.linalg.qr(drawn(12, 12)).Q[:, :count]


def stepped(found: nn.Conv2d, basis: Tensor, options: dict[str, Any], steps: int = 30) -> Tensor:
    """The way that a weight (4, 12) has gone after some steps on random gradients."""
    recipe = Recipe.model_validate({"epochs": 1, "batch_size": 2, "learning_rate": 0.05, **options})
    weight = found.weight
    start = weight.detach().clone()
    optimizer = make_optimizer([weight], recipe)
    projection = Projection({NAME: weight}, {NAME: basis}, recipe.weight_decay)
    projection.hold()
    for step in range(steps):
        weight.grad = torch.empty_like(weight).copy_(drawn(4, 3, 2, 2, seed=step))
        projection.project_gradients()
        optimizer.step()
        if recipe.optimizer == "adam":
            projection.put_back()
    return (weight.detach() - start).flatten(1)


@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.parametrize("options", OPTIMIZERS.values(), ids=OPTIMIZERS)
@pytest.mark.parametrize("count", [1, 5, 9, 12])
def test_a_weight_does_not_move_inside_its_basis(count: int, options: dict[str, Any], channels_last: bool) -> None:
    basis = basis_of(count)
    way = stepped(layer(channels_last), basis, options)
    assert float((way @ basis).norm()) < 1e-5
    assert (float(way.norm()) > 0.1) is (count < 12), "it moves everywhere else"


@pytest.mark.parametrize("name", ["sgd", "momentum", "nesterov and decay"])
def test_outside_of_the_basis_it_moves_as_ever(name: str) -> None:
    options = OPTIMIZERS[name]
    basis = basis_of(5)
    free, bound = stepped(layer(), basis[:, :0], options), stepped(layer(), basis, options)
    assert torch.allclose(free - free @ basis @ basis.T, bound, atol=1e-5)


def test_without_a_basis_gradients_stay_as_they_are() -> None:
    found = layer()
    found.weight.grad = drawn(4, 3, 2, 2)
    Projection({NAME: found.weight}, {NAME: basis_of(0)}, 0.1).project_gradients()
    assert torch.equal(found.weight.grad, drawn(4, 3, 2, 2))


@pytest.mark.parametrize("count", [3, 9, 12])
def test_a_projection_can_be_recorded(count: int) -> None:
    found = layer()
    found.weight.grad = drawn(4, 3, 2, 2)
    projection = Projection({NAME: found.weight}, {NAME: basis_of(count)}, 0.1)

    def work() -> tuple[Tensor, Tensor]:
        projection.project_gradients()
        return torch.zeros(()), torch.zeros(1)

    place = found.weight.grad.data_ptr()
    StandIn().record(work, ())()
    assert found.weight.grad.data_ptr() == place, "in place: an optimiser that was recorded reads it there"


def test_bases_grow_task_by_task_and_stay_orthonormal() -> None:
    bases: dict[str, Tensor] = {}
    counts = []
    for task in range(6):
        held = InputColumns(12, torch.device("cpu"))
        held.add(drawn(12, 4, seed=task) * torch.logspace(0, -1, 12)[:, None])
        before = bases.get(NAME, torch.zeros(12, 0))
        grow(bases, {NAME: held}, 0.95)
        assert torch.equal(bases[NAME][:, : before.shape[1]], before), "what was there stays"
        assert bases[NAME].is_contiguous(), "as it comes back from a checkpoint, so that a run goes on to the same bits"
        assert torch.allclose(bases[NAME].T @ bases[NAME], torch.eye(bases[NAME].shape[1]), atol=1e-5)
        counts.append(bases[NAME].shape[1])
    assert counts == sorted(counts)
    assert counts[0] < counts[-1] <= 12
