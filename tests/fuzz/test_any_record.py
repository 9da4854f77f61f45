"""A stored run of a stranger is read, or refused in a line, whatever its files hold; whoever reads it changes nothing."""

from __future__ import annotations

import json
import os
import random
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from benchmark.cli import main
from benchmark.running.progress.session import VERSION as SESSION_VERSION
from reports.boards.building import build_boards
from results import load
from results.checkpoints import Checkpoints
from results.files import StoreError
from results.records import identity_hash, row_hash
from results.store import RunStore
from tests.benchmark.commands.verify.verified import hashes, the_run
from tests.fuzz.exploring import explore, told
from tests.fuzz.near import near, near_bytes
from tests.fuzz.tables import near_files
from tests.tiny import SHORT, run_tiny

FAILURE = b'{"time": "2026-01-01T00:00:00+00:00", "stage": "learn", "kind": "ValueError", "message": "words"}\n'


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with one whole run that keeps its images."""
    folder = tmp_path_factory.mktemp("strange")
    row = {"method": "packnet", "settings": SHORT["packnet"]}
    assert (
        run_tiny(folder, rows=[row], keep="all", evaluation={"keep_images": True, "final": [{"attack": "fgsm"}]}) == 0
    )
    (the_run(folder) / "failures.jsonl").write_bytes(FAILURE)
    return folder


def one_of(folder: Path, pattern: str) -> Path:
    """One of the files of the run, always the same."""
    return random.Random(0).choice(sorted(the_run(folder).glob(pattern)))


class Spoiled:
    """A file with another content, inside a `with`."""

    def __init__(self, path: Path, content: bytes) -> None:
        self.path, self.content, self.before = path, content, path.read_bytes()

    def __enter__(self) -> None:
        self.path.write_bytes(self.content)

    def __exit__(self, *_: object) -> None:
        self.path.write_bytes(self.before)


def read(folder: Path) -> None:
    """Read everything that is stored, as reports and commands do."""
    before = hashes(folder)
    results = load(folder / "runs", None)
    build_boards(results)
    for run in results.runs:
        _ = run.tasks, run.predictions, run.evaluations, run.facts, run.training, run.failures, run.protocols
    for problem in results.problems:
        assert "\n" not in str(problem)
    assert hashes(folder) == before


def verified(folder: Path) -> None:
    before = hashes(folder)
    name = the_run(folder).name[:8]
    words = [
        "verify",
        name,
        "--results",
        str(folder / "runs"),
        "--preset",
        str(folder / "tiny.yaml"),
        "--device",
        "cpu",
    ]
    assert main(words) in (0, 1, 2)
    assert hashes(folder) == before


@pytest.fixture(autouse=True)
def _quiet(capsys: pytest.CaptureFixture[str]) -> Iterator[None]:
    yield
    capsys.readouterr()


@pytest.mark.parametrize("table", ["tasks", "predictions/*", "evaluations/*", "facts/*", "training/*"])
def test_any_table(folder: Path, table: str) -> None:
    path = one_of(folder, f"{table}.parquet")

    def check(content: bytes) -> None:
        with Spoiled(path, content):
            read(folder)

    explore(check, near_files(pq.read_table(path, partitioning=None)), 8)


def rehashed(config: Any) -> Any:
    """A configuration whose identity is the one that its hash says, as somebody would hand it over."""
    try:
        identity = config["identity"]
        identity["hash"], identity["row"] = identity_hash(identity), row_hash(identity)
    except (KeyError, TypeError, ValueError, AttributeError):
        pass
    return config


def configurations(path: Path) -> SearchStrategy[bytes]:
    whole = json.loads(path.read_text())
    protocols = near(whole["protocols"]).map(lambda changed: {**whole, "protocols": changed})
    return (near(whole).map(rehashed) | protocols).map(lambda config: json.dumps(config).encode())


def test_any_configuration(folder: Path) -> None:
    path = the_run(folder) / "config.json"

    def check(content: bytes) -> None:
        with Spoiled(path, content):
            read(folder)

    explore(check, configurations(path), 20)


def test_any_configuration_is_listed_and_verified(folder: Path) -> None:
    path = the_run(folder) / "config.json"

    def check(content: bytes) -> None:
        with Spoiled(path, content):
            assert main(["list", "runs", "--results", str(folder / "runs")]) == 0
            verified(folder)

    explore(check, configurations(path), 4)


@pytest.mark.parametrize("name", ["config.json", "failures.jsonl", "verdicts.json"])
def test_any_bytes_where_json_belongs(folder: Path, name: str) -> None:
    path = the_run(folder) / name

    def check(content: bytes) -> None:
        with Spoiled(path, content):
            read(folder)

    explore(
        check, near_bytes(path.read_bytes()) | st.sampled_from([b"[" * 100_000, b'{"a":' * 50_000, b"9" * 9_000]), 6
    )


@pytest.mark.parametrize(
    "kind", ["checkpoints/*.json", "checkpoints/blobs/*", "adversarial/*", "verdicts.json", "facts/*"]
)
def test_any_file_is_verified(folder: Path, kind: str) -> None:
    path = one_of(folder, kind)
    content = path.read_bytes()
    cases = near_bytes(content)
    if path.suffix == ".json":
        cases |= near(json.loads(content)).map(lambda value: json.dumps(value).encode())
    elif path.suffix == ".parquet":
        cases = near_files(pq.read_table(path, partitioning=None))

    def check(content: bytes) -> None:
        with Spoiled(path, content):
            verified(folder)

    explore(check, cases, 2)


def test_any_manifest_or_blob_of_a_checkpoint(folder: Path) -> None:
    checkpoints = Checkpoints(the_run(folder) / "checkpoints")
    manifest, blob = (one_of(folder, pattern) for pattern in ("checkpoints/*.json", "checkpoints/blobs/*"))
    manifests = near(json.loads(manifest.read_text())).map(lambda value: (manifest, json.dumps(value).encode()))
    cases: SearchStrategy[tuple[Path, bytes]] = st.one_of(
        manifests,
        near_bytes(manifest.read_bytes()).map(lambda content: (manifest, content)),
        near_bytes(blob.read_bytes()).map(lambda content: (blob, content)),
    )

    def check(case: tuple[Path, bytes]) -> None:
        with Spoiled(*case):
            for name in checkpoints.names():
                with told(StoreError):
                    checkpoints.load(name)
                with told(StoreError):
                    checkpoints.values(name)

    explore(check, cases, 60)


def test_a_run_with_any_broken_part_is_taken_up_or_refused(folder: Path, tmp_path: Path) -> None:
    """`run` on somebody's records goes on from them, or says in a line why not."""
    run = the_run(folder)
    store = RunStore(folder / "runs", json.loads((run / "config.json").read_text())["identity"]["hash"])
    paths = [one_of(folder, pattern) for pattern in ("predictions/*", "evaluations/*", "facts/*", "training/*")]
    cases = st.one_of(*(near_files(pq.read_table(p, partitioning=None)).map(lambda c, p=p: (p, c)) for p in paths))

    def check(case: tuple[Path, bytes]) -> None:
        path, content = case
        with Spoiled(path, content):
            moved = store.set_broken_aside()
            for problem in moved:
                assert "\n" not in str(problem)
                assert problem.path.read_bytes() == content, "nothing is lost"
                problem.path.unlink()

    explore(check, cases, 20)


def test_any_file_of_who_works_here(folder: Path) -> None:
    """A heartbeat, and the file of a command that executes runs: `status` and `list` read them, whoever left them."""
    sessions = folder / "runs" / ".sessions"
    sessions.mkdir(exist_ok=True)
    job = {"run": the_run(folder).name, "label": "packnet", "seed": 0, "state": "running", "share": 0.5}
    about = {"version": SESSION_VERSION, "preset": "tiny", "command": "run", "workers": 1, "ended": False}
    mine = {"pid": os.getpid(), "host": socket.gethostname(), "since": "2026-01-01T00:00:00+00:00"}
    whole = {**about, **mine, "seconds_left": 9.0, "jobs": [{**job, "seconds": 3, "seconds_left": 4.5, "text": "x"}]}
    paths = st.sampled_from([the_run(folder) / "running", sessions / "here-1.json"])
    deep = st.sampled_from([b"[" * 100_000, b"", b"\xff"])
    contents = near(whole).map(lambda value: json.dumps(value).encode()) | near_bytes(json.dumps(whole).encode()) | deep

    def check(case: tuple[Path, bytes]) -> None:
        path, content = case
        path.write_bytes(content)
        try:
            assert main(["status", "--results", str(folder / "runs")]) in (0, 1, 2)
        finally:
            path.unlink(missing_ok=True)

    explore(check, st.tuples(paths, contents), 15)
