"""APGD: Croce and Hein 2020, *Reliable evaluation of adversarial robustness with an ensemble of diverse parameter-free attacks*,
section 3."""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from typing import Any, ClassVar

import torch
from torch import Tensor

from attacks.base import Trace, describe
from attacks.parts.graphs.capture import Computation, Logits, capturable
from attacks.parts.looks import LiveTrace, equal_slices, steps_between_looks
from attacks.parts.losses import TARGETED, check_loss, find_loss, likeliest_others
from attacks.search import Search, SearchAttack, surface_point
from attacks.settings import exact_number_from, whole_number
from attacks.starts import Starts
from attacks.victim import checked_logits, image_gradient, lost_shares

MOMENTUM = 0.75
"""The share of the new step in a step; the rest repeats the last one (α in eq. 2 of the paper)."""


@dataclass(frozen=True, kw_only=True)
class APGD(SearchAttack):
    """Projected gradient ascent that chooses its step size by itself, for each image (algorithm 1).

    It starts with steps of 2 eps. At a checkpoint it halves them and goes back to the best point if too few steps have raised the
    loss (condition 1, `rho`) or nothing has been gained since the last checkpoint (condition 2). An image is done with its first
    misclassified point.

    steps: 1 or more. The schedule depends on it: the first 10 of 100 steps are not a run of 10.
    restarts: 1 or more.
    loss: ce, dlr or margin.
    targets: 0; or the number of likeliest other classes (at most all) towards each of which a run is made, with the targeted
        loss.
    eot: 1 or more, gradients that are averaged at each step.
    rho: 0 to 1, the share of steps that must raise the loss; what `parse_fraction` reads, as a Fraction.

    Raises AttackError otherwise.
    """

    version: ClassVar[int] = 1

    steps: int = 100
    restarts: int = 1
    loss: str = "ce"
    targets: int = 0
    eot: int = 1
    rho: Fraction = Fraction(3, 4)

    def __post_init__(self) -> None:
        whole_number("steps", self.steps)
        whole_number("restarts", self.restarts)
        whole_number("targets", self.targets, least=0)
        whole_number("eot", self.eot)
        find_loss(self.loss)
        object.__setattr__(self, "rho", exact_number_from("rho", self.rho, 0, 1, Fraction(3, 4)))

    @property
    def name(self) -> str:
        extras: dict[str, Any] = {}
        if self.restarts != 1:
            extras["r"] = self.restarts
        if self.loss != "ce":
            extras["loss"] = self.loss
        if self.targets:
            extras["targets"] = self.targets
        if self.eot != 1:
            extras["eot"] = self.eot
        if self.rho != Fraction(3, 4):
            extras["rho"] = str(self.rho)
        return describe(f"{self.kind}-{self.steps}", self.threat_model, extras)

    def check_classes(self, count: int) -> None:
        check_loss(self.loss, self.targets, count)

    def extend(self, search: Search, start: Starts) -> Trace:
        trace = Trace()
        others = likeliest_others(search.clean_logits, search.victim.labels, max(1, self.targets))
        runs = [(restart, group) for restart in range(self.restarts) for group in self._groups(others.shape[1])]
        for number, (restart, ranks) in enumerate(runs):
            index = search.standing()
            if not len(index):
                break
            draws = [restart * max(1, self.targets) + (rank or 0) for rank in ranks]
            first = [surface_point(search.ball.select(index), start.select(index), draw) for draw in draws]
            targets = torch.cat([others[index, rank] for rank in ranks]) if self.targets else None
            rows = _ApgdRows(index.repeat(len(ranks)), len(ranks), targets)
            walk = _Walk(self, search, rows, torch.cat(first))
            seen = walk.run()
            if number == 0:
                trace = seen
        return trace

    def _groups(self, others: int) -> list[list[int | None]]:
        """Ranks of targets that run side by side: the likeliest alone, because it breaks most images, then all the others."""
        if not self.targets:
            return [[None]]
        ranks: list[int | None] = list(range(others))
        return [group for group in (ranks[:1], ranks[1:]) if group]


def checkpoints(steps: int) -> list[int]:
    """The numbers of steps after which the step size is reconsidered (section 3.1), ascending.

    The first interval is 22 % of the steps, each next one 3 % of the steps shorter, none below 6 %.
    """
    interval, shortest, shorter = (max(1, int(share * steps)) for share in (0.22, 0.06, 0.03))
    places, at = [], 0
    while (at := at + interval) <= steps:
        places.append(at)
        interval = max(interval - shorter, shortest)
    return places


@dataclass(frozen=True, slots=True)
class _ApgdRows:
    """The rows under attack: M of them, all images for the first target, then all for the next.

    The rows of an image leave together, so that each target always has the same images in the same order.

    index: int64 (M,), each row's image of the batch.
    groups: how many targets.
    targets: int64 (M,), the classes aimed at; None: untargeted.
    """

    index: Tensor
    groups: int
    targets: Tensor | None

    def select(self, keep: Tensor) -> _ApgdRows:
        return _ApgdRows(self.index[keep], self.groups, None if self.targets is None else self.targets[keep])


class _Walk:
    """One run from one start, of all rows at once. The rows of an image leave at the next look after it was broken.

    points: float (M, C, H, W), where the rows are.
    live: bool (M,), False for the rows of images that are broken.
    parts: in which rows are evaluated, each with its labels and targets.
    """

    def __init__(self, attack: APGD, search: Search, rows: _ApgdRows, points: Tensor) -> None:
        self.attack, self.search, self.rows = attack, search, rows
        self.points = self.before = self.best = points
        self.ball = search.ball.select(rows.index)
        self.step_size = 2 * self.ball.eps
        self.live = search.is_live(rows.index)
        self.recorded = LiveTrace()
        self.parts = self._parts()
        victim, aimed = search.victim, rows.targets is not None
        key = ("apgd", attack.loss, aimed, attack.eot, victim.largest_label)
        self.ask = capturable(
            lambda classifier: _evaluation(classifier, attack.loss, aimed, attack.eot, victim.largest_label),
            key,
            victim.classifier,
            points.device,
            len(victim),
        )

    def _parts(self) -> list[tuple[slice, tuple[Tensor, Tensor]]]:
        labels = self.search.victim.labels[self.rows.index]
        targets = labels if self.rows.targets is None else self.rows.targets
        return [(part, (labels[part], targets[part])) for part in self.search.victim.parts(len(labels))]

    def run(self) -> Trace:
        loss, gradient = self._evaluate(want_gradient=True)
        self.best_loss, self.best_gradient, self.gradient = loss, gradient, gradient
        self.last_loss, self.best_at_checkpoint = loss, loss
        self.rises = torch.zeros_like(loss)
        self.halved = torch.ones_like(loss, dtype=torch.bool)
        self._drop_broken()
        intervals = {place: place - before for before, place in pairwise([0, *checkpoints(self.attack.steps)])}
        between = steps_between_looks(self.points.device)
        for number in range(1, self.attack.steps + 1):
            if not len(self.rows.index):
                break
            self._step(first=number == 1)
            loss, gradient = self._evaluate(want_gradient=number < self.attack.steps)
            self.rises += loss > self.last_loss
            better = loss > self.best_loss
            take = better[:, None, None, None]
            self.best, self.best_loss = (
                torch.where(take, self.points, self.best),
                torch.where(better, loss, self.best_loss),
            )
            self.best_gradient = torch.where(take, gradient, self.best_gradient)
            self.last_loss, self.gradient = loss, gradient
            if number in intervals:
                self._reconsider(intervals[number])
            if number % between == 0:
                self._drop_broken()
        return self.recorded.trace()

    def _step(self, first: bool) -> None:
        """A projected gradient step, drawn on by the last one (eq. 2)."""
        ahead = self.ball.ascend(self.points, self.gradient, self.step_size)
        if not first:
            momentum = self.points + MOMENTUM * (ahead - self.points) + (1 - MOMENTUM) * (self.points - self.before)
            ahead = self.ball.project(momentum)
        self.before, self.points = self.points, ahead

    def _evaluate(self, want_gradient: bool) -> tuple[Tensor, Tensor]:
        """Show the points to the search; return the loss there (M,) and its gradient, averaged over `eot` passes."""
        parts = [self.ask(want_gradient, self.points[rows], *fixed) for rows, fixed in self.parts]
        logits, loss, gradient, zero, lost, not_finite = map(torch.cat, zip(*parts, strict=True))
        live = self.live.sum()
        self.search.victim.note(
            gradients=live * (self.attack.eot if want_gradient else 0),
            passes=live * self.attack.eot,
            not_finite=torch.where(self.live, not_finite, 0).sum(),
        )
        self.recorded.iterate(loss, self.live)
        if want_gradient:
            self.recorded.gradient(zero, lost, self.live)
        # The rows of an image leave together, so that within one target no image stands twice.
        for these in equal_slices(len(self.live), self.rows.groups):
            self.search.see(self.points[these], logits[these], self.rows.index[these], self.live[these])
        self.live = self.search.is_live(self.rows.index)
        return loss, gradient

    def _reconsider(self, steps: int) -> None:
        """Halve the step size of the rows for which the last `steps` steps did not pay, and go back to their best points."""
        few_rises = self.rises <= math.floor(self.attack.rho * steps)  # exact, whatever the dtype of the images
        no_gain = ~self.halved & (self.best_at_checkpoint >= self.best_loss)
        self.halved, self.best_at_checkpoint = few_rises | no_gain, self.best_loss
        self.rises = torch.zeros_like(self.rises)
        where = self.halved[:, None, None, None]
        self.step_size = torch.where(where, self.step_size / 2, self.step_size)
        self.points = torch.where(where, self.best, self.points)
        self.gradient = torch.where(where, self.best_gradient, self.gradient)

    def _drop_broken(self) -> None:
        """Look at what is broken, and go on with the rest. Waits for the device."""
        keep = self.search.is_standing(self.rows.index).nonzero().squeeze(1)
        if len(keep) == len(self.rows.index):
            return
        self.rows, self.ball = self.rows.select(keep), self.ball.select(keep)
        self.parts = self._parts()
        for name in (
            "live", "points", "before", "best", "step_size", "best_loss", "best_gradient", "gradient",
            "last_loss", "best_at_checkpoint", "rises", "halved",
        ):  # fmt: skip
            setattr(self, name, getattr(self, name)[keep])


def _evaluation(classifier: Logits, loss: str, aimed: bool, eot: int, largest_label: int) -> Computation:
    """The function that evaluates points. A targeted loss is aimed at their targets, others do not look at them."""
    untargeted, targeted = find_loss(loss), TARGETED[loss]

    def evaluate(want_gradient: bool, points: Tensor, labels: Tensor, targets: Tensor) -> tuple[Tensor, ...]:
        """All per row: logits of the first pass, loss, gradient, shares of its entries that are zero and not finite, passes whose
        logits are not finite. Without a gradient it is zero, and so are the shares.
        """
        gradient, seen = torch.zeros_like(points), []
        loss = points.new_zeros(len(points))
        for _ in range(eot):
            point = points.detach().requires_grad_(want_gradient)
            with torch.set_grad_enabled(want_gradient):
                logits = checked_logits(classifier, point, largest_label)
                losses = targeted(logits, labels, targets) if aimed else untargeted(logits, labels)
            if want_gradient:
                gradient += image_gradient(losses.sum(), point)
            loss += losses.detach()
            seen.append(logits.detach())
        loss, gradient = loss / eot, gradient / eot
        zero, lost = lost_shares(gradient)
        not_finite = torch.stack([(~logits.isfinite()).any(1) for logits in seen]).sum(0)
        return seen[0], loss, gradient.nan_to_num(0, 0, 0), zero, lost, not_finite

    return evaluate
