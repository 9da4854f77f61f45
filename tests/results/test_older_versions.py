"""Records of an attack's older version keep their numbers, and have the name of the setting that makes it now."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from attacks.autoattack import AutoAttack
from attacks.autoattack_c2 import AutoAttackC2
from attacks.autoattack_c3 import AutoAttackC3
from attacks.threat_model import ThreatModel
from benchmark.evaluating.fingerprints import attack_name
from results import Run, load
from results.files import read_json, write_json
from results.records import name_of_older
from results.schema import OLDER_VERSIONS
from tests.reports.synthetic_runs import FakeAttack, FakeRun, autoattack, clean, pgd, transfer, write_run

OFFICIAL = autoattack({})
FIRST = replace(OFFICIAL, version=1, power=0.9)
"""As the first version stored itself: under the name that the official one has now."""
STRETCHED = f"{OFFICIAL.name} schedule=stretched"


def stored(folder: Path, *attacks: FakeAttack, versions: bool) -> Run:
    """A run with these attacks after the last task; versions: False for a demand that an older program noted."""
    store = write_run(folder, FakeRun(matrix=[clean(), pgd(10)], final=attacks, demands={OFFICIAL.name: 40}))
    if not versions:
        config: dict[str, Any] = read_json(store.directory / "config.json")
        del config["protocols"]["digits"]["versions"]
        write_json(store.directory / "config.json", config)
    (run,) = load(folder, None).runs
    return run


def test_an_older_record_is_named_by_its_setting_everywhere(tmp_path: Path) -> None:
    run = stored(tmp_path, FIRST, versions=False)
    assert STRETCHED in set(run.evaluations["attack"])
    assert OFFICIAL.name not in set(run.evaluations["attack"])
    assert set(run.predictions["attack"].cat.categories) == {"clean", pgd(10).name, f"{pgd(10).name} any", STRETCHED}
    assert (run.predictions["attack"] == STRETCHED).sum() == 3 * 40
    demand = run.protocols["digits"]
    assert demand["final"] == [STRETCHED]
    assert demand["samples"] == {STRETCHED: 40}
    assert run.config["protocols"]["digits"]["final"] == [OFFICIAL.name], "what is stored stays as it is"
    again = Run(run.directory, {**run.config, "protocols": run.protocols})
    assert again.protocols == run.protocols


def test_a_new_record_is_named_as_it_is_stored(tmp_path: Path) -> None:
    run = stored(tmp_path, OFFICIAL, versions=True)
    assert OFFICIAL.name in set(run.predictions["attack"])
    assert run.protocols["digits"]["final"] == [OFFICIAL.name]


def test_a_run_that_holds_both_versions_holds_two_attacks(tmp_path: Path) -> None:
    """An older program wrote some parts of a run, this one the others. (Other steps give made-up evaluations other ids.)"""
    write_run(tmp_path / "first", FakeRun(matrix=[clean()], final=[replace(FIRST, steps=99)]), by_cell=True)
    write_run(tmp_path / "both", FakeRun(matrix=[clean()], final=[OFFICIAL]), by_cell=True)
    (old,), (new,) = (load(tmp_path / name, None).runs for name in ("first", "both"))
    for table in ("predictions", "evaluations"):
        for path in (old.directory / table).glob("autoattack*"):
            (new.directory / table / f"older-{path.name}").write_bytes(path.read_bytes())
    counts = new.predictions["attack"].value_counts()
    assert counts[OFFICIAL.name] == counts[STRETCHED] == 3 * 40
    margin = new.predictions.groupby("attack", observed=True)["margin"].mean()
    assert margin[STRETCHED] - margin[OFFICIAL.name] == pytest.approx(OFFICIAL.power - FIRST.power, abs=1e-5)
    assert {STRETCHED, OFFICIAL.name} <= set(new.evaluations["attack"])


def test_a_transfer_made_with_the_older_version_says_so(tmp_path: Path) -> None:
    made = transfer("earlier")
    name = f"transfer from=earlier {OFFICIAL.name}"
    older = replace(made, name=name, rest={**made.rest, "made_with": FIRST.specification})
    run = stored(tmp_path / "older", older, versions=False)
    assert f"transfer from=earlier {STRETCHED}" in set(run.evaluations["attack"])
    newer = replace(made, name=name, rest={**made.rest, "made_with": OFFICIAL.specification})
    assert name in set(stored(tmp_path / "newer", newer, versions=True).evaluations["attack"])


@pytest.mark.parametrize("attack", [AutoAttack, AutoAttackC2, AutoAttackC3])
@pytest.mark.parametrize("seed", [0, 3])
@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_the_name_is_that_of_the_attack_which_the_setting_makes(attack, seed: int, norm: Any) -> None:
    model = ThreatModel("8/255", norm)
    official = attack(threat_model=model)
    again = attack(threat_model=model, **OLDER_VERSIONS[official.kind, 1])
    assert again.version == 1
    assert name_of_older(attack_name(official, seed)) == attack_name(again, seed)
    assert name_of_older(attack_name(again, seed)) == attack_name(again, seed)


@pytest.mark.parametrize(
    "name",
    ["clean", "pgd-10 linf 8/255 a=2/255 any", "torchattacks:AutoAttack linf 8/255", "ensemble linf 8/255 steps=5"],
)
def test_other_names_stay(name: str) -> None:
    assert name_of_older(name) == name


@pytest.mark.parametrize("specification", ["no JSON", "3", None, '{"attack": ["autoattack"], "version": 1}'])
def test_a_specification_that_cannot_be_read_is_of_no_older_version(tmp_path: Path, specification: str | None) -> None:
    edit = {"edit_evaluation": lambda row: row.update(specification=specification)}
    write_run(tmp_path, FakeRun(final=[FIRST], **edit))
    (run,) = load(tmp_path, None).runs
    assert OFFICIAL.name in set(run.evaluations["attack"])
