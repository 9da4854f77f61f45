"""Learning without forgetting: new images are answered by old heads as the network before answered them (Li and Hoiem 2016)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from itertools import accumulate, pairwise
from typing import Literal, Self

from pydantic import Field, model_validator
from torch import nn

from methods.backbones import TaskNetwork
from methods.base import Context, MethodSettings
from methods.parts.consolidation.distillation import (
    OVER_CLASSES,
    DistillingObjective,
    OverClasses,
    SigmoidDistillation,
    distillation_passes,
)
from methods.settings import setting_added_later
from methods.strategies.one_network import OneNetwork, OneNetworkSettings
from methods.training import Fit, Recipe, Selected, TrainedBy
from scenarios.base import LearnTask, Stream, StreamProtocol

CROSS_ENTROPIES = ("clean", "madry", "fast")
"""Training algorithms whose loss is the cross-entropy, on whatever images."""


class LwF(OneNetwork):
    """One network; beside the new labels it learns its own answers from before the task, on the new task's images.

    A step adds lambda_o · sum over old heads of - p log q to its loss, p and q the softmaxes at T of the kept network of the task
    before and of the network itself (section 3). All heads so far are trained. Under protocol `class` the loss is over all
    classes seen, and the old ones share a softmax; `loss: sigmoid` is LwF.MC (Rebuffi et al. 2017).

    The paper has no attack, and stores the old answers once, for images that are not augmented. Here they are given anew in each
    step, for the images of the step, attacked ones by default. The attack climbs the loss on the new labels alone. The paper
    first trains the new head alone; `warm_up_epochs` does that, and is off.
    """

    version = 1
    paper = "Li and Hoiem 2016, Learning without Forgetting"

    class Settings(OneNetworkSettings, TrainedBy):
        """Defaults: Li and Hoiem 2016, section 3 (lambda_o = 1, T = 2)."""

        strength: float = Field(1.0, ge=0, description="lambda_o, of distillation beside the loss")
        temperature: float = Field(2.0, gt=0, description="T, of the softmaxes that are distilled")
        distil_on: Literal["attacked", "clean"] = Field(
            "attacked",
            description="images that teacher and student answer; clean ones take another pass of the student",
        )
        loss: Literal["softmax", "sigmoid"] = Field(
            "softmax", description="sigmoid: LwF.MC, binary cross-entropies of all classes seen; of protocol class"
        )
        over_classes: OverClasses = setting_added_later("sum", description=OVER_CLASSES + "; of loss sigmoid")
        warm_up_epochs: int = Field(
            0, ge=0, description="epochs on the new head alone, before all is trained; of every task but the first"
        )

        @model_validator(mode="after")
        def _check_batch_norm(self) -> Self:
            if self.per_task_bn:
                raise ValueError(
                    "per_task_bn = true: old heads are distilled under the new task's batch norm; set false"
                )
            return self

        @model_validator(mode="after")
        def _check_training(self) -> Self:
            if self.training.name == "free":
                raise ValueError(
                    "training = free attacks by the gradient of the whole step, distillation included, while the attack is to "
                    "climb the loss on the new labels alone; choose clean, madry, trades, fast or igr"
                )
            return self

        @model_validator(mode="after")
        def _check_loss(self) -> Self:
            if self.loss == "sigmoid" and self.training.name not in CROSS_ENTROPIES:
                raise ValueError(
                    f"loss = sigmoid takes the place of cross-entropy, which training = {self.training.name} is not; choose "
                    f"{', '.join(CROSS_ENTROPIES)}, or loss = softmax"
                )
            if self.over_classes == "mean" and self.loss == "softmax":
                raise ValueError(
                    "over_classes = mean is of binary cross-entropies; set loss = sigmoid, or over_classes = sum"
                )
            return self

    @classmethod
    def can_answer(cls, settings: MethodSettings) -> frozenset[StreamProtocol]:
        """LwF.MC is one head of all classes."""
        assert isinstance(settings, cls.Settings)
        return super().can_answer(settings) - ({"task"} if settings.loss == "sigmoid" else set())

    @classmethod
    def epochs(cls, settings: MethodSettings, recipe: Recipe) -> float:
        assert isinstance(settings, cls.Settings)
        return super().epochs(settings, recipe) + settings.warm_up_epochs

    @classmethod
    def passes(cls, settings: MethodSettings, recipe: Recipe) -> float:
        assert isinstance(settings, cls.Settings)
        again = settings.distil_on == "clean" and cls.objective(settings).robust
        return super().passes(settings, recipe) + distillation_passes(again)

    def train(self, network: TaskNetwork, task: LearnTask, context: Context) -> Selected:
        if task.id and self.settings.warm_up_epochs:
            self._warm_up(network, task, context)
        return super().train(network, task, context)

    def fit(self, network: TaskNetwork, task: LearnTask, context: Context) -> Fit:
        fit, settings = super().fit(network, task, context), self.settings
        heads = _columns(self.stream, task.id)
        if not heads and settings.loss == "softmax":
            return fit
        student = self.network.for_seen(task.id)
        shown = slice(heads[-1].stop if heads else 0, None) if self.stream.protocol == "task" else slice(None)
        if self.stream.protocol == "class" and heads:
            heads = [slice(0, heads[-1].stop)]
        kind: Callable[..., DistillingObjective] = DistillingObjective
        if settings.loss == "sigmoid":
            kind = partial(SigmoidDistillation, averaged=settings.over_classes == "mean")
        objective = kind(
            fit.objective,
            student,
            shown=shown,
            # Nothing has moved since the kept epoch of the task before.
            teacher=self.network.for_seen(task.id - 1).materialise() if heads else None,
            heads=heads,
            strength=settings.strength,
            temperature=settings.temperature,
            attacked=settings.distil_on == "attacked",
        )
        return replace(
            fit,
            network=student,
            parameters=list(student.parameters()),
            objective=objective,
            logits=lambda batch: lambda images: student(images)[:, shown],
        )

    def _warm_up(self, network: TaskNetwork, task: LearnTask, context: Context) -> None:
        """Train the new head alone, on the features of the network as it stands, batch norm's statistics included."""
        head, recipe = self.network.heads[task.id], context.recipe
        # Only the head is put into train mode.
        network.eval()
        fit = super().fit(network, task, context)
        fit = replace(fit, network=head, parameters=list(head.parameters()), logits=lambda batch: network)
        with _held(self.network, but=head):
            context.train(
                fit,
                [task],
                phase="warm-up",
                recipe=recipe.model_copy(update={"epochs": self.settings.warm_up_epochs}),
            )


def _columns(stream: Stream, task: int) -> list[slice]:
    """The columns of each head of the tasks before this one, where heads stand side by side."""
    return [slice(first, stop) for first, stop in pairwise(accumulate(stream.class_counts[:task], initial=0))]


@contextmanager
def _held(network: nn.Module, but: nn.Module) -> Iterator[None]:
    """Take no gradient of a network's parameters but of those of a part of it."""
    own = {id(parameter) for parameter in but.parameters()}
    others = [parameter for parameter in network.parameters() if id(parameter) not in own]
    for parameter in others:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in others:
            parameter.requires_grad_(True)
