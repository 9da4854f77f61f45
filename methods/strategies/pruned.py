"""Packed methods that prune: the published gate on training accuracy, and pre-trained weights as a first, frozen task."""

from __future__ import annotations

import torch
from pydantic import Field

from methods.backbones import MultiHead
from methods.base import Context, MethodError, MethodSettings
from methods.parts.packing.pruning import smallest_share
from methods.settings import setting_added_later
from methods.strategies.packed import PackedMethod
from methods.training import Selected, TrainedBy
from scenarios.base import Stream


class PrunedSettings(MethodSettings, TrainedBy):
    """Settings of every packed method that prunes."""

    train_gate: float | None = Field(
        None,
        gt=0,
        lt=1,
        description="published: unless accuracy on the training attack exceeds this, the task's weights are thrown away and the "
        "next task starts from a random network that remembers nothing; None: no gate, decisions are made on validation images",
    )
    base_prune_ratio: float | None = setting_added_later(
        None,
        ge=0,
        lt=1,
        description="the weights that the backbone starts from (backbone.pretrained) are a first, frozen task: this share of "
        "each layer, its smallest, is freed, and the rest never moves; published for ImageNet: .5, retrained after it (Mallya & "
        "Lazebnik 2018, section 4); None: the first task moves all of them",
    )


class PrunedMethod(PackedMethod):
    """A packed method in which tasks give back the weights that they need least."""

    def claimed(self) -> frozenset[str]:
        """Nothing under the published gate, by which a task's weights may be thrown away."""
        return self.claims if self.settings.train_gate is None else frozenset()

    @classmethod
    def check(cls, settings: MethodSettings, network: MultiHead) -> None:
        assert isinstance(settings, PrunedSettings)
        if settings.base_prune_ratio is None:
            return
        if not network.backbone.pretrained:
            raise MethodError(
                f"base_prune_ratio = {settings.base_prune_ratio:g} needs a backbone that starts from pre-trained weights; set "
                "backbone.pretrained"
            )
        if settings.train_gate is not None:
            raise MethodError(
                "train_gate throws weights away, base_prune_ratio keeps some for good; give one of the two"
            )

    @property
    def has_base(self) -> bool:
        return self.settings.base_prune_ratio is not None

    def begin(self, stream: Stream, context: Context) -> None:
        super().begin(stream, context)
        ratio = self.settings.base_prune_ratio
        if ratio is not None:
            everything = {
                name: torch.ones_like(owners, dtype=torch.bool) for name, owners in self.packed.owners.items()
            }
            self.packed.freeze(
                {name: smallest_share(weight, everything[name], ratio) for name, weight in self.packed.weights.items()}
            )

    def passes_gate(self, selected: Selected) -> bool:
        """True if there is no published gate on training accuracy, or it is passed."""
        last = selected.epochs[-1]
        accuracy = last.robust_train if last.robust_train is not None else last.clean_train
        gate = self.settings.train_gate
        return gate is None or (accuracy is not None and accuracy > gate)
