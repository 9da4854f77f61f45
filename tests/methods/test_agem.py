"""A-GEM: no step goes against the gradient on old images."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from torch import Tensor, nn

from methods.agem import AGEM, ReferenceGradient, against
from methods.parts.image_memory import KeptImages
from methods.parts.replay import Replay
from methods.training import AdversarialTraining, Batch, CleanTraining, Fit, InnerAttack, make_optimizer
from methods.training.objectives import cross_entropy
from tests.methods.rehearsing import rehearsed
from tests.methods.training.training_cases import EPS, recipe
from tests.tiny import begun, learn

NUMBERS = st.lists(st.floats(-10, 10, width=32), min_size=6, max_size=6)


def projected(gradient: Tensor, reference: Tensor) -> Tensor:
    return gradient - against(gradient, reference) * reference


@given(NUMBERS, NUMBERS)
def test_a_projected_gradient_does_not_go_against_the_reference(first: list[float], second: list[float]) -> None:
    gradient, reference = torch.tensor(first), torch.tensor(second)
    found, scale = projected(gradient, reference), float(gradient.norm() * reference.norm())
    assert bool(found.isfinite().all())
    assert float(found @ reference) >= -1e-5 * scale
    assert float(found.norm()) <= float(gradient.norm()) * (1 + 1e-5)
    if float(gradient @ reference) >= 0:
        assert torch.equal(found, gradient)
    elif float(reference @ reference) > 1e-12:
        assert float(found @ reference) == pytest.approx(0, abs=1e-5 * scale)
        assert torch.allclose(projected(gradient, 3 * reference), found, atol=1e-4)


def test_a_reference_of_zero_has_no_direction() -> None:
    gradient = torch.tensor([1.0, -2.0])
    assert torch.equal(projected(gradient, torch.zeros(2)), gradient)
    # Nor has one whose square is 0 where it is not.
    assert torch.equal(projected(gradient, torch.tensor([0.0, 1e-30])), gradient)


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


class Two(nn.Module):
    """A shared layer and two heads, for tasks 0 and 1."""

    def __init__(self) -> None:
        super().__init__()
        self.shared = nn.Linear(16, 3)
        self.heads = nn.ModuleList([nn.Linear(3, 2), nn.Linear(3, 2)])
        with torch.no_grad():
            for number, parameter in enumerate(self.parameters()):
                parameter.copy_(torch.randn(parameter.shape, generator=rng(number)))
            # Predictions near one half: exchanged labels turn the gradient round.
            self.heads[1].weight.mul_(0.05)
            self.heads[1].bias.zero_()

    def of(self, task: int, images: Tensor) -> Tensor:
        found: Tensor = self.heads[task](torch.tanh(self.shared(images.flatten(1))))
        return found


def batch(task: int, size: int = 8, seed: int = 0) -> Batch:
    images = torch.rand(size, 1, 4, 4, generator=rng(seed))
    return Batch(images, torch.arange(size) % 2, torch.full((size,), task))


def agem(network: Two, old: str = "others", **changes: Any) -> tuple[Fit, Tensor]:
    """A training on task 1 that keeps images of task 0, and the gradient on those; all of them are drawn in every step.

    old: others; or, of the same head, "alike" (the new ones) or "opposed" (the new ones, labels exchanged).
    """
    source, head = (batch(0, seed=9), 0) if old == "others" else (batch(1), 1)
    images, labels = (source.images * 255).to(torch.uint8), source.labels
    labels = 1 - labels if old == "opposed" else labels
    kept = KeptImages(images, labels, torch.zeros_like(labels))
    replay = Replay(kept, changes.pop("share", 1.0), "none", (4, 4), (rng(1), rng(2)))
    parameters = list(network.parameters())
    inner = changes.pop("inner", CleanTraining())
    objective = ReferenceGradient(inner, replay, lambda batch: lambda images: network.of(head, images), parameters)
    fit = Fit(
        network,
        parameters,
        lambda: pytest.fail("nobody validates"),
        objective,
        logits=lambda batch: lambda images: network.of(1, images),
        after_backward=objective.project,
    )
    everything = Batch(images.float() / 255, labels, torch.zeros_like(labels))
    loss = cross_entropy(network.of(head, everything.images), everything)
    return fit, flat(torch.autograd.grad(loss, parameters, allow_unused=True, materialize_grads=True))


def flat(tensors: Any) -> Tensor:
    return torch.cat([tensor.reshape(-1) for tensor in tensors])


def stepped(fit: Fit, **changes: Any) -> Tensor:
    """The change of all parameters that a step on task 1 of size 1 makes."""
    chosen = recipe(learning_rate=1.0, momentum=0.0, weight_decay=0.0, **changes)
    before = flat(fit.parameters).detach().clone()
    optimizer = make_optimizer(fit.parameters, chosen)
    attack = InnerAttack.of(chosen, fit.network, EPS, rng(3))
    fit.move(batch(1), attack, chosen, optimizer)
    return flat(fit.parameters).detach() - before


def own_gradient(network: Two) -> Tensor:
    loss = cross_entropy(network.of(1, batch(1).images), batch(1))
    return flat(torch.autograd.grad(loss, list(network.parameters()), allow_unused=True, materialize_grads=True))


def test_the_reference_is_the_gradient_on_old_images() -> None:
    fit, reference = agem(Two())
    stepped(fit)
    objective = fit.objective
    assert isinstance(objective, ReferenceGradient)
    found = objective.reference
    assert torch.allclose(found / found.norm(), reference / reference.norm(), atol=1e-5)


def test_a_step_is_minus_the_projected_gradient_of_all_parameters_as_one_vector() -> None:
    """Old labels that contradict the new ones: the gradients go against each other."""
    network = Two()
    fit, reference = agem(network, old="opposed")
    gradient = own_gradient(network)
    assert float(gradient @ reference) < 0
    found = stepped(fit)
    assert torch.allclose(found, -projected(gradient, reference), atol=1e-5)
    assert float(found @ reference) == pytest.approx(0, abs=1e-5)
    sizes = [parameter.numel() for parameter in network.parameters()]
    pairs = zip(gradient.split(sizes), reference.split(sizes), strict=True)
    one_by_one = -torch.cat([projected(own, other) for own, other in pairs])
    assert not torch.allclose(found, one_by_one, atol=1e-4)


def test_where_gradients_agree_the_step_is_that_without_a_memory() -> None:
    network = Two()
    fit, reference = agem(network, old="alike")
    gradient = own_gradient(network)
    assert float(gradient @ reference) > 0
    assert torch.allclose(stepped(fit), -gradient, atol=1e-7)


def test_heads_of_old_tasks_are_part_of_the_vector() -> None:
    """New images go against old ones in the shared weights: the projection also moves the old head, along the reference."""
    network = Two()
    with torch.no_grad():
        network.heads[0].weight.copy_(-network.heads[1].weight)
        network.heads[0].bias.zero_()
    fit, reference = agem(network)
    gradient = own_gradient(network)
    assert float(gradient @ reference) < 0
    before = network.heads[0].weight.detach().clone()
    assert torch.allclose(stepped(fit), -projected(gradient, reference), atol=1e-5)
    assert not torch.equal(network.heads[0].weight, before)


def test_a_step_in_parts_projects_once_by_the_reference_of_the_whole() -> None:
    one = stepped(agem(Two(), old="opposed", share=8.0)[0])
    two = stepped(agem(Two(), old="opposed", share=8.0)[0], micro_batch=4)
    assert torch.allclose(one, two, atol=1e-5)


def test_the_parts_of_a_step_add_up_to_its_reference_and_the_next_step_begins_anew() -> None:
    network = Two()
    fit, _ = agem(network)
    objective = fit.objective
    assert isinstance(objective, ReferenceGradient)
    drawn: list[Batch] = []
    whole = objective.replay.draw

    def noted(beside: Batch) -> tuple[Batch, Tensor]:
        old, places = whole(beside)
        drawn.append(old)
        return old, places

    objective.replay.draw = noted  # type: ignore[method-assign]
    for _ in range(2):
        drawn.clear()
        before = [parameter.detach().clone() for parameter in network.parameters()]
        stepped(fit, micro_batch=4)
        found = objective.reference.clone()
        for parameter, value in zip(network.parameters(), before, strict=True):
            parameter.data.copy_(value)
        assert [len(old.labels) for old in drawn] == [4, 4]
        first, second = (4 * cross_entropy(network.of(0, old.images), old) for old in drawn)
        parameters = list(network.parameters())
        expected = torch.autograd.grad(first + second, parameters, allow_unused=True, materialize_grads=True)
        assert torch.allclose(found, flat(expected), atol=1e-5)


@pytest.mark.parametrize(
    "changes", [{"precision": "bf16"}, {"precision": "bf16", "recompute": True}, {"recompute": True}]
)
def test_both_gradients_are_taken_in_the_recipes_precision(tmp_path: Path, changes: dict[str, Any]) -> None:
    method, _, _ = rehearsed(tmp_path, "agem", recipe={"epochs": 1, **changes})
    assert isinstance(method, AGEM)
    assert all(bool(parameter.isfinite().all()) for parameter in method.network.parameters())


def test_old_images_are_attacked_for_the_reference() -> None:
    network = Two()
    clean, attacked = agem(network)[0], agem(network, inner=AdversarialTraining())[0]
    found = []
    for fit in (clean, attacked):
        objective = fit.objective
        assert isinstance(objective, ReferenceGradient)
        attack = InnerAttack.of(recipe(), network, EPS, rng(3))
        objective.loss(fit.logits_of(batch(1)), batch(1), attack)
        found.append(objective.reference.clone())
    assert not torch.allclose(found[0], found[1], atol=1e-3)


def test_one_old_image_alone_has_no_batch_statistics(tmp_path: Path) -> None:
    with pytest.raises(ValidationError, match=r"capacity = 1: .* keep none, or two or more"):
        AGEM.Settings(capacity=1)
    # The last maps of this network are 1x1. A hundredth of an old image for each new one is still two of them.
    row = {"method": "agem", "settings": {"capacity": 2, "replay": 0.01}}
    backbone = {"name": "cifar_resnet18", "width": 0.125}
    method, context, stream = begun(tmp_path, row, backbone=backbone, recipe={"epochs": 1})
    for task in stream[:2]:
        learn(method, context, task, len(stream))
    assert isinstance(method, AGEM)
    assert all(bool(parameter.isfinite().all()) for parameter in method.network.parameters())
