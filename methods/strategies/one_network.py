"""One network that learns task after task, with a head per task: the strategy under which training algorithms are compared."""

from __future__ import annotations

from pydantic import Field
from torch import Tensor, nn

from methods.backbones import MultiHead, TaskNetwork, batch_norm_state, load_batch_norm_state
from methods.base import Context, MethodSettings, State
from methods.strategies.trained import TrainedMethod
from scenarios.base import LearnTask, Stream


class OneNetworkSettings(MethodSettings):
    """Settings of every method that is one network."""

    per_task_bn: bool = Field(
        False, description="each task keeps the batch norm (parameters and statistics) it was learned with"
    )


class OneNetwork(TrainedMethod):
    """Fine-tunes all shared weights on every task; nothing but the heads is protected from later tasks.

    A subclass says what it is trained by: its Settings have an `objective`, or it overrides the method of that name.
    """

    Settings = OneNetworkSettings

    network: MultiHead
    batch_norms: dict[int, dict[str, Tensor]]

    def begin(self, stream: Stream, context: Context) -> None:
        self.network = context.network(stream)
        self.batch_norms = {}

    def learn(self, task: LearnTask, context: Context) -> None:
        self.train(self.network.for_task(task.id), task, context)
        if self.settings.per_task_bn:
            self.batch_norms[task.id] = batch_norm_state(self.network.backbone)

    def classifier(self, task: int | None) -> nn.Module:
        assert task is not None
        classifier: TaskNetwork = self.network.for_task(task).materialise()
        if task in self.batch_norms:
            load_batch_norm_state(classifier.backbone, self.batch_norms[task])
        return classifier

    def state(self) -> State:
        tensors = {f"network.{name}": tensor for name, tensor in self.network.state_dict().items()}
        for task, state in self.batch_norms.items():
            tensors |= {f"batch_norm.{task}.{name}": tensor for name, tensor in state.items()}
        return State(tensors, {"batch_norms": sorted(self.batch_norms)})

    def load_state(self, state: State) -> None:
        self.network.load_state_dict(state.under("network."))
        self.batch_norms = {task: state.under(f"batch_norm.{task}.") for task in state.values["batch_norms"]}
