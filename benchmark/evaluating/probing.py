"""Probes of a classifier, a few forward passes each: is its answer the same twice, alone, and in another batch?"""

from __future__ import annotations

import json
from typing import Any

import torch
from torch import Tensor, nn

from attacks.parts.guard import classifier_kept
from attacks.victim import checked_logits
from benchmark.evaluating.attacking import subset
from benchmark.evaluating.determinism import full_precision, repeatable
from results.schema import PROBES, SAFE_MARGIN
from scenarios.base import Task
from scenarios.parts.augmentation import to_float

IMAGES = 32
"""Test images of each task that are probed, all classes in turn."""


def probe(classifier: nn.Module, task: Task) -> list[dict[str, Any]]:
    """Probe a classifier on its task's test images; whatever it does to itself on the way is put back.

    Returns two facts. `repeat_difference`: how far logits differ between two passes. `batch_difference`: how far they differ
    between an image in a batch, the image alone, and the image in another order among other images. Differences are in units of
    the largest logit. The text of each fact names samples whose predicted class changed by more than rounding.
    Raises AttackError if an answer is not a row of logits per image.
    """
    order = task.test.samples[task.test.balanced_order()]
    asked, others = (subset(task.test, part.tolist()) for part in (order[:IMAGES], order[IMAGES : 2 * IMAGES]))
    images, company = to_float(asked.images), to_float(others.images)
    samples = asked.samples.cpu()
    with torch.no_grad(), repeatable(), full_precision(), classifier_kept(classifier):
        # Each answer is looked at: a classifier that squeezes its output answers one image in another shape than many.
        first, second = (checked_logits(classifier, images, 0) for _ in range(2))
        alone = torch.cat([checked_logits(classifier, image, 0) for image in images.split(1)])
        among = checked_logits(classifier, torch.cat([company, images.flip(0)]), 0)[len(company) :].flip(0)
    return [
        _fact(task, "repeat_difference", first, [second], samples),
        _fact(task, "batch_difference", first, [alone, among], samples),
    ]


def _fact(task: Task, name: str, usual: Tensor, others: list[Tensor], samples: Tensor) -> dict[str, Any]:
    scale = usual.abs().amax().clamp_min(torch.finfo(usual.dtype).tiny)
    difference = max(float((other - usual).abs().amax() / scale) for other in others)
    flips = torch.stack([_flipped(usual, other) for other in others]).any(0).cpu()
    text = json.dumps({"images": len(samples), "flips": samples[flips].tolist()})
    # NaN is no small difference: it is stored as missing, and read as infinite.
    value = difference if difference == difference else None
    return {"task": task.id, "phase": PROBES, "name": name, "value": value, "text": text}


def _flipped(first: Tensor, second: Tensor) -> Tensor:
    """True where the predicted class differs although the two largest logits are further apart than rounding: bool (N,)."""
    largest = torch.stack([logits.topk(2, 1).values for logits in (first, second)])
    margin = (largest[..., 0] - largest[..., 1]).amax(0)
    return (first.argmax(1) != second.argmax(1)) & (margin > SAFE_MARGIN)
