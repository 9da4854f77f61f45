"""The shared adversarial training loop, and everything in which methods differ inside it.

A plug-in imports from here: `from methods.training import Fit`.
"""

from methods.training.fit import Fit, SecondOptimizer, Step, autocast, make_optimizer
from methods.training.loop import VERSION, Diverged, train
from methods.training.objectives import (
    AdversarialTraining,
    Batch,
    CleanTraining,
    CollapseWatch,
    InnerAttack,
    Logits,
    Objective,
)
from methods.training.selection import Epoch, Selected
from methods.training.validation import Validation

__all__ = [
    "VERSION",
    "AdversarialTraining",
    "Batch",
    "CleanTraining",
    "CollapseWatch",
    "Diverged",
    "Epoch",
    "Fit",
    "InnerAttack",
    "Logits",
    "Objective",
    "SecondOptimizer",
    "Selected",
    "Step",
    "Validation",
    "autocast",
    "make_optimizer",
    "train",
]
