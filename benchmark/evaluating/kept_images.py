"""Keeping the images that broke a classifier, and checking them again: in the ball, in the box, and still wrong."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from attacks.base import margins
from attacks.threat_model import ThreatModel
from benchmark.evaluating.determinism import full_precision, repeatable
from benchmark.evaluating.evaluation import AttackScore, Measured, subset
from benchmark.evaluating.fingerprints import classifier_fingerprint
from results.adversarial import AdversarialImages, read_images
from results.files import StoreError
from scenarios.base import ImageSet, Task
from scenarios.parts.augmentation import to_float

SAFE_MARGIN = 1e-3
"""An image in 8 bits counts as still wrong below minus this: another batch or device rounds logits by less."""


def broken_images(scored: AttackScore, measured: Measured, test: ImageSet, classifier: nn.Module) -> AdversarialImages:
    """The images of `scored.worst` that are classified wrong, in 8 bits wherever that is enough.

    test: the unchanged images, of the samples of `measured` in their order.
    """
    assert scored.worst is not None, "the images were not asked for"
    wrong = (scored.any.predicted != measured.labels).nonzero().squeeze(1)
    images, clean = scored.worst[wrong].float(), test.images.cpu()[wrong].float()
    # Towards the clean image, whose pixels are whole: a change only gets smaller, so the ball and the box still hold it.
    rounded = (clean + (images * 255 - clean).trunc()) / 255
    margin = margins_of(classifier, rounded, measured.labels[wrong])
    in_bytes = margin < -SAFE_MARGIN
    kept = torch.where(in_bytes[:, None, None, None], rounded, images)
    return AdversarialImages(measured.samples, measured.samples[wrong], kept, in_bytes)


def margins_of(classifier: nn.Module, images: Tensor, labels: Tensor, rows: int = 500) -> Tensor:
    """Margins float32 (N,) of images on the CPU, as an evaluation computes them."""
    device = next((tensor.device for tensor in classifier.state_dict().values()), torch.device("cpu"))
    found = [torch.empty(0)]
    with torch.no_grad(), repeatable(), full_precision():
        for some, theirs in zip(images.split(rows), labels.split(rows), strict=True):
            found.append(margins(classifier(some.to(device)), theirs.to(device)).cpu())
    return torch.cat(found)


@dataclass(frozen=True, slots=True)
class Rechecked:
    """What one stored part turned out to hold. problems: one line each, empty if all of it is true."""

    attack: str
    task: int
    images: int
    in_bytes: int
    problems: tuple[str, ...]


def recheck(path: Path, classifier: nn.Module, task: Task) -> Rechecked:
    """Check stored images against the classifier they are said to break. Raises StoreError for a file that cannot be read."""
    kept, notes = read_images(path)
    try:
        model = ThreatModel(notes["eps"], notes["norm"])  # type: ignore[arg-type]
        attack, fingerprint = notes["attack"], notes["classifier"]
    except (KeyError, ValueError) as error:
        raise StoreError(f"{path}: does not say what it is of ({error})") from None
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
    return Rechecked(attack, task.id, len(images), int(kept.in_bytes.sum()), tuple(problems))
