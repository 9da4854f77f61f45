"""Published tables of others stand beside the rows of their own streams, and beside no others."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import pytest

from reports.exhibits.exhibits import SCENARIO
from reports.exhibits.others import (
    CPG_TITLE,
    FLAIR_TITLE,
    SHIELD_TITLE,
    SPLIT_CIFAR100,
    beside,
    cpg_table,
    shield_table,
)
from reports.exhibits.pages import exhibit_files, exhibits_latex, exhibits_page, on_page
from reports.numbers.published_values import PRINTED_AVERAGE, read_published
from reports.write import write_report
from results import load
from tests.reports.exhibits.test_exhibits import EIGHT, exhibits, fake, stored
from tests.reports.synthetic_runs import clean, fgsm, pgd, write_run

PUBLISHED = read_published()


def split(root: Path, *methods: str, protocol: str = "task", **fields: object):
    """Rows of Split-CIFAR100, in one question or the other."""
    usual = {"final": [fgsm(EIGHT), pgd(40, EIGHT)], "matrix": [clean(), pgd(10, EIGHT)], "task_name": "classes {}"}
    fakes = [fake(method, **{**usual, **fields}) for method in methods]
    settings = {} if protocol == "task" else {"protocol": protocol}
    for made in fakes:
        identity = {"scenario": {"name": SPLIT_CIFAR100, "settings": settings, "fingerprint": "x"}, "eps": EIGHT}
        write_run(root, made.__class__(**{**vars(made), "identity": identity}))
    return exhibits(root)


def test_cpgs_superclasses_stand_beside_those_of_the_board(tmp_path: Path) -> None:
    found = exhibits(stored(tmp_path, fake("packnet"), fake("cpg", quality=2.2), fake("madry_at")))
    assert [each.title for each in beside(found)] == [CPG_TITLE]
    table = cpg_table(found).set_index("task")
    assert list(table.columns) == ["published_PackNet", "published_PAE", "published_CPG", "packnet", "cpg"]
    assert table.loc["fish"].tolist()[:3] == pytest.approx([0.8, 0.77, 0.766])
    row = found.row_of("cpg")
    assert table.loc["mean", "cpg"] == pytest.approx(row.measures.value("ACC_lopezpaz2017 clean"))
    assert table.loc["mean", "published_CPG"] == pytest.approx((0.652 + 0.766 + 0.734) / 3)
    assert table.loc[PRINTED_AVERAGE, "published_CPG"] == pytest.approx(0.809)
    assert table.loc["mean of all 20", "published_CPG"] == pytest.approx(0.8124)


def test_a_printed_row_that_does_not_average_to_its_average_is_told(tmp_path: Path) -> None:
    found = exhibits(stored(tmp_path, fake("packnet")))
    words = beside(found)[0].caption(found)
    assert "The printed row of CPG averages 81.24, not the 80.9 beside it: a cell is mistyped." in words
    assert words.count("mistyped") == 1


def test_shields_columns_stand_beside_ours_under_one_eps(tmp_path: Path) -> None:
    found = split(tmp_path, "gpm", "ewc", "madry_at")
    assert [each.title for each in beside(found)] == [SHIELD_TITLE]
    table = shield_table(found).set_index("published_as")
    assert table.loc[
        "SHIELD-IM", ["published_autoattack", "published_pgd", "published_fgsm", "published_clean"]
    ].tolist() == (pytest.approx([0.6308, 0.6239, 0.4648, 0.6745]))
    measures = found.row_of("gpm").measures
    longest = f"{pgd(40, EIGHT).name} any"
    assert table.loc["GPM", "ours_pgd"] == pytest.approx(measures.value(f"ACC_lopezpaz2017 {longest}"))
    assert table.loc["GPM", "ours_fgsm"] == pytest.approx(measures.value(f"ACC_lopezpaz2017 {fgsm(EIGHT).name}"))
    assert table["ours_autoattack"].isna().all()
    assert table.loc["SHIELD", [name for name in table if name.startswith("ours")]].isna().all()
    assert table.loc["DGP", "label"] == ""


def test_among_all_classes_nothing_published_stands_and_it_is_told_why(tmp_path: Path) -> None:
    found = split(tmp_path, "ewc", protocol="class")
    (only,) = beside(found)
    assert only.title == FLAIR_TITLE
    assert len(only.table(found)) == 0
    assert "FLAIR" in only.caption(found)
    (shown,) = on_page([found])[found.board.preset]
    assert (shown.title, dict(shown.tables)) == (FLAIR_TITLE, {})
    page = exhibits_page([found], lambda exhibits, name: None, "")
    assert FLAIR_TITLE in page
    assert SHIELD_TITLE not in page


def test_other_streams_have_none_of_them(tmp_path: Path) -> None:
    for number, scenario in enumerate(("digits", "fine_grained")):
        assert beside(exhibits(stored(tmp_path / str(number), fake("packnet"), scenario=scenario))) == []
    failed = fake("packnet", learned=1, failure={"stage": "train", "message": "no"})
    assert beside(exhibits(stored(tmp_path / "failed", failed, scenario=SCENARIO))) == []


def test_they_are_in_the_files_on_the_page_and_in_latex(tmp_path: Path) -> None:
    found = split(tmp_path / "runs", "gpm")
    assert f"{found.board.stem}__exhibit_shield" in dict(exhibit_files([found]))
    assert "tab:exhibit" in exhibits_latex([found], "")
    report = write_report(load(tmp_path / "runs", None), tmp_path / "out")
    assert "SHIELD-IM is SHIELD with interval mixup" in report.page.read_text(encoding="utf-8")
    assert (tmp_path / "out" / "tables" / f"{found.board.stem}__exhibit_shield.csv").exists()


def test_our_eps_is_that_of_the_board(tmp_path: Path) -> None:
    found = split(tmp_path, "gpm")
    assert found.board.eps == Fraction(8, 255)
    assert "eps 8/255 in every column" in beside(found)[0].caption(found)
