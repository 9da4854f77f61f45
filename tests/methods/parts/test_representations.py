"""Inputs of layers as columns: a weight multiplies them, and their leading directions hold the energy that was asked for."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from methods.backbones import Backbone, BackboneChoice, CifarResNet18, MultiHead, SmallConv, TaskNetwork, initialise
from methods.parts.projection.representations import (
    InputColumns,
    check_layers,
    input_derivatives_of_layers,
    inputs_of_layers,
    patches,
)

LAYERS: dict[str, nn.Module] = {
    "linear": nn.Linear(5, 4),
    "plain": nn.Conv2d(3, 4, 3),
    "strided": nn.Conv2d(3, 4, 3, stride=2, padding=1, bias=False),
    "oblong": nn.Conv2d(3, 4, (1, 3), padding=(0, 1)),
    "dilated": nn.Conv2d(3, 4, 3, dilation=2, padding=2),
    "same": nn.Conv2d(3, 4, (3, 5), padding="same"),
    "circular": nn.Conv2d(3, 4, 3, padding=1, padding_mode="circular"),
    "one by one": nn.Conv2d(3, 4, 1, stride=2),
}


def drawn(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def network(backbone: Backbone, channels: int = 1) -> TaskNetwork:
    multi = MultiHead(backbone, (2,), (0.3,) * channels, (0.4,) * channels)
    initialise(multi, torch.Generator().manual_seed(0))
    return multi.for_task(0).eval()


@pytest.mark.parametrize("name", LAYERS)
def test_a_weight_times_the_columns_is_what_its_layer_gives(name: str) -> None:
    layer = LAYERS[name]
    assert isinstance(layer, nn.Conv2d | nn.Linear)
    images = drawn(2, 6, 5) if isinstance(layer, nn.Linear) else drawn(2, 3, 8, 7)
    output = layer(images)
    rows = output.flatten(0, -2).T if isinstance(layer, nn.Linear) else output.transpose(0, 1).flatten(1)
    product = layer.weight.flatten(1) @ patches(layer, images)
    if layer.bias is not None:
        product = product + layer.bias[:, None]
    # InputColumns go image by image, as outputs do.
    assert torch.allclose(product, rows, atol=1e-5)


def test_groups_share_their_columns() -> None:
    layer = nn.Conv2d(4, 6, 3, groups=2, bias=False)
    images = drawn(2, 4, 3, 3)
    assert patches(layer, images).shape == (2 * 9, 2 * 2)
    basis = torch.linalg.qr(patches(layer, images)).Q
    before = layer(images)
    with torch.no_grad():
        moved = drawn(6, 18, seed=1)
        layer.weight.add_((moved - moved @ basis @ basis.T).view_as(layer.weight))
    assert torch.allclose(layer(images), before, atol=1e-5)


def reference(columns: Tensor, basis: Tensor, share: float) -> int:
    """The number of directions by an SVD of the columns, one by one, as section 5 of the paper says."""
    total = columns.square().sum()
    rest = columns - basis @ (basis.T @ columns)
    held, count = 1 - rest.square().sum() / total, 0
    for value in torch.linalg.svdvals(rest):
        if held >= share - 1e-12:
            break
        held, count = held + value**2 / total, count + 1
    return count


@pytest.mark.parametrize("more", [3, 12, 40], ids=["fewer columns than rows", "as many", "more"])
@pytest.mark.parametrize("share", [0.0, 0.5, 0.9, 0.97])
def test_the_fewest_directions_hold_the_share_that_was_asked_for(more: int, share: float) -> None:
    columns = drawn(12, more, dtype=torch.float64) * torch.logspace(0, -2, 12, dtype=torch.float64)[:, None]
    basis = torch.linalg.qr(drawn(12, 2, seed=1, dtype=torch.float64)).Q
    for known in (basis, basis[:, :0]):
        held = InputColumns(12, columns.device)
        for part in columns.split(5, dim=1):
            held.add(part)
        found = held.leading(known, share)
        assert found.shape[1] == reference(columns, known, share)
        whole = torch.cat([known, found], 1)
        kept = (whole.T @ columns).square().sum() / columns.square().sum()
        assert kept >= share - 1e-9
        rest = columns - known @ (known.T @ columns)
        best = torch.linalg.svdvals(rest)[: found.shape[1]].square().sum()
        assert torch.allclose((found.T @ rest).square().sum(), best, rtol=1e-6), "no others hold more"
        assert torch.allclose(whole.T @ whole, torch.eye(whole.shape[1], dtype=torch.float64), atol=1e-9)


@given(st.integers(1, 10), st.integers(0, 25), st.integers(0, 99))
@settings(max_examples=40)
def test_all_of_the_energy_is_all_that_the_columns_have(rows: int, count: int, seed: int) -> None:
    columns = drawn(rows, count, seed=seed, dtype=torch.float64)
    held = InputColumns(rows, columns.device)
    held.add(columns)
    found = held.leading(columns.new_zeros(rows, 0), 1.0)
    assert found.shape == (rows, min(rows, count))
    assert torch.allclose(found @ (found.T @ columns), columns, atol=1e-7)


def test_columns_that_a_basis_holds_add_nothing_to_it() -> None:
    basis = torch.linalg.qr(drawn(9, 3, dtype=torch.float64)).Q
    for count in (4, 30):
        held = InputColumns(9, basis.device)
        held.add(basis @ drawn(3, count, dtype=torch.float64))
        assert held.leading(basis, 1.0).shape == (9, 0)
        assert held.leading(basis.float(), 0.999999).shape == (9, 0), (
            "a basis stored in float32 holds them but for rounding"
        )


@pytest.mark.parametrize("count", [4, 30])
def test_directions_beside_a_basis_in_float32_are_at_right_angles_to_it(count: int) -> None:
    """Little is left of columns that lie almost in a basis, and its rounding must not be taken for it."""
    basis = torch.linalg.qr(drawn(9, 3, dtype=torch.float64)).Q
    held = InputColumns(9, basis.device)
    held.add(basis @ drawn(3, count, dtype=torch.float64) + 1e-6 * drawn(9, count, seed=1, dtype=torch.float64))
    found = held.leading(basis.float(), 1.0)
    assert found.shape[1] > 0
    assert float((basis.T @ found).abs().max()) < 1e-6


def test_layers_of_a_silent_network_need_nothing() -> None:
    held = InputColumns(9, torch.device("cpu"))
    held.add(torch.zeros(9, 4))
    assert held.leading(torch.zeros(9, 0), 1.0).shape == (9, 0)


@pytest.mark.parametrize(
    "backbone", [SmallConv((3, 8, 8), 0.25), CifarResNet18((3, 8, 8), 0.0625)], ids=["plain", "residual"]
)
def test_every_layer_is_seen_with_its_input_in_order(backbone: Backbone) -> None:
    net, images = network(backbone, 3), drawn(20, 3, 8, 8).clamp(0, 1)
    order = check_layers(net, images[:2])
    assert order[0] == "layers.0.weight"
    assert set(order) == {name for name, _ in net.backbone.shared_weights()}
    found = inputs_of_layers(net, images)
    assert {name: held.rows for name, held in found.items()} == {
        name: weight[0].numel() for name, weight in net.backbone.shared_weights()
    }


def test_layers_that_do_something_else_with_their_weight_are_found() -> None:
    class Standardised(nn.Conv2d):
        def forward(self, images: Tensor) -> Tensor:
            return self._conv_forward(images, self.weight - self.weight.mean(), self.bias)

    class Aside(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(8, 8)

        def forward(self, features: Tensor) -> Tensor:
            return features @ self.layer.weight

    images = drawn(2, 1, 2, 4).clamp(0, 1)
    with pytest.raises(ValueError, match=r"the layer of layers\.0\.weight does not use its weight as it is"):
        check_layers(network(Backbone([Standardised(1, 2, 1), nn.Flatten()], 16)), images)
    with pytest.raises(ValueError, match=r"do not pass through the layer of layers\.1\.layer\.weight"):
        check_layers(network(Backbone([nn.Flatten(), Aside()], 8)), images)


def test_derivatives_of_inputs_are_what_a_small_step_of_the_images_changes() -> None:
    net = network(CifarResNet18((1, 8, 8), 0.0625)).double()
    images, direction, step = (
        drawn(3, 1, 8, 8, dtype=torch.float64),
        drawn(3, 1, 8, 8, seed=1, dtype=torch.float64),
        1e-7,
    )

    def seen(at: Tensor) -> dict[str, Tensor]:
        found: dict[str, Tensor] = {}
        hooks = [
            module.register_forward_pre_hook(
                lambda layer, given, name=name: found.update({f"{name}.weight": patches(layer, given[0]).clone()})
            )
            for name, module in net.backbone.named_modules()
            if isinstance(module, nn.Conv2d | nn.Linear)
        ]
        with torch.no_grad():
            net(at)
        for hook in hooks:
            hook.remove()
        return found

    before, after = seen(images - step * direction), seen(images + step * direction)
    found = input_derivatives_of_layers(net, images, direction)
    for name, held in found.items():
        change = (after[name] - before[name]) / (2 * step)
        gram = change @ change.T
        directions = held.leading(gram.new_zeros(held.rows, 0), 1 - 1e-9)
        assert float((change - directions @ (directions.T @ change)).norm()) < 1e-3 * float(change.norm()), name
        assert abs(held.energy - float(change.square().sum())) < 1e-4 * held.energy, name


@pytest.mark.parametrize("name", ["test_vit", "test_efficientnet"])
def test_models_of_timm_are_seen_too(name: str) -> None:
    """Attention, whose fused forms know no forward-mode derivatives, and convolutions in groups."""
    pytest.importorskip("timm")
    net, images = network(BackboneChoice(name=f"timm:{name}").build((3, 32, 32)), 3), drawn(2, 3, 32, 32).clamp(0, 1)
    order = check_layers(net, images)
    assert set(order) == {name for name, _ in net.backbone.shared_weights()}
    for found in (inputs_of_layers(net, images), input_derivatives_of_layers(net, images, torch.ones_like(images))):
        assert all(columns.energy > 0 for columns in found.values())
