"""An independent network per task: what `single_task_standard` and `single_task_at` share."""

from __future__ import annotations

from abc import abstractmethod

from torch import nn

from methods.backbones import TaskNetwork
from methods.base import Context, Method, MethodSettings, State
from methods.training import Fit, Objective
from methods.training.recipe import Recipe
from scenarios.base import LearnTask, Stream


class NetworkPerTask(Method):
    """Each task gets a freshly initialised network that no other task touches: the upper reference for forgetting."""

    claims = frozenset({"unforgetting"})

    stream: Stream
    networks: dict[int, TaskNetwork]

    @classmethod
    @abstractmethod
    def objective(cls, settings: MethodSettings) -> Objective:
        """What every network is trained by; a new one for each."""

    @classmethod
    def passes(cls, settings: MethodSettings, recipe: Recipe) -> float:
        return cls.objective(settings).passes(recipe)

    def begin(self, stream: Stream, context: Context) -> None:
        self.stream = stream
        self.networks = {}
        self._new = lambda task: context.network(stream, task=task).for_task(task)

    def learn(self, task: LearnTask, context: Context) -> None:
        network = self._new(task.id)
        self.networks[task.id] = network
        fit = Fit(
            network=network,
            parameters=list(network.parameters()),
            validate=lambda: context.validate(network, task),
            objective=self.objective(self.settings),
        )
        context.train(fit, [task])

    def classifier(self, task: int | None) -> nn.Module:
        assert task is not None
        return self.networks[task].materialise()

    def state(self) -> State:
        return State(
            {
                f"network.{task}.{name}": tensor
                for task, network in self.networks.items()
                for name, tensor in network.state_dict().items()
            },
            {"networks": sorted(self.networks)},
        )

    def load_state(self, state: State) -> None:
        self.networks = {task: self._new(task) for task in state.values["networks"]}
        for task, network in self.networks.items():
            network.load_state_dict(state.under(f"network.{task}."))
