"""A GPU that is shared is divided; one that is lost is told in a line, harms nothing, and costs no run more than another try."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from attacks import memory
from attacks.memory import free_bytes
from attacks.transfer import Transfer
from benchmark.learning.confined.process import NotMade
from benchmark.planning.jobs import Job
from benchmark.running import attack_cells, execution, gpu
from benchmark.running.failures import message_of
from benchmark.running.gpu import DeviceLost, lost, share_card
from benchmark.running.learning_apart import LearnsApart
from results.store import RunStore
from tests.benchmark import plugin_methods
from tests.benchmark.running.stored import files, only, runs, table
from tests.tiny import run_tiny

CPU, CUDA = torch.device("cpu"), torch.device("cuda:1")
FAULT = (
    "CUDA error: an illegal memory access was encountered\nCUDA kernel errors might be reported later\nFor debugging"
)


def gone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu, "_answers", lambda device: False)


def test_an_error_of_the_device_is_a_loss_only_if_the_device_answers_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    assert lost(RuntimeError(FAULT), CPU) is None
    gone(monkeypatch)
    assert lost(RuntimeError("shapes differ"), CPU) is None
    assert lost(ValueError(FAULT), CPU) is None
    for error in (
        RuntimeError(FAULT),
        torch.AcceleratorError("unspecified launch failure"),
        RuntimeError("CUDA driver error: unspecified launch failure"),
        RuntimeError("cuDNN error: CUDNN_STATUS_EXECUTION_FAILED"),
        RuntimeError("cusolver error: CUSOLVER_STATUS_EXECUTION_FAILED, when calling `cusolverDnXsyevd(...)`"),
    ):
        found = lost(error, CPU)
        assert isinstance(found, DeviceLost)
        assert "\n" not in str(found)
    found = lost(RuntimeError(FAULT), CPU)
    assert "an illegal memory access was encountered" in str(found)
    assert "might be reported" not in str(found)


def test_a_loss_is_found_behind_the_error_that_it_led_to(monkeypatch: pytest.MonkeyPatch) -> None:
    gone(monkeypatch)
    error = ValueError("the attack failed")
    error.__cause__ = RuntimeError(FAULT)
    assert isinstance(lost(error, CPU), DeviceLost)


def test_a_device_error_is_told_in_one_line() -> None:
    assert message_of(RuntimeError(FAULT)) == "RuntimeError: CUDA error: an illegal memory access was encountered"


def lose_in_attacks(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """From the first attack on, every one meets a device that is gone. Returns the attacks that were tried."""
    tried: list[str] = []

    def attack(classifier: Any, task: Any, samples: Any, run: Any, *others: Any, **more: Any) -> None:
        tried.append(run.attack.name)
        raise RuntimeError(FAULT)

    gone(monkeypatch)
    monkeypatch.setattr(attack_cells, "attack_task", attack)
    return tried


def test_a_lost_gpu_fails_its_run_once_and_harms_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert run_tiny(tmp_path, results="whole") == 0
    with monkeypatch.context() as patched:
        tried = lose_in_attacks(patched)
        assert run_tiny(tmp_path, options={"retries": 0}) == 1
    assert len(tried) == 1, "no cell is tried in vain"
    (failure,) = only(tmp_path).failures
    assert failure["kind"] == "DeviceLost"
    assert "illegal memory access" in failure["message"]
    learned = {name: at for name, at in files(tmp_path / "runs").items() if "checkpoints/task-000" in name}
    assert learned
    assert run_tiny(tmp_path) == 0
    assert learned.items() <= files(tmp_path / "runs").items(), "the task is not learned again"
    assert table(only(tmp_path)).equals(table(only(tmp_path, "whole")))


def test_a_gpu_that_is_lost_when_classifiers_are_asked_fails_the_run_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def ask(*arguments: object) -> None:
        raise torch.AcceleratorError(FAULT)

    gone(monkeypatch)
    monkeypatch.setattr(execution, "QUESTIONS", dict.fromkeys(execution.QUESTIONS, ask))
    assert run_tiny(tmp_path, options={"retries": 0}) == 1
    (failure,) = only(tmp_path).failures
    assert failure["kind"] == "DeviceLost"


def test_after_a_loss_the_run_and_those_that_follow_have_another_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried = lose_in_attacks(monkeypatch)
    # Nobody takes the device away there.
    assert run_tiny(tmp_path, seeds=[0, 1]) == 0
    assert len(tried) == 1
    assert {run.seed: run.failures for run in runs(tmp_path)} == {0: [], 1: []}


@pytest.mark.parametrize("earlier", [False, True], ids=["nothing else failed", "a run that had failed before"])
def test_a_gpu_that_is_lost_in_transfers_leaves_no_failure_after_another_try(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, earlier: bool
) -> None:
    """Nobody takes the device away from the process of the second try."""
    pgd: dict[str, Any] = {"attack": "pgd", "steps": 2, "step_size": "eps/4"}
    assert run_tiny(tmp_path, evaluation={"matrix": [{"attack": "clean"}, pgd]}) == 0

    def run(attack: Transfer, *arguments: object, **more: object) -> None:
        if earlier:
            RunStore(tmp_path / "runs", only(tmp_path).hash).fail(stage="learn", message="of the run itself")
        raise RuntimeError(FAULT)

    gone(monkeypatch)
    monkeypatch.setattr(Transfer, "run", run)
    evaluation = {"matrix": [{"attack": "clean"}, pgd], "final": [{**pgd, "from": ["earlier"]}]}
    assert run_tiny(tmp_path, evaluation=evaluation) == 0
    assert set(table(only(tmp_path))["attack"]).issuperset({"transfer from=earlier pgd-2 linf 51/255 a=12.75/255"})
    assert [failure["stage"] for failure in only(tmp_path).failures] == (["learn", "transfers"] if earlier else [])


@pytest.mark.parametrize(
    ("error", "answers", "kind"),
    [
        (RuntimeError(FAULT), False, "DeviceLost"),
        (NotMade("OutOfMemoryError", "CUDA out of memory", (), ""), True, "NotMade"),
        (NotMade("AcceleratorError", FAULT, (), ""), True, "NotMade"),
    ],
    ids=["lost here", "no memory there", "lost there"],
)
def test_a_gpu_that_fails_where_classifiers_are_made_anew_costs_a_try(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception, answers: bool, kind: str
) -> None:
    tries: list[str] = []
    judge = execution.judge_afresh

    def fails_once(job: Job, *arguments: Any) -> None:
        tries.append(job.label)
        if len(tries) == 1:
            raise error
        judge(job, *arguments)

    monkeypatch.setattr(gpu, "_answers", lambda device: answers)
    monkeypatch.setattr(execution, "judge_afresh", fails_once)
    assert run_tiny(tmp_path, results="not tried again", options={"retries": 0}) == 1
    assert [failure["kind"] for failure in only(tmp_path, "not tried again").failures] == [kind]
    tries.clear()
    assert run_tiny(tmp_path, results="tried again") == 0
    assert only(tmp_path, "tried again").failures == []


LOSES = (
    plugin_methods.HEAD
    + """
    def learn(self, task, context):
        from pathlib import Path
        from benchmark.running import gpu
        if task.id == 1 and not Path({mark!r}).exists():
            Path({mark!r}).touch()
            gpu._answers = lambda device: False
            raise torch.AcceleratorError({fault!r})
        super().learn(task, context)
"""
)
"""A method whose process loses its device once, at its second task."""


@pytest.mark.parametrize("retries", [0, 1])
def test_a_gpu_that_is_lost_while_a_method_learns_costs_a_try(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, retries: int
) -> None:
    monkeypatch.setattr(execution, "LearnsApart", LearnsApart)
    path = plugin_methods.write(tmp_path, LOSES.format(mark=str(tmp_path / "mark"), fault=FAULT), "losing")
    assert run_tiny(tmp_path, [path], options={"retries": retries}) == 1 - retries
    assert [failure["kind"] for failure in only(tmp_path).failures] == ["DeviceLost"] * (1 - retries)


def test_workers_share_a_card_and_one_worker_has_all_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    taken: list[tuple[float, torch.device | None]] = []
    monkeypatch.setattr(torch.cuda, "set_per_process_memory_fraction", lambda *given: taken.append(given))
    share_card(CUDA, 1)
    share_card(CPU, 4)
    assert taken == []
    share_card(CUDA, 4)
    # Torch takes a device with a number, or none for the one in use.
    share_card(torch.device("cuda"), 2)
    assert taken == [(0.25, CUDA), (0.5, None)]


@pytest.mark.parametrize(
    ("fraction", "others_leave", "free"),
    [(1.0, 900, 900 + 30 - 10), (0.25, 900, 240), (0.25, 100, 120), (0.005, 900, 0)],
)
def test_a_batch_fits_into_the_part_of_the_card_that_its_worker_has(
    fraction: float, others_leave: int, free: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    stand_ins = {
        "mem_get_info": (others_leave, 1000),
        "memory_reserved": 30,
        "memory_allocated": 10,
        "get_per_process_memory_fraction": fraction,
    }
    for name, value in stand_ins.items():
        monkeypatch.setattr(memory.torch.cuda, name, lambda device, value=value: value)
    assert free_bytes(CUDA) == free
