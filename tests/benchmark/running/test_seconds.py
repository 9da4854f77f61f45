"""Seconds by purpose: facts of a run, summed over its sessions, and no part of what a run is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from attacks.parts import clock
from benchmark.running.seconds.spent import timed
from results.files import StoreError
from results.schema import SECONDS
from results.store import RunStore
from tests.benchmark.running.stored import only
from tests.tiny import TINY, run_tiny


def seconds(folder: Path) -> dict[str, float]:
    facts = only(folder).facts
    mine = facts[facts["phase"] == SECONDS]
    assert (mine["task"] == -1).all()
    assert mine["name"].is_unique
    return dict(zip(mine["name"], mine["value"], strict=True))


EVALUATION: dict[str, Any] = {**TINY["evaluation"], "final": [{"attack": "fgsm"}], "checks": "final"}


def test_a_run_says_where_its_time_went(tmp_path: Path) -> None:
    assert run_tiny(tmp_path, evaluation=EVALUATION) == 0
    found = seconds(tmp_path)
    learning = {"start", "learn", "validate", "hash", "write", "read", "other"}
    judging = {"probes", "gradients", "unseen", "afresh"}
    attacks = {"attack clean", "attack pgd", "attack fgsm"}
    assert learning | judging | attacks <= found.keys()
    assert any(name.startswith("extra ") for name in found)
    assert all(value >= 0 for value in found.values())


def test_another_session_adds_its_seconds(tmp_path: Path) -> None:
    assert run_tiny(tmp_path) == 0
    before = seconds(tmp_path)
    more = {**TINY["evaluation"], "matrix": [*TINY["evaluation"]["matrix"], {"attack": "noise"}]}
    assert run_tiny(tmp_path, evaluation=more) == 0
    after = seconds(tmp_path)
    assert "attack noise" not in before
    assert after["attack noise"] > 0
    assert after["learn"] == before["learn"]
    assert after["write"] > before["write"]


def store_in(folder: Path) -> RunStore:
    assert run_tiny(folder) == 0
    return RunStore(folder / "runs", only(folder).hash)


def test_a_session_that_fails_is_counted_up_to_there(tmp_path: Path) -> None:
    store = store_in(tmp_path)
    before = sum(seconds(tmp_path).values())
    with pytest.raises(KeyboardInterrupt), timed(store):
        raise KeyboardInterrupt
    assert sum(seconds(tmp_path).values()) > before


def test_nothing_more_is_written_where_nothing_can_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = store_in(tmp_path)

    def refuse(*arguments: object) -> None:
        raise AssertionError

    monkeypatch.setattr(store, "write_part", refuse)
    with pytest.raises(StoreError, match="full"), timed(store):
        raise StoreError("the disk is full")


def test_seconds_that_were_stored_on_the_way_are_counted_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = store_in(tmp_path)
    before = sum(seconds(tmp_path).values())
    at = [0.0]
    monkeypatch.setattr(clock.time, "perf_counter", lambda: at[0])
    with timed(store) as note:
        for passed in (5, 2):
            at[0] += passed
            note()
    assert sum(seconds(tmp_path).values()) == pytest.approx(before + 7)
