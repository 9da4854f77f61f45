"""Gradients compared with what a classifier does: along a path, the gradient must add up to the change of the answer.

For every function and every path from a to b, f(b) - f(a) is the integral of its gradient along the path. The left side needs
answers alone, the right side is what autograd tells an attack. The two are compared over the whole ball, so that kinks of ReLU
hardly matter, rounding that is finer than the ball evens out, and a forward pass that jumps back to the clean image is seen.
"""

from __future__ import annotations

import copy
import json
import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from attacks.memory import PROBE_ROWS, activation_bytes, fitting_rows, free_bytes
from attacks.parts.guard import classifier_kept, random_state_kept
from attacks.starts import Starts
from attacks.threat_model import Ball, ThreatModel
from attacks.victim import checked_logits, image_gradient
from benchmark.evaluating.determinism import full_precision, repeatable
from results.schema import GRADIENTS
from scenarios.base import Task
from scenarios.parts.augmentation import to_float

IMAGES = 16
"""Test images of each task that are asked about, all classes in turn."""
DIRECTIONS = 4
"""Random paths of each kind, and random directions, per image."""
COARSE = 8
"""Gradients along every path."""
FINER = {16: 0.05, 32: 0.07}
"""Gradients along the paths of images whose error is still above that. Kinks of ReLU are worth 0.03 with 8 of them on most
images, 0.02 with 16, and 0.008 with 32."""
WRONG = 0.1
"""The error above which a sample is named."""
WALK = 8
"""Steps of eps/4 of the walk that leads to the attacked points."""
NEARBY = 1e-5
"""Steps of the finite differences in units of eps, in float64: too short for most to meet a kink."""
NEARBY_FP32 = 1 / 64
"""The same where only float32 is to be had: long enough to be more than rounding."""
FLAT = 1e-3
"""A change below this share of what the gradient promises is none."""
SAME = 1e-6
"""Difference of logits asked twice, in units of the largest, above which a classifier is random."""
SAME_IN_DOUBLE = 1e-4
"""The same, up to which a copy in float64 counts as the same function."""
SMALLEST = 1e-30
"""The smallest divisor."""

Forward = Callable[[Tensor], Tensor]


def compare_gradients(classifier: nn.Module, task: Task, model: ThreatModel, seed: int) -> list[dict[str, Any]]:
    """Compare the gradient of a classifier with its answers on its task's test images; whatever changes on the way is put back.

    model: the ball in which attacks move.
    seed: of the evaluation; random points follow from it as those of attacks do.

    Returns three facts. `gradient_error`: 0 to 1, what all but a seventh of the images keep, of the worse of two numbers. The
    first is the sine of the angle between what the answers do and what the gradient says they do along random paths, so that a
    factor does not count. The second is the relative error along the path of an attack, after the same factor.
    `gradient_error_nearby`: the sine alone, at steps far shorter than any kink. `gradient_scale`: the factor, 1 for a gradient
    that is true. The text of the first is JSON: how many images moved at all, samples whose error is large, the arithmetic of
    the answers, and whether the classifier is random, or flat nearby because something in it is rounded.
    Raises whatever the classifier raises.
    """
    test = task.test.select(task.test.balanced_order()[:IMAGES])
    # A ball without inside has no paths; the smallest change that an image in 8 bits can have has some.
    ball_model = model if model.eps else ThreatModel("1/255", model.norm)  # type: ignore[arg-type]
    with (
        torch.inference_mode(False),
        repeatable(),
        full_precision(),
        random_state_kept(),
        classifier_kept(classifier),
    ):
        images = to_float(test.images).clone()
        rows = fitting_rows(8 * IMAGES, activation_bytes(classifier, images[:PROBE_ROWS]), free_bytes(images.device))
        asked = _Asked(classifier, test.labels.clone(), rows)
        start = Starts(seed, task.test_fingerprint, test.samples)
        found = _compare(asked, ball_model.ball(images), start)
    return _facts(task, test.samples.cpu(), found)


@dataclass(frozen=True)
class _Found:
    """By image: errors along paths and nearby, factors, and True where anything moved; bool flags of the classifier."""

    along: Tensor
    nearby: Tensor
    scale: Tensor
    moved: Tensor
    flat: bool
    is_random: bool
    arithmetic: str


class _Asked:
    """A classifier that is asked for answers and gradients, `rows` images at once. Global generators start alike each time."""

    def __init__(self, classifier: nn.Module, labels: Tensor, rows: int) -> None:
        self.classifier, self.labels, self.rows = classifier, labels, rows

    def logits(self, points: Tensor, forward: Forward | None = None) -> Tensor:
        """Logits float64 (M, C) of points (M, ...). forward: instead of the classifier."""
        forward = forward or self.classifier
        found = []
        with torch.no_grad():
            for some in points.split(self.rows):
                _seed(0)
                # A copy, because a classifier may write to what it is asked about.
                found.append(checked_logits(forward, some.clone(), int(self.labels.max())).double())  # type: ignore[arg-type]
        return torch.cat(found)

    def gradient(self, points: Tensor, weights: Tensor) -> Tensor:
        """The gradient of the weighted sum of logits: float64 (M, ...). points: float32 (M, ...); weights: float64 (M, C)."""
        found = []
        for some, weight in zip(points.split(self.rows), weights.split(self.rows), strict=True):
            _seed(0)
            asked = some.clone().requires_grad_()
            with torch.enable_grad():
                logits = checked_logits(self.classifier, asked, int(self.labels.max()))
                found.append(image_gradient((logits * weight.to(logits)).sum(), asked).double())
        return torch.cat(found)

    def attacked(self, ball: Ball, points: Tensor) -> Tensor:
        """Points of the ball to which a short PGD leads from `points`, float32 (N, ...), by the gradient that attacks see."""
        for _ in range(WALK):
            moved = []
            for some, labels in zip(points.split(self.rows), self.labels.split(self.rows), strict=True):
                _seed(0)
                asked = some.clone().requires_grad_()
                with torch.enable_grad():
                    logits = checked_logits(self.classifier, asked, int(self.labels.max()))
                    moved.append(image_gradient(F.cross_entropy(logits, labels, reduction="sum"), asked))
            points = ball.ascend(points, torch.cat(moved).nan_to_num(0.0, 0.0, 0.0), ball.eps / 4)
        return points


def _compare(asked: _Asked, ball: Ball, start: Starts) -> _Found:
    images = ball.images
    is_random = _is_random(asked, images)
    draws = iter(range(1_000_000))

    def inside() -> Tensor:
        change = start.in_unit_ball(ball.norm, images.shape, next(draws)).to(images)
        return ball.project(images + ball.eps * change)

    def surface() -> Tensor:
        change = start.uniform(images.shape, next(draws)).to(images)
        return ball.ascend(images, change, ball.eps)

    attacked = asked.attacked(ball, inside())
    logits = asked.logits(images)
    margin, blamed = _margin_weights(logits, asked.labels), _loss_weights(start, logits, asked.labels)
    weights = [(margin, blamed)[path % 2] for path in range(DIRECTIONS)]
    groups = [
        _Paths([inside() for _ in weights], [inside() for _ in weights], weights),
        _Paths([attacked for _ in weights], [surface() for _ in weights], weights),
        _Paths([images], [attacked], [margin]),
    ]
    double, arithmetic = _in_double(asked, torch.cat([images, attacked]))
    changes = [paths.changes(asked, double) for paths in groups]
    everyone = torch.arange(len(images), device=images.device)
    promises = [paths.promises(asked, everyone, COARSE) for paths in groups]
    along, scale = _errors(changes, promises)
    for count, close in FINER.items():
        unsure = (~(along <= close)).nonzero().squeeze(1)
        if len(unsure):
            for paths, promise in zip(groups, promises, strict=True):
                promise[unsure] = paths.promises(asked, unsure, count)
            along, scale = _errors(changes, promises)
    moved = torch.cat([*changes, *promises], 1).ne(0).any(1)
    nearby, flat = _nearby(asked, double, ball, start, attacked, margin)
    return _Found(along, nearby, scale, moved, flat, is_random, arithmetic)


class _Paths:
    """Straight paths within the ball, P for each of N images.

    a, b: P tensors float32 (N, C, H, W), the ends of the paths.
    weights: P tensors float64 (N, classes): the function whose change is followed is their product with the logits.
    """

    def __init__(self, a: list[Tensor], b: list[Tensor], weights: list[Tensor]) -> None:
        self.a, self.b, self.weights = torch.stack(a, 1), torch.stack(b, 1), torch.stack(weights, 1)

    def changes(self, asked: _Asked, double: Forward | None) -> Tensor:
        """f(b) - f(a), of answers alone: float64 (N, P)."""
        ends = []
        for end in (self.a, self.b):
            points = end.flatten(0, 1)
            logits = asked.logits(points.double(), double) if double else asked.logits(points)
            ends.append((logits.unflatten(0, self.weights.shape[:2]) * self.weights).sum(2))
        return ends[1] - ends[0]

    def promises(self, asked: _Asked, index: Tensor, count: int) -> Tensor:
        """The integral of the gradient from a to b by the midpoint rule: float64 (len(index), P).

        index: int64 (M,), of the images that are asked about; count: gradients along each path.
        """
        a, way = self.a[index], (self.b - self.a)[index]
        places = ((torch.arange(count, device=a.device) + 0.5) / count).to(a)
        nodes = a[:, :, None] + way[:, :, None] * places.reshape(1, 1, -1, *[1] * (a.ndim - 2))
        weights = self.weights[index][:, :, None].expand(-1, -1, count, -1)
        gradient = asked.gradient(nodes.flatten(0, 2), weights.flatten(0, 2))
        mean = gradient.unflatten(0, (len(index), -1, count)).mean(2)
        return (mean * way).flatten(2).sum(2)


def _errors(changes: list[Tensor], promises: list[Tensor]) -> tuple[Tensor, Tensor]:
    """The largest error of each image over the three kinds of path, and the factor that fits its random paths best.

    Both float64 (N,). A factor that is not above 0 is given as 1.
    """
    (d, far_d, attack_d), (p, far_p, attack_p) = changes, promises
    all_d, all_p = torch.cat([d, far_d], 1), torch.cat([p, far_p], 1)
    scale = (all_d * all_p).sum(1) / (all_p * all_p).sum(1).clamp_min(SMALLEST)
    scale = torch.where(scale > 0, scale, 1.0)
    said = scale[:, None] * attack_p
    # Where an attack moves nothing, the random paths say how large a change is.
    size = torch.cat([attack_d.abs(), said.abs(), d.square().mean(1, keepdim=True).sqrt()], 1).amax(1)
    on_attack = ((attack_d - said).abs().squeeze(1) / size.clamp_min(SMALLEST)).clamp_max(1)
    return torch.stack([_sine(d, p), _sine(far_d, far_p), on_attack]).amax(0), scale


def _sine(changes: Tensor, promises: Tensor) -> Tensor:
    """The sine of the angle between two rows of numbers, 1 if they point apart or only one is zero: float64 (N,) from (N, P)."""
    sizes = changes.norm(dim=1) * promises.norm(dim=1)
    cosine = ((changes * promises).sum(1) / sizes.clamp_min(SMALLEST)).clamp(0, 1)
    both_zero = changes.eq(0).all(1) & promises.eq(0).all(1)
    return torch.where(both_zero, 0.0, (1 - cosine**2).sqrt())


def _nearby(
    asked: _Asked, double: Forward | None, ball: Ball, start: Starts, attacked: Tensor, weights: Tensor
) -> tuple[Tensor, bool]:
    """The sine of each image at its attacked point, float64 (N,), and True if most answers do not move at all.

    The steps are central differences along random signs, far shorter than the ball.
    """
    step = ball.eps * (NEARBY if double else NEARBY_FP32)
    # So that no step leaves the box, where a classifier may clamp.
    room = ball.eps * NEARBY_FP32
    points = torch.minimum(torch.maximum(attacked, room), 1 - room)
    gradient = asked.gradient(points, weights)
    changes, promises = [], []
    for draw in range(DIRECTIONS):
        signs = start.uniform(points.shape, -1 - draw).to(points).sign()
        ends = [points.double() + way * (step * signs).double() for way in (1, -1)]
        up, down = (asked.logits(end, double) if double else asked.logits(end.float()) for end in ends)
        changes.append(((up - down) * weights).sum(1))
        promises.append(2 * (gradient * (step * signs)).flatten(1).sum(1))
    d, p = torch.stack(changes, 1), torch.stack(promises, 1)
    still = (d.norm(dim=1) <= FLAT * p.norm(dim=1)) & p.ne(0).any(1)
    return _sine(d, p), bool(still.double().mean() > 0.5)


def _margin_weights(logits: Tensor, labels: Tensor) -> Tensor:
    """Weights that make the label's logit minus the largest other one: float64 (N, C)."""
    others = logits.scatter(1, labels[:, None], -torch.inf)
    own = F.one_hot(labels, logits.shape[1])
    return (own - F.one_hot(others.argmax(1), logits.shape[1])).double()


def _loss_weights(start: Starts, logits: Tensor, labels: Tensor) -> Tensor:
    """Weights like those of a cross-entropy's gradient, random probabilities minus the label: float64 (N, C)."""
    drawn = start.fractions("probabilities", logits.shape[1]).double() + 0.01
    return drawn / drawn.sum(1, keepdim=True) - F.one_hot(labels, logits.shape[1])


def _is_random(asked: _Asked, images: Tensor) -> bool:
    """True if a classifier answers differently when asked twice, with generators seeded alike or not."""
    answers = []
    with torch.no_grad():
        for seed in (0, 0, 1):
            _seed(seed)
            answers.append(checked_logits(asked.classifier, images.clone(), int(asked.labels.max())).double())
    first = answers[0]
    size = first.abs().amax().clamp_min(SMALLEST)
    return any(bool((other - first).abs().amax() > SAME * size) for other in answers[1:])


def _seed(seed: int) -> None:
    """Seed the generators that a classifier may draw from."""
    torch.default_generator.manual_seed(seed)
    if torch.cuda.is_initialized():
        torch.cuda.manual_seed_all(seed)
    np.random.seed(seed)
    random.seed(seed)


def _in_double(asked: _Asked, points: Tensor) -> tuple[nn.Module | None, str]:
    """A copy of the classifier in float64, None where none is to be had, and the name of the arithmetic with the reason.

    A copy that answers differently is another function, whatever the reason, and is not used. Gradients are never the copy's: an
    attack sees those of the classifier itself.
    """
    try:
        double = copy.deepcopy(asked.classifier).double()
        answers = asked.logits(points.double(), double)
    except Exception as error:
        return None, f"float32 ({type(error).__name__} in float64)"
    usual = asked.logits(points)
    if not (answers - usual).abs().amax() <= SAME_IN_DOUBLE * usual.abs().amax():
        return None, "float32 (a copy in float64 answers differently)"
    return double, "float64"


def _facts(task: Task, samples: Tensor, found: _Found) -> list[dict[str, Any]]:
    along, nearby = found.along.cpu(), found.nearby.cpu()
    text = {
        "images": len(samples),
        "moved": int(found.moved.sum()),
        "wrong": samples[~(along <= WRONG)].tolist(),
        "flat": found.flat,
        "random": found.is_random,
        "arithmetic": found.arithmetic,
    }

    def fact(name: str, value: float, said: str | None = None) -> dict[str, Any]:
        # NaN is no small error: it is stored as missing, and read as infinite.
        kept = value if value == value else None
        return {"task": task.id, "phase": GRADIENTS, "name": name, "value": kept, "text": said}

    return [
        fact("gradient_error", _of_most(along), json.dumps(text)),
        fact("gradient_error_nearby", _of_most(nearby)),
        fact("gradient_scale", float(found.scale.median())),
    ]


def _of_most(errors: Tensor) -> float:
    """The error that all but a seventh of the images keep: one class of five is more than that."""
    return float(errors.quantile(6 / 7)) if errors.isfinite().all() else float("nan")
