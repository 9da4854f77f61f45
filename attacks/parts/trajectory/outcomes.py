"""Outcomes of walks: the record of a walk, the exact classifier's word on it, and each attack's result."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from attacks.base import Attack, AttackError, AttackResult, Outcome, Trace, is_worse, outcome_of, worse
from attacks.parts.trajectory.lanes import Lane, LaneDemand
from attacks.victim import Victim


@dataclass(frozen=True, slots=True)
class Stop:
    """The state of the walk at a checkpoint, of the rows that are still walking.

    final, any: outcomes at this iterate, and at the worst so far.
    points, worst: float (rows, C, H, W), the images at which they were found.
    """

    final: Outcome
    any: Outcome
    points: Tensor
    worst: Tensor


def is_milestone(number: int) -> bool:
    """True for iterates 10, 20, 40, 80, ...: there any-iterate outcomes of longer attacks include those of shorter ones."""
    tens, rest = divmod(number, 10)
    return rest == 0 and tens.bit_count() == 1


def milestones(steps: int) -> list[int]:
    """The milestones up to the iterate `steps`, ascending."""
    return [10 << doubling for doubling in range((steps // 10).bit_length())]


class Judge:
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

    def stop(self, number: int, points: Tensor, worst: Tensor, here: Tensor, labels: Tensor) -> Stop:
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
            any_, images = _worst_of([(first_rows(before, len(labels)), where[: len(labels)]), (any_, images)], labels)
        if is_milestone(number):
            self._known = any_, images
        return Stop(final, any_, points, images)

    def _ask(self, points: Tensor, labels: Tensor) -> Outcome:
        return outcome_of(self.victim.logits_only(points), labels)


@dataclass(frozen=True, slots=True)
class LaneRecord:
    """The record of a walk, on the device, per row.

    stops: by number of steps.
    iterates: per iterate, (loss, change, not finite).
    gradients: per gradient, the shares of (zero, non-finite) entries.
    judged: of each time that a judge was asked, the number of points of each row.
    """

    stops: dict[int, Stop]
    iterates: list[tuple[Tensor, ...]]
    gradients: list[tuple[Tensor, ...]]
    judged: list[Tensor]


@dataclass(frozen=True, slots=True)
class Walks:
    """All walks of a batch, from which the result of each attack is put together.

    lanes, lengths: the walks and their numbers of steps, the longest first.
    """

    lanes: list[Lane]
    lengths: list[int]
    record: LaneRecord
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


def first_rows(outcome: Outcome, count: int) -> Outcome:
    return Outcome(outcome.predicted[:count], outcome.margin[:count])


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
