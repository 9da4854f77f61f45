"""A method learns in a process that holds no test image, and the things that it reaches for are recorded."""

from __future__ import annotations

import base64
import json
import os
import random
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from benchmark.running import execution, learning_apart
from benchmark.running.learning_apart import LearnsApart
from results.schema import LEARNING, SECONDS
from scenarios import placement
from scenarios.base import ScenarioSettings
from scenarios.digits import Digits
from tests.benchmark import plugin_methods
from tests.benchmark.running.stored import only, runs, table
from tests.conftest import REPOSITORY
from tests.tiny import run_tiny, write_preset

REACHES = (
    plugin_methods.HEAD
    + """
    def learn(self, task, context):
        {how}
        super().learn(task, context)
"""
)


@pytest.fixture(autouse=True)
def _apart(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(execution, "LearnsApart", LearnsApart)


def reached(folder: Path, how: str) -> dict[str, list[str]]:
    """The things that a method noted as reached for while it learned."""
    path = plugin_methods.write(folder, REACHES.format(how=how), "reaching")
    assert run_tiny(folder, [path]) == 0
    facts = next(run.facts for run in runs(folder) if run.label == "reaching")
    rows = facts[facts["phase"] == LEARNING]
    assert set(rows["value"]) == {1.0}
    assert set(rows["task"]) == {0, 1}
    found: dict[str, list[str]] = {}
    for text in rows["text"]:
        for kind, names in json.loads(text).items():
            found[kind] = sorted({*found.get(kind, []), *names})
    return found


def test_what_is_learned_apart_is_what_is_learned_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert run_tiny(tmp_path, results="apart") == 0
    monkeypatch.setattr(execution, "LearnsApart", execution.LearnsHere)
    assert run_tiny(tmp_path, results="here") == 0
    apart, here = only(tmp_path, "apart"), only(tmp_path, "here")
    assert table(apart).equals(table(here))
    kinds = [run.facts[~run.facts["phase"].isin([LEARNING, SECONDS])].drop(columns="value") for run in (apart, here)]
    assert kinds[0].equals(kinds[1])
    assert set(here.facts[here.facts["phase"] == LEARNING]["value"]) == {0.0}, "and it says where it was learned"


def test_an_honest_method_reaches_for_nothing(tmp_path: Path) -> None:
    assert reached(tmp_path, "import tempfile; tempfile.TemporaryFile().write(b'x')") == {}


def test_a_scenario_that_is_loaded_is_noted(tmp_path: Path) -> None:
    loads = "from scenarios.digits import Digits; Digits(Digits.Settings()).load()"
    assert reached(tmp_path, loads)["loaders"] == ["Digits"]


def test_the_files_of_a_data_set_are_noted_however_they_are_opened(tmp_path: Path) -> None:
    found = reached(tmp_path, "from sklearn.datasets import load_digits; load_digits()")
    assert "digits.csv.gz" in {Path(name).name for name in found["data files"]}


def test_a_file_that_was_there_before_is_noted_and_one_of_the_methods_own_is_not(tmp_path: Path) -> None:
    (tmp_path / "copy.npz").write_bytes(b"images")
    mine = tmp_path / "mine.bin"
    how = f"open({str(tmp_path / 'copy.npz')!r}, 'rb').read(); open({str(mine)!r}, 'wb').write(b'x'); open({str(mine)!r}).read()"
    assert reached(tmp_path, how) == {"files": [str(tmp_path / "copy.npz")]}


@pytest.mark.parametrize(
    "how",
    [
        "import os; os.open({copy!r}, os.O_RDONLY | os.O_EXCL); open({copy!r}).read()",
        "import os; task.id or open({mine!r}, 'w').close(); task.id or os.replace({copy!r}, {mine!r}); open({mine!r}).read()",
        "import os; task.id or os.link({copy!r}, {mine!r}); open({mine!r}).read()",
    ],
    ids=["flags", "renamed", "linked"],
)
def test_a_file_is_noted_under_whatever_name_and_flags(tmp_path: Path, how: str) -> None:
    copy = tmp_path / "copy.bin"
    copy.write_bytes(b"images")
    found = reached(tmp_path, how.format(copy=str(copy), mine=str(tmp_path / "mine.bin")))
    assert str(copy) in found["files"]


def test_a_reader_in_c_is_noted(tmp_path: Path) -> None:
    copy = tmp_path / "copy.parquet"
    pq.write_table(pa.table({"x": [1]}), copy)
    how = f"import pyarrow.parquet as pq; pq.read_table({str(copy)!r})"
    assert str(copy) in reached(tmp_path, how)["files"]


def test_data_in_the_code_of_a_method_is_noted(tmp_path: Path) -> None:
    path = plugin_methods.write(tmp_path, REACHES.format(how=f"images = {random_text(2500)!r}"), "reaching")
    assert run_tiny(tmp_path, [path]) == 0
    facts = only(tmp_path).facts
    texts = facts[facts["phase"] == LEARNING]["text"]
    # Modules that other tests have imported stand there too.
    assert all(any(str(Path(path).resolve()) in line for line in json.loads(text)["data in code"]) for text in texts)


@pytest.mark.parametrize(
    "how",
    ["import {name}", "open({path!r}).read()", "exec(compile(open({path!r}).read(), 'images', 'exec'))"],
    ids=["imported", "read", "executed"],
)
def test_data_in_a_file_that_is_called_code_is_noted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str) -> None:
    beside = tmp_path / "beside"
    beside.mkdir()
    monkeypatch.syspath_prepend(str(beside))
    path = beside / f"images_{how.split('(')[0].split()[0]}.py"
    path.write_text(f"# {random_text(2500)}\n")
    found = reached(tmp_path, how.format(name=path.stem, path=str(path)))
    assert any(str(path) in line for line in found["data in code"])


def random_text(count: int) -> str:
    """Text that cannot be compressed to less than `count` bytes."""
    return base64.b85encode(random.Random(0).randbytes(count)).decode()


def test_connections_and_processes_are_noted(tmp_path: Path) -> None:
    how = "import socket, os; socket.socket(socket.AF_UNIX).connect_ex('/nowhere'); os.fork() or os._exit(0)"
    found = reached(tmp_path, how)
    assert "/nowhere" in found["connections"][0]
    assert found["processes"] == ["os.fork"]


def test_test_images_are_not_in_the_process(tmp_path: Path) -> None:
    how = """import gc, torch
        tensors = [each for each in gc.get_objects() if isinstance(each, torch.Tensor)]
        sizes = {len(each) for each in tensors if each.dtype == torch.uint8 and each.ndim == 4}
        assert sizes == {len(task.train), len(task.validation)}, sizes"""
    assert reached(tmp_path, how) == {}


def test_a_script_without_a_guard_is_not_run_again_in_that_process(tmp_path: Path) -> None:
    preset = write_preset(tmp_path)
    script = tmp_path / "script.py"
    places = f"results={str(tmp_path / 'runs')!r}, published={str(tmp_path / 'none')!r}"
    script.write_text(
        f"from benchmark import run_preset\nprint('ran')\nprint(len(run_preset({str(preset)!r}, {places}).failures))"
    )
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, check=True, env=environment)
    assert done.stdout.split() == ["ran", "0"]


def test_a_failure_is_recorded_with_the_traceback_of_its_process(tmp_path: Path) -> None:
    path = plugin_methods.write(tmp_path, plugin_methods.RAISES, "raising")
    assert run_tiny(tmp_path, [path]) == 1
    (failure,) = only(tmp_path).failures
    assert failure["message"] == "RuntimeError: planted failure"
    assert 'raise RuntimeError("planted\\nfailure")' in failure["traceback"]
    assert failure["task"] == 1


@pytest.mark.parametrize(("source", "message"), [("KILLS_ITSELF", "was killed"), ("EXITS", "SystemExit: 5")])
def test_a_process_that_ends_costs_its_own_run(tmp_path: Path, source: str, message: str) -> None:
    path = plugin_methods.write(tmp_path, getattr(plugin_methods, source), "ending")
    assert run_tiny(tmp_path, [path, "madry_at"]) == 1
    failures = {run.label: [failure["message"] for failure in run.failures] for run in runs(tmp_path)}
    assert message in failures["ending"][0]
    assert failures["madry_at"] == []


@pytest.mark.parametrize(("free", "there"), [(8, "meta"), (7, "cpu")])
def test_images_of_a_turn_lie_on_the_device_if_all_of_them_fit_twice(
    monkeypatch: pytest.MonkeyPatch, free: int, there: str
) -> None:
    """They are joined where they are learned together. A device that holds no numbers stands for a GPU."""
    tasks = [task.to_learn() for task in Digits(ScenarioSettings(tasks=2)).load()]
    size = max(task.train.images.nbytes for task in tasks)
    monkeypatch.setattr(placement, "free_bytes", lambda device: free * size)
    placed = learning_apart._placed([learning_apart._Plain.of(task) for task in tasks], "meta")
    assert [task.train.images.device.type for task in placed] == [there, there]
    assert {task.train.labels.device.type for task in placed} == {"meta"}
    assert [task.train.images.shape for task in placed] == [task.train.images.shape for task in tasks]
