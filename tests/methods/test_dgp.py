"""DGP: input gradients of old tasks' images stay, beside what is said of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from benchmark.learning.context import RunContext
from methods.dgp import DGP, DGPSettings
from methods.gpm import GPM
from methods.parts.projection.representations import patches
from scenarios.base import LearnTask, Task
from tests.tiny import begun, learn

TASKS = 3
BACKBONES: dict[str, dict[str, Any]] = {
    "small_conv": {"name": "small_conv", "width": 0.25},
    "cifar_resnet18": {"name": "cifar_resnet18", "width": 0.0625},
}
ALL = {"threshold": 1.0, "threshold_step": 0.0, "gradient_threshold": 1.0}


def start(folder: Path, backbone: str = "small_conv", **settings: Any) -> tuple[DGP, RunContext, list[Task]]:
    row = {"method": "dgp", "settings": settings}
    method, context, tasks = begun(folder, row, scenario={"tasks": TASKS}, backbone=BACKBONES[backbone])
    assert isinstance(method, DGP)
    return method, context, tasks


def kept_images(monkeypatch: pytest.MonkeyPatch) -> list[Tensor]:
    """The images that each task is kept by, in order."""
    found: list[Tensor] = []
    real = GPM.protect

    def watched(method: GPM, images: Tensor, labels: Tensor, task: LearnTask, context: RunContext) -> None:
        found.append(images)
        real(method, images, labels, task, context)

    monkeypatch.setattr(GPM, "protect", watched)
    return found


def slopes(method: DGP, task: int, images: Tensor) -> Tensor:
    """The sums over pixels of each logit's gradient: float (N, classes)."""
    images = images.clone().requires_grad_()
    logits = method.classifier(task)(images)
    gradients = [torch.autograd.grad(logits[:, k].sum(), images, retain_graph=True)[0] for k in range(logits.shape[1])]
    return torch.stack([gradient.flatten(1).sum(1) for gradient in gradients], 1)


@pytest.mark.parametrize("training", ["igr", "madry"])
@pytest.mark.parametrize("backbone", BACKBONES)
def test_with_all_of_the_energy_answers_and_slopes_of_old_images_stay(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, backbone: str, training: str
) -> None:
    kept = kept_images(monkeypatch)
    method, context, tasks = start(tmp_path, backbone, samples=2, training=training, **ALL)
    known: dict[int, tuple[Tensor, Tensor]] = {}
    for task in tasks:
        learn(method, context, task, TASKS)
        known[task.id] = (method.classifier(task.id)(kept[task.id]), slopes(method, task.id, kept[task.id]))
        for old, (logits, slope) in known.items():
            assert (method.classifier(old)(kept[old]) - logits).abs().max() < 1e-3 * logits.abs().max()
            assert (slopes(method, old, kept[old]) - slope).abs().max() < 1e-3 * slope.abs().max()


def test_without_derivatives_it_is_gpm_to_the_bit_and_slopes_move(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = kept_images(monkeypatch)
    shared = {"samples": 2, "threshold": 1.0, "training": "clean", "represent": "clean"}
    method, context, tasks = start(tmp_path, gradient_threshold=0.0, own_first_layer=False, **shared)
    (tmp_path / "gpm").mkdir()
    row = {"method": "gpm", "settings": shared}
    plain, other, _ = begun(tmp_path / "gpm", row, scenario={"tasks": TASKS}, backbone=BACKBONES["small_conv"])
    before: list[Tensor] = []
    for task in tasks:
        learn(method, context, task, TASKS)
        before.append(slopes(method, task.id, kept[task.id]))
        learn(plain, other, task, TASKS)
    assert (slopes(method, 0, kept[0]) - before[0]).abs().max() > 1e-2 * before[0].abs().max()
    for task in tasks:
        state = plain.classifier(task.id).state_dict()
        found = method.classifier(task.id).state_dict()
        assert all(torch.equal(tensor, state[name]) for name, tensor in found.items())


@pytest.mark.parametrize("own", [True, False])
def test_the_first_layer_is_each_tasks_own_or_projected_like_any(tmp_path: Path, own: bool) -> None:
    method, context, tasks = start(tmp_path, own_first_layer=own)
    known: dict[int, Tensor] = {}
    for task in tasks:
        learn(method, context, task, TASKS)
        known[task.id] = method.classifier(task.id).get_parameter("backbone.layers.0.weight").clone()
    assert ("layers.0.weight" in method.bases) is not own
    now = [method.classifier(task).get_parameter("backbone.layers.0.weight") for task in known]
    assert all(torch.equal(weight, known[task]) for task, weight in enumerate(now)) is own
    assert not torch.equal(known[0], known[2])


def test_along_the_gradient_other_derivatives_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = kept_images(monkeypatch)
    # With a threshold of nothing but the derivatives, the first projected layer's basis holds them and no inputs.
    settings = {
        "samples": 1,
        "threshold": 0.0,
        "gradient_threshold": 1.0,
        "threshold_step": 0.0,
        "own_first_layer": False,
    }
    bases = {}
    for direction in ("ones", "gradient"):
        method, context, tasks = start(tmp_path, direction=direction, **settings)
        learn(method, context, tasks[0], TASKS)
        bases[direction] = method.bases["layers.0.weight"]
    layer = method.network.backbone.layers[0]
    ones = patches(layer, torch.ones_like(kept[0]))
    inside = bases["ones"] @ (bases["ones"].T @ ones)
    assert torch.allclose(inside, ones, atol=1e-5), "patches of the direction itself"
    assert bases["gradient"].shape != bases["ones"].shape or not torch.allclose(bases["gradient"], bases["ones"])


def test_a_first_layer_of_its_own_must_be_kept() -> None:
    with pytest.raises(ValueError, match="set per_task_bn to true, or own_first_layer to false"):
        DGPSettings.model_validate({"per_task_bn": False})
    assert not DGPSettings.model_validate({"per_task_bn": False, "own_first_layer": False}).own_first_layer
