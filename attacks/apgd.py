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
from attacks.parts.losses import TARGETED, check_loss, find_loss, likeliest_others
from attacks.search import Search, SearchAttack, surface_point
from attacks.settings import exact_number_from, whole_number
from attacks.starts import Starts

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

    def by_target(self) -> list[slice]:
        """The rows of each target; within one of them no image stands twice."""
        images = len(self.index) // self.groups
        return [slice(group * images, (group + 1) * images) for group in range(self.groups)]


class _Walk:
    """One run from one start, of all rows at once. The rows of an image leave when it is broken.

    points: float (M, C, H, W), where the rows are.
    """

    def __init__(self, attack: APGD, search: Search, rows: _ApgdRows, points: Tensor) -> None:
        self.attack, self.search, self.rows = attack, search, rows
        self.points = self.before = self.best = points
        self.ball = search.ball.select(rows.index)
        self.step_size = 2 * self.ball.eps
        self.losses: list[Tensor] = []
        self.shares: list[Tensor] = []

    def run(self) -> Trace:
        loss, gradient = self._evaluate(want_gradient=True)
        self.best_loss, self.best_gradient, self.gradient = loss, gradient, gradient
        self.last_loss, self.best_at_checkpoint = loss, loss
        self.rises = torch.zeros_like(loss)
        self.halved = torch.ones_like(loss, dtype=torch.bool)
        self._drop_broken()
        intervals = {place: place - before for before, place in pairwise([0, *checkpoints(self.attack.steps)])}
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
            self._drop_broken()
        columns = torch.stack(self.shares).T.tolist() if self.shares else [[], []]
        return Trace(torch.stack(self.losses).tolist(), columns[0], columns[1])

    def _step(self, first: bool) -> None:
        """A projected gradient step, drawn on by the last one (eq. 2)."""
        ahead = self.ball.ascend(self.points, self.gradient, self.step_size)
        if not first:
            momentum = self.points + MOMENTUM * (ahead - self.points) + (1 - MOMENTUM) * (self.points - self.before)
            ahead = self.ball.project(momentum)
        self.before, self.points = self.points, ahead

    def _evaluate(self, want_gradient: bool) -> tuple[Tensor, Tensor]:
        """Show the points to the search; return the loss there (M,) and its gradient, averaged over `eot` passes."""
        victim, labels = self.search.victim, self.search.victim.labels[self.rows.index]
        total, gradients = (
            torch.zeros(len(labels), device=labels.device, dtype=self.points.dtype),
            torch.zeros_like(self.points),
        )
        for again in range(self.attack.eot):
            parts = []
            for rows in victim.parts(len(labels)):
                point = self.points[rows].detach().requires_grad_(want_gradient)
                logits = victim.logits(point) if want_gradient else victim.logits_only(point)
                loss = self._loss(logits, labels[rows], rows)
                if want_gradient:
                    gradients[rows] += victim.gradient(loss.sum(), point)
                total[rows] += loss.detach()
                parts.append(logits.detach())
            if again == 0:
                self._show(torch.cat(parts))
        loss, gradient = total / self.attack.eot, gradients / self.attack.eot
        self.losses.append(loss.mean())
        if want_gradient:
            self.shares.append(torch.stack([(gradient == 0).float().mean(), (~gradient.isfinite()).float().mean()]))
        return loss, gradient.nan_to_num(0, 0, 0)

    def _loss(self, logits: Tensor, labels: Tensor, rows: slice) -> Tensor:
        if self.rows.targets is None:
            return find_loss(self.attack.loss)(logits, labels)
        return TARGETED[self.attack.loss](logits, labels, self.rows.targets[rows])

    def _show(self, logits: Tensor) -> None:
        for these in self.rows.by_target():
            self.search.see(self.points[these], logits[these], self.rows.index[these])

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
        keep = self.search.is_standing(self.rows.index).nonzero().squeeze(1)  # the one wait for the device in a step
        if len(keep) == len(self.rows.index):
            return
        self.rows, self.ball = self.rows.select(keep), self.ball.select(keep)
        for name in (
            "points", "before", "best", "step_size", "best_loss", "best_gradient", "gradient", "last_loss",
            "best_at_checkpoint", "rises", "halved",
        ):  # fmt: skip
            setattr(self, name, getattr(self, name)[keep])
