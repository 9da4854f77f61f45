"""Joint adversarial training: all tasks at once, a head per task. The upper bound of continual learning."""

from __future__ import annotations

from torch import nn

from methods.backbones import MultiHead, TaskNetwork
from methods.base import Context, MethodSettings, State
from methods.strategies.trained import TrainedMethod
from methods.training import Batch, Fit, Logits, TrainedBy, Validation
from scenarios.base import LearnTask, Stream


class JointAT(TrainedMethod):
    """One network, PGD adversarial training on batches mixed from all tasks; the epoch is chosen by the mean over tasks."""

    version = 1
    protocols = frozenset({"task", "class"})
    needs = frozenset({"all_tasks"})
    paper = "Madry et al. 2018, Towards Deep Learning Models Resistant to Adversarial Attacks"

    class Settings(MethodSettings, TrainedBy):
        """The algorithm by which the network is trained."""

    stream: Stream
    network: MultiHead

    def begin(self, stream: Stream, context: Context) -> None:
        self.stream, self.network = stream, context.network(stream)

    def learn_all(self, tasks: list[LearnTask], context: Context) -> None:
        def validate() -> Validation:
            return Validation.joined([context.validate(self._asked(task.id), task) for task in tasks])

        def logits(batch: Batch) -> Logits:
            if self.stream.protocol == "class":
                return self._asked(None)
            return lambda images: self.network(images, batch.tasks)

        objective = self.objective(self.settings)
        fit = Fit(self.network, list(self.network.parameters()), validate, objective, logits=logits)
        context.train(fit, tasks)

    def _asked(self, task: int | None) -> TaskNetwork:
        """The network of a task; under protocol `class`, or for no task, that of all classes."""
        if task is None or self.stream.protocol == "class":
            return self.network.for_seen(len(self.stream) - 1)
        return self.network.for_task(task)

    def classifier(self, task: int | None) -> nn.Module:
        return self._asked(task).materialise()

    def state(self) -> State:
        return State({f"network.{name}": tensor for name, tensor in self.network.state_dict().items()})

    def load_state(self, state: State) -> None:
        self.network.load_state_dict(state.under("network."))
