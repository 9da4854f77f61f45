"""Every evaluation says on what it was computed; records of before that column go on being used."""

from __future__ import annotations

from pathlib import Path

import pyarrow.parquet as pq
import pytest
import torch

from benchmark.learning.provenance import arithmetic
from results.schema import YOUNGER
from tests.benchmark.running.stored import only, table
from tests.tiny import TINY, run_tiny

HERE = arithmetic(torch.device("cpu"))


def as_it_was(folder: Path) -> None:
    """Take from all evaluations of a run the columns that older versions did not store."""
    parts = sorted((only(folder).directory / "evaluations").glob("*.parquet"))
    assert parts
    for path in parts:
        pq.write_table(pq.ParquetFile(path).read().drop_columns(list(YOUNGER)), path)


def test_every_evaluation_says_on_what_it_was_computed(tmp_path: Path) -> None:
    run_tiny(tmp_path)
    assert set(only(tmp_path).evaluations["arithmetic"]) == {HERE}
    assert HERE.startswith(f"torch {torch.__version__} ")


def test_attacks_that_come_later_say_their_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run_tiny(tmp_path)
    monkeypatch.setattr("benchmark.running.recording.arithmetic", lambda device: f"another torch on {device}")
    more = {**TINY["evaluation"], "matrix": [*TINY["evaluation"]["matrix"], {"attack": "noise"}]}
    assert run_tiny(tmp_path, evaluation=more) == 0
    found = only(tmp_path).evaluations
    assert set(found.query("kind == 'noise'")["arithmetic"]) == {"another torch on cpu"}
    assert set(found.query("kind != 'noise'")["arithmetic"]) == {HERE}


def test_an_older_record_is_complete_and_says_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run_tiny(tmp_path)
    before = table(only(tmp_path))
    as_it_was(tmp_path)
    monkeypatch.setattr(
        "benchmark.running.execution.attack_task", lambda *_: pytest.fail("attacked again"), raising=False
    )
    assert run_tiny(tmp_path) == 0
    run = only(tmp_path)
    assert run.evaluations["arithmetic"].isna().all()
    assert not run.problems
    assert table(run).equals(before)


def test_outcomes_of_an_older_record_are_copied(tmp_path: Path) -> None:
    """The classifier of the first task is the same after the second, so its outcomes are copied from there."""
    run_tiny(tmp_path, ["single_task_at"])
    before = table(only(tmp_path))
    as_it_was(tmp_path)
    directory = only(tmp_path).directory
    for kind in ("evaluations", "predictions"):
        for path in (directory / kind).glob("*.001.*.parquet"):
            if (rows := pq.ParquetFile(path).read().to_pylist()) and rows[0]["task"] == 0:
                path.unlink()
    assert len(table(only(tmp_path))) < len(before)
    assert run_tiny(tmp_path, ["single_task_at"]) == 0
    run = only(tmp_path)
    columns = ["after_task", "task", "sample", "attack", "predicted", "margin"]
    order = ["after_task", "task", "attack", "sample"]
    assert (
        table(run)[columns]
        .sort_values(order, ignore_index=True)
        .equals(before[columns].sort_values(order, ignore_index=True))
    )
    assert run.evaluations.query("reused")["arithmetic"].isna().all()
