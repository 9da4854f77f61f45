"""Two processes are never at work on one run, on one machine or on several."""

from __future__ import annotations

import errno
import itertools
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from results import store as storing
from results.files import StoreError
from results.store import RunHeld, RunStore
from tests.conftest import REPOSITORY
from tests.results.test_store import make_run


def test_a_run_is_worked_on_by_one_live_process_only(tmp_path: Path) -> None:
    store = make_run(tmp_path)
    with store.working():
        assert (store.directory / "running").exists()
        with pytest.raises(StoreError, match=str(os.getpid())), RunStore(tmp_path, store.hash).working():
            pass
    assert not (store.directory / "running").exists()


def test_a_run_whose_process_died_is_free_at_once(tmp_path: Path) -> None:
    store = make_run(tmp_path)
    script = (
        "import os, sys; from pathlib import Path; from results.store import RunStore;"
        "held = RunStore(Path(sys.argv[1]), sys.argv[2]).working(); held.__enter__(); os.kill(os.getpid(), 9)"
    )
    subprocess.run([sys.executable, "-c", script, str(tmp_path), store.hash], cwd=REPOSITORY, check=False)
    assert (store.directory / "running").exists()
    with store.working():
        assert json.loads((store.directory / "running").read_text())["pid"] == os.getpid()


@pytest.mark.parametrize("ahead", [-1e9, 0.0, 1e9], ids=["old", "now", "in the future"])
def test_a_heartbeat_of_another_machine_holds_the_run_while_it_beats_whatever_the_clocks_say(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ahead: float
) -> None:
    monkeypatch.setattr(storing, "STALE_SECONDS", 0.2)
    store, beats = make_run(tmp_path), itertools.count()
    heartbeat = store.directory / "running"
    heartbeat.write_text(json.dumps({"pid": 1, "host": "another-machine"}))
    os.utime(heartbeat, (time.time() + ahead, time.time() + ahead))

    def beat(seconds: float) -> None:
        moment = time.time() + ahead + next(beats) + 1
        os.utime(heartbeat, (moment, moment))

    monkeypatch.setattr(storing.time, "sleep", beat)
    with pytest.raises(RunHeld, match="another-machine"), store.working():
        pass
    monkeypatch.undo()
    monkeypatch.setattr(storing, "STALE_SECONDS", 0.2)
    monkeypatch.setattr(storing, "LOOK_SECONDS", 0.01)
    with store.working():
        assert json.loads(heartbeat.read_text())["pid"] == os.getpid()


def test_a_run_that_is_worked_on_is_not_moved_away(tmp_path: Path) -> None:
    store = make_run(tmp_path)
    with store.working(), pytest.raises(StoreError, match="working on this run"):
        store.move_away(tmp_path / "elsewhere")
    store.move_away(tmp_path / "elsewhere")
    assert (tmp_path / "elsewhere" / "config.json").exists()


def test_a_disk_that_knows_no_locks_is_an_error_and_not_a_run_to_wait_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuses(*given: object) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    store = make_run(tmp_path)
    monkeypatch.setattr(storing.fcntl, "flock", refuses)
    with pytest.raises(StoreError, match="cannot be locked") as refused, store.working():
        pass
    assert not isinstance(refused.value, RunHeld)


def beating_elsewhere(store: RunStore) -> Path:
    heartbeat = store.directory / "running"
    heartbeat.write_text(json.dumps({"pid": 1, "host": "another-machine"}))
    return heartbeat


def test_who_does_not_wait_for_a_beat_is_told_to_come_again_until_none_came_for_long(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, clock = make_run(tmp_path), iter(range(0, 1000, 20))
    heartbeat = beating_elsewhere(store)
    monkeypatch.setattr(storing.time, "monotonic", lambda: float(next(clock)))
    with pytest.raises(RunHeld, match="another-machine"), store.working(watch=False):
        pass
    os.utime(heartbeat, (5, 5))
    looks = 0
    while True:
        looks += 1
        try:
            with store.working(watch=False):
                break
        except RunHeld:
            assert looks < 10
    assert looks > 1


def test_a_run_that_beats_elsewhere_is_not_moved_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = make_run(tmp_path)
    heartbeat, beats = beating_elsewhere(store), itertools.count(1)
    monkeypatch.setattr(storing.time, "sleep", lambda seconds: os.utime(heartbeat, (next(beats), 0)))
    with pytest.raises(StoreError, match="another-machine"):
        store.move_away(tmp_path / "elsewhere")
    assert (store.directory / "config.json").exists()


@pytest.mark.parametrize("theirs", [True, False], ids=["another's", "gone"])
def test_a_process_that_lost_its_run_touches_the_heartbeat_of_nobody_else(
    theirs: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(storing, "HEARTBEAT_SECONDS", 0.01)
    store = make_run(tmp_path)
    with store.working():
        heartbeat = beating_elsewhere(store)
        if not theirs:
            heartbeat.unlink()
        os.utime(store.directory, (5, 5))
        before = heartbeat.stat().st_mtime_ns if theirs else None
        time.sleep(0.1)
        assert heartbeat.exists() == theirs
        assert before is None or heartbeat.stat().st_mtime_ns == before
    assert heartbeat.exists() == theirs


def test_a_disk_that_is_full_is_one_clear_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store, opened = make_run(tmp_path), Path.open

    def full(self: Path, mode: str = "r", **given: object) -> object:
        if self.parent.name == ".locks":
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return opened(self, mode, **given)  # type: ignore[call-overload]

    monkeypatch.setattr(Path, "open", full)
    with pytest.raises(StoreError, match="cannot be written"), store.working():
        pass
