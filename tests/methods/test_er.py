"""Experience replay, and what all methods share that replay old images: a memory, and steps on new and old images."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from benchmark.cli import main
from methods.er import ER, LossOverBoth
from methods.parts.image_memory import KeptImages
from methods.parts.replay import Replay
from methods.training import Batch, CleanTraining, InnerAttack, loop
from scenarios.base import Task
from scenarios.parts.augmentation import to_float
from tests.benchmark.running.stored import runs, table
from tests.methods.rehearsing import REHEARSING, answers, kept_by, learned, rehearsed
from tests.methods.training.recording import StandIn
from tests.tiny import run_tiny, write_preset


@pytest.mark.parametrize("name", REHEARSING)
def test_the_first_task_is_madry_at_to_the_bit_and_so_is_every_task_without_memory(tmp_path: Path, name: str) -> None:
    plain, _, tasks = learned(tmp_path / "plain", "madry_at")
    none, _, _ = learned(tmp_path / "none", name, capacity=0)
    some, _, _ = learned(tmp_path / "some", name, capacity=20)
    first, _, _ = learned(tmp_path / "first", "madry_at", tasks=1)
    early, _, _ = learned(tmp_path / "early", name, tasks=1, capacity=20)
    assert torch.equal(answers(early, tasks[0]), answers(first, tasks[0]))
    for task in tasks:
        assert torch.equal(answers(none, task), answers(plain, task))
        assert not torch.equal(answers(some, task), answers(plain, task))


@pytest.mark.parametrize("name", REHEARSING)
def test_kept_images_are_training_images_and_part_of_the_state(tmp_path: Path, name: str) -> None:
    method, context, tasks = rehearsed(tmp_path, name)
    kept = kept_by(method)
    assert len(kept) == 20
    assert set(kept.tasks.tolist()) == {0, 1}
    for image, label, task in zip(kept.images, kept.labels, kept.tasks, strict=True):
        train = tasks[int(task)].train
        same = (train.images == image).flatten(1).all(1)
        assert train.labels[same].tolist() == [label]
    stored = method.state().under("memory.")
    assert torch.equal(stored["images"], kept.images)
    assert stored["images"].dtype == torch.uint8
    assert context.logs.facts[-1]["name"] == "memory_images"
    assert context.logs.facts[-1]["value"] == 20


@pytest.mark.parametrize("name", REHEARSING)
def test_replay_leaves_the_memory_as_it_was(tmp_path: Path, name: str) -> None:
    method, context, tasks = rehearsed(tmp_path, name, tasks=1)
    before = {key: tensor.clone() for key, tensor in kept_by(method).tensors().items()}
    method.train(method.asked(1), tasks[1].to_learn(), context)
    assert all(torch.equal(tensor, before[key]) for key, tensor in kept_by(method).tensors().items())


@pytest.mark.parametrize("protocol", ["task", "class"])
@pytest.mark.parametrize("name", REHEARSING)
def test_the_network_that_is_left_is_wholly_that_of_the_kept_epoch(tmp_path: Path, name: str, protocol: str) -> None:
    """Heads of old tasks move too: those of a training that ends where another one was best are those of that epoch."""
    one, _, tasks = rehearsed(tmp_path / "one", name, protocol=protocol, recipe={"epochs": 1, "schedule": "constant"})
    two, context, _ = rehearsed(
        tmp_path / "two", name, protocol=protocol, recipe={"epochs": 1, "schedule": "constant"}, tasks=1
    )
    fit = two.fit(two.asked(1), tasks[1].to_learn(), context)
    outcomes = [fit.validate()] * 3
    answers_in_turn = iter([0.0, 1.0])
    fit.objective.score = lambda validation: next(answers_in_turn)  # type: ignore[method-assign]
    fit = replace(fit, validate=lambda: outcomes[0])
    longer = context.recipe.model_copy(update={"epochs": 2})
    context.begin_turn(1, 2, "digits")
    context.train(fit, [tasks[1].to_learn()], recipe=longer)
    assert all(torch.equal(tensor, one.network.state_dict()[key]) for key, tensor in two.network.state_dict().items())


@pytest.mark.parametrize("name", REHEARSING)
def test_nobody_claims_not_to_forget_and_all_say_that_they_keep_images(tmp_path: Path, name: str) -> None:
    method, _, _ = rehearsed(tmp_path, name, tasks=0)
    assert method.claimed() == frozenset()
    assert method.needs == {"image_memory"}
    assert method.protocols == {"task", "class"}


class _Attacks:
    """Every attack of a training: the images that went in, and those that came out."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.made: list[tuple[Tensor, Tensor]] = []
        whole = InnerAttack.__call__

        def noted(attack: InnerAttack, images: Tensor, *rest: Any, **named: Any) -> Tensor:
            found = whole(attack, images, *rest, **named)
            self.made.append((images, found))
            return found

        monkeypatch.setattr(InnerAttack, "__call__", noted)


def test_old_and_new_images_are_attacked_in_one_pass_anew_in_every_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    method, context, tasks = rehearsed(tmp_path, "er", tasks=1)
    attacks = _Attacks(monkeypatch)
    task = tasks[1].to_learn()
    method.train(method.asked(1), task, context)
    assert len(attacks.made) == 2 * (len(task.train) // 16)
    kept = {image.numpy().tobytes() for image in kept_by(method).images}
    changes: dict[bytes, list[Tensor]] = {}
    for images, found in attacks.made:
        assert len(images) == 32
        assert float((found - images).abs().max()) <= context.eps + 1e-6
        old = (images[16:] * 255).round().to(torch.uint8)
        assert all(image.numpy().tobytes() in kept for image in old)
        for image, change in zip(old, found[16:] - images[16:], strict=True):
            changes.setdefault(image.numpy().tobytes(), []).append(change)
    repeated = [found for found in changes.values() if len(found) > 1]
    assert repeated
    assert all(not torch.equal(found[0], found[1]) for found in repeated)


def _loss(method: ER, kept: KeptImages, batch: Batch) -> Tensor:
    generators = (torch.Generator().manual_seed(0), torch.Generator().manual_seed(1))
    objective = LossOverBoth(CleanTraining(), Replay(kept, 1.0, "none", (8, 8), generators), method.logits)
    return objective.loss(method.asked(1), batch, None)[0]  # type: ignore[arg-type]


def _first(task: Task, count: int) -> Batch:
    labels = task.train.labels[:count]
    return Batch(to_float(task.train.images[:count]), labels, torch.full_like(labels, task.id))


def test_an_image_counts_in_the_head_of_its_own_task_alone(tmp_path: Path) -> None:
    method, _, tasks = rehearsed(tmp_path, "er", tasks=2)
    assert isinstance(method, ER)
    method.learned = 1
    both = kept_by(method)
    kept = both.select((both.tasks == 0).nonzero()[:, 0])
    method.network.zero_grad()
    method.network.eval()
    heads = method.network.heads
    _loss(method, kept, _first(tasks[1], 8)).backward()
    moved = [
        [parameter.grad.clone() for parameter in head.parameters() if parameter.grad is not None] for head in heads
    ]
    # Only images of each head's own task: the gradient is that of a loss on these, by their share.
    for task, images, labels in ((0, None, None), (1, to_float(tasks[1].train.images[:8]), tasks[1].train.labels[:8])):
        method.network.zero_grad()
        if images is None or labels is None:
            old, _ = Replay(kept, 1.0, "none", (8, 8), (torch.Generator().manual_seed(0), torch.Generator())).draw(
                _first(tasks[1], 8)
            )
            images, labels = old.images, old.labels
        share = len(labels) / (8 + min(8, len(kept)))
        (share * torch.nn.functional.cross_entropy(method.network.for_task(task)(images), labels)).backward()
        for found, parameter in zip(moved[task], heads[task].parameters(), strict=True):
            assert parameter.grad is not None
            assert torch.allclose(found, parameter.grad, atol=1e-6)


def test_under_protocol_class_all_classes_seen_compete(tmp_path: Path) -> None:
    method, _, tasks = rehearsed(tmp_path, "er", tasks=1, protocol="class")
    assert isinstance(method, ER)
    assert method.classifier(None)(torch.zeros(3, 1, 8, 8)).shape == (3, 2)
    kept, batch = kept_by(method), _first(tasks[1], 8)
    assert set(batch.labels.tolist()) <= {2, 3}
    before = float(_loss(method, kept, batch).detach())
    with torch.no_grad():
        method.network.heads[0].bias.add_(5.0)
    assert float(_loss(method, kept, batch).detach()) != pytest.approx(before, rel=1e-2)


def test_heads_of_which_no_image_is_kept_stay_as_they_are(tmp_path: Path) -> None:
    method, context, tasks = rehearsed(tmp_path, "er", tasks=1)
    empty = kept_by(method)
    method.memory.kept = KeptImages(empty.images, empty.labels, torch.ones_like(empty.tasks))
    before = method.network.heads[0].weight.clone()
    method.train(method.asked(1), tasks[1].to_learn(), context)
    assert torch.equal(method.network.heads[0].weight, before)


def test_accuracy_in_training_is_that_on_the_images_of_the_task(tmp_path: Path) -> None:
    method, _, tasks = rehearsed(tmp_path, "er", tasks=1)
    assert isinstance(method, ER)
    generators = (torch.Generator(), torch.Generator())
    objective = LossOverBoth(CleanTraining(), Replay(kept_by(method), 1.0, "none", (8, 8), generators), method.logits)
    assert len(objective.loss(method.asked(1), _first(tasks[1], 8), None)[1]) == 8  # type: ignore[arg-type]


NAMES = (*REHEARSING, "icarl")


@pytest.mark.parametrize("protocol", ["task", "class"])
def test_steps_that_replay_can_be_recorded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, protocol: str) -> None:
    changes: dict[str, Any] = {
        "scenario": {"protocol": protocol},
        "recipe": {"augmentation": "shift", "micro_batch": 8},
    }
    assert run_tiny(tmp_path, NAMES, results="plain", **changes) == 0
    recorders: list[StandIn] = []
    monkeypatch.setattr(loop, "recorder_for", lambda device: recorders.append(StandIn()) or recorders[-1])
    assert run_tiny(tmp_path, NAMES, results="recorded", **changes) == 0
    plain, recorded = ({run.label: run for run in runs(tmp_path, name)} for name in ("plain", "recorded"))
    assert plain.keys() == recorded.keys() >= {*NAMES}
    for label, run in plain.items():
        assert table(recorded[label]).equals(table(run)), label
    assert all(recorder.repeated for recorder in recorders)


@pytest.mark.parametrize("training", ["clean", "madry", "trades", "fast", "igr"])
@pytest.mark.parametrize("name", REHEARSING)
def test_every_inner_loss_replays(tmp_path: Path, name: str, training: str) -> None:
    method, _, tasks = rehearsed(tmp_path / "some", name, training=training, recipe={"epochs": 1})
    plain, _, _ = rehearsed(tmp_path / "none", name, capacity=0, training=training, recipe={"epochs": 1})
    found = answers(method, tasks[0])
    assert bool(found.isfinite().all())
    assert not torch.equal(found, answers(plain, tasks[0]))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"capacity": 5000}, r"capacity = 5000: all tasks together have \d+ training images; keep at most so many"),
        ({"per_task_bn": True}, "per_task_bn = true: images of all tasks go through one batch norm"),
        ({"training": "free"}, "choose clean, madry"),
    ],
)
def test_settings_that_make_no_sense_are_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, settings: dict[str, Any], says: str
) -> None:
    preset = write_preset(tmp_path, methods=[{"method": name, "settings": {"capacity": 20, **settings}}])
    assert main(["run", "--preset", str(preset), "--results", str(tmp_path / "runs")]) == 2
    error = capsys.readouterr().err
    assert len(error.splitlines()) == 1
    assert re.search(says, error), error
