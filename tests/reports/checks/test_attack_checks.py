"""Checks of the attacks: of one eps and norm see no attack of another, and ladders have rungs of one field alone."""

import json
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest

from reports.boards.building import build_boards
from reports.checks import attacks as attack_checks
from reports.checks import black_boxes as black_box_checks
from reports.checks import gradients as gradient_checks
from reports.checks.check import FAIL, NOT_RUN, PASS, WARN
from results import load
from tests.reports.sweep_cases import evidence_of
from tests.reports.synthetic_runs import (
    FakeRun,
    autoattack,
    clean,
    distilled,
    fgsm,
    float32,
    inside,
    noise,
    pgd,
    square,
    transfer,
    write_run,
)


def verdict(tmp_path, check, **fields):
    return check(evidence_of(tmp_path, **fields))


def lift(amount, *names):
    """Margins of these attacks lifted, as if they were weaker."""
    return lambda name, i, j, margin: margin + amount if any(part in name for part in names) else margin


def other(attack, suffix, **rest):
    return replace(attack, name=f"{attack.name} {suffix}", rest=rest)


@pytest.mark.parametrize("rest", [{"targets": 3}, {"eot": 4}, {"random_start": False}, {"source": "cmat"}])
def test_a_ladder_has_no_rungs_of_other_settings(tmp_path, rest):
    weaker = other(pgd(40, power=0.1), "x", **rest)
    assert verdict(tmp_path / "a", attack_checks.not_rising_with_steps, final=[weaker]).status == NOT_RUN
    assert verdict(tmp_path / "b", attack_checks.not_rising_with_steps, final=[pgd(40, power=0.1)]).status == FAIL
    larger = other(pgd(10, "2/5", power=0.1), "x", **rest)
    assert verdict(tmp_path / "c", attack_checks.not_rising_with_eps, final=[larger]).status == NOT_RUN
    assert (
        verdict(tmp_path / "d", gradient_checks.converged, final=[other(pgd(40, power=2), "x", **rest)]).status
        == NOT_RUN
    )


def test_attacks_are_compared_on_the_samples_that_both_cover(tmp_path):
    few = replace(fgsm(), samples=15)
    assert verdict(tmp_path, attack_checks.pgd_below_baselines, final=[few], quality=4).status == PASS


def test_an_equal_eps_in_another_norm_is_not_the_rankings(tmp_path):
    evidence = evidence_of(tmp_path, final=[pgd(40, norm="l2"), fgsm()])
    assert evidence.ranking == ("linf", Fraction(1, 5))
    assert {attack.name for attack in evidence.at_ranking_eps()} == {pgd(10).name, fgsm().name}


def test_another_norm_is_another_ladder(tmp_path):
    found = evidence_of(tmp_path, final=[pgd(40, power=0.1, norm="l2"), pgd(10, "2/5", power=0.1, norm="l2")])
    assert attack_checks.not_rising_with_steps(found).status == NOT_RUN
    assert attack_checks.not_rising_with_eps(found).status == NOT_RUN
    assert gradient_checks.converged(found).status == NOT_RUN


@pytest.mark.parametrize(("power", "status"), [(None, PASS), (0.2, FAIL)])
def test_more_restarts_break_no_fewer_samples(tmp_path, power, status):
    final = [pgd(10, restarts=5, power=power)]
    assert verdict(tmp_path, attack_checks.not_rising_with_restarts, final=final).status == status


def test_restarts_of_other_steps_are_not_compared(tmp_path):
    found = verdict(tmp_path, attack_checks.not_rising_with_restarts, final=[pgd(7, restarts=5, power=0.1)])
    assert found.status == NOT_RUN


def test_restarts_of_attacks_without_iterates_are_compared_too(tmp_path):
    few, many = (replace(square(power), restarts=r, name=f"square r={r}") for r, power in ((1, 0.9), (5, 0.1)))
    assert verdict(tmp_path, attack_checks.not_rising_with_restarts, final=[few, many]).status == FAIL


def test_a_transfer_that_turns_wrong_answers_right_is_no_failure(tmp_path):
    fields = {"quality": 0.5, "transfers": [transfer("cmat")], "edit_margin": lift(2, "transfer")}
    assert verdict(tmp_path / "a", attack_checks.robust_below_clean, **fields).status == PASS
    fields["edit_margin"] = lift(3, "square")
    assert verdict(tmp_path / "b", attack_checks.robust_below_clean, final=[square()], **fields).status == FAIL


@pytest.mark.parametrize("kind", ["fab", "apgd"])
def test_the_mean_loss_of_a_search_may_fall_as_it_drops_what_it_broke(tmp_path, kind):
    falling = {"loss": [0.5, 0.2], "zero_gradients": [0.0], "non_finite": [0.0]}
    search = replace(pgd(100), kind=kind, name=f"{kind} linf 51/255", any_power=None, trace=falling)
    assert verdict(tmp_path, gradient_checks.loss_rises, final=[search]).status == PASS


def test_final_iterates_at_another_eps_are_not_the_rows_number(tmp_path):
    lost = pgd(40, "2/5", any_power=2.0)
    assert verdict(tmp_path / "a", attack_checks.final_close_to_any, final=[lost]).status == PASS
    assert verdict(tmp_path / "b", attack_checks.final_close_to_any, final=[pgd(40, any_power=2.0)]).status == WARN


def test_attacks_that_warn_of_their_settings_are_told(tmp_path):
    warned = replace(pgd(40, size="0"), trace={"loss": [1, 1], "warnings": ["step size 0: the attack stays"]})
    found = verdict(tmp_path / "a", gradient_checks.settings, final=[warned])
    assert (found.status, found.reason) == (WARN, f"{warned.name}: step size 0: the attack stays")
    assert verdict(tmp_path / "b", gradient_checks.settings, final=[pgd(40)]).status == PASS


def test_warnings_of_attacks_that_are_not_demanded_say_nothing(tmp_path):
    warned = replace(pgd(40), trace={"loss": [1, 1], "warnings": ["step size 0"]})
    store = write_run(tmp_path, FakeRun(final=[warned]))
    config = json.loads((store.directory / "config.json").read_text())
    config["protocols"]["digits"]["final"] = []
    (store.directory / "config.json").write_text(json.dumps(config))
    (board,) = build_boards(load(tmp_path, None), [gradient_checks.settings])
    assert board.rows[0].seeds[0].verdicts[0].status == PASS


def breaks_alone(count, *names):
    """The first `count` samples of every task fall to these attacks and to no other but weak ones."""

    def edit(name, i, j, margin):
        edited = margin.copy()
        edited[:count] = -1.0 if any(part in name for part in names) else 1.0
        return edited

    return edit


@pytest.mark.parametrize(
    ("attack", "check"),
    [
        ("square", black_box_checks.black_box_below_white_box),
        ("transfer", black_box_checks.transfer_below_white_box),
        ("inside", black_box_checks.inside_below_white_box),
        ("distilled", black_box_checks.distilled_below_white_box),
    ],
)
@pytest.mark.parametrize(("count", "status"), [(0, PASS), (1, PASS), (2, WARN)])
def test_a_black_box_that_breaks_what_white_boxes_leave_warns(tmp_path, attack, check, count, status):
    # 3 tasks of 60: two per task are 6 of 180, one is 3; the margin is 3.6.
    extra = {"square": square(), "inside": inside(), "distilled": distilled()}
    fields = {"final": [extra[attack]]} if attack in extra else {"transfers": [transfer("single_task_at")]}
    edit = breaks_alone(count, attack)
    found = verdict(tmp_path, check, samples=60, edit_margin=edit, **fields)
    assert found.status == status
    assert attack in found.evidence
    assert len(found.samples) == 3 * count
    if status == WARN:
        assert "breaks 6 of 180 samples that no white-box attack breaks" in found.reason


@pytest.mark.parametrize(("count", "status"), [(1, PASS), (2, WARN), (8, FAIL)])
def test_what_float32_alone_breaks_counts_against_walks_in_low_precision(tmp_path, count, status):
    def in_bf16(record):
        record["precision"] = "bf16"

    fields = {"samples": 60, "final": [float32()], "edit_margin": breaks_alone(count, "float32")}
    check = black_box_checks.float32_below_fast
    assert verdict(tmp_path / "bf16", check, edit_evaluation=in_bf16, **fields).status == status
    exact = verdict(tmp_path / "fp32", check, **fields)
    assert (exact.status, exact.reason) == (NOT_RUN, "all attacks walk in float32")
    later = verdict(tmp_path / "none", check, edit_evaluation=in_bf16)
    assert later.status == NOT_RUN
    assert "run the preset again" in later.reason


def test_float32_is_compared_with_compositions_too_and_needs_no_walk_of_pgd(tmp_path):
    def in_bf16(record):
        record["precision"] = "bf16"

    def breaks(*names):
        return lambda name, i, j, margin: np.where(
            np.arange(len(margin)) < 8, -1.0 if any(part in name for part in names) else 1.0, 1.0
        )

    fields = {"samples": 60, "edit_evaluation": in_bf16, "matrix": [clean(), autoattack({})]}
    check = black_box_checks.float32_below_fast
    for name, found, status in (("lost", ["float32"], FAIL), ("kept", ["float32", "autoattack"], PASS)):
        verdict_ = verdict(tmp_path / name, check, final=[float32()], edit_margin=breaks(*found), **fields)
        assert verdict_.status == status
    mixed = verdict(
        tmp_path / "mixed", check, final=[pgd(40), float32()], edit_margin=breaks("float32", "auto"), **fields
    )
    assert mixed.status == PASS
    alone = verdict(tmp_path / "alone", check, **{**fields, "matrix": [clean(), float32()], "final": []})
    assert (alone.status, alone.reason) == (NOT_RUN, "no attack of the preset at its eps walks in lower precision")


def test_two_samples_are_luck_however_few_there_are(tmp_path):
    for count, status in ((2, PASS), (3, WARN)):
        edit = breaks_alone(count, "square")
        fields = {"tasks": 1, "samples": 20, "final": [square()], "edit_margin": edit}
        assert verdict(tmp_path / str(count), black_box_checks.black_box_below_white_box, **fields).status == status


@pytest.mark.parametrize(("count", "status"), [(2, WARN), (3, FAIL)])
def test_more_than_luck_explains_fails_even_if_white_boxes_find_more_elsewhere(tmp_path, count, status):
    def edit(name, i, j, margin):
        edited = np.ones(len(margin))
        edited[:count] = -1.0 if "inside" in name else 1.0
        edited[count : 4 * count] = -1.0 if "pgd" in name else 1.0
        return edited

    # 3 tasks of 54: 2 % are 3.2 samples. Six are possible (p = 0.11), nine are not (p = 0.006).
    fields = {"samples": 54, "final": [pgd(40), inside()], "edit_margin": edit}
    assert verdict(tmp_path, black_box_checks.inside_below_white_box, **fields).status == status


def test_an_attack_inside_the_ball_is_no_white_box(tmp_path):
    edit = breaks_alone(10, "square", "inside", "distilled")
    fields = {"final": [inside(), distilled(), square()], "edit_margin": edit}
    assert verdict(tmp_path, black_box_checks.black_box_below_white_box, **fields).status == FAIL


def test_a_black_box_that_is_significantly_stronger_fails_within_the_margin(tmp_path):
    def blind(name, i, j, margin):
        edited = np.ones(len(margin))
        edited[: 3 if "square" in name else 0] = -1.0
        return edited

    # 9 of 600 are 1.5 %: within the margin, but white-box attacks break nothing at all.
    fields = {"samples": 200, "final": [square()], "edit_margin": blind}
    assert verdict(tmp_path, black_box_checks.black_box_below_white_box, **fields).status == FAIL


@pytest.mark.parametrize(
    "elsewhere",
    [square(eps="2/5"), replace(square(), norm="l2", name="square l2 51/255"), noise()],
)
def test_black_boxes_of_another_norm_or_eps_and_noise_are_not_held_to_these_white_boxes(tmp_path, elsewhere):
    edit = breaks_alone(20, elsewhere.name)
    found = verdict(tmp_path, black_box_checks.black_box_below_white_box, final=[elsewhere], edit_margin=edit)
    assert found.status == NOT_RUN


def test_what_autoattack_found_with_square_is_no_white_box(tmp_path):
    standing = {"clean": 40, "apgd ce": 20, "square": 20}
    edit = breaks_alone(10, "square", "autoattack")
    fields = {"final": [square(), autoattack(standing)], "edit_margin": edit}
    assert verdict(tmp_path, black_box_checks.black_box_below_white_box, **fields).status == FAIL


@pytest.mark.parametrize(("name", "status"), [("torchattacks:Square", FAIL), ("torchattacks:CW", NOT_RUN)])
def test_black_boxes_of_torchattacks_are_black_boxes(tmp_path, name, status):
    algorithm = name.partition(":")[2]
    attack = replace(square(), kind="torchattacks", name=f"{name} linf 51/255", rest={"algorithm": algorithm})
    edit = breaks_alone(10, name)
    found = verdict(tmp_path, black_box_checks.black_box_below_white_box, final=[attack], edit_margin=edit)
    assert found.status == status


@pytest.mark.parametrize(("left", "status"), [(38, PASS), (37, PASS), (36, WARN)])
def test_square_inside_autoattack_is_held_to_what_its_gradient_attacks_left(tmp_path, left, status):
    # 3 tasks of 60: the margin is 3.6 of 180 samples.
    standing = {"clean": 57, "apgd ce": 40, "apgd-t dlr": 38, "fab-t": 38, "square": left}
    found = verdict(tmp_path, black_box_checks.black_box_below_white_box, samples=60, final=[autoattack(standing)])
    assert found.status == status
    assert found.evidence == f"square in autoattack linf 51/255: {3 * (38 - left)} of 180 samples"


@pytest.mark.parametrize(
    ("by_square", "breakers", "status"),
    [(10, ["autoattack"], FAIL), (10, ["autoattack", "pgd"], WARN), (2, ["autoattack"], WARN)],
    ids=["many that nothing else breaks", "other white boxes break them too", "few"],
)
def test_square_inside_autoattack_fails_a_row_by_what_luck_does_not_explain(tmp_path, by_square, breakers, status):
    # 3 tasks of 60: luck explains six of 180 and not thirty.
    standing = {"clean": 57, "apgd ce": 40, "apgd-t dlr": 38, "fab-t": 38, "square": 38 - by_square}
    fields = {"samples": 60, "final": [pgd(40), autoattack(standing)], "edit_margin": breaks_alone(10, *breakers)}
    assert verdict(tmp_path, black_box_checks.black_box_below_white_box, **fields).status == status


def test_a_composition_in_the_matrix_counts_after_the_last_task_alone(tmp_path):
    matrix = [clean(), pgd(10), autoattack({"apgd ce": 40, "square": 39})]
    found = verdict(tmp_path, black_box_checks.black_box_below_white_box, samples=60, matrix=matrix)
    assert found.evidence.endswith(": 3 of 180 samples")


def test_what_gradient_attacks_find_after_each_other_is_no_black_box(tmp_path):
    standing = {"clean": 57, "apgd ce": 40, "apgd-t dlr": 10, "fab-t": 2, "square": 2}
    found = verdict(tmp_path, black_box_checks.black_box_below_white_box, final=[autoattack(standing)])
    assert found.status == PASS


def test_merged_directories_and_older_versions_do_not_count_twice(tmp_path):
    standing = {"clean": 57, "apgd ce": 40, "square": 39}
    store = write_run(tmp_path, FakeRun(samples=60, final=[autoattack(standing)]), by_cell=True)
    folder = store.directory / "evaluations"
    for path in folder.glob("autoattack*"):
        (folder / f"again-{path.name}").write_bytes(path.read_bytes())
    (board,) = build_boards(load(tmp_path, None), [black_box_checks.black_box_below_white_box])
    assert board.rows[0].seeds[0].verdicts[0].evidence.endswith(": 3 of 180 samples")
