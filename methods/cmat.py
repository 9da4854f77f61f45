"""CMAT: CPG (compact, pick, grow) trained adversarially (Hung et al. 2019, Compacting, Picking and Growing).

A task may use weights of earlier tasks, one by one (pick). It hands back those that it does not need (compact). The network gets
wider if a goal cannot be reached (grow). Every decision is made on validation images, under the attack.
"""

from __future__ import annotations

from functools import partial
from typing import Literal

import torch
from pydantic import Field, field_validator, model_validator

from methods.backbones import MultiHead
from methods.base import JSON, Context, MethodError, MethodSettings, RunSpec
from methods.parts.goals import Goal
from methods.parts.packing.pruning import cubic_sparsity, cut_steps, required_ratio, smallest_share
from methods.parts.packing.subnetwork import Subnetwork
from methods.strategies.packed import stage_recipe
from methods.strategies.pruned import PrunedMethod, PrunedSettings
from methods.training import Recipe, Step, Validation
from methods.training.choice import CleanChoice, MadryChoice
from scenarios.base import LearnTask, Stream


class CMATSettings(PrunedSettings):
    """Defaults: CPG's published schedule for CIFAR-100 (100 epochs in the recipe), with its decisions on validation images.

    A width multiplier mu counts parameters: a network of mu 2 has twice as many.
    """

    goals: tuple[float, ...] | None = Field(
        None,
        description="accuracies to reach, one per task; None: what single-task networks of the same recipe and seed reach",
    )
    tolerance: float | None = Field(
        None,
        ge=0,
        lt=1,
        description="how far below its goal a network still counts as good; None: one standard error of the paired difference",
    )
    mu: float = Field(1.0, ge=1, description="width multiplier at the start")
    mu_step: float = Field(0.5, ge=0.05, description="what a growth adds to it")
    mu_max: float = Field(1.5, ge=1, le=16, description="the largest one: the network grows no further")
    mask_rate: float = Field(5e-4, gt=0, description="Adam, for pick-masks; a fifth from half of the epochs on")
    mask_freeze: float = Field(0.7, gt=0, le=1, description="share of the epochs after which pick-masks stay")
    ratios: tuple[float, ...] = Field(
        (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95),
        description="shares of its capacity that a task hands back, tried in turn, rising, between 0 and 1",
    )
    prune_epochs: int = Field(20, ge=1, description="of each ratio's stage; its last epoch is kept")
    prune_rate: float = Field(0.1, gt=0, description="learning rate, in units of the recipe's")
    prune_cut_epochs: int = Field(4, ge=1, description="the epochs of a stage in which weights are cut")
    prune_every: int = Field(10, ge=1, description="steps between cuts")
    retrain_epochs: int = Field(30, ge=1, description="at most; the best epoch is kept")
    retrain_rate: float = Field(0.1, gt=0, description="learning rate, in units of the recipe's")
    retrain_mask_rate: float = Field(1e-4, gt=0, description="Adam, for pick-masks")
    retrain_patience: int = Field(5, ge=1, description="epochs without a better one, after which retraining stops")
    retrain_against: Literal["pruned", "reset"] = Field(
        "pruned",
        description="what retraining must beat; published: reset, the pruned network after its picks were reset, which is worse",
    )

    @field_validator("goals", mode="before")
    @classmethod
    def _check_is_list(cls, value: object) -> object:
        if value is not None and not isinstance(value, list | tuple):
            raise ValueError("give one accuracy per task, such as [0.4, 0.5]")
        return value

    @field_validator("goals")
    @classmethod
    def _check_accuracies(cls, value: tuple[float, ...] | None) -> tuple[float, ...] | None:
        if value is not None and any(not 0 <= goal <= 1 for goal in value):
            raise ValueError("give accuracies between 0 and 1, not percent")
        return value

    @field_validator("ratios")
    @classmethod
    def _check_ratios(cls, value: tuple[float, ...]) -> tuple[float, ...]:
        # Stages are named by their ratio: two that read the same would be one stage.
        names = {f"{ratio:g}" for ratio in value}
        if any(not 0 < ratio < 1 for ratio in value) or sorted(value) != list(value) or len(names) < len(value):
            raise ValueError(
                "give rising numbers between 0 and 1: each is the share of its capacity that a task hands back"
            )
        return value

    @model_validator(mode="after")
    def _check_cap(self) -> CMATSettings:
        if self.mu_max < self.mu:
            raise ValueError(f"mu_max = {self.mu_max:g} is below mu = {self.mu:g}: the network cannot shrink")
        return self


class CMAT(PrunedMethod):
    """Compacting, picking and growing under PGD adversarial training."""

    version = 1
    paper = "Hung et al. 2019, Compacting, Picking and Growing for Unforgetting Continual Learning"
    needs = frozenset({"validation"})
    Settings = CMATSettings

    @classmethod
    def requires(cls, settings: MethodSettings) -> list[RunSpec]:
        assert isinstance(settings, CMATSettings)
        return [] if settings.goals is not None else [_goals_from(settings)]

    @classmethod
    def epochs(cls, settings: MethodSettings, recipe: Recipe) -> float:
        """Epochs per task with one growth, every ratio tried and no early stop."""
        assert isinstance(settings, CMATSettings)
        finetune = recipe.epochs * (2 if settings.mu_max > settings.mu else 1)
        return finetune + settings.prune_epochs * len(settings.ratios) + settings.retrain_epochs

    @classmethod
    def check(cls, settings: MethodSettings, network: MultiHead) -> None:
        super().check(settings, network)
        assert isinstance(settings, CMATSettings)
        if not network.backbone.grows and settings.mu_max > 1:
            raise MethodError(
                f"mu_max = {settings.mu_max:g}: this backbone has one width and cannot grow; set mu_max=1"
            )

    def begin(self, stream: Stream, context: Context) -> None:
        goals, tasks = self.settings.goals, len(stream.class_counts)
        if goals is not None and len(goals) != tasks:
            raise MethodError(
                f"goals holds {len(goals)} numbers, this stream has {tasks} tasks; give one for every task"
            )
        super().begin(stream, context)

    def learn(self, task: LearnTask, context: Context) -> None:
        self.begin_task(task.id)
        goal = self._goal(task, context)
        finetuned = self._finetune(task, goal, context)
        reached, ratio = finetuned, 0.0
        self.record_structure(task.id, "train", context)
        if not self.packed.lost and self.packed.owns_anything(task.id):
            reached, ratio = self._prune(task, goal, finetuned, context)
            self.record_structure(task.id, "prune", context)
            if self.packed.follows(task.id):
                reached = self._retrain(task, reached, context)
                self.record_structure(task.id, "retrain", context)
        self._record(task, goal, ratio, reached, context)

    # -- the goal ---------------------------------------------------------------------------------------------------------

    def _goal(self, task: LearnTask, context: Context) -> Goal:
        goals, tolerance = self.settings.goals, self.settings.tolerance
        if goals is None:
            validation = context.prerequisite(_goals_from(self.settings)).validation(task.id)
            return Goal(self.score(validation), self.correct(validation), tolerance)
        return Goal(goals[task.id], None, tolerance)

    def _meets(self, goal: Goal, validation: Validation) -> bool:
        return goal.is_met(self.correct(validation))

    # -- A: finetune, and grow where the goal is missed --------------------------------------------------------------------

    def _finetune(self, task: LearnTask, goal: Goal, context: Context) -> Validation:
        before = self.packed.clone()
        mu = max(before.mu, self.settings.mu)
        while True:
            self.packed = before.clone()
            if mu > before.mu:
                fresh = dict(self._new(task.id, mu).backbone.shared_weights())
                self.packed.widen(fresh, mu, task.id)
            self.packed.claim(task.id)
            reached = Validation.from_json(
                context.stage(f"finetune-mu{mu:g}", lambda: self._finetune_stage(task, context))
            )
            if self._meets(goal, reached) or mu >= self.settings.mu_max:
                return reached
            mu = min(mu + self.settings.mu_step, self.settings.mu_max)

    def _finetune_stage(self, task: LearnTask, context: Context) -> JSON:
        recipe, settings = context.recipe, self.settings
        network = self.subnetwork(task.id, recipe)
        owns = self.packed.owns_anything(task.id)

        def rate(epoch: int) -> float:
            # A task that owns nothing learns by its picks alone, so they move until the end.
            frozen = owns and epoch >= settings.mask_freeze * recipe.epochs
            return 0.0 if frozen else settings.mask_rate * (0.2 if epoch >= 0.5 * recipe.epochs else 1.0)

        phase = f"finetune-mu{self.packed.mu:g}"
        second = network.learn_picks(rate) if self.packed.follows(task.id) else None
        selected = self.learn_part(network, task, context, phase=phase, recipe=recipe, second=second)
        self.packed.lost = not self.passes_gate(selected)
        self.record_reached(phase, selected, context)
        return selected.validation.to_json()

    # -- B: prune gradually, and choose the largest ratio that is still good ---------------------------------------------------

    def _prune(self, task: LearnTask, goal: Goal, unpruned: Validation, context: Context) -> tuple[Validation, float]:
        # A goal that even the widest network missed decides nothing: then capacity for the tasks to come counts.
        missed = not self._meets(goal, unpruned)
        enough = required_ratio(self.last_task - task.id) - 1e-9
        kept, reached, chosen = self.packed.clone(), unpruned, 0.0
        for ratio in self.settings.ratios:
            if missed and chosen >= enough:
                break
            found = Validation.from_json(
                context.stage(f"prune-{ratio:g}", partial(self._prune_stage, task, chosen, ratio, context))
            )
            if not missed and not self._meets(goal, found):
                break
            kept, reached, chosen = self.packed.clone(), found, ratio
        self.packed = kept
        return reached, chosen

    def _prune_stage(self, task: LearnTask, start: float, end: float, context: Context) -> JSON:
        settings = self.settings
        epochs = settings.prune_epochs
        recipe = stage_recipe(context.recipe, epochs=epochs, rate=settings.prune_rate, keep="last", every=epochs)
        network = self.subnetwork(task.id, recipe)

        def cut(step: Step) -> None:
            steps = step.per_epoch * min(settings.prune_cut_epochs, epochs)
            if step.number in cut_steps(steps, settings.prune_every):
                self._cut(network, cubic_sparsity(step.number / steps, start, end), step.optimizer)

        phase = f"prune-{end:g}"
        selected = self.learn_part(network, task, context, phase=phase, recipe=recipe, after_step=cut)
        self.record_reached(phase, selected, context)
        return selected.validation.to_json()

    @staticmethod
    def _cut(network: Subnetwork, sparsity: float, optimizer: torch.optim.Optimizer) -> None:
        """Cut the smallest weights of each layer, among all that is open to the task: its own and what is free already."""
        cuts = {
            name: smallest_share(weight.detach(), ~network.earlier[name], sparsity)
            for name, weight in network.shared.items()
        }
        network.release(cuts, optimizer)

    # -- C: retrain with new picks -------------------------------------------------------------------------------------------

    def _retrain(self, task: LearnTask, pruned: Validation, context: Context) -> Validation:
        kept = self.packed.clone()
        result = context.stage("retrain", lambda: self._retrain_stage(task, pruned, context))
        if result is None:
            self.packed = kept
            return pruned
        return Validation.from_json(result)

    def _retrain_stage(self, task: LearnTask, pruned: Validation, context: Context) -> JSON:
        """The validation of the retrained network, or None if it is not better than what it must beat."""
        settings = self.settings
        recipe = stage_recipe(
            context.recipe, epochs=settings.retrain_epochs, rate=settings.retrain_rate, keep="best", every=1
        )
        network = self.subnetwork(task.id, recipe)
        second = network.learn_picks(lambda epoch: settings.retrain_mask_rate)
        to_beat = pruned if settings.retrain_against == "pruned" else context.validate(network.plain, task)
        selected = self.learn_part(
            network, task, context, phase="retrain", recipe=recipe, second=second, patience=settings.retrain_patience
        )
        reached = self.record_reached("retrain", selected, context)
        return selected.validation.to_json() if reached > self.score(to_beat) else None

    # -- what is reported ------------------------------------------------------------------------------------------------

    def _record(self, task: LearnTask, goal: Goal, ratio: float, reached: Validation, context: Context) -> None:
        record, correct = context.facts.record, self.correct(reached)
        record("goal", goal.accuracy)
        record("tolerance", goal.tolerance(correct))
        record("reached", self.score(reached))
        record("goal_met", float(goal.is_met(correct)))
        record("prune_ratio", ratio)
        self.record_selected(context, reached)
        self.record_capacity(task.id, context)


def _goals_from(settings: CMATSettings) -> RunSpec:
    """The run that the goals come from: single-task networks, trained as this method trains."""
    training = settings.training
    if isinstance(training, CleanChoice):
        return RunSpec("single_task_standard")
    return RunSpec(
        "single_task_at", {} if isinstance(training, MadryChoice) else {"training": training.model_dump(mode="json")}
    )
