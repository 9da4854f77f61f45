"""PackNet, trained adversarially: every task prunes what it does not need and leaves it to the next (Mallya & Lazebnik 2018)."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, field_validator

from methods.base import Context, MethodError, MethodSettings
from methods.parts.packing.pruning import smallest_share
from methods.strategies.packed import stage_recipe
from methods.strategies.pruned import PrunedMethod, PrunedSettings
from methods.training import Recipe
from scenarios.base import LearnTask


class PackNetSettings(PrunedSettings):
    """Defaults: CPG's port for CIFAR-100.

    Mallya's original: prune_ratio [.5, .75], prune_last_task false, per_task_bn false, per_task_biases false, retrain_epochs 10,
    retrain_milestones [], retrain_keep best, retrain_must_improve true; in the recipe 20 epochs and no weight decay.
    """

    prune_ratio: tuple[float, ...] = Field(
        (0.6,),
        min_length=1,
        description="share of a task's weights that goes, 0 to below 1; one per task, the last repeats",
    )
    prune_last_task: bool = Field(True, description="False: the last task keeps all that is free")
    per_task_bn: bool = Field(True, description="False: batch norm as the first task left it, in eval mode ever after")
    per_task_biases: bool = Field(True, description="False: biases as the first task left them")
    retrain_epochs: int = Field(30, ge=1, description="of the training after pruning")
    retrain_rate: float = Field(0.1, gt=0, description="learning rate, in units of the recipe's")
    retrain_milestones: tuple[float, ...] = Field(
        (0.83,), description="shares of the epochs after which the rate is cut"
    )
    retrain_keep: Literal["best", "last"] | None = Field(None, description="None: as in the recipe")
    retrain_must_improve: bool = Field(
        False, description="keep the retrained weights only if better than right after pruning"
    )

    @field_validator("prune_ratio", mode="before")
    @classmethod
    def _read_one_as_tuple(cls, value: object) -> object:
        return (value,) if isinstance(value, int | float) and not isinstance(value, bool) else value

    @field_validator("prune_ratio")
    @classmethod
    def _check_ratio(cls, value: tuple[float, ...]) -> tuple[float, ...]:
        if any(not 0 <= ratio < 1 for ratio in value):
            raise ValueError("a prune ratio must be at least 0 and below 1: 1 leaves the task nothing")
        return value

    @field_validator("retrain_milestones")
    @classmethod
    def _check_milestones(cls, value: tuple[float, ...]) -> tuple[float, ...]:
        if any(not 0 < share < 1 for share in value):
            raise ValueError("give shares of the epochs, between 0 and 1")
        return value

    def ratio(self, task: int) -> float:
        """The prune ratio of a task."""
        return self.prune_ratio[min(task, len(self.prune_ratio) - 1)]


class PackNet(PrunedMethod):
    """Claim the free weights, train, prune the smallest, retrain the rest. Earlier tasks' weights are used and never moved."""

    version = 1
    paper = "Mallya & Lazebnik 2018, PackNet: Adding Multiple Tasks to a Single Network by Iterative Pruning"
    Settings = PackNetSettings

    @classmethod
    def epochs(cls, settings: MethodSettings, recipe: Recipe) -> float:
        assert isinstance(settings, PackNetSettings)
        return recipe.epochs + settings.retrain_epochs

    def learn(self, task: LearnTask, context: Context) -> None:
        self.begin_task(task.id)
        self.packed.claim(task.id)
        context.stage("train", lambda: self._train(task, context, "train", context.recipe))
        self.record_structure(task.id, "train", context)
        if self.settings.prune_last_task or task.id < self.last_task:
            self._prune(task)
            self.record_structure(task.id, "prune", context)
            context.stage("retrain", lambda: self._retrain(task, context))
        self.record_capacity(task.id, context)

    def _train(self, task: LearnTask, context: Context, phase: str, recipe: Recipe) -> float:
        holds = self.packed.follows(task.id)
        network = self.subnetwork(
            task.id,
            recipe,
            batch_norm=self.settings.per_task_bn or not holds,
            biases=self.settings.per_task_biases or not holds,
        )
        selected = self.learn_part(network, task, context, phase=phase, recipe=recipe)
        self.packed.lost = not self.passes_gate(selected)
        return self.record_reached(phase, selected, context)

    def _prune(self, task: LearnTask) -> None:
        """Cut once, layer by layer: the k-th smallest |w| of the task's own weights is the threshold."""
        packed, ratio = self.packed, self.settings.ratio(task.id)
        cuts = {
            name: smallest_share(weight, packed.owned(name, task.id), ratio) for name, weight in packed.weights.items()
        }
        packed.release(task.id, cuts)
        # A task that is left with nothing can live on what was there before it.
        if not packed.follows(task.id):
            emptied = [name for name in packed.weights if not bool(packed.owned(name, task.id).any())]
            if emptied:
                raise MethodError(
                    f"prune_ratio {ratio:g} leaves the first task nothing of {emptied[0]}; use a smaller one"
                )

    def _retrain(self, task: LearnTask, context: Context) -> None:
        record, settings = context.facts.record, self.settings
        pruned = self.packed.clone()
        right_after = context.validate(self.classifier(task.id), task)
        record("prune_ratio", settings.ratio(task.id))
        record("reached_prune", self.score(right_after))
        recipe = stage_recipe(
            context.recipe,
            epochs=settings.retrain_epochs,
            rate=settings.retrain_rate,
            milestones=settings.retrain_milestones,
            keep=settings.retrain_keep,
        )
        reached = self._train(task, context, "retrain", recipe)
        if settings.retrain_must_improve and reached <= self.score(right_after):
            self.packed = pruned
            self.record_selected(context, right_after)
