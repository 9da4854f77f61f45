"""Sweeps: curves join only what differs in one field, and checks of one eps see no attack of another."""

import json
import math
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pandas as pd
import pytest

from reports.boards.building import build_boards
from reports.boards.sweeps import EPS, STEP_SIZE, STEPS, compared, curve, curves
from reports.figures.accuracy import MOST_BARS, shown_attacks
from reports.figures.sweep import sweep_figure
from reports.numbers.attack_facts import attack_facts
from reports.tables.details import sweep_table
from reports.tables.leaderboard import accuracy_table, wide_table
from reports.tables.words import short_name
from reports.write import write_report
from results import load
from tests.reports.figure_words import drawn
from tests.reports.sweep_cases import EIGHT, QUARTERS, evidence_of, facts, full_sweep, grid
from tests.reports.synthetic_runs import FakeRun, autoattack, board_of, fgsm, noise, pgd, square, transfer, write_run

# -- curves -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "other",
    [
        {"restarts": 5},
        {"loss": "margin"},
        {"targets": "3"},
        {"eot": "4"},
        {"random_start": "false"},
        {"source": '"earlier"'},
        {"kind": "apgd"},
        {"norm": "l2"},
    ],
)
@pytest.mark.parametrize("field", [STEPS, STEP_SIZE, EPS])
def test_a_curve_joins_attacks_that_differ_in_one_field_alone(field, other):
    varied = {STEPS: {"steps": 10}, STEP_SIZE: {"size": "1/2"}, EPS: {"eps": Fraction(4, 255)}}[field]
    assert curve([facts(), facts(**varied)], field) is not None
    assert curve([facts(), facts(**varied, **other)], field) is None


def test_a_curve_over_eps_keeps_the_step_size_in_proportion():
    half, whole = facts(eps=EIGHT / 2), facts()
    same_pixels = facts(eps=EIGHT / 2, size="1/2")
    assert same_pixels.step_size == whole.step_size
    assert list(curve([half, whole, same_pixels], EPS).attacks.values()) == [half, whole]


def test_the_slice_shown_has_the_most_points_then_the_most_steps_and_the_middle_step_size():
    attacks = grid()
    over_steps, over_sizes = curve(attacks, STEPS), curve(attacks, STEP_SIZE)
    assert [float(k) for k in over_steps.attacks] == [7, 10, 20, 40]
    assert {attack.step_in_eps for attack in over_steps.attacks.values()} == {Fraction(1, 4)}
    assert list(over_sizes.attacks) == [Fraction(1, 8), Fraction(1, 4), Fraction(1, 2)]
    assert {attack.steps for attack in over_sizes.attacks.values()} == {40}
    # A slice with one point more wins, whatever its settings.
    for attack in curve([*attacks, facts(30, "1/2")], STEPS).attacks.values():
        assert attack.step_in_eps == Fraction(1, 2)
    restarted = [facts(k, restarts=5) for k in (5, 7, 10, 20, 40)]
    assert list(curve([*attacks, *restarted], STEPS).attacks.values()) == restarted


def test_plain_pgd_is_shown_before_variants_and_other_kinds():
    plain = grid(steps=(10, 40))
    variants = [*grid(restarts=5), *grid(loss="margin"), *grid(random_start="false"), *grid(targets="3")]
    found = curve([*variants, *plain], STEP_SIZE)
    assert (next(iter(found.attacks.values())).rest, found.fixed) == ((), "linf 8/255, 40 steps")
    fgsm_at_more_eps = [facts(1, None, EIGHT * k, kind="fgsm") for k in range(1, 9)]
    assert curve([*fgsm_at_more_eps, *grid((EIGHT, 2 * EIGHT))], EPS).kind == "pgd"


def test_curves_over_steps_and_step_sizes_are_at_the_ranking_eps_and_all_at_its_norm():
    epss = (EIGHT / 2, EIGHT, 2 * EIGHT)
    in_l2 = grid([Fraction(k) for k in (1, 2, 3, 4)], norm="l2")
    found = curves([*in_l2, *grid(epss)], ("linf", EIGHT))
    assert [each.field for each in found] == [STEPS, STEP_SIZE, EPS]
    assert {a.threat for each in found[:2] for a in each.attacks.values()} == {("linf", EIGHT)}
    assert {a.threat for a in found[2].attacks.values()} == {("linf", eps) for eps in epss}
    assert [each.fixed for each in found] == [
        "linf 8/255, step size eps/4",
        "linf 8/255, 40 steps",
        "linf, 40 steps, step size eps/4",
    ]
    assert [each.field for each in curves(grid((EIGHT / 2, 2 * EIGHT)), ("linf", EIGHT))] == [EPS]


def test_what_is_fixed_names_whatever_is_not_usual():
    found = curve(grid(restarts=5, loss="margin", targets="3", random_start="true"), STEPS)
    assert found.fixed == "linf 8/255, step size eps/4, 5 restarts, loss margin, targets 3"


def test_a_single_attack_makes_no_curve():
    assert curves([facts(), facts(kind="fgsm", steps=1, size=None)], ("linf", EIGHT)) == []


# -- accuracies along a curve -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("seeds", [1, 2, 3])
def test_where_all_attacks_cover_the_same_samples_accuracies_are_those_of_the_leaderboard(tmp_path, seeds):
    (row,) = board_of(tmp_path, *(FakeRun(seed=seed, final=full_sweep()) for seed in range(seeds))).rows
    names = ["clean", pgd(10).name + " any", pgd(40).name + " any", "worst"]
    found = compared(row, names)
    for name in names:
        column = f"ACC_lopezpaz2017 {name}"
        assert found[name][0] == pytest.approx(row.measures.value(column))
        bounds = row.measures.bounds(column)
        assert (found[name][1].low, found[name][1].high) == pytest.approx((bounds.low, bounds.high))


def test_attacks_on_different_samples_are_compared_on_those_they_share(tmp_path):
    def last_samples_are_easy(name, i, j, margin):
        return np.where(np.arange(len(margin)) < 15, -1.0, 1.0)

    few = replace(pgd(40), samples=15)
    (row,) = board_of(tmp_path, FakeRun(final=[few], edit_margin=last_samples_are_easy)).rows
    assert row.measures.value(f"ACC_lopezpaz2017 {pgd(10).name} any") == 25 / 40
    found = compared(row, [f"{pgd(10).name} any", f"{few.name} any"])
    assert [value for value, _ in found.values()] == [0, 0]


def test_an_attack_that_a_seed_lacks_is_left_out_and_the_others_stay(tmp_path):
    (row,) = board_of(tmp_path, FakeRun()).rows
    assert list(compared(row, ["clean", "pgd-7 linf 51/255 a=12.75/255 any"])) == ["clean"]
    assert compared(row, ["nothing"]) == {}


# -- the figure -------------------------------------------------------------------------------------------------------


def test_the_figure_shows_any_iterate_accuracies_by_method_with_clean_at_eps_0(tmp_path):
    board = board_of(tmp_path, FakeRun("weak", quality=1, final=full_sweep()), FakeRun("strong", final=full_sweep()))
    caption, figure = drawn(sweep_figure, board)
    assert caption.startswith("Accuracy under pgd over steps, step size and eps, any-iterate, 95 % intervals")
    steps, sizes, epss = figure.axes
    assert [label.get_text() for label in steps.get_xticklabels()] == ["10", "40"]
    assert [label.get_text() for label in sizes.get_xticklabels()] == ["eps/8", "eps/4", "eps/2"]
    assert [label.get_text() for label in epss.get_xticklabels()] == ["0", "12.75", "25.5", "51", "102"]
    assert steps.get_xlabel() == "pgd steps\nlinf 51/255, step size eps/4"
    at_eps = [line for line in epss.lines if len(line.get_ydata()) == 5]
    for line, row in zip(at_eps, board.ranked, strict=True):
        names = ["clean", *(f"{pgd(40, eps).name} any" for eps in QUARTERS)]
        values = [100 * row.measures.value(f"ACC_lopezpaz2017 {name}") for name in names]
        assert list(line.get_ydata()) == pytest.approx(values)
    assert all(50.0 in axes.lines[0].get_ydata() for axes in figure.axes)  # chance


def test_a_final_iterate_that_flatters_large_steps_is_drawn_beside_any_iterate(tmp_path):
    final = [pgd(40, size=size, any_power=lost) for size, lost in (("1/8", 0.0), ("1/4", 0.1), ("1/2", 1.5))]
    board = board_of(tmp_path, FakeRun(final=final))
    _, sizes = drawn(sweep_figure, board)[1].axes
    any_, last = [line.get_ydata() for line in sizes.lines if len(line.get_ydata()) == 3]
    assert last[2] > any_[2] + 10
    assert last[2] >= last[1]
    assert any_[2] < any_[1]


def test_methods_in_a_figure_differ_in_marker_or_line_where_they_share_a_colour(tmp_path):
    board = board_of(tmp_path, *(FakeRun(f"method_{k}", samples=8, tasks=1, final=[pgd(40)]) for k in range(12)))
    _, figure = drawn(sweep_figure, board)
    (axes,) = figure.axes
    styles = [(line.get_color(), line.get_marker(), str(line.get_linestyle())) for line in axes.lines[1:13]]
    assert len(set(styles)) == 12
    shared = [(c, style) for c, _, style in styles]
    assert len(set(shared)) == 12


def test_panels_without_data_are_left_out_and_a_run_without_sweeps_has_no_figure(tmp_path):
    assert len(drawn(sweep_figure, board_of(tmp_path / "a", FakeRun(final=[pgd(40)])))[1].axes) == 1
    assert drawn(sweep_figure, board_of(tmp_path / "b", FakeRun(final=[fgsm()]))) is None


def test_older_records_without_specification_have_curves_too(tmp_path):
    def older(record):
        record["specification"] = None

    assert len(drawn(sweep_figure, board_of(tmp_path, FakeRun(final=full_sweep(), edit_evaluation=older)))[1].axes) == 3


def test_the_report_has_the_figure_and_the_table(tmp_path):
    write_run(tmp_path / "runs", FakeRun(final=full_sweep()))
    report = write_report(load(tmp_path / "runs", None), tmp_path / "out")
    assert {path.name for path in (tmp_path / "out" / "figures").glob("*sweep*")} == {
        f"digits__sweep.{suffix}" for suffix in ("png", "svg", "pdf")
    }
    assert "any-iterate, 95 % intervals" in report.page.read_text(encoding="utf-8")
    assert (tmp_path / "out" / "tables" / "digits__sweep.csv").exists()
    assert "digits\\_\\_sweep.csv" in (tmp_path / "out" / "leaderboard.md").read_text(encoding="utf-8")


def test_the_table_says_what_every_attack_was_and_gives_its_accuracies(tmp_path):
    targeted = pgd(40, loss="margin", rest={"targets": 3, "random_start": True})
    targeted = replace(targeted, name=targeted.name + " loss=margin targets=3", samples=30)
    fake = FakeRun(final=[pgd(40, size="1/8", restarts=5), targeted, pgd(40, "128/255", norm="l2"), fgsm()])
    board = board_of(tmp_path, fake)
    table = sweep_table(board).set_index("attack")
    many = table.loc["pgd-40 linf 51/255 a=6.375/255 r=5"]
    assert (many.kind, many.norm, many.eps, many.eps_255, many.steps) == ("pgd", "linf", "1/5", 51, 40)
    assert (many.step_size, many.step_in_eps, many.restarts, many.loss) == ("1/40", 0.125, 5, "ce")
    assert json.loads(table.loc[targeted.name, "specification"]) == {"random_start": True, "targets": 3}
    assert (table.loc[targeted.name, "samples"], many.samples) == (90, 120)
    assert table.loc["pgd-40 l2 128/255 a=32/255", "norm"] == "l2"
    row = board.rows[0]
    for outcome, name in (("final", many.name), ("any", f"{many.name} any")):
        bounds = row.measures.bounds(f"ACC_lopezpaz2017 {name}")
        found = [many[outcome], many[f"{outcome}_low"], many[f"{outcome}_high"]]
        assert found == [row.measures.value(f"ACC_lopezpaz2017 {name}"), bounds.low, bounds.high]
    assert math.isnan(table.loc[fgsm().name, "any"])
    assert table.loc["worst", "samples"] == 90


def test_the_table_counts_the_samples_of_the_seed_that_has_the_fewest(tmp_path):
    fakes = [FakeRun(seed=seed, final=[replace(pgd(40), samples=count)]) for seed, count in ((0, 15), (1, 30))]
    table = sweep_table(board_of(tmp_path, *fakes)).set_index("attack")
    assert table.loc[[pgd(40).name, "clean"], ["seeds", "samples"]].to_numpy().tolist() == [[2, 45], [2, 120]]


# -- what `worst` is taken over ---------------------------------------------------------------------------------------


def test_worst_is_over_every_attack_at_one_norm_and_eps(tmp_path):
    final = [fgsm(), square(), pgd(40, "1/10"), pgd(40, "1/5", norm="l2"), autoattack({})]
    evidence = evidence_of(tmp_path, final=final, transfers=[transfer("earlier")])
    found = evidence.in_worst()
    assert found == {
        "worst": {"clean", fgsm().name, square().name, autoattack({}).name, transfer("earlier").name}
        | {pgd(10).name, pgd(10).name + " any"},
        "worst linf 25.5/255": {"clean", pgd(40, "1/10").name, pgd(40, "1/10").name + " any"},
        "worst l2 51/255": {"clean", final[3].name, final[3].name + " any"},
    }


def test_a_transfer_counts_once_it_covers_what_is_asked_of_it_and_a_row_is_complete_without_it(tmp_path):
    store = write_run(tmp_path, FakeRun(transfers=[transfer("earlier", samples=20)]), by_cell=True)
    path = next((store.directory / "predictions").glob("transfer*-2-1.parquet"))
    kept = path.read_bytes()
    path.unlink()
    (board,) = build_boards(load(tmp_path, None), ())
    assert board.ranked
    assert transfer("earlier").name not in board.rows[0].seeds[0].evidence.in_worst()["worst"]
    path.write_bytes(kept)
    (board,) = build_boards(load(tmp_path, None), ())
    assert transfer("earlier").name in board.rows[0].seeds[0].evidence.in_worst()["worst"]


def test_a_specification_is_read_in_whole_and_of_the_newest_version():
    rows = [
        {"attack": "t", "kind": "transfer", "attack_version": version, "specification": json.dumps(fields)}
        for version, fields in ((2, {"source": "b", "origin": "7f", "version": 2}), (1, {"source": "a"}))
    ]
    columns = {"norm": "linf", "eps": "8/255", "steps": None, "step_size": None, "restarts": None, "loss": None}
    found = attack_facts(pd.DataFrame([{**row, **columns} for row in rows]))
    assert found["t"].rest == (("source", '"b"'),)


# -- names and choices ------------------------------------------------------------------------------------------------


def everything():
    return [noise(), fgsm(), *full_sweep(), pgd(40, restarts=5), pgd(40, norm="l2"), square()]


def test_the_bar_chart_shows_one_of_each_kind_at_the_ranking_eps(tmp_path):
    transfers = [transfer("single_task_at", 0.2), transfer("earlier", 0.5)]
    board = board_of(tmp_path, FakeRun(final=[*everything(), pgd(20), autoattack({})], transfers=transfers))
    names = ["clean", noise().name, fgsm().name, pgd(10).name, pgd(40).name, transfers[1].name]
    assert shown_attacks(board) == [*names, autoattack({}).name, "worst"]


def test_without_autoattack_the_bar_chart_shows_its_parts(tmp_path):
    apgd = replace(pgd(100), kind="apgd", name="apgd-100 linf 51/255", step_size=None, any_power=None)
    board = board_of(tmp_path, FakeRun(final=[*everything(), apgd], transfers=[transfer("earlier")]))
    shown = [
        "clean",
        fgsm().name,
        pgd(10).name,
        pgd(40).name,
        apgd.name,
        square().name,
        transfer("earlier").name,
        "worst",
    ]
    assert shown_attacks(board) == shown
    assert len(shown) == MOST_BARS


def test_a_kind_of_its_own_is_shown_where_there_is_room_but_not_of_another_norm(tmp_path):
    mine = replace(square(), kind="my-attack", name="my-attack linf 51/255")
    other_norm = replace(square(), kind="their-attack", name="their-attack l2 51/255", norm="l2")
    found = shown_attacks(board_of(tmp_path, FakeRun(final=[fgsm(), mine, other_norm])))
    assert found == ["clean", fgsm().name, pgd(10).name, mine.name, "worst"]


def test_the_strongest_transfer_is_found_on_rows_that_have_all_of_them(tmp_path):
    # The row that every other row's transfer is from is far better, and has none from itself.
    weak, strong = transfer("best", 0.1), transfer("earlier", 0.6)
    rows = [FakeRun("best", quality=4, transfers=[strong]), FakeRun("other", quality=1, transfers=[weak, strong])]
    assert strong.name in shown_attacks(board_of(tmp_path, *rows))


def test_short_names_tell_apart_what_stands_at_one_eps(tmp_path):
    cw = replace(square(), kind="torchattacks", name="torchattacks:CW linf 51/255 steps=50", rest={"algorithm": "CW"})
    final = [pgd(40, size="1/2", restarts=5), pgd(40, norm="l2"), pgd(40, "1/10"), cw, autoattack({})]
    board = board_of(tmp_path, FakeRun(final=final, transfers=[transfer("single_task_at")]))
    names = [short_name(attack.name, board) for attack in (*final, transfer("single_task_at"))]
    assert names == [
        "pgd-40 a=eps/2 r=5",
        "pgd-40 l2 51/255 a=12.75/255",
        "pgd-40 linf 25.5/255 a=6.375/255",
        "torchattacks:CW steps=50",
        "autoattack",
        "transfer from=single_task_at pgd-40",
    ]
    # An equal eps in another norm is no step size of this one.
    assert len({short_name(name, board) for name in board.attacks}) == len(board.attacks)


def test_step_sizes_at_another_eps_are_not_told(tmp_path):
    board = board_of(tmp_path, FakeRun(final=[pgd(40), pgd(40, "1/10"), pgd(40, "1/10", norm="l2")]))
    assert short_name(pgd(40).name, board) == "pgd-40"


def test_transfers_made_with_other_step_sizes_keep_them_in_their_short_names(tmp_path):
    first = transfer("cmat")
    second = replace(first, name=first.name.replace("12.75/255", "25.5/255"))
    board = board_of(tmp_path, FakeRun(transfers=[first, second]))
    names = [short_name(each.name, board) for each in (first, second)]
    assert names == ["transfer from=cmat pgd-40 a=12.75/255", "transfer from=cmat pgd-40 a=25.5/255"]


def test_the_table_for_reading_stays_readable_and_the_wide_one_has_everything(tmp_path):
    final = [*everything(), *(pgd(20, eps, size=size) for eps in QUARTERS for size in ("1/8", "1/2"))]
    board = board_of(tmp_path, FakeRun(final=final, transfers=[transfer("earlier")]))
    table, wide = accuracy_table(board), wide_table([board])
    assert "pgd-40 a=eps/4 any" in table.columns
    assert "transfer from=earlier pgd-40" in table.columns
    assert not [name for name in table.columns if "pgd" in name and ("l2" in name or "linf" in name)]
    for attack in (*final, transfer("earlier")):
        for name, _ in attack.outcomes:
            assert f"ACC_lopezpaz2017 {name} low" in wide.columns, name
