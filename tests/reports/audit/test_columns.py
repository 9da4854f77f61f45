"""SHIELD's columns: their signature counted task by task, here and in print, and the lead of a row over itself."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from reports.audit.columns import (
    AUTOATTACK,
    FGSM,
    ONE_BALL,
    OWN_EPS,
    PGD,
    RELEASED,
    ColumnOutcomes,
    columns_in_words,
    columns_table,
    copied_table,
    published_columns,
)
from reports.audit.files import write
from reports.audit.small_tables import SMALL_TABLES
from reports.numbers.published_values import read_published
from tests.reports.audit.test_audit import outcomes, report_

PUBLISHED = read_published().shield_til
TASKS = ["first", "second"]


def columns(radii: str, autoattack: list[float], pgd: list[float], fgsm: list[float], seeds: int = 1) -> ColumnOutcomes:
    attacked = {AUTOATTACK: outcomes(autoattack, seeds), PGD: outcomes(pgd, seeds), FGSM: outcomes(fgsm, seeds)}
    return ColumnOutcomes("madry_at", radii, attacked, outcomes([0.9, 0.9], seeds))


FOUND = [
    columns(ONE_BALL, [0.2, 0.3], [0.3, 0.3], [0.4, 0.4]),
    columns(OWN_EPS, [0.5, 0.5], [0.7, 0.4], [0.4, 0.4]),
    columns(RELEASED, [0.8, 0.5], [0.7, 0.4], [0.4, 0.5]),
]


def test_a_weaker_search_that_breaks_more_is_counted_by_task() -> None:
    found = columns_table(FOUND, TASKS).set_index(["radii", "task"])
    assert found.loc[(ONE_BALL, "mean"), ["fgsm_below_pgd", "pgd_below_autoattack"]].tolist() == [0, 0]
    assert found.loc[(OWN_EPS, "first"), ["fgsm_below_pgd", "pgd_below_autoattack"]].tolist() == [1, 0]
    assert found.loc[(OWN_EPS, "second"), ["fgsm_below_pgd", "pgd_below_autoattack"]].tolist() == [0, 1]
    assert found.loc[(RELEASED, "mean"), ["fgsm_below_pgd", "pgd_below_autoattack"]].tolist() == [1, 2]


def test_differences_of_columns_are_paired() -> None:
    means = columns_table(FOUND, TASKS).query("task == 'mean'").set_index("radii")
    assert means.loc[OWN_EPS, "pgd_minus_fgsm"] == pytest.approx(0.15)
    assert means.loc[OWN_EPS, "pgd_minus_fgsm_low"] < 0.15 < means.loc[OWN_EPS, "pgd_minus_fgsm_high"]
    assert means.loc[OWN_EPS, "autoattack_minus_pgd"] == pytest.approx(-0.05)
    assert means.loc[ONE_BALL, "clean"] == pytest.approx(0.9)


def test_several_seeds_are_averaged_before_tasks_are_counted() -> None:
    # Every further seed has one image less right in every column.
    found = columns_table([columns(ONE_BALL, [0.2, 0.3], [0.3, 0.3], [0.4, 0.4], seeds=3)], TASKS)
    assert found["pgd"].iloc[-1] == pytest.approx(0.29)


def test_the_words_name_the_three_attacks_and_the_counts() -> None:
    assert columns_in_words(FOUND)[1] == (
        "madry_at, each its own eps: suite (AutoAttack's place) 50.0, PGD-100 55.0, FGSM 40.0, clean 90.0; "
        "FGSM below PGD-100 on 1 of 2 tasks; PGD-100 below suite (AutoAttack's place) on 1 of 2 tasks"
    )


def test_in_print_only_shields_own_rows_of_cifar_have_pgd_above_fgsm() -> None:
    found = published_columns(PUBLISHED).set_index(["benchmark", "label"])["fgsm_below_pgd"]
    for benchmark in ("split_cifar100", "split_mini_imagenet"):
        assert [label for label, flag in found[benchmark].items() if flag] == ["SHIELD", "SHIELD-IM"]
    # On the MNIST streams, where FGSM's eps is the largest of the released ones, rows of other methods have it too.
    assert {"GPM", "DGP"} <= {label for label, flag in found["permuted_mnist"].items() if flag}


def test_the_lead_of_a_copied_table_is_that_of_a_network_over_itself() -> None:
    found = copied_table(FOUND, PUBLISHED)
    here = found[found["source"] == "measured here"]
    assert here["accuracy"].tolist() == pytest.approx([0.3, 0.55])
    assert here["difference"].iloc[1] == pytest.approx(0.25)
    printed = found[found["source"] == "SHIELD's table"].set_index("row")
    assert printed.loc["SHIELD-IM", "accuracy"] == pytest.approx(0.6239)
    assert printed.loc["SHIELD-IM", "attack"] != printed.loc["GPM", "attack"]


def test_the_files_of_shields_audit_have_its_name_and_nothing_of_the_thesis(tmp_path: Path) -> None:
    tables = ("eps_of_column", "comparator_copied", "seeds")
    written = write(replace(report_(), of="shield", columns=FOUND, tables=tables, predicted={}), tmp_path)
    names = {
        path.name.removeprefix("tiny_set-1__").removeprefix("tiny-set-1__")
        for path in written.paths
        if path.suffix == ".csv"
    }
    ends = {name.split("__")[-1] for name in names}
    assert ends == {
        "audit_shield.csv", "audit_shield_signature.csv", "audit_shield_columns.csv", "audit_shield_columns_published.csv",
        "audit_shield_copied.csv", "audit_shield_seeds.csv",
    }  # fmt: skip
    svg = next(path for path in written.paths if path.suffix == ".svg").read_text()
    assert "SHIELD-IM, published" in svg
    assert "madry_at, each its own eps" in svg
    assert "thesis" not in svg
    assert set(SMALL_TABLES) & set(tables) == {"seeds"}


def test_equal_outcomes_give_equal_bytes(tmp_path: Path) -> None:
    report = replace(report_(), of="shield", columns=FOUND, tables=("eps_of_column",), predicted={})
    first, second = (write(report, tmp_path / name).paths for name in ("a", "b"))
    for mine, theirs in zip(first, second, strict=True):
        assert mine.read_bytes() == theirs.read_bytes(), mine.name
    assert np.isfinite(columns_table(FOUND, TASKS)["pgd"]).all()
