"""FAB: Croce and Hein 2020, *Minimally distorted Adversarial Examples with a Fast Adaptive Boundary Attack*; targeted."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any, ClassVar

import torch
from torch import Tensor

from attacks.base import MANY, Outcome, Trace, describe, is_worse, outcome_of
from attacks.parts.losses import likeliest_others, targeted_margin
from attacks.parts.projections import to_hyperplane
from attacks.search import Search, SearchAttack, surface_point
from attacks.settings import exact_number_from, whole_number
from attacks.starts import Starts

SMALLEST_STEP = 1e-8
"""A shorter step counts as this long in the choice of α, so that 0 / 0 is one half, as in the authors' code."""


@dataclass(frozen=True, kw_only=True)
class FAB(SearchAttack):
    """FAB-T: from the image to the linearised boundary with each of the likeliest other classes, and along it (algorithm 1).

    It searches the smallest change, whatever eps is, and may leave the ball on its way. Only points inside count, and an image is
    done with its first point there that is misclassified, as any class. As in AutoAttack there is no final search.

    steps: 1 or more.
    restarts: 1 or more; the first run starts at the image, later ones at a random point eps/2 away.
    targets: 1 or more, the number of likeliest other classes (at most all) towards each of which a run is made.
    alpha_max: 0 to 1, how far a step is drawn back to the image at most.
    eta: 1 or more, how far a step overshoots the boundary.
    beta: 0 to 1, the part of the change that is kept when the point is misclassified.

    The last three are read by `parse_fraction` and become Fractions. Raises AttackError otherwise.

    A step costs one gradient and two forward passes. About nine in ten steps lead to a misclassified point and are stepped back
    from, so the pass that finds that out is hardly ever one whose gradient is needed.
    """

    version: ClassVar[int] = 1

    steps: int = 100
    restarts: int = 1
    targets: int = 9
    alpha_max: Fraction = Fraction(1, 10)
    eta: Fraction = Fraction(21, 20)
    beta: Fraction = Fraction(9, 10)

    def __post_init__(self) -> None:
        whole_number("steps", self.steps)
        whole_number("restarts", self.restarts)
        whole_number("targets", self.targets)
        for field, low, high in (("alpha_max", 0, 1), ("eta", 1, None), ("beta", 0, 1)):
            number = exact_number_from(field, getattr(self, field), low, high, example=getattr(FAB, field))
            object.__setattr__(self, field, number)

    @property
    def name(self) -> str:
        extras: dict[str, Any] = {}
        if self.restarts != 1:
            extras["r"] = self.restarts
        if self.targets != 9:
            extras["targets"] = self.targets
        for field in ("alpha_max", "eta", "beta"):
            if getattr(self, field) != getattr(FAB, field):
                extras[field] = str(getattr(self, field))
        return describe(f"{self.kind}-{self.steps}", self.threat_model, extras)

    def passes(self, classes: int = MANY) -> float:
        # Each step is a gradient and one more forward pass.
        return 3.0 * self.steps * self.restarts * min(self.targets, classes - 1)

    def extend(self, search: Search, start: Starts) -> Trace:
        first: _FabRecord | None = None
        if self.threat_model.eps == 0:
            return Trace()  # nothing but the image itself is in the ball
        others = likeliest_others(search.clean_logits, search.victim.labels, self.targets)
        for restart, ranks in self._runs(others.shape[1]):
            index = search.standing()
            if not len(index):
                break
            record = None if first else _FabRecord([], [])
            first = first or record
            self._run(search, self._rows(search, start, index, others, restart, ranks), record)
        return first.trace() if first else Trace()

    def _runs(self, targets: int) -> Iterator[tuple[int, list[int]]]:
        """Restarts, and the ranks of the targets that are run side by side in them.

        The likeliest target goes first and alone, because it breaks most images. The rest is attacked towards all the others at
        once, in larger batches. The grouping of images must not decide what is found for them.
        """
        for restart in range(self.restarts):
            ranks = list(range(targets))
            for group in (ranks[:1], ranks[1:]) if restart == 0 else (ranks,):
                if group:
                    yield restart, group

    def _rows(
        self, search: Search, start: Starts, index: Tensor, others: Tensor, restart: int, ranks: list[int]
    ) -> _FabRows:
        """One row for each image of `index` and each target, target after target."""
        ball, mine = search.ball.select(index), start.select(index)
        count = others.shape[1]
        parts = [
            _FabRows(
                index=index,
                rank=torch.full_like(index, rank),
                labels=search.victim.labels[index],
                targets=others[index, rank],
                images=ball.images,
                # As in AutoAttack: the first run starts at the image, later ones half an eps away.
                points=surface_point(ball, mine, restart * count + rank, 0.5) if restart else ball.images,
            )
            for rank in ranks
        ]
        return _FabRows(*(torch.cat(tensors) for tensors in zip(*(part.tensors() for part in parts), strict=True)))

    def _run(self, search: Search, rows: _FabRows, record: _FabRecord | None) -> None:
        for number in range(self.steps):
            loss, gradient = _ascent(search, rows)
            if record:
                record.gradient(loss, gradient)
            points = self._step(rows, loss, gradient.nan_to_num_(0, 0, 0))
            logits = torch.cat([search.victim.logits_only(points[part]) for part in search.victim.parts(len(points))])
            wrong = logits.argmax(1) != rows.labels
            if record and number + 1 == self.steps:
                record.losses.append(targeted_margin(logits, rows.labels, rows.targets).mean())
            found = self._show(search, rows, points, logits)
            back = torch.where(wrong[:, None, None, None], torch.lerp(rows.images, points, float(self.beta)), points)
            rows = replace(rows, points=back)
            if found:
                rows = rows.select(search.is_standing(rows.index).nonzero().squeeze(1))
                if not len(rows.index):
                    break

    def _step(self, rows: _FabRows, loss: Tensor, gradient: Tensor) -> Tensor:
        """The points that a step leads to, past the linearised boundary, from the points and a little from the images.

        loss: float (M,), how much the target is ahead of the label at the points.
        gradient: float (M, C, H, W), of the loss; the result is like it.
        """
        points, images, normal = rows.points.flatten(1), rows.images.flatten(1), gradient.flatten(1)
        at_images = loss + torch.linalg.vecdot(normal, images - points)
        both, gaps = torch.stack([points, images]), -torch.stack([loss, at_images])
        steps = to_hyperplane(both, normal, gaps, self.threat_model.norm)
        length = steps.norm(dim=-1) if self.threat_model.norm == "l2" else steps.abs().amax(-1)
        length = length.clamp_min(SMALLEST_STEP)
        alpha = (length[0] / length.sum(0)).clamp_max(float(self.alpha_max))[:, None]
        past = both.add_(steps, alpha=float(self.eta))
        return torch.lerp(past[0], past[1], alpha).clamp_(0, 1).view_as(rows.points)

    def _show(self, search: Search, rows: _FabRows, points: Tensor, logits: Tensor) -> bool:
        """Show the points that lie in the ball and are worse than the worst known of their image. True if there were any."""
        inside = self.threat_model.largest_change(points, rows.images) <= float(self.threat_model.eps)
        known = Outcome(search.outcome.predicted[rows.index], search.outcome.margin[rows.index])
        worse = (inside & is_worse(known, outcome_of(logits, rows.labels), rows.labels)).nonzero().squeeze(1)
        if not len(worse):
            return False
        for rank in rows.rank[worse].unique():
            these = worse[rows.rank[worse] == rank]
            search.see(points[these], logits[these], rows.index[these])
        return True


@dataclass(frozen=True, slots=True)
class _FabRows:
    """Images on their way to targets: M rows.

    index: int64 (M,), each row's image of the batch.
    rank: int64 (M,), the rank of its target among the likeliest.
    labels, targets: int64 (M,), classes.
    images, points: float (M, C, H, W), where the way began and where it is.
    """

    index: Tensor
    rank: Tensor
    labels: Tensor
    targets: Tensor
    images: Tensor
    points: Tensor

    def tensors(self) -> tuple[Tensor, ...]:
        return self.index, self.rank, self.labels, self.targets, self.images, self.points

    def select(self, index: Tensor) -> _FabRows:
        return _FabRows(*(tensor[index] for tensor in self.tensors()))


@dataclass(frozen=True, slots=True)
class _FabRecord:
    """The trace of a run while it is on the device.

    losses: the mean loss, per iterate.
    shares: float (2,), the shares of zero and of non-finite entries, per gradient.
    """

    losses: list[Tensor]
    shares: list[Tensor]

    def gradient(self, loss: Tensor, gradient: Tensor) -> None:
        self.losses.append(loss.mean())
        self.shares.append(torch.stack([(gradient == 0).float().mean(), (~gradient.isfinite()).float().mean()]))

    def trace(self) -> Trace:
        zero, non_finite = torch.stack(self.shares).T.tolist()
        return Trace(torch.stack(self.losses).tolist(), zero, non_finite)


def _ascent(search: Search, rows: _FabRows) -> tuple[Tensor, Tensor]:
    """The lead of the target over the label at the points, float (M,), and its gradient, like the points."""
    losses, gradients = [], []
    for part in search.victim.parts(len(rows.points)):
        points, labels, targets = rows.points[part], rows.labels[part], rows.targets[part]
        point = points.detach().requires_grad_()
        loss = targeted_margin(search.victim.logits(point), labels, targets)
        gradients.append(search.victim.gradient(loss.sum(), point))
        losses.append(loss.detach())
    return torch.cat(losses), torch.cat(gradients)
