"""Questions to a classifier that take a few forward passes: does it answer the same twice, alone, and in other company?"""

from __future__ import annotations

import json
from typing import Any

import torch
from torch import Tensor, nn

from attacks.parts.guard import classifier_kept
from benchmark.evaluating.determinism import full_precision, repeatable
from benchmark.evaluating.evaluation import subset
from results.schema import PROBES, SAFE_MARGIN
from scenarios.base import Task
from scenarios.parts.augmentation import to_float

IMAGES = 32
"""Test images of each task that are asked about, as many of each class as there are."""


def probe(classifier: nn.Module, task: Task) -> list[dict[str, Any]]:
    """Facts of one classifier: how far its logits differ between two passes, and between an image alone, in a batch, and in
    another order among other images. In units of the largest logit; the text names samples whose predicted class changed by
    more than rounding. Whatever the classifier does to itself on the way is put back.
    """
    order = task.test.samples[task.test.balanced_order()]
    asked, others = (subset(task.test, part.tolist()) for part in (order[:IMAGES], order[IMAGES : 2 * IMAGES]))
    images, company = to_float(asked.images), to_float(others.images)
    samples = asked.samples.cpu()
    with torch.no_grad(), repeatable(), full_precision(), classifier_kept(classifier):
        first = classifier(images)
        second = classifier(images)
        alone = torch.cat([classifier(image) for image in images.split(1)])
        among = classifier(torch.cat([company, images.flip(0)]))[len(company) :].flip(0)
    return [
        _fact(task, "repeat_difference", first, [second], samples),
        _fact(task, "batch_difference", first, [alone, among], samples),
    ]


def _fact(task: Task, name: str, usual: Tensor, others: list[Tensor], samples: Tensor) -> dict[str, Any]:
    scale = usual.abs().amax().clamp_min(torch.finfo(usual.dtype).tiny)
    difference = max(float((other - usual).abs().amax() / scale) for other in others)
    flips = torch.stack([_flipped(usual, other) for other in others]).any(0).cpu()
    text = json.dumps({"images": len(samples), "flips": samples[flips].tolist()})
    # A difference that is not a number is no small one: it is stored as missing, and read as infinite.
    value = difference if difference == difference else None
    return {"task": task.id, "phase": PROBES, "name": name, "value": value, "text": text}


def _flipped(first: Tensor, second: Tensor) -> Tensor:
    """Where the predicted class differs though the margin between the two largest logits is no matter of rounding: bool (N,)."""
    largest = torch.stack([logits.topk(2, 1).values for logits in (first, second)])
    margin = (largest[..., 0] - largest[..., 1]).amax(0)
    return (first.argmax(1) != second.argmax(1)) & (margin > SAFE_MARGIN)
