"""Walking: gradient steps of all lanes at once, and what the classifier answers at every iterate.

A lane that has made its steps leaves the batch. Outcomes stay on the device until one transfer at the end of the batch.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

from attacks.base import Attack, Outcome, SharedResult, is_worse, outcome_of, worse
from attacks.parts.graphs.capture import Logits, capturable
from attacks.parts.losses import TARGETED, find_loss, likeliest_others
from attacks.parts.trajectory.lanes import LaneDemand, LaneRows, lane_lengths, lane_rows
from attacks.parts.trajectory.outcomes import Judge, LaneRecord, Stop, Walks, first_rows, is_milestone
from attacks.parts.two_precisions import walking
from attacks.starts import Starts
from attacks.threat_model import Ball
from attacks.victim import Victim, check_inputs, checked_logits, image_gradient, lost_shares, usable_in_autograd


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
        lengths = lane_lengths(demands, None if others is None else others.shape[1])
        rows = lane_rows(list(lengths), images, labels, others, start)
        stops = {steps for demand in demands.values() for steps in demand.checkpoints}
        if not max(lengths.values()):
            # Nobody walks, so there is nothing that the fast classifier could save.
            walked, exact = exact or walked, None
        judge = None if exact is None else Judge(Victim(exact, images, labels))
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
        walks = Walks(list(lengths), list(lengths.values()), record, eot)
    results = {attack: walks.result(attack, demand, images, labels) for attack, demand in demands.items()}
    count, steps = len(images), sum(lengths.values())
    passes = count * (eot * steps + len(lengths)) + choosing + (judge.victim.forward_passes if judge else 0)
    return SharedResult(results, count * eot * steps, passes)


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
            zero, lost = lost_shares(gradient)
            # NaN counts in the trace and moves nothing (torch.sign(NaN) is 0 today, which may change).
            after = around.ascend(points, gradient.nan_to_num(), step_size)
        return (*said, zero, lost, after)

    return iterate


def _walk(iterate: Iterate, rows: LaneRows, lengths: list[int], stops: set[int], judge: Judge | None) -> LaneRecord:
    record = LaneRecord({}, [], [], judge.judged if judge else [])
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
            any_ = None if any_ is None else first_rows(any_, count)
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
                record.stops[number] = Stop(final, any_, points, worst)
        elif number in stops or is_milestone(number):
            record.stops[number] = judge.stop(number, points, worst, here, labels)
            # Behind a milestone the fast classifier looks for another point than the one that was judged.
            any_ = None if is_milestone(number) else any_
        if number < lengths[0]:
            record.gradients.append(said[5:7])
            points = said[7]
    return record
