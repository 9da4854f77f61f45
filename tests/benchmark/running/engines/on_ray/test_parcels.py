"""Files of a run between machines: whole, in their order, and never one that rests on another that was not sent."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from benchmark.running.engines.on_ray import parcels
from benchmark.running.engines.on_ray.parcels import File, Outgoing, in_pieces, needed_run, put, remove, whole_run
from results.checkpoints import Checkpoint, Checkpoints
from results.files import StoreError, whole_file


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run with two checkpoints, records, and what never travels."""
    import torch

    directory = tmp_path / "run"
    checkpoints = Checkpoints(directory / "checkpoints")
    for turn in range(2):
        checkpoints.save(f"task-{turn:03d}", Checkpoint({"weight": torch.full((2,), float(turn))}, {"spent": {}}))
    for name in ("config.json", "facts/cost.parquet", "predictions/a.parquet", "evaluations/a.parquet"):
        write(directory, name)
    for name in ("running", "merged/predictions.parquet", "predictions/.b.parquet.x.partial", "set-aside/old"):
        write(directory, name)
    return directory


def write(directory: Path, name: str, content: bytes = b"content") -> None:
    with whole_file(directory / name) as temporary:
        temporary.write_bytes(content)


def files_below(directory: Path) -> dict[str, tuple[bytes, int]]:
    paths = [path for path in directory.rglob("*") if path.is_file()]
    return {path.relative_to(directory).as_posix(): (path.read_bytes(), path.stat().st_mtime_ns) for path in paths}


def test_a_run_arrives_with_its_bytes_and_times(run: Path, tmp_path: Path) -> None:
    put(tmp_path / "there", whole_run(run))
    before = {
        name: file
        for name, file in files_below(run).items()
        if not name.startswith(("running", "merged", "set-aside")) and not name.endswith(".partial")
    }
    assert files_below(tmp_path / "there") == before
    assert "checkpoints/task-000.json" in before


def test_a_run_that_another_needs_travels_with_its_last_checkpoint_alone(run: Path, tmp_path: Path) -> None:
    put(tmp_path / "there", needed_run(run))
    there = Checkpoints(tmp_path / "there" / "checkpoints")
    assert there.names() == ["task-001"]
    assert there.load("task-001").tensors["weight"].tolist() == [1, 1]
    assert len(list((tmp_path / "there").rglob("*.safetensors"))) == 1
    assert {"config.json", "facts/cost.parquet", "predictions/a.parquet"} <= files_below(tmp_path / "there").keys()


def test_what_is_new_is_sent_once_in_the_order_in_which_it_came_to_be(run: Path) -> None:
    outgoing = Outgoing(run)
    assert outgoing.changes() == ([], [])
    for number, name in enumerate(["predictions/z.parquet", "evaluations/z.parquet", "config.json"]):
        write(run, name, b"new")
        os.utime(run / name, ns=(2**62 + number, 2**62 + number))
    (run / "checkpoints/task-000.json").unlink()
    files, gone = outgoing.changes()
    assert [file.path for file in files] == ["predictions/z.parquet", "evaluations/z.parquet", "config.json"]
    assert gone == ["checkpoints/task-000.json"]
    assert outgoing.changes() == ([], [])


def test_a_file_that_is_replaced_within_the_clock_s_tick_is_sent_again(run: Path) -> None:
    outgoing, before = Outgoing(run), os.stat(run / "config.json")
    write(run, "config.json", b"CONTENT")
    os.utime(run / "config.json", ns=(before.st_atime_ns, before.st_mtime_ns))
    assert [file.content for file in outgoing.changes()[0]] == [b"CONTENT"]


def test_a_file_is_sent_with_those_that_it_rests_on_though_a_listing_missed_them(
    run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    outgoing = Outgoing(run)
    listed = parcels._stamps

    def one_after_another() -> Iterator[Any]:
        # The folder of predictions was read before they were written, that of evaluations after.
        before = listed(run)
        write(run, "predictions/z.parquet")
        write(run, "evaluations/z.parquet")
        yield {**before, "evaluations/z.parquet": listed(run)["evaluations/z.parquet"]}
        write(run, "evaluations/later.parquet")
        os.utime(run / "evaluations/later.parquet", ns=(2**62, 2**62))
        yield listed(run)

    listings = one_after_another()
    monkeypatch.setattr(parcels, "_stamps", lambda directory: next(listings))
    files, _ = outgoing.changes()
    assert [file.path for file in files] == ["predictions/z.parquet", "evaluations/z.parquet"]


@pytest.mark.parametrize("path", ["../elsewhere", "/etc/elsewhere", "facts/../../elsewhere", "", "facts//x"])
def test_nothing_is_written_or_deleted_outside_the_run(tmp_path: Path, path: str) -> None:
    with pytest.raises(StoreError, match="is no file of a run"):
        put(tmp_path / "run", [File(path, b"", 0)])
    with pytest.raises(StoreError, match="is no file of a run"):
        remove(tmp_path / "run", [path])
    assert list(tmp_path.iterdir()) == []


def test_files_travel_in_pieces_of_a_size(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parcels, "MOST_BYTES", 10)
    files = [File(str(number), b"x" * size, 0) for number, size in enumerate([4, 6, 1, 50, 2])]
    assert [[file.path for file in piece] for piece in in_pieces(files)] == [["0", "1"], ["2"], ["3"], ["4"]]
    assert list(in_pieces([])) == []
