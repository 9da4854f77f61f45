"""The runs of the catalogue at full strength. Tests that need them stand in one file, so that one process makes them once."""

from __future__ import annotations

import pytest
from rich.console import Console

from reports.boards.building import build_boards
from results import load
from tests.defects.calibrating import Calibration, Found, execute, read
from tests.defects.small import small_calibration


@pytest.fixture(scope="session")
def calibration(tmp_path_factory: pytest.TempPathFactory) -> Calibration:
    """The calibration of the small stream, run."""
    made = small_calibration(tmp_path_factory.mktemp("defects"))
    execute(made, Console(quiet=True))
    return made


@pytest.fixture(scope="session")
def found(calibration: Calibration) -> dict[str, list[Found]]:
    return read(calibration)


@pytest.fixture(scope="session")
def ranked(calibration: Calibration) -> dict[str, set[str]]:
    """By board, the labels of the rows that are on the ranking."""
    boards = build_boards(load(calibration.results, None))
    return {board.preset: {row.label for row in board.ranked} for board in boards}
