"""A network that was trained on images of another scale, and handed over without its normalisation, is told from its answers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from attacks.parts.guard import classifier_kept, random_state_kept
from benchmark.evaluating.determinism import full_precision, repeatable
from reports.numbers.statistics.comparisons import significantly_better
from scenarios.base import ImageSet
from scenarios.parts.augmentation import to_float

MOST = 1000
"""Test images that are asked about, all classes in turn."""

ROWS = 100
"""Images that go through the network at once."""

LEVEL = 0.001
"""The p-value below which more images are right in another scale."""

GAIN = 0.05
"""The smallest gain in accuracy that is told."""

IMAGENET = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""Mean and standard deviation per channel that torchvision's and most other published networks expect."""

Scale = Callable[[Tensor], Tensor]


def preprocessing_warnings(
    classifier: nn.Module, tests: Sequence[ImageSet], mean: Sequence[float], std: Sequence[float]
) -> list[str]:
    """A line if a classifier is right about clearly more test images in another scale than [0, 1]: empty or one.

    tests: the test images of its tasks.
    mean, std: of the scenario, per channel, in [0, 1].
    Whatever the classifier does to itself on the way is put back, and a scale in which it fails is none.
    """
    some = [test.select(test.balanced_order()[: MOST // len(tests)]) for test in tests]
    pixels, labels = to_float(torch.cat([test.images for test in some])), torch.cat([test.labels for test in some])
    with torch.inference_mode(False), repeatable(), full_precision(), random_state_kept(), classifier_kept(classifier):
        usual = _right(classifier, pixels, labels)
        found = {}
        for name, scale in scales(mean, std).items():
            right = _right(classifier, scale(pixels), labels)
            if usual is None or right is None or right.mean() - usual.mean() < GAIN:
                continue
            if significantly_better(right, usual) < LEVEL:
                found[name] = float(right.mean())
    if usual is None or not found:
        return []
    name = max(found, key=found.__getitem__)
    return [
        f"preprocessing: its clean accuracy rises from {100 * usual.mean():.1f} to {100 * found[name]:.1f} % if the images are "
        f"{name}; if it was trained on such images, do that in its `forward`: it is asked about images in [0, 1]"
    ]


def scales(mean: Sequence[float], std: Sequence[float]) -> Mapping[str, Scale]:
    """Scales in which networks are trained, by what is done to images in [0, 1]. mean, std: of the scenario, per channel."""
    found: dict[str, Scale] = {
        f"standardised with mean {_listed(mean)} and std {_listed(std)} of the scenario": _standardised(mean, std),
        "scaled to [-1, 1]": lambda images: 2 * images - 1,
        "scaled to [0, 255]": lambda images: 255 * images,
    }
    if len(mean) == len(IMAGENET[0]):
        found[f"standardised with mean {_listed(IMAGENET[0])} and std {_listed(IMAGENET[1])} of ImageNet"] = (
            _standardised(*IMAGENET)
        )
    return found


def _standardised(mean: Sequence[float], std: Sequence[float]) -> Scale:
    def scale(images: Tensor) -> Tensor:
        return (images - images.new_tensor(mean)[:, None, None]) / images.new_tensor(std)[:, None, None]

    return scale


def _listed(values: Sequence[float]) -> str:
    return ", ".join(f"{value:g}" for value in values)


def _right(classifier: nn.Module, images: Tensor, labels: Tensor) -> np.ndarray | None:
    """True where the classifier is right: bool (N,). None if it fails on these images: it is somebody's code."""
    try:
        with torch.no_grad():
            answers = [classifier(some.clone()).argmax(1) for some in images.split(ROWS)]
    except Exception:
        return None
    right: np.ndarray = (torch.cat(answers) == labels).cpu().numpy()
    return right
