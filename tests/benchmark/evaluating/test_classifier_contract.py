"""The contract of a classifier as it is held before an attack, and fingerprints of modules that are no plain Python."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from benchmark.evaluating.classifier_contract import BrokenContract, check_classifier
from benchmark.evaluating.fingerprints import classifier_fingerprint


class Writes(nn.Module):
    def __init__(self, change):
        super().__init__()
        self.linear, self.change = nn.Linear(16, 2).eval(), change

    def forward(self, images):
        self.change(images)
        return self.linear(images.flatten(1))


@pytest.mark.parametrize(
    "change",
    [
        lambda images: images.relu_(),
        lambda images: images.data.clamp_(0, 0.5),
        lambda images: images.sub_(0.5),
        lambda images: images.detach().mul_(2),
    ],
)
def test_a_classifier_that_writes_to_its_images_is_refused_and_they_stay(change):
    images = torch.rand(4, 1, 4, 4)
    before = images.clone()
    with pytest.raises(BrokenContract, match=r"writes to the images .* images\.clone\(\)") as broken:
        check_classifier(Writes(change).eval().requires_grad_(False), images, 2)
    assert broken.value.check == "unchanged"
    assert torch.equal(images, before)
    check_classifier(Writes(lambda images: images.clone().mul_(2)).eval().requires_grad_(False), images, 2)


def network(weight: float = 1.0) -> nn.Module:
    torch.manual_seed(0)
    found = nn.Sequential(nn.Conv2d(1, 2, 3, padding=1), nn.Flatten(), nn.Linear(32, 2)).eval().requires_grad_(False)
    found[2].weight.mul_(weight)
    return found


def strided(module: nn.Module) -> nn.Module:
    module[0].padding = (2, 2)
    module[0].dilation = (2, 2)
    return module


MAKERS = {
    "traced": lambda module: torch.jit.trace(module, torch.rand(1, 1, 4, 4)),
    "scripted": torch.jit.script,
    "frozen": lambda module: torch.jit.freeze(torch.jit.trace(module, torch.rand(1, 1, 4, 4))),
    "graph": torch.fx.symbolic_trace,
    "quantised": lambda module: torch.ao.quantization.quantize_dynamic(module, {nn.Linear}, dtype=torch.qint8),
}


@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")
@pytest.mark.parametrize("kind", MAKERS)
def test_scripts_graphs_and_quantised_networks_are_told_by_their_weights_and_their_code(kind):
    make = MAKERS[kind]
    assert classifier_fingerprint(make(network())) == classifier_fingerprint(make(network()))
    assert classifier_fingerprint(make(network())) != classifier_fingerprint(make(network(2.0)))
    assert classifier_fingerprint(make(network())) != classifier_fingerprint(make(strided(network())))
