"""The training recipe: one per preset, the same for every method unless the method's definition says otherwise."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, PlainSerializer, model_validator

from attacks.threat_model import ThreatModelError, parse_fraction
from methods.settings import Strict, setting_added_later
from scenarios.parts.augmentation import by_name


def _read_step_size(value: Any) -> str:
    """The value as text. Raises ValueError unless it is a fraction above 0 or a multiple of eps."""
    try:
        parsed = parse_fraction(value, eps=Fraction(1))
    except ThreatModelError as error:
        raise ValueError(str(error)) from None
    if parsed <= 0:
        raise ValueError("a step size must be above 0")
    return str(value)


def _check_augmentation(name: str) -> str:
    """The name as it is. Raises ValueError unless there is such an augmentation."""
    by_name(name)
    return name


StepSize = Annotated[str, BeforeValidator(_read_step_size), PlainSerializer(str)]
"""A setting: a step size above 0, in pixels of [0, 1], as text: "2/255", "0.01", or a multiple of eps such as "eps/4"."""


class TrainingAttack(Strict):
    """The inner maximisation (Madry et al. 2018, eq. 2.1): PGD at the preset's eps from a uniform start."""

    steps: int = Field(10, ge=1, description="PGD steps")
    step_size: StepSize = Field("eps/4", description="a number such as 2/255, or a multiple of eps such as eps/4")
    bn_mode: Literal["eval", "train"] = Field("eval", description="mode of the network during the attack")
    folded: bool = setting_added_later(
        False, description="precision bf16, bn_mode eval: attack a copy in bfloat16 with batch norm folded in"
    )


class Selection(Strict):
    """The epoch whose network is kept (Rice et al. 2020: robust overfitting makes the last one worse)."""

    keep: Literal["best", "last"] = Field("best", description="best: by accuracy on the validation split")
    every: int = Field(
        1, ge=1, description="epochs from one validation to the next; the last epoch is always validated"
    )
    steps: int = Field(10, ge=1, description="PGD steps of the validation attack")
    step_size: StepSize = Field("eps/4", description="step size of the validation attack")
    precision: Literal["fp32", "bf16"] = setting_added_later(
        "fp32",
        description="bf16: the validation attack walks in bfloat16, and the float32 network judges what it finds",
    )


class Recipe(Strict):
    """The training of a network on one task."""

    epochs: int = Field(ge=1, description="passes over the task's training images")
    batch_size: int = Field(ge=2, description="images in one step of training; a smaller task is one batch")
    optimizer: Literal["sgd", "adam"] = "sgd"
    learning_rate: float = Field(gt=0, description="the rate at the start; the highest one of a cyclic schedule")
    momentum: float = Field(0.9, ge=0, lt=1, description="momentum of sgd")
    nesterov: bool = Field(True, description="True for Nesterov's momentum, if sgd has momentum")
    weight_decay: float = Field(5e-4, ge=0, description="decay of weights; biases and batch norm have none")
    schedule: Literal["step", "cosine", "constant", "cyclic"] = Field("step", description="course of the learning rate")
    milestones: tuple[float, ...] = Field(
        (0.5, 0.8), description="schedule step: shares of the epochs after which the rate is cut"
    )
    gamma: float = Field(0.1, gt=0, le=1, description="schedule step: factor of the rate at each cut")
    rate_per: Literal["epoch", "step"] = setting_added_later("epoch", description="how often the learning rate is set")
    augmentation: Annotated[str, AfterValidator(_check_augmentation)] = Field(
        "none", description="a name in scenarios/parts/augmentation.py"
    )
    precision: Literal["fp32", "bf16"] = Field("fp32", description="bf16: steps compute under autocast")
    micro_batch: int | None = setting_added_later(
        None,
        ge=1,
        description="a step goes through the network in parts of at most so many images of the stream, to save memory; batch "
        "norm sees each part by itself, and methods that replay draw old images beside each",
    )
    recompute: bool = setting_added_later(
        False, description="activations are computed again for each gradient and not kept, to save memory: slower"
    )
    attack: TrainingAttack = TrainingAttack()
    selection: Selection = Selection()

    @model_validator(mode="after")
    def _check_milestones(self) -> Recipe:
        if any(not 0 < share < 1 for share in self.milestones):
            raise ValueError(f"milestones = {list(self.milestones)}: give shares of the epochs, between 0 and 1")
        return self

    @model_validator(mode="after")
    def _check_cyclic(self) -> Recipe:
        if self.schedule == "cyclic" and self.rate_per != "step":
            raise ValueError("schedule = cyclic rises from 0: set rate_per to step")
        return self

    @model_validator(mode="after")
    def _check_folded(self) -> Recipe:
        if self.attack.folded and (self.precision != "bf16" or self.attack.bn_mode != "eval"):
            raise ValueError("attack.folded = true needs precision = bf16 and attack.bn_mode = eval")
        return self

    def rate(self, epoch: float) -> float:
        """The learning rate at `epoch`, counted from 0; a fraction lies between two epochs, where the rate is set per step."""
        if self.schedule == "cosine":
            return self.learning_rate * 0.5 * (1 + math.cos(math.pi * epoch / self.epochs))
        if self.schedule == "cyclic":
            return self.learning_rate * (1 - abs(2 * epoch / self.epochs - 1))
        if self.schedule == "constant":
            return self.learning_rate
        return self.learning_rate * self.gamma ** sum(epoch >= share * self.epochs for share in self.milestones)
