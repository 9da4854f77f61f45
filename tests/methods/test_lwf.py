"""Learning without forgetting: who teaches, what moves, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import ValidationError

from benchmark.evaluating.determinism import repeatable
from methods.lwf import LwF
from methods.parts.consolidation.distillation import DistillingObjective, SigmoidDistillation
from methods.training import Batch, Fit
from tests.methods.consolidating import equal, learned, learned_recorded, started, weights
from tests.methods.training.training_cases import recipe
from tests.tiny import learn

PROTOCOLS = ("task", "class")
NO_DECAY = {"weight_decay": 0.0}
"""Old heads are trained: without a gradient, decay is all that moves them."""


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_at_strength_0_it_is_adversarial_training_to_the_bit(tmp_path: Path, protocol: str) -> None:
    plain = learned(tmp_path, "madry_at", protocol, recipe=NO_DECAY)
    assert equal(weights(learned(tmp_path, "lwf", protocol, strength=0, recipe=NO_DECAY)), weights(plain))
    assert not equal(weights(learned(tmp_path, "lwf", protocol, recipe=NO_DECAY)), weights(plain))


def test_the_first_task_is_adversarial_training(tmp_path: Path) -> None:
    first, plain = (learned(tmp_path, name, turns=1) for name in ("lwf", "madry_at"))
    assert equal(weights(first), weights(plain))


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_the_teacher_is_the_kept_network_of_the_task_before_and_does_not_move(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, protocol: str
) -> None:
    fits: list[Fit] = []
    inner = LwF.fit
    monkeypatch.setattr(LwF, "fit", lambda self, *given: fits.append(inner(self, *given)) or fits[-1])
    found, context, tasks = started(tmp_path, "lwf", protocol)
    with repeatable():
        learn(found, context, tasks[0], 2)
        kept = {name: tensor.clone() for name, tensor in found.network.for_seen(0).state_dict().items()}
        learn(found, context, tasks[1], 2)
    assert not isinstance(fits[0].objective, DistillingObjective)
    objective = fits[1].objective
    assert isinstance(objective, DistillingObjective)
    teacher = objective.teacher
    assert teacher is not None
    assert equal(dict(teacher.state_dict()), kept)
    assert not any(module.training for module in teacher.modules())
    assert not any(parameter.requires_grad for parameter in teacher.parameters())
    assert not equal(dict(found.network.for_seen(0).state_dict()), kept)


def test_old_heads_learn_too_and_each_has_a_softmax_of_its_own_unless_classes_share_one(tmp_path: Path) -> None:
    found, context, tasks = started(tmp_path, "lwf")
    old = {name: tensor.clone() for name, tensor in found.network.heads[0].state_dict().items()}
    with repeatable():
        for task in tasks:
            learn(found, context, task, 2)
    assert not equal(dict(found.network.heads[0].state_dict()), old)
    fit = found.fit(found.asked(1), tasks[1].to_learn(), context)
    assert fit.objective.heads == [slice(0, 2)]
    assert fit.objective.shown == slice(2, None)
    assert {id(p) for p in found.network.heads[0].parameters()} <= {id(p) for p in fit.parameters}


def test_the_task_is_answered_by_its_own_head(tmp_path: Path) -> None:
    found, context, tasks = started(tmp_path, "lwf")
    fit = found.fit(found.asked(1).eval(), tasks[1].to_learn(), context)
    images = tasks[1].validation.images[:5].float() / 255
    batch = Batch(images, tasks[1].validation.labels[:5], torch.ones(5, dtype=torch.int64))
    assert torch.equal(fit.logits_of(batch)(images), found.asked(1)(images))


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_warm_up_moves_the_new_head_alone(tmp_path: Path, protocol: str) -> None:
    found, context, tasks = started(tmp_path, "lwf", protocol, warm_up_epochs=2)
    with repeatable():
        learn(found, context, tasks[0], 2)
        before = {name: tensor.clone() for name, tensor in weights(found).items()}
        context.begin_turn(1, 2, tasks[1].name)
        found._warm_up(found.asked(1), tasks[1].to_learn(), context)
    moved = {name for name, tensor in weights(found).items() if not torch.equal(tensor, before[name])}
    assert moved == {"heads.1.weight", "heads.1.bias"}
    assert all(parameter.requires_grad for parameter in found.network.parameters())


def test_a_warm_up_is_of_every_task_but_the_first(tmp_path: Path) -> None:
    found, context, tasks = started(tmp_path, "lwf", warm_up_epochs=2)
    phases = []
    with repeatable():
        for task in tasks:
            learn(found, context, task, 2)
            phases.append([row["phase"] for row in context.logs.training])
    assert phases == [["train", "train"], ["warm-up", "warm-up", "train", "train"]]


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"protocol": "class"},
        {"protocol": "class", "loss": "sigmoid"},
        {"distil_on": "clean"},
        {"warm_up_epochs": 3},
    ],
    ids=str,
)
def test_steps_can_be_recorded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, settings: dict[str, Any]) -> None:
    recorded = learned_recorded(tmp_path, monkeypatch, "lwf", **settings)
    assert equal(weights(recorded), weights(learned(tmp_path, "lwf", **settings)))


def test_with_sigmoids_the_first_task_is_learned_by_them_too(tmp_path: Path) -> None:
    found, context, tasks = started(tmp_path, "lwf", "class", loss="sigmoid")
    objective = found.fit(found.asked(0), tasks[0].to_learn(), context).objective
    assert isinstance(objective, SigmoidDistillation)
    assert objective.teacher is None
    assert not objective.averaged
    found.settings = LwF.Settings(loss="sigmoid", over_classes="mean")
    assert found.fit(found.asked(0), tasks[0].to_learn(), context).objective.averaged
    assert LwF.can_answer(LwF.Settings(loss="sigmoid")) == {"class"}
    assert LwF.can_answer(LwF.Settings()) == {"task", "class"}


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"per_task_bn": True}, "set false"),
        ({"loss": "sigmoid", "training": "trades"}, "choose clean, madry"),
        ({"over_classes": "mean"}, "set loss = sigmoid"),
        ({"training": "free"}, r"distillation included.* choose clean, madry"),
    ],
)
def test_what_does_not_go_together_is_refused(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        LwF.Settings.model_validate(settings)


def test_passes_of_teacher_and_student_are_counted() -> None:
    assert LwF.passes(LwF.Settings(), recipe()) == 2 * 3 + 3 + 1
    assert LwF.passes(LwF.Settings(distil_on="clean"), recipe()) == 2 * 3 + 3 + 4
    assert LwF.passes(LwF.Settings(distil_on="clean", training="clean"), recipe()) == 3 + 1
    assert LwF.epochs(LwF.Settings(warm_up_epochs=3), recipe()) == 2 + 3
