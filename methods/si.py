"""Synaptic intelligence: weights are held by how much they have lowered the loss on their way (Zenke et al. 2017)."""

from __future__ import annotations

from dataclasses import replace

import torch
from pydantic import Field
from torch import Tensor

from methods.backbones import TaskNetwork
from methods.base import Context
from methods.parts.consolidation.path_integral import WayOfParameters
from methods.parts.consolidation.penalties import PenalisedObjective
from methods.strategies.anchored import AnchoredNetwork
from methods.strategies.one_network import OneNetworkSettings
from methods.training import Fit, TrainedBy, Validation
from scenarios.base import LearnTask


class SI(AnchoredNetwork):
    """One network; moving a weight costs the more, the more of the fall of the tasks' losses came from moving it.

    A step adds c · sum of Ω · (θ - θ*)² to its loss, θ* from the end of the task before (eq. 4; no ½). After a task Ω becomes
    max(0, Ω + ω / (Δ² + xi)), Δ the way of the weight in this task (eq. 5; the cut as in the authors' released code). ω is of the
    loss that is descended, so of attacked images where training attacks, without the penalty, and of the steps that were made,
    with momentum, decay and learning rate.

    No weight's factor c · Ω is above half of 1 / learning rate (`AnchoredNetwork`).

    ω, Δ and θ* are of the kept epoch: the way up to it counts, and what came after it is forgotten with it. The paper keeps the
    last epoch.
    """

    version = 1
    paper = "Zenke et al. 2017, Continual Learning Through Synaptic Intelligence"

    class Settings(OneNetworkSettings, TrainedBy):
        """Defaults: the authors' released code for CIFAR-10/100 (c = 0.1, xi = 0.001, Adam at 0.001)."""

        strength: float = Field(0.1, ge=0, description="c, of the penalty beside the loss")
        damping: float = Field(1e-3, gt=0, description="xi: a weight that hardly moved is not infinitely important")

    way: WayOfParameters

    def stiffness(self, importance: Tensor) -> Tensor:
        return 2 * self.settings.strength * importance

    def fit(self, network: TaskNetwork, task: LearnTask, context: Context) -> Fit:
        fit = super().fit(network, task, context)
        penalty = fit.objective.penalty if isinstance(fit.objective, PenalisedObjective) else None
        way = self.way = WayOfParameters(network, self.shared(network), penalty)
        validate = fit.validate

        def settled() -> Validation:
            way.settle()
            return validate()

        return replace(fit, network=way, after_backward=way.after_backward, validate=settled)

    @torch.no_grad()
    def consolidate(self, task: LearnTask, context: Context) -> None:
        moved = self.way.moved()
        gained = {
            name: integral / (moved[name].square() + self.settings.damping)
            for name, integral in self.way.integral().items()
        }
        before = {name: self.importance.get(name, torch.zeros_like(gain)) for name, gain in gained.items()}
        self.remember({name: (before[name] + gain).relu() for name, gain in gained.items()}, context)
        del self.way
