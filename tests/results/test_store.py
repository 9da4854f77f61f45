"""Stored runs: whole files or none, unreadable ones named, two processes never on one run."""

from __future__ import annotations

import json
import re
import resource
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import torch

from results import Problem, load, schema
from results import store as storing
from results.checkpoints import Checkpoint, Checkpoints
from results.files import StoreError, digest, whole_file, write_json, write_text
from results.store import RunStore, demand_of_published
from tests.conftest import REPOSITORY

PREDICTION: dict[str, Any] = {
    "after_task": 0,
    "task": 0,
    "sample": 3,
    "attack": "clean",
    "label": 1,
    "predicted": 1,
    "margin": 0.5,
    "evaluation_id": "ab" * 32,
}


def identity(seed: int = 0, **changes: Any) -> dict[str, Any]:
    row = {"schema": schema.VERSION, "method": "madry_at", **changes}
    return {**row, "label": "AT", "seed": seed, "row": digest(row), "hash": digest({**row, "seed": seed})}


def make_run(root: Path, **changes: Any) -> RunStore:
    about = identity(**changes)
    store = RunStore(root, about["hash"])
    store.write_config(about, {})
    store.write_part("predictions", "part", [PREDICTION])
    return store


def test_a_run_is_read_back_as_it_was_written(tmp_path: Path) -> None:
    make_run(tmp_path)
    (run,) = load(tmp_path, None).runs
    assert (run.label, run.method, run.seed) == ("AT", "madry_at", 0)
    assert run.predictions.to_dict("records")[0] | {"margin": 0.5} == PREDICTION


def test_a_file_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    target = tmp_path / "table.txt"
    target.write_text("old")
    with pytest.raises(RuntimeError), whole_file(target) as temporary:
        temporary.write_text("half")
        raise RuntimeError
    assert target.read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]


def test_a_disk_that_is_full_is_one_line_and_what_was_stored_stays(
    tmp_path: Path,
) -> None:
    store = make_run(tmp_path)
    checkpoints = Checkpoints(store.directory / "checkpoints")
    checkpoints.save("task-000", Checkpoint({"a": torch.zeros(4)}))
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    writes: list[Callable[[], object]] = [
        lambda: write_text(tmp_path / "report.md", "words"),
        lambda: store.write_part("predictions", "part", [{**PREDICTION, "margin": 0.25}]),
        lambda: store.demand("digits", {"label": "AT"}),
        lambda: checkpoints.save("task-000", Checkpoint({"a": torch.ones(4)})),
    ]
    # The kernel's own limit on the size of a file: every library meets it where it would meet a full disk.
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, hard))
    try:
        for write in writes:
            with pytest.raises(StoreError, match=rf"^{tmp_path}/.*: cannot be written \(.*\)$"):
                write()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    files = {path for path in tmp_path.rglob("*") if path.is_file() and path.parent.name != ".locks"}
    assert {path: path.read_bytes() for path in files} == before


def test_a_truncated_part_is_named_and_the_others_are_read(tmp_path: Path) -> None:
    store = make_run(tmp_path)
    store.write_part("predictions", "torn", [{**PREDICTION, "sample": 4}])
    torn = store.directory / "predictions" / "torn.parquet"
    torn.write_bytes(torn.read_bytes()[:-20])
    results = load(tmp_path, None)
    assert list(results.runs[0].predictions["sample"]) == [3]
    assert [problem.path for problem in results.problems] == [torn]
    assert torn.exists(), "reading never moves or changes a file"


def test_working_on_a_run_sets_torn_parts_aside(tmp_path: Path) -> None:
    store = make_run(tmp_path)
    torn = store.directory / "predictions" / "torn.parquet"
    torn.write_bytes(b"PAR1")
    (moved,) = store.set_broken_aside()
    assert not torn.exists()
    assert moved.path.read_bytes() == b"PAR1"


def test_a_part_of_another_version_is_named_with_what_it_lacks(tmp_path: Path) -> None:
    import pyarrow.parquet as pq

    store = make_run(tmp_path)
    pq.write_table(pa.table({"task": [1]}), store.directory / "predictions" / "old.parquet")
    results = load(tmp_path, None)
    assert len(results.runs[0].predictions) == 1
    assert "after_task" in str(results.problems[0])


def test_a_run_in_another_record_format_is_named_not_read(tmp_path: Path) -> None:
    store = make_run(tmp_path)
    config = json.loads((store.directory / "config.json").read_text())
    config["identity"]["schema"] = schema.VERSION + 1
    write_json(store.directory / "config.json", config)
    results = load(tmp_path, None)
    assert results.runs == []
    assert f"format {schema.VERSION + 1}" in str(results.problems[0])


@pytest.mark.parametrize("content", ["", "{", "[]", '{"identity": {}}', '{"identity": null}', "null"])
def test_a_broken_config_is_named_not_read(tmp_path: Path, content: str) -> None:
    store = make_run(tmp_path)
    (store.directory / "config.json").write_text(content)
    results = load(tmp_path, None)
    assert results.runs == []
    assert store.directory.name in str(results.problems[0])


@pytest.mark.parametrize("field", ["method", "seed", "hash", "row", "added"])
def test_an_identity_that_was_edited_is_named_not_read(tmp_path: Path, field: str) -> None:
    store = make_run(tmp_path)
    config = json.loads((store.directory / "config.json").read_text())
    config["identity"][field] = {"seed": 7, "added": float("nan")}.get(field, "ab" * 32)
    (store.directory / "config.json").write_text(json.dumps(config))
    results = load(tmp_path, None)
    assert results.runs == []
    (problem,) = results.problems
    assert re.fullmatch(r"config.json: changed after it was stored: .*; write .* anew", _without(tmp_path, problem))
    assert len(load(tmp_path, None, edited=True).runs) == 1


def _without(folder: Path, problem: Problem) -> str:
    return problem.reason.removeprefix(f"{problem.path}/")


def test_a_name_that_was_edited_is_a_name(tmp_path: Path) -> None:
    store = make_run(tmp_path)
    path = store.directory / "config.json"
    path.write_text(path.read_text().replace('"AT"', '"AT with another name"'))
    (run,) = load(tmp_path, None).runs
    assert run.label == "AT with another name"


def test_every_published_record_is_as_it_was_stored() -> None:
    results = load(REPOSITORY / "results" / "none", REPOSITORY / "results" / "published")
    assert results.problems == []
    assert len(results.runs) == len(list((REPOSITORY / "results" / "published").glob("*/*/config.json")))


def test_a_folder_without_a_config_is_named(tmp_path: Path) -> None:
    (tmp_path / "something").mkdir()
    assert "no config.json" in str(load(tmp_path, None).problems[0])


def test_a_run_stored_here_and_published_is_one_run(tmp_path: Path) -> None:
    local = make_run(tmp_path / "runs")
    published = make_run(tmp_path / "published" / "digits")
    published.demand("digits", {"label": "AT", "eps": "1/5"})
    (run,) = load(tmp_path / "runs", tmp_path / "published").runs
    assert run.directory == local.directory
    assert "digits" in run.protocols


def test_published_runs_are_found_and_marked(tmp_path: Path) -> None:
    make_run(tmp_path / "published" / "digits")
    make_run(tmp_path / "runs", seed=1)
    assert sorted((run.seed, run.published) for run in load(tmp_path / "runs", tmp_path / "published").runs) == [
        (0, True),
        (1, False),
    ]


def test_a_label_is_a_presets_name_for_a_run_and_not_part_of_its_identity(tmp_path: Path) -> None:
    store = make_run(tmp_path)
    store.demand("digits", {"label": "renamed"})
    (run,) = load(tmp_path, None).runs
    assert run.protocols["digits"]["label"] == "renamed"
    assert (run.label, run.hash) == ("AT", store.hash)


def test_what_is_demanded_of_a_published_run_leaves_it_as_it_is(tmp_path: Path) -> None:
    published = make_run(tmp_path / "published" / "digits")
    before = {path: path.read_bytes() for path in published.directory.rglob("*") if path.is_file()}
    demand_of_published(tmp_path / "runs", published.hash, "copy", {"label": "AT"})
    (run,) = load(tmp_path / "runs", tmp_path / "published").runs
    assert run.protocols["copy"]["label"] == "AT"
    assert {path: path.read_bytes() for path in published.directory.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize("published", [True, False])
def test_demands_that_come_at_once_are_all_noted(
    published: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = make_run(tmp_path / "published" / "digits" if published else tmp_path / "runs")
    read = storing.read_json

    def slowly(path: Path) -> object:
        found = read(path)
        time.sleep(0.05)
        return found

    monkeypatch.setattr(storing, "read_json", slowly)

    def demand(preset: str) -> None:
        if published:
            demand_of_published(tmp_path / "runs", run.hash, preset, {"label": preset})
        else:
            run.demand(preset, {"label": preset})

    demand("first")
    threads = [threading.Thread(target=demand, args=(name,)) for name in ("second", "third", "fourth")]
    if not published:
        # As a merge does.
        threads.append(threading.Thread(target=run.add_demands, args=({"fifth": {}, "first": {"label": "other"}},)))
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    (found,) = load(tmp_path / "runs", tmp_path / "published").runs
    assert {"first", "second", "third", "fourth", *([] if published else ["fifth"])} <= found.protocols.keys()
    assert found.protocols["first"]["label"] == "first"


def test_of_two_copies_of_a_run_the_one_that_holds_more_counts(tmp_path: Path) -> None:
    row = dict.fromkeys(schema.EVALUATIONS.names) | {"after_task": 0, "task": 0, "attack": "clean", "attack_version": 1}
    make_run(tmp_path / "runs")
    full = make_run(tmp_path / "published" / "digits")
    full.write_part("evaluations", "part", [{**row, "evaluation_id": PREDICTION["evaluation_id"]}])
    (run,) = load(tmp_path / "runs", tmp_path / "published").runs
    assert run.directory == full.directory


def test_failures_cut_short_are_kept_as_text(tmp_path: Path) -> None:
    store = make_run(tmp_path)
    store.fail(stage="learn", message="ü")
    path = store.directory / "failures.jsonl"
    path.write_bytes(path.read_bytes() + b"5\n" + '{"message": "ü'.encode()[:-1])
    (run,) = load(tmp_path, None).runs
    assert [type(entry) for entry in run.failures] == [dict] * 3


def test_a_directory_of_another_run_is_never_written_to(tmp_path: Path) -> None:
    store = make_run(tmp_path)
    other = RunStore(tmp_path, store.hash[:16] + "0" * 48)
    with pytest.raises(StoreError, match=store.hash):
        other.write_config(identity(), {})


def test_the_newest_version_of_an_attack_is_what_counts(tmp_path: Path) -> None:
    store = make_run(tmp_path)
    old, new = "aa" * 32, "bb" * 32
    for key, version, predicted in ((old, 1, 0), (new, 2, 1)):
        store.write_part("predictions", key, [{**PREDICTION, "task": 1, "predicted": predicted, "evaluation_id": key}])
        row = dict.fromkeys(schema.EVALUATIONS.names)
        row |= {"after_task": 0, "task": 1, "attack": "clean", "evaluation_id": key, "attack_version": version}
        store.write_part("evaluations", key, [row])
    (run,) = load(tmp_path, None).runs
    assert run.predictions.query("task == 1")["predicted"].tolist() == [1]
