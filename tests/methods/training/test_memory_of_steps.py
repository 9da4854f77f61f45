"""The memory of a training step is counted, and a step that does not fit says what would."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from methods.backbones import MultiHead, SmallConv
from methods.training import Batch, Fit, InnerAttack, Recipe, StepTooLarge, Validation, train
from methods.training import memory as memory_of_steps
from methods.training.algorithms.trades import TradesLoss
from methods.training.fit import make_optimizer
from methods.training.memory import LiveBytes, StepMemory, step_memory
from scenarios.base import LearnTask
from tests.benchmark.running.stored import runs
from tests.methods.training.test_captured import OBJECTIVES
from tests.methods.training.training_cases import EPS, digits_task, recipe
from tests.tiny import run_tiny

RIGHT = torch.ones(4, dtype=torch.bool)


def small_conv(width: float) -> nn.Module:
    return MultiHead(SmallConv((1, 8, 8), width), (2,), (0.3,), (0.4,)).for_task(0)


def counted(net: nn.Module, name: str = "adversarial", **changes: Any) -> StepMemory:
    chosen: Recipe = recipe(**changes)
    fit = Fit(net, list(net.parameters()), lambda: Validation(RIGHT, RIGHT), OBJECTIVES[name]())
    attack = InnerAttack.of(chosen, net, EPS, torch.Generator().manual_seed(0))
    batch = Batch(torch.rand(8, 1, 8, 8), torch.arange(8) % 2, torch.zeros(8, dtype=torch.int64))
    return step_memory(fit, attack, chosen, make_optimizer(fit.parameters, chosen), batch)


def test_tensors_count_while_they_live_and_views_of_them_do_not() -> None:
    kept = torch.zeros(1000)
    with LiveBytes() as live:
        first = torch.zeros(1000)
        view = first[:10]
        kept.add_(1)
        second = first + 1
        del first, view
        third = second * 2
    assert live.after == [4000, 4000, 4000, 8000, 8000]
    del second, third


def test_weights_gradients_and_momentum_are_held_and_images_come_on_top() -> None:
    net = small_conv(1.0)
    found = counted(net)
    weights = sum(parameter.nbytes for parameter in net.parameters())
    others = sum(buffer.nbytes for buffer in net.buffers())
    assert found.held == 3 * weights + others
    assert found.of(10) == found.held + 10 * found.per_image


@pytest.mark.parametrize("name", OBJECTIVES)
def test_twice_as_many_channels_take_twice_as_much_for_each_image(name: str) -> None:
    narrow, wide = (counted(small_conv(width), name).per_image for width in (2.0, 4.0))
    assert wide == pytest.approx(2 * narrow, rel=0.1)


def test_an_image_takes_what_its_activations_take() -> None:
    found = counted(small_conv(4.0)).per_image
    # Float32 maps of 8x8, 8x8, 4x4 that convolutions and batch norms keep, 128, 128 and 256 channels.
    kept = 4 * (2 * 64 * 128 + 2 * 64 * 128 + 2 * 16 * 256)
    assert kept < found < 3 * kept


def test_activations_that_are_computed_again_take_less() -> None:
    assert counted(small_conv(4.0), recompute=True).per_image < counted(small_conv(4.0)).per_image


class Narrow(nn.Module):
    """A network on a device whose memory ends at `limit` images."""

    def __init__(self, limit: int) -> None:
        super().__init__()
        self.inside, self.limit = small_conv(0.25), limit

    def forward(self, images: Tensor) -> Tensor:
        if len(images) > self.limit:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.\nand advice")
        return self.inside(images)


@pytest.fixture(scope="module")
def task() -> LearnTask:
    return digits_task(0.5)


def learn(net: nn.Module, task: LearnTask, **changes: Any) -> None:
    fit = Fit(net, list(net.parameters()), lambda: Validation(RIGHT, RIGHT))
    train(fit, [task], recipe(epochs=1, **changes), EPS, lambda purpose: torch.Generator().manual_seed(0))


def test_a_step_that_does_not_fit_names_what_would(task: LearnTask, monkeypatch: pytest.MonkeyPatch) -> None:
    per_image = counted(small_conv(0.25)).per_image
    monkeypatch.setattr(memory_of_steps, "free_bytes", lambda device: int(6.5 * per_image / memory_of_steps.SPARE))
    with pytest.raises(StepTooLarge, match="a training step on 16 images of 1x8x8 at once ran out of memory") as told:
        learn(Narrow(6), task)
    assert "recipe.recompute=true (slower), or recipe.batch_size=6" in str(told.value)
    assert "\n" not in str(told.value)
    named = re.search(r"recipe\.micro_batch=(\d+)", str(told.value))
    assert named is not None
    learn(Narrow(6), task, micro_batch=int(named[1]))


def test_half_is_tried_where_the_estimate_says_that_it_fits(task: LearnTask) -> None:
    with pytest.raises(StepTooLarge, match=r"set recipe\.micro_batch=8,"):
        learn(Narrow(12), task)
    with pytest.raises(StepTooLarge, match=r"on 8 images .* set recipe\.micro_batch=4,"):
        learn(Narrow(6), task, micro_batch=8)


def test_where_not_one_image_fits_another_network_is_needed(task: LearnTask) -> None:
    with pytest.raises(
        StepTooLarge, match=r"not one image fits: set recipe\.recompute=true \(slower\), smaller images"
    ):
        learn(Narrow(0), task, micro_batch=1)


def test_other_errors_stay_what_they_are(task: LearnTask) -> None:
    class Broken(Narrow):
        def forward(self, images: Tensor) -> Tensor:
            raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")

    with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
        learn(Broken(1), task)


def test_a_run_that_does_not_fit_fails_in_one_line_and_the_others_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    move = Fit.move

    def short(self: Fit, batch: Batch, *rest: Any) -> tuple[Tensor, Tensor]:
        if isinstance(self.objective, TradesLoss) and len(batch.labels) > 4:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return move(self, batch, *rest)

    monkeypatch.setattr(Fit, "move", short)
    assert run_tiny(tmp_path, ("trades", "fast_at")) != 0
    assert {run.label for run in runs(tmp_path, "runs") if len(run.evaluations)} == {"fast_at"}
    (failures,) = tmp_path.rglob("failures.jsonl")
    assert '"kind": "StepTooLarge"' in failures.read_text()
    assert "recipe.micro_batch=" in failures.read_text()
