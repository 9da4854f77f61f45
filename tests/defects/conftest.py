"""The runs of the catalogue at full strength. Tests that need them stand in one file, so that one process makes them once."""

from __future__ import annotations

from dataclasses import replace

import pytest
from rich.console import Console

from benchmark.learning.confined import process as confined
from benchmark.running import execution
from benchmark.running.learning_apart import LearnsApart
from reports.boards.building import build_boards
from results import load
from tests.conftest import CONFINED_PROCESS
from tests.defects.calibrating import Calibration, Found, execute, read
from tests.defects.defect import KEPT, PEEKED
from tests.defects.small import small_calibration


@pytest.fixture(scope="session")
def calibration(tmp_path_factory: pytest.TempPathFactory) -> Calibration:
    """The calibration of the small stream, run: in processes of their own where that is the point, in this one elsewhere."""
    made = small_calibration(tmp_path_factory.mktemp("defects"))
    apart = [planted for planted in made.planted if planted.meant in (PEEKED, KEPT)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(execution, "LearnsApart", LearnsApart)
        patch.setattr(confined, "ConfinedProcess", CONFINED_PROCESS)
        execute(replace(made, planted=apart), Console(quiet=True))
    # Last, because it ends with broken attacks: their failures are cleared once the same runs are complete elsewhere.
    execute(replace(made, planted=[planted for planted in made.planted if planted not in apart]), Console(quiet=True))
    return made


@pytest.fixture(scope="session")
def found(calibration: Calibration) -> dict[str, list[Found]]:
    return read(calibration)


@pytest.fixture(scope="session")
def ranked(calibration: Calibration) -> dict[str, set[str]]:
    """By board, the labels of the rows that are on the ranking."""
    boards = build_boards(load(calibration.results, None))
    return {board.preset: {row.label for row in board.ranked} for board in boards}
