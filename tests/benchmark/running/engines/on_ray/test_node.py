"""A job on a node: what it tells and stores is reported, and it leaves nothing."""

from __future__ import annotations

import queue
from pathlib import Path

import pytest

from benchmark.learning.events import Event
from benchmark.running.engines.on_ray.node import reports
from benchmark.running.engines.on_ray.parcels import Outgoing
from benchmark.running.failures import JobResult


def test_files_come_no_later_than_the_events_that_tell_of_them_and_the_result_comes_last(tmp_path: Path) -> None:
    outgoing = Outgoing(tmp_path)
    told: queue.SimpleQueue[Event | JobResult | BaseException] = queue.SimpleQueue()
    found = reports(told, outgoing, seconds=0.01)
    # Stored, and nothing told.
    (tmp_path / "config.json").write_text("1")
    assert [file.path for file in next(found).files] == ["config.json"]
    (tmp_path / "facts").write_text("2")
    told.put(Event("hash", "label", 0, "task"))
    report = next(found)
    assert ([file.path for file in report.files], [event.kind for event in report.events]) == (["facts"], ["task"])
    (tmp_path / "costs").write_text("3")
    (tmp_path / "config.json").unlink()
    told.put(JobResult("hash"))
    report = next(found)
    assert ([file.path for file in report.files], report.gone, report.result) == (
        ["costs"],
        ["config.json"],
        JobResult("hash"),
    )
    assert list(found) == []


def test_an_error_is_raised_after_what_was_stored_is_reported(tmp_path: Path) -> None:
    outgoing = Outgoing(tmp_path)
    told: queue.SimpleQueue[Event | JobResult | BaseException] = queue.SimpleQueue()
    (tmp_path / "config.json").write_text("1")
    told.put(RuntimeError("a bug"))
    found = reports(told, outgoing, seconds=0.01)
    assert [file.path for file in next(found).files] == ["config.json"]
    with pytest.raises(RuntimeError, match="a bug"):
        next(found)
