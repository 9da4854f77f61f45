"""Standard output that is closed, full, unread or of another encoding ends no command, and a full disk there is one line."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from benchmark import cli
from tests.benchmark import plugin_methods
from tests.conftest import REPOSITORY
from tests.tiny import write_preset

PRINTS = (
    plugin_methods.HEAD
    + """
    def learn(self, task, context):
        print("learning ü", flush=True)
        super().learn(task, context)
"""
)


def shell(line: str, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a line of bash. `$RUN` in it is the command line, with `$@` for the arguments."""
    script = f'set -o pipefail; RUN="{sys.executable} run_benchmark.py"; {line}'
    command = ["bash", "-c", script, "bash", *arguments]
    return subprocess.run(
        command, cwd=REPOSITORY, env={**os.environ, **environment}, capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize("command", [("list", "presets"), ("--help",), ("--version",), ("completion", "bash")])
@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_a_full_disk_under_standard_output_is_one_line(command: tuple[str, ...], unbuffered: str) -> None:
    ended = shell('$RUN "$@" > /dev/full', *command, PYTHONUNBUFFERED=unbuffered)
    assert (ended.returncode, ended.stderr) == (2, "error: standard output: No space left on device\n")


def test_a_full_disk_of_which_no_file_is_told_is_one_line_and_another_fault_is_none(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Libraries do not always say which file they were writing."""

    def fails(given: object) -> int:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(cli, "_executed", fails)
    number = errno.ENOSPC
    assert cli.main(["list"]) == 2
    assert capsys.readouterr().err == "error: No space left on device\n"
    number = errno.ECHILD
    with pytest.raises(ChildProcessError):
        cli.main(["list"])


@pytest.mark.parametrize("to", [">&-", "| head -0", "<&- >&- 2>&-", "2>/dev/full"])
@pytest.mark.parametrize("command", [("list", "presets"), ("--help",)])
def test_output_that_nobody_reads_is_dropped(to: str, command: tuple[str, ...]) -> None:
    ended = shell(f'$RUN "$@" {to}', *command)
    assert (ended.returncode, ended.stderr) == (0, "")


def test_a_mistake_is_still_an_exit_code_where_nobody_reads_it() -> None:
    assert shell('$RUN "$@" >&- 2>&-', "list", "presetz").returncode == 2


def test_a_run_whose_output_nobody_reads_is_stored_whatever_its_method_prints(tmp_path: Path) -> None:
    """The method prints where it learns, in a process of its own, after the reader has gone, and an umlaut at that."""
    path = plugin_methods.write(tmp_path, PRINTS, "talkative")
    words = ["run", "--preset", str(write_preset(tmp_path)), "--methods", path, "--results", str(tmp_path / "runs")]
    ended = shell('$RUN "$@" | head -0', *words, PYTHONIOENCODING="ascii")
    assert (ended.returncode, ended.stderr) == (0, "")
    assert shell('$RUN "$@" >&-', *words).returncode == 0
    (verdicts,) = (tmp_path / "runs").glob("*/verdicts.json")
    assert '"status": "pass"' in verdicts.read_text()
