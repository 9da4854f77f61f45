"""Attack quality: areas between curves worked out by hand, over the images that all attacks share."""

import math
from dataclasses import replace

import numpy as np
import pytest

from reports.boards.attack_quality import attack_curves, qualities_of
from reports.frames import Tables
from reports.tables.attacks import quality_caption, quality_for_reading, quality_table
from reports.write import write_report
from results import load
from tests.reports.sweep_cases import EIGHT, facts
from tests.reports.synthetic_runs import FakeRun, board_of, clean, fgsm, inside, pgd, square, transfer, write_run

HALF, WHOLE = "1/10", "1/5"
"""Half and all of the ranking's eps."""


def broken_by(broken, wrong=(8, 9)):
    """Margins of which those in `broken`, by the outcome's name, and those in `wrong`, without an attack, are below 0."""

    def edit(name, i, j, margin):
        lost = {*wrong, *broken.get(name.removesuffix(" any"), ())}
        return np.where(np.isin(np.arange(len(margin)), list(lost)), -1.0, 1.0)

    return edit


def run_of(broken, final, **fields):
    usual = {"tasks": 1, "samples": 10, "matrix": [clean(), pgd(10)], "edit_margin": broken_by(broken)}
    return FakeRun(final=final, **{**usual, **fields})


def found_in(board, row=0):
    return {each.curve.largest.name: each for each in qualities_of(board, board.rows[row])}


def test_with_one_eps_it_is_the_share_of_the_breakable_images(tmp_path):
    board = board_of(tmp_path, run_of({pgd(10).name: (0, 1, 2, 3), fgsm().name: (0, 1, 5)}, [fgsm()]))
    found = found_in(board)
    assert found[pgd(10).name].over_eps == pytest.approx(4 / 5)
    assert found[fgsm().name].over_eps == pytest.approx(3 / 5)
    assert found[fgsm().name].at_ranking == pytest.approx(3 / 5)
    assert {each.compared for each in found.values()} == {2}
    assert {each.samples for each in found.values()} == {10}


def test_over_several_eps_it_is_the_area_between_the_curves(tmp_path):
    broken = {
        pgd(10, HALF).name: (0,), pgd(10).name: (1, 2), pgd(40, HALF).name: (0, 3), pgd(40).name: (0, 3, 4),
    }  # fmt: skip
    board = board_of(tmp_path, run_of(broken, [pgd(10, HALF), pgd(40, HALF), pgd(40)]))
    found = found_in(board)
    # Accuracies at eps 0, .1 and .2. PGD-10: .8 .7 .5, its smaller eps counted; PGD-40: .8 .6 .5; the best: .8 .6 .3.
    area = {name: 0.1 * (0.8 + 2 * half + whole) / 2 for name, half, whole in (("10", 0.7, 0.5), ("40", 0.6, 0.5))}
    best, all_of_it = 0.1 * (0.8 + 2 * 0.6 + 0.3) / 2, 0.8 * 0.2
    assert len(found) == 2
    for steps, attack in (("10", pgd(10)), ("40", pgd(40))):
        expected = 1 - (area[steps] - best) / (all_of_it - best)
        assert found[attack.name].over_eps == pytest.approx(expected)
    # At the ranking's eps alone PGD-10 breaks 2 of the 5 that are broken there or nearer, and PGD-40 three.
    assert found[pgd(10).name].at_ranking == pytest.approx(2 / 5)
    assert found[pgd(40).name].at_ranking == pytest.approx(3 / 5)


def test_attacks_that_break_the_same_are_equally_good(tmp_path):
    board = board_of(
        tmp_path, run_of({pgd(10).name: (0, 1), fgsm().name: (0, 1), square().name: ()}, [fgsm(), square()])
    )
    values = {name: each.over_eps for name, each in found_in(board).items()}
    assert values == {pgd(10).name: 1, fgsm().name: 1, square().name: 0}


def test_an_attack_alone_at_its_norm_is_the_best_by_definition_and_it_is_told(tmp_path):
    alone = pgd(40, norm="l2")
    board = board_of(tmp_path, run_of({pgd(10).name: (0, 1), alone.name: (0,), fgsm().name: (0,)}, [alone, fgsm()]))
    assert (found_in(board)[alone.name].over_eps, found_in(board)[alone.name].compared) == (1, 1)
    lines = quality_for_reading(board).set_index("attacks, best first")
    assert lines.loc[alone.name, "over eps"] == "51/255 only, alone"
    assert lines.loc["fgsm", "over eps"] == "51/255 only"
    assert "Alone: the only one of its norm, 100 by definition" in quality_caption(board)


def test_where_nothing_is_broken_no_attack_is_good_or_bad(tmp_path):
    board = board_of(tmp_path, run_of({}, [fgsm()]))
    assert all(math.isnan(each.over_eps) for each in found_in(board).values())
    assert list(quality_for_reading(board)["optimality"]) == ["n/a", "n/a"]


def test_only_images_that_all_attacks_cover_count(tmp_path):
    few = replace(fgsm(), samples=5)
    # On the first five images both break two; beyond them PGD breaks three more.
    board = board_of(tmp_path, run_of({pgd(10).name: (0, 1, 5, 6, 7), few.name: (0, 2)}, [few]))
    found = found_in(board)
    assert {each.samples for each in found.values()} == {5}
    assert found[few.name].over_eps == pytest.approx(2 / 3)
    assert found[pgd(10).name].over_eps == pytest.approx(2 / 3)


def test_the_any_iterate_is_what_an_attack_found(tmp_path):
    def edit(name, i, j, margin):
        lost = {"clean": 0, pgd(10).name: 1, f"{pgd(10).name} any": 3, fgsm().name: 4}[name]
        return np.where(np.arange(len(margin)) < lost, -1.0, 1.0)

    board = board_of(tmp_path, run_of({}, [fgsm()], edit_margin=edit))
    assert found_in(board)[pgd(10).name].over_eps == pytest.approx(3 / 4)


def test_transfers_are_attacks_of_the_preset_and_extra_attacks_are_not(tmp_path):
    other, extra = transfer("earlier"), inside()
    broken = {pgd(10).name: (0,), other.name: (1,), extra.name: (2, 3, 4)}
    board = board_of(tmp_path, run_of(broken, [], transfers=[other], checks=[extra]))
    assert {name: each.over_eps for name, each in found_in(board).items()} == pytest.approx(
        {pgd(10).name: 0.5, other.name: 0.5}
    )


def test_accuracies_are_means_over_tasks_and_qualities_means_over_seeds(tmp_path):
    def edit(name, i, j, margin):
        # Task 0: PGD breaks 2 of 4, FGSM 4. Task 1, twice as large: PGD breaks all of 8, FGSM nothing.
        lost = {"clean": (0, 0), "fgsm": (4, 0), "pgd": (2, 8)}[name.split()[0].split("-")[0]][j]
        return np.where(np.arange(len(margin)) < lost, -1.0, 1.0)

    one = run_of({}, [fgsm()], tasks=2, samples=[4, 8], edit_margin=edit)
    two = replace(
        one, seed=1, edit_margin=lambda name, i, j, margin: edit(name if name == "clean" else "fgsm", i, j, margin)
    )
    found = found_in(board_of(tmp_path, one, two))
    # Seed 0: the best is right nowhere; FGSM loses 1/2, PGD (1/2 + 1) / 2. Seed 1: both are FGSM.
    assert found[fgsm().name].over_eps == pytest.approx((1 / 2 + 1) / 2)
    assert found[pgd(10).name].over_eps == pytest.approx((3 / 4 + 1) / 2)


def test_a_curve_joins_attacks_that_differ_in_eps_alone():
    half, whole = facts(eps=EIGHT / 2), facts()
    other = [
        facts(eps=EIGHT / 2, size="1/2"),
        facts(10, eps=EIGHT / 2),
        facts(norm="l2"),
        facts(kind="clean", eps=0 * EIGHT),
    ]
    curves = attack_curves([whole, half, *other])
    assert [list(curve.attacks.values()) for curve in curves] == [[half, whole], [other[0]], [other[1]], [other[2]]]


def test_a_weak_attack_stands_last_with_the_row_on_which_it_does_worst(tmp_path):
    good = run_of({pgd(10).name: (0, 1, 2, 3), fgsm().name: (0, 1, 2)}, [fgsm()])
    masked = run_of({pgd(10).name: (0, 1, 2, 3), fgsm().name: (0,)}, [fgsm()], method="masked")
    board = board_of(tmp_path, good, masked)
    assert len(board.ranked) == 2
    lines = quality_for_reading(board)
    assert list(lines["attacks, best first"]) == ["pgd-10", "fgsm"]
    assert lines.iloc[1].to_dict() == {
        "attacks, best first": "fgsm", "optimality": "50.0", "over eps": "51/255 only", "at 51/255": "50.0",
        "lowest": "25.0", "of row": "masked", "rows": "2", "images": "10",
    }  # fmt: skip
    assert lines.iloc[0]["of row"] == "2 rows"
    assert "mean over 2 ranked rows" in quality_caption(board)
    table = quality_table(board).set_index(["label", "attack"])["optimality"]
    assert table["masked", fgsm().name] == pytest.approx(1 / 4)


def test_the_report_has_it_as_table_as_text_and_on_the_page(tmp_path):
    write_run(tmp_path / "runs", run_of({pgd(10).name: (0, 1), fgsm().name: (0,)}, [fgsm()]))
    results = load(tmp_path / "runs", None)
    report = write_report(results, tmp_path / "out")
    assert (tmp_path / "out" / "tables" / "digits__attack_quality.csv").exists()
    for path in (report.page, tmp_path / "out" / "leaderboard.md"):
        text = path.read_text(encoding="utf-8")
        assert "Attack quality" in text
        assert "How near an attack comes to the best" in text
    assert set(Tables(results).attack_quality["attack"]) == {pgd(10).name, fgsm().name}
