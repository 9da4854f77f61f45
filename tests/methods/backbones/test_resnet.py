"""Residual networks are torchvision's, at every width, and grow so that a smaller network is their top-left block."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torchvision
from torch import nn

from attacks.parts.graphs.structure import structure_of
from methods.backbones import (
    Backbone,
    BackboneChoice,
    BatchNorm,
    CifarResNet18,
    MultiHead,
    Residual,
    ResNet18,
    ResNet50,
    initialise,
)
from methods.backbones.pretrained import load_pretrained
from methods.backbones.recomputation import recomputing
from methods.parts.stochastic_masks import MaskedNetwork, Masks
from methods.training.folded import folded

SHAPE = (3, 64, 64)
ALL = {"resnet18": ResNet18, "resnet50": ResNet50, "cifar_resnet18": CifarResNet18}
THEIRS: dict[str, Callable[[], nn.Module]] = {
    "resnet18": torchvision.models.resnet18,
    "resnet50": torchvision.models.resnet50,
}


def parameters(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def with_statistics(backbone: Backbone) -> MultiHead:
    """A network whose batch norm has seen something, in eval mode."""
    made = MultiHead(backbone, (3,), (0.4,) * 3, (0.3,) * 3)
    initialise(made, torch.Generator().manual_seed(0))
    drawn = torch.Generator().manual_seed(1)
    for module in made.modules():
        if isinstance(module, BatchNorm):
            module.running_mean.normal_(0, 0.2, generator=drawn)  # type: ignore[union-attr]
            module.running_var.uniform_(0.5, 2, generator=drawn)  # type: ignore[union-attr]
    return made.eval()


@pytest.mark.parametrize("name", THEIRS)
def test_parameter_counts_are_torchvisions(name: str) -> None:
    with torch.device("meta"):
        ours, theirs = BackboneChoice(name=name).build(SHAPE), THEIRS[name]()
    assert parameters(ours) == parameters(theirs) - parameters(theirs.fc)  # type: ignore[arg-type]
    assert ours.features == theirs.fc.in_features  # type: ignore[union-attr]
    shared = sum(weight.numel() for _, weight in ours.shared_weights())
    assert shared == sum(m.weight.numel() for m in theirs.modules() if isinstance(m, nn.Conv2d))


def test_the_stem_of_small_images_is_one_convolution_that_keeps_their_size() -> None:
    with torch.device("meta"):
        ours = CifarResNet18((3, 32, 32))
    first = ours.layers[0]
    assert isinstance(first, nn.Conv2d)
    assert (first.kernel_size, first.stride) == ((3, 3), (1, 1))
    assert not any(isinstance(layer, nn.MaxPool2d) for layer in ours.layers)
    # The published number of ResNet-18 for CIFAR without its head of 10 classes (He et al.'s stem has 7,680 more).
    assert parameters(ours) == 11_173_962 - 5_130


@pytest.mark.parametrize("name", THEIRS)
def test_torchvisions_weights_give_torchvisions_features(name: str, tmp_path: object) -> None:
    torch.manual_seed(3)
    theirs = THEIRS[name]().eval()
    for module in theirs.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1)  # type: ignore[union-attr]
            module.running_var.uniform_(0.5, 2)  # type: ignore[union-attr]
    file = f"{tmp_path}/weights.pth"
    torch.save(theirs.state_dict(), file)
    ours = BackboneChoice(name=name).build(SHAPE)
    load_pretrained(ours, name, file)
    theirs.fc = nn.Identity()
    images = torch.rand(2, *SHAPE)
    with torch.no_grad():
        expected = theirs(images)
        assert torch.allclose(ours.eval()(images), expected, rtol=1e-4, atol=1e-5 * float(expected.abs().max()))


@pytest.mark.parametrize("side", [32, 64, 71, 224])
def test_they_take_images_of_any_size(side: int) -> None:
    with torch.device("meta"):
        for name in ALL:
            backbone = BackboneChoice(name=name, width=0.25).build((3, side, side))
            assert backbone(torch.empty(2, 3, side, side)).shape == (2, backbone.features)


@pytest.mark.parametrize("name", ALL)
def test_a_wider_network_holds_the_narrow_one_as_its_top_left_block(name: str) -> None:
    narrow, wide = (with_statistics(BackboneChoice(name=name, width=0.125).build(SHAPE, mu)) for mu in (1.0, 1.5))
    with torch.no_grad():
        for key, tensor in wide.backbone.state_dict().items():
            small = narrow.backbone.state_dict()[key]
            if tensor.ndim:
                assert tensor.shape != small.shape or small.shape[0] == 3
                # Channels that grew feed no channel that was there before.
                tensor[: small.shape[0]] = 0
                tensor[tuple(slice(0, size) for size in small.shape)] = small
        images = torch.rand(2, *SHAPE)
        expected, found = narrow.backbone(images), wide.backbone(images)
    assert torch.allclose(found[:, : narrow.backbone.features], expected, atol=1e-5)
    blocks = [layer for layer in wide.backbone.layers if isinstance(layer, Residual)]
    widths = [
        (block.body[-1].num_features, [m.num_features for m in block.shortcut if isinstance(m, BatchNorm)])
        for block in blocks
    ]  # type: ignore[union-attr]
    assert any(shortcut for _, shortcut in widths)
    assert all(shortcut in ([], [body]) for body, shortcut in widths), "both ways grow alike"


@pytest.mark.parametrize("name", ALL)
def test_folding_and_masks_know_both_ways_of_a_block(name: str) -> None:
    network = with_statistics(BackboneChoice(name=name, width=0.125).build(SHAPE)).for_task(0).eval()
    images = torch.rand(3, *SHAPE)
    with torch.no_grad():
        plain = network(images)
        with folded(network, torch.float32) as any_is:
            assert any_is
            assert network.backbone.instead is not None
            assert not any(isinstance(module, BatchNorm) for module in network.backbone.instead.modules())  # type: ignore[attr-defined]
            assert torch.allclose(network(images), plain, rtol=1e-3, atol=1e-5)
        masked = MaskedNetwork(network, Masks(network, 1.0, 1.0)).eval()
        assert not torch.allclose(masked(images), plain, rtol=1e-2, atol=1e-4)
        assert torch.allclose(masked.materialise()(images), masked(images), rtol=1e-3, atol=1e-5)
        features = masked.features(images)
    convolutions = sum(isinstance(module, nn.Conv2d) for module in network.backbone.modules())
    assert sum(isinstance(module, nn.ReLU) for module in network.backbone.modules()) == len(features) < convolutions
    assert all(float(feature.min()) >= 0 for feature in features.values())


@pytest.mark.parametrize("name", ["vgg16_bn", "small_conv", *ALL])
def test_networks_alike_share_recorded_attacks_whatever_way_they_were_trained(name: str) -> None:
    first, second = (
        MultiHead(BackboneChoice(name=name, width=0.0625).build(SHAPE), (3,), (0.5,) * 3, (0.5,) * 3).for_task(0)
        for _ in range(2)
    )
    with recomputing(second):
        pass
    structure = structure_of(first.materialise())
    assert structure is not None
    assert structure == structure_of(second.materialise())
