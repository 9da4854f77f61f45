"""The predictions of a classifier under an audited attack. The classifier stays as it was."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor, nn

from attacks.base import Outcome
from attacks.memory import PROBE_ROWS, rows_that_fit
from attacks.starts import Starts
from benchmark.commands.audit.attacking.cells import AuditAttack
from benchmark.commands.audit.learning.audited_network import normalisation_of
from benchmark.commands.audit.pgd import Walk, walk
from benchmark.commands.audit.switches import TASK_BATCH
from benchmark.errors import ConfigError
from methods.backbones.base import BatchNorm
from reports.audit.small_tables import BATCH as THESIS_BATCH
from reports.numbers.metrics import CLEAN
from scenarios.base import ImageSet
from scenarios.parts.augmentation import to_float

SURVIVORS = 250
"""Images in a batch of AutoAttack's own code at most, all of them still right (`run_standard_evaluation`, `bs=250`)."""


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
    batch: images at once, at most; where all images must be one batch, they are.
    source: the network that images are made on; None for the classifier itself.

    In train mode batches are of one class, and every batch leaves its mark on the running statistics of a copy, which the
    attack on the next one (in eval mode) sees, as in the published evaluation. Raises ConfigError if all images must be one
    batch and memory is short.
    """
    starts = Starts(seed, key, test.samples)
    if attack.in_turn:
        return _answered_anew(attack, _victim(attack, classifier, test), test, starts)
    if attack.bn_mode == "train":
        return _in_train_mode(attack, copy.deepcopy(classifier), test, starts, source)
    victim = _victim(attack, classifier, test)
    rows = len(test)
    if attack.bn_mode != TASK_BATCH:
        rows = rows_that_fit(source or classifier, to_float(test.images[:PROBE_ROWS]), batch)
    predicted = []
    for index in torch.arange(len(test), device=test.labels.device).split(rows):
        images, labels = to_float(test.images[index]), test.labels[index]
        if attack.loss == CLEAN:
            predicted.append(_answers(victim, images))
            continue
        found = _walk(attack, source or victim, images, labels, starts.select(index))
        # The attack's own predictions where it attacked this network: another pass could differ in the last bit.
        own = _reached(attack, found)
        predicted.append(own[0].predicted if source is None else _answers(victim, own[1]))
    return torch.cat(predicted).cpu().numpy()


def _victim(attack: AuditAttack, classifier: nn.Module, test: ImageSet) -> nn.Module:
    """The classifier, or a copy whose batch norms take their statistics from the batch.

    Raises ConfigError if the images must be one batch, and memory is short for it.
    """
    if attack.bn_mode == TASK_BATCH or attack.in_turn:
        fit = rows_that_fit(classifier, to_float(test.images[:PROBE_ROWS]), len(test))
        if fit < len(test):
            raise ConfigError(
                f"the {len(test)} test images of a task must be one batch here, and memory has room for {fit}: "
                f"give --samples {fit} or fewer"
            )
    if attack.bn_mode != TASK_BATCH:
        return classifier
    victim = copy.deepcopy(classifier)
    for module in victim.modules():
        if isinstance(module, BatchNorm):
            module.train()
    return victim


def _in_train_mode(
    attack: AuditAttack, victim: nn.Module, test: ImageSet, starts: Starts, source: nn.Module | None
) -> np.ndarray:
    predicted = []
    for index in _of_one_class(test.labels):
        images, labels = to_float(test.images[index]), test.labels[index]
        if attack.loss != CLEAN:
            images = _reached(attack, _walk(attack, source or victim, images, labels, starts.select(index)))[1]
        victim.train()
        predicted.append(_answers(victim, images))
        victim.eval()
    return torch.cat(predicted).cpu().numpy()


def _answered_anew(attack: AuditAttack, victim: nn.Module, test: ImageSet, starts: Starts) -> np.ndarray:
    """The attacks in turn, each on the images that none before has broken, and then one pass over what they left of all images.

    An image is broken in the batch of those that were still right with it. One that nothing broke is shown as it was.
    """
    shown, labels = to_float(test.images), test.labels
    clean = torch.arange(len(test), device=labels.device)
    standing = torch.cat([_answers(victim, shown[index]) for index in _evenly(clean)]) == labels
    for part in attack.in_turn:
        for index in _evenly(standing.nonzero().squeeze(1)):
            if part.bn_mode == TASK_BATCH and len(index) == 1:
                # The last one standing has no batch to take statistics from.
                continue
            found = _walk(part, victim, to_float(test.images[index]), labels[index], starts.select(index))
            outcome, points = _reached(part, found)
            broken = outcome.predicted != labels[index]
            shown[index[broken]] = points[broken]
            standing[index[broken]] = False
    return _answers(victim, shown).cpu().numpy()


def _answers(network: nn.Module, images: Tensor) -> Tensor:
    """The predicted classes: int64 (N,)."""
    with torch.no_grad():
        return network(images).argmax(1)


def _reached(attack: AuditAttack, found: Walk) -> tuple[Outcome, Tensor]:
    """The outcome that counts, and the images of it."""
    return (found.any, found.worst) if attack.reads == "any" else (found.final, found.last)


def _walk(attack: AuditAttack, network: nn.Module, images: Tensor, labels: Tensor, starts: Starts) -> Walk:
    assert attack.geometry is not None
    noise = starts.uniform(images.shape).to(images)
    normalisation = normalisation_of(network)
    return walk(network, images, labels, noise, attack.geometry, normalisation, steps=attack.steps, loss=attack.loss)


def _of_one_class(labels: Tensor) -> Iterator[Tensor]:
    """Indices of batches of one class, of the thesis' batch size at most."""
    for label in labels.unique().tolist():
        members = (labels == label).nonzero().squeeze(1)
        # Of nearly one size, because batch statistics of a left-over image or two are none.
        yield from members.tensor_split(math.ceil(len(members) / THESIS_BATCH))


def _evenly(index: Tensor) -> Iterator[Tensor]:
    """Batches of AutoAttack's size at most and of nearly one size; none of no image."""
    if len(index):
        yield from index.tensor_split(math.ceil(len(index) / SURVIVORS))
