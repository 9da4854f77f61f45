"""WSN: each task's choice is that of its kept epoch, what it chose stays for ever, and no classifier changes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from benchmark.evaluating.fingerprints import classifier_fingerprint
from benchmark.learning.context import RunContext
from methods.parts.packing.ownership import FREE
from methods.parts.packing.scored import chosen_of
from methods.wsn import WSN, WSNSettings
from scenarios.base import Task
from tests.tiny import begun, learn

TASKS = 3
BACKBONES: dict[str, dict[str, Any]] = {
    "small_conv": {"name": "small_conv", "width": 0.25},
    "resnet18": {"name": "resnet18", "width": 0.0625},
}
# Scores that move fast, so that tasks of two short epochs choose differently.
SETTINGS = {"score_rate": 0.02}
DECAY = {"weight_decay": 0.01}


def start(
    folder: Path, backbone: str = "small_conv", recipe: dict[str, Any] | None = None, **settings: Any
) -> tuple[WSN, RunContext, list[Task]]:
    row = {"method": "wsn", "settings": {**SETTINGS, **settings}, "recipe": recipe or DECAY}
    method, context, tasks = begun(folder, row, scenario={"tasks": TASKS}, backbone=BACKBONES[backbone])
    assert isinstance(method, WSN)
    return method, context, tasks


@pytest.mark.parametrize("backbone", BACKBONES)
@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_no_classifier_and_no_chosen_weight_ever_changes(tmp_path: Path, backbone: str, optimizer: str) -> None:
    method, context, tasks = start(tmp_path, backbone, {**DECAY, "optimizer": optimizer})
    known: dict[int, str] = {}
    for task in tasks:
        owned = {name: owners != FREE for name, owners in method.packed.owners.items()}
        before = {name: weight.clone() for name, weight in method.packed.weights.items()}
        learn(method, context, task, TASKS)
        for name, mine in owned.items():
            assert torch.equal(method.packed.weights[name][mine], before[name][mine])
            assert bool((mine <= (method.packed.owners[name] != FREE)).all()), "owned weights stay owned"
        assert any(not torch.equal(w, before[name]) for name, w in method.packed.weights.items()), "others move"
        known[task.id] = classifier_fingerprint(method.classifier(task.id))
        assert {t: classifier_fingerprint(method.classifier(t)) for t in known} == known
    assert len(set(known.values())) == TASKS
    other, _, _ = start(tmp_path, backbone)
    other.load_state(method.state())
    assert {t: classifier_fingerprint(other.classifier(t)) for t in known} == known


def test_a_task_uses_its_share_of_each_layer_and_owns_what_is_new_to_it(tmp_path: Path) -> None:
    method, context, tasks = start(tmp_path, capacity=0.3)
    for task in tasks:
        learn(method, context, task, TASKS)
        backbone = method.classifier(task.id).get_submodule("backbone")
        for name, owners in method.packed.owners.items():
            used = backbone.get_parameter(name) != 0
            assert int(used.sum()) == chosen_of(owners.numel(), 0.3)
            picked = method.packed.parts[task.id].picks[name]  # type: ignore[index]
            assert torch.equal(used, picked | method.packed.owned(name, task.id))
            assert float((owners != FREE).double().mean()) <= 0.3 * (task.id + 1) + 1.5 / owners.numel() * (task.id + 1)


def test_scores_go_on_from_task_to_task(tmp_path: Path) -> None:
    method, context, tasks = start(tmp_path)
    learn(method, context, tasks[0], TASKS)
    network = method.scored(1, context)
    for score, kept in zip(network.scores, method.scores.values(), strict=True):
        assert torch.equal(score, kept)
    state = method.state()
    resumed, _, _ = start(tmp_path)
    assert not torch.equal(resumed.scores["layers.0.weight"], method.scores["layers.0.weight"])
    resumed.load_state(state)
    assert all(torch.equal(resumed.scores[name], score) for name, score in method.scores.items())


@pytest.mark.parametrize("kept", ["best", "last"])
def test_what_is_handed_back_is_what_was_validated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kept: str) -> None:
    """The released code goes back to the best epoch's weights, and keeps the choice of the last batch."""
    images = torch.rand(16, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    answers: list[torch.Tensor] = []
    validate = RunContext.validate

    def watched(context: RunContext, classifier: Any, task: Any) -> Any:
        with torch.no_grad():
            answers.append(classifier(images))
        return validate(context, classifier, task)

    monkeypatch.setattr(RunContext, "validate", watched)
    recipe = {**DECAY, "epochs": 6, "selection": {"keep": kept}}
    method, context, tasks = start(tmp_path, recipe=recipe)
    learn(method, context, tasks[0], TASKS)
    assert context.selected is not None
    with torch.no_grad():
        assert torch.equal(method.classifier(0)(images), answers[context.selected.epoch])
    assert len(answers) == 6
    assert not torch.equal(answers[0], answers[5])


def test_with_all_weights_chosen_it_trains_as_a_network_without_masks(tmp_path: Path) -> None:
    """As the first stage of PackNet, whose last task prunes nothing here."""
    found = []
    for name, settings in (("wsn", {"capacity": 1.0}), ("packnet", {"prune_last_task": False})):
        row = {"method": name, "settings": settings, "recipe": DECAY}
        method, context, tasks = begun(tmp_path, row, scenario={"tasks": 1})
        learn(method, context, tasks[0], 1)
        found.append(classifier_fingerprint(method.classifier(0)))
    assert found[0] == found[1]


@pytest.mark.parametrize("capacity", [0, -0.1, 1.5])
def test_a_share_that_is_none_is_refused(capacity: float) -> None:
    with pytest.raises(ValueError, match="capacity"):
        WSNSettings.model_validate({"capacity": capacity})
