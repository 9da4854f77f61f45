"""Piggyback, trained adversarially: binary masks over a network that never moves (Mallya, Davis and Lazebnik 2018).

Piggyback: Adapting a Single Network to Multiple Tasks by Learning to Mask Weights, section 3. Every weight of a convolution or
linear layer has a real-valued mask, .01 at the start. The weight is used where its mask is above .005. Masks learn by the
gradient of the weight that is used, times the weight (straight-through).

The network that never moves is the preset's pre-trained backbone (`backbone.pretrained`). Without one it is the network that the
first task learned, whole and without masks: the paper has no such case.

Deviations:

- The head is trained by the recipe's optimiser, and the masks' rate is cut where the recipe's is; published: Adam at 1e-4 for
  both, cut to a tenth after half of 30 epochs.
- Epochs are chosen on validation images; the released code chooses on what it reports.
- Steps are made under the attack, which sees the weights that the task uses. Ternary masks are left out.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from pydantic import Field
from torch import Tensor

from methods.base import Context, MethodSettings
from methods.parts.held import hold_the_rest
from methods.strategies.packed import PackedMethod
from methods.training import TrainedBy
from scenarios.base import LearnTask, Stream


class PiggybackSettings(MethodSettings, TrainedBy):
    """Defaults: the released code's, of 30 epochs at batch 32."""

    mask_rate: float = Field(
        1e-4,
        gt=0,
        description="Adam, for the masks; cut where the recipe cuts its own. A mask needs some .005/rate steps to fall",
    )
    train_rest: bool = Field(
        False,
        description="each task trains batch norm, biases and all else that is not masked; False, published: they stay as they "
        "are in the network that never moves, batch norm in eval mode",
    )


class Piggyback(PackedMethod):
    """A network that never moves, and per task a binary mask over its weights and a head."""

    version = 1
    paper = "Mallya et al. 2018, Piggyback: Adapting a Single Network to Multiple Tasks by Learning to Mask Weights"
    Settings = PiggybackSettings

    _pretrained: bool

    def begin(self, stream: Stream, context: Context) -> None:
        super().begin(stream, context)
        self._pretrained = self._skeleton(1.0).backbone.pretrained
        if self._pretrained:
            nothing = {name: torch.zeros_like(owners, dtype=torch.bool) for name, owners in self.packed.owners.items()}
            self.packed.freeze(nothing)

    @property
    def has_base(self) -> bool:
        return self._pretrained

    @property
    def last_owner(self) -> int:
        """The first task owns all that is not pre-trained; no other owns anything."""
        return 0

    def learn(self, task: LearnTask, context: Context) -> None:
        if task.id == 0 and not self._pretrained:
            self._learn_base(task, context)
        else:
            self._learn_masks(task, context)
        self.record_structure(task.id, "train", context)

    def _learn_base(self, task: LearnTask, context: Context) -> None:
        """Learn the network that never moves again."""
        self.packed.claim(task.id)
        network = self.subnetwork(task.id, context.recipe)
        self.learn_part(network, task, context, phase="train", recipe=context.recipe)

    def _learn_masks(self, task: LearnTask, context: Context) -> None:
        """Learn masks over it, and a head."""
        recipe, rest = context.recipe, self.settings.train_rest
        network = self.subnetwork(task.id, recipe, batch_norm=rest, biases=rest)
        if not rest:
            hold_the_rest(network.backbone)
        share = self.settings.mask_rate / recipe.learning_rate
        second = network.learn_picks(lambda epoch: share * recipe.rate(epoch))
        self.learn_part(network, task, context, phase="train", recipe=recipe, second=second)
        self.record_picks(task.id, context)

    def start_of(self, task: int) -> Mapping[str, Tensor]:
        """Batch norm and biases of the network that never moves, so that no task depends on the masked tasks before it."""
        return {} if self._pretrained or task == 0 else self._of_backbone(0)
