"""Bayesian channel masks against closed forms and numerical integration, and the network that applies them."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy import integrate, stats
from torch import Tensor, nn

from methods.backbones import VGG16BN, MultiHead, SmallConv, initialise
from methods.parts.stochastic_masks import START_B, ChannelMask, MaskedNetwork, Masks

SHAPES = [(0.3, 1.0), (2.0, 1.0), (2.0, 5.0), (0.7, 0.4), (8.0, 2.5)]


def raw(value: float) -> float:
    """The inverse of softplus."""
    return math.log(math.expm1(value))


def mask(a: float, b: float, channels: int = 1) -> ChannelMask:
    found = ChannelMask(channels, raw(a)).double()
    with torch.no_grad():
        found.raw_b.fill_(raw(b))
    return found


def density(x: float, a: float, b: float) -> float:
    return a * b * x ** (a - 1) * (1 - x**a) ** (b - 1)


def tiny() -> MaskedNetwork:
    multi = MultiHead(SmallConv((1, 8, 8), 0.25), (2,), (0.3,), (0.4,))
    initialise(multi, torch.Generator().manual_seed(0))
    network = multi.for_task(0)
    masked = MaskedNetwork(network, Masks(network, 1.0, 0.5), generator=torch.Generator().manual_seed(1))
    # Batch norm that does something, and masks that differ from channel to channel.
    masked.train()
    masked.network(torch.rand(64, 1, 8, 8))
    generator = torch.Generator().manual_seed(2)
    for _, one in masked.masks.by_layer():
        with torch.no_grad():
            one.raw_a.add_(torch.randn(one.raw_a.shape, generator=generator))
            one.raw_b.add_(torch.randn(one.raw_b.shape, generator=generator))
    return masked


@pytest.mark.parametrize(("a", "b"), SHAPES)
def test_the_mean_of_the_posterior_is_the_integral_of_its_density(a: float, b: float) -> None:
    expected, _ = integrate.quad(lambda x: x * density(x, a, b), 0, 1)
    assert float(mask(a, b).mean()[0]) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("alpha", [1e-4, 0.5])
@pytest.mark.parametrize(("a", "b"), SHAPES)
def test_the_divergence_from_the_prior_is_the_integral_that_defines_it(a: float, b: float, alpha: float) -> None:
    def integrand(t: float) -> float:
        # In t = x^a the density has no pole at 0 that quadrature would miss.
        x = t ** (1 / a)
        log_q = math.log(a * b) + (a - 1) * math.log(x) + (b - 1) * math.log1p(-t)
        log_p = math.log(alpha) + (alpha - 1) * math.log(x)
        return b * (1 - t) ** (b - 1) * (log_q - log_p)

    expected, _ = integrate.quad(integrand, 0, 1, limit=500)
    assert float(mask(a, b, 3).kl(alpha)) == pytest.approx(3 * expected, rel=1e-4)


def test_a_mask_starts_at_b_of_one() -> None:
    assert float(ChannelMask(1, 2.0).posterior()[1]) == pytest.approx(1.0, abs=1e-4)
    assert torch.nn.functional.softplus(torch.tensor(START_B)).item() == pytest.approx(1.0, abs=1e-4)


def test_a_channel_whose_mean_is_hardly_above_zero_is_zero() -> None:
    assert float(mask(1e-3, 1.0).mean()[0]) == 0.0
    assert float(mask(2e-3, 1.0).mean()[0]) > 0.0


def draws(a: float, b: float, passes: int, images: int) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    one = mask(a, b)
    return torch.stack([one.sample(images, generator, None)[:, 0] for _ in range(passes)])


def test_half_of_the_draws_are_above_one_half_as_often_as_the_posterior_says() -> None:
    # z > 1/2 exactly where logit u' > -logit pi, so its probability is E[pi].
    z = draws(2.0, 3.0, passes=4000, images=1).flatten()
    expected = float(mask(2.0, 3.0).mean()[0])
    error = 4 * math.sqrt(expected * (1 - expected) / len(z))
    assert float((z > 0.5).double().mean()) == pytest.approx(expected, abs=error)
    assert float(((z < 0.05) | (z > 0.95)).double().mean()) > 0.8, "nearly binary at temperature 0.1"


def test_pi_is_drawn_once_for_a_pass_and_z_for_every_image() -> None:
    z = draws(0.5, 0.5, passes=400, images=50) > 0.5
    shares = z.double().mean(1).numpy()
    # Images of a pass share a pi that is Kumaraswamy(1/2, 1/2), so shares spread as that does and not as a binomial.
    binomial = stats.binom(50, shares.mean()).std() / 50
    assert np.std(shares) > 3 * binomial
    assert not bool((z == z[:, :1]).all())


@pytest.mark.parametrize("gain", [None, 1.0, 1.5])
def test_a_sample_passes_as_much_gradient_as_it_is_told(gain: float | None) -> None:
    one = mask(0.9, 1.2, 4)
    z = one.sample(6, torch.Generator().manual_seed(3), gain)
    if gain is None:
        assert not z.requires_grad
        return
    z.sum().backward()
    assert one.raw_a.grad is not None
    found = one.raw_a.grad.clone()
    one.zero_grad()
    one.sample(6, torch.Generator().manual_seed(3), 1.0).sum().backward()
    assert torch.allclose(found, gain * one.raw_a.grad)


def test_masks_stand_on_the_outputs_of_convolutions_and_the_inputs_of_linear_layers() -> None:
    network = MultiHead(VGG16BN((3, 32, 32), 0.05), (5,), (0.5,) * 3, (0.2,) * 3).for_task(0)
    masks = dict(Masks(network, 2.0, -1.0).by_layer())
    convolutions = [name for name, m in network.named_modules() if isinstance(m, nn.Conv2d)]
    linear = [name for name, m in network.named_modules() if isinstance(m, nn.Linear)]
    assert (len(convolutions), len(linear)) == (13, 3)
    assert list(masks) == [*convolutions, *linear]
    for name in convolutions:
        assert len(masks[name].raw_a) == network.get_submodule(name).out_channels
        assert float(masks[name].raw_a[0]) == 2.0
    for name in linear:
        assert len(masks[name].raw_a) == network.get_submodule(name).in_features
        assert float(masks[name].raw_a[0]) == -1.0


def test_the_mean_network_made_plain_says_the_same_without_any_mask() -> None:
    masked, images = tiny().eval(), torch.rand(20, 1, 8, 8)
    plain = masked.materialise()
    assert type(plain) is type(masked.network)
    assert torch.allclose(plain(images), masked(images), atol=1e-5)
    assert not any(p.requires_grad for p in plain.parameters())
    assert not any(m.training for m in plain.modules())
    assert not torch.allclose(plain(images), masked.network.eval()(images), atol=1e-3), "the masks do something"


def test_a_pruned_channel_is_gone_from_the_plain_network() -> None:
    masked = tiny()
    first = masked.masks.of("backbone.layers.0")
    with torch.no_grad():
        first.raw_a[2] = -10.0
    assert bool((masked.materialise().get_submodule("backbone.layers.0").weight[2] == 0).all())


def test_features_are_maps_after_relu_before_pooling_and_linear_layers_before_and_after_it() -> None:
    vgg = MultiHead(VGG16BN((3, 32, 32), 0.05), (5,), (0.5,) * 3, (0.2,) * 3).for_task(0)
    masked = MaskedNetwork(vgg, Masks(vgg, 2.0, 2.0)).eval()
    found = masked.features(torch.rand(2, 3, 32, 32))
    features = list(found.values())
    linear = [name for name, module in vgg.backbone.named_modules(prefix="backbone") if isinstance(module, nn.Linear)]
    assert len(found) == 13 + 2 * 2
    assert list(found)[13:] == [each for name in linear for each in (f"{name} before ReLU", name)]
    assert [tuple(f.shape[2:]) for f in features[:3]] == [(32, 32), (32, 32), (16, 16)]
    assert all(float(f.min()) >= 0 for f in features[:13])
    before, after = features[13:15]
    assert torch.equal(after, before.relu())
    assert float(before.min()) < 0, "kept as it was before ReLU"


def test_dropout_is_of_the_generator_and_of_the_layers_it_is_asked_for() -> None:
    masked = tiny().eval()
    masked._dropout = (0.0, 0.5)
    with torch.no_grad():
        for _, one in masked.masks.by_layer():
            # Masks that are all but certain: what is zero then is dropout's.
            one.raw_a.fill_(1e4)
    masked._generator = torch.Generator().manual_seed(1)
    torch.manual_seed(5)
    first = masked.sampled(torch.ones(8, 1, 8, 8))[0]
    masked._generator = torch.Generator().manual_seed(1)
    torch.manual_seed(6)
    assert torch.equal(first, masked.sampled(torch.ones(8, 1, 8, 8))[0])
    x = torch.rand(1000)
    dropped = masked._drop((0.4,), x, 0)
    assert float((dropped == 0).double().mean()) == pytest.approx(0.4, abs=0.06)
    assert torch.allclose(dropped[dropped != 0], x[dropped != 0] / 0.6)
