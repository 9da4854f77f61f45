"""One network that learns task after task, with a head per task: what training algorithms are as continual rows."""

from __future__ import annotations

from abc import abstractmethod

from pydantic import Field
from torch import Tensor, nn

from methods.backbones import MultiHead, TaskNetwork, batch_norm_state, load_batch_norm_state
from methods.base import Context, Method, MethodSettings, State
from methods.training import Fit, Objective
from methods.training.recipe import Recipe
from scenarios.base import LearnTask, Stream


class OneNetworkSettings(MethodSettings):
    """`per_task_bn`: keep each task's batch norm (parameters and statistics) as it was when the task was learned."""

    per_task_bn: bool = Field(False, description="each task keeps the batch norm it was learned with")


class OneNetwork(Method):
    """Fine-tunes all shared weights on every task; nothing protects what was learned before, except the heads."""

    Settings = OneNetworkSettings

    network: MultiHead
    batch_norms: dict[int, dict[str, Tensor]]

    @classmethod
    @abstractmethod
    def objective(cls, settings: MethodSettings) -> Objective:
        """What every task is trained by; a new one for each."""

    @classmethod
    def passes(cls, settings: MethodSettings, recipe: Recipe) -> float:
        return cls.objective(settings).passes(recipe)

    def begin(self, stream: Stream, context: Context) -> None:
        self.network = context.network(stream)
        self.batch_norms = {}

    def learn(self, task: LearnTask, context: Context) -> None:
        network = self.network.for_task(task.id)
        fit = Fit(
            network=network,
            parameters=list(network.parameters()),
            validate=lambda: context.validate(network, task),
            objective=self.objective(self.settings),
        )
        context.train(fit, [task])
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
