"""A network of which only shared weights and head are trained."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

from methods.backbones import Backbone, MultiHead, TaskNetwork, initialise
from methods.parts.held import HeldNetwork, hold_the_rest, rest_of

SHARED = {"layers.0.weight", "layers.4.weight"}


def network() -> TaskNetwork:
    """A network with all kinds of parameters that are no weights of convolutions or linear layers."""
    layers = [nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Flatten(), nn.LayerNorm(8), nn.Linear(8, 4)]
    multi = MultiHead(Backbone(layers, 4), (2,), (0.3,), (0.4,))
    initialise(multi, torch.Generator().manual_seed(0))
    return multi.for_task(0)


def test_gradients_reach_the_shared_weights_alone() -> None:
    net = network()
    hold_the_rest(net.backbone)
    assert {name for name, parameter in net.backbone.named_parameters() if parameter.requires_grad} == SHARED
    assert net.head.weight.requires_grad


def test_a_step_moves_shared_weights_and_head_and_nothing_else() -> None:
    net = HeldNetwork(network())
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1, weight_decay=0.1)
    net.train()
    F.cross_entropy(net(torch.rand(4, 1, 4, 4)), torch.arange(4) % 2).backward()
    optimizer.step()
    moved = {name for name, tensor in net.state_dict().items() if not torch.equal(tensor, before[name])}
    assert moved == {"head.weight", "head.bias", *(f"backbone.{name}" for name in SHARED)}


def test_the_rest_are_copies_of_all_other_tensors() -> None:
    backbone = network().backbone
    rest = rest_of(backbone, frozenset(SHARED))
    assert rest.keys() == backbone.state_dict().keys() - SHARED
    rest["layers.1.weight"].zero_()
    assert bool(backbone.state_dict()["layers.1.weight"].any())
