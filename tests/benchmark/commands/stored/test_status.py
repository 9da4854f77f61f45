"""`status` tells from files alone what runs, from any terminal and machine, and trusts no clock of another machine."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from dataclasses import asdict
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from benchmark.cli import main
from benchmark.commands.stored import status
from benchmark.commands.stored.folder_state import FolderState, RunState, take
from benchmark.learning.events import Event
from benchmark.planning.machine import Machine
from benchmark.running.progress import alive, session
from benchmark.running.progress.alive import Pulse
from benchmark.running.progress.session import FOLDER, WorkSession, read_sessions
from results.store import STALE_SECONDS, RunStore
from scenarios.base import SourceOptions
from tests.conftest import REPOSITORY
from tests.reports.synthetic_runs import FakeRun, write_run

NOBODY = 2**22 + 1
"""A process that is not there: no number is larger than 2**22."""


def planned(name: str) -> Any:
    """A job of two turns of ten epochs and two cells, as a plan has it; each half of it costs 100 passes."""
    plugin = SimpleNamespace(cls=SimpleNamespace(epochs=lambda settings, recipe: 10))
    job = SimpleNamespace(hash=name * 64, label=f"row-{name}", seed=0, plugin=plugin, typed_settings=None, recipe=None)
    costs = {"learning_passes": 100.0, "evaluation_passes": 100.0, "passes": 200.0}
    return SimpleNamespace(job=job, turns=2, cells=2, **costs)


def event(name: str, kind: str, **fields: Any) -> Event:
    return Event(name * 64, f"row-{name}", 0, kind, **fields)


def machine(runs: Path) -> Machine:
    return Machine(runs, runs / "published", SourceOptions(), "cpu", 2, 1, "python run_benchmark.py run --preset tiny")


def look(runs: Path, pulse: Pulse | None = None) -> FolderState:
    return take(runs, None, pulse or Pulse(runs))


def states(found: FolderState) -> dict[str, str]:
    return {run.label: run.state for run in found.runs}


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """A session that writes its file all the time."""
    monkeypatch.setattr(session, "HEARTBEAT_SECONDS", 0.02)


def until(runs: Path, true: Any) -> FolderState:
    """Look until something is true, as somebody at another terminal would, some hundred times at most."""
    found = look(runs)
    for _ in range(500):
        if true(found):
            return found
        time.sleep(0.02)
        found = look(runs)
    pytest.fail(f"it never became true: {found}")


@pytest.mark.usefixtures("quick")
def test_a_command_tells_other_terminals_how_far_its_runs_are(tmp_path: Path) -> None:
    with WorkSession("tiny", machine(tmp_path)) as working:
        assert look(tmp_path).sessions == ()
        working.add([planned(name) for name in "abcd"])
        found = look(tmp_path)
        assert states(found) == dict.fromkeys(("row-a", "row-b", "row-c", "row-d"), "waiting")
        assert found.sessions[0].seconds_left is None
        working(event("a", "start"))
        working(event("a", "epoch", tasks=2, phase="train", epoch=5, epochs=10, loss=0.5))
        working(event("b", "start"))
        working(event("b", "done"))
        working(event("c", "start"))
        working(event("c", "failed", text="its prerequisite failed"))
        found = until(tmp_path, lambda found: states(found)["row-c"] == "failed")
        assert states(found) == {"row-a": "running", "row-b": "finished", "row-c": "failed", "row-d": "waiting"}
        (first,) = [run for run in found.runs if run.label == "row-a"]
        # Half of one of two turns is learned, which is half of the work.
        assert first.share == pytest.approx(1 / 8)
        assert "train 5/10" in first.text
        assert first.host == socket.gethostname()
        (about,) = found.sessions
        assert (about.preset, about.pid, about.workers, about.alive) == ("tiny", os.getpid(), 2, True)
        assert found.is_running


@pytest.mark.usefixtures("quick")
def test_a_job_that_is_tried_again_is_running_again(tmp_path: Path) -> None:
    with WorkSession("tiny", machine(tmp_path)) as working:
        working.add([planned("a")])
        for each in (event("a", "start"), event("a", "failed", text="killed"), event("a", "start")):
            working(each)
        until(tmp_path, lambda found: states(found) == {"row-a": "running"})


def test_a_session_leaves_nothing_unless_a_job_failed_and_the_next_clears_that(tmp_path: Path) -> None:
    for kind, left in (("done", {}), ("failed", {"row-a": "failed"})):
        with WorkSession("tiny", machine(tmp_path)) as working:
            working.add([planned("a")])
            working(event("a", "start"))
            working(event("a", kind, text="no memory"))
        found = look(tmp_path)
        assert (states(found), found.sessions) == (left, ())
    with WorkSession("tiny", machine(tmp_path)) as working:
        working.add([planned("b")])
    assert read_sessions(tmp_path) == {}


def write_session(runs: Path, host: str, pid: int, state: str = "running", **changes: Any) -> Path:
    job = {"run": "a" * 16, "label": "row-a", "seed": 0, "state": state, "share": 0.5, "seconds": 9.0}
    job |= {"seconds_left": 9.0, "text": "task 1/2"}
    about = {"version": 1, "preset": "tiny", "command": "python run_benchmark.py run --preset tiny", "host": host}
    about |= {"pid": pid, "since": "2026-01-01T00:00:00+00:00", "workers": 1, "beat": 1, "ended": False}
    path = runs / FOLDER / f"{host}-{pid}.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps({**about, "seconds_left": 9.0, "jobs": [job], **changes}))
    return path


@pytest.mark.parametrize("other", ["waiting", "failed"])
def test_a_run_that_one_of_two_commands_works_on_is_running(other: str, tmp_path: Path) -> None:
    for first, second in (("running", other), (other, "running")):
        write_session(tmp_path, "a-host", 1, first)
        write_session(tmp_path, "b-host", 1, second)
        assert states(look(tmp_path)) == {"row-a": "running"}
    store = write_run(tmp_path, FakeRun(method="held"))
    job = {
        "run": store.directory.name,
        "label": "held",
        "seed": 0,
        "state": other,
        "share": 0,
        "seconds": 0,
        "text": "",
    }
    write_session(tmp_path, "a-host", 1, jobs=[{**job, "seconds_left": None}])
    with RunStore(tmp_path, store.hash).working():
        assert states(look(tmp_path))["held"] == "running"


def test_a_killed_command_is_told_and_its_runs_have_stopped(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_session(tmp_path, socket.gethostname(), NOBODY)
    found = look(tmp_path)
    assert states(found) == {"row-a": "stopped"}
    assert not found.is_running
    assert main(["status", "--results", str(tmp_path)]) == 0
    assert "was killed; the same command goes on: python run_benchmark.py run --preset tiny" in capsys.readouterr().out


def test_the_next_command_of_the_board_clears_away_what_a_killed_one_left(tmp_path: Path) -> None:
    mine = write_session(tmp_path, socket.gethostname(), NOBODY)
    partial = mine.with_name(f".{mine.name}.x.partial")
    partial.touch()
    other = write_session(tmp_path, socket.gethostname(), NOBODY + 1, preset="another")
    living = write_session(tmp_path, "elsewhere", NOBODY)
    with WorkSession("tiny", machine(tmp_path)) as working:
        working.add([planned("b")])
        assert (mine.exists(), partial.exists(), other.exists(), living.exists()) == (False, False, True, True)


def test_another_machine_is_judged_by_the_clock_of_the_file_system(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_session(tmp_path, "elsewhere", 1)
    now = path.stat().st_mtime
    for wrong in (-(10**7), 10**7):
        # The clock of this machine is months off.
        monkeypatch.setattr(alive.time, "time", lambda wrong=wrong: now + wrong)
        assert states(look(tmp_path)) == {"row-a": "running"}
    os.utime(path, (now, now - 2 * STALE_SECONDS))
    assert states(look(tmp_path)) == {"row-a": "stopped"}


def test_a_file_that_changes_lives_whatever_its_time(tmp_path: Path) -> None:
    """A machine whose clock is a day ahead or behind writes onto a disk that takes the writer's time."""
    for day in (86_400, -86_400):
        path, pulse = write_session(tmp_path, "elsewhere", 1), Pulse(tmp_path)
        present = time.time()
        os.utime(path, (present, present + day))
        assert not look(tmp_path, pulse).is_running
        assert pulse.unsure == (day > 0)
        os.utime(path, (present, present + day + 5))
        assert look(tmp_path, pulse).is_running
        assert look(tmp_path, pulse).is_running, "it changed just now"


def test_a_time_in_the_future_alone_is_no_sign_of_life(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path, waits = write_session(tmp_path, "elsewhere", 1), []
    os.utime(path, (time.time(), time.time() + 86_400))
    monkeypatch.setattr(status.time, "sleep", waits.append)
    assert main(["status", "--results", str(tmp_path), "--json"]) == 0
    assert len(waits) == 1, "it looked a second time"
    assert json.loads(capsys.readouterr().out)["runs"][0]["state"] == "stopped"


def test_records_tell_what_is_finished_failed_or_stopped(tmp_path: Path) -> None:
    finished = write_run(tmp_path, FakeRun(method="finished"))
    (finished.directory / "facts" / "costs.parquet").rename(finished.directory / "facts" / "cost.parquet")
    write_run(tmp_path, FakeRun(method="failed", failure={"message": "no memory"}))
    write_run(tmp_path, FakeRun(method="stopped", learned=1))
    write_run(tmp_path, FakeRun(method="of-another-board", preset="cifar100"))
    (tmp_path / "folder of mine").mkdir()
    found = look(tmp_path)
    assert states(found) == {
        "finished": "finished",
        "failed": "failed",
        "stopped": "stopped",
        "of-another-board": "stopped",
    }
    assert [run.text for run in found.runs if run.state == "failed"] == ["no memory"]
    assert len(found.unreadable) == 1
    mine = take(tmp_path, "cifar100", Pulse(tmp_path))
    assert states(mine) == {"of-another-board": "stopped"}


def test_a_run_that_is_worked_on_is_running_without_a_session_too(tmp_path: Path) -> None:
    store = write_run(tmp_path, FakeRun(method="audited"))
    with RunStore(tmp_path, store.hash).working():
        assert states(look(tmp_path)) == {"audited": "running"}
    assert states(look(tmp_path)) == {"audited": "stopped"}
    holder = {"pid": NOBODY, "host": socket.gethostname(), "since": ""}
    (store.directory / "running").write_text(json.dumps(holder))
    assert states(look(tmp_path)) == {"audited": "stopped"}


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"version": 1}', "\0", '{"jobs": [1]}', "[" * 1000])
def test_a_file_of_another_form_is_left_out(content: str, tmp_path: Path) -> None:
    path = write_session(tmp_path, "elsewhere", 1)
    good = json.loads(path.read_text())
    lacking = {name: value for name, value in good["jobs"][0].items() if name != "seconds_left"}
    changed = ({"jobs": [{}]}, {"jobs": [lacking]}, {"pid": "1"})
    for text in (content, *(json.dumps({**good, **change}) for change in changed)):
        path.write_text(text)
        assert look(tmp_path).runs == ()


def test_watching_ends_when_nothing_runs_and_says_what_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path, looks = write_session(tmp_path, "elsewhere", 1), []

    def wait(seconds: float) -> None:
        looks.append(seconds)
        if len(looks) == 3:
            path.unlink()

    monkeypatch.setattr(status.time, "sleep", wait)
    assert main(["status", "--results", str(tmp_path), "--watch", "--json"]) == 0
    first, last = map(json.loads, capsys.readouterr().out.splitlines())
    expected = asdict(RunState("a" * 16, "row-a", 0, ("tiny",), "running", 0.5, 9.0, "task 1/2", "elsewhere"))
    assert first["runs"] == [{**expected, "presets": ["tiny"]}]
    assert last["runs"] == []


def test_nothing_that_others_wrote_reaches_the_terminal_as_a_command(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_session(tmp_path, "elsewhere", 1, preset="tiny\x1b[2J", command="\x1b]0;x\x07")
    assert main(["status", "--results", str(tmp_path)]) == 0
    assert "\x1b" not in capsys.readouterr().out


def test_status_imports_no_torch(tmp_path: Path) -> None:
    script = (
        "import sys; from benchmark.cli import main; "
        f"main(['status', '--results', {str(tmp_path)!r}]); sys.exit('torch' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", script], cwd=REPOSITORY, check=True)
