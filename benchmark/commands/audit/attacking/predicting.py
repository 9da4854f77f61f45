"""The predictions of a classifier under an audited attack. The classifier stays as it was."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor, nn

from attacks.memory import PROBE_ROWS, rows_that_fit
from attacks.starts import Starts
from benchmark.commands.audit.attacking.cells import AuditAttack
from benchmark.commands.audit.learning.audited_network import normalisation_of
from benchmark.commands.audit.pgd import Walk, walk
from reports.audit.small_tables import BATCH as THESIS_BATCH
from reports.numbers.metrics import CLEAN
from scenarios.base import ImageSet
from scenarios.parts.augmentation import to_float


def chosen_images(test: ImageSet, samples: int) -> ImageSet:
    """The first `samples` images with the classes in turn, as every attack on a part of a test set has them; sorted by class."""
    return test.select(test.balanced_order()[:samples].sort().values)


def predictions_under(
    attack: AuditAttack,
    classifier: nn.Module,
    test: ImageSet,
    seed: int,
    key: str,
    batch: int,
    source: nn.Module | None = None,
) -> np.ndarray:
    """Attack a classifier, and classify the images that the attack made: int (N,), in the order of `test`.

    test: sorted by class.
    seed, key: of the starts.
    batch: images at once, at most.
    source: the network that images are made on; None for the classifier itself.

    In train mode batches are of one class, and every batch leaves its mark on the running statistics of a copy, which the
    attack on the next one (in eval mode) sees, as in the published evaluation.
    """
    if attack.bn_mode == "eval":
        rows = rows_that_fit(source or classifier, to_float(test.images[:PROBE_ROWS]), batch)
        victim, parts = classifier, list(torch.arange(len(test), device=test.labels.device).split(rows))
    else:
        victim, parts = copy.deepcopy(classifier), list(_of_one_class(test.labels))
    predicted = []
    for index in parts:
        images, labels = to_float(test.images[index]), test.labels[index]
        noise = Starts(seed, key, test.samples[index]).uniform(images.shape).to(images)
        found = None if attack.loss == CLEAN else _walk(attack, source or victim, images, labels, noise)
        if found is not None and source is None and attack.bn_mode == "eval":
            # The attack's own predictions: another pass could differ in the last bit.
            predicted.append((found.any if attack.reads == "any" else found.final).predicted.cpu())
            continue
        shown = images if found is None else found.worst if attack.reads == "any" else found.last
        victim.train(attack.bn_mode == "train")
        with torch.no_grad():
            predicted.append(victim(shown).argmax(1).cpu())
        victim.eval()
    return torch.cat(predicted).numpy()


def _walk(attack: AuditAttack, network: nn.Module, images: Tensor, labels: Tensor, noise: Tensor) -> Walk:
    assert attack.geometry is not None
    normalisation = normalisation_of(network)
    return walk(network, images, labels, noise, attack.geometry, normalisation, steps=attack.steps, loss=attack.loss)


def _of_one_class(labels: Tensor) -> Iterator[Tensor]:
    """Indices of batches of one class, of the thesis' batch size at most."""
    for label in labels.unique().tolist():
        members = (labels == label).nonzero().squeeze(1)
        # Of nearly one size, because batch statistics of a left-over image or two are none.
        yield from members.tensor_split(math.ceil(len(members) / THESIS_BATCH))
