"""The base of continual strategies: an objective that every training minimises, and a training of one network on one task."""

from __future__ import annotations

from torch import Tensor

from methods.backbones import TaskNetwork
from methods.base import Context, Method, MethodError, MethodSettings
from methods.training import AlgorithmSettings, Fit, Objective, Recipe, Selected, Validation
from scenarios.base import LearnTask


class TrainedMethod(Method):
    """A method whose trainings all minimise one objective: the one that its settings name, or the one that `objective` gives."""

    @classmethod
    def objective(cls, settings: MethodSettings) -> Objective:
        """The objective of a training; a new one for each. From the settings, unless a subclass overrides this.

        Raises MethodError if the settings name none.
        """
        if not isinstance(settings, AlgorithmSettings):
            raise MethodError(
                f"{cls.__name__} does not say what it is trained by: override `objective`, or use settings that have one"
            )
        return settings.objective()

    @classmethod
    def passes(cls, settings: MethodSettings, recipe: Recipe) -> float:
        return cls.objective(settings).passes(recipe)

    def correct(self, validation: Validation) -> Tensor:
        """The validation outcomes that decisions are made by: bool (N,)."""
        return self.objective(self.settings).correct(validation)

    def score(self, validation: Validation) -> float:
        """The validation accuracy that decisions are made by."""
        return self.objective(self.settings).score(validation)

    def train(self, network: TaskNetwork, task: LearnTask, context: Context) -> Selected:
        """Train all of a network on a task, by the preset's recipe."""
        return context.train(self.fit(network, task, context), [task])

    def fit(self, network: TaskNetwork, task: LearnTask, context: Context) -> Fit:
        """The training of a network on a task, for subclasses to change."""
        return Fit(
            network=network,
            parameters=list(network.parameters()),
            validate=lambda: context.validate(network, task),
            objective=self.objective(self.settings),
        )
