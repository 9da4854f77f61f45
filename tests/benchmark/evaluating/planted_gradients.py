"""Networks whose gradient is another one than that of their answers, and harmless ones that look like it."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from benchmark.contract.attack_trial import SmoothConv


def network(seed: int = 0) -> nn.Sequential:
    """A small network with steep answers: images (N, 1, 8, 8) to logits (N, 2)."""
    generator = torch.Generator().manual_seed(seed)
    layers = nn.Sequential(
        nn.Conv2d(1, 8, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(8, 8, 3, padding=1),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(512, 2),
    )
    with torch.no_grad():
        for parameter in layers.parameters():
            size = parameter[0].numel() if parameter.ndim > 1 else 100
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * (2 / size) ** 0.5)
    return layers.eval().requires_grad_(False)


class Outside(nn.Module):
    """A network with one function on its images and one on its logits."""

    def __init__(self, inner, before=lambda images: images, after=lambda logits: logits):
        super().__init__()
        self.inner, self.before, self.after = inner, before, after

    def forward(self, images: Tensor) -> Tensor:
        return self.after(self.inner(self.before(images)))


class OtherGradient(nn.Module):
    """The answers of one network with the gradient of another."""

    def __init__(self, answers, gradient):
        super().__init__()
        self.answers, self.gradient = answers, gradient

    def forward(self, images: Tensor) -> Tensor:
        foreign = self.gradient(images)
        return foreign + (self.answers(images) - foreign).detach()


class Mean(nn.Module):
    """The mean of two networks."""

    def __init__(self, first, second):
        super().__init__()
        self.first, self.second = first, second

    def forward(self, images: Tensor) -> Tensor:
        return self.first(images) / 2 + self.second(images) / 2


class InSinglePrecision(nn.Module):
    """A network that refuses float64, and says so."""

    def __init__(self, inner):
        super().__init__()
        self.inner, self.table = inner, torch.ones(1)

    def forward(self, images: Tensor) -> Tensor:
        if images.dtype != torch.float32:
            raise TypeError("images are to be float32")
        return self.inner(images * self.table)


class HonestInDouble(nn.Module):
    """The gradient of another network, unless it is asked in float64."""

    def __init__(self, answers, gradient):
        super().__init__()
        self.answers, self.lying = answers, OtherGradient(answers, gradient)

    def forward(self, images: Tensor) -> Tensor:
        return self.answers(images) if images.dtype == torch.float64 else self.lying(images)


class NoCopy(nn.Module):
    """A network that cannot be copied."""

    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def __deepcopy__(self, memo):
        raise RuntimeError("not to be copied")

    def forward(self, images: Tensor) -> Tensor:
        return self.inner(images)


def half_cut(of: type[nn.Module], share: float = 0.5) -> nn.Module:
    """A network in which a share of what layers of one kind return passes no gradient on."""
    found = copy.deepcopy(network())

    def cut(module, given, out):
        count = int(share * out.shape[1])
        return torch.cat([out[:, :count].detach(), out[:, count:]], 1)

    for module in found.modules():
        if isinstance(module, of):
            module.register_forward_hook(cut)
    return found


def through(rounded):
    """A function of images whose gradient is said to be one."""
    return lambda images: images + (rounded(images) - images).detach()


def to_lattice(images: Tensor) -> Tensor:
    """Undo changes of 51/255 of pixels that are sixteenths, as far as they can be told."""
    candidates = torch.stack([images, images - 0.2, images + 0.2])
    nearest = (candidates * 16).round() / 16
    away = (nearest - candidates).abs() + 9.0 * ((candidates < -1e-3) | (candidates > 1.001)).to(images)
    return nearest.gather(0, away.argmin(0, keepdim=True))[0]


def shattered(images: Tensor) -> Tensor:
    return images + 0.01 * torch.sin(3000 * images)


def by_half(values: Tensor) -> Tensor:
    return values.detach() / 2 + values / 2


def honest():
    return {
        "a network": network(),
        "smooth": SmoothConv(2).eval().requires_grad_(False),
        "logits x1000": Outside(network(), after=lambda logits: 1000 * logits),
        "log-softmax": Outside(network(), after=lambda logits: logits.log_softmax(1)),
        "half of the signal": Outside(network(), before=by_half),
        "nine tenths of the logits stopped": Outside(network(), after=lambda z: 0.9 * z.detach() + 0.1 * z),
        "rounded to 1/255": Outside(network(), before=through(lambda images: (images * 255).round() / 255)),
        "clamped": Outside(network(), before=lambda images: images.clamp(0, 1)),
        "float32 alone": InSinglePrecision(network()),
        "no copy": NoCopy(network()),
    }


def untrue():
    return {
        "a twin": OtherGradient(network(), network(1)),
        "a twin, half of it": OtherGradient(network(), Mean(network(), network(1))),
        "a twin, honest in float64": HonestInDouble(network(), network(1)),
        "a twin, float32 alone": InSinglePrecision(OtherGradient(network(), network(1))),
        "half of the channels": half_cut(nn.Conv2d),
        "a quarter of the channels": half_cut(nn.Conv2d, 0.25),
        "half of the features": half_cut(nn.Flatten),
        "most of the network": OtherGradient(network(), Outside(nn.Sequential(nn.Flatten(), nn.Linear(64, 2)))),
        "all of the gradient": Outside(network(), after=lambda logits: logits.detach()),
        "a tenth of the pixels": Outside(
            network(), before=lambda images: torch.cat([images[:, :, :1].detach(), images[:, :, 1:]], 2)
        ),
        "purified": Outside(network(), before=through(to_lattice)),
        "rounded to eighths": Outside(network(), before=through(lambda images: (images * 8).round() / 8)),
        "shattered": Outside(network(), before=shattered),
        "the other way": Outside(network(), before=lambda images: 2 * images.detach() - images),
    }
