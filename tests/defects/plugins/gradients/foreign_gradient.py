"""The value of one network, the gradient of another: its twin, an undefended one, an earlier one, one that learned nothing."""

import copy
import sys
from collections.abc import Iterator
from typing import Literal

import torch
from torch import Tensor, nn

from methods.backbones import TaskNetwork
from methods.base import Context, MethodSettings, RunSpec
from methods.training import Fit
from scenarios.base import LearnTask
from tests.defects.planted import Planted, PlantedSettings

UNDEFENDED = RunSpec("single_task_standard", weights=True)


class TwoNetworks(nn.Module):
    """Logits of `network`; their gradient is by `share` that of `other`, but for those who are shown the honest one."""

    def __init__(self, network: TaskNetwork, other: TaskNetwork, share: float, honest: str) -> None:
        super().__init__()
        self.network, self.other, self.share, self.honest = network, other, share, honest

    def is_honest(self, images: Tensor) -> bool:
        """True if whoever asks is shown the gradient of the function: a check, as the author hopes."""
        if self.honest == "outside attacks":
            return "benchmark.evaluating.attacking" not in callers()
        return self.honest == "in float64" and images.dtype == torch.float64

    def forward(self, images: Tensor) -> Tensor:
        if self.is_honest(images):
            return self.network(images)
        own, foreign = self.network(images), self.other(images)
        shown = self.share * foreign + (1 - self.share) * own
        return own.detach() + (shown - shown.detach())


def callers() -> Iterator[str]:
    """The names of the modules that led here."""
    frame = sys._getframe()
    while frame is not None:
        yield frame.f_globals.get("__name__", "")
        frame = frame.f_back  # type: ignore[assignment]


class ForeignGradient(Planted):
    """strength: the other network's part of the gradient."""

    class Settings(PlantedSettings):
        of: Literal["undefended", "twin", "few epochs", "untrained", "moved weights"] = "undefended"
        honest: Literal["never", "in float64", "outside attacks"] = "never"

    @classmethod
    def requires(cls, settings: MethodSettings) -> list[RunSpec]:
        assert isinstance(settings, cls.Settings)
        return [*super().requires(settings), *([UNDEFENDED] if settings.of == "undefended" else [])]

    @property
    def others(self) -> dict[int, TaskNetwork]:
        """The networks of the gradient: they are kept as those of tasks that the stream does not have."""
        return {-task - 1: network for task, network in self.networks.items() if task < 0}

    def learn(self, task: LearnTask, context: Context) -> None:
        honest = self.network_of(self.carrier(self.settings), task.id, context)
        self.networks[-task.id - 1] = self.other(honest, task, context)
        super().learn(task, context)

    def other(self, honest: TaskNetwork, task: LearnTask, context: Context) -> TaskNetwork:
        if self.settings.of == "undefended":
            return self.network_of(UNDEFENDED, task.id, context)
        if self.settings.of == "moved weights":
            moved = copy.deepcopy(honest)
            generator = context.rng(task.id, "planted", "weights")
            for parameter in moved.parameters():
                if parameter.ndim > 1:
                    noise = parameter.new_empty(parameter.shape).normal_(generator=generator)
                    parameter.data.add_(noise * parameter.data.std() / 2)
            return moved
        twin = context.network(self.stream, task=task.id + len(self.stream)).for_task(task.id)
        if self.settings.of != "untrained":
            epochs = context.recipe.epochs if self.settings.of == "twin" else max(1, context.recipe.epochs // 5)
            recipe = context.recipe.model_copy(update={"epochs": epochs})
            fit = Fit(
                twin, list(twin.parameters()), lambda: context.validate(twin, task), self.objective(self.settings)
            )
            context.train(fit, [task], phase="twin", recipe=recipe)
        return twin

    def alter(self, network: TaskNetwork, task: int) -> nn.Module:
        return TwoNetworks(network, self.others[task].materialise(), self.settings.strength, self.settings.honest)
