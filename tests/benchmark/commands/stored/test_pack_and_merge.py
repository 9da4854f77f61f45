"""Records that were packed elsewhere become runs here: verified first, whole or not at all, and nothing here is harmed."""

from __future__ import annotations

import json
import os
import shutil
import socket
from collections.abc import Sequence
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from benchmark.cli import main
from benchmark.commands.stored import union
from benchmark.commands.stored.checked import NOWHERE
from benchmark.commands.verify.command import findings_in
from benchmark.learning import context
from benchmark.running.progress.alive import Pulse, worker_of
from results import Run, load, schema
from results.publishing.archive import write_archive
from results.publishing.packing import records_of
from results.store import RunStore
from tests.benchmark.commands.verify.verified import hashes, the_run
from tests.tiny import TINY, run_tiny


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a finished run of the tiny preset."""
    folder = tmp_path_factory.mktemp("source")
    assert run_tiny(folder, rows=[{"method": "standard"}]) == 0
    return folder


@pytest.fixture
def folder(source: Path, tmp_path: Path) -> Path:
    """A copy of it that a test may spoil; what it merges into is empty."""
    shutil.copytree(source, tmp_path / "copy")
    return tmp_path / "copy"


def pack(folder: Path, *words: str, results: str = "runs") -> Path:
    path = folder / f"{results}.zip"
    assert main(["pack", "--results", str(folder / results), "-o", str(path), *words]) == 0
    return path


def merge(into: Path, *files: Path) -> int:
    return main(["merge", *map(str, files), "--results", str(into)])


def pack_unchecked(run: Path, path: Path, *, weights: bool = False) -> Path:
    """A packed run whose records nobody has verified, as a stranger may write one."""
    write_archive(path, [(run, {"label": "standard", "seed": 0}, records_of(Run(run, {}), weights=weights))])
    return path


def records(folder: Path) -> dict[str, str]:
    """The records in a folder of runs with their content, without locks and what is derived."""
    derived = (".locks", "merged", "verdicts.json", "set-aside", ".sessions")
    return {name: content for name, content in hashes(folder).items() if not set(Path(name).parts) & set(derived)}


def only(folder: Path) -> Run:
    (run,) = load(folder, None).runs
    return run


def table(run: Run) -> pd.DataFrame:
    columns = ["after_task", "task", "sample", "attack", "predicted", "margin"]
    frame = run.predictions.astype({"attack": str})
    return frame.sort_values(columns, ignore_index=True)[columns]


def drop(run: Path, *, keep: Sequence[str], tables: Sequence[str] = ("predictions", "evaluations")) -> None:
    """Delete the parts of evaluations whose names begin with none of these."""
    for path in (path for name in tables for path in (run / name).iterdir()):
        if not path.name.startswith(tuple(keep)):
            path.unlink()


def test_records_come_back_as_they_were_and_hold(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = pack(folder)
    assert merge(folder / "new", path) == 0
    there = records(folder / "new")
    assert there == {name: content for name, content in records(folder / "runs").items() if "checkpoints" not in name}
    assert (the_run(folder).name + "/verdicts.json") in hashes(folder / "new")
    capsys.readouterr()
    preset = ["--preset", str(folder / "tiny.yaml")]
    assert main(["verify", "standard", "--results", str(folder / "new"), *preset]) == 0
    assert "everything that was verified holds" in capsys.readouterr().out
    assert pack(folder, results="new").read_bytes() == path.read_bytes()


def test_with_weights_nothing_is_left_to_do_and_without_them_neither(folder: Path) -> None:
    for words in ([], ["--weights"]):
        into = folder / f"new{len(words)}"
        assert merge(into, pack(folder, *words)) == 0
        before = hashes(into)
        assert run_tiny(folder, rows=[{"method": "standard"}], results=into.name) == 0
        changed = {
            name for name, content in hashes(into).items() if before.get(name) != content and ".locks" not in name
        }
        assert {Path(name).name for name in changed} <= {"config.json"}
    assert any("checkpoints" in name for name in records(folder / "new1"))


def test_two_halves_are_the_whole_in_either_order(folder: Path) -> None:
    whole, run = table(only(folder / "runs")), the_run(folder)
    digits = sorted(path.name[0] for path in (run / "evaluations").iterdir())
    middle = digits[len(digits) // 2]
    for name, keep in (
        ("first", [d for d in set(digits) if d < middle]),
        ("second", [d for d in set(digits) if d >= middle]),
    ):
        shutil.copytree(folder / "runs", folder / name)
        drop(folder / name / run.name, keep=keep)
        assert 0 < len(table(only(folder / name))) < len(whole)
        pack_unchecked(folder / name / run.name, folder / f"{name}.zip")
    for order in (("first", "second"), ("second", "first")):
        into = folder / "-".join(order)
        assert merge(into, *(folder / f"{name}.zip" for name in order)) == 0
        pd.testing.assert_frame_equal(table(only(into)), whole)
    assert records(folder / "first-second") == records(folder / "second-first")


def test_the_part_with_more_samples_counts_and_one_with_fewer_changes_nothing(folder: Path) -> None:
    """FGSM on 20 samples there and on 30 here: parts of one name."""
    few = pack(folder)
    more = {**TINY["evaluation"], "final": [{"attack": "fgsm", "samples": 30}]}
    fresh = folder / "fresh"
    fresh.mkdir()
    assert run_tiny(fresh, rows=[{"method": "standard"}], evaluation=more) == 0
    many = pack(fresh)
    for name, order in (("up", (few, many)), ("down", (many, few))):
        assert merge(folder / name, *order) == 0
        frame = only(folder / name).predictions
        fgsm = frame[frame["attack"].astype(str).str.startswith("fgsm")]
        assert set(fgsm.groupby("task").size()) == {30}


def test_a_run_that_was_learned_into_other_weights_is_no_part_of_this_one(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def other_weights(network: torch.nn.Module, generator: torch.Generator) -> None:
        torch.manual_seed(7)
        for parameter in network.parameters():
            torch.nn.init.normal_(parameter, std=0.1)

    monkeypatch.setattr(context, "initialise", other_weights)
    other = folder / "other"
    other.mkdir()
    assert run_tiny(other, rows=[{"method": "standard"}]) == 0
    assert the_run(other).name == the_run(folder).name
    path, before = pack(other), hashes(folder / "runs")
    capsys.readouterr()
    assert merge(folder / "runs", path) == 1
    said = [line for line in capsys.readouterr().out.splitlines() if line]
    assert len(said) == 1
    assert said[0].startswith(f"failed: {path}: ")
    assert "into other weights" in said[0]
    assert hashes(folder / "runs") == before


def test_a_damaged_run_is_not_taken_in_and_the_others_are(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_tiny(folder, rows=[{"method": "madry_at"}]) == 0
    path = pack(folder)
    standard, madry = (
        next(r for r in load(folder / "runs", None).runs if r.method == m) for m in ("standard", "madry_at")
    )
    content = (standard.directory / "tasks.parquet").read_bytes()
    place = path.read_bytes().index(f"{standard.directory.name}/tasks.parquet".encode())
    damaged = bytearray(path.read_bytes())
    damaged[path.read_bytes().index(content, place) + 20] ^= 1
    path.write_bytes(damaged)
    capsys.readouterr()
    assert merge(folder / "new", path) == 1
    (line,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith("failed: ")]
    assert "not a whole file" in line
    assert [run.hash for run in load(folder / "new", None).runs] == [madry.hash]
    assert {path.name for path in (folder / "new").iterdir()} == {".locks", madry.directory.name}


def edit_margin(run: Path) -> None:
    path = sorted((run / "predictions").iterdir())[0]
    rows = pq.read_table(path, partitioning=None)
    index = rows.column_names.index("margin")
    pq.write_table(rows.set_column(index, "margin", [[-margin for margin in rows["margin"].to_pylist()]]), path)


def edit_identity(run: Path) -> None:
    config = json.loads((run / "config.json").read_text())
    config["identity"]["seed"] = 5
    (run / "config.json").write_text(json.dumps(config))


def tear_a_part(run: Path) -> None:
    path = sorted((run / "evaluations").iterdir())[0]
    path.write_bytes(path.read_bytes()[:-9])


def nest_deeply(run: Path) -> None:
    config = json.loads((run / "config.json").read_text())
    text = json.dumps(config)[:-1] + ', "deep": ' + "[" * 100_000 + "]" * 100_000 + "}"
    (run / "config.json").write_text(text)


def unpack_without_end(run: Path) -> None:
    fact = {"task": 0, "phase": "method", "name": "x", "value": 0.0, "text": "x" * 2**25}
    pq.write_table(pa.Table.from_pylist([fact], schema=schema.FACTS), run / "facts" / "x.parquet", compression="zstd")


def repeat_without_end(run: Path) -> None:
    columns = [pa.repeat(pa.scalar(None, field.type), 10**6) for field in schema.FACTS]
    pq.write_table(pa.table(columns, schema=schema.FACTS), run / "facts" / "x.parquet")


@pytest.mark.parametrize(
    "edit", [edit_margin, edit_identity, tear_a_part, nest_deeply, unpack_without_end, repeat_without_end]
)
def test_records_that_do_not_hold_are_refused_in_one_line(
    edit: object, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    edit(the_run(folder))  # type: ignore[operator]
    path = pack_unchecked(the_run(folder), folder / "edited.zip")
    assert merge(folder / "new", path) == 1
    (line,) = capsys.readouterr().out.splitlines()
    assert line.startswith(f"failed: {path}: run standard seed ")
    assert ("bytes in a file of" in line) == (edit in (unpack_without_end, repeat_without_end))
    assert load(folder / "new", None).runs == []
    assert not [path for path in (folder / "new").iterdir() if path.name != ".locks"]


def test_what_would_be_taken_in_nowhere_is_not_packed(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tear_a_part(the_run(folder))
    assert main(["pack", "--results", str(folder / "runs"), "-o", str(folder / "a.zip")]) == 2
    assert capsys.readouterr().err.startswith("error: run standard seed 0")
    assert not [path for path in folder.iterdir() if "zip" in path.name or "merging" in path.name]


def test_a_run_that_is_worked_on_is_neither_packed_nor_merged_into(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, run = pack(folder), only(folder / "runs")
    drop(run.directory, keep=["no"])
    capsys.readouterr()
    with RunStore(folder / "runs", run.hash).working():
        assert worker_of(run.directory, Pulse(folder / "runs")) is not None
        assert main(["pack", "--results", str(folder / "runs"), "-o", str(folder / "b.zip")]) == 2
        assert merge(folder / "runs", path) == 1
        assert list((run.directory / "evaluations").iterdir()) == []
    shown = capsys.readouterr()
    assert "left out: standard seed 0 is being worked on" in shown.out
    assert "is working on this run" in shown.out
    assert merge(folder / "runs", path) == 0
    assert list((run.directory / "evaluations").iterdir())


def test_what_a_killed_merge_left_is_cleared_away_by_the_next(folder: Path) -> None:
    path, into = pack(folder), folder / "new"
    for pid, host in ((2**22 + 1, socket.gethostname()), (2**22 + 1, "elsewhere")):
        (into / ".merging" / f"{pid}@{host}@x").mkdir(parents=True)
    assert merge(into, path) == 0
    assert [path.name.split("@")[1] for path in (into / ".merging").iterdir()] == ["elsewhere"]


def test_a_merge_that_is_stopped_anywhere_leaves_a_run_that_holds_and_is_gone_on_with(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, run = pack(folder, "--weights"), the_run(folder)
    whole = table(only(folder / "runs"))
    drop(run, keep=["no"])
    shutil.rmtree(run / "checkpoints")
    (run / "facts" / "cost.parquet").unlink()
    replace, moved = os.replace, list[str]()
    for stop in (1, 4, 14):

        def limited(source: Path, target: Path, stop: int = stop) -> None:
            if len(moved) == stop:
                raise KeyboardInterrupt
            moved.append(Path(target).parent.name)
            replace(source, target)

        moved.clear()
        monkeypatch.setattr(union.os, "replace", limited)
        assert merge(folder / "runs", path) == 130
        found = findings_in(only(folder / "runs"), load(folder / "runs", None), NOWHERE)
        # Predictions come before the evaluations that make them count.
        problems = [problem for finding in found for problem in finding.problems]
        assert not [problem for problem in problems if not problem.startswith("predictions without their evaluation")]
        assert not (run / "facts" / "cost.parquet").exists()
    monkeypatch.undo()
    assert merge(folder / "runs", path) == 0
    pd.testing.assert_frame_equal(table(only(folder / "runs")), whole)
    assert pack(folder, "--weights").read_bytes() == path.read_bytes()


def test_failures_stay_unless_a_finished_copy_has_none(folder: Path) -> None:
    finished = pack(folder)
    for name in ("a", "b"):
        shutil.copytree(folder / "runs", folder / name)
        run = folder / name / the_run(folder).name
        (run / "facts" / "cost.parquet").unlink()
        (run / "failures.jsonl").write_text(f'{{"message": "failed in {name}"}}\n')
    packed = pack_unchecked(folder / "b" / the_run(folder).name, folder / "b.zip")
    assert merge(folder / "a", packed) == 0
    assert [entry["message"] for entry in only(folder / "a").failures] == ["failed in a", "failed in b"]
    # A copy that knows one of them, and one more.
    with (folder / "b" / the_run(folder).name / "failures.jsonl").open("a") as file:
        file.write('{"message": "failed in b again"}\n')
    assert merge(folder / "a", pack_unchecked(folder / "b" / the_run(folder).name, folder / "more.zip")) == 0
    assert [entry["message"] for entry in only(folder / "a").failures] == [
        "failed in a", "failed in b", "failed in b again",
    ]  # fmt: skip
    assert merge(folder / "a", finished) == 0
    assert only(folder / "a").failures == []
    assert merge(folder / "runs", packed) == 0
    assert only(folder / "runs").failures == []


def test_boards_and_runs_are_chosen_by_name(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    runs = ["--results", str(folder / "runs"), "-o", str(folder / "a.zip")]
    assert main(["pack", "--preset", "tiny", "standard", *runs]) == 0
    for words, reason in ((["--preset", "tinny"], "did you mean 'tiny'"), (["packnet"], "no such run")):
        assert main(["pack", *words, *runs]) == 2
        assert reason in capsys.readouterr().err
    (folder / "empty").mkdir()
    assert main(["pack", "--results", str(folder / "empty"), "-o", str(folder / "a.zip")]) == 2
    assert "no run is stored there" in capsys.readouterr().err


def test_a_file_of_something_else_leaves_no_trace(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = pack(folder)
    (folder / "page.zip").write_text("<html>")
    capsys.readouterr()
    assert merge(folder / "new", path, folder / "page.zip") == 2
    assert capsys.readouterr().err.startswith(f"error: {folder / 'page.zip'}: ")
    assert not (folder / "new").exists()
