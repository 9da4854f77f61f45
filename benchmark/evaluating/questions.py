"""Questions to each classifier after the last task, by the phase of the facts that answer them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from torch import nn

from attacks.base import Attack
from attacks.threat_model import ThreatModel
from benchmark.evaluating.attacking import as_in_an_attack
from benchmark.evaluating.inspection.gradient_truth import compare_gradients
from benchmark.evaluating.probing import probe
from benchmark.evaluating.settings import Evaluation
from benchmark.evaluating.unseen import ask_unseen, unseen_attack
from results.schema import GRADIENTS, PROBES, UNSEEN
from scenarios.base import Task


@dataclass(frozen=True)
class Asking:
    """The conditions under which classifiers are asked.

    evaluation: of the preset.
    model: the threat model of the ranking.
    matrix: the attacks of the matrix with their names in tables.
    """

    evaluation: Evaluation
    model: ThreatModel
    matrix: Mapping[Attack, str]


def _unseen(classifier: nn.Module, task: Task, asking: Asking) -> list[dict[str, Any]]:
    attack = unseen_attack(list(asking.matrix), asking.model)
    return ask_unseen(classifier, task, attack, asking.matrix.get(attack, attack.name), asking.evaluation)


QUESTIONS: dict[str, Callable[[nn.Module, Task, Asking], list[dict[str, Any]]]] = {
    PROBES: lambda classifier, task, asking: probe(classifier, task),
    GRADIENTS: lambda classifier, task, asking: as_in_an_attack(
        lambda: compare_gradients(classifier, task, asking.model, asking.evaluation.seed)
    ),
    UNSEEN: _unseen,
}


def asked_phases(evaluation: Evaluation) -> tuple[str, ...]:
    """The phases of the questions that are asked: a few forward passes always, the others unless `checks` is `none`."""
    return (PROBES,) if evaluation.checks == "none" else tuple(QUESTIONS)
