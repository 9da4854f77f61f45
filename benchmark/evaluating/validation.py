"""The one attack by which every decision during training is made. It sees validation images alone."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from typing import TypeVar

import torch
from torch import Tensor, nn

from attacks.base import AttackResult
from attacks.memory import PROBE_ROWS, rows_that_fit
from attacks.parts.graphs.capture import forget_graphs, out_of_memory
from attacks.parts.guard import modes_kept
from attacks.parts.sharing import combine_results
from attacks.pgd import PGD
from attacks.starts import Starts
from attacks.threat_model import ThreatModel, parse_fraction
from benchmark.evaluating.determinism import full_precision
from benchmark.evaluating.precision import arithmetic_for
from methods.training import Validation
from methods.training.recipe import Recipe
from scenarios.base import ImageSet, LearnTask
from scenarios.parts.augmentation import to_float

VERSION = 1
"""Part of every run's identity. To be raised if the same classifier would get another validation accuracy."""

SEED = 20_000
"""Seed of the starts, far from any evaluation seed a person would choose: selection never sees the starts of an evaluation."""

Judged = TypeVar("Judged")

BATCH = 500
"""Images at once, where memory allows."""


def validate(classifier: nn.Module, task: LearnTask, recipe: Recipe, eps: Fraction) -> Validation:
    """Find which validation images of the task are right unchanged, and right at every iterate of the attack.

    recipe: `selection` gives steps, step size and the precision in which the attack may walk (`arithmetic_for`).
    eps: exact, in pixel space [0, 1].
    The starts are the same for every method.
    """
    step_size = parse_fraction(recipe.selection.step_size, eps)
    attack = PGD(threat_model=ThreatModel(eps), steps=recipe.selection.steps, step_size=step_size)
    part = task.validation
    # The float32 network judges here too, although training may multiply in TF32.
    with modes_kept(classifier), full_precision():
        classifier.eval()
        attacked = arithmetic_for(
            classifier, part.images.shape[1:], part.labels.device, recipe.selection.precision
        ).classifier

        def judged(index: Tensor) -> tuple[Tensor, AttackResult]:
            images, labels = pixels_of(part, index), part.labels[index]
            with torch.no_grad():
                right = classifier(images).argmax(1) == labels
            start = Starts(SEED, f"validation {task.name}", part.samples[index])
            return right, attack.run(attacked, images, labels, start)

        clean, results = zip(*in_batches(attacked, part, judged), strict=True)
    clean_correct = torch.cat(clean)
    # Wrong on the unchanged image is wrong under attack: that image lies in the ball too.
    robust = (combine_results(results).any[attack.steps].predicted == part.labels) & clean_correct
    return Validation(clean_correct, robust)


def in_batches(classifier: nn.Module, part: ImageSet, judged: Callable[[Tensor], Judged]) -> list[Judged]:
    """The outcomes of all validation images, as many at once as the memory of the device allows to attack.

    classifier: in eval mode.
    judged: the outcomes of images by their indices. Where memory runs out all the same it is asked for half as many.
    """
    rows, done = rows_that_fit(classifier, pixels_of(part, slice(PROBE_ROWS)), BATCH), 0
    found = []
    while done < len(part):
        index = torch.arange(done, min(len(part), done + rows), device=part.labels.device)
        try:
            found.append(judged(index))
        except RuntimeError as error:
            if not out_of_memory(error) or len(index) == 1:
                raise
            forget_graphs()
            rows = len(index) // 2
        else:
            done += len(index)
    return found


def pixels_of(part: ImageSet, index: Tensor | slice) -> Tensor:
    """Some images as float32 in [0, 1] on the device of their labels: methods validate on training images too, kept elsewhere."""
    where = index.to(part.images.device) if isinstance(index, Tensor) else index
    return to_float(part.images[where].to(part.labels.device))
