"""Adversarial images that are kept, and later verified: in the ball, in the box, and still classified wrong."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from attacks.base import margins
from attacks.memory import PROBE_ROWS, rows_that_fit
from attacks.threat_model import ThreatModel
from benchmark.evaluating.attacking import Attacked, AttackOutcomes, subset
from benchmark.evaluating.determinism import full_precision, repeatable
from benchmark.evaluating.fingerprints import classifier_fingerprint
from results.adversarial import AdversarialImages, read_images
from results.files import StoreError
from results.schema import SAFE_MARGIN
from scenarios.base import Task
from scenarios.parts.augmentation import to_float

ROWS = 500
"""Images that are asked about at once, where memory allows."""


def broken_images(outcomes: AttackOutcomes, attacked: Attacked, task: Task, classifier: nn.Module) -> AdversarialImages:
    """The worst images of an attack that are classified wrong, in 8 bits wherever that is enough.

    outcomes: of one attack among `attacked`; its images were asked for.
    """
    assert outcomes.worst is not None, "the images were not asked for"
    test = subset(task.test, attacked.samples.tolist())
    wrong = (outcomes.any.predicted != attacked.labels).nonzero().squeeze(1)
    images, clean = outcomes.worst[wrong].float(), test.images.cpu()[wrong].float()
    # Towards the clean image, whose pixels are whole: a change only gets smaller, so the ball and the box still hold it.
    rounded = (clean + (images * 255 - clean).trunc()) / 255
    margin = margins_of(classifier, rounded, attacked.labels[wrong])
    # In 8 bits only if the image stays wrong by more than rounding.
    in_bytes = margin < -SAFE_MARGIN
    kept = torch.where(in_bytes[:, None, None, None], rounded, images)
    return AdversarialImages(attacked.samples, attacked.samples[wrong], kept, in_bytes)


def margins_of(classifier: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
    """Margins of images as an evaluation computes them: float32 (N,) on the CPU.

    images: float (N, C, H, W) in [0, 1]; labels: int64 (N,), on the CPU.
    """
    return margins(logits_of(classifier, images), labels) if len(images) else torch.empty(0)


def logits_of(classifier: nn.Module, images: Tensor, rows: int | None = None) -> Tensor:
    """Logits of images as an evaluation computes them: float32 (N, classes) on the CPU.

    images: float (N, C, H, W) in [0, 1]; rows: images that go through at once; None: up to `ROWS`, where memory allows.
    """
    device = next((tensor.device for tensor in classifier.state_dict().values()), torch.device("cpu"))
    found = [torch.empty(0, 1)] if not len(images) else []
    with torch.no_grad(), repeatable(), full_precision():
        if len(images) and rows is None:
            rows = rows_that_fit(classifier, images[:PROBE_ROWS].to(device), ROWS)
        for some in images.split(rows or ROWS) if len(images) else ():
            found.append(classifier(some.to(device)).float().cpu())
    return torch.cat(found)


@dataclass(frozen=True, slots=True)
class VerifiedImages:
    """A stored part of adversarial images, verified.

    attack: name of the attack that made them.
    task: id of their task.
    images: how many there are.
    in_bytes: how many of them are in 8 bits.
    problems: one line each; empty if all images are what they are said to be.
    """

    attack: str
    task: int
    images: int
    in_bytes: int
    problems: tuple[str, ...]


def verify_images(path: Path, classifier: nn.Module, task: Task) -> VerifiedImages:
    """Verify stored images against the classifier that they are said to break. Raises StoreError if the file is unreadable."""
    kept, notes = read_images(path)
    try:
        model = ThreatModel(notes["eps"], notes["norm"])  # type: ignore[arg-type]
        attack, fingerprint = notes["attack"], notes["classifier"]
    except (KeyError, ValueError) as error:
        raise StoreError(f"{path}: does not name its attack and classifier ({error})") from None
    known = torch.isin(kept.samples, task.test.samples.cpu())
    if not known.all():
        raise StoreError(f"{path}: sample {int(kept.samples[~known][0])} is not in the test set of task {task.id}")
    order = kept.samples.argsort()
    test = subset(task.test, kept.samples.tolist())
    by_sample = test.samples.cpu().argsort()
    clean, labels = to_float(test.images.cpu()[by_sample]), test.labels.cpu()[by_sample]
    images = kept.images[order]
    problems = []
    if classifier_fingerprint(classifier) != fingerprint:
        problems.append("the classifier is not the one that was attacked")
    if images.shape != clean.shape:
        problems.append(f"images of shape {tuple(images.shape)}, the task's are {tuple(clean.shape)}")
    elif len(images):
        try:
            model.check(images, clean)
        except ValueError as error:
            problems.append(str(error))
        right = int((margins_of(classifier, images, labels) > SAFE_MARGIN).sum())
        if right:
            problems.append(f"{right} of {len(images)} images are classified right")
    return VerifiedImages(attack, task.id, len(images), int(kept.in_bytes.sum()), tuple(problems))
