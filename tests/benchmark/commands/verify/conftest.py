"""A run that keeps its images, learned once, and a copy of it that a test may spoil."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.tiny import run_tiny

KEPT = {"keep_images": True, "checks": "none"}


@pytest.fixture(scope="session")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a run of the tiny preset that keeps its images."""
    folder = tmp_path_factory.mktemp("verified")
    assert run_tiny(folder, rows=[{"method": "standard"}], evaluation=KEPT, recipe={"epochs": 6}) == 0
    return folder


@pytest.fixture
def folder(original: Path, tmp_path: Path) -> Path:
    """A copy that a test may spoil."""
    shutil.copytree(original, tmp_path / "copy")
    return tmp_path / "copy"
