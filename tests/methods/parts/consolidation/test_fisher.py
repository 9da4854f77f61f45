"""The Fisher information is that of a loop over single images, and of the closed form where there is one."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from methods.parts.consolidation import fisher
from methods.parts.consolidation.fisher import FisherLabels, fisher_information
from tests.methods.training.training_cases import network, same

KINDS: tuple[FisherLabels, ...] = ("sampled", "exact", "true")


def data(count: int = 10) -> tuple[Tensor, Tensor]:
    return torch.rand(count, 1, 8, 8, generator=torch.Generator().manual_seed(1)), torch.arange(count) % 2


def by_loop(net: nn.Module, images: Tensor, labels: Tensor, kind: FisherLabels) -> dict[str, Tensor]:
    """The mean of squared gradients, image by image, by ordinary autograd."""
    predicted = net(images).softmax(1).detach()
    drawn = torch.multinomial(predicted, 1, generator=torch.Generator().manual_seed(3))[:, 0]
    total = {name: torch.zeros_like(p) for name, p in net.named_parameters()}
    for image, label, other, probabilities in zip(images, labels, drawn, predicted, strict=True):
        asked = {"true": [(label, 1.0)], "sampled": [(other, 1.0)], "exact": list(enumerate(probabilities))}[kind]
        for answer, weight in asked:
            log = F.log_softmax(net(image[None]), 1)[0, int(answer)]
            gradients = torch.autograd.grad(log, list(net.parameters()))
            for name, gradient in zip(total, gradients, strict=True):
                total[name] += weight * gradient.square()
    return {name: tensor.detach() / len(images) for name, tensor in total.items()}


@pytest.mark.parametrize("kind", KINDS)
def test_it_is_that_of_a_loop_over_single_images(kind: FisherLabels) -> None:
    net, (images, labels) = network().eval(), data()
    names = [name for name, _ in net.named_parameters()]
    found = fisher_information(net, names, images, labels, kind, torch.Generator().manual_seed(3))
    expected = by_loop(net, images, labels, kind)
    assert found.keys() == expected.keys()
    for name, tensor in found.items():
        torch.testing.assert_close(tensor, expected[name], rtol=1e-3, atol=1e-9)
        assert bool(tensor.any()), name
        assert bool((tensor >= 0).all())


def test_of_a_linear_model_it_is_the_closed_form() -> None:
    net, (images, labels) = nn.Sequential(nn.Flatten(), nn.Linear(64, 3)).eval(), data()
    found = fisher_information(net, ["1.weight", "1.bias"], images, labels, "exact", torch.Generator())
    p = net(images).softmax(1).detach()
    variance = p * (1 - p)
    torch.testing.assert_close(found["1.weight"], variance.T @ images.flatten(1).square() / len(images))
    torch.testing.assert_close(found["1.bias"], variance.mean(0))


def test_how_many_images_go_at_once_does_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    net, (images, labels) = network().eval(), data()
    names = [name for name, _ in net.named_parameters()]
    whole = fisher_information(net, names, images, labels, "exact", torch.Generator())
    monkeypatch.setattr(fisher, "MOST_ROWS", 3)
    parts = fisher_information(net, names, images, labels, "exact", torch.Generator())
    torch.testing.assert_close(parts, whole, rtol=1e-4, atol=1e-9)


@pytest.mark.parametrize("kind", KINDS)
def test_the_network_and_its_gradients_stay_as_they_were(kind: FisherLabels) -> None:
    net, (images, labels) = network().eval(), data()
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    fisher_information(net, ["head.weight"], images, labels, kind, torch.Generator())
    assert same(net, before)
    assert all(parameter.grad is None and parameter.requires_grad for parameter in net.parameters())
