"""A network that was trained under other conventions is told from its answers.

Two are known: images of another scale, where it was handed over without its normalisation; and columns that stand for the classes
in another order, such as the numbers of the data set, where a task has them by the alphabet.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment
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
"""The p-value below which more images are right under another convention."""

GAIN = 0.05
"""The smallest gain in accuracy that is told."""

IMAGENET = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""Mean and standard deviation per channel that torchvision's and most other published networks expect."""

MOST_COLUMNS = 6
"""Columns in another order that are named."""

Scale = Callable[[Tensor], Tensor]


def convention_warnings(
    classifier: nn.Module,
    tests: Sequence[ImageSet],
    mean: Sequence[float],
    std: Sequence[float],
    columns: Sequence[str],
) -> list[str]:
    """A line if a classifier is right about clearly more test images in another scale than [0, 1], or with the classes in another
    order: empty or one, for the one that explains most.

    tests: the test images of its tasks.
    mean, std: of the scenario, per channel, in [0, 1].
    columns: the class that each of its logits stands for.
    Whatever the classifier does to itself on the way is put back, and a scale in which it fails is none.
    """
    some = [test.select(test.balanced_order()[: MOST // len(tests)]) for test in tests]
    pixels, labels = to_float(torch.cat([test.images for test in some])), torch.cat([test.labels for test in some])
    truth = labels.cpu().numpy()
    with torch.inference_mode(False), repeatable(), full_precision(), random_state_kept(), classifier_kept(classifier):
        usual = _answered(classifier, pixels)
        if usual is None:
            return []
        found = []
        for name, scale in scales(mean, std).items():
            answered = _answered(classifier, scale(pixels))
            if answered is not None and _clearly_better(answered == truth, usual == truth):
                found.append(_scale_found(name, answered == truth, usual == truth))
    chosen_by = np.concatenate([np.arange(len(test)) < len(test) // 2 for test in some])
    if (ordered := _order_found(usual, truth, chosen_by, columns)) is not None:
        found.append(ordered)
    return [max(found).line] if found else []


@dataclass(frozen=True, order=True)
class _Convention:
    """A convention under which a classifier is clearly better. accuracy: 0 to 1. line: for the user."""

    accuracy: float
    line: str


def _scale_found(name: str, right: np.ndarray, usual: np.ndarray) -> _Convention:
    line = (
        f"preprocessing: {_rises(right, usual)} if the images are {name}; if it was trained on such images, do that in its "
        "`forward`: it is asked about images in [0, 1]"
    )
    return _Convention(float(right.mean()), line)


def _order_found(
    answered: np.ndarray, labels: np.ndarray, chosen_by: np.ndarray, columns: Sequence[str]
) -> _Convention | None:
    """The order of the columns with which most answers are right; None if they are not clearly more.

    Images of all classes are needed: a network that has forgotten some takes all of their images for others, in any order.

    answered, labels: columns, int (N,).
    chosen_by: True for the images by which the order is chosen, bool (N,); it is judged by the others, because the best of all
        orders fits chance too.
    """
    if len(np.unique(labels)) < len(columns):
        return None
    confusion = np.zeros((len(columns), len(columns)))
    np.add.at(confusion, (answered[chosen_by], labels[chosen_by]), 1)
    # A column that is hardly ever answered stays where it is.
    _, order = linear_sum_assignment(confusion + np.eye(len(columns)) / 2, maximize=True)
    answered, labels = answered[~chosen_by], labels[~chosen_by]
    right, usual = order[answered] == labels, answered == labels
    if not _clearly_better(right, usual):
        return None
    moved = [column for column, meant in enumerate(order) if column != meant]
    more = ", ..." if len(moved) > MOST_COLUMNS else ""
    numbers, meant, expected = (
        ", ".join(map(str, texts[:MOST_COLUMNS])) + more
        for texts in (moved, [columns[order[column]] for column in moved], [columns[column] for column in moved])
    )
    line = (
        f"class order: {_rises(right, usual)} if columns {numbers} stand for {meant}; expected are {expected}: if it was trained "
        "in that order, sort its logits in its `forward`"
    )
    return _Convention(float(right.mean()), line)


def _rises(right: np.ndarray, usual: np.ndarray) -> str:
    return f"its clean accuracy rises from {100 * usual.mean():.1f} to {100 * right.mean():.1f} %"


def _clearly_better(right: np.ndarray, usual: np.ndarray) -> bool:
    """True if more images are right under another convention, by more than a small share and more than chance: bool (N,) each."""
    return bool(right.mean() - usual.mean() >= GAIN and significantly_better(right, usual) < LEVEL)


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


def _answered(classifier: nn.Module, images: Tensor) -> np.ndarray | None:
    """The column of each image's largest logit: int (N,). None if it fails on these images: it is somebody's code."""
    try:
        with torch.no_grad():
            answers = [classifier(some.clone()).argmax(1) for some in images.split(ROWS)]
    except (Exception, SystemExit):
        return None
    answered: np.ndarray = torch.cat(answers).cpu().numpy()
    return answered
