"""Answers to test images beside answers to images of the same kind that a learning method could not know, or could not gain by.

A network that learned from test images, in whatever way, is right about them more often than about others.
"""

from __future__ import annotations

import json
from typing import Any

import torch
from torch import Tensor, nn

from attacks.base import Attack
from attacks.parts.guard import classifier_kept
from attacks.parts.sharing import SharedRun
from attacks.pgd import PGD
from attacks.threat_model import ThreatModel
from benchmark.evaluating.attacking import arithmetic_of, attack_images
from benchmark.evaluating.determinism import full_precision, repeatable
from benchmark.evaluating.settings import Evaluation
from results.schema import UNSEEN
from scenarios.base import ImageSet, Task
from scenarios.parts.augmentation import to_float

MOST = 100
"""Images of each part and task that are asked about, all classes in turn."""


def unseen_attack(attacks: list[Attack], model: ThreatModel) -> Attack:
    """The attack on validation images: the first PGD of `attacks` under `model`, else PGD-10 with steps of eps/4."""
    own = [attack for attack in attacks if type(attack) is PGD and attack.threat_model == model]
    return own[0] if own else PGD(threat_model=model, steps=10, step_size=model.eps / 4)


def ask_unseen(
    classifier: nn.Module, task: Task, attack: Attack, name: str, evaluation: Evaluation
) -> list[dict[str, Any]]:
    """Ask a classifier about validation images, and about fresh copies of test and validation images.

    attack: on the validation images.
    name: of the attack among the stored ones.
    Returns two facts. `validation`: how many of how many validation images are right, clean and at any iterate of the attack,
    and their margins.
    `copies`: for test and validation images, how many that are right become wrong in a copy that is moved by half a pixel.
    Whatever the classifier does to itself on the way is put back.
    """
    validation, test = (_some(part) for part in (task.validation, task.test))
    with repeatable(), full_precision(), classifier_kept(classifier):
        attacked = attack_images(
            arithmetic_of(classifier, validation, evaluation.precision),
            validation,
            SharedRun((attack,)),
            seed=evaluation.seed,
            key=f"validation {task.fingerprint}",
            batch_size=evaluation.batch_size,
        )
        worst = attacked.outcomes[attack].any
        right = (worst.predicted == attacked.labels).sum()
        copies = {part: _lost(classifier, images) for part, images in (("test", test), ("validation", validation))}
    count = len(validation)
    held_out = {"attack": name, "images": count, "clean": copies["validation"][1], "attacked": int(right)}
    held_out["margins"] = [float(f"{margin:.4g}") for margin in worst.margin.tolist()]
    return [
        _fact(task, "validation", float(right) / count, held_out),
        _fact(task, "copies", copies["test"][0] / max(1, copies["test"][1]), copies),
    ]


def _some(images: ImageSet) -> ImageSet:
    return images.select(images.balanced_order()[:MOST])


def _lost(classifier: nn.Module, images: ImageSet) -> tuple[int, int]:
    """The number of images that are right and become wrong in some copy, and the number that are right."""
    pixels = to_float(images.images)
    with torch.no_grad():
        right = classifier(pixels).argmax(1) == images.labels
        still = right.clone()
        for copy in (_moved(pixels, 2), _moved(pixels, 3)):
            still &= classifier(copy).argmax(1) == images.labels
    return int((right & ~still).sum()), int(right.sum())


def _moved(images: Tensor, axis: int) -> Tensor:
    """The images moved by half a pixel along an axis, borders repeated, in whole 255ths: float (N, C, H, W) in [0, 1]."""
    size = images.shape[axis]
    following = images.index_select(axis, torch.arange(1, size + 1, device=images.device).clamp_max(size - 1))
    return ((images + following) * 127.5).round() / 255


def _fact(task: Task, name: str, value: float, told: dict[str, Any]) -> dict[str, Any]:
    return {"task": task.id, "phase": UNSEEN, "name": name, "value": value, "text": json.dumps(told)}
