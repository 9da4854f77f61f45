"""Invariants of every method that packs tasks into owned weights, after every single step of training."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from benchmark.evaluating.fingerprints import classifier_fingerprint
from benchmark.learning.context import RunContext
from methods.base import MethodError
from methods.parts.packing.ownership import FREE
from methods.parts.packing.subnetwork import Subnetwork
from methods.strategies.packed import PackedMethod
from methods.training import Batch, Step
from methods.training.captured import Steps
from results.checkpoints import stored_bytes
from scenarios.base import Task
from tests.tiny import SHORT, begun, learn

TASKS = 3
# Goals that no network reaches: CMAT grows at its first chance, and is then made to hand back what its rule demands.
ROWS = {
    "packnet": {"method": "packnet", "settings": SHORT["packnet"]},
    "packnet frozen": {
        "method": "packnet",
        "settings": {**SHORT["packnet"], "per_task_bn": False, "per_task_biases": False},
        "recipe": {"attack": {"bn_mode": "train"}},
    },
    "cmat": {"method": "cmat", "settings": {**SHORT["cmat"], "goals": [0.0, 0.5, 0.5], "mask_rate": 0.01}},
    "cmat grown": {
        "method": "cmat",
        "settings": {**SHORT["cmat"], "goals": [0.0, 1.0, 1.0], "tolerance": 0.0, "mask_rate": 0.01},
    },
    "cpg": {"method": "cpg", "settings": {**SHORT["cpg"], "goals": [0.0, 0.5, 0.5]}},
}
# Blocks and their projections grow too.
RESIDUAL = {"name": "cifar_resnet18", "width": 0.0625}
ROWS["packnet residual"] = {**ROWS["packnet"], "backbone": RESIDUAL}
ROWS["cmat grown residual"] = {**ROWS["cmat grown"], "backbone": RESIDUAL}
FIRST = {"small_conv": 32 * 0.25, "cifar_resnet18": 64 * 0.0625}
"""Filters of the first layer at mu 1."""


@pytest.fixture(params=ROWS)
def row(request: pytest.FixtureRequest) -> dict[str, Any]:
    return ROWS[request.param]


def start(folder: Path, row: dict[str, Any]) -> tuple[PackedMethod, RunContext, list[Task]]:
    changes = {"backbone": row["backbone"]} if "backbone" in row else {}
    entry = {key: value for key, value in row.items() if key != "backbone"}
    method, context, tasks = begun(folder, entry, scenario={"tasks": TASKS}, **changes)
    assert isinstance(method, PackedMethod)
    return method, context, tasks


def after_every_step(monkeypatch: pytest.MonkeyPatch, look: Callable[[Subnetwork, Step], None]) -> list[int]:
    """Call `look` after every optimiser step of packed training; the list counts the steps."""
    steps: list[int] = []
    real = Steps.make

    def stepped(made: Steps, batch: Batch, step: Step) -> tuple[Tensor, Tensor]:
        result = real(made, batch, step)
        assert isinstance(made.fit.network, Subnetwork)
        look(made.fit.network, step)
        steps.append(step.number)
        return result

    monkeypatch.setattr(Steps, "make", stepped)
    return steps


def assert_free_is_zero(network: Subnetwork, step: Step) -> None:
    for name, weight in network.shared.items():
        free = ~network.own[name] & ~network.earlier[name]
        assert bool((weight[free] == 0).all()), f"{name}: a free weight is not zero after step {step.number}"


def test_free_weights_are_exactly_zero_after_every_step(
    tmp_path: Path, row: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    method, context, tasks = start(tmp_path, row)
    steps = after_every_step(monkeypatch, assert_free_is_zero)
    for task in tasks:
        learn(method, context, task, TASKS)
        for name, owners in method.packed.owners.items():
            assert bool((method.packed.weights[name][owners == FREE] == 0).all())
            assert task.id > 0 or int((owners == FREE).sum()) > 0, "something was freed, so that this says something"
    assert len(steps) > 20


def test_momentum_left_on_a_freed_weight_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    release = Subnetwork.release
    monkeypatch.setattr(Subnetwork, "release", lambda network, cuts, optimizer=None: release(network, cuts))
    method, context, tasks = start(tmp_path, ROWS["cmat"])
    after_every_step(monkeypatch, assert_free_is_zero)
    with pytest.raises(AssertionError, match="a free weight is not zero"):
        learn(method, context, tasks[0], TASKS)


def test_no_step_moves_a_weight_of_an_earlier_task(
    tmp_path: Path, row: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    method, context, tasks = start(tmp_path, row)
    learn(method, context, tasks[0], TASKS)
    known = {name: weight.clone() for name, weight in method.packed.weights.items()}

    def look(network: Subnetwork, step: Step) -> None:
        for name, weight in network.shared.items():
            block = tuple(slice(0, size) for size in known[name].shape)
            earlier, value = network.earlier[name][block], weight.detach()[block]
            assert bool((~earlier | (value == known[name]) | (value == 0)).all()), f"{name}: an owned weight moved"
            outside = network.earlier[name].clone()
            outside[block] = False
            assert not bool(outside.any()), "what growth added belongs to nobody earlier"

    after_every_step(monkeypatch, look)
    learn(method, context, tasks[1], TASKS)


def test_what_is_trained_is_what_is_handed_back(
    tmp_path: Path, row: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The network in training, without masks in its forward pass, and the materialised classifier are the same function."""
    method, context, tasks = start(tmp_path, row)
    images = torch.rand(16, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    compared: list[int] = []
    keep = PackedMethod.keep

    def kept(self: PackedMethod, network: Subnetwork, task: int) -> None:
        keep(self, network, task)
        with torch.no_grad():
            assert torch.equal(self.classifier(task)(images), copy.deepcopy(network).eval()(images))
        compared.append(task)

    monkeypatch.setattr(PackedMethod, "keep", kept)
    for task in tasks:
        learn(method, context, task, TASKS)
    assert len(compared) >= 2 * TASKS


def test_no_classifier_of_an_earlier_task_ever_changes(tmp_path: Path, row: dict[str, Any]) -> None:
    method, context, tasks = start(tmp_path, row)
    known: dict[int, str] = {}
    for task in tasks:
        learn(method, context, task, TASKS)
        known[task.id] = classifier_fingerprint(method.classifier(task.id))
        assert {t: classifier_fingerprint(method.classifier(t)) for t in known} == known
    other, _, _ = start(tmp_path, row)
    other.load_state(method.state())
    assert {t: classifier_fingerprint(other.classifier(t)) for t in known} == known


def test_a_classifier_is_a_plain_network_of_its_own_width(tmp_path: Path, row: dict[str, Any]) -> None:
    method, context, tasks = start(tmp_path, row)
    for task in tasks:
        learn(method, context, task, TASKS)
    for task in tasks:
        classifier = method.classifier(task.id)
        assert not any(isinstance(module, Subnetwork) for module in classifier.modules())
        width = classifier.get_submodule("backbone").layers[0].weight.shape[0]
        name = row.get("backbone", {"name": "small_conv"})["name"]
        assert width == int(FIRST[name] * method.packed.parts[task.id].mu ** 0.5)


def test_weight_decay_reaches_the_tasks_own_weights_and_nothing_else(tmp_path: Path) -> None:
    row = {"method": "packnet", "settings": SHORT["packnet"], "recipe": {"weight_decay": 0.5}}
    method, context, tasks = start(tmp_path, row)
    learn(method, context, tasks[0], TASKS)
    method.packed.claim(1)
    network = method.subnetwork(1, context.recipe)
    for parameter in network.trained():
        parameter.grad = torch.zeros_like(parameter)
    network.mask_gradients()
    shared = {id(weight) for weight in network.shared.values()}
    for name, weight in network.shared.items():
        assert torch.equal(weight.grad, 0.5 * weight.detach() * network.own[name])  # type: ignore[arg-type]
    for parameter in network.trained():
        if id(parameter) not in shared:
            assert not bool(parameter.grad.any()), "no decay on heads, biases and batch norm"  # type: ignore[union-attr]


@pytest.mark.parametrize("name", ["packnet", "cmat"])
def test_where_nothing_is_free_a_task_learns_from_frozen_weights_and_says_so(tmp_path: Path, name: str) -> None:
    row = {"method": name, "settings": dict(SHORT[name]), "recipe": {"epochs": 15}}
    if name == "cmat":
        row["settings"]["goals"] = [0.0, 0.0, 0.0]
    method, context, tasks = start(tmp_path, row)
    learn(method, context, tasks[0], TASKS)
    for owners in method.packed.owners.values():
        owners.fill_(1)
    weights = {key: tensor.clone() for key, tensor in method.packed.weights.items()}
    learn(method, context, tasks[1], TASKS)
    assert all(torch.equal(weights[key], method.packed.weights[key]) for key in weights)
    assert context.validate(method.classifier(1), tasks[1].to_learn()).clean > 0.8
    (said,) = [fact for fact in context.logs.facts if fact["name"] == "exhausted"]
    assert "no free weight was left" in said["text"]


def test_more_tasks_than_owner_ids_is_one_clear_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("methods.strategies.packed.MOST_TASKS", 2)
    with pytest.raises(MethodError, match="counts up to 2 tasks, this stream has 3"):
        start(tmp_path, ROWS["packnet"])


@pytest.mark.parametrize("name", ["packnet", "cmat"])
def test_a_state_of_another_width_is_refused(tmp_path: Path, name: str) -> None:
    method, context, tasks = start(tmp_path, ROWS[name])
    learn(method, context, tasks[0], TASKS)
    wider, _, _ = begun(tmp_path, ROWS[name], scenario={"tasks": TASKS}, backbone={"width": 0.5})
    with pytest.raises(MethodError, match=r"holds layers.0.weight as \[8, 1, 3, 3\], this backbone at mu 1 has \[16"):
        wider.load_state(method.state())


def test_what_is_stored_is_weights_bits_and_what_tasks_keep_for_themselves(tmp_path: Path) -> None:
    """Three tasks and nobody: two bits a weight for the owner, one for each task that picks; the rest are floats."""
    method, context, tasks = start(tmp_path, ROWS["cmat"])
    for task in tasks:
        learn(method, context, task, TASKS)
    tensors = method.state().tensors
    weights = sum(tensor.numel() for name, tensor in tensors.items() if name.startswith("weight."))
    bits = sum(tensor.numel() for tensor in tensors.values() if tensor.dtype == torch.bool)
    assert bits == 2 * weights + 2 * weights
    assert stored_bytes(tensors) <= 4 * weights + bits / 8 + 40 + sum(
        tensor.numel() * tensor.element_size() for name, tensor in tensors.items() if name.startswith("task.")
    )


@pytest.mark.parametrize("name", ["packnet", "cmat"])
def test_the_published_gate_throws_away_what_did_not_reach_it(tmp_path: Path, name: str) -> None:
    """The released code's defect, on request: below the gate the next task starts from a network that remembers nothing."""
    row = {**ROWS[name], "settings": {**ROWS[name]["settings"], "train_gate": 0.9999}}
    method, context, tasks = start(tmp_path, row)
    learn(method, context, tasks[0], TASKS)
    assert method.packed.lost
    resumed, _, _ = start(tmp_path, row)
    resumed.load_state(method.state())
    assert resumed.packed.lost, "a run that was stopped here knows it too"
    first = classifier_fingerprint(method.classifier(0))
    learn(method, context, tasks[1], TASKS)
    resumed.load_state(method.state())
    assert resumed.packed.since == 1
    assert not any(bool((owners == 1).any()) for owners in method.packed.owners.values())
    assert classifier_fingerprint(method.classifier(0)) != first, "it forgets, and its fingerprint says so"
    weights = method.classifier(0).get_submodule("backbone").state_dict()["layers.0.weight"]
    assert not bool(weights.any())


def test_what_was_thrown_away_may_have_grown(tmp_path: Path) -> None:
    row = {
        "method": "cmat",
        "settings": {**SHORT["cmat"], "goals": [1.0, 0.0, 0.0], "tolerance": 0.0, "train_gate": 0.9999},
        "recipe": {"epochs": 1},
    }
    method, context, tasks = start(tmp_path, row)
    for task in tasks[:2]:
        learn(method, context, task, TASKS)
    assert method.packed.parts[0].mu == method.packed.mu == 1.5
    images = torch.rand(2, 1, 8, 8)
    assert method.classifier(0)(images).shape == method.classifier(1)(images).shape == (2, 2)


def test_under_the_published_gate_nothing_is_claimed(tmp_path: Path) -> None:
    gated = {**ROWS["packnet"], "settings": {**SHORT["packnet"], "train_gate": 0.9}}
    assert start(tmp_path, gated)[0].claimed() == frozenset()
    assert start(tmp_path, ROWS["packnet"])[0].claimed() == {"unforgetting"}
