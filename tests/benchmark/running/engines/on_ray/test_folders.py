"""Folders that go with their process, however that ends."""

from __future__ import annotations

import os
import signal
import tempfile
from pathlib import Path

import pytest

from benchmark.running.engines.on_ray import folders
from benchmark.running.engines.on_ray.folders import JOB, clear_folders, own_folder


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(folders, "_LONGEST", 1000)
    return tmp_path


def test_a_folder_is_gone_with_its_block_and_that_of_a_killed_process_with_the_next(temporary: Path) -> None:
    child = os.fork()
    if not child:
        with own_folder(JOB) as folder:
            (folder / "file").touch()
            os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(child, 0)
    (left,) = (path.parent for path in temporary.rglob("file"))
    with own_folder(JOB) as one, own_folder(JOB) as other:
        assert not left.exists()
        assert one != other
        assert one.is_dir()
    assert not one.exists()
    assert not other.exists()


def test_folders_that_are_held_stay_when_others_are_cleared_away(temporary: Path) -> None:
    with own_folder(JOB) as held:
        clear_folders(0)
        assert held.is_dir()


def test_sockets_find_room_in_a_short_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / ("long" * 20)))
    with own_folder(JOB) as folder:
        assert len(str(folder)) <= 38
