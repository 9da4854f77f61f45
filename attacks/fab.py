"""FAB: Croce and Hein 2020, *Minimally distorted Adversarial Examples with a Fast Adaptive Boundary Attack*; targeted."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any, ClassVar

import torch
from torch import Tensor

from attacks.base import MANY, Trace, describe
from attacks.parts.graphs.capture import Computation, Logits, capturable
from attacks.parts.looks import LiveTrace, equal_slices, steps_between_looks
from attacks.parts.losses import likeliest_others, targeted_margin
from attacks.parts.projections import to_hyperplane
from attacks.search import Search, SearchAttack, surface_point
from attacks.settings import exact_number_from, whole_number
from attacks.starts import Starts
from attacks.victim import checked_logits, image_gradient, lost_shares

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
    # Alone it walks in float32. It ends next to the boundary, closer than bfloat16 tells the two sides apart: there it left 0.7
    # points more of the images standing. Within a composition, where other attacks come first, no such loss was measured.
    walks: ClassVar[bool] = False

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
        if self.threat_model.eps == 0:
            return Trace()  # nothing but the image itself is in the ball
        first: LiveTrace | None = None
        others = likeliest_others(search.clean_logits, search.victim.labels, self.targets)
        step = self._step_on(search)
        for restart, ranks in self._runs(others.shape[1]):
            index = search.standing()
            if not len(index):
                break
            record = None if first else LiveTrace()
            first = first or record
            rows = self._rows(search, start, index, others, restart, ranks)
            self._run(search, step, rows, len(ranks), record)
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
                labels=search.victim.labels[index],
                targets=others[index, rank],
                images=ball.images,
                # As in AutoAttack: the first run starts at the image, later ones half an eps away.
                points=surface_point(ball, mine, restart * count + rank, 0.5) if restart else ball.images,
            )
            for rank in ranks
        ]
        return _FabRows(*(torch.cat(tensors) for tensors in zip(*(part.tensors() for part in parts), strict=True)))

    def _run(self, search: Search, step: Computation, rows: _FabRows, targets: int, record: LiveTrace | None) -> None:
        """Go all steps towards `targets` targets. The rows of an image leave at the next look after it was broken."""
        between, live, fixed = steps_between_looks(rows.points.device), search.is_live(rows.index), rows.fixed(search)
        for number in range(1, self.steps + 1):
            parts = [step(rows.points[part], *constants) for part, constants in fixed]
            points, back, logits, inside, loss, zero, lost, not_finite = map(torch.cat, zip(*parts, strict=True))
            count = live.sum()
            search.victim.note(count, 2 * count, torch.where(live, not_finite, 0).sum())
            if record:
                record.iterate(loss, live)
                record.gradient(zero, lost, live)
                if number == self.steps:
                    record.iterate(targeted_margin(logits, rows.labels, rows.targets), live)
            # The rows of an image leave together, so that within one target no image stands twice.
            for these in equal_slices(len(rows.index), targets):
                search.see(points[these], logits[these], rows.index[these], (live & inside)[these])
            live, rows = search.is_live(rows.index), replace(rows, points=back)
            if number % between == 0:
                keep = search.is_standing(rows.index).nonzero().squeeze(1)
                if not len(keep):
                    break
                if len(keep) < len(rows.index):
                    rows, live = rows.select(keep), live[keep]
                    fixed = rows.fixed(search)

    def _step_on(self, search: Search) -> Computation:
        """The function that makes a step of rows, captured where that pays."""
        victim, model = search.victim, self.threat_model
        settings = (model, self.alpha_max, self.eta, self.beta, victim.largest_label)
        return capturable(
            lambda classifier: self._stepping(classifier, victim.largest_label),
            ("fab", *settings),
            victim.classifier,
            victim.images.device,
            len(victim),
        )

    def _stepping(self, classifier: Logits, largest_label: int) -> Computation:
        def step(points: Tensor, images: Tensor, labels: Tensor, targets: Tensor) -> tuple[Tensor, ...]:
            """All per row: the points that a step leads to, where the next step begins, the logits at the points, if they are
            in the ball; the lead of the target over the label before, the shares of its gradient's entries that are zero and
            not finite, and how many of the two answers were not finite.
            """
            point = points.detach().requires_grad_()
            before = checked_logits(classifier, point, largest_label)
            loss = targeted_margin(before, labels, targets)
            gradient = image_gradient(loss.sum(), point)
            loss, before = loss.detach(), before.detach()
            zero, lost = lost_shares(gradient)
            with torch.no_grad():
                after = self._step(points, images, loss, gradient.nan_to_num_(0, 0, 0))
                logits = checked_logits(classifier, after, largest_label)
                inside = self.threat_model.largest_change(after, images) <= float(self.threat_model.eps)
                wrong = (logits.argmax(1) != labels)[:, None, None, None]
                back = torch.where(wrong, torch.lerp(images, after, float(self.beta)), after)
            not_finite = sum((~answer.isfinite()).any(1).long() for answer in (before, logits))
            return after, back, logits, inside, loss, zero, lost, not_finite

        return step

    def _step(self, points: Tensor, images: Tensor, loss: Tensor, gradient: Tensor) -> Tensor:
        """The points that a step leads to, past the linearised boundary, from the points and a little from the images.

        points, images: float (M, C, H, W); the result is like them.
        loss: float (M,), how much the target is ahead of the label at the points.
        gradient: float (M, C, H, W), of the loss.
        """
        shape, points, images, normal = points.shape, points.flatten(1), images.flatten(1), gradient.flatten(1)
        at_images = loss + torch.linalg.vecdot(normal, images - points)
        both, gaps = torch.stack([points, images]), -torch.stack([loss, at_images])
        steps = to_hyperplane(both, normal, gaps, self.threat_model.norm)
        length = steps.norm(dim=-1) if self.threat_model.norm == "l2" else steps.abs().amax(-1)
        length = length.clamp_min(SMALLEST_STEP)
        alpha = (length[0] / length.sum(0)).clamp_max(float(self.alpha_max))[:, None]
        past = both.add_(steps, alpha=float(self.eta))
        return torch.lerp(past[0], past[1], alpha).clamp_(0, 1).view(shape)


@dataclass(frozen=True, slots=True)
class _FabRows:
    """Images on their way to targets: M rows.

    index: int64 (M,), each row's image of the batch.
    labels, targets: int64 (M,), classes.
    images, points: float (M, C, H, W), where the way began and where it is.
    """

    index: Tensor
    labels: Tensor
    targets: Tensor
    images: Tensor
    points: Tensor

    def tensors(self) -> tuple[Tensor, ...]:
        return self.index, self.labels, self.targets, self.images, self.points

    def fixed(self, search: Search) -> list[tuple[slice, tuple[Tensor, ...]]]:
        """The parts in which rows are evaluated, each with those of its tensors that no step changes."""
        parts = search.victim.parts(len(self.index))
        return [(part, (self.images[part], self.labels[part], self.targets[part])) for part in parts]

    def select(self, index: Tensor) -> _FabRows:
        return _FabRows(*(tensor[index] for tensor in self.tensors()))
