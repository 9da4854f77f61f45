"""Distillation of a network's old answers on new images: what learning without forgetting minimises (Li and Hoiem 2016)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from methods.training import AroundObjective, Batch, InnerAttack, Logits, Objective, Recipe

OverClasses = Literal["sum", "mean"]
OVER_CLASSES = (
    "sum: binary cross-entropies of the classes seen are added up (Rebuffi et al. 2017, algorithm 3); mean: averaged, as in "
    "released code"
)


class HeardLogits:
    """Logits as an objective is given them, which remember the last images that they were asked about, and all answers.

    network: images → logits float (N, all).
    shown: the columns that the objective sees.
    """

    images: Tensor
    answers: Tensor

    def __init__(self, network: Logits, shown: slice) -> None:
        self._network, self._shown = network, shown

    def __call__(self, images: Tensor) -> Tensor:
        self.images, self.answers = images, self._network(images)
        return self.answers[:, self._shown]


class DistillingObjective(AroundObjective):
    """Another objective's loss plus lambda_o times the distillation of old heads (Li and Hoiem 2016, section 3).

    inner: it sees the logits in the columns `shown` alone.
    student: the network that is trained: images → logits of the old heads and of the new one.
    shown: its columns by which the task is answered.
    teacher: a frozen network in eval mode: images → logits of the old heads; None if there are none.
    heads: columns of the old heads.
    strength: lambda_o.
    temperature: T.
    attacked: True for distillation on the images of the last forward pass that `inner` makes, which are attacked unless it trains
        on clean ones; False for the clean images, which takes a pass of its own.
    """

    def __init__(
        self,
        inner: Objective,
        student: nn.Module,
        *,
        shown: slice,
        teacher: nn.Module | None,
        heads: Sequence[slice],
        strength: float,
        temperature: float,
        attacked: bool,
    ) -> None:
        super().__init__(inner)
        self.student, self.shown, self.teacher, self.heads = student, shown, teacher, heads
        self.strength, self.temperature = strength, temperature
        # The last pass of clean training is over clean images already.
        self._passes_again = not attacked and inner.robust

    def passes(self, recipe: Recipe) -> float:
        return self.inner.passes(recipe) + distillation_passes(self._passes_again)

    def loss(self, logits: Logits, batch: Batch, attack: InnerAttack) -> tuple[Tensor, Tensor]:
        heard = HeardLogits(self.student, self.shown)
        loss, output = self.inner.loss(heard, batch, attack)
        loss = self.of_task(loss, heard.answers, batch.labels)
        if self.teacher is None:
            return loss, output
        if self._passes_again:
            heard(batch.images)
        with torch.no_grad():
            old = self.teacher(heard.images).float()
        return loss + self.strength * self.of_old_heads(heard.answers, old), output

    def of_task(self, loss: Tensor, answers: Tensor, labels: Tensor) -> Tensor:
        """The part of the loss that is about the task's labels: that of the inner objective.

        answers: the student's logits float (N, all).
        """
        return loss

    def of_old_heads(self, answers: Tensor, old: Tensor) -> Tensor:
        """The part that is about old heads: their distances added up.

        answers: the student's logits float (N, all).
        old: the teacher's, float (N, those of the old heads).
        """
        apart = [softened_cross_entropy(answers[:, head], old[:, head], self.temperature) for head in self.heads]
        return torch.stack(apart).sum()


class SigmoidDistillation(DistillingObjective):
    """Binary cross-entropies of all classes: new ones against the labels, old ones against the teacher's sigmoids (LwF.MC).

    Rebuffi et al. 2017, algorithm 3, without exemplars: summed over classes, and the mean over images. The loss of the inner
    objective is not minimised, but it is what the images are attacked by.

    averaged: True for the mean over all classes seen in place of their sum.
    given: what distillation is given beside.
    """

    def __init__(self, inner: Objective, student: nn.Module, *, averaged: bool, **given: Any) -> None:
        super().__init__(inner, student, **given)
        self.averaged = averaged

    def of_task(self, loss: Tensor, answers: Tensor, labels: Tensor) -> Tensor:
        old = self.heads[-1].stop if self.heads else 0
        classes = torch.arange(answers.shape[1], device=labels.device)
        right = (labels[:, None] == classes).to(torch.float32)
        return binary_cross_entropies(answers[:, old:], right[:, old:], self._divisor(answers))

    def of_old_heads(self, answers: Tensor, old: Tensor) -> Tensor:
        return binary_cross_entropies(answers[:, : old.shape[1]], old.sigmoid(), self._divisor(answers))

    def _divisor(self, answers: Tensor) -> int:
        return answers.shape[1] if self.averaged else 1


def softened_cross_entropy(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """- sum of p log q over classes, p and q the softmaxed logits over the temperature: the mean over images.

    student, teacher: logits float (N, classes).

    The paper's p^(1/T), made to sum to one, is the softmax at T. There is no factor of T².
    """
    return F.cross_entropy(student / temperature, (teacher / temperature).softmax(1))


def binary_cross_entropies(logits: Tensor, targets: Tensor, divisor: int = 1) -> Tensor:
    """The binary cross-entropies of all classes added up and divided, the mean over images.

    logits, targets: float (N, classes).
    divisor: 1 for their sum, the number of all classes seen for their mean.
    """
    return F.binary_cross_entropy_with_logits(logits, targets, reduction="sum") / (divisor * len(logits))


def distillation_passes(again: bool) -> float:
    """Forward-sized passes that distillation takes per image: the teacher's and, if `again`, one of the student's own."""
    return 4 if again else 1
