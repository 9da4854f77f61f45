"""The training algorithms that a continual strategy can be given as a setting.

`training: trades`, or with settings of their own `training: {name: trades, beta: 3}`.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Discriminator

from methods.settings import setting_added_later
from methods.training.algorithms.fast import FastSettings
from methods.training.algorithms.free import FreeSettings
from methods.training.algorithms.input_gradients import InputGradientSettings
from methods.training.algorithms.trades import TradesSettings
from methods.training.objectives import AdversarialTraining, AlgorithmSettings, CleanTraining, Objective


class CleanChoice(AlgorithmSettings):
    """Clean training."""

    name: Literal["clean"] = "clean"

    def objective(self) -> Objective:
        return CleanTraining()


class MadryChoice(AlgorithmSettings):
    """PGD adversarial training."""

    name: Literal["madry"] = "madry"

    def objective(self) -> Objective:
        return AdversarialTraining()


class TradesChoice(TradesSettings):
    """TRADES, with its settings."""

    name: Literal["trades"] = "trades"


class FreeChoice(FreeSettings):
    """Free adversarial training, with its settings."""

    name: Literal["free"] = "free"


class FastChoice(FastSettings):
    """Fast adversarial training, with its settings."""

    name: Literal["fast"] = "fast"


class InputGradientChoice(InputGradientSettings):
    """Input gradient regularisation, with its setting."""

    name: Literal["igr"] = "igr"


ALGORITHMS = (CleanChoice, MadryChoice, TradesChoice, FreeChoice, FastChoice, InputGradientChoice)


def _read_choice(value: Any) -> Any:
    """Read a name alone as a choice with default settings. Raises ValueError, with the valid names, for anything else."""
    if isinstance(value, ALGORITHMS):
        return value
    names = [str(algorithm.model_fields["name"].default) for algorithm in ALGORITHMS]
    given = {"name": value} if isinstance(value, str) else value
    if not isinstance(given, dict) or given.get("name") not in names:
        raise ValueError(f"one of {', '.join(names)}; with settings as {{name: trades, beta: 3}}")
    return given


Algorithm = Annotated[
    CleanChoice | MadryChoice | TradesChoice | FreeChoice | FastChoice | InputGradientChoice,
    Discriminator("name"),
    BeforeValidator(_read_choice),
]


class TrainedBy(AlgorithmSettings):
    """Settings of a strategy that leaves open how a task is trained."""

    training: Algorithm = setting_added_later(
        MadryChoice(), description="clean, madry, trades, free, fast or igr; with settings as {name: trades, beta: 3}"
    )

    def objective(self) -> Objective:
        return self.training.objective()
