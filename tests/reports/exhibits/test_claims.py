"""The thesis' claims are asked of a board's own rows, decided by paired differences over seeds, and not by one seed."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from reports.exhibits.claims import (
    CONFIRMED,
    NOT_RANKED,
    NOT_RUN,
    ONE_SEED,
    REFUTED,
    UNDECIDED,
    answers,
    claims_caption,
    claims_table,
    claims_table_for_reading,
)
from reports.exhibits.claims_figure import claims_figure
from reports.exhibits.exhibits import Exhibits
from reports.exhibits.pages import CLAIMS, exhibit_files, exhibits_latex, exhibits_page, on_page
from reports.figures.style import paper_style
from reports.numbers.metrics import WORST
from reports.numbers.statistics.comparisons import RowOutcomes, later_against_first
from tests.reports.exhibits.test_exhibits import EIGHT, SCENARIO, exhibits, fake, stored, sweep
from tests.reports.figure_words import drawn_texts, outside, overlapping, words
from tests.reports.synthetic_runs import pgd, write_run

SEEDS = (0, 1, 2)


def seeds_of(method: str, seeds=SEEDS, **fields: object) -> list:
    return [replace(fake(method, samples=200, **fields), seed=seed) for seed in seeds]


@pytest.fixture(scope="module")
def three(tmp_path_factory: pytest.TempPathFactory) -> Exhibits:
    """PackNet is the best by far, and CMAT no better than plain adversarial training; nobody ran ANP-VS."""
    rows = [
        *seeds_of("packnet", quality=3.0, final=sweep()),
        *seeds_of("cmat", quality=1.6, final=sweep(), costs={"train_gradient_evaluations": 380.0}),
        *seeds_of("madry_at", quality=1.6, final=sweep(), costs={"train_gradient_evaluations": 200.0}),
        *seeds_of("single_task_at", quality=2.2, forgets=0.4, final=sweep()),
    ]
    return exhibits(stored(tmp_path_factory.mktemp("three"), *rows))


def says(found: Exhibits) -> dict[tuple[str, str], str]:
    return {(answer.claim, answer.under): answer.verdict for answer in answers(found)}


def test_a_claim_is_confirmed_refuted_undecided_or_was_not_run(three: Exhibits) -> None:
    found = says(three)
    for under in (WORST, "pgd-10 any"):
        assert found["packnet is above madry_at", under] == CONFIRMED
        assert found["cmat is above packnet", under] == REFUTED
        assert found["cmat is above madry_at", under] == UNDECIDED
        assert found["cmat is above anp_vs", under] == NOT_RUN


def test_the_difference_is_that_of_the_rows(three: Exhibits) -> None:
    lines = claims_table(three).set_index(["claim", "under"])
    packnet, plain = three.row_of("packnet"), three.row_of("madry_at")
    assert packnet is not None
    assert plain is not None
    line = lines.loc[("packnet is above madry_at", WORST)]
    assert line["difference"] == pytest.approx(packnet.acc - plain.acc)
    assert line["low"] < line["difference"] < line["high"]
    assert (line["seeds"], line["samples"]) == (3, 3 * 20)
    assert line["published"] == pytest.approx(0.4113 - 0.3247)
    assert lines.loc[("packnet is above madry_at", "pgd-10 any"), "samples"] == 3 * 200


def test_a_row_that_is_not_ranked_answers_no_claim(tmp_path: Path) -> None:
    """It was run, so the page does not say that it was not."""
    failure = {"stage": "train", "message": "no"}
    failed = [*seeds_of("anp_vs", learned=1, failure=failure), *seeds_of("cmat", learned=1, failure=failure)]
    board = exhibits(stored(tmp_path, *seeds_of("packnet", final=sweep()), *failed))
    found = says(board)
    assert found["packnet is above anp_vs", WORST] == NOT_RANKED
    assert found["cmat: later tasks are above the first", "pgd-10 any"] == NOT_RANKED
    assert found["packnet is above madry_at", WORST] == NOT_RUN
    _, figure = claims_figure(board) or ("", None)
    assert figure is not None
    assert not {NOT_RANKED, NOT_RUN} & {text.get_text() for text in drawn_texts(figure)}


def test_a_claim_says_how_much_longer_the_first_method_trains(three: Exhibits) -> None:
    lines = claims_table(three).set_index(["claim", "under"])["training"]
    assert lines["cmat is above madry_at", WORST] == pytest.approx(1.9)
    # These rows say nothing of PackNet's training, and the other claims are about one method.
    assert lines.drop("cmat is above madry_at", level="claim").isna().all()
    text = claims_table_for_reading(three).set_index(["claim", "under"])["training"]
    assert text["cmat is above madry_at", WORST] == "1.9x"
    assert text["cmat is above packnet", WORST] == ""


def test_one_seed_decides_nothing(tmp_path: Path) -> None:
    found = exhibits(stored(tmp_path, fake("packnet", quality=3.0, samples=200), fake("madry_at", samples=200)))
    lines = claims_table(found).set_index("claim")
    assert (lines.loc["packnet is above madry_at", "p"] < 0.001).all()
    assert set(lines.loc["packnet is above madry_at", "answer"]) == {ONE_SEED}


def test_longer_attacks_are_compared_on_the_images_of_both(three: Exhibits) -> None:
    (line,) = [each for each in answers(three) if each.claim == "more steps cost packnet accuracy"]
    assert line.under == "pgd-7 to -20 a=eps/4"
    assert line.published == pytest.approx(0.4482 - 0.3653)
    row = three.row_of("packnet")
    assert row is not None
    few, many = (row.measures.value(f"ACC_lopezpaz2017 pgd-{k} linf 8/255 a=2/255 any") for k in (7, 20))
    assert line.found is not None
    assert line.found.difference == pytest.approx(few - many)
    assert line.found.difference > 0


def test_no_bar_in_print_at_this_eps_is_no_published_difference(three: Exhibits) -> None:
    (line,) = [each for each in answers(three) if each.claim == "more steps cost cmat accuracy"]
    assert np.isnan(line.published)


def test_step_sizes_are_compared_where_they_were_run(tmp_path: Path) -> None:
    final = [pgd(10, EIGHT, size=size, power=power) for size, power in (("1/8", 0.5), ("1/2", 1.5))]
    found = exhibits(stored(tmp_path, *seeds_of("packnet", final=final)))
    (line,) = [each for each in answers(found) if each.claim == "larger steps cost packnet accuracy"]
    assert line.under == "pgd-10 a=eps/8 to eps/2"
    assert line.verdict == CONFIRMED


def test_on_other_data_nothing_is_published_and_what_was_not_run_is_not_listed(tmp_path: Path) -> None:
    rows = [*seeds_of("packnet", quality=3.0), *seeds_of("madry_at")]
    found = exhibits(stored(tmp_path, *rows, scenario="digits"))
    assert claims_table(found)["published"].isna().all()
    assert "published" not in claims_table_for_reading(found)
    assert "Published" not in claims_caption(found)
    assert NOT_RUN not in says(found).values()
    assert says(found)["packnet is above madry_at", WORST] == CONFIRMED


def test_no_claim_is_asked_without_the_thesis_methods_or_where_no_task_is_told(tmp_path: Path) -> None:
    assert answers(exhibits(stored(tmp_path / "others", fake("madry_at"), fake("anp_vs")))) == []
    settings = {"name": SCENARIO, "settings": {"protocol": "class"}, "fingerprint": "x"}
    write_run(tmp_path / "class", replace(fake("packnet"), identity={"scenario": settings, "eps": EIGHT}))
    assert answers(exhibits(tmp_path / "class")) == []


def test_the_claims_stand_in_every_output_of_a_report(three: Exhibits) -> None:
    assert f"### {CLAIMS}" in exhibits_page([three], lambda *_: None, "")
    assert "confirmed" in exhibits_page([three], lambda *_: None, "")
    assert "tab:exhibit-cifar100-claims" in exhibits_latex([three], "")
    assert on_page([three])["cifar100"][0].title == CLAIMS
    assert "cifar100__exhibit_claims" in dict(exhibit_files([three]))


def test_the_picture_has_a_line_per_claim_and_attack_that_was_measured(three: Exhibits) -> None:
    with paper_style():
        drawn = claims_figure(three)
    assert drawn is not None
    caption, figure = drawn
    assert caption.startswith(CLAIMS)
    texts = words(figure)
    assert texts.count("packnet is above madry_at") == 1, "the claim stands once, before both of its attacks"
    assert "cmat is above anp_vs" not in texts
    measured = [answer for answer in answers(three) if answer.verdict != NOT_RUN]
    for verdict in (CONFIRMED, REFUTED, UNDECIDED):
        # One more is in the legend.
        assert texts.count(verdict) == sum(answer.verdict == verdict for answer in measured) + 1
    assert not outside(figure)
    assert not overlapping(drawn_texts(figure))


def test_nothing_measured_is_no_picture(tmp_path: Path) -> None:
    assert claims_figure(exhibits(stored(tmp_path, fake("madry_at")))) is None


# -- later tasks ------------------------------------------------------------------------------------------------------


def outcomes(label: str, right: dict[int, list[float]], n: int = 400) -> RowOutcomes:
    """right: by seed the accuracy of each task."""
    ids = {seed: [np.arange(n)] * len(tasks) for seed, tasks in right.items()}
    return RowOutcomes(label, ids, {seed: [np.arange(n) < n * p for p in tasks] for seed, tasks in right.items()})


def test_later_tasks_are_compared_with_the_first() -> None:
    row = outcomes("row", {0: [0.2, 0.5, 0.6], 1: [0.25, 0.5, 0.6], 2: [0.2, 0.5, 0.7]})
    found = later_against_first(row)
    assert found.difference == pytest.approx(np.mean([0.35, 0.3, 0.4]))
    assert found.low < found.difference < found.high
    assert found.p < 0.05
    assert found.seeds == 3


@pytest.mark.parametrize("seeds", [(0,), (0, 1), SEEDS])
def test_a_first_task_that_is_hard_for_the_reference_too_counts_for_nothing(seeds: tuple[int, ...]) -> None:
    row = outcomes("row", {seed: [0.2, 0.6] for seed in seeds})
    assert later_against_first(row, row).difference == 0
    assert later_against_first(row, row).p == 1
    better = outcomes("better", {seed: [0.2, 0.9] for seed in seeds})
    assert later_against_first(better, row).difference == pytest.approx(0.3)
    assert later_against_first(better, row).p < 0.01


def test_seeds_that_disagree_decide_nothing_about_later_tasks() -> None:
    row = outcomes("row", {0: [0.4, 0.6], 1: [0.6, 0.4], 2: [0.4, 0.6]})
    assert later_against_first(row).p > 0.3


def test_one_task_or_no_common_seed_is_no_difference() -> None:
    one = outcomes("one", {0: [0.5]})
    assert np.isnan(later_against_first(one).difference)
    assert np.isnan(later_against_first(outcomes("a", {0: [0.5, 0.5]}), outcomes("b", {1: [0.5, 0.5]})).difference)


def test_the_reference_of_later_tasks_is_one_network_per_task(three: Exhibits) -> None:
    attack = "pgd-10 linf 8/255 a=2/255 any"
    rows = [three.row_of(method) for method in ("packnet", "single_task_at")]
    packnet, alone = (row.outcomes_under(attack) for row in rows if row is not None)
    gained = [
        [float(a.mean() - b.mean()) for a, b in zip(packnet.correct[seed], alone.correct[seed], strict=True)]
        for seed in SEEDS
    ]
    lines = claims_table(three).set_index("claim")["difference"]
    expected = np.mean([np.mean(later) - first for first, *later in gained])
    assert lines["packnet: later tasks gain more over single_task_at"] == pytest.approx(expected, abs=1e-6)
    first, *later = np.mean([[right.mean() for right in packnet.correct[seed]] for seed in SEEDS], 0)
    assert lines["packnet: later tasks are above the first"] == pytest.approx(np.mean(later) - first, abs=1e-6)


def test_the_claims_of_a_board_are_asked_once(three: Exhibits) -> None:
    assert answers(three) is answers(three)
