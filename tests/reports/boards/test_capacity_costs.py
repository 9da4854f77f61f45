"""The capacity that a method has left is among the costs of its row: the last task's, a mean over seeds."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from reports.boards.building import build_boards
from reports.numbers.capacity import decisions
from reports.tables.leaderboard import wide_table
from results import load
from tests.reports.synthetic_capacity import capacity_facts, cmat, packnet
from tests.reports.synthetic_runs import FakeRun, write_run


def test_width_and_free_capacity_stand_beside_accuracy(tmp_path: Path) -> None:
    write_run(tmp_path, FakeRun("plain"))
    write_run(tmp_path, FakeRun("packed", facts=capacity_facts(packnet())))
    for seed, grows in enumerate(({}, {1: 1.5})):
        write_run(tmp_path, FakeRun("grown", seed=seed, facts=capacity_facts(cmat(grows=grows))))
    boards = build_boards(load(tmp_path, None))
    table = wide_table(boards).set_index("label")
    free = {
        row.label: np.mean([decisions(seed.evidence.facts)["free_share"].iloc[-1] for seed in row.seeds])
        for row in boards[0].rows
        if row.label != "plain"
    }
    assert table["width_multiplier"].to_dict() == pytest.approx(
        {"plain": np.nan, "packed": 1.0, "grown": 1.25}, nan_ok=True
    )
    assert table["free_capacity"].to_dict() == pytest.approx({"plain": np.nan, **free}, nan_ok=True)
    assert 0 < free["packed"] < 1
