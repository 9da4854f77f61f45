"""GPM: what old tasks' images make of the layers does not move, as far as the threshold says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor, nn

from benchmark.learning.context import RunContext
from methods.base import MethodError
from methods.dgp import DGP
from methods.gpm import GPM
from methods.parts.projection import representations
from scenarios.base import LearnTask, Task
from tests.tiny import begun, learn

TASKS = 3
BACKBONES: dict[str, dict[str, Any]] = {
    "small_conv": {"name": "small_conv", "width": 0.25},
    "cifar_resnet18": {"name": "cifar_resnet18", "width": 0.0625},
}
RECIPES: dict[str, dict[str, Any]] = {
    "momentum and decay": {"momentum": 0.9, "weight_decay": 0.01},
    "adam": {"optimizer": "adam", "learning_rate": 0.01, "weight_decay": 0.01},
    "parts": {"micro_batch": 6},
}
ALL = {"threshold": 1.0, "threshold_step": 0.0}


def start(
    folder: Path,
    backbone: str = "small_conv",
    recipe: dict[str, Any] | None = None,
    method: str = "gpm",
    **settings: Any,
) -> tuple[GPM, RunContext, list[Task]]:
    row = {"method": method, "settings": settings, "recipe": recipe or {}}
    made, context, tasks = begun(folder, row, scenario={"tasks": TASKS}, backbone=BACKBONES[backbone])
    assert isinstance(made, GPM)
    return made, context, tasks


def kept_images(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Tensor, Tensor]]:
    """The images and labels that each task is kept by, in order."""
    found: list[tuple[Tensor, Tensor]] = []
    real = GPM.protect

    def watched(method: GPM, images: Tensor, labels: Tensor, task: LearnTask, context: RunContext) -> None:
        found.append((images, labels))
        real(method, images, labels, task, context)

    # DGP's calls GPM's.
    monkeypatch.setattr(GPM, "protect", watched)
    return found


def answers(method: GPM, task: int, images: Tensor) -> Tensor:
    with torch.no_grad():
        found: Tensor = method.classifier(task)(images)
    return found


@pytest.mark.parametrize("recipe", RECIPES.values(), ids=RECIPES)
@pytest.mark.parametrize("backbone", BACKBONES)
def test_with_all_of_the_energy_old_images_are_answered_as_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, backbone: str, recipe: dict[str, Any]
) -> None:
    kept = kept_images(monkeypatch)
    # Few images, so that something is left to move.
    method, context, tasks = start(tmp_path, backbone, recipe, samples=3, **ALL)
    known: dict[int, Tensor] = {}
    for task in tasks:
        before = {name: tensor.clone() for name, tensor in method.network.backbone.state_dict().items()}
        learn(method, context, task, TASKS)
        assert any(not torch.equal(tensor, before[name]) for name, tensor in method.network.backbone.shared_weights())
        known[task.id] = answers(method, task.id, kept[task.id][0])
        for old, logits in known.items():
            apart = (answers(method, old, kept[old][0]) - logits).abs().max()
            assert apart < 1e-3 * logits.abs().max(), f"task {old} after task {task.id}"


def test_with_none_of_it_they_are_not_and_the_network_is_that_of_madry_at(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = kept_images(monkeypatch)
    method, context, tasks = start(tmp_path, threshold=0.0, threshold_step=0.0)
    learn(method, context, tasks[0], TASKS)
    first = answers(method, 0, kept[0][0])
    for task in tasks[1:]:
        learn(method, context, task, TASKS)
    assert (answers(method, 0, kept[0][0]) - first).abs().max() > 0.1 * first.abs().max()
    assert all(basis.shape[1] == 0 for basis in method.bases.values())
    (tmp_path / "other").mkdir()
    row = {"method": "madry_at", "settings": {"per_task_bn": True}}
    plain, other, _ = begun(tmp_path / "other", row, scenario={"tasks": TASKS}, backbone=BACKBONES["small_conv"])
    for task in tasks:
        learn(plain, other, task, TASKS)
    state = plain.classifier(2).state_dict()
    assert all(torch.equal(tensor, state[name]) for name, tensor in method.classifier(2).state_dict().items())


def test_the_bases_are_of_the_network_that_was_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = kept_images(monkeypatch)
    method, context, tasks = start(tmp_path, recipe={"epochs": 6}, threshold_step=0.0)
    for task in tasks[:2]:
        learn(method, context, task, TASKS)
        found = representations.inputs_of_layers(method.classifier(task.id), kept[task.id][0])  # type: ignore[arg-type]
        for name, columns in found.items():
            basis = method.bases[name].double()
            assert columns.leading(basis, method.settings.threshold).shape[1] == 0
            if task.id == 0:
                short = basis[:, :-1]
                assert columns.leading(short, method.settings.threshold).shape[1] > 0, "the fewest directions"


def test_the_threshold_rises_from_task_to_task_up_to_all(tmp_path: Path) -> None:
    settings = start(tmp_path, threshold=0.97, threshold_step=0.01)[0].settings
    assert [settings.share(task) for task in range(5)] == pytest.approx([0.97, 0.98, 0.99, 1.0, 1.0])


@pytest.mark.parametrize(("represent", "count"), [("clean", 7), ("attacked", 7), ("both", 14)])
def test_images_are_drawn_from_the_task_and_attacked_where_that_is_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, represent: str, count: int
) -> None:
    kept = kept_images(monkeypatch)
    method, context, tasks = start(tmp_path, samples=7, represent=represent)
    seen: list[str] = []
    learn(method, context, tasks[0], TASKS)
    images, labels = kept[0]
    assert len(images) == len(labels) == count
    train = tasks[0].train
    pixels = train.images.float() / 255
    for image, label in zip(images, labels, strict=True):
        apart = (pixels - image).abs().flatten(1).max(1).values
        assert train.labels[apart.argmin()] == label
        seen.append("clean" if apart.min() == 0 else "attacked")
        assert apart.min() <= context.eps + 1e-6
    assert set(seen) == ({"clean", "attacked"} if represent == "both" else {represent})
    assert len({tuple(image.flatten().tolist()) for image in images}) == count, "no image twice"


def test_batch_norm_and_biases_are_each_tasks_own_or_stay_as_the_first_left_them(tmp_path: Path) -> None:
    for own in (True, False):
        method, context, tasks = start(tmp_path, per_task_bn=own)
        known: dict[int, dict[str, Tensor]] = {}
        shared = {name for name, _ in method.network.backbone.shared_weights()}
        for task in tasks:
            learn(method, context, task, TASKS)
            state = method.classifier(task.id).get_submodule("backbone").state_dict()
            known[task.id] = {name: tensor for name, tensor in state.items() if name not in shared}
        assert "layers.12.bias" in known[0]
        for task in tasks:
            state = method.classifier(task.id).get_submodule("backbone").state_dict()
            assert all(torch.equal(state[name], tensor) for name, tensor in known[task.id].items())
        assert all(torch.equal(known[2][name], tensor) for name, tensor in known[0].items()) is not own


def test_a_task_with_fewer_images_is_kept_by_all_of_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = kept_images(monkeypatch)
    method, context, tasks = start(tmp_path, samples=100_000)
    learn(method, context, tasks[0], TASKS)
    assert len(kept[0][0]) == len(tasks[0].train)


@pytest.mark.parametrize("cls", [GPM, DGP])
def test_a_backbone_that_cannot_be_projected_is_one_clear_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cls: type[GPM]
) -> None:
    class Doubled(nn.Conv2d):
        def forward(self, images: Tensor) -> Tensor:
            return self._conv_forward(images, 2 * self.weight, self.bias)

    network = RunContext.network

    def strange(context: RunContext, *args: Any, **options: Any) -> Any:
        made = network(context, *args, **options)
        made.backbone.layers[0].__class__ = Doubled
        return made

    monkeypatch.setattr(RunContext, "network", strange)
    with pytest.raises(
        MethodError, match=r"cannot be projected: the layer of layers\.0\.weight .*; choose another one"
    ):
        start(tmp_path, method=cls.__name__.lower())


def test_the_share_that_later_tasks_cannot_move_is_a_fact(tmp_path: Path) -> None:
    method, context, tasks = start(tmp_path)
    learn(method, context, tasks[0], TASKS)
    found = {fact["text"]: fact["value"] for fact in context.logs.facts if fact["name"] == "protected_share"}
    for name, basis in method.bases.items():
        assert found[name] == basis.shape[1] / basis.shape[0]
    assert 0 < found[None] < 1


def test_an_attack_that_trains_batch_norm_moves_none_once_the_task_is_over(tmp_path: Path) -> None:
    method, context, tasks = start(tmp_path, training="fast")
    learn(method, context, tasks[0], TASKS)
    before = {name: tensor.clone() for name, tensor in method.network.state_dict().items()}
    method.consolidate(tasks[0].to_learn(), context)
    assert all(torch.equal(tensor, before[name]) for name, tensor in method.network.state_dict().items())


@pytest.mark.parametrize("represent", ["attacked", "both"])
def test_attacked_images_are_refused_where_training_attacks_none(represent: str) -> None:
    with pytest.raises(ValidationError, match="training = clean attacks no image; set represent = clean"):
        GPM.Settings.model_validate({"training": "clean", "represent": represent})
    assert GPM.Settings.model_validate({"training": "clean", "represent": "clean"}).represent == "clean"
