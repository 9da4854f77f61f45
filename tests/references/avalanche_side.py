"""Avalanche's side: a strategy of ContinualAI/avalanche learns the same stream with the same network.

The network is ours, freshly drawn, as a plain module: a head per task that Avalanche calls by task label, or all heads seen so
far as one. Its own benchmark generator makes the experiences.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor, nn

from methods.backbones import MultiHead
from scenarios.base import StreamProtocol
from tests.references.stream import CLASSES, TASKS, Begun, Matrix, Training, begin, percent_right, seeded

Build = Callable[[Begun, nn.Module, dict[str, Any]], Any]
"""(what was begun, the network, arguments that every strategy takes) → a strategy."""


def learn(
    folder: Path,
    protocol: StreamProtocol,
    seed: int,
    build: Build,
    training: Training | None = None,
    *,
    plain: bool = False,
) -> Matrix:
    """Learn the stream with a strategy of Avalanche."""
    training = training or Training()
    begun = begin(folder, protocol, seed, training=training, plain=plain)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return _run(begun, protocol, seed, build, training)


def _run(begun: Begun, protocol: StreamProtocol, seed: int, build: Build, training: Training) -> Matrix:
    from avalanche.training.plugins import EvaluationPlugin

    seeded(seed)
    network = heads(begun.network) if protocol == "task" else growing(begun.network)
    strategy = build(
        begun,
        network,
        {
            "optimizer": torch.optim.SGD(network.parameters(), lr=training.learning_rate),
            "train_mb_size": training.batch_size,
            "train_epochs": training.epochs,
            "eval_mb_size": 256,
            "evaluator": EvaluationPlugin(loggers=[]),
        },
    )
    matrix = Matrix()
    for task, experience in enumerate(experiences(begun, protocol).train_stream):
        strategy.train(experience)
        matrix.rows.append([_right(strategy.model, begun, protocol, task, old) for old in range(task + 1)])
    return matrix


def experiences(begun: Begun, protocol: StreamProtocol) -> Any:
    """The stream as Avalanche has it."""
    from avalanche.benchmarks import nc_benchmark
    from torch.utils.data import TensorDataset

    class Labelled(TensorDataset):
        """A dataset with `targets`, which Avalanche asks for."""

        def __init__(self, images: Tensor, labels: Tensor) -> None:
            super().__init__(images, labels)
            self.targets = labels.tolist()

        def __getitem__(self, place: int) -> tuple[Tensor, int]:
            return self.tensors[0][place], self.targets[place]

    def whole(images: int, labels: int) -> Any:
        first = 0 if protocol == "class" else CLASSES
        found = [part[labels] + first * task for task, part in enumerate(begun.images)]
        return Labelled(torch.cat([part[images] for part in begun.images]), torch.cat(found))

    return nc_benchmark(
        whole(0, 1),
        whole(2, 3),
        n_experiences=TASKS,
        task_labels=protocol == "task",
        shuffle=False,
        class_ids_from_zero_in_each_exp=protocol == "task",
    )


def _right(model: nn.Module, begun: Begun, protocol: StreamProtocol, after: int, task: int) -> float:
    was, (_, _, images, labels) = model.training, begun.images[task]
    model.eval()
    with torch.no_grad():
        logits = model(images, task) if protocol == "task" else model(images)[:, : CLASSES * (after + 1)]
    model.train(was)
    return percent_right(logits, labels)


def heads(network: MultiHead) -> nn.Module:
    """The network as Avalanche's multi-head module. A batch that mixes tasks goes through the backbone in one pass."""
    from avalanche.models import MultiTaskModule

    class Heads(MultiTaskModule):
        """A head per task."""

        def __init__(self) -> None:
            super().__init__()
            self.network = copy.deepcopy(network)

        def forward_single_task(self, images: Tensor, task: int) -> Tensor:
            return self.network.for_task(task)(images)

        def forward(self, images: Tensor, tasks: Tensor | int | None) -> Any:
            if tasks is None or isinstance(tasks, int):
                return super().forward(images, tasks)
            return self.network(images, tasks)

    return Heads()


def growing(network: MultiHead, at_once: bool = False) -> nn.Module:
    """The network as Avalanche's dynamic module: all heads seen so far as one, or all there will be."""
    from avalanche.models import DynamicModule

    class Growing(DynamicModule):
        """One head, which grows with every experience."""

        def __init__(self) -> None:
            super().__init__()
            self.network, self.seen = copy.deepcopy(network), TASKS if at_once else 0

        def adaptation(self, experience: Any) -> None:
            super().adaptation(experience)
            self.seen = max(self.seen, experience.current_experience + 1)

        def forward(self, images: Tensor) -> Tensor:
            return self.network.for_seen(self.seen - 1)(images)

    return Growing()


# -- strategies, each with the settings of ours ---------------------------------------------------------------------------


def naive() -> Build:
    """Fine-tuning."""
    return with_plugins(lambda: [])


def with_plugins(plugins: Callable[[], list[Any]]) -> Build:
    """Fine-tuning with plugins."""

    def build(begun: Begun, network: nn.Module, common: dict[str, Any]) -> Any:
        from avalanche.training.supervised import Naive

        return Naive(model=network, plugins=plugins(), **common)

    return build


def replay(capacity: int) -> Build:
    """Experience replay from Avalanche's own reservoir, which it fills when an experience is over."""

    def plugins() -> list[Any]:
        from avalanche.training.plugins import ReplayPlugin
        from avalanche.training.storage_policy import ReservoirSamplingBuffer

        return [ReplayPlugin(capacity, storage_policy=ReservoirSamplingBuffer(capacity))]

    return with_plugins(plugins)


def ewc(strength: float, decay: float, rows: int | None = 1) -> Build:
    """Online EWC. rows: images of a batch whose mean gradient is squared; 1 is the Fisher information; None: its own batch."""

    def plugins() -> list[Any]:
        from avalanche.training.plugins import EWCPlugin

        class ByImage(EWCPlugin):
            """Its importances, from batches of a size of our choice."""

            def compute_importances(self, model, criterion, optimizer, dataset, device, batch_size, num_workers=0):
                return super().compute_importances(
                    model, criterion, optimizer, dataset, device, rows or batch_size, num_workers
                )

        return [ByImage(strength, mode="online", decay_factor=decay)]

    return with_plugins(plugins)


def lwf(strength: float, temperature: float) -> Build:
    """Learning without forgetting."""

    def plugins() -> list[Any]:
        from avalanche.training.plugins import LwFPlugin

        return [LwFPlugin(strength, temperature)]

    return with_plugins(plugins)


def agem(per_task: int, drawn: int) -> Build:
    """Averaged gradient episodic memory."""

    def plugins() -> list[Any]:
        from avalanche.training.plugins import AGEMPlugin

        return [AGEMPlugin(per_task, drawn)]

    return with_plugins(plugins)


def derpp(capacity: int, alpha: float, beta: float, *, balanced: bool) -> Build:
    """Dark experience replay ++. balanced: True for as many images of each class, as Avalanche has it; False for a reservoir."""

    def build(begun: Begun, network: nn.Module, common: dict[str, Any]) -> Any:
        from avalanche.training.supervised import DER

        network = growing(begun.network, at_once=True)
        common["optimizer"] = torch.optim.SGD(network.parameters(), lr=common["optimizer"].defaults["lr"])
        strategy = DER(model=network, mem_size=capacity, alpha=alpha, beta=beta, **common)
        if not balanced:
            strategy.storage_policy = _reservoir_with_logits(capacity)
        return strategy

    return build


def _reservoir_with_logits(capacity: int) -> Any:
    from avalanche.benchmarks.utils import make_avalanche_dataset
    from avalanche.benchmarks.utils.data_attribute import TensorDataAttribute
    from avalanche.benchmarks.utils.flat_data import FlatData
    from avalanche.training.storage_policy import ReservoirSamplingBuffer
    from avalanche.training.supervised.der import compute_dataset_logits

    class WithLogits(ReservoirSamplingBuffer):
        """Avalanche's reservoir, of images with the logits that Avalanche's DER stores."""

        def update(self, strategy: Any, **kwargs: Any) -> None:
            new = strategy.experience.dataset
            found = compute_dataset_logits(new.eval(), strategy.model, strategy.train_mb_size, strategy.device)
            logits = FlatData([found], discard_elements_not_in_indices=True)
            kept = TensorDataAttribute(logits, name="logits", use_in_getitem=True)
            self.update_from_dataset(make_avalanche_dataset(new, data_attributes=[kept]))

    return WithLogits(capacity)


def icarl(capacity: int, *, mirrored: bool) -> Build:
    """iCaRL, with all heads from the start. mirrored: True for means over mirrored images too, which digits do not survive.

    Its loss is the mean over classes where ours is the sum, so that its learning rate is to be as many times higher.
    """

    def build(begun: Begun, network: nn.Module, common: dict[str, Any]) -> Any:
        from avalanche.training.supervised import ICaRL

        seen = begun.network.for_seen(TASKS - 1)
        features, classifier = _Features(copy.deepcopy(begun.network)), copy.deepcopy(seen.head)
        parameters = [*features.parameters(), *classifier.parameters()]
        rate = common.pop("optimizer").defaults["lr"] * TASKS * CLASSES
        strategy = ICaRL(
            feature_extractor=features,
            classifier=classifier,
            optimizer=torch.optim.SGD(parameters, lr=rate),
            memory_size=capacity,
            buffer_transform=None,
            fixed_memory=True,
            **common,
        )
        return strategy if mirrored else _unmirrored(strategy)

    return build


class _Features(nn.Module):
    """Our backbone, behind its normalisation."""

    def __init__(self, network: MultiHead) -> None:
        super().__init__()
        self.backbone, self.mean, self.std = network.backbone, network.mean, network.std

    def forward(self, images: Tensor) -> Tensor:
        return self.backbone((images - self.mean) / self.std)


def _unmirrored(strategy: Any) -> Any:
    """The strategy, whose plugin takes an image for its own mirror image when it makes the means."""
    (plugin,) = (each for each in strategy.plugins if type(each).__name__ == "_ICaRLPlugin")
    means = plugin.compute_class_means

    def of_images(learner: Any) -> None:
        with patch.object(torch, "flip", lambda images, dims: images):
            means(learner)

    plugin.compute_class_means = of_images
    return strategy
