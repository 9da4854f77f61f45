"""Dark experience replay ++, trained adversarially: old images keep their labels and their logits (Buzzega et al. 2020)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Literal

import torch
from pydantic import Field, model_validator
from torch import Tensor

from methods.base import Context, MethodSettings
from methods.parts.consolidation.distillation import HeardLogits
from methods.parts.image_memory import KeptImages
from methods.parts.replay import Replay, ReplayingObjective, side_by_side
from methods.strategies.rehearsal import Rehearsal, RehearsalSettings
from methods.training import Batch, Fit, InnerAttack, Logits, Objective, Recipe
from scenarios.base import LearnTask


class DERppSettings(RehearsalSettings):
    """Defaults: Buzzega et al. 2020, released code, S-CIFAR-10 with 200 images."""

    alpha: float = Field(0.1, ge=0, description="weight of the distance to the stored logits")
    beta: float = Field(0.5, ge=0, description="weight of the inner loss on old images and their labels")
    stored_logits: Literal["clean", "attacked"] = Field(
        "clean", description="what they are of: the images as they are, or as the training attack changes them"
    )
    draws: Literal[1, 2] = Field(2, description="2: the two terms draw old images apart; 1: they share them")

    @model_validator(mode="after")
    def _check_terms(self) -> DERppSettings:
        if self.alpha == self.beta == 0:
            raise ValueError("alpha = beta = 0: nothing is replayed; set one of them above 0, or take madry_at")
        return self

    @model_validator(mode="after")
    def _check_attack(self) -> DERppSettings:
        if self.stored_logits == "attacked" and self.training.name in ("clean", "igr"):
            raise ValueError(
                f"stored_logits = attacked: {self.training.name} attacks nothing; set stored_logits to clean"
            )
        return self

    @property
    def draws_of_a_step(self) -> int:
        """The draws of a step: one for each term that counts, or one for both."""
        return min(self.draws, (self.alpha > 0) + (self.beta > 0))


class DarkReplay(ReplayingObjective):
    """min L(new) + alpha · MSE(logits of old images, stored logits) + beta · L(old), L the inner objective.

    All images are attacked and go through the network in one pass. The logits that are held to the stored ones are those that the
    inner objective gives back: of attacked images, unless it attacks nothing.

    classes: of all tasks. Squared distances are divided by their number, as by the mean over the outputs of the released code, so
        that alpha means the same whatever head an image has.
    """

    def __init__(
        self,
        inner: Objective,
        replay: Replay,
        logits_of: Callable[[Batch], Logits],
        settings: DERppSettings,
        classes: int,
    ) -> None:
        super().__init__(inner, replay, logits_of, settings.draws_of_a_step)
        self._alpha, self._beta, self._classes = settings.alpha, settings.beta, classes

    def loss(self, logits: Logits, batch: Batch, attack: InnerAttack) -> tuple[Tensor, Tensor]:
        stored = self.replay.kept.logits
        assert stored is not None
        drawn = [self.replay.draw(batch) for _ in range(self.draws)]
        # The first draw is held to its logits, the last one to its labels. It may be the same one, or there is but one term.
        factors = [0.0] * (self.draws - 1) + [self._beta]
        everything = side_by_side([batch, *(old for old, _ in drawn)], [1.0, *factors])
        loss, output = self.inner.loss(self.logits_of(everything), everything, attack)
        size, (_, places) = len(batch.labels), drawn[0]
        if self._alpha > 0:
            held = output[size : size + len(places)]
            loss = loss + self._alpha * distance(held, stored[places], self._classes)
        return loss, output[:size]


def distance(output: Tensor, stored: Tensor, classes: int) -> Tensor:
    """The squared distance of logits to stored ones, divided by a number of classes, as a mean over images: a scalar.

    output: float (N, K).
    stored: float32 (N, L); -inf for classes that are not stored, which count nothing, as classes that only one of the two has.
    """
    both = min(output.shape[1], stored.shape[1])
    stored = stored[:, :both]
    apart = (output[:, :both].float() - stored).masked_fill(stored.isneginf(), 0.0)
    return apart.square().sum(1).mean() / classes


class DERpp(Rehearsal):
    """One network; old images, which a reservoir keeps, are held to their labels and to the logits that they had.

    Section 3, DER++, with the released code's mean over the outputs for all classes in place of the squared norm.

    Deviations: the reservoir is filled when a task is over (`Rehearsal`). So stored logits are those of the network that was
    kept, in eval mode, of images that nothing augments, and not those of the step in which an image was learned. Under protocol
    `task` they are of the image's own head. Under protocol `class` they are of all classes, as in the released code: heads of
    classes to come are untrained, and being held to what they say keeps old images out of classes that are learned later. All
    images of a step go through the network in one forward pass and not in three, so batch norm's statistics are those of the
    mixture. Under attack, which the paper has not, all of them are attacked (FLAIR, AAAI 2025, released code: likewise, with
    clean logits stored and one draw for both terms).
    """

    version = 1
    paper = "Buzzega et al. 2020, Dark Experience for General Continual Learning: a Strong, Simple Baseline"
    Settings = DERppSettings

    @classmethod
    def passes(cls, settings: MethodSettings, recipe: Recipe) -> float:
        assert isinstance(settings, DERppSettings)
        return cls.objective(settings).passes(recipe) * (1 + settings.draws_of_a_step * settings.replay)

    def replaying(self, fit: Fit, replay: Replay) -> Fit:
        classes = sum(self.stream.class_counts)
        return replace(fit, objective=DarkReplay(fit.objective, replay, self.logits, self.settings, classes))

    def offer(self, task: LearnTask, context: Context) -> None:
        generator = context.rng(task.id, "memory", "reservoir")
        self.memory.offer(task.train, task.id, generator, partial(self._logits_to_keep, task, context))

    def _logits_to_keep(self, task: LearnTask, context: Context, new: KeptImages) -> Tensor:
        """The logits of images of the task that was just learned: float32 (K, classes).

        Those that an objective asked for last: of attacked images, where it attacks.
        """
        objective = self.objective(self.settings)
        recipe = objective.recipe(context.recipe)
        attack = InnerAttack.of(recipe, self.network, context.exact_eps, context.rng(task.id, "memory", "attack start"))
        # Statistics of batch norm that the attack would move are those of the network that was kept.
        attack = replace(attack, bn_mode="eval")
        self.network.eval()
        found = []
        for places in torch.arange(len(new), device=new.labels.device).split(recipe.micro_batch or recipe.batch_size):
            part = new.select(places)
            batch = Batch(part.as_seen(self.size), part.labels, part.tasks)
            heard = self._heard(batch)
            if self.settings.stored_logits == "attacked":
                objective.loss(heard, batch, attack)
            else:
                with torch.no_grad():
                    heard(batch.images)
            found.append(heard.answers.detach())
        return torch.cat(found)

    def _heard(self, batch: Batch) -> HeardLogits:
        """The logits to keep, of which an objective sees those that count in training."""
        if self.stream.protocol == "task":
            return HeardLogits(self.logits(batch), slice(None))
        return HeardLogits(self.network.for_seen(len(self.stream) - 1), slice(0, self.stream.seen[self.learned]))
