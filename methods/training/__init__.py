"""The shared adversarial training loop, and everything in which methods differ inside it.

A plug-in imports from here: `from methods.training import Fit`.

train, Fit, Step, SecondOptimizer: the loop, and one training as a value.
Objective, CleanTraining, AdversarialTraining, AroundObjective: what a step minimises.
Batch, InnerAttack, Logits: what an objective is given.
AlgorithmSettings, TrainedBy: settings that say what a training minimises.
Recipe, TrainingAttack, Selection: the preset's recipe.
Selected, Epoch, Validation: what a training gives back.
"""

from methods.training.choice import TrainedBy
from methods.training.fit import Fit, SecondOptimizer, Step, autocast, make_adam, make_optimizer
from methods.training.inner_attack import Batch, InnerAttack, Logits, attacked_in_parts
from methods.training.loop import VERSION, Diverged, train
from methods.training.memory import StepTooLarge
from methods.training.objectives import (
    AdversarialTraining,
    AlgorithmSettings,
    AroundObjective,
    CleanTraining,
    CollapseWatch,
    Objective,
)
from methods.training.recipe import Recipe, Selection, StepSize, TrainingAttack
from methods.training.selection import Epoch, Selected
from methods.training.validation import Validation

__all__ = [
    "VERSION",
    "AdversarialTraining",
    "AlgorithmSettings",
    "AroundObjective",
    "Batch",
    "CleanTraining",
    "CollapseWatch",
    "Diverged",
    "Epoch",
    "Fit",
    "InnerAttack",
    "Logits",
    "Objective",
    "Recipe",
    "SecondOptimizer",
    "Selected",
    "Selection",
    "Step",
    "StepSize",
    "StepTooLarge",
    "TrainedBy",
    "TrainingAttack",
    "Validation",
    "attacked_in_parts",
    "autocast",
    "make_adam",
    "make_optimizer",
    "train",
]
