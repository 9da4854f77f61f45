"""Whole commands on a disk that is full: a line each, and the same command goes on where there is space again."""

from __future__ import annotations

import os
import re
import resource
import signal
import sys
from pathlib import Path
from typing import Any

import pytest

from benchmark.cli import main
from results import load
from tests.benchmark.running.stored import content, only
from tests.tiny import run_tiny, write_preset

NETWORK = """
from torch import nn

model = nn.Sequential(nn.Flatten(), nn.Linear(64, 2))
"""


def on_full_disk(room: int, *command: str) -> tuple[int, str]:
    """The exit code of a command and all that it prints, where no file can be larger than `room` bytes.

    The limit is the kernel's own: every library meets it where it would meet a full disk.
    """
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        code = 99
        try:
            os.close(reading)
            sys.stdout = sys.stderr = os.fdopen(writing, "w")
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            resource.setrlimit(resource.RLIMIT_FSIZE, (room, room))
            code = main(command)
            sys.stdout.flush()
        finally:
            os._exit(code)
    os.close(writing)
    with os.fdopen(reading) as printed:
        text = printed.read()
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), text


def kept(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, ...]:
    """The content of a run that had room."""
    folder = tmp_path_factory.mktemp("whole")
    assert run_tiny(folder) == 0
    return content(only(folder))


@pytest.mark.parametrize("room", [0, 3_000, 4_500, 7_000])
def test_a_run_fails_in_a_line_and_goes_on_where_there_is_space(
    tmp_path: Path, whole: tuple[Any, ...], room: int
) -> None:
    preset = write_preset(tmp_path)
    code, printed = on_full_disk(
        room, "run", "--preset", str(preset), "--results", str(tmp_path / "runs"), "--learn-here"
    )
    assert code in (1, 2)
    assert "cannot be written (File too large)" in printed
    assert "Traceback" not in printed
    results = load(tmp_path / "runs", None)
    # A run whose first file had no room is no run yet.
    assert [problem.reason[:14] for problem in results.problems] == ([] if results.runs else ["no config.json"])
    assert run_tiny(tmp_path) == 0
    assert content(only(tmp_path)) == whole


def test_every_other_command_fails_in_a_line_and_harms_nothing(tmp_path: Path) -> None:
    assert run_tiny(tmp_path) == 0
    (tmp_path / "network.py").write_text(NETWORK)
    (tmp_path / "out").mkdir()
    before = kept(tmp_path)
    runs, preset, out = str(tmp_path / "runs"), str(tmp_path / "tiny.yaml"), str(tmp_path / "out")
    evaluate = ["evaluate", str(tmp_path / "network.py"), "--preset", preset, "--task", "0"]
    commands = {
        "report": ["report", "--results", runs, "--output", out],
        "evaluate": [*evaluate, "--output", f"{out}/numbers.csv"],
        "evaluate, as JSON": [*evaluate, "--output", f"{out}/numbers.json"],
        "new-method": ["new-method", "mine", "--folder", out],
    }
    for name, command in commands.items():
        code, printed = on_full_disk(0, *command)
        assert code == 2, (name, printed)
        (line,) = [line for line in printed.splitlines() if line.startswith("error: ")]
        assert re.fullmatch(r"error: /.*: cannot be written \(File too large\)", line), name
        assert "Traceback" not in printed, name
    for command in (["verify", "madry_at", "--preset", preset, "--results", runs], ["list", "runs", "--results", runs]):
        assert on_full_disk(0, *command)[0] == 0
    assert kept(tmp_path) == before
