"""A network per task: none touches another, and restoring them draws the weights of one alone."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmark.evaluating.fingerprints import classifier_fingerprint
from benchmark.learning.context import RunContext
from tests.tiny import SHORT, begun, learn

ROWS = [
    {"method": "single_task_standard"},
    {"method": "anp_vs", "settings": {**SHORT.get("anp_vs", {}), "weights": "independent", "warm_start": False}},
]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: str(row["method"]))
def test_restoring_networks_draws_one_and_copies_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, row: dict[str, object]
) -> None:
    method, context, tasks = begun(tmp_path, row, scenario={"tasks": 3})
    for task in tasks:
        learn(method, context, task, len(tasks))
    again, drawn, draw = type(method)(method.settings), list[int](), RunContext.network
    monkeypatch.setattr(RunContext, "network", lambda self, *args, **more: drawn.append(1) or draw(self, *args, **more))
    again.begin(context.job.stream, context)
    again.load_state(method.state())
    assert len(drawn) == 1
    for task in tasks:
        assert classifier_fingerprint(again.classifier(task.id)) == classifier_fingerprint(method.classifier(task.id))
    # Nothing is shared: a network that moves leaves the others alone.
    before = classifier_fingerprint(again.classifier(0))
    for parameter in again.networks[1].parameters():
        parameter.data.add_(1)
    assert classifier_fingerprint(again.classifier(0)) == before
