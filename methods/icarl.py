"""iCaRL, trained adversarially: classes are told apart by the means of their exemplars (Rebuffi et al. 2017)."""

from __future__ import annotations

from dataclasses import replace
from itertools import accumulate

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from methods.backbones import MultiHead, TaskNetwork
from methods.base import Context, MethodError, MethodSettings, State
from methods.parts.consolidation.distillation import (
    OVER_CLASSES,
    OverClasses,
    binary_cross_entropies,
    distillation_passes,
)
from methods.parts.exemplars import NearestMean, class_means, features_of, herded
from methods.parts.image_memory import KeptImages
from methods.settings import setting_added_later
from methods.strategies.rehearsal import KeepingSettings, KeepsImages
from methods.training import AroundObjective, Batch, Fit, InnerAttack, Logits, Objective, Recipe, Selected
from scenarios.base import ImageSet, LearnTask, Stream, StreamProtocol


class ICaRLSettings(KeepingSettings):
    """Defaults: the smallest memory of Buzzega et al. 2020 (table 2, S-CIFAR-10); the paper keeps 2000 images of CIFAR-100."""

    capacity: int = Field(200, ge=1, description="exemplars that are kept, of all classes together; the same of each")

    over_classes: OverClasses = setting_added_later("sum", description=OVER_CLASSES)

    @model_validator(mode="after")
    def _check_training(self) -> ICaRLSettings:
        if self.training.name not in ("clean", "madry", "fast"):
            raise ValueError(
                f"training = {self.training.name}: iCaRL has a loss of its own; choose clean, madry or fast"
            )
        return self


class SigmoidTargets(AroundObjective):
    """min binary cross-entropy of every class seen, summed over classes (algorithm 3).

    New classes are held to the labels, old ones to what the network before answered about the very same images, attacked or not.
    The attack climbs the cross-entropy of the label, as that of adversarial training does.

    inner: says if images are attacked, and how (`recipe`).
    starts: int64 (tasks,), what is added to a label to get its class among all; 0 where labels say that already.
    counts: int64 (tasks,), the classes of each task, where an answer is asked for among those alone; None: among all seen.
    before: the network as it was before this task; None for the first.
    averaged: True for the mean over all classes seen in place of their sum.
    """

    def __init__(
        self,
        inner: Objective,
        starts: Tensor,
        counts: Tensor | None,
        before: nn.Module | None,
        *,
        averaged: bool = False,
    ) -> None:
        super().__init__(inner)
        self._starts, self._counts, self._before, self._averaged = starts, counts, before, averaged

    def loss(self, logits: Logits, batch: Batch, attack: InnerAttack) -> tuple[Tensor, Tensor]:
        classes, images = self._starts[batch.tasks] + batch.labels, batch.images
        if self.robust:
            images = attack.on_cross_entropy(logits, images, classes)
        output = logits(images)
        # Not `F.one_hot`, which waits for the device.
        targets = (classes[:, None] == torch.arange(output.shape[1], device=classes.device)).to(torch.float32)
        if self._before is not None:
            with torch.no_grad():
                old = self._before(images).float().sigmoid()
            targets = torch.cat([old, targets[:, old.shape[1] :]], 1)
        apart = binary_cross_entropies(output, targets, output.shape[1] if self._averaged else 1)
        return apart, output if self._counts is None else self._own(output, batch, self._counts)

    def _own(self, output: Tensor, batch: Batch, counts: Tensor) -> Tensor:
        """The logits of each image's own task: float (N, classes seen), -inf beyond them."""
        places = torch.arange(output.shape[1], device=output.device)[None]
        columns = (self._starts[batch.tasks][:, None] + places).clamp_max(output.shape[1] - 1)
        return output.gather(1, columns).masked_fill(places >= counts[batch.tasks][:, None], -torch.inf)


class ICaRL(KeepsImages):
    """One network; a class is recognised by the mean of its exemplars' features, of which a fixed number is kept in all.

    Algorithms 1 to 5. A task is trained on its images and on all exemplars, mixed. Then the capacity is shared out anew: old
    classes keep the first of their exemplars, new ones take theirs by herding, on clean images that nothing augments. Features
    and means have length 1. Logits are minus the squared distances to the means, so gradients reach the images. Under protocol
    `task` the network is the same, and a task's classifier compares the means of its own classes.

    Deviations: the epoch is chosen by the linear outputs, because the means are made afterwards. The released code averages
    features with those of mirrored images, divides the loss by the number of outputs (at a learning rate of 2; `over_classes:
    mean` divides by those seen), and holds the outputs of classes to come to 0; here there are none. Under attack, which the
    paper has not, images are attacked through the linear outputs, and both networks answer about the attacked image (FLAIR, AAAI
    2025, released code: for old classes both about the clean one; it classifies by the linear outputs).

    kept: exemplars, by class in the order of herding; None before the first task.
    means: float (classes seen, features), of length 1.
    """

    version = 1
    paper = "Rebuffi et al. 2017, iCaRL: Incremental Classifier and Representation Learning"
    Settings = ICaRLSettings

    kept: KeptImages | None
    means: Tensor | None

    @classmethod
    def can_answer(cls, settings: MethodSettings) -> frozenset[StreamProtocol]:
        """The watch of fast training compares labels with the outputs for all classes, so these must count alike."""
        assert isinstance(settings, ICaRLSettings)
        found = super().can_answer(settings)
        return found - {"task"} if settings.training.name == "fast" else found

    @classmethod
    def passes(cls, settings: MethodSettings, recipe: Recipe) -> float:
        """Of the task's own images; exemplars, at most `capacity`, come on top in every epoch."""
        return super().passes(settings, recipe) + distillation_passes(again=False)

    @classmethod
    def check(cls, settings: MethodSettings, network: MultiHead) -> None:
        super().check(settings, network)
        assert isinstance(settings, ICaRLSettings)
        classes = sum(head.out_features for head in network.heads if isinstance(head, nn.Linear))
        if settings.capacity < classes:
            raise MethodError(
                f"capacity = {settings.capacity}: there are {classes} classes, and each needs an exemplar; keep at least so many"
            )

    def begin(self, stream: Stream, context: Context) -> None:
        super().begin(stream, context)
        self.kept, self.means = None, None

    @property
    def _starts(self) -> list[int]:
        """The number of each task's first class among all classes."""
        return list(accumulate(self.stream.class_counts[:-1], initial=0))

    def train(self, network: TaskNetwork, task: LearnTask, context: Context) -> Selected:
        return context.train(self.fit(network, task, context), [task, *self._exemplars_as_tasks(task)])

    def _exemplars_as_tasks(self, task: LearnTask) -> list[LearnTask]:
        """The exemplars of each old task, as its training images."""
        found = []
        for old in range(task.id):
            assert self.kept is not None
            part = self.kept.select((self.kept.tasks == old).nonzero()[:, 0])
            # No sample is known of them, and nobody asks for it while training.
            train = ImageSet(part.images, part.labels, torch.zeros_like(part.labels))
            found.append(replace(task, id=old, train=train))
        return found

    def fit(self, network: TaskNetwork, task: LearnTask, context: Context) -> Fit:
        fit = super().fit(network, task, context)
        before = self.network.for_seen(task.id - 1).materialise() if task.id else None
        among_all = self.stream.protocol == "class"
        counts = None if among_all else torch.tensor(self.stream.class_counts, device=context.device)
        starts = torch.tensor([0] * len(self.stream) if among_all else self._starts, device=context.device)
        objective = SigmoidTargets(fit.objective, starts, counts, before, averaged=self.settings.over_classes == "mean")
        seen = self.network.for_seen(task.id)
        return replace(self.with_heads_of(fit, seen, range(task.id)), objective=objective)

    def consolidate(self, task: LearnTask, context: Context) -> None:
        classes = self._starts[task.id] + self.stream.class_counts[task.id]
        each = self.settings.capacity // classes
        new = self._herded(task, each)
        self.kept = new if self.kept is None else self._first(self.kept, each).joined(new)
        features = features_of(self.network, self.kept, self.size)
        self.means = class_means(features, self._classes(self.kept), classes)
        record = context.facts.record
        record("memory_images", len(self.kept))
        record("exemplars_per_class", each)
        # The classifier that is handed out is another one than the linear outputs that the epoch was chosen by.
        reached = context.validate(self.classifier(self.stream.asks(task.id)), task)
        record("selected_clean", reached.clean)
        record("selected_robust", reached.robust)

    def _classes(self, images: KeptImages) -> Tensor:
        """The number of each image's class among all classes: int64 (M,)."""
        if self.stream.protocol == "class":
            return images.labels
        return torch.tensor(self._starts, device=images.labels.device)[images.tasks] + images.labels

    def _herded(self, task: LearnTask, each: int) -> KeptImages:
        """The exemplars of a task's classes, class by class."""
        places, labels = [], task.train.labels
        for label in range(len(task.classes)):
            mine = (labels == label + self.stream.offsets[task.id]).nonzero()[:, 0]
            features = features_of(self.network, KeptImages.of(task.train.select(mine), task.id), self.size)
            places.append(mine[herded(features, each)])
        return KeptImages.of(task.train.select(torch.cat(places)), task.id)

    def _first(self, kept: KeptImages, each: int) -> KeptImages:
        """The first exemplars of each class."""
        classes = self._classes(kept)
        places = [(classes == label).nonzero()[:each, 0] for label in range(int(classes.max()) + 1)]
        return kept.select(torch.cat(places))

    def classifier(self, task: int | None) -> nn.Module:
        assert self.means is not None
        if task is None:
            return NearestMean(self.network, self.means)
        start = self._starts[task]
        return NearestMean(self.network, self.means[start : start + self.stream.class_counts[task]])

    def state(self) -> State:
        state = super().state()
        if self.kept is None or self.means is None:
            return state
        kept = {f"memory.{name}": tensor for name, tensor in self.kept.tensors().items()}
        return State(state.tensors | kept | {"means": self.means}, state.values)

    def load_state(self, state: State) -> None:
        super().load_state(state)
        self.kept, self.means = None, None
        if "means" in state.tensors:
            self.kept, self.means = KeptImages.from_tensors(state.under("memory.")), state.tensors["means"]
