"""A folded network computes the same as the network in eval mode, at another precision, and leaves nothing behind."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from attacks.parts.graphs.structure import structure_of
from methods.backbones import VGG16BN, Backbone, BatchNorm, MultiHead, SmallConv, TaskNetwork, initialise
from methods.parts.stochastic_masks import MaskedNetwork, Masks
from methods.training import InnerAttack, Recipe
from methods.training.folded import fold, folded, folded_copy


def network(backbone: Backbone, channels: int) -> MultiHead:
    """A network whose batch norm has seen something, in eval mode."""
    made = MultiHead(backbone, (3, 2), [0.4] * channels, [0.3] * channels)
    initialise(made, torch.Generator().manual_seed(0))
    drawn = torch.Generator().manual_seed(1)
    for module in made.modules():
        if isinstance(module, BatchNorm):
            assert module.running_mean is not None
            assert module.running_var is not None
            module.running_mean.normal_(0, 0.2, generator=drawn)
            module.running_var.uniform_(0.5, 2, generator=drawn)
            with torch.no_grad():
                module.weight.normal_(1, 0.3, generator=drawn)
                module.bias.normal_(0, 0.2, generator=drawn)
    return made.eval()


def small() -> TaskNetwork:
    return network(SmallConv((1, 8, 8)), 1).for_task(0).eval()


def images(*shape: int) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(2))


def logits_and_gradient(net: nn.Module, x: Tensor) -> tuple[Tensor, Tensor]:
    point = x.clone().requires_grad_()
    output = net(point)
    (gradient,) = torch.autograd.grad(F.cross_entropy(output, torch.zeros(len(x), dtype=torch.int64)), point)
    return output.detach(), gradient


@pytest.mark.parametrize(
    ("backbone", "shape"),
    [(SmallConv((1, 8, 8)), (5, 1, 8, 8)), (VGG16BN((3, 32, 32), 0.125), (4, 3, 32, 32))],
    ids=["small_conv", "vgg16_bn"],
)
def test_in_float32_logits_and_gradients_are_the_same_but_for_rounding(
    backbone: Backbone, shape: tuple[int, ...]
) -> None:
    net, x = network(backbone, shape[1]).for_task(0).eval(), images(*shape)
    plain = logits_and_gradient(net, x)
    with folded(net, torch.float32) as any_is:
        assert any_is
        found = logits_and_gradient(net, x)
    for ours, expected in zip(found, plain, strict=True):
        assert not torch.equal(ours, expected), "nothing was folded"
        assert torch.allclose(ours, expected, rtol=1e-4, atol=1e-5 * float(expected.abs().max()))


def test_in_bfloat16_they_differ_as_much_as_under_autocast_and_come_out_as_float32() -> None:
    net, x = small(), images(64, 1, 8, 8)
    exact = logits_and_gradient(net, x)
    with torch.autocast("cpu", torch.bfloat16):
        usual = logits_and_gradient(net, x)
    with folded(net, torch.bfloat16):
        found = logits_and_gradient(net, x)
    for ours, theirs, expected in zip(found, usual, exact, strict=True):
        assert ours.dtype == torch.float32
        error, allowed = (float((each.float() - expected).norm() / expected.norm()) for each in (ours, theirs))
        assert 0 < error < 2 * allowed


def test_a_layer_without_bias_and_one_with_bias_are_folded() -> None:
    for bias in (True, False):
        layers = [
            nn.Conv2d(2, 4, 3, bias=bias),
            nn.BatchNorm2d(4),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(4, 3),
            nn.BatchNorm1d(3),
        ]
        net = nn.Sequential(*layers).eval()
        for module in layers:
            if isinstance(module, BatchNorm):
                assert module.running_mean is not None
                module.running_mean.fill_(0.3)
        run = fold(layers, torch.float32)
        assert run is not None
        assert len(run) == 4
        found = x = images(2, 2, 3, 3)
        for each in run:
            found = each(found)
        assert torch.allclose(found, net(x), atol=1e-6)


@pytest.mark.parametrize(
    "layers",
    [
        [nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2).train()],
        [nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2, track_running_stats=False).eval()],
        [nn.BatchNorm2d(1).eval(), nn.Conv2d(1, 2, 3)],
        [nn.Conv2d(1, 2, 3), nn.ReLU(), nn.BatchNorm2d(2).eval()],
        [nn.Conv2d(1, 2, 3), nn.PReLU()],
    ],
    ids=["train mode", "no running statistics", "first", "after a ReLU", "weights of another layer"],
)
def test_layers_that_cannot_be_folded_are_left(layers: list[nn.Module]) -> None:
    assert fold(layers, torch.float32) is None


def test_a_network_in_train_mode_runs_as_it_is() -> None:
    net, x = small(), images(4, 1, 8, 8)
    net.train()
    with folded(net, torch.bfloat16) as any_is:
        assert not any_is
        assert net(x).dtype == torch.float32


def test_blocks_stand_in_one_another_and_leave_nothing_behind() -> None:
    net, x = small(), images(4, 1, 8, 8)
    plain = net(x)
    with folded(net, torch.bfloat16) as outer:
        once = net(x)
        with folded(net, torch.bfloat16) as inner:
            assert torch.equal(net(x), once)
        assert torch.equal(net(x), once), "the inner block ended the outer one"
    assert (outer, inner) == (True, False)
    assert torch.equal(net(x), plain)


def test_an_error_in_the_block_leaves_nothing_behind() -> None:
    net, x = small(), images(4, 1, 8, 8)
    plain = net(x)
    with pytest.raises(KeyError), folded(net, torch.bfloat16):
        raise KeyError
    assert torch.equal(net(x), plain)


def test_a_block_runs_on_the_weights_as_they_are_when_it_begins() -> None:
    net, x = small(), images(4, 1, 8, 8)
    with folded(net, torch.float32):
        before = net(x)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.mul_(1.1)
    with folded(net, torch.float32):
        assert not torch.allclose(net(x), before, rtol=1e-2)
        assert not any(weight.grad_fn for weight in net.parameters())


def test_a_network_that_calls_its_layers_one_by_one_runs_as_it_is() -> None:
    net, x = small(), images(4, 1, 8, 8)
    masked = MaskedNetwork(net, Masks(net, 1.0, 1.0)).eval()
    plain = masked(x)
    with folded(masked, torch.bfloat16):
        assert torch.equal(masked(x), plain)


def recipe(**changes: Any) -> Recipe:
    return Recipe.model_validate({"epochs": 1, "batch_size": 2, "learning_rate": 0.1, "precision": "bf16", **changes})


def test_the_inner_attack_of_a_recipe_that_says_so_is_on_a_folded_network() -> None:
    net, x = small(), images(64, 1, 8, 8)
    labels, seen = torch.zeros(64, dtype=torch.int64), []

    def loss(points: Tensor) -> Tensor:
        seen.append("instead" in vars(net.backbone))
        return F.cross_entropy(net(points), labels, reduction="sum")

    found = {}
    for told in (True, False):
        attack = InnerAttack.of(recipe(attack={"folded": told}), net, Fraction(1, 10), torch.Generator().manual_seed(0))
        found[told] = attack(x, loss)
        assert set(seen) == {told}
        seen.clear()
    before, folded_one, plain = (float(loss(each).detach()) for each in (x, found[True], found[False]))
    assert folded_one - before == pytest.approx(plain - before, rel=0.02)
    assert float((found[True] - x).abs().max()) <= 0.1 + 1e-6


@pytest.mark.parametrize("changes", [{"precision": "fp32"}, {"attack": {"folded": True, "bn_mode": "train"}}])
def test_a_recipe_whose_attack_cannot_be_folded_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="folded = true needs precision = bf16"):
        recipe(**{"attack": {"folded": True}, **changes})


def test_the_setting_is_part_of_an_identity_only_where_it_is_used() -> None:
    assert "folded" not in recipe().identity()["attack"]
    assert recipe(attack={"folded": True}).identity()["attack"]["folded"] is True


def test_copies_of_networks_of_one_architecture_differ_in_tensors_alone_so_that_attacks_can_share_their_graphs() -> (
    None
):
    first, second, wider = (
        network(backbone, 1).for_task(0)
        for backbone in (SmallConv((1, 8, 8)), SmallConv((1, 8, 8)), SmallConv((1, 8, 8), 2))
    )
    copies = [folded_copy(net, torch.bfloat16) for net in (first, second, wider)]
    structures = [structure_of(copy) for copy in copies if copy is not None]
    assert structures[0] is not None
    assert structures[0] == structures[1] != structures[2]
    assert structures[0] != structure_of(first)
    assert not list(copies[0].backbone.layers.parameters())
