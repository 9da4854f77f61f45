"""Input gradient regularisation: the loss is what it says, and its gradient goes through the image's gradient."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from attacks.threat_model import ThreatModel
from methods.backbones import BackboneChoice, MultiHead, initialise
from methods.training import Batch, CleanTraining, Fit, InnerAttack, Objective, train
from methods.training.algorithms.input_gradients import InputGradientSettings
from methods.training.choice import InputGradientChoice, TrainedBy
from methods.training.validation import Validation
from tests.methods.training.recording import StandIn
from tests.methods.training.training_cases import EPS, digits_task, network, recipe, same


def batch(size: int = 8) -> Batch:
    images = torch.rand(size, 1, 8, 8, generator=torch.Generator().manual_seed(1))
    return Batch(images, torch.arange(size) % 2, torch.zeros(size, dtype=torch.int64))


def attack_on(net: nn.Module) -> InnerAttack:
    return InnerAttack(net, ThreatModel(Fraction(EPS)), 0.05, 3, "eval", torch.Generator())


def penalty_by_hand(net: nn.Module, given: Batch) -> Tensor:
    """The mean over images of the squared gradient, image by image: with batch norm in eval mode none depends on another."""
    found = []
    for image, label in zip(given.images, given.labels, strict=True):
        point = image[None].clone().requires_grad_()
        (gradient,) = torch.autograd.grad(F.cross_entropy(net(point), label[None]), point, create_graph=True)
        found.append(gradient.square().sum())
    return torch.stack(found).mean()


def test_it_is_clean_cross_entropy_and_the_weighted_squared_gradient_of_each_image() -> None:
    net, given = network().eval(), batch()
    loss, output = InputGradientSettings(weight=3).objective().loss(net, given, attack_on(net))
    by_hand = F.cross_entropy(net(given.images), given.labels) + 3 * penalty_by_hand(net, given)
    assert float(loss.detach()) == pytest.approx(float(by_hand.detach()), rel=1e-5)
    assert torch.equal(output, net(given.images))
    found = torch.autograd.grad(loss, list(net.parameters()), allow_unused=True)
    expected = torch.autograd.grad(by_hand, list(net.parameters()), allow_unused=True)
    for one, other in zip(found, expected, strict=True):
        assert one is not None
        assert other is not None
        assert torch.allclose(one, other, atol=1e-5), "the penalty's own gradient too"


def test_images_count_as_their_weights_say() -> None:
    net, given = network().eval(), batch()
    objective = InputGradientSettings(weight=3).objective()
    half = replace(given, weights=(torch.arange(8) < 4).float())
    alone = Batch(given.images[:4], given.labels[:4], given.tasks[:4])
    expected = objective.loss(net, alone, attack_on(net))[0] / 2
    assert float(objective.loss(net, half, attack_on(net))[0].detach()) == pytest.approx(
        float(expected.detach()), rel=1e-5
    )


def test_classes_that_a_task_does_not_have_count_nothing() -> None:
    net, given = network().eval(), batch()
    objective = InputGradientSettings().objective()

    def more(images: Tensor) -> Tensor:
        return torch.cat([net(images), torch.full((len(images), 1), -torch.inf)], 1)

    loss, _ = objective.loss(more, given, attack_on(net))
    loss.backward()
    gradients = [parameter.grad for parameter in net.parameters()]
    assert all(gradient is not None and bool(gradient.isfinite().all()) for gradient in gradients)
    assert float(loss.detach()) == pytest.approx(
        float(objective.loss(net, given, attack_on(net))[0].detach()), rel=1e-6
    )


def trained(objective: Objective, recorder: StandIn | None = None, **changes: Any) -> nn.Module:
    net, task = network(), digits_task(0.3)
    right = Validation(torch.ones(4, dtype=torch.bool), torch.ones(4, dtype=torch.bool))
    fit = Fit(net, list(net.parameters()), lambda: right, objective)
    train(fit, [task], recipe(**changes), EPS, lambda purpose: torch.Generator().manual_seed(7), recorder=recorder)
    return net


def test_without_a_weight_it_is_clean_training() -> None:
    plain = trained(CleanTraining()).state_dict()
    assert same(trained(InputGradientSettings(weight=0).objective()), plain)
    assert not same(trained(InputGradientSettings().objective()), plain)


def test_its_steps_can_be_recorded() -> None:
    recorder = StandIn()
    recorded = trained(InputGradientSettings().objective(), recorder)
    assert recorder.repeated > 2
    assert same(trained(InputGradientSettings().objective()), recorded.state_dict())


def test_images_change_the_loss_less_where_it_is_trained_with() -> None:
    chosen = {"epochs": 8}
    slopes = []
    for weight in (0.0, 0.3):
        net = trained(InputGradientSettings(weight=weight).objective(), **chosen).eval()
        slopes.append(float(penalty_by_hand(net, batch()).detach()))
    assert slopes[1] < slopes[0] / 2


def test_a_strategy_takes_it_by_name() -> None:
    assert TrainedBy.model_validate({"training": "igr"}).training == InputGradientChoice()
    chosen = TrainedBy.model_validate({"training": {"name": "igr", "weight": 2}})
    assert chosen.identity() == {"training": {"name": "igr", "weight": 2.0}}


def test_attention_has_a_second_derivative() -> None:
    pytest.importorskip("timm")
    multi = MultiHead(BackboneChoice(name="timm:test_vit").build((3, 32, 32)), (2,), (0.3,) * 3, (0.4,) * 3)
    initialise(multi, torch.Generator().manual_seed(0))
    net, images = multi.for_task(0), torch.rand(4, 3, 32, 32)
    given = Batch(images, torch.arange(4) % 2, torch.zeros(4, dtype=torch.int64))
    InputGradientSettings().objective().loss(net, given, attack_on(net))[0].backward()
    assert all(parameter.grad is not None for parameter in net.parameters())
