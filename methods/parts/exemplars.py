"""Exemplars: images that stand for a class, and the classifier that goes by their mean (Rebuffi et al. 2017)."""

from __future__ import annotations

import copy

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from methods.backbones import Backbone, MultiHead
from methods.parts.image_memory import KeptImages
from scenarios.parts.augmentation import Size

BATCH = 256
"""Images that go through a network at once where no gradient is taken."""


@torch.no_grad()
def features_of(network: MultiHead, images: KeptImages, size: Size) -> Tensor:
    """Features of length 1 of images as they are, float32 (M, features).

    network: its batch norm is used as in eval mode, and is in that mode afterwards.
    size: (height, width) of what it sees.
    """
    network.eval()
    found = []
    for places in torch.arange(len(images), device=images.labels.device).split(BATCH):
        seen = images.select(places).as_seen(size)
        found.append(F.normalize(network.backbone((seen - network.mean) / network.std)))
    return torch.cat(found)


def herded(features: Tensor, count: int) -> Tensor:
    """Places of the images whose mean is closest to that of all, one after another: int64 (at most `count`,).

    Every next one is that which brings the mean of those so far closest to the mean of all (algorithm 4). So the first few of
    them are what as few would have been.

    features: float (N, F), of the images of one class.
    """
    mean, total = features.mean(0), torch.zeros_like(features[0])
    taken = torch.zeros(len(features), dtype=torch.bool, device=features.device)
    order = []
    for number in range(1, min(count, len(features)) + 1):
        distance = (mean - (total + features) / number).square().sum(1).masked_fill(taken, torch.inf)
        place = distance.argmin()
        taken[place] = True
        total = total + features[place]
        order.append(place)
    return torch.stack(order)


def class_means(features: Tensor, labels: Tensor, classes: int) -> Tensor:
    """The mean of each class' features, of length 1: float (classes, F).

    features: float (M, F), of length 1, at least one of each class.
    labels: int64 (M,).
    """
    return F.normalize(torch.stack([features[labels == label].mean(0) for label in range(classes)]))


class NearestMean(nn.Module):
    """Classifies an image by the mean whose direction is nearest to that of its features: a nearest-mean-of-exemplars classifier.

    Images float (N, C, H, W) in [0, 1] → logits (N, classes), minus the squared distance of two vectors of length 1, so -4 to 0.

    means: float (classes, features), of length 1.
    """

    mean: Tensor
    std: Tensor
    means: Tensor

    def __init__(self, network: MultiHead, means: Tensor) -> None:
        super().__init__()
        self.backbone: Backbone = copy.deepcopy(network.backbone)
        for name, tensor in (("mean", network.mean), ("std", network.std), ("means", means)):
            self.register_buffer(name, tensor.detach().clone())
        self.eval().requires_grad_(False)

    def forward(self, images: Tensor) -> Tensor:
        features = F.normalize(self.backbone((images - self.mean) / self.std))
        return 2 * F.linear(features, self.means) - 2
