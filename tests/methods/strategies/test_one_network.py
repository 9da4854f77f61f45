"""The part that `standard` and `madry_at` share: per task a head of its own, and on request batch norm of its own."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from benchmark.evaluating.validation import validate
from benchmark.learning.context import RunContext
from methods.backbones import batch_norm_state
from methods.strategies.one_network import OneNetwork
from scenarios.base import Task
from tests.tiny import begun


def one_network(folder: Path, per_task_bn: bool) -> tuple[OneNetwork, RunContext, list[Task]]:
    method, context, tasks = begun(folder, {"method": "madry_at", "settings": {"per_task_bn": per_task_bn}})
    assert isinstance(method, OneNetwork)
    return method, context, tasks


def batch_norm(method: OneNetwork, task: int) -> dict[str, torch.Tensor]:
    return batch_norm_state(method.classifier(task).get_submodule("backbone"))


def equal(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> bool:
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


@pytest.mark.parametrize("per_task_bn", [False, True])
def test_old_tasks_keep_their_batch_norm_only_where_that_is_asked_for(tmp_path: Path, per_task_bn: bool) -> None:
    method, context, tasks = one_network(tmp_path, per_task_bn)
    method.learn(tasks[0].to_learn(), context)
    learned = batch_norm(method, 0)
    method.learn(tasks[1].to_learn(), context)
    assert equal(batch_norm(method, 0), learned) is per_task_bn
    assert not equal(batch_norm(method, 1), learned)


def test_the_batch_norm_of_every_task_is_part_of_the_state(tmp_path: Path) -> None:
    method, context, tasks = one_network(tmp_path, True)
    for task in tasks:
        method.learn(task.to_learn(), context)
    (tmp_path / "other").mkdir()
    other, _, _ = one_network(tmp_path / "other", True)
    other.load_state(method.state())
    for task in tasks:
        assert equal(batch_norm(other, task.id), batch_norm(method, task.id))


def test_the_head_of_an_old_task_stays_as_it_was(tmp_path: Path) -> None:
    method, context, tasks = one_network(tmp_path, False)
    method.learn(tasks[0].to_learn(), context)
    head = method.classifier(0).get_submodule("head").weight.clone()
    method.learn(tasks[1].to_learn(), context)
    assert torch.equal(method.classifier(0).get_submodule("head").weight, head)


def test_validation_is_in_eval_mode_and_leaves_the_network_as_it_was(tmp_path: Path) -> None:
    method, context, tasks = one_network(tmp_path, False)
    network = method.network.for_task(0).train()
    network.backbone.layers[1].eval()
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    modes = [module.training for module in network.modules()]
    found = validate(network, tasks[0].to_learn(), context.recipe, context.exact_eps)
    assert equal(before, network.state_dict())
    assert [module.training for module in network.modules()] == modes
    again = validate(network.eval(), tasks[0].to_learn(), context.recipe, context.exact_eps)
    assert torch.equal(found.robust_correct, again.robust_correct)
    assert bool((found.clean_correct | ~found.robust_correct).all()), "robust means right on the clean image too"
