"""Requirements on a method's classifiers: plain, frozen functions from images in [0, 1] to logits of one task's classes."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from attacks.base import AttackError
from attacks.parts.guard import classifier_kept
from attacks.victim import checked_logits
from benchmark.contract.requirement import Broken
from benchmark.evaluating.classifier_contract import CONTRACT_IMAGES, PROBABILITY_TOLERANCE, written_to
from benchmark.evaluating.fingerprints import classifier_fingerprint
from scenarios.base import Task
from scenarios.parts.augmentation import to_float

TOLERANCE = 1e-4
"""Largest difference of logits between batches, in units of the largest logit: rounding depends on the size of a batch."""

BATCHES = (1, 3)
"""Sizes of batches that logits are compared in."""

SLICE = "slice the head: logits (N, classes of the task), one column per class and none for the classes of other tasks"


LAST = -1
"""The last task learned: `Task.seen` ends there while a method is on trial."""


def called(task: Task) -> str:
    """A task's classifier as it was asked for."""
    return "classifier(None)" if task.seen else f"classifier({task.id})"


def probes(task: Task) -> Tensor:
    """Images of a task on which its classifier is tried: float (N, C, H, W) in [0, 1]."""
    return to_float(task.validation.images[:CONTRACT_IMAGES])


def logits_of(classifier: nn.Module, task: Task) -> Tensor:
    """Logits of the task's probes. Whatever the classifier does to itself on the way is put back."""
    with classifier_kept(classifier), torch.no_grad():
        logits: Tensor = classifier(probes(task))
    return logits


def it_is_a_frozen_module_in_eval_mode(task: Task, classifier: nn.Module) -> None:
    if not isinstance(classifier, nn.Module):
        raise Broken(f"{called(task)} is a {type(classifier).__name__}", "an nn.Module, images in [0, 1] to logits")
    training = [name or "the whole" for name, module in classifier.named_modules() if module.training]
    if training:
        raise Broken(
            f"{called(task)} is not in eval mode ({training[0]} is in training mode)",
            "hand out a copy in eval mode, such as `copy.deepcopy(network).eval().requires_grad_(False)`",
        )
    moving = [name for name, parameter in classifier.named_parameters() if parameter.requires_grad]
    if moving:
        raise Broken(
            f"{called(task)} is not frozen ({moving[0]} takes a gradient)",
            "hand out a copy after .requires_grad_(False)",
        )


def logits_have_a_column_per_class(task: Task, classifier: nn.Module) -> None:
    with torch.no_grad():
        try:
            logits = checked_logits(classifier, probes(task), 0)
        except AttackError as error:
            raise Broken(f"{called(task)}: {error}", "return one tensor of logits, nothing beside it") from None
    if logits.shape[1] != task.answers(LAST):
        masked = _same_for_all(logits)
        which = f", column {masked[0]} being {_value(logits, masked[0])} for every image" if masked else ""
        classes = task.answers(LAST)
        of = f"{classes} classes were seen" if task.seen else f"task {task.id} has {classes} classes"
        raise Broken(f"{called(task)} returns {logits.shape[1]} logits per image{which}; {of}", SLICE)


def logits_are_finite_and_none_is_masked(task: Task, classifier: nn.Module) -> None:
    logits = logits_of(classifier, task)
    masked = _same_for_all(logits)
    if len(masked) == logits.shape[1]:
        values = ", ".join(_value(logits, column) for column in masked)
        raise Broken(
            f"{called(task)} gives the same logits for every image ({values})",
            "look whether the images reach the head, and whether learning diverged",
        )
    if masked:
        raise Broken(
            f"{called(task)}: column {masked[0]} of the logits is {_value(logits, masked[0])} for every image, as if "
            "masked",
            SLICE,
        )
    if not logits.isfinite().all():
        raise Broken(
            f"{called(task)} returns logits that are not finite (NaN or infinite)",
            "return finite logits; to leave a class out, leave its column out",
        )


def logits_are_no_probabilities(task: Task, classifier: nn.Module) -> None:
    logits = logits_of(classifier, task)
    if logits.amin() >= 0 and (logits.sum(1) - 1).abs().amax() < PROBABILITY_TOLERANCE:
        raise Broken(
            f"{called(task)} returns probabilities (not negative, and they sum to 1)",
            "return logits, without softmax: attacks lose their gradient in it",
        )


def asked_twice_it_says_the_same(task: Task, classifier: nn.Module) -> None:
    once, again = logits_of(classifier, task), logits_of(classifier, task)
    if not _close(once, again):
        raise Broken(
            f"{called(task)} gives other logits for the same images when asked twice",
            "leave nothing in it that is random or counts (dropout, noise, running statistics)",
        )


def logits_do_not_depend_on_the_batch(task: Task, classifier: nn.Module) -> None:
    images = probes(task)
    whole = logits_of(classifier, task)
    for size in BATCHES:
        with torch.no_grad():
            parts = torch.cat([classifier(part) for part in images.split(size)])
        if not _close(whole, parts):
            raise Broken(
                f"{called(task)} gives an image other logits in a batch of {size} than in a batch of {len(images)}",
                "make an image's logits depend on that image alone (batch statistics? a task guessed for the whole batch?)",
            )


def _close(first: Tensor, second: Tensor) -> bool:
    tolerance = TOLERANCE * max(1.0, float(first.abs().amax()))
    return first.shape == second.shape and float((first - second).abs().amax()) <= tolerance


def asking_changes_nothing(task: Task, classifier: nn.Module) -> None:
    before, fingerprint = probes(task), classifier_fingerprint(classifier)
    images = before.clone()
    with torch.no_grad():
        classifier(images)
    if written_to(images) or not torch.equal(images, before):
        raise Broken(
            f"{called(task)} changes the images it is asked about",
            "work on a copy: `images - mean`, not `images.sub_(mean)`",
        )
    if classifier_fingerprint(classifier) != fingerprint:
        raise Broken(
            f"{called(task)} changes itself when it is asked",
            "leave nothing in it that counts, adapts or caches",
        )


def gradients_reach_the_images(task: Task, classifier: nn.Module) -> None:
    images = probes(task).requires_grad_()
    # A copy, because one that writes to its images is told by another requirement.
    logits = classifier(images.clone())
    if not logits.requires_grad:
        raise Broken(
            f"{called(task)} cuts the gradient: its logits do not depend on the images for autograd",
            "no torch.no_grad, detach, numpy or .data between images and logits",
        )
    # A sum with unequal weights: a loss may be saturated, and equal weights may cancel.
    weights = torch.linspace(1, 2, logits.shape[1])
    (gradient,) = torch.autograd.grad((logits * weights).sum(), images, allow_unused=True, materialize_grads=True)
    if not gradient.isfinite().all():
        raise Broken(f"{called(task)} has gradients that are not finite", "look for 0/0 and roots of 0 in it")
    if not _any_per_image(gradient).any():
        raise Broken(
            f"{called(task)} has a gradient of exactly zero at every image: attacks that follow it are blind",
            "no rounding, thresholds or detached parts between images and logits",
        )


def _any_per_image(gradient: Tensor) -> Tensor:
    return (gradient != 0).flatten(1).any(1)


def _same_for_all(logits: Tensor) -> list[int]:
    """Columns that hold one value for every image; NaN does not count as a value."""
    return (logits == logits[:1]).all(0).nonzero().flatten().tolist()


def _value(logits: Tensor, column: int) -> str:
    return f"{logits[0, column].item() + 0.0:g}"  # -0 is 0


FIRST = (it_is_a_frozen_module_in_eval_mode, logits_have_a_column_per_class, logits_are_finite_and_none_is_masked)
"""Requirements that must hold before anything else can be asked of a classifier."""
