"""Piggyback: one network that never moves, a mask and a head for each task, and no task that another one touches."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from benchmark.evaluating.fingerprints import classifier_fingerprint
from benchmark.learning.context import RunContext
from methods.backbones import BackboneChoice, MultiHead, initialise
from methods.parts.packing.ownership import BASE, owner_of
from methods.piggyback import Piggyback
from methods.strategies.packed import PackedMethod
from scenarios.base import Task
from tests.tiny import begun, learn

TASKS = 3
BACKBONES: dict[str, dict[str, Any]] = {
    "small_conv": {"name": "small_conv", "width": 0.25},
    "resnet18": {"name": "resnet18", "width": 0.0625},
}
# Masks that fall within two short epochs.
FAST = {"mask_rate": 0.01}


def pretrained(folder: Path, backbone: str) -> dict[str, Any]:
    """The backbone, starting from a file of weights that nobody would draw."""
    chosen = BACKBONES[backbone]
    made = BackboneChoice.model_validate(chosen).build((1, 8, 8))
    generator = torch.Generator().manual_seed(5)
    initialise(MultiHead(made, (2,), (0.3,), (0.4,)), generator)
    state = {
        name: tensor + 0.2 * torch.rand(tensor.shape, generator=generator) if tensor.is_floating_point() else tensor
        for name, tensor in made.state_dict().items()
    }
    path = folder / f"{backbone}.safetensors"
    save_file(state, path)
    return {**chosen, "pretrained": str(path)}


def start(folder: Path, backbone: dict[str, Any], **settings: Any) -> tuple[Piggyback, RunContext, list[Task]]:
    row = {"method": "piggyback", "settings": {**FAST, **settings}, "recipe": {"weight_decay": 0.01}}
    method, context, tasks = begun(folder, row, scenario={"tasks": TASKS}, backbone=backbone)
    assert isinstance(method, Piggyback)
    return method, context, tasks


@pytest.fixture(params=[(name, based) for name in BACKBONES for based in (False, True)], ids=str)
def backbone(request: pytest.FixtureRequest, tmp_path: Path) -> dict[str, Any]:
    name, based = request.param
    return pretrained(tmp_path, name) if based else BACKBONES[name]


def of_backbone(method: Piggyback, task: int) -> dict[str, Tensor]:
    return dict(method.classifier(task).get_submodule("backbone").state_dict())


@pytest.mark.parametrize("rest", [False, True])
def test_the_network_never_moves_and_no_classifier_changes(
    tmp_path: Path, backbone: dict[str, Any], rest: bool
) -> None:
    method, context, tasks = start(tmp_path, backbone, train_rest=rest)
    base = {name: weight.clone() for name, weight in method.packed.weights.items()}
    known: dict[int, str] = {}
    for task in tasks:
        learn(method, context, task, TASKS)
        if task.id == 0 and "pretrained" not in backbone:
            base = {name: weight.clone() for name, weight in method.packed.weights.items()}
        for name, weight in method.packed.weights.items():
            assert torch.equal(weight, base[name])
            used = of_backbone(method, task.id)[name]
            assert bool(((used == weight) | (used == 0)).all()), "a mask is 0 or 1"
        known[task.id] = classifier_fingerprint(method.classifier(task.id))
        assert {t: classifier_fingerprint(method.classifier(t)) for t in known} == known
    other, _, _ = start(tmp_path, backbone, train_rest=rest)
    other.load_state(method.state())
    assert {t: classifier_fingerprint(other.classifier(t)) for t in known} == known
    masks = [method.packed.parts[task].picks for task in (1, 2)]
    assert all(mask is not None for mask in masks)
    assert any(not torch.equal(masks[0][name], masks[1][name]) for name in base)  # type: ignore[index]


def test_all_that_is_not_masked_stays_unless_it_is_to_be_trained(tmp_path: Path, backbone: dict[str, Any]) -> None:
    for rest in (False, True):
        method, context, tasks = start(tmp_path, backbone, train_rest=rest)
        for task in tasks:
            learn(method, context, task, TASKS)
        first, last = of_backbone(method, 0), of_backbone(method, 2)
        others = first.keys() - method.packed.weights.keys()
        if "pretrained" in backbone:
            first = method._skeleton(1.0).backbone.state_dict()
        assert others
        assert all(torch.equal(first[name], last[name]) for name in others) is not rest


def test_pre_trained_weights_belong_to_nobody_and_else_the_first_task_owns_them(tmp_path: Path) -> None:
    method, context, tasks = start(tmp_path, pretrained(tmp_path, "small_conv"))
    assert all(bool((owners == BASE).all()) for owners in method.packed.owners.values())
    learn(method, context, tasks[0], TASKS)
    assert method.packed.parts[0].picks is not None
    assert all(bool((owners == BASE).all()) for owners in method.packed.owners.values())
    (tmp_path / "other").mkdir()
    plain, context, tasks = start(tmp_path / "other", BACKBONES["small_conv"])
    learn(plain, context, tasks[0], TASKS)
    assert plain.packed.parts[0].picks is None
    assert all(bool((owners == owner_of(0)).all()) for owners in plain.packed.owners.values())


@pytest.mark.parametrize("rest", [False, True])
def test_a_task_is_the_same_whether_or_not_another_one_was_learned_before_it(
    tmp_path: Path, backbone: dict[str, Any], rest: bool
) -> None:
    found = []
    for between in (True, False):
        folder = tmp_path / str(between)
        folder.mkdir()
        method, context, tasks = start(folder, backbone, train_rest=rest)
        for task in tasks:
            if task.id != 1 or between:
                learn(method, context, task, TASKS)
        found.append(classifier_fingerprint(method.classifier(2)))
    assert found[0] == found[1]


def test_before_the_first_step_a_task_is_the_whole_network_with_a_head(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    network_of = RunContext.network

    def normed(context: RunContext, *args: Any, **options: Any) -> MultiHead:
        made = network_of(context, *args, **options)
        # Its weight is no bias and no batch norm's.
        made.backbone.layers[13] = nn.LayerNorm(made.backbone.features)
        return made

    monkeypatch.setattr(RunContext, "network", normed)
    method, context, tasks = start(tmp_path, BACKBONES["small_conv"])
    learn(method, context, tasks[0], TASKS)
    began: list[dict[str, Tensor]] = []

    def look(method: PackedMethod, network: Any, *args: Any, **options: Any) -> None:
        began.append({name: tensor.clone() for name, tensor in network.backbone.state_dict().items()})
        trained = {id(parameter) for parameter in network.trained() if parameter.requires_grad}
        shared = {id(weight) for weight in network.shared.values()}
        heads = {id(parameter) for parameter in network.head.parameters()}
        assert trained == shared | heads

    monkeypatch.setattr(Piggyback, "learn_part", look)
    monkeypatch.setattr(Piggyback, "record_picks", lambda *args: None)
    monkeypatch.setattr(Piggyback, "record_structure", lambda *args: None)
    learn(method, context, tasks[1], TASKS)
    first = of_backbone(method, 0)
    assert all(torch.equal(tensor, first[name]) for name, tensor in began[0].items())


def test_a_mask_costs_a_bit_per_weight(tmp_path: Path) -> None:
    method, context, tasks = start(tmp_path, BACKBONES["small_conv"])
    for task in tasks:
        learn(method, context, task, TASKS)
    tensors = method.state().tensors
    weights = sum(weight.numel() for weight in method.packed.weights.values())
    bits = sum(tensor.numel() for tensor in tensors.values() if tensor.dtype == torch.bool)
    assert bits == weights * (1 + 2), "an owner, and the masks of two tasks"
