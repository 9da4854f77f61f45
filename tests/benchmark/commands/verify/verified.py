"""Runs as the tests of `verify` look at them: their files, and the command on them."""

from __future__ import annotations

import json
from hashlib import sha256
from pathlib import Path

import pytest

from benchmark.cli import main


def the_run(folder: Path) -> Path:
    (directory,) = [path for path in (folder / "runs").iterdir() if not path.name.startswith(".")]
    return directory


def hashes(folder: Path) -> dict[str, str]:
    """Every file below `folder` with its content."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): sha256(path.read_bytes()).hexdigest() for path in files}


def verify(folder: Path, capsys: pytest.CaptureFixture[str], name: str = "standard") -> tuple[int, str]:
    """Exit code and all that was shown; the store is what it was before."""
    before = hashes(folder / "runs")
    preset = ["--preset", str(folder / "tiny.yaml")]
    code = main(["verify", name, "--results", str(folder / "runs"), *preset])
    shown = capsys.readouterr()
    assert hashes(folder / "runs") == before
    return code, shown.out + shown.err


def set_in(path: Path, *keys: str, value: object) -> None:
    content = json.loads(path.read_text())
    place = content
    for key in keys[:-1]:
        place = place[key]
    place[keys[-1]] = value
    path.write_text(json.dumps(content))
