"""Walks from a starting point, step by step, with a look at every iterate: clean, noise, FGSM and PGD are made of them.

A walk is one trajectory: iterate 0 (the start) to iterate k, k gradients and k + 1 forward passes. Walks that differ in start,
step size, target or eps are lanes of one batch, lane after lane; a lane that has made its steps leaves. Outcomes stay on the
device until one transfer at the end of the batch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from attacks.base import Attack, AttackError, AttackResult, Outcome, SharedResult, Trace, is_worse, outcome_of, worse
from attacks.parts.capture import Logits, capturable
from attacks.parts.losses import TARGETED, find_loss, likeliest_others
from attacks.parts.two_precisions import walking
from attacks.starts import Starts
from attacks.threat_model import Ball, ThreatModel
from attacks.victim import Victim, check_inputs, check_samples, checked_logits, image_gradient, usable_in_autograd


@dataclass(frozen=True, slots=True)
class Lane:
    """One walk of every image.

    threat_model: of all its iterates.
    step_size: in the units of eps.
    restart: the number of the random start; None: the walk starts at the image.
    target: the rank, likeliest first, of the other class that is aimed at; None: untargeted.
    """

    threat_model: ThreatModel
    step_size: float = 0.0
    restart: int | None = None
    target: int | None = None


@dataclass(frozen=True, slots=True)
class LaneDemand:
    """The demand of one attack.

    lanes: the walks that it is made of.
    checkpoints: the numbers of steps after which it is read off, ascending.
    """

    lanes: tuple[Lane, ...]
    checkpoints: tuple[int, ...]


def starting_points(threat_model: ThreatModel, images: Tensor, start: Starts, restarts: int) -> Iterator[Tensor]:
    """The starts of `restarts` restarts, each a float (N, C, H, W), made one at a time."""
    for restart in range(restarts):
        yield starting_point(threat_model, images, start, restart)


def starting_point(threat_model: ThreatModel, images: Tensor, start: Starts, restart: int) -> Tensor:
    """The start of restart `restart`: a random point of the ball, clamped to the box, float (N, C, H, W).

    linf: uniform; l2: of uniform direction and radius.
    """
    check_samples(start, images)
    draw = start.inside if threat_model.norm == "l2" else start.uniform
    # Multiplied, then added, never fused: identical to the bit on every device.
    noise = draw(images.shape, restart).to(images) * float(threat_model.eps)
    return noise.add_(images).clamp_(*threat_model.bounds(images))


def walk_lanes(
    demands: Mapping[Attack, LaneDemand],
    classifier: nn.Module,
    images: Tensor,
    labels: Tensor,
    start: Starts,
    loss: str = "ce",
    eot: int = 1,
) -> SharedResult:
    """Walk all lanes that are demanded, each once and as far as its longest demand; arguments and errors as `Attack.run`.

    demands: by attack.
    loss: a name in `attacks.parts.losses.LOSSES`.
    eot: gradients that are averaged at each step.

    Safe to call under `torch.no_grad()` and `torch.inference_mode()`. Touches no mode, buffer, `.grad` or global random
    state (a classifier in train mode may do so itself).
    """
    largest_label = check_inputs(images, labels)
    with torch.inference_mode(False), torch.enable_grad(), walking(classifier) as (walked, exact):
        images, labels = usable_in_autograd(images), usable_in_autograd(labels)
        others, choosing = None, 0
        if any(lane.target is not None for demand in demands.values() for lane in demand.lanes):
            with torch.no_grad():
                logits = checked_logits(exact or walked, images, largest_label)
            others, choosing = likeliest_others(logits, labels, logits.shape[1] - 1), len(images)
        lengths = _lengths(demands, None if others is None else others.shape[1])
        rows = _rows(list(lengths), images, labels, others, start)
        stops = {steps for demand in demands.values() for steps in demand.checkpoints}
        if not max(lengths.values()):
            # Nobody walks, so there is nothing that the fast classifier could save.
            walked, exact = exact or walked, None
        judge = None if exact is None else _Judge(Victim(exact, images, labels))
        norm = rows.ball.norm
        iterate = capturable(
            lambda asked: _iterate(asked, largest_label, loss, eot, norm),
            ("walk", largest_label, loss, eot, norm),
            walked,
            images.device,
        )
        record = _walk(iterate, rows, list(lengths.values()), stops, judge)
        if judge is not None:
            judge.victim.check_finite()
        walks = _Walks(list(lengths), list(lengths.values()), record, eot)
    results = {attack: walks.result(attack, demand, images, labels) for attack, demand in demands.items()}
    count, steps = len(images), sum(lengths.values())
    passes = count * (eot * steps + len(lengths)) + choosing + (judge.victim.forward_passes if judge else 0)
    return SharedResult(results, count * eot * steps, passes)


def _lengths(demands: Mapping[Attack, LaneDemand], others: int | None) -> dict[Lane, int]:
    """The lanes with the most steps demanded of each, the longest first, without those that aim at a class there is not.

    others: how many other classes there are.
    """
    lengths: dict[Lane, int] = {}
    for demand in demands.values():
        for lane in _possible(demand.lanes, others):
            lengths[lane] = max(lengths.get(lane, 0), demand.checkpoints[-1])
    return dict(sorted(lengths.items(), key=lambda item: -item[1]))


def _possible(lanes: Sequence[Lane], others: int | None) -> list[Lane]:
    return [lane for lane in lanes if lane.target is None or (others is not None and lane.target < others)]


@dataclass(frozen=True, slots=True)
class _LaneRows:
    """The rows of all lanes, lane after lane: their starts, and what does not change on the way.

    points: float (rows, C, H, W), the starts.
    labels, targets: int64 (rows,); no targets: untargeted.
    ball: around the images.
    step_size: float (rows, 1, 1, 1).
    """

    points: Tensor
    labels: Tensor
    targets: Tensor | None
    ball: Ball
    step_size: Tensor

    def constants(self, count: int) -> tuple[Tensor, ...]:
        ball = self.ball.first(count)
        targets = self.labels if self.targets is None else self.targets
        fixed = (self.labels, targets, self.step_size)
        return (*(tensor[:count] for tensor in fixed), ball.images, ball.eps, ball.lower, ball.upper)


def _rows(lanes: list[Lane], images: Tensor, labels: Tensor, others: Tensor | None, start: Starts) -> _LaneRows:
    starts: dict[tuple[ThreatModel, int | None], Tensor] = {}
    for lane in lanes:
        key = (lane.threat_model, lane.restart)
        if key not in starts:
            point = images if lane.restart is None else starting_point(lane.threat_model, images, start, lane.restart)
            starts[key] = usable_in_autograd(point)
    points = [starts[lane.threat_model, lane.restart] for lane in lanes]
    ranks = [lane.target for lane in lanes if lane.target is not None]
    sizes = torch.tensor([lane.step_size for lane in lanes], dtype=torch.float64).repeat_interleave(len(images))
    return _LaneRows(
        points=torch.cat(points) if len(points) > 1 else points[0],
        labels=labels.repeat(len(lanes)),
        targets=None if others is None else torch.cat([others[:, rank] for rank in ranks]),
        ball=Ball.around(images, [lane.threat_model for lane in lanes]),
        step_size=sizes[:, None, None, None].to(images),
    )


Iterate = Callable[..., tuple[Tensor, ...]]
"""Points and constants of rows → the answers at the points, and the points that the next step leads to."""


def _iterate(classifier: Logits, largest_label: int, loss: str, eot: int, norm: str) -> Iterate:
    untargeted, targeted = find_loss(loss), TARGETED[loss]

    def iterate(
        move: bool, aimed: bool, points: Tensor, labels: Tensor, targets: Tensor, step_size: Tensor, *ball: Tensor
    ) -> tuple[Tensor, ...]:
        """Look at the points and, if `move`, make a step. All per row; nothing waits for the device.

        Returns predicted, margin, loss, change, and if logits are not finite; if it moves also the shares of zero and of
        non-finite entries of the gradient, and the next points.
        """
        around = Ball(norm, *ball)
        # The last forward records a graph too, though it is not differentiated: a library may choose another kernel
        # without one, and iterate 7 of 40 steps would not equal iterate 7 of 7 to the bit.
        point = points.detach().requires_grad_()
        logits = checked_logits(classifier, point, largest_label)
        losses = targeted(logits, labels, targets) if aimed else untargeted(logits, labels)
        with torch.no_grad():
            outcome = outcome_of(logits, labels)
            change = points - around.images
            size = change.flatten(1).norm(dim=1) if norm == "l2" else change.abs().flatten(1).amax(1)
            broken = (~logits.isfinite()).any(1)
            said = (outcome.predicted, outcome.margin, losses.detach().float(), size.float(), broken)
        if not move:
            return said
        gradient = image_gradient(losses.sum(), point)
        for _ in range(eot - 1):
            again = checked_logits(classifier, point, largest_label)
            losses = targeted(again, labels, targets) if aimed else untargeted(again, labels)
            gradient = gradient + image_gradient(losses.sum(), point)
        if eot > 1:
            gradient = gradient / eot
        with torch.no_grad():
            zero = (gradient == 0).flatten(1).float().mean(1)
            lost = (~gradient.isfinite()).flatten(1).float().mean(1)
            # NaN counts in the trace and moves nothing (torch.sign(NaN) is 0 today, which may change).
            after = around.ascend(points, gradient.nan_to_num(), step_size)
        return (*said, zero, lost, after)

    return iterate


@dataclass(frozen=True, slots=True)
class _Stop:
    """The state of the walk at a checkpoint, of the rows that are still walking.

    final, any: outcomes at this iterate, and at the worst so far.
    points, worst: float (rows, C, H, W), the images at which they were found.
    """

    final: Outcome
    any: Outcome
    points: Tensor
    worst: Tensor


class _Judge:
    """The exact classifier's word on a walk that the fast one took: it alone makes outcomes.

    It is asked at every checkpoint and at milestones, about the point reached and about the point at which the fast classifier
    was worst since the last milestone. `any` is the worst of its answers. Milestones are the same whatever runs beside, so that
    an attack's outcomes are its own.

    victim: the exact classifier, and the batch.
    judged: int64 (rows,) each time it was asked, about how many points of each row.
    """

    def __init__(self, victim: Victim) -> None:
        self.victim = victim
        self.judged: list[Tensor] = []
        self._known: tuple[Outcome, Tensor] | None = None

    @staticmethod
    def is_milestone(number: int) -> bool:
        """True for iterates 10, 20, 40, 80, ...: there any-iterate outcomes of longer attacks include those of shorter ones."""
        tens, rest = divmod(number, 10)
        return rest == 0 and tens.bit_count() == 1

    def stop(self, number: int, points: Tensor, worst: Tensor, here: Tensor, labels: Tensor) -> _Stop:
        """The outcomes after `number` steps.

        points, worst: float (rows, C, H, W), where the rows are, and where the fast classifier was worst.
        here: bool (rows,), True if the two are the same.
        labels: int64 (rows,).
        """
        final = self._ask(points, labels)
        self.judged.append(2 - here.long())
        any_, images = final, points
        elsewhere = (~here).nonzero().squeeze(1)
        if len(elsewhere):
            asked = self._ask(worst[elsewhere], labels[elsewhere])
            there = Outcome(
                final.predicted.index_copy(0, elsewhere, asked.predicted),
                final.margin.index_copy(0, elsewhere, asked.margin),
            )
            any_, images = _worst_of([(final, points), (there, worst)], labels)
        if self._known is not None:
            before, where = self._known
            any_, images = _worst_of([(_first(before, len(labels)), where[: len(labels)]), (any_, images)], labels)
        if self.is_milestone(number):
            self._known = any_, images
        return _Stop(final, any_, points, images)

    def _ask(self, points: Tensor, labels: Tensor) -> Outcome:
        return outcome_of(self.victim.logits_only(points), labels)


@dataclass(frozen=True, slots=True)
class _LaneRecord:
    """The record of a walk, on the device, per row.

    stops: by number of steps.
    iterates: per iterate, (loss, change, not finite).
    gradients: per gradient, the shares of (zero, non-finite) entries.
    judged: of each time that a judge was asked, the number of points of each row.
    """

    stops: dict[int, _Stop]
    iterates: list[tuple[Tensor, ...]]
    gradients: list[tuple[Tensor, ...]]
    judged: list[Tensor]


def _walk(iterate: Iterate, rows: _LaneRows, lengths: list[int], stops: set[int], judge: _Judge | None) -> _LaneRecord:
    record = _LaneRecord({}, [], [], judge.judged if judge else [])
    lane = len(rows.points) // len(lengths)
    points = worst = rows.points.detach()
    labels, any_, count = rows.labels, None, len(points)
    here = torch.ones_like(labels, dtype=torch.bool)
    constants = rows.constants(count)
    for number in range(lengths[0] + 1):
        walking = lane * sum(length >= number for length in lengths)
        if walking < count:
            count = walking
            points, worst, labels, here = points[:count], worst[:count], labels[:count], here[:count]
            constants = rows.constants(count)
            any_ = None if any_ is None else _first(any_, count)
        said = iterate(number < lengths[0], rows.targets is not None, points, *constants)
        final = Outcome(said[0], said[1])
        record.iterates.append(said[2:5])
        if any_ is None:
            any_, worst, here = final, points, torch.ones_like(here)
        else:
            here = is_worse(any_, final, labels)
            any_, worst = worse(any_, final, labels), torch.where(here[:, None, None, None], points, worst)
        if judge is None:
            if number in stops:
                record.stops[number] = _Stop(final, any_, points, worst)
        elif number in stops or judge.is_milestone(number):
            record.stops[number] = judge.stop(number, points, worst, here, labels)
            # Behind a milestone the fast classifier looks for another point than the one that was judged.
            any_ = None if judge.is_milestone(number) else any_
        if number < lengths[0]:
            record.gradients.append(said[5:7])
            points = said[7]
    return record


def _first(outcome: Outcome, count: int) -> Outcome:
    return Outcome(outcome.predicted[:count], outcome.margin[:count])


@dataclass(frozen=True, slots=True)
class _Walks:
    """All walks of a batch, from which the result of each attack is put together.

    lanes, lengths: the walks and their numbers of steps, the longest first.
    """

    lanes: list[Lane]
    lengths: list[int]
    record: _LaneRecord
    eot: int

    def result(self, attack: Attack, demand: LaneDemand, images: Tensor, labels: Tensor) -> AttackResult:
        mine = [index for index, lane in enumerate(self.lanes) if lane in demand.lanes]
        count = len(labels)
        final: dict[int, Outcome] = {}
        any_: dict[int, Outcome] = {}
        for steps in demand.checkpoints:
            stop = self.record.stops[steps]
            final[steps], adversarial = _worst_of([_part(stop.final, stop.points, i, count) for i in mine], labels)
            any_[steps], worst_images = _worst_of([_part(stop.any, stop.worst, i, count) for i in mine], labels)
        trace = self._trace(mine, demand.checkpoints[-1], count)
        attack.threat_model.check(adversarial, images)
        attack.threat_model.check(worst_images, images)
        cost = self.eot * sum(self.lengths[index] for index in mine)
        passes = count * (cost + len(mine)) + self._judged(mine, count)
        return AttackResult(final, any_, adversarial, worst_images, trace, count * cost, passes)

    def _judged(self, mine: list[int], count: int) -> int:
        """The number of points of these lanes that a judge was asked about."""
        parts = [judged[lane * count : (lane + 1) * count] for judged in self.record.judged for lane in mine]
        return int(torch.cat(parts).sum()) if parts else 0

    def _trace(self, mine: list[int], steps: int, count: int) -> Trace:
        """Means over the walks (the largest change: the maximum), in one transfer to the host."""

        def rows(table: list[tuple[Tensor, ...]], column: int) -> list[Tensor]:
            return [
                torch.stack([entry[column][i * count : (i + 1) * count] for i in mine])
                for entry in table[: steps + (table is self.record.iterates)]
            ]

        iterates, gradients = self.record.iterates, self.record.gradients
        columns = [
            *(each.mean() for each in rows(iterates, 0)),
            *(each.amax() for each in rows(iterates, 1)),
            *(each.any(0).sum().float() for each in rows(iterates, 2)),
            *(each.mean() for column in (0, 1) for each in rows(gradients, column)),
        ]
        numbers: list[float] = torch.stack(columns).tolist()
        length = steps + 1
        losses, changes, broken = (numbers[index * length : (index + 1) * length] for index in range(3))
        zero, non_finite = numbers[3 * length : 3 * length + steps], numbers[3 * length + steps :]
        for number, samples in enumerate(broken):
            if samples:
                raise AttackError(
                    f"the classifier returned logits that are not finite (NaN or infinite) "
                    f"for {int(samples)} of {count} images at iterate {number}"
                )
        return Trace(losses, zero, non_finite, changes)


def _part(outcome: Outcome, points: Tensor, lane: int, count: int) -> tuple[Outcome, Tensor]:
    rows = slice(lane * count, (lane + 1) * count)
    return Outcome(outcome.predicted[rows], outcome.margin[rows]), points[rows]


def _worst_of(parts: list[tuple[Outcome, Tensor]], labels: Tensor) -> tuple[Outcome, Tensor]:
    """The worst outcome of several walks per image, and the image at which it was found."""
    outcome, images = parts[0]
    for other, theirs in parts[1:]:
        take = is_worse(outcome, other, labels)
        outcome, images = worse(outcome, other, labels), torch.where(take[:, None, None, None], theirs, images)
    return outcome, images
