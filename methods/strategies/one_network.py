"""One network that learns task after task, with a head per task: the strategy under which training algorithms are compared."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field
from torch import Tensor, nn

from methods.backbones import MultiHead, TaskNetwork, batch_norm_state, load_batch_norm_state
from methods.base import Context, MethodSettings, State
from methods.strategies.trained import TrainedMethod
from methods.training import Batch, Logits
from scenarios.base import LearnTask, Stream, StreamProtocol


class OneNetworkSettings(MethodSettings):
    """Settings of every method that is one network."""

    per_task_bn: bool = Field(
        False, description="each task keeps the batch norm (parameters and statistics) it was learned with"
    )


class OneNetwork(TrainedMethod):
    """Fine-tunes all shared weights on every task; nothing but the heads is protected from later tasks.

    Under protocol `class` the heads of the tasks so far stand side by side as one, and all of them are trained.

    A subclass says what it is trained by: its Settings have an `objective`, or it overrides the method of that name. It may
    change the training (`fit`), and do something when a task is learned (`consolidate`).

    stream: that it learns.
    network: with a head per task.
    learned: how many tasks it has learned.
    """

    protocols: ClassVar[frozenset[StreamProtocol]] = frozenset({"task", "class"})
    Settings = OneNetworkSettings

    stream: Stream
    network: MultiHead
    batch_norms: dict[int, dict[str, Tensor]]
    learned: int

    @classmethod
    def can_answer(cls, settings: MethodSettings) -> frozenset[StreamProtocol]:
        """Batch norm of a task needs to be told the task."""
        assert isinstance(settings, OneNetworkSettings)
        return cls.protocols - {"class"} if settings.per_task_bn else cls.protocols

    def begin(self, stream: Stream, context: Context) -> None:
        self.stream, self.network = stream, context.network(stream)
        self.batch_norms, self.learned = {}, 0

    def asked(self, task: int) -> TaskNetwork:
        """The network that is trained on a task: with its head, or under protocol `class` with all heads up to it."""
        return self.network.for_seen(task) if self.stream.protocol == "class" else self.network.for_task(task)

    def logits(self, batch: Batch) -> Logits:
        """The function from images to logits for a batch that mixes the tasks up to the one being learned.

        Under protocol `task` each image is answered by its own task's head, with -inf where that has fewer classes than others.
        """
        if self.stream.protocol == "class":
            return self.network.for_seen(self.learned)
        return lambda images: self.network(images, batch.tasks)

    def learn(self, task: LearnTask, context: Context) -> None:
        self.train(self.asked(task.id), task, context)
        if self.settings.per_task_bn:
            self.batch_norms[task.id] = self.kept_of_task()
        self.consolidate(task, context)
        self.learned = task.id + 1

    def kept_of_task(self) -> dict[str, Tensor]:
        """Copies of what the task just trained keeps for itself under `per_task_bn`, by name in the backbone's state dict."""
        return batch_norm_state(self.network.backbone)

    def consolidate(self, task: LearnTask, context: Context) -> None:
        """Take from the network of the kept epoch what later tasks need of this one; nothing, unless overridden."""

    def classifier(self, task: int | None) -> nn.Module:
        if task is None:
            return self.network.for_seen(self.learned - 1).materialise()
        classifier: TaskNetwork = self.network.for_task(task).materialise()
        if task in self.batch_norms:
            load_batch_norm_state(classifier.backbone, self.batch_norms[task])
        return classifier

    def state(self) -> State:
        tensors = {f"network.{name}": tensor for name, tensor in self.network.state_dict().items()}
        for task, state in self.batch_norms.items():
            tensors |= {f"batch_norm.{task}.{name}": tensor for name, tensor in state.items()}
        return State(tensors, {"batch_norms": sorted(self.batch_norms), "learned": self.learned})

    def load_state(self, state: State) -> None:
        self.network.load_state_dict(state.under("network."))
        self.batch_norms = {task: state.under(f"batch_norm.{task}.") for task in state.values["batch_norms"]}
        # Checkpoints of before have no such number; none of them is of protocol `class`.
        self.learned = state.values.get("learned", 0)
