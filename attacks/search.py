"""Attacks that search one adversarial image per image and stop when they have it: APGD, FAB, Square and ensembles.

A `Search` holds, for each image of a batch, the worst point found so far. Every point that is evaluated is shown to it, so that
nothing found is lost, and the next part of an ensemble goes on with the images that are still right.

On a classifier of two precisions the search runs on the fast one. An image is broken only if the exact one is wrong on it.

A plug-in imports from here.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from attacks.base import Attack, AttackError, AttackResult, Outcome, Trace, is_worse, outcome_of, without
from attacks.parts.looks import looks_are_free
from attacks.parts.two_precisions import exact_of, walking
from attacks.starts import Starts
from attacks.threat_model import SMALLEST_NORM, Ball, ThreatModel, l2_norm
from attacks.victim import Victim, check_samples

__all__ = ["Search", "SearchAttack", "surface_point"]


class Search:
    """The worst outcome met so far for each image of a batch, and the point where it was met. Begins with the clean images.

    victim: the classifier and the batch; of two precisions the fast one, by which the search finds its way.
    judge: the exact classifier and the batch; None: the victim is exact.
    ball: around all images.
    worst: float (N, C, H, W), the worst points, always in ball and box.
    outcome: at the worst points, exact.
    clean_logits: float (N, C), of the unchanged images, exact.
    """

    def __init__(self, threat_model: ThreatModel, victim: Victim, judge: Victim | None = None) -> None:
        self.victim, self.judge = victim, judge
        self.ball: Ball = threat_model.ball(victim.images)
        self.worst = victim.images.clone()
        self.clean_logits = (judge or victim).logits_only(victim.images)
        self.outcome: Outcome = outcome_of(self.clean_logits, victim.labels)
        self._suspects = None if judge is None else _Suspects(victim.images, victim.labels)

    @property
    def classes(self) -> int:
        """The number of the classifier's classes."""
        return self.clean_logits.shape[1]

    def standing(self) -> Tensor:
        """Indices of the images that are still classified right: int64 (M,), ascending. Waits for the device."""
        self.settle()
        return (self.outcome.predicted == self.victim.labels).nonzero().squeeze(1)

    def is_standing(self, index: Tensor) -> Tensor:
        """True for each row whose image is still classified right: bool (M,). index: int64 (M,), which may repeat images.

        Waits for the device if there are two precisions.
        """
        self.settle()
        return self.is_live(index)

    def is_live(self, index: Tensor) -> Tensor:
        """As `is_standing`, as far as is known without a question to the exact classifier. Waits for nothing."""
        return self.outcome.predicted[index] == self.victim.labels[index]

    def see(self, points: Tensor, logits: Tensor, index: Tensor, among: Tensor | None = None) -> None:
        """Take note of evaluated points. Waits for nothing.

        points: float (M, C, H, W), inside the ball.
        logits: float (M, C), the victim's at the points.
        index: int64 (M,), the points' images, none twice: several points of one image are shown in turn.
        among: bool (M,), the points that count; the others may lie anywhere. None: all count.
        """
        seen = (points.detach(), logits.detach(), index, among)
        if self._suspects is None:
            _keep_worst(self.outcome, self.worst, self.victim.labels, *seen)
        else:
            self._suspects.see(*seen)

    def settle(self, everything: bool = False) -> None:
        """Ask the exact classifier about the points that the fast one takes for broken. Nothing to do in one precision.

        everything: True to ask about the worst points of all images that were seen since they were asked about last.
        """
        if self._suspects is None or self.judge is None:
            return
        index = self._suspects.to_be_judged(everything)
        for part in self.victim.parts(len(index)):
            rows = index[part]
            points = self._suspects.points[rows]
            logits = self.judge.logits_only(points)
            _keep_worst(self.outcome, self.worst, self.victim.labels, points, logits, rows)


class _Suspects:
    """For each image of a batch the point at which the fast classifier was worst since the exact one was asked about it.

    points: float (N, C, H, W).
    """

    def __init__(self, images: Tensor, labels: Tensor) -> None:
        self.points, self._labels = images.clone(), labels
        unseen = torch.full(labels.shape, torch.inf, device=labels.device)
        self._outcome = Outcome(labels.clone(), unseen)

    def see(self, points: Tensor, logits: Tensor, index: Tensor, among: Tensor | None) -> None:
        _keep_worst(self._outcome, self.points, self._labels, points, logits, index, among)

    def to_be_judged(self, everything: bool) -> Tensor:
        """Indices of the images that are suspected broken, or of all that were seen: int64 (M,). They are forgotten here."""
        seen = self._outcome.margin < torch.inf
        index = (seen if everything else seen & (self._outcome.predicted != self._labels)).nonzero().squeeze(1)
        self._outcome.predicted[index], self._outcome.margin[index] = self._labels[index], torch.inf
        return index


def _keep_worst(
    outcome: Outcome,
    worst: Tensor,
    labels: Tensor,
    points: Tensor,
    logits: Tensor,
    index: Tensor,
    among: Tensor | None = None,
) -> None:
    """Write the outcomes at points, and the points, over those of their images wherever they are worse.

    outcome, worst, labels: of all images.
    points, logits, index, among: as of `Search.see`.
    """
    labels = labels[index]
    before = Outcome(outcome.predicted[index], outcome.margin[index])
    found = outcome_of(logits, labels)
    take = is_worse(before, found, labels)
    if among is not None:
        take = take & among
    if looks_are_free(take.device) and not take.any():
        return
    outcome.predicted[index] = torch.where(take, found.predicted, before.predicted)
    outcome.margin[index] = torch.where(take, found.margin, before.margin)
    worst[index] = torch.where(take[:, None, None, None], points, worst[index])


def surface_point(ball: Ball, start: Starts, draw: int, share: float = 1.0) -> Tensor:
    """A random point `share` of the way to the surface of the ball, clamped to the box: float (N, C, H, W).

    linf: a uniform point of the cube, stretched so that its largest coordinate is there; l2: a uniform direction.

    draw: 0 or more; another one gives an independent point.
    """
    noise = start.in_unit_ball(ball.norm, ball.images.shape, draw).to(ball.images)
    length = l2_norm(noise) if ball.norm == "l2" else noise.abs().amax((1, 2, 3), keepdim=True)
    return ball.project(ball.images + noise * (share * ball.eps / length.clamp_min(SMALLEST_NORM)))


@dataclass(frozen=True, kw_only=True)
class SearchAttack(Attack):
    """Base of attacks that end with one image per image: final and any-iterate outcome are the same, the worst met.

    Images that the classifier gets wrong unchanged count as broken and are not attacked.
    """

    def family(self) -> tuple[Any, ...]:
        return without(self.specification())

    @abstractmethod
    def extend(self, search: Search, start: Starts) -> Trace:
        """Go on with a search: attack the images that still stand, and show every evaluated point to `search.see`.

        start: random numbers for all images of the batch (`start.select(index)` for some).

        Results for an image depend on that image and its sample id alone, not on its batch. Called with gradients enabled,
        outside inference mode.
        """

    def run(
        self,
        classifier: nn.Module,
        images: Tensor,
        labels: Tensor,
        start: Starts,
        checkpoints: Sequence[int] | None = None,
    ) -> AttackResult:
        if self.checked(checkpoints) != (self.steps,):
            raise AttackError(f"checkpoints {checkpoints} of {self.name}: its iterates depend on its number of steps")
        chosen = classifier if self.walks else exact_of(classifier)
        with torch.inference_mode(False), torch.enable_grad(), walking(chosen) as (walked, judge):
            victim = Victim(walked, images, labels)
            asked = [victim] if judge is None else [victim, Victim(judge, images, labels)]
            check_samples(start, images)
            search = Search(self.threat_model, *asked)
            self.check_classes(search.classes)
            asked[-1].check_finite()
            trace = self.extend(search, start)
            if not isinstance(trace, Trace):
                raise AttackError(f"extend() returned a {type(trace).__name__}; expected a Trace")
            search.settle(everything=True)
            for each in asked:
                each.check_finite()
        self.threat_model.check(search.worst, victim.images)
        outcome = {self.steps: search.outcome}
        trace.largest_change.append(float(self.threat_model.largest_change(search.worst, victim.images).amax()))
        return AttackResult(
            final=outcome,
            any=outcome,
            adversarial=search.worst,
            worst=search.worst,
            trace=trace,
            gradient_evaluations=victim.gradient_evaluations,
            forward_passes=sum(each.forward_passes for each in asked),
        )
