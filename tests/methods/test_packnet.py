"""PackNet's own steps and settings."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from attacks.parts.graphs.structure import structure_of
from benchmark.errors import ConfigError
from benchmark.evaluating.fingerprints import classifier_fingerprint
from benchmark.learning.context import RunContext
from methods.base import MethodError
from methods.packnet import PackNet, PackNetSettings
from methods.training import Validation
from scenarios.base import Task
from tests.tiny import begun, learn

TASKS = 3


def start(
    folder: Path, recipe: dict[str, Any] | None = None, **settings: Any
) -> tuple[PackNet, RunContext, list[Task]]:
    row = {"method": "packnet", "settings": {"retrain_epochs": 1, **settings}, "recipe": recipe or {}}
    method, context, tasks = begun(folder, row, scenario={"tasks": TASKS})
    assert isinstance(method, PackNet)
    return method, context, tasks


def test_every_task_keeps_its_share_of_what_was_free_in_every_layer(tmp_path: Path) -> None:
    method, context, tasks = start(tmp_path, prune_ratio=[0.6, 0.5])
    for task in tasks:
        learn(method, context, task, TASKS)
    for counts in method.packed.counts().values():
        free = total = sum(counts)
        for task, ratio in enumerate((0.6, 0.5, 0.5)):
            owned = counts[task + 1]
            assert owned == free - round(ratio * free), f"task {task} of {total} weights"
            free -= owned
        assert counts[0] == free


def test_the_smallest_weights_are_those_that_are_pruned(tmp_path: Path) -> None:
    method, context, tasks = start(tmp_path)
    learn(method, context, tasks[0], TASKS)
    method.packed.claim(1)
    trained = {name: torch.randn(weight.shape) for name, weight in method.packed.weights.items()}
    for name, weight in trained.items():
        mine = method.packed.owned(name, 1)
        method.packed.weights[name][mine] = weight[mine]
    before = method.packed.clone()
    method._prune(tasks[1].to_learn())
    for name, weights in before.weights.items():
        kept, gone = method.packed.owned(name, 1), before.owned(name, 1) & ~method.packed.owned(name, 1)
        assert weights[kept].abs().min() > weights[gone].abs().max()


def test_the_last_task_can_keep_everything(tmp_path: Path) -> None:
    method, context, tasks = start(tmp_path, prune_last_task=False)
    for task in tasks:
        learn(method, context, task, TASKS)
    assert all(counts[0] == 0 for counts in method.packed.counts().values())


def test_batch_norm_and_biases_stay_as_the_first_task_left_them_where_that_is_asked_for(tmp_path: Path) -> None:
    method, context, tasks = start(tmp_path, per_task_bn=False, per_task_biases=False)
    for task in tasks:
        learn(method, context, task, TASKS)
    first, last = method.packed.parts[0].tensors, method.packed.parts[2].tensors
    for name in first:
        assert torch.equal(first[name], last[name]) is not name.startswith("head."), name


def test_batch_norm_and_biases_of_a_task_start_from_those_of_the_task_before(tmp_path: Path) -> None:
    method, context, tasks = start(tmp_path)
    learn(method, context, tasks[0], TASKS)
    network = method.subnetwork(1, context.recipe)
    part = method.packed.parts[0].tensors
    state = network.state_dict()
    for name, tensor in part.items():
        assert torch.equal(state[name], tensor) is not name.startswith("head."), name


def test_an_attack_records_its_steps_once_for_the_networks_of_all_stages(tmp_path: Path) -> None:
    method, context, tasks = start(tmp_path)
    learn(method, context, tasks[0], TASKS)
    of_next, of_first = (method.subnetwork(task, context.recipe) for task in (1, 0))
    assert structure_of(of_next) is None, "it holds what no recording can be asked for"
    assert structure_of(of_next.plain) == structure_of(of_first.plain) is not None
    assert {id(tensor) for tensor in of_next.plain.parameters()} <= {id(tensor) for tensor in of_next.parameters()}


@pytest.mark.parametrize("must_improve", [True, False])
def test_retrained_weights_that_are_no_better_can_be_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, must_improve: bool
) -> None:
    method, context, tasks = start(tmp_path, retrain_must_improve=must_improve)
    learn(method, context, tasks[0], TASKS)
    train, pruned = RunContext.train, list[str]()

    def no_better(context: RunContext, fit: Any, tasks: Any, *, phase: str = "train", recipe: Any = None) -> Any:
        if phase == "retrain":
            pruned.append(classifier_fingerprint(method.classifier(1)))
        selected = train(context, fit, tasks, phase=phase, recipe=recipe)
        if phase == "retrain":
            nothing = torch.zeros_like(selected.validation.robust_correct)
            object.__setattr__(selected, "validation", Validation(nothing, nothing))
        return selected

    monkeypatch.setattr(RunContext, "train", no_better)
    learn(method, context, tasks[1], TASKS)
    assert (classifier_fingerprint(method.classifier(1)) == pruned[0]) is must_improve
    found = {fact["name"]: fact["value"] for fact in context.logs.facts}
    if must_improve:
        assert found["selected_robust"] == found["reached_prune"], "what is logged is what is handed back"
        assert context.validate(method.classifier(1), tasks[1].to_learn()).robust == found["reached_prune"]


@pytest.mark.parametrize("ratio", [1.0, 1.5, -0.1, [0.5, 1.0]])
def test_a_ratio_that_leaves_nothing_is_one_clear_line(ratio: object) -> None:
    with pytest.raises(ValueError, match="below 1: 1 leaves the task nothing"):
        PackNetSettings.model_validate({"prune_ratio": ratio})


@pytest.mark.parametrize("ratio", [0.99999999, 0.995])
def test_a_ratio_that_leaves_the_first_task_an_empty_layer_is_named(tmp_path: Path, ratio: float) -> None:
    """The first layer has 72 weights: 99.5 % of them is all of them, and what is left would be a constant."""
    method, context, tasks = start(tmp_path, prune_ratio=ratio)
    with pytest.raises(MethodError, match=r"leaves the first task nothing of layers.0.weight; use a smaller one"):
        learn(method, context, tasks[0], TASKS)


def test_retraining_has_the_recipe_that_its_settings_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: dict[str, Any] = {}
    train = RunContext.train

    def watched(context: RunContext, fit: Any, tasks: Any, *, phase: str = "train", recipe: Any = None) -> Any:
        seen[phase] = recipe
        return train(context, fit, tasks, phase=phase, recipe=recipe)

    monkeypatch.setattr(RunContext, "train", watched)
    method, context, tasks = start(
        tmp_path, retrain_epochs=4, retrain_rate=0.5, retrain_milestones=[0.5], retrain_keep="last"
    )
    learn(method, context, tasks[0], TASKS)
    rate, retrain = context.recipe.learning_rate, seen["retrain"]
    assert [retrain.rate(epoch) for epoch in range(4)] == pytest.approx([0.5 * rate] * 2 + [0.05 * rate] * 2)
    assert (retrain.selection.keep, retrain.selection.every) == ("last", context.recipe.selection.every)


def test_a_bad_ratio_on_the_command_line_names_the_field(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"packnet.settings: prune_ratio = 1.0: .*leaves the task nothing"):
        start(tmp_path, prune_ratio=1.0)


@pytest.mark.parametrize("settings", [{"retrain_milestones": [25]}, {"retrain_rate": float("inf")}])
def test_settings_that_make_no_sense_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"between 0 and 1|finite"):
        PackNetSettings.model_validate(settings)


def test_one_ratio_is_a_ratio_for_every_task() -> None:
    settings = PackNetSettings.model_validate({"prune_ratio": 0.6})
    assert [settings.ratio(task) for task in range(3)] == [0.6] * 3
    mallya = PackNetSettings.model_validate({"prune_ratio": [0.5, 0.75]})
    assert [mallya.ratio(task) for task in range(4)] == [0.5, 0.75, 0.75, 0.75]
