"""An independent network per task."""

from __future__ import annotations

from torch import nn

from methods.backbones import TaskNetwork
from methods.base import Context, State
from methods.strategies.trained import TrainedMethod
from scenarios.base import LearnTask, Stream


class NetworkPerTask(TrainedMethod):
    """Each task gets a freshly initialised network that no other task touches: the upper reference for forgetting.

    A subclass says what it is trained by, as under `OneNetwork`.
    """

    claims = frozenset({"unforgetting"})

    stream: Stream
    networks: dict[int, TaskNetwork]

    def begin(self, stream: Stream, context: Context) -> None:
        self.stream = stream
        self.networks = {}
        self._new = lambda task: context.network(stream, task=task)

    def learn(self, task: LearnTask, context: Context) -> None:
        self.networks[task.id] = self._new(task.id).for_task(task.id)
        self.train(self.networks[task.id], task, context)

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
        tasks = state.values["networks"]
        # Drawing weights that are read in a moment takes longer than reading them.
        self.networks = self._new(0).apart(tasks) if tasks else {}
        for task, network in self.networks.items():
            network.load_state_dict(state.under(f"network.{task}."))
