"""GPM, trained adversarially: weights move only where inputs of old tasks do not reach (Saha, Garg and Roy 2021).

Gradient Projection Memory for Continual Learning, section 5. When a task is learned, the inputs of every layer are taken for some
of its images, and the fewest directions that hold most of their energy join the layer's basis (eq. 5 for the first task, 8 and 9
for later ones). Every later gradient loses the part inside the basis.

Deviations:

- Batch norm, biases and whatever else is no weight of a convolution or linear layer is each task's own (`per_task_bn`), so that
  the inputs of deep layers stay what they were. The paper keeps batch norm as the first task left it; its code holds gamma and
  beta, and normalises by the batch at test time, which is no classifier that can be attacked image by image. It has no biases.
- The first task's basis reaches the threshold, as eq. 5 says; the released code stops one direction short of it.
- One number of images for all layers; the released code takes 24 to 125 by layer. Decompositions are exact, in float64.
- Weight decay is projected with the gradient, and momentum is of projected gradients; published: neither. Steps of Adam are
  projected too.
- Images are attacked where `represent` says so: the outputs that are to stay are those under the attack. Published: clean.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Literal, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor

from methods.backbones import TaskNetwork
from methods.base import Context, MethodError, State
from methods.parts.held import HeldNetwork, rest_of
from methods.parts.projection.bases import Bases, Projection, grow
from methods.parts.projection.representations import InputColumns, check_layers, inputs_of_layers
from methods.strategies.one_network import OneNetwork, OneNetworkSettings
from methods.training import Fit, InnerAttack, TrainedBy, attacked_in_parts
from scenarios.base import LearnTask, Stream
from scenarios.parts.augmentation import to_float

PROBES = 2
"""Random images on which it is tried out that columns are what the layers see."""


class GPMSettings(OneNetworkSettings, TrainedBy):
    """Defaults: the released code's for 10-split CIFAR-100, but for the attack.

    Published with it: `training: clean, represent: clean`; in the recipe SGD without momentum and weight decay, learning rate
    0.01, batch 64, no augmentation, at most 200 epochs.
    """

    per_task_bn: bool = Field(
        True,
        description="each task keeps batch norm, biases and all else that is not projected; False, published: they stay as the "
        "first task left them, batch norm in eval mode ever after",
    )
    threshold: float = Field(
        0.97,
        ge=0,
        le=1,
        description="share of the energy of a layer's inputs that is kept after the first task; published: .97, superclasses of "
        "CIFAR-100 .98, ResNet-18 on five data sets .965 (and no step)",
    )
    threshold_step: float = Field(
        0.003, ge=0, le=1, description="what each later task adds to it, up to 1; published: .003, superclasses .001"
    )
    samples: int = Field(125, ge=1, description="images of a task whose inputs are kept; all, if it has fewer")
    represent: Literal["attacked", "clean", "both"] = Field(
        "attacked", description="these images under the training attack, as they are (published), or both"
    )

    @model_validator(mode="after")
    def _check_represented(self) -> Self:
        if self.training.name == "clean" and self.represent != "clean":
            raise ValueError(f"represent = {self.represent}: training = clean attacks no image; set represent = clean")
        return self

    def share(self, task: int) -> float:
        """The share of energy that bases hold after a task (from 0)."""
        return min(1.0, self.threshold + self.threshold_step * task)


class GPM(OneNetwork):
    """One network whose weights move at right angles to the inputs of old tasks."""

    version = 1
    paper = "Saha et al. 2021, Gradient Projection Memory for Continual Learning"
    protocols = frozenset({"task"})
    Settings = GPMSettings

    bases: Bases
    order: list[str]  # of the weights, as images meet them

    def begin(self, stream: Stream, context: Context) -> None:
        super().begin(stream, context)
        self.bases = {}
        generator = context.rng(-1, "begin", "probes")
        probes = torch.rand(PROBES, *stream.image_shape, generator=generator, device=context.device)
        try:
            self.try_out(self.network.for_task(0).eval(), probes)
        except (ValueError, RuntimeError) as error:
            reason = (str(error).splitlines() or [type(error).__name__])[0]
            raise MethodError(f"this backbone's weights cannot be projected: {reason}; choose another one") from None

    def try_out(self, network: TaskNetwork, images: Tensor) -> None:
        """Try on images, float (N, C, H, W), that layers are as projection needs them. Raises ValueError or RuntimeError."""
        self.order = check_layers(network, images)

    # -- a task -----------------------------------------------------------------------------------------------------------

    @property
    def own_weights(self) -> frozenset[str]:
        """The names of weights that are each task's own, and not projected; none."""
        return frozenset()

    def asked(self, task: int) -> TaskNetwork:
        network = super().asked(task)
        return network if self.settings.per_task_bn or task == 0 else HeldNetwork(network)

    def kept_of_task(self) -> dict[str, Tensor]:
        backbone = self.network.backbone
        return rest_of(backbone, frozenset(name for name, _ in backbone.shared_weights()) - self.own_weights)

    def fit(self, network: TaskNetwork, task: LearnTask, context: Context) -> Fit:
        fit = super().fit(network, task, context)
        recipe = fit.objective.recipe(context.recipe)
        if not self.bases:
            return fit
        projection = Projection(dict(self.network.backbone.shared_weights()), self.bases, recipe.weight_decay)
        fit = replace(fit, after_backward=projection.project_gradients)
        if recipe.optimizer != "adam":
            return fit
        projection.hold()
        return replace(fit, after_step=lambda step: projection.put_back())

    # -- when it is learned -----------------------------------------------------------------------------------------------

    def consolidate(self, task: LearnTask, context: Context) -> None:
        images, labels = self._drawn(task, context)
        if self.settings.represent != "clean":
            attacked = self._attacked(images, labels, task, context)
            images = attacked if self.settings.represent == "attacked" else torch.cat([images, attacked])
            labels = labels.repeat(len(images) // len(labels))
        self.protect(images, labels, task, context)
        self._record(context)

    def protect(self, images: Tensor, labels: Tensor, task: LearnTask, context: Context) -> None:
        """Let the bases hold what images of the task just learned need.

        images: float (N, C, H, W) in [0, 1].
        labels: int64 (N,).
        """
        found = inputs_of_layers(self.network.for_task(task.id).eval(), images)
        self.grow(found, self.settings.share(task.id))

    def grow(self, found: Mapping[str, InputColumns], share: float) -> None:
        """Let the bases of the projected weights hold a share of the energy of columns, by the name of the weight."""
        grow(self.bases, {name: columns for name, columns in found.items() if name not in self.own_weights}, share)

    def _drawn(self, task: LearnTask, context: Context) -> tuple[Tensor, Tensor]:
        """Training images, not augmented, float (N, C, H, W) in [0, 1], and their labels."""
        generator = context.rng(task.id, "consolidate", "samples")
        order = torch.randperm(len(task.train), generator=generator, device=context.device)
        chosen = task.unaugmented.select(order[: self.settings.samples]).to(context.device)
        return to_float(chosen.images), chosen.labels

    def _attacked(self, images: Tensor, labels: Tensor, task: LearnTask, context: Context) -> Tensor:
        """The images under the training attack against the network as it is now."""
        network = self.network.for_task(task.id)
        recipe = self.objective(self.settings).recipe(context.recipe)
        starts = context.rng(task.id, "consolidate", "attack start")
        attack = InnerAttack.of(recipe, network, context.exact_eps, starts)
        return attacked_in_parts(attack, images, labels, len(images))

    def _record(self, context: Context) -> None:
        """Record the share of each layer's directions, and of all projected weights, that later tasks cannot move."""
        held = total = 0
        for name, weight in self.network.backbone.shared_weights():
            if name in self.bases:
                size, count = self.bases[name].shape
                held, total = held + count * len(weight), total + size * len(weight)
                context.facts.record("protected_share", count / size, text=name)
        context.facts.record("protected_share", held / total)

    # -- what the harness asks for ----------------------------------------------------------------------------------------

    def state(self) -> State:
        state = super().state()
        return State(state.tensors | {f"basis.{name}": basis for name, basis in self.bases.items()}, state.values)

    def load_state(self, state: State) -> None:
        super().load_state(state)
        # Copies, in memory of their own: products of what lies elsewhere in memory are rounded otherwise.
        self.bases = {name: basis.clone() for name, basis in state.under("basis.").items()}
