"""Training objectives: the losses that training steps minimise."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from methods.settings import Strict
from methods.training.inner_attack import Batch, InnerAttack, Logits
from methods.training.recipe import Recipe
from methods.training.validation import Validation


@dataclass(frozen=True, slots=True)
class CollapseWatch:
    """The rule by which an objective ends a training that collapses (catastrophic overfitting; Wong et al. 2020, section 5.4).

    After each epoch PGD attacks that epoch's first batch. A fall of robust accuracy since the epoch before is a collapse.

    drop: the fall from which on it is one, 0 to 1.
    steps: PGD steps of the attack, eps/4 each.
    """

    drop: float
    steps: int

    def accuracy(self, logits: Logits, batch: Batch, attack: InnerAttack, generator: torch.Generator) -> float:
        """Robust accuracy on the batch, of the network in eval mode."""
        size = float(attack.threat_model.eps) / 4
        pgd = replace(attack, steps=self.steps, step_size=size, bn_mode="eval", generator=generator, folded=False)
        with pgd.own_mode():
            found = pgd.on_cross_entropy(logits, batch.images, batch.labels)
            with torch.no_grad():
                return float((logits(found).argmax(1) == batch.labels).double().mean())


class Objective(ABC):
    """A training algorithm: it says what a training step minimises, for any network and strategy.

    One instance belongs to one training. Most algorithms need nothing but `loss`.

    robust: True if epochs are chosen by robust validation accuracy, False if by clean accuracy.
    replays: how many steps in a row are made on a minibatch.
    watch: the rule that ends a training which collapses; None: none.
    """

    robust: bool = True
    replays: int = 1
    watch: CollapseWatch | None = None

    def recipe(self, recipe: Recipe) -> Recipe:
        """The recipe, changed where the algorithm's definition differs from it, such as an attack of another kind."""
        return recipe

    def passes(self, recipe: Recipe) -> float:
        """Forward-sized passes that a step costs per image, for estimates of time. A gradient counts two."""
        return 2 * self.image_gradients(recipe) + 3

    def image_gradients(self, recipe: Recipe) -> int:
        """Gradients with respect to the image that a step takes."""
        return self.recipe(recipe).attack.steps

    def correct(self, validation: Validation) -> Tensor:
        """The validation outcomes that decisions are made by: bool (N,)."""
        return validation.robust_correct if self.robust else validation.clean_correct

    def score(self, validation: Validation) -> float:
        """The validation accuracy that decisions are made by."""
        return validation.robust if self.robust else validation.clean

    @abstractmethod
    def loss(self, logits: Logits, batch: Batch, attack: InnerAttack) -> tuple[Tensor, Tensor]:
        """The loss (scalar) and the logits (N, classes) that training accuracy is read from, both with their graphs.

        batch: of a step, or of a part of it. So the loss is a mean over images, plus terms that know no image: then those of the
            parts, weighted by their sizes, are that of the step. An image's loss is first multiplied by `batch.weights`.
        """

    def after_backward(self, attack: InnerAttack) -> None:  # noqa: B027 - most have nothing to do here
        """Called when the gradients of the last `loss` are there and no weight has moved yet: once per step, or part of one."""


class AroundObjective(Objective):
    """An objective around another one: it changes what is minimised, and is in everything else what that one is.

    inner: the objective inside.
    """

    def __init__(self, inner: Objective) -> None:
        self.inner = inner
        self.robust, self.replays, self.watch = inner.robust, inner.replays, inner.watch

    def recipe(self, recipe: Recipe) -> Recipe:
        return self.inner.recipe(recipe)

    def passes(self, recipe: Recipe) -> float:
        return self.inner.passes(recipe)

    def image_gradients(self, recipe: Recipe) -> int:
        return self.inner.image_gradients(recipe)

    def correct(self, validation: Validation) -> Tensor:
        return self.inner.correct(validation)

    def score(self, validation: Validation) -> float:
        return self.inner.score(validation)

    def loss(self, logits: Logits, batch: Batch, attack: InnerAttack) -> tuple[Tensor, Tensor]:
        return self.inner.loss(logits, batch, attack)

    def after_backward(self, attack: InnerAttack) -> None:
        self.inner.after_backward(attack)


def cross_entropy(output: Tensor, batch: Batch) -> Tensor:
    """The mean cross-entropy of logits float (N, classes) over a batch, each image's times its weight: a scalar."""
    if batch.weights is None:
        return F.cross_entropy(output, batch.labels)
    return (batch.weights * F.cross_entropy(output, batch.labels, reduction="none")).mean()


class CleanTraining(Objective):
    """min CE(x): no attack."""

    robust = False

    def image_gradients(self, recipe: Recipe) -> int:
        return 0

    def loss(self, logits: Logits, batch: Batch, attack: InnerAttack) -> tuple[Tensor, Tensor]:
        output = logits(batch.images)
        return cross_entropy(output, batch), output


class AdversarialTraining(Objective):
    """min CE(x + d), d = argmax CE in the ball (Madry et al. 2018, eq. 2.1)."""

    def loss(self, logits: Logits, batch: Batch, attack: InnerAttack) -> tuple[Tensor, Tensor]:
        output = logits(attack.on_cross_entropy(logits, batch.images, batch.labels))
        return cross_entropy(output, batch), output


class AlgorithmSettings(Strict):
    """Settings that say what a training minimises: those of a training algorithm, or of a choice among several."""

    @abstractmethod
    def objective(self) -> Objective:
        """The objective under these settings; a new one for each training."""
