"""Under protocol `class` one head answers among all classes seen: in what is learned, attacked, stored, scored and compared."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import precision_recall_fscore_support

from benchmark.cli import main
from benchmark.errors import ConfigError
from benchmark.planning.jobs import make_jobs
from benchmark.planning.presets import load_preset
from methods.base import MethodError
from reports.boards.building import build_boards
from reports.numbers.metrics import task_scores
from reports.numbers.outcomes import outcomes_of
from reports.tables.leaderboard import caption
from results import Run, load
from scenarios.base import ScenarioSettings, SourceOptions
from scenarios.digits import Digits
from tests.benchmark.commands.verify.verified import verify
from tests.benchmark.running.stored import runs
from tests.tiny import run_tiny, write_preset

ROWS = [{"method": name} for name in ("madry_at", "joint_at")]
CLASS = {"protocol": "class"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    found = tmp_path_factory.mktemp("class")
    assert run_tiny(found, rows=ROWS, scenario=CLASS) == 0
    return found


@pytest.fixture(scope="module")
def by_label(folder: Path) -> dict[str, Run]:
    return {run.label: run for run in runs(folder)}


def test_labels_count_on_from_task_to_task_and_nothing_else_changes() -> None:
    told, untold = (Digits(ScenarioSettings(tasks=2, protocol=each)).load() for each in ("task", "class"))
    for own, shared in zip(told, untold, strict=True):
        assert (shared.first, shared.seen) == (2 * own.id, (2, 4))
        for part in ("train", "validation", "test"):
            assert getattr(shared, part).labels.equal(getattr(own, part).labels + 2 * own.id)
            assert getattr(shared, part).images.equal(getattr(own, part).images)
        assert (shared.fingerprint, shared.test_fingerprint) == (own.fingerprint, own.test_fingerprint)
        assert [shared.chance(after) for after in (0, 1)] == [1 / 2, 1 / 4]
        assert [own.chance(after) for after in (0, 1)] == [1 / 2, 1 / 2]


def test_predictions_are_among_all_classes_seen(by_label: dict[str, Run]) -> None:
    found = by_label["joint_at"].predictions
    assert set(found["label"]) == {0, 1, 2, 3}
    assert set(found["predicted"]) == {0, 1, 2, 3}
    first = by_label["madry_at"].predictions.query("after_task == 0")
    assert set(first["label"]) | set(first["predicted"]) == {0, 1}
    assert by_label["madry_at"].tasks["chance"].tolist() == [1 / 4, 1 / 4]


def test_a_run_is_verified_by_the_classes_that_it_was_answered_among(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, shown = verify(folder, capsys, "joint_at")
    assert (code, "does not hold" in shown) == (0, False), shown


def test_what_is_learned_last_takes_over_where_nothing_is_kept(by_label: dict[str, Run]) -> None:
    last = by_label["madry_at"].predictions.query("after_task == 1 and attack == 'clean' and task == 0")
    assert set(last["predicted"]) <= {2, 3}


def test_scores_of_a_class_are_over_the_images_of_all_tasks(by_label: dict[str, Run]) -> None:
    run = by_label["joint_at"]
    last = run.predictions.query("attack == 'clean'")
    per_class = precision_recall_fscore_support(last["label"], last["predicted"], labels=range(4), zero_division=0)[:3]
    expected = np.stack(per_class, 1).reshape(2, 2, 3).mean(1)
    assert task_scores(outcomes_of(run.predictions, 2), "clean") == pytest.approx(expected)


def test_a_table_says_which_question_was_asked_and_mixes_no_two(folder: Path, tmp_path: Path) -> None:
    (board,) = build_boards(load(folder / "runs", None))
    assert "; class-incremental: no task told, chance 25.0." in caption(board)
    for protocol in ("task", "class"):
        rows = [{"method": "madry_at"}, {"method": "standard"}] if protocol == "class" else [{"method": "trades"}]
        assert run_tiny(tmp_path, rows=rows, scenario={"protocol": protocol}) == 0
    (board,) = build_boards(load(tmp_path / "runs", None))
    assert {row.label: row.verdict for row in board.below}["trades"] == "other protocol"
    assert {row.label for row in board.ranked} <= {"madry_at", "standard"}


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ({"method": "packnet"}, "method packnet cannot answer under protocol class"),
        ({"method": "madry_at", "settings": {"per_task_bn": True}}, "it can under task"),
    ],
)
def test_a_method_that_must_be_told_the_task_is_refused_before_anything_is_learned(
    row: dict[str, Any], words: str, tmp_path: Path
) -> None:
    with pytest.raises(MethodError, match=words):
        run_tiny(tmp_path, rows=[row], scenario=CLASS)
    assert runs(tmp_path) == []


def test_audit_measures_one_task_at_a_time_and_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert (
        main(["audit", "--preset", str(write_preset(tmp_path, scenario=CLASS)), "--results", str(tmp_path / "runs")])
        == 2
    )
    assert "audit measures classifiers of one task each, and tiny has one head" in capsys.readouterr().err


def test_an_image_made_on_an_earlier_turn_s_classifier_needs_as_many_classes_as_that_one_knew(tmp_path: Path) -> None:
    final = [{"attack": "pgd", "steps": 2, "step_size": "eps/4", "loss": "dlr", "from": ["earlier"]}]
    preset = load_preset(str(write_preset(tmp_path, scenario=CLASS, evaluation={"final": final})))
    with pytest.raises(ConfigError, match="dlr"):
        preset.scenario(SourceOptions())


def test_nothing_is_claimed_about_classifiers_that_are_not_told_the_task(tmp_path: Path) -> None:
    def claims(protocol: str) -> bool:
        preset = load_preset(str(write_preset(tmp_path, scenario={"protocol": protocol})))
        job = next(iter(make_jobs(preset, preset.rows, preset.scenario(SourceOptions()).load(), SourceOptions())))
        return replace(job, method="single_task_standard", settings={}).claims_unforgetting

    assert [claims("task"), claims("class")] == [True, False]


@pytest.mark.parametrize(
    ("target", "settings"), [("digits", "protocol=class"), ("lwf", "loss=sigmoid"), ("icarl", "training=fast")]
)
def test_check_asks_under_the_protocol_that_settings_allow(
    target: str, settings: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["check", target, "--set", settings]) == 0, capsys.readouterr().out
