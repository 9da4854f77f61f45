"""The audit from end to end on the tiny preset: its tables, what it uses again, and that a restart repeats nothing."""

from __future__ import annotations

import io
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from rich.console import Console

from benchmark.commands.audit import command
from benchmark.commands.audit.command import AuditOptions, AuditRuns, audit
from benchmark.commands.audit.comparison import AuditComparison
from benchmark.commands.audit.protocols import THESIS
from benchmark.errors import ConfigError
from benchmark.planning.options import RunOptions
from reports.write import write_report
from results import load
from tests.tiny import run_tiny, write_preset

SWITCHES = ["eps", "eval_attack", "eval_bn", "selection_split", "all", "f1", "comparator", "seeds"]


def run_audit(
    folder: Path,
    switches: list[str] | None,
    methods: list[str] | None = None,
    samples: int = 12,
    protocol: str = "thesis",
    **options: object,
) -> tuple[int, str]:
    """The exit code and what was printed."""
    console = Console(file=io.StringIO(), width=200)
    preset = options.pop("preset", None) or write_preset(folder)
    run = RunOptions(str(preset), methods=methods or ["madry_at"], results=folder / "runs", workers=1, **options)  # type: ignore[arg-type]
    code = audit(AuditOptions(run, switches, samples, folder / "out", protocol), console)
    return code, console.file.getvalue()  # type: ignore[attr-defined]


def table(folder: Path, name: str = "audit") -> pd.DataFrame:
    return pd.read_csv(folder / "out" / "audit" / "tables" / f"tiny__{name}.csv", na_values="n/a")


def stamps(folder: Path) -> dict[str, int]:
    """Everything that is stored, but the records of who worked on it."""
    return {
        str(path.relative_to(folder)): path.stat().st_mtime_ns
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.suffix in (".json", ".safetensors") and path.name != "config.json"
    }


@pytest.fixture(scope="module")
def audited(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    folder = tmp_path_factory.mktemp("audited")
    code, text = run_audit(folder, SWITCHES)
    assert code == 0
    return folder, text


def test_every_switch_gets_a_line_with_an_interval(audited: tuple[Path, str]) -> None:
    folder, _ = audited
    found = table(folder)
    assert list(found["switch"]) == ["canonical", "eps", "eval_attack", "eval_bn", "selection_split", "all"]
    assert found[["reported", "effect", "low", "high", "clean", "same_network"]].notna().all().all()
    assert ((found["low"] <= found["effect"]) & (found["effect"] <= found["high"]))[1:].all()


def test_what_needs_no_training_is_attacked_on_the_canonical_network(audited: tuple[Path, str]) -> None:
    folder, _ = audited
    found = table(folder).set_index("switch")
    canonical = found.loc["canonical"]
    for switch in ("eval_attack", "eval_bn"):
        assert found.loc[switch, "same_network"] == canonical["reported"]
        assert found.loc[switch, "of_network"] == 0
    # Canonical, eps, selection_split, all, and the undefended network that black-box images are made on.
    assert len(list((folder / "audit" / "runs").glob("*/config.json"))) == 5


def test_one_attack_is_never_stronger_than_the_suite_that_holds_it(audited: tuple[Path, str]) -> None:
    found = table(audited[0]).set_index("switch")
    assert found.loc["eval_attack", "effect"] >= 0


def test_the_signature_stands_beside_the_thesis_logs(audited: tuple[Path, str]) -> None:
    folder, text = audited
    found = table(folder, "audit_signature")
    means = found[found["task"] == "mean"].set_index(["method", "protocol"])
    assert means.loc[("madry_at", "canonical"), "attacked_above_clean"] == 0
    assert means.loc[("thesis (its logs)", "all"), "attacked_above_clean"] == 19
    assert "madry_at, all switches off: attacked above clean on 0 of" in text


def test_small_tables_stand_beside_the_effects(audited: tuple[Path, str]) -> None:
    folder, _ = audited
    scores = table(folder, "audit_f1")
    assert set(scores["part"]) == {"all samples", "last batch"}
    assert set(scores["protocol"]) == {"madry_at, canonical", "madry_at, all"}
    measured = table(folder, "audit_comparator").query("source == 'measured here'")
    assert list(measured["attack"]) == ["white-box", "black-box"]
    assert list(table(folder, "audit_seeds")["seeds"]) == [1] * 6


def test_f1_is_over_whole_test_sets_whatever_the_samples(audited: tuple[Path, str]) -> None:
    folder, text = audited
    whole = table(folder, "audit_f1").query("part == 'all samples' and task != 'mean'")
    images = [json.loads(path.read_text()) for path in (folder / "audit" / "outcomes").glob("*.json")]
    sizes = {len(each["labels"]) for each in images}
    assert min(sizes) == 12
    assert set(whole["samples"]) == sizes - {12}
    # The attack is that of training, and its last iterate counts.
    steps = {(each["of"]["steps"], each["of"]["reads"]) for each in images if len(each["labels"]) > 12}
    assert len(steps) == 1
    assert steps.pop()[1] == "final"
    assert "the lowest F1 in print" in text


def test_the_same_command_again_attacks_nothing_and_writes_the_same(audited: tuple[Path, str]) -> None:
    folder, _ = audited
    stored, written = stamps(folder / "audit"), (folder / "out/audit/tables/tiny__audit.csv").read_bytes()
    code, text = run_audit(folder, SWITCHES)
    assert code == 0
    assert "0 of 5 runs to learn" in text
    assert "attacks to run" not in text
    assert stamps(folder / "audit") == stored
    assert (folder / "out/audit/tables/tiny__audit.csv").read_bytes() == written


def test_an_outcome_that_is_broken_is_made_again_and_says_the_same(audited: tuple[Path, str]) -> None:
    folder, _ = audited
    path = sorted((folder / "audit" / "outcomes").glob("*.json"))[0]
    whole = json.loads(path.read_text())
    path.write_text(path.read_text()[:50])
    _, text = run_audit(folder, SWITCHES)
    assert "1 attacks to run" in text
    assert json.loads(path.read_text()) == whole


def test_the_report_leaves_the_audit_alone(audited: tuple[Path, str]) -> None:
    folder, _ = audited
    before = {path: path.read_bytes() for path in (folder / "out" / "audit").rglob("*") if path.is_file()}
    assert len(before) == 11
    write_report(load(folder / "runs" if (folder / "runs").is_dir() else folder / "none", None), folder / "out")
    assert {path: path.read_bytes() for path in before} == before


def test_a_finished_run_of_the_preset_is_the_canonical_row(tmp_path: Path) -> None:
    assert run_tiny(tmp_path) == 0
    (run,) = load(tmp_path / "runs", None).runs
    before = stamps(tmp_path / "runs")
    code, text = run_audit(tmp_path, ["eval_attack"])
    assert code == 0
    assert "0 of 1 runs to learn" in text
    assert stamps(tmp_path / "runs") == before
    of = json.loads(next((tmp_path / "audit" / "outcomes").glob("*.json")).read_text())["of"]
    assert of["run"] == run.hash


def test_canonical_outcomes_are_those_that_the_harness_stores(tmp_path: Path) -> None:
    preset = {
        "evaluation": {
            "matrix": [{"attack": "clean"}, {"attack": "pgd", "steps": 10, "step_size": "eps/4"}],
            "final": [
                {"attack": "pgd", "steps": 40, "step_size": ["eps/8", "eps/4", "eps/2"], "loss": loss}
                for loss in ("ce", "margin")
            ],
        }
    }
    assert run_tiny(tmp_path, **preset) == 0
    (run,) = load(tmp_path / "runs", None).runs
    code, _ = run_audit(tmp_path, ["eval_attack"], samples=10_000, preset=write_preset(tmp_path, **preset))
    assert code == 0
    frame = run.predictions.astype({"attack": str})
    last = frame[frame["after_task"] == frame["after_task"].max()]
    counted = last[
        (last["attack"] == "clean") | (last["attack"].str.contains("40") & last["attack"].str.endswith("any"))
    ]
    right = (counted["predicted"] == counted["label"]).groupby([counted["task"], counted["sample"]]).all()
    expected = float(np.mean(right.groupby("task").mean()))
    assert float(table(tmp_path)["reported"][0]) == pytest.approx(expected)


def test_packed_methods_have_switches_of_their_own(tmp_path: Path) -> None:
    code, _ = run_audit(tmp_path, None, methods=["packnet"], preset=_packed(tmp_path))
    assert code == 0
    found = table(tmp_path).set_index("switch")
    assert list(found.index) == [
        "canonical", "eval_time", "sequence", "gate", "all_packed", "sum of the single effects", "interaction",
    ]  # fmt: skip
    # Weights that are never moved again: there is nothing to be gained by measuring early.
    assert found.loc["eval_time", "effect"] == 0
    # After the first task there is nothing to restart from; a gate that is missed makes independent networks.
    assert found.loc["all_packed", "reported"] == found.loc["sequence", "reported"]
    total = found.loc["sum of the single effects", "effect"] + found.loc["interaction", "effect"]
    assert total == pytest.approx(found.loc["all_packed", "effect"])


def _packed(folder: Path) -> Path:
    row = {"method": "packnet", "settings": {"retrain_epochs": 1}}
    return write_preset(folder, methods=[{"method": "madry_at"}, row])


def test_what_was_not_learned_with_every_seed_is_compared_with_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def jobs(name: str) -> dict[int, Any]:
        return {seed: SimpleNamespace(hash=f"{name} {seed}") for seed in (0, 1)}

    variants: list[Any] = [
        SimpleNamespace(method="madry_at", name=name, jobs=jobs(name)) for name in ("canonical", "eps", "all")
    ]
    comparison = AuditComparison(THESIS, None, [], variants, jobs("standard"), [])  # type: ignore[arg-type]
    every = [job for each in (*variants, SimpleNamespace(jobs=comparison.undefended)) for job in each.jobs.values()]
    runs = AuditRuns(every, {job.hash: None for job in every}, [])  # type: ignore[misc]

    def left(*lost: str) -> AuditComparison:
        monkeypatch.setattr(command, "is_learned", lambda job, *_: job.hash not in lost)
        return command._without_unlearned(comparison, runs)

    assert left().undefended == comparison.undefended
    assert [variant.name for variant in left("eps 1").variants] == ["canonical", "all"]
    assert left("standard 1").undefended == {}


def test_a_dry_run_starts_nothing(tmp_path: Path) -> None:
    code, text = run_audit(tmp_path, ["eps"], dry_run=True)
    assert code == 0
    assert "2 of 2 runs to learn" in text
    assert not (tmp_path / "audit").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"methods": ["trades"], "switches": None}, "--methods trades: switches are turned on madry_at, packnet, cmat"),
        ({"switches": ["epz"]}, "--switches epz: no switch of madry_at.*eps"),
        ({"switches": None, "samples": 0}, "--samples 0: give 1 or more"),
    ],
)
def test_mistakes_are_one_line_that_says_what_would_be_right(
    options: dict[str, object], message: str, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=message):
        run_audit(tmp_path, **options)  # type: ignore[arg-type]
