"""A method asks for runs that it needs as often as it likes; each is read and restored once."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmark.learning import restoring
from tests.benchmark import plugin_methods
from tests.benchmark.running.stored import runs
from tests.tiny import run_tiny


def test_a_run_that_is_asked_for_task_by_task_is_restored_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, restored, restore = (
        plugin_methods.write(tmp_path, plugin_methods.NEEDS_GOALS, "needing"),
        list[str](),
        restoring.restored_method,
    )

    def counted(job, machine, key):  # type: ignore[no-untyped-def]
        restored.append(job.label)
        return restore(job, machine, key)

    monkeypatch.setattr(restoring, "restored_method", counted)
    assert run_tiny(tmp_path, [path], evaluation={"final": []}) == 0
    facts = next(run.facts for run in runs(tmp_path) if run.label == "needing")
    assert len(facts[facts["name"] == "goal"]) == 2
    assert restored.count("single_task_at") == 1
