"""Fast adversarial training as an objective: FGSM from a random start, under a watch (Wong et al. 2020)."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from methods.training.objectives import AdversarialTraining, AlgorithmSettings, CollapseWatch, Objective
from methods.training.recipe import Recipe, StepSize, TrainingAttack


class FastTraining(AdversarialTraining):
    """Madry's objective under one large step from a uniform start (algorithm 3, FGSM with random initialisation).

    step_size: of the one step: a number such as 10/255, or a multiple of eps such as "1.25 eps".
    bn_mode: "train" or "eval", the mode of the network during the attack.
    watch: ends a training that collapses (section 5.4, catastrophic overfitting).
    """

    def __init__(self, step_size: str, bn_mode: str, watch: CollapseWatch) -> None:
        self._step_size, self._bn_mode, self.watch = step_size, bn_mode, watch

    def recipe(self, recipe: Recipe) -> Recipe:
        attack = TrainingAttack.model_validate({"steps": 1, "step_size": self._step_size, "bn_mode": self._bn_mode})
        return recipe.model_copy(update={"attack": attack})


class FastSettings(AlgorithmSettings):
    """Defaults: Wong et al. 2020, section 5 and released code (10/255 at eps 8/255, PGD-5, 20 points)."""

    step_size: StepSize = Field("1.25 eps", description="of the one step")
    bn_mode: Literal["train", "eval"] = Field("train", description="mode of the network during the attack")
    collapse_drop: float = Field(
        0.2,
        gt=0,
        le=1,
        description="a larger fall of robust accuracy on a batch, from one epoch to the next, ends training",
    )
    collapse_steps: int = Field(5, ge=1, description="PGD steps of the attack on that batch, eps/4 each")

    def objective(self) -> Objective:
        return FastTraining(self.step_size, self.bn_mode, CollapseWatch(self.collapse_drop, self.collapse_steps))
