"""Activations that are computed again give the same step in less memory, and batch norm counts a batch once."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from methods.backbones import BackboneChoice, MultiHead, initialise
from methods.backbones.recomputation import recomputed, recomputing, segments
from methods.training import AdversarialTraining, Fit, Validation, train
from scenarios.base import LearnTask
from tests.benchmark.running.stored import runs
from tests.methods.training.recording import StandIn
from tests.methods.training.test_captured import METHODS, OBJECTIVES, trained
from tests.methods.training.training_cases import EPS, digits_task, network, recipe, same
from tests.tiny import run_tiny

NAMES = ("small_conv", "vgg16_bn", "cifar_resnet18", "resnet50")
IMAGES = torch.rand(4, 3, 32, 32, generator=torch.Generator().manual_seed(0))


def task_network(name: str) -> nn.Module:
    backbone = BackboneChoice(name=name, width=0.125).build((3, 32, 32))
    multi = MultiHead(backbone, (2,), (0.3,) * 3, (0.4,) * 3)
    initialise(multi, torch.Generator().manual_seed(0))
    return multi.for_task(0)


def gradients(net: nn.Module, images: Tensor) -> list[Tensor]:
    """Gradients of a loss with respect to the images and all weights."""
    point = images.clone().requires_grad_()
    loss = F.cross_entropy(net(point), torch.arange(len(images)) % 2)
    return list(torch.autograd.grad(loss, [point, *net.parameters()]))


def saved_bytes(net: nn.Module, images: Tensor) -> int:
    """Bytes that are kept of a forward pass for its gradient, without those of weights."""
    live: dict[int, int] = {}
    weights = {tensor.data_ptr() for tensor in (*net.parameters(), *net.buffers())}

    def count(tensor: Tensor) -> Tensor:
        if tensor.data_ptr() not in weights:
            live[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor.detach()

    with torch.autograd.graph.saved_tensors_hooks(count, lambda tensor: tensor):
        net(images)
    return sum(live.values())


@pytest.fixture(scope="module")
def task() -> LearnTask:
    return digits_task(0.5)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("name", NAMES)
def test_gradients_and_running_statistics_are_the_same(name: str, training: bool) -> None:
    plain = task_network(name).train(training)
    again = copy.deepcopy(plain)
    expected = gradients(plain, IMAGES)
    with recomputing(again):
        found = gradients(again, IMAGES)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-6)
    assert same(again, plain.state_dict()), "batch norm saw the batch once"
    for norm in (module for module in again.modules() if isinstance(module, nn.BatchNorm2d)):
        assert norm.momentum == 0.1
        assert int(norm.num_batches_tracked) == training


@pytest.mark.parametrize("name", NAMES)
def test_less_is_kept(name: str) -> None:
    net = task_network(name).train()
    whole = saved_bytes(net, IMAGES)
    with recomputing(net):
        assert saved_bytes(net, IMAGES) < whole / 2
    assert saved_bytes(net, IMAGES) == whole, "the block leaves nothing behind"


@pytest.mark.parametrize(("name", "count"), [("vgg16_bn", 6), ("resnet50", 17), ("cifar_resnet18", 9)])
def test_segments_end_at_poolings_and_around_residual_blocks(name: str, count: int) -> None:
    layers = task_network(name).backbone.layers
    found = segments(layers)
    assert len(found) == count
    assert [layer for segment in found for layer in segment] == list(layers)
    assert not any(isinstance(segment[0], nn.ReLU) for segment in found), "in place, it would overwrite what is kept"


def test_without_gradients_nothing_is_computed_again() -> None:
    net, calls = task_network("vgg16_bn").eval(), []
    net.backbone.layers[0].register_forward_hook(lambda *_: calls.append(1))
    with recomputing(net), torch.no_grad():
        net(IMAGES)
    assert len(calls) == 1
    with recomputing(net):
        gradients(net, IMAGES)
    assert len(calls) == 3


def test_dropout_drops_the_same_features_again() -> None:
    layers = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Dropout(0.5), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(900, 2))
    found = []
    for run in (lambda images: layers(images), lambda images: recomputed(layers, images)):
        torch.manual_seed(0)
        found.append(torch.autograd.grad(run(IMAGES).square().sum(), list(layers.parameters())))
    torch.testing.assert_close(found[1], found[0])


@pytest.mark.parametrize("name", OBJECTIVES)
def test_a_training_ends_in_the_same_network_but_for_rounding(task: LearnTask, name: str) -> None:
    plain, _ = trained(task, None, OBJECTIVES[name](), recipe(epochs=1))
    again, _ = trained(task, None, OBJECTIVES[name](), recipe(epochs=1, recompute=True))
    torch.testing.assert_close(again.state_dict(), plain.state_dict(), rtol=1e-3, atol=1e-5)
    assert not same(network(), again.state_dict())


def test_the_attack_of_a_step_computes_again_too(task: LearnTask) -> None:
    counts = []
    for recompute in (False, True):
        net, calls = network(), []
        net.backbone.layers[0].register_forward_hook(lambda *_, calls=calls: calls.append(1))
        chosen = recipe(epochs=1, recompute=recompute, selection={"keep": "last"})
        right = torch.ones(4, dtype=torch.bool)
        fit = Fit(net, list(net.parameters()), lambda right=right: Validation(right, right))
        train(fit, [task], chosen, EPS, lambda purpose: torch.Generator().manual_seed(0))
        counts.append(len(calls))
    assert counts[1] == 2 * counts[0]


@pytest.mark.parametrize("name", OBJECTIVES)
def test_such_steps_can_be_recorded(task: LearnTask, name: str) -> None:
    chosen = recipe(recompute=True, micro_batch=8)
    plain, _ = trained(task, None, OBJECTIVES[name](), chosen)
    recorded, told = trained(task, StandIn(), OBJECTIVES[name](), chosen)
    assert same(recorded, plain.state_dict())
    assert (told.recordings, told.why_plain) == (1, "")


def test_folded_attacks_run_on_their_own_layers(task: LearnTask) -> None:
    changes = {"precision": "bf16", "attack": {"steps": 2, "folded": True}, "epochs": 1}
    plain, _ = trained(task, None, AdversarialTraining(), recipe(**changes))
    again, _ = trained(task, None, AdversarialTraining(), recipe(**changes, recompute=True))
    torch.testing.assert_close(again.state_dict(), plain.state_dict(), rtol=1e-2, atol=1e-3)


def test_every_method_trains_so(tmp_path: Path) -> None:
    assert run_tiny(tmp_path, METHODS, recipe={"recompute": True}) == 0
    assert {run.label for run in runs(tmp_path, "runs")} >= {*METHODS}


def test_the_setting_names_a_run_only_where_it_is_used() -> None:
    assert "recompute" not in recipe().identity()
    assert recipe(recompute=True).identity()["recompute"] is True
