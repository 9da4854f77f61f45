"""Bayesian masks over channels (beta-Bernoulli pruning with a Kumaraswamy posterior), and a network that applies them.

Madaan, Shin and Hwang 2020, Adversarial Neural Pruning with Latent Vulnerability Suppression, section 4; after Lee et al. 2019.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from methods.backbones import BatchNorm, TaskNetwork

TEMPERATURE = 0.1
"""Of the relaxed Bernoulli variables."""
PRUNED_BELOW = 1e-3
"""A channel whose mean mask is not above this is zero at test time."""
START_B = 0.5413
"""Its softplus is 1, the b at the start."""
ACTIVATIONS = (nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.SiLU, nn.GELU, nn.Hardswish)
"""The layers whose outputs are latent features."""
_MARGIN = 1e-6
"""Uniform draws and probabilities stay this far from 0 and 1, where their logits are infinite."""


class ChannelMask(nn.Module):
    """A mask over the channels of one layer: pi ~ Kumaraswamy(a, b) per channel, z ~ Bernoulli(pi), relaxed, per image.

    channels: how many.
    start: raw a at the start; a is its softplus.
    """

    def __init__(self, channels: int, start: float) -> None:
        super().__init__()
        self.raw_a = nn.Parameter(torch.full((channels,), start))
        self.raw_b = nn.Parameter(torch.full((channels,), START_B))

    def posterior(self) -> tuple[Tensor, Tensor]:
        """a and b, both (channels,) and above 0."""
        return F.softplus(self.raw_a.clamp(min=-10)), F.softplus(self.raw_b.clamp(-10, 50))

    def mean(self) -> Tensor:
        """E[pi] = b · B(1 + 1/a, b): (channels,) in [0, 1], 0 for channels that are pruned."""
        a, b = self.posterior()
        at = 1 + 1 / a
        mean = torch.exp(b.log() + torch.lgamma(at) + torch.lgamma(b) - torch.lgamma(at + b))
        return torch.where(mean > PRUNED_BELOW, mean, 0.0)

    def kl(self, alpha: float) -> Tensor:
        """KL(Kumaraswamy(a, b) ‖ Beta(alpha, 1)), summed over channels: a scalar (eq. 9)."""
        a, b = self.posterior()
        euler = 0.5772156649015329
        divergence = (1 - alpha / a) * (-euler - torch.digamma(b) - 1 / b) + torch.log(a * b / alpha) - (b - 1) / b
        return divergence.sum()

    def sample(self, images: int, generator: torch.Generator, gain: float | None) -> Tensor:
        """z: float (images, channels) in (0, 1), from one draw of pi for all images.

        images: how many.
        generator: on the parameters' device.
        gain: times which z passes its gradient to the mask's parameters; None: it passes none.
        """
        raw = [self.raw_a, self.raw_b]
        a, b = self.posterior() if gain else (p.detach() for p in self.posterior())
        u = _uniform((len(raw[0]),), raw[0].device, generator)
        pi = torch.exp(torch.log1p(-(u ** (1 / b))) / a).clamp(_MARGIN, 1 - _MARGIN)
        if gain and pi.requires_grad:
            pi.register_hook(lambda gradient: gradient * gain)
        v = _uniform((images, len(pi)), pi.device, generator)
        return torch.sigmoid((torch.logit(v) + torch.logit(pi)) / TEMPERATURE)


def _uniform(shape: tuple[int, ...], device: torch.device, generator: torch.Generator) -> Tensor:
    return torch.rand(shape, device=device, generator=generator).clamp(_MARGIN, 1 - _MARGIN)


class Masks(nn.ModuleDict):
    """The masks of a network: one on each convolution's output, one on the input of each linear layer, the head included.

    Keys are the layers' names in the task network (`backbone.layers.0`, `head`), with dashes for dots, as torch demands.

    conv_start, dense_start: raw a at the start, of masks on convolutions and on linear layers.
    """

    def __init__(self, network: TaskNetwork, conv_start: float, dense_start: float) -> None:
        layers = {name: module for name, module in network.named_modules() if isinstance(module, nn.Conv2d | nn.Linear)}
        super().__init__(
            {
                name.replace(".", "-"): ChannelMask(layer.out_channels, conv_start)
                if isinstance(layer, nn.Conv2d)
                else ChannelMask(layer.in_features, dense_start)
                for name, layer in layers.items()
            }
        )

    def of(self, layer: str) -> ChannelMask:
        """The mask of a layer, by the layer's name."""
        mask = self[layer.replace(".", "-")]
        assert isinstance(mask, ChannelMask)
        return mask

    def by_layer(self) -> Iterator[tuple[str, ChannelMask]]:
        """Layer names and their masks, from the first layer to the head."""
        for name in self:
            layer = name.replace("-", ".")
            yield layer, self.of(layer)

    def kl(self, alpha: float) -> Tensor:
        """The KL divergence summed over all masks: a scalar."""
        return torch.stack([mask.kl(alpha) for _, mask in self.by_layer()]).sum()


class MaskedNetwork(nn.Module):
    """A task's network with masks on its channels.

    dropout: probabilities after each convolution's ReLU, in order; no dropout behind the end of the list.
    generator: of every draw, on the network's device; needed by `sampled` alone.
    """

    def __init__(
        self,
        network: TaskNetwork,
        masks: Masks,
        dropout: tuple[float, ...] = (),
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        self.network, self.masks = network, masks
        self._dropout, self._generator = dropout, generator

    def forward(self, images: Tensor) -> Tensor:
        """Logits (N, classes) of the mean network: deterministic where batch norm is in eval mode."""
        means = {name: mask.mean() for name, mask in self.masks.by_layer()}
        return self.passed(images, means)[0]

    def sampled(self, images: Tensor, gain: float | None = None) -> tuple[Tensor, list[Tensor]]:
        """Logits and latent features of one stochastic pass, with masks and dropout of its own. gain: as `ChannelMask.sample`."""
        assert self._generator is not None
        drawn = {name: mask.sample(len(images), self._generator, gain) for name, mask in self.masks.by_layer()}
        logits, features = self.passed(images, drawn, self._dropout)
        return logits, list(features.values())

    def features(self, images: Tensor) -> dict[str, Tensor]:
        """Latent features of the mean network by name, in the order in which they are made.

        They are the outputs of activations, named by the layer before them, and those of linear layers before their activation.
        """
        means = {name: mask.mean() for name, mask in self.masks.by_layer()}
        return self.passed(images, means)[1]

    def passed(
        self, images: Tensor, masks: dict[str, Tensor], dropout: tuple[float, ...] = ()
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Logits (N, classes), and the latent features by name, of a pass with given masks.

        masks: by layer name, float (channels,) or (N, channels).
        dropout: as of the network.
        """
        network = self.network
        # Past `Backbone.forward`: a folded copy of the layers would know nothing of masks.
        layers = network.backbone.layers
        with _MaskedPass(layers, masks, partial(self._drop, dropout)) as seen:
            x = layers((images - network.mean) / network.std)
        return network.head(x * masks["head"]), seen.features

    def _drop(self, dropout: tuple[float, ...], x: Tensor, place: int) -> Tensor:
        """Dropout on a map of features. place: of the map among all of them."""
        probability = dropout[place] if place < len(dropout) else 0.0
        if probability == 0:
            return x
        drawn = torch.rand(x.shape, device=x.device, generator=self._generator)
        return x * (drawn >= probability) / (1 - probability)

    @torch.no_grad()
    def materialise(self) -> TaskNetwork:
        """The mean network as an ordinary one: eval mode, frozen, a copy.

        A mask on a convolution's output scales the filters, one on a linear layer's input the columns.
        """
        plain = self.network.materialise()
        for name, mask in self.masks.by_layer():
            layer, mean = plain.get_submodule(name), mask.mean()
            assert isinstance(layer, nn.Conv2d | nn.Linear)
            if isinstance(layer, nn.Conv2d):
                layer.weight.mul_(mean[:, None, None, None])
                if layer.bias is not None:
                    layer.bias.mul_(mean)
            else:
                layer.weight.mul_(mean)
        return plain


class _MaskedPass:
    """Hooks on the layers of a backbone while images go through it once.

    They mask convolutions' outputs and linear layers' inputs, whatever the way from one layer to the next, and keep the features.

    layers: of the backbone.
    masks: by layer name, (channels,) or (images, channels).
    drop: dropout on the n-th map behind an activation.
    features: of the pass so far, by name.
    """

    def __init__(self, layers: nn.Module, masks: dict[str, Tensor], drop: Callable[[Tensor, int], Tensor]) -> None:
        self.features: dict[str, Tensor] = {}
        self._layers, self._masks, self._drop = layers, masks, drop
        self._hooks: list[RemovableHandle] = []
        self._in_place: list[nn.Module] = []
        self._last, self._maps = "", 0

    def __enter__(self) -> _MaskedPass:
        for path, module in self._layers.named_modules():
            name = f"backbone.layers.{path}"
            if isinstance(module, nn.Conv2d):
                self._hooks.append(module.register_forward_hook(partial(self._behind_convolution, name)))
            elif isinstance(module, nn.Linear):
                self._hooks.append(module.register_forward_pre_hook(partial(self._before_linear, name)))
                self._hooks.append(module.register_forward_hook(partial(self._behind_linear, name)))
            elif isinstance(module, ACTIVATIONS):
                self._hooks.append(module.register_forward_hook(self._behind_activation))
                if getattr(module, "inplace", False):
                    # Its input is a feature too.
                    module.inplace = False
                    self._in_place.append(module)
        return self

    def __exit__(self, *error: object) -> None:
        for hook in self._hooks:
            hook.remove()
        for module in self._in_place:
            module.inplace = True

    def _mask(self, name: str, images: Tensor) -> Tensor:
        """The mask of a layer. Raises ValueError, one line, if it is drawn per image and `images` are not those, row by row."""
        z = self._masks[name]
        if z.ndim == 2 and len(z) != len(images):
            raise ValueError(f"{name} sees {len(images)} rows of {len(z)} images, so it can have no mask per image")
        return z

    def _behind_convolution(self, name: str, module: nn.Module, given: tuple[Tensor, ...], output: Tensor) -> Tensor:
        self._last = name
        z = self._mask(name, output)
        return output * z.reshape(*z.shape, 1, 1)

    def _before_linear(self, name: str, module: nn.Module, given: tuple[Tensor, ...]) -> Tensor:
        z = self._mask(name, given[0])
        # Transformers have a row of features for each place of an image.
        return given[0] * (z if z.ndim < 2 else z.reshape(len(z), *[1] * (given[0].ndim - 2), -1))

    def _behind_linear(self, name: str, module: nn.Module, given: tuple[Tensor, ...], output: Tensor) -> None:
        self._last = name
        self._keep(f"{name} before ReLU", output)

    def _behind_activation(self, module: nn.Module, given: tuple[Tensor, ...], output: Tensor) -> Tensor:
        self._keep(self._last, output)
        if output.ndim != 4:
            return output
        self._maps += 1
        return self._drop(output, self._maps - 1)

    def _keep(self, name: str, feature: Tensor) -> None:
        again = sum(known == name or known.startswith(f"{name} (") for known in self.features)
        self.features[f"{name} ({again + 1})" if again else name] = feature


def set_batch_norm(network: nn.Module, momentum: float, eps: float) -> None:
    """Set momentum (as torch counts it: the share of the new batch) and eps of every batch norm in the network."""
    for module in network.modules():
        if isinstance(module, BatchNorm):
            module.momentum, module.eps = momentum, eps
