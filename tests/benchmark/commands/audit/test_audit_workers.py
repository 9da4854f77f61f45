"""Worker processes of an audit: what becomes of one that cannot begin, and of one that is killed."""

from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch

from benchmark.commands.audit.attacking import workers
from benchmark.commands.audit.attacking.workers import attack_cells
from benchmark.planning.machine import Machine
from benchmark.planning.presets import load_preset
from results.files import StoreError
from scenarios.base import DataError, SourceOptions
from tests.tiny import write_preset


class Cell:
    """A cell of a classifier of its own."""

    turn, task, attack = 0, 0, SimpleNamespace(steps=1)

    def __init__(self, name: str) -> None:
        self.job = SimpleNamespace(hash=name)


class DeadlyCell(Cell):
    """One that ends the process that it is sent to."""

    def __reduce__(self) -> Any:
        return os._exit, (9,)


def attack(folder: Path, preset: str, kind: type[Cell]) -> None:
    machine = Machine(folder / "runs", folder / "published", SourceOptions(folder / "nothing"), "cpu", 2, 1, "")
    store = SimpleNamespace(folder=folder, samples=1, machines={})
    attack_cells(cast(Any, [kind("a"), kind("b")]), cast(Any, store), load_preset(preset), machine, lambda cells: None)


def test_images_that_are_not_there_are_said_to_be_missing(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="nothing"):
        attack(tmp_path, "cifar100-cpu", Cell)


def test_a_process_that_is_killed_is_one_line_and_the_same_command_goes_on(tmp_path: Path) -> None:
    with pytest.raises(
        StoreError, match=r"a process that attacked was killed \(out of memory\?\); the same command goes on$"
    ):
        attack(tmp_path, str(write_preset(tmp_path)), DeadlyCell)


def test_workers_on_a_gpu_have_their_part_of_its_memory_each(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    taken: list[tuple[float, torch.device | None]] = []
    monkeypatch.setattr(torch.cuda, "set_per_process_memory_fraction", lambda *given: taken.append(given))
    # What else a process does when it begins would change this one.
    for name in ("signal.signal", "end_with_parent", "load_tasks", "torch.set_num_threads"):
        monkeypatch.setattr(f"{workers.__name__}.{name}", lambda *_: [])
    monkeypatch.setattr(workers, "_attacker", None)
    machine = Machine(tmp_path, tmp_path, SourceOptions(), "cuda", 4, 1, "")
    workers._start(load_preset("digits"), machine, tmp_path, 1, {})
    assert taken == [(0.25, None)]
