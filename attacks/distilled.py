"""A student of the classifier's answers, attacked in its place: what is found shows whether the classifier's gradient hides it.

Surrogates that learn from a classifier's answers are due to Papernot et al. 2017, *Practical Black-Box Attacks against Machine
Learning*.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from attacks.base import MANY, Trace, describe, margins
from attacks.parts.students import KernelStudent
from attacks.search import Search, SearchAttack
from attacks.settings import whole_number
from attacks.starts import Starts
from attacks.threat_model import SMALLEST_NORM, Ball, ThreatModel, l2_norm

SCALES = (Fraction(3, 5), Fraction(4, 5), Fraction(1))
"""Radii of the balls in which the student is attacked, as shares of eps."""
STEPS = 4
"""Steps of the attack on the student, of a third of the radius."""
GROUP = 64
"""Images that share a student, at most: what it costs grows with the cube of their number."""
DRAWS, ROUNDS = 8, 2
"""The defaults of `Distilled.draws` and `Distilled.rounds`."""
FIRST_ASKED, FIRST_WALKED = 200, 300
"""Numbers of the first random points that are asked about and walked from: far from those of noise, restarts and `inside`."""


@dataclass(frozen=True, kw_only=True)
class Distilled(SearchAttack):
    """PGD on a student that learned the classifier's answers around the attacked images; no gradient of the classifier is taken.

    draws: 2 or more points around every image whose answers are asked for, in the first round; half of them in later ones.
    rounds: 1 or more; in each the student learns from all answers so far, is attacked in three balls, and what was found is shown
        to the classifier, whose answers it learns from in the next.
    Raises AttackError otherwise.

    Up to 64 images of a batch share a student, so an image's result depends on its company: what one image teaches helps the
    next. The same images in the same batches give the same result.
    """

    version: ClassVar[int] = 1
    batch_free: ClassVar[bool] = False

    draws: int = DRAWS
    rounds: int = ROUNDS

    def __post_init__(self) -> None:
        whole_number("draws", self.draws, least=2)
        whole_number("rounds", self.rounds)

    @property
    def name(self) -> str:
        extras: dict[str, Any] = {} if self.rounds == ROUNDS else {"rounds": self.rounds}
        return describe(f"{self.kind}-{self.draws}", self.threat_model, extras)

    def passes(self, classes: int = MANY) -> float:
        later = (self.rounds - 1) * (self.draws // 2)
        return float(1 + self.draws + later + self.rounds * len(SCALES))

    def extend(self, search: Search, start: Starts) -> Trace:
        if self.threat_model.eps == 0:
            return Trace()  # nothing but the image itself is in the ball
        everything = torch.arange(len(search.victim), device=search.victim.labels.device)
        for index in everything.split(GROUP):
            if bool(search.is_standing(index).any()):
                _Lesson(self, search, start, index).run()
        return Trace()


class _Lesson:
    """One group of images and their student. index: int64 (M,), the images of the batch that are in the group."""

    def __init__(self, attack: Distilled, search: Search, start: Starts, index: Tensor) -> None:
        self.attack, self.search, self.index = attack, search, index
        self.start, self.ball = start.select(index), search.ball.select(index)
        self.points, self.logits = [self.ball.images], [search.clean_logits[index]]

    def run(self) -> None:
        drawn = 0
        for number in range(self.attack.rounds):
            for _ in range(self.attack.draws if number == 0 else self.attack.draws // 2):
                self._ask(self._around(drawn), torch.arange(len(self.index), device=self.index.device))
                drawn += 1
            standing = self.search.is_standing(self.index).nonzero().squeeze(1)
            if not len(standing):
                return
            # An answer that is not finite teaches nothing; it is refused when the attack ends.
            student = KernelStudent(torch.cat(self.points), torch.cat(self.logits).nan_to_num())
            for found in self._against(student, standing, number):
                self._ask(found, standing)

    def _ask(self, points: Tensor, rows: Tensor) -> None:
        """Ask the classifier about points of these rows of the group, and keep its answers."""
        logits = self.search.victim.logits_only(points)
        self.search.see(points, logits, self.index[rows])
        self.points.append(points)
        self.logits.append(logits)

    def _around(self, draw: int) -> Tensor:
        """A random point of the ball around each image, like the images.

        In turn: every pixel at random; every pixel half of eps to eps up or down; the same in patches.
        """
        images = self.ball.images
        noise = self.start.uniform(images.shape, FIRST_ASKED + draw).to(images)
        if draw % 3 == 2:
            side = max(3, min(images.shape[2:]) // 4 | 1)
            noise = F.avg_pool2d(F.pad(noise, (side // 2,) * 4, mode="replicate"), side, 1)
        if draw % 3:
            share = self.start.fractions(f"distilled {draw}", images[0].numel()).view(images.shape).to(images)
            noise = noise.sign() * (1 + share) / 2
        if self.ball.norm == "l2":
            radius = (1 + self.start.fractions(f"distilled radius {draw}", 1).to(images)) / 2
            noise = noise / l2_norm(noise).clamp_min(SMALLEST_NORM) * radius[:, :, None, None]
        return self.ball.project(images + noise * self.ball.eps)

    def _against(self, student: KernelStudent, rows: Tensor, number: int) -> tuple[Tensor, ...]:
        """The ends of walks on the student for these rows of the group, one batch per radius."""
        model = self.attack.threat_model
        images, labels = self.ball.images[rows], self.search.victim.labels[self.index[rows]].repeat(len(SCALES))
        ball = Ball.around(images, [ThreatModel(scale * model.eps, model.norm) for scale in SCALES])
        drawn = self.start.in_unit_ball(model.norm, self.ball.images.shape, FIRST_WALKED + number).to(images)
        noise = drawn[rows].repeat(len(SCALES), 1, 1, 1)
        points = ball.project(ball.images + noise * ball.eps / 2)
        for _ in range(STEPS):
            points = points.detach().requires_grad_()
            (gradient,) = torch.autograd.grad(-margins(student(points), labels).sum(), points)
            points = ball.ascend(points.detach(), gradient.nan_to_num(), ball.eps / 3)
        return points.split(len(rows))
