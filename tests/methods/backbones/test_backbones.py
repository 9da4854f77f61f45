"""Backbones are what the papers say, and a task's network is its own."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from methods.backbones import (
    VGG16BN,
    BackboneChoice,
    MultiHead,
    SmallConv,
    batch_norm_state,
    initialise,
    load_batch_norm_state,
)


def multi_head(class_counts: tuple[int, ...] = (2, 3), seed: int = 0) -> MultiHead:
    network = MultiHead(SmallConv((1, 8, 8), 0.25), class_counts, (0.3,), (0.4,))
    initialise(network, torch.Generator().manual_seed(seed))
    return network


def test_vgg16_has_the_published_number_of_shared_weights() -> None:
    with torch.device("meta"):
        backbone = VGG16BN((3, 32, 32))
    counts = {name: weight.numel() for name, weight in backbone.shared_weights()}
    convolutions = sum(w.numel() for _, w in backbone.shared_weights() if w.ndim == 4)
    assert convolutions == 14_710_464
    assert sum(counts.values()) - convolutions == 18_874_368
    assert sum(counts.values()) == 33_584_832
    assert len(counts) == 15


@pytest.mark.parametrize("name", ["small_conv", "vgg16_bn", "cifar_resnet18", "resnet18"])
@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 32, 32), (1, 28, 40)])
def test_backbones_take_images_of_every_preset_by_name(name: str, shape: tuple[int, int, int]) -> None:
    # A network this narrow may be dead in a corner by chance.
    torch.manual_seed(0)
    backbone = BackboneChoice(name=name, width=0.0625).build(shape).train()
    features = backbone(torch.rand(2, *shape))
    assert features.shape == (2, backbone.features)
    # The corners of an image count: no pooling drops the last row or column of a small one.
    images = torch.rand(16, *shape, requires_grad=True)
    backbone.eval()(images).sum().backward()
    assert images.grad[:, :, -1, -1].abs().sum() > 0  # type: ignore[index]


def test_vgg16_has_no_dropout_no_conv_bias_and_batch_norm_after_every_convolution() -> None:
    with torch.device("meta"):
        layers = list(VGG16BN((3, 32, 32)).layers)
    assert not any(isinstance(layer, nn.Dropout) for layer in layers)
    convolutions = [i for i, layer in enumerate(layers) if isinstance(layer, nn.Conv2d)]
    assert len(convolutions) == 13
    assert all(layers[i].bias is None and isinstance(layers[i + 1], nn.BatchNorm2d) for i in convolutions)
    assert [layer.out_features for layer in layers if isinstance(layer, nn.Linear)] == [4096, 4096]


@pytest.mark.parametrize("width", [0.125, 0.25, 0.5])
def test_width_multiplies_every_channel_count(width: float) -> None:
    with torch.device("meta"):
        narrow = [tuple(w.shape) for _, w in VGG16BN((3, 32, 32), width).shared_weights()]
        full = [tuple(w.shape) for _, w in VGG16BN((3, 32, 32)).shared_weights()]
    assert [shape[0] for shape in narrow] == [int(shape[0] * width) for shape in full]


def test_a_backbone_says_which_images_it_needs() -> None:
    with pytest.raises(ValueError, match="17x17"):
        BackboneChoice(name="vgg16_bn").build((1, 8, 8))


def test_normalisation_is_inside_and_happens_once() -> None:
    network = multi_head().eval()
    images = torch.rand(4, 1, 8, 8)
    expected = network.heads[0](network.backbone((images - 0.3) / 0.4))
    assert torch.allclose(network.for_task(0)(images), expected)


def test_mixed_batches_give_each_image_its_own_tasks_logits() -> None:
    network = multi_head().eval()
    images, tasks = torch.rand(6, 1, 8, 8), torch.tensor([0, 1, 1, 0, 1, 0])
    logits = network(images, tasks)
    assert logits.shape == (6, 3)
    for i, task in enumerate(tasks.tolist()):
        own = network.for_task(task)(images[i : i + 1])[0]
        assert torch.allclose(logits[i, : len(own)], own, atol=1e-6)
        assert torch.isneginf(logits[i, len(own) :]).all()


def test_heads_of_all_tasks_seen_stand_side_by_side() -> None:
    network = multi_head().eval()
    images = torch.rand(3, 1, 8, 8)
    own = [network.for_task(task)(images) for task in (0, 1)]
    assert torch.equal(network.for_seen(0)(images), own[0])
    assert torch.equal(network.for_seen(1)(images), torch.cat(own, 1))
    assert torch.equal(network.for_seen(1).materialise()(images), torch.cat(own, 1).detach())


def test_a_materialised_classifier_is_an_independent_frozen_copy_in_eval_mode() -> None:
    network = multi_head()
    classifier = network.for_task(0).materialise()
    images = torch.rand(4, 1, 8, 8)
    before = classifier(images)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(1.0)
    network.train()(images, torch.zeros(4, dtype=torch.int64))
    assert torch.equal(classifier(images), before)
    assert not any(module.training for module in classifier.modules())
    assert not any(parameter.requires_grad for parameter in classifier.parameters())


def test_batch_norm_state_holds_and_restores_all_of_batch_norm_and_nothing_else() -> None:
    network = multi_head()
    saved = batch_norm_state(network.backbone)
    weights = {name: weight.clone() for name, weight in network.backbone.shared_weights()}
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(1.0)
    network.train()(torch.rand(8, 1, 8, 8), torch.zeros(8, dtype=torch.int64))
    load_batch_norm_state(network.backbone, saved)
    now = batch_norm_state(network.backbone)
    assert saved.keys() == now.keys()
    assert len(saved) == 3 * 5
    assert all(torch.equal(saved[name], now[name]) for name in saved)
    assert all(torch.equal(w, weights[name] + 1.0) for name, w in network.backbone.shared_weights())


def test_the_same_generator_seed_gives_the_same_weights_and_another_gives_others() -> None:
    def weights(seed: int) -> torch.Tensor:
        return torch.cat([p.flatten() for p in multi_head(seed=seed).parameters()])

    assert torch.equal(weights(1), weights(1))
    assert not torch.equal(weights(1), weights(2))


@pytest.mark.parametrize("width", [0.25, 1.0])
def test_vgg_is_initialised_as_in_cpg_with_signals_of_the_same_size_at_every_width(width: float) -> None:
    network = MultiHead(VGG16BN((3, 32, 32), width), (5,), (0.5,) * 3, (0.5,) * 3)
    initialise(network, torch.Generator().manual_seed(0))
    for layer in network.backbone.layers:
        if isinstance(layer, nn.Conv2d):
            fan_out = layer.out_channels * 9
            assert layer.weight.std().item() == pytest.approx((2 / fan_out) ** 0.5, rel=0.1)
        if isinstance(layer, nn.Linear):
            assert layer.weight.std().item() == pytest.approx(0.01 / width**0.5, rel=0.05)
            assert torch.all(layer.bias == 0)
