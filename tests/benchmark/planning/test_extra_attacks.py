"""Extra attacks: they are few, cost little, change no number, and are run only where classifiers are stored."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
import yaml

from attacks.parts.sharing import share_runs
from benchmark.planning.extra_attacks import FEWEST, MOST, SHARE, extra_demands
from benchmark.planning.presets import available, load_preset
from benchmark.running.verdict_files import NAME, stored_verdicts
from results import load, publishing
from results.files import read_json
from scenarios.base import SourceOptions
from tests.tiny import TINY, run_tiny, write_preset


@pytest.fixture(scope="module")
def tasks():
    return load_preset("digits").scenario(SourceOptions()).load()


def passes(demands, tasks):
    """Forward-sized passes after the last task, attacks of a family together where they cover the same samples."""
    total = 0.0
    for task in tasks:
        by_samples = {}
        for demand in demands:
            by_samples.setdefault(demand.covers(len(task.test)), []).append(demand.attack)
        total += sum(
            run.passes(len(task.classes)) * samples
            for samples, attacks in by_samples.items()
            for run in share_runs(attacks)
        )
    return total


@pytest.mark.parametrize("name", ["digits", "digits-full"])
def test_extra_attacks_cost_at_most_an_eighth_of_the_evaluation(name, tasks):
    preset = load_preset(name)
    demands = extra_demands(preset, tasks)
    samples = {demand.attack.kind: demand.samples for demand in demands}
    assert all(FEWEST <= count <= MOST for count in samples.values())
    assert min(samples["inside"], samples["distilled"]) >= 25
    assert passes(demands, tasks) <= SHARE * passes(preset.final, tasks)


@pytest.mark.parametrize("name", available())
def test_no_attack_is_demanded_twice_and_a_black_box_only_where_there_is_none(name, tasks):
    kinds = {}
    for checks in ("none", "final", "deep"):
        preset = load_preset(name, checks=checks)
        assert preset.name == name
        demands = extra_demands(preset, tasks)
        assert not {demand.attack for demand in demands} & {demand.attack for demand in preset.final}
        kinds[checks] = [demand.attack.kind for demand in demands]
    assert kinds["none"] == []
    has_one = any(d.attack.kind.startswith("autoattack") for d in load_preset(name).final)
    walks_fast = preset.evaluation.precision != "fp32"
    expected = ["pgd", "pgd", "rescaled", "inside", "distilled", *(["float32"] if walks_fast else [])]
    expected += [] if has_one else ["square"]
    assert kinds["final"] == kinds["deep"] == expected


def test_the_longest_walk_of_the_preset_is_made_once_more_in_float32_where_lower_precision_is_allowed(tasks):
    preset = load_preset("digits", ["evaluation.precision=bfloat16"])
    assert preset.evaluation.precision == "bf16"
    (found,) = [demand for demand in extra_demands(preset, tasks) if demand.attack.kind == "float32"]
    assert found.attack.made_with.name == "pgd-40 linf 51/255 a=6.375/255"
    assert found.samples >= FEWEST
    assert "float32" not in {demand.attack.kind for demand in extra_demands(load_preset("digits"), tasks)}


def test_the_black_box_has_a_hundred_queries_by_default_and_a_thousand_on_more_samples_in_deep(tasks):
    found = {}
    for checks in ("final", "deep"):
        (demand,) = [d for d in extra_demands(load_preset("digits", checks=checks), tasks) if d.attack.kind == "square"]
        found[checks] = (demand.attack.queries, demand.samples)
    assert found["deep"] == (1000, 100)
    assert found["final"][0] == 100
    assert found["final"][1] < 40


def predictions(run, names):
    frame = run.predictions[run.predictions["attack"].isin(names)].astype({"attack": str, "evaluation_id": str})
    return frame.sort_values(["attack", "after_task", "task", "sample"], ignore_index=True)


def test_extra_attacks_change_no_number_and_are_run_later_from_the_checkpoints(tmp_path: Path):
    methods = ["madry_at"]
    assert run_tiny(tmp_path, methods, results="without") == 0
    assert run_tiny(tmp_path, methods, results="with", options={"checks": "final"}) == 0
    assert run_tiny(tmp_path, methods, results="later") == 0
    assert run_tiny(tmp_path, methods, results="later", options={"checks": "final"}) == 0
    (without,), (with_,), (later,) = (load(tmp_path / name, None).runs for name in ("without", "with", "later"))
    own = sorted(without.predictions["attack"].unique())
    pd.testing.assert_frame_equal(predictions(with_, own), predictions(without, own))
    pd.testing.assert_frame_equal(predictions(later, own), predictions(without, own))
    extra = sorted(set(with_.predictions["attack"].unique()) - set(own))
    assert [name for name in with_.protocols["tiny"]["checks"] if name in extra]
    pd.testing.assert_frame_equal(predictions(later, extra), predictions(with_, extra))
    verdicts = {entry["check"]: entry["status"] for entry in stored_verdicts(with_)["tiny"]["checks"]}
    assert (verdicts["unbounded"], verdicts["repeatable"], verdicts["eps_zero"]) == ("pass", "pass", "pass")
    before = {entry["check"]: entry["status"] for entry in stored_verdicts(without)["tiny"]["checks"]}
    assert (before["unbounded"], before["repeatable"]) == ("not_run", "pass")


def test_a_published_record_is_complete_without_extra_attacks(tmp_path: Path):
    assert run_tiny(tmp_path, ["madry_at"], results="first") == 0
    (run,) = load(tmp_path / "first", None).runs
    publishing.publish(run, tmp_path / "published" / "tiny")
    assert run_tiny(tmp_path, ["madry_at"], options={"checks": "final"}) == 0
    assert load(tmp_path / "runs", None).runs == []


def test_a_run_whose_checkpoints_are_gone_is_not_learned_again_for_extra_attacks(tmp_path: Path):
    assert run_tiny(tmp_path, ["madry_at"]) == 0
    (run,) = load(tmp_path / "runs", None).runs
    for path in (run.directory / "checkpoints").glob("*.json"):
        path.unlink()
    assert run_tiny(tmp_path, ["madry_at"], options={"checks": "final"}) == 0
    assert not list((run.directory / "checkpoints").glob("*.json"))


def test_verdicts_of_another_preset_stay_and_equal_ones_are_not_written_again(tmp_path: Path):
    assert run_tiny(tmp_path, ["madry_at"]) == 0
    other = write_preset(tmp_path, "other", evaluation={**TINY["evaluation"], "final": []})
    assert yaml.safe_load(other.read_text())["evaluation"]["checks"] == "none"
    assert run_tiny(tmp_path, ["madry_at"], name="other", evaluation={**TINY["evaluation"], "final": []}) == 0
    (run,) = load(tmp_path / "runs", None).runs
    path = run.directory / NAME
    assert set(read_json(path)) == {"tiny", "other"}
    written = path.stat().st_mtime_ns
    assert run_tiny(tmp_path, ["madry_at"]) == 0
    assert path.stat().st_mtime_ns == written


def test_an_unknown_word_for_extra_attacks_is_one_line(tmp_path: Path):
    from benchmark.errors import ConfigError

    with pytest.raises(ConfigError, match=r"evaluation\.checks"):
        run_tiny(tmp_path, evaluation={**TINY["evaluation"], "checks": "all"})
