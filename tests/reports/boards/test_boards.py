"""Boards: ranked rows, rows below the line, and their reasons."""

from dataclasses import replace

import numpy as np
import pytest

from reports.boards import building
from reports.boards.board import Seed
from reports.boards.building import build_boards
from reports.boards.measures import measures_of
from reports.numbers.metrics import accuracy_matrix
from results import load
from tests.reports.sweep_cases import evidence_of
from tests.reports.synthetic_runs import (
    FakeRun,
    autoattack,
    clean,
    demand,
    fgsm,
    inside,
    pgd,
    probe_facts,
    rescaled,
    transfer,
    write_run,
)


def boards(tmp_path, *fakes):
    for fake in fakes:
        write_run(tmp_path, fake)
    return {board.preset: board for board in build_boards(load(tmp_path, None))}


def only(tmp_path, *fakes):
    (board,) = boards(tmp_path, *fakes).values()
    return board


def test_better_methods_come_first(tmp_path):
    board = only(tmp_path, FakeRun("weak", quality=0.9), FakeRun("strong", quality=2.4))
    assert [(row.rank, row.label) for row in board.rows] == [(1, "strong"), (2, "weak")]


def test_equal_methods_share_a_rank(tmp_path):
    board = only(tmp_path, FakeRun("one", quality=1.6), FakeRun("other", quality=1.65))
    assert [row.rank for row in board.rows] == [1, 1]


def test_rows_are_in_the_order_of_their_accuracy_and_not_of_their_rank(tmp_path, monkeypatch):
    """A row that differs from seed to seed may share the rank of much better ones, and a steadier one between them may not."""
    for label, quality in (("high", 2.0), ("middle", 1.2), ("low", 0.4)):
        write_run(tmp_path, FakeRun(label, quality=quality))
    monkeypatch.setattr(building, "ranks", lambda labels, comparisons: {"high": 1, "middle": 2, "low": 1})
    (board,) = build_boards(load(tmp_path, None))
    assert [(row.label, row.rank) for row in board.ranked] == [("high", 1), ("middle", 2), ("low", 1)]


def test_seeds_are_one_row(tmp_path):
    board = only(tmp_path, *(FakeRun(seed=seed) for seed in range(3)))
    (row,) = board.rows
    assert row.seed_values == [0, 1, 2]
    assert row.measures.interval == "t-interval over 3 seeds"
    assert only(tmp_path / "one", FakeRun()).rows[0].measures.interval == "test-set noise only"


def test_a_check_passed_if_it_passed_on_every_seed(tmp_path):
    asked = {seed: probe_facts(3) if seed else [] for seed in range(2)}
    board = only(tmp_path, *(FakeRun(seed=seed, facts=facts) for seed, facts in asked.items()))
    (row,) = board.rows
    statuses = {
        seed.run.seed: {verdict.check: verdict.status for verdict in seed.verdicts}["repeatable"] for seed in row.seeds
    }
    assert statuses == {0: "not_run", 1: "pass"}
    alone = only(tmp_path / "alone", FakeRun(facts=[])).rows[0]
    assert row.checks == alone.checks


def test_an_older_row_of_the_same_label_is_superseded(tmp_path):
    old = FakeRun(quality=2.5, settings={"epochs": 1}, demanded_at="2025-01-01T00:00:00+00:00")
    board = only(tmp_path, FakeRun(), old)
    assert [row.verdict for row in board.ranked] == ["pass"]
    (below,) = board.below
    assert below.verdict == "superseded"
    assert below.reason.startswith("superseded")


def test_a_published_row_is_not_superseded_by_a_run_on_other_data(tmp_path):
    for label in ("one", "other"):
        write_run(tmp_path / "published" / "digits", FakeRun(label, demanded_at="2025-01-01T00:00:00+00:00"))
    write_run(tmp_path / "runs", FakeRun("one", samples=60, settings={"another": 1}))
    (board,) = build_boards(load(tmp_path / "runs", tmp_path / "published"))
    assert {row.label for row in board.ranked} == {"one", "other"}
    (below,) = board.below
    assert (below.label, below.verdict, below.published) == ("one", "other protocol", False)
    assert below.reason.endswith("of other data")


def test_demanding_the_old_settings_again_makes_them_current(tmp_path):
    old = FakeRun(settings={"epochs": 1}, demanded_at="2025-01-01T00:00:00+00:00")
    store = write_run(tmp_path, old)
    write_run(tmp_path, FakeRun())
    old.demanded_at = "2027-01-01T00:00:00+00:00"
    demand(store, old)
    (board,) = build_boards(load(tmp_path, None))
    assert board.ranked[0].identity == store.read().row


def test_a_failed_run_is_below_the_line_with_its_message(tmp_path):
    failure = {"stage": "train", "task": 1, "kind": "RuntimeError", "message": "out of\nmemory"}
    board = only(tmp_path, FakeRun(), FakeRun("broken", learned=1, failure=failure))
    (below,) = board.below
    assert (below.verdict, below.reason) == ("failed", "failed: task 1: out of memory")


def test_a_partial_run_says_how_far_it_is(tmp_path):
    board = only(tmp_path, FakeRun("half", tasks=5, learned=3))
    (below,) = board.below
    assert (below.verdict, below.reason) == ("incomplete", "incomplete: 3 of 5 tasks")
    assert np.isnan(below.acc)


def test_missing_final_attacks_are_incomplete_and_give_no_worst(tmp_path):
    store = write_run(tmp_path, FakeRun(), by_cell=True)
    for path in (store.directory / "predictions").glob("pgd40-*"):
        path.unlink()
    (board,) = build_boards(load(tmp_path, None))
    (below,) = board.below
    assert below.reason == "incomplete: 1 of 5 final attacks missing"
    assert np.isnan(below.acc)


def test_fewer_samples_than_demanded_are_incomplete(tmp_path):
    assert only(tmp_path / "a", FakeRun(final=[pgd(40, samples=15)])).ranked
    board = only(tmp_path / "b", FakeRun(final=[pgd(40, samples=15)], demands={pgd(40).name: 20}))
    assert board.below[0].verdict == "incomplete"
    assert only(tmp_path / "c", FakeRun(final=[pgd(40, samples=15)], demands={pgd(40).name: 10})).ranked


def test_a_run_with_nothing_stored_yet(tmp_path):
    board = only(tmp_path, FakeRun(learned=0))
    assert board.below[0].reason == "incomplete: 0 of 3 tasks"


def test_one_incomplete_seed_takes_the_row_off_the_ranking(tmp_path):
    board = only(tmp_path, FakeRun(seed=0), FakeRun(seed=1, learned=1))
    (below,) = board.below
    assert below.reason == "incomplete: seed 1: 1 of 3 tasks"
    assert not np.isnan(below.acc)


def test_a_method_that_learns_all_at_once_is_complete(tmp_path):
    (row,) = only(tmp_path, FakeRun("joint_at", all_at_once=True)).ranked
    assert not np.isnan(row.acc)
    assert np.isnan(row.measures.value("F_chaudhry2018 clean"))
    assert np.isnan(row.measures.value("BWT_lopezpaz2017 clean"))


def test_prerequisites_are_no_rows(tmp_path):
    board = only(tmp_path, FakeRun(), FakeRun("single_task_at", row_of_preset=False))
    assert [row.label for row in board.rows] == ["naive"]


def test_one_board_per_preset(tmp_path):
    found = boards(tmp_path, FakeRun(), FakeRun(preset="other", settings={"a": 1}))
    assert list(found) == ["digits", "other"]
    assert all(len(board.rows) == 1 for board in found.values())


def test_another_eps_is_not_ranked_with_the_rest(tmp_path):
    odd = FakeRun("odd", eps="1/10", matrix=[clean(), pgd(10, "1/10")], final=[])
    board = only(tmp_path, FakeRun("one"), FakeRun("other"), odd)
    (below,) = board.below
    assert (below.label, below.verdict) == ("odd", "other protocol")
    assert "eps 1/10" in below.reason


def test_fewer_attacks_than_the_others_is_a_warning(tmp_path):
    board = only(tmp_path, FakeRun("all"), FakeRun("few", final=[]))
    few = next(row for row in board.ranked if row.label == "few")
    assert few.verdict == "warn"
    assert "worst is without" in few.reason


def test_references_are_rows_of_the_same_seed(tmp_path):
    fakes = [FakeRun("cmat", seed=0), FakeRun("cmat", seed=1), FakeRun("joint_at", all_at_once=True, quality=2.5)]
    fakes += [FakeRun("single_task_at", forgets=0.0, quality=2.2, seed=seed) for seed in range(2)]
    rows = {row.label: row for row in only(tmp_path, *fakes).rows}
    assert rows["cmat"].measures.value("I_single_task clean") > 0
    # There is no joint_at of seed 1.
    assert np.isnan(rows["cmat"].measures.value("I_joint clean"))
    assert rows["single_task_at"].measures.value("I_single_task clean") == 0


def test_final_attacks_on_a_subset_limit_worst_to_it(tmp_path):
    (row,) = only(tmp_path, FakeRun(final=[pgd(40, samples=15)])).rows
    assert row.measures.value("samples worst") == 45


def test_published_runs_take_part(tmp_path):
    write_run(tmp_path / "runs", FakeRun("mine"))
    write_run(tmp_path / "published" / "digits", FakeRun("theirs", quality=2.5))
    (board,) = build_boards(load(tmp_path / "runs", tmp_path / "published"))
    assert {row.label: row.published for row in board.ranked} == {"mine": False, "theirs": True}


@pytest.mark.parametrize("attack", ["clean", "worst"])
def test_intervals_hold_the_number(tmp_path, attack):
    (row,) = only(tmp_path, FakeRun()).rows
    bounds = row.measures.bounds(f"ACC_lopezpaz2017 {attack}")
    assert bounds.low < row.measures.value(f"ACC_lopezpaz2017 {attack}") < bounds.high


def test_worst_at_another_norm_or_eps_is_over_the_attacks_there_and_ranks_nobody(tmp_path):
    half, l2 = pgd(40, "1/10", power=0.6), pgd(40, norm="l2", power=0.8)
    board = only(tmp_path, FakeRun("one", final=[fgsm("1/10"), half, l2, pgd(40)]), FakeRun("other", quality=2.5))
    (row,) = [row for row in board.rows if row.label == "one"]
    outcomes = row.seeds[0].evidence.outcomes
    for name, attacks in (("worst linf 25.5/255", [fgsm("1/10"), half]), ("worst l2 51/255", [l2])):
        names = ["clean", *(outcome for attack in attacks for outcome, _ in attack.outcomes)]
        for task in range(3):
            right = np.min([outcomes.vector(each, 2, task) for each in names], 0)
            assert np.array_equal(outcomes.vector(name, 2, task), right)
        assert np.isfinite(row.measures.bounds(f"ACC_lopezpaz2017 {name}").low)
    assert row.acc == row.measures.value("ACC_lopezpaz2017 worst") < row.measures.value(f"ACC_lopezpaz2017 {name}")


def test_worst_counts_compositions_and_transfers(tmp_path):
    alone = only(tmp_path / "a", FakeRun()).rows[0].acc
    assert only(tmp_path / "b", FakeRun(final=[autoattack({}, power=2)])).rows[0].acc < alone
    assert only(tmp_path / "c", FakeRun(transfers=[transfer("earlier", power=2)])).rows[0].acc < alone


def test_nobody_is_blamed_for_a_transfer_that_needs_another_run(tmp_path):
    board = only(tmp_path, FakeRun("all", transfers=[transfer("earlier", 0.1)]), FakeRun("joint_at"))
    assert {row.label: (row.verdict, row.reason) for row in board.rows} == {
        "all": ("pass", ""),
        "joint_at": ("pass", ""),
    }


def breaks_ten_more(name, i, j, margin):
    """The extra attack breaks the first ten samples of every task, which all others leave."""
    extra = any(kind in name for kind in ("inside", "rescaled"))
    return np.r_[np.full(10, -1.0 if extra else 1.0), margin[10:]]


@pytest.mark.parametrize("attack", [inside(power=0.0), rescaled("1/100", power=0.0)], ids=["inside", "rescaled"])
def test_what_an_extra_attack_broke_counts_in_worst_and_has_no_column(tmp_path, attack):
    few = replace(attack, samples=20)
    with_, without = (
        only(tmp_path / name, FakeRun(checks=checks, edit_margin=breaks_ten_more))
        for name, checks in (("with", [few]), ("without", []))
    )
    (row,), (other,) = with_.rows, without.rows
    assert row.acc == pytest.approx(other.acc - 10 / 40)
    assert few.name not in row.seeds[0].evidence.outcomes.correct
    assert set(row.measures.values) == set(other.measures.values)


@pytest.mark.parametrize("elsewhere", [inside(eps="1/10"), replace(inside(), kind="fgsm")])
def test_extra_attacks_of_another_ball_or_kind_change_no_number(tmp_path, elsewhere):
    run = FakeRun(checks=[elsewhere], edit_margin=breaks_ten_more)
    (row,) = only(tmp_path, run).rows
    (other,) = only(tmp_path / "without", FakeRun(edit_margin=breaks_ten_more)).rows
    assert row.acc == other.acc


def breaks_one_more(name, i, j, margin):
    return np.r_[-1.0 if "inside" in name else 1.0, margin[1:]]


def test_a_row_without_an_extra_attack_is_warned_of_only_if_that_attack_found_more_elsewhere(tmp_path):
    for edit, expected in ((breaks_one_more, "worst is without inside-6 linf 51/255"), (None, "")):
        one = FakeRun("one", checks=[inside(power=0.0)], edit_margin=edit)
        rows = {row.label: row for row in only(tmp_path / str(edit), one, FakeRun("other", edit_margin=edit)).rows}
        assert rows["other"].reason == expected
        assert "without" not in rows["one"].reason


def test_numbers_of_an_older_version_than_the_preset_demands_are_not_held(tmp_path):
    """A published record, say: its preset has demanded a newer version since, and nothing was run again."""
    usual = {"final": [pgd(40)], "matrix": [clean(), pgd(10)]}
    of_today = dict.fromkeys(("clean", pgd(10).name), 1) | {pgd(40).name: 2}
    older = only(tmp_path / "a", FakeRun(**usual, protocol={"versions": of_today})).rows[0]
    assert (older.verdict, older.reason) == ("incomplete", "incomplete: 1 of 1 final attacks missing")
    assert older.rank is None
    newer = only(tmp_path / "b", FakeRun(matrix=usual["matrix"], final=[replace(pgd(40), version=2)])).rows[0]
    assert newer.rank == 1
    silent = only(tmp_path / "c", FakeRun(**usual, protocol={"versions": {}})).rows[0]
    assert silent.rank == 1


def test_a_network_that_never_changed_forgot_nothing_however_many_images_are_attacked_at_the_end(tmp_path):
    evidence = evidence_of(tmp_path, samples=60)
    outcomes, attack = evidence.outcomes, pgd(10).name
    unchanged = {
        (i, j): np.where(
            np.arange(60) < (60 if i == outcomes.last else 20), outcomes.vector(attack, outcomes.last, j), -1
        )
        for i in range(outcomes.tasks)
        for j in range(i + 1)
    }
    more = replace(evidence, outcomes=replace(outcomes, correct={**outcomes.correct, attack: unchanged}))
    found = measures_of([Seed(more, [])], {}, {})
    before = measures_of([Seed(evidence, [])], {}, {})
    assert found.values[f"F_chaudhry2018 {attack}"] == found.values[f"BWT_lopezpaz2017 {attack}"] == 0
    interval = found.intervals[f"F_chaudhry2018 {attack}"]
    assert interval.low == interval.high == 0
    assert found.values[f"ACC_lopezpaz2017 {attack}"] == before.values[f"ACC_lopezpaz2017 {attack}"]
    assert accuracy_matrix(more.outcomes, attack)[0, 0] != accuracy_matrix(more.outcomes, attack)[-1, 0], (
        "or nothing is asked"
    )
