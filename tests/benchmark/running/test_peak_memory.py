"""The peak of memory is recorded of learning and of attacking, each by itself."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmark.learning import learner
from benchmark.learning.provenance import forget_peak_memory, peak_memory_mb
from benchmark.running import execution
from reports.boards.measures import COST_COLUMNS
from results.schema import COSTS
from tests.benchmark.running.stored import runs
from tests.tiny import run_tiny

CPU = torch.device("cpu")


@pytest.mark.skipif(sys.platform != "linux", reason="other systems know the peak of a whole process only")
def test_a_peak_counts_from_when_the_one_before_was_forgotten() -> None:
    large = np.ones(25_000_000)
    before = peak_memory_mb(CPU)
    del large
    forget_peak_memory(CPU)
    between = peak_memory_mb(CPU)
    assert between < before - 150, "200 MB are gone"
    large = np.ones(25_000_000)
    assert peak_memory_mb(CPU) > between + 150
    del large


def test_both_peaks_are_costs_of_a_run_and_the_largest_of_learning_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    peaks = iter([900.0, 300.0])
    monkeypatch.setattr(learner, "peak_memory_mb", lambda device: next(peaks, 200.0))
    monkeypatch.setattr(execution, "peak_memory_mb", lambda device: 700.0)
    assert run_tiny(tmp_path, scenario={"tasks": 2}) == 0
    (run,) = runs(tmp_path, "runs")
    costs = run.facts[run.facts["phase"] == COSTS].set_index("name")["value"]
    assert costs["peak_memory_mb"] == 900.0, "a later turn, or a process that went on after a kill, took less"
    assert costs["evaluation_peak_memory_mb"] == 700.0
    assert {"peak_memory_mb", "evaluation_peak_memory_mb"} <= set(COST_COLUMNS), "the tables show them"
