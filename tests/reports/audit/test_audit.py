"""Effects of an audit: paired differences that are what they say, a remainder that makes them add up, and honest intervals."""

from __future__ import annotations

import io
import itertools
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from rich.console import Console

from reports.audit.audited_row import CANONICAL, AuditedRow
from reports.audit.effects import (
    INTERACTION,
    SUM,
    effects_of,
    effects_table,
)
from reports.audit.files import AuditReport, Written, show, write
from reports.audit.signature import logged, signature_of, signature_table
from reports.audit.small_tables import (
    BATCH,
    Predicted,
    above_chance,
    batches_table,
    comparator_table,
    f1_in_words,
    f1_table,
    last_batch,
    seeds_table,
    weighted_scores,
)
from reports.numbers.published_values import REFERENCE, read_published, thesis_f1_table
from reports.numbers.statistics.contrasts import SeedOutcomes, contrast

TASKS, N = 2, 100


def outcomes(shares: Sequence[float], seeds: int = 1) -> SeedOutcomes:
    """The first share of each task's samples right; every further seed one sample less."""
    return {
        seed: [np.arange(N) < round(share * N) - seed for share in shares]  # nested: the smaller set lies in the larger
        for seed in range(seeds)
    }


def row(switch: str, reported: Sequence[float], seeds: int = 1, **fields: object) -> AuditedRow:
    found = outcomes(reported, seeds)
    clean = outcomes([0.9] * TASKS, seeds)
    return replace(AuditedRow("madry_at", switch, found, clean, found), **fields)


ROWS = [
    row(CANONICAL, [0.4, 0.2]),
    row("eps", [0.6, 0.4]),
    row("step_size", [0.5, 0.2]),
    row("all", [0.7, 0.5], bundle=True, parts=("eps", "step_size")),
]


def test_an_effect_is_the_mean_over_tasks_of_the_difference() -> None:
    effects = {effect.switch: effect for effect in effects_of(ROWS)}
    assert effects["eps"].effect == pytest.approx(0.2)
    assert effects["step_size"].effect == pytest.approx(0.05)
    assert effects[CANONICAL].effect == 0
    assert effects[CANONICAL].reported == pytest.approx(0.3)


def test_single_effects_and_the_interaction_add_up_to_the_total() -> None:
    effects = {effect.switch: effect for effect in effects_of(ROWS)}
    assert effects[SUM].effect == pytest.approx(0.25)
    assert effects[INTERACTION].effect == pytest.approx(0.3 - 0.25)
    assert effects[SUM].effect + effects[INTERACTION].effect == pytest.approx(effects["all"].effect)
    assert [effect.switch for effect in effects_of(ROWS)][-3:] == ["all", SUM, INTERACTION]


def test_without_all_its_parts_a_bundle_has_no_remainder() -> None:
    found = [effect.switch for effect in effects_of([ROWS[0], ROWS[1], ROWS[3]])]
    assert found == [CANONICAL, "eps", "all"]


def test_intervals_are_paired() -> None:
    # 20 discordant of 100 in each of two tasks, all of one sign: sd of the mean difference is sqrt(.2 * .8 / 100 / 2).
    effect = next(effect for effect in effects_of(ROWS) if effect.switch == "eps")
    half = 1.96 * np.sqrt(0.2 * 0.8 / 100 / 2)
    assert effect.bounds.high - effect.effect == pytest.approx(half, rel=0.15)
    # Equal outcomes have no difference in any resample.
    same, bounds = contrast([(1.0, ROWS[0].reported), (-1.0, ROWS[0].reported)])
    assert (same, bounds.low, bounds.high) == (0, 0, 0)


def test_three_seeds_give_a_t_interval_over_paired_seeds() -> None:
    several = [row(CANONICAL, [0.4, 0.2], 3), row("eps", [0.6, 0.4], 3)]
    effect = effects_of(several)[1]
    # Every seed has the same difference: seeds vary, and the paired difference does not.
    assert effect.effect == pytest.approx(0.2)
    assert (effect.bounds.low, effect.bounds.high) == (pytest.approx(0.2), pytest.approx(0.2))
    assert effects_table(several)["interval"][1] == "t-interval over 3 seeds"


def test_the_table_keeps_what_the_network_itself_lost() -> None:
    rows = [ROWS[0], replace(ROWS[1], same_network=outcomes([0.3, 0.1]))]
    found = effects_table(rows).set_index("switch").loc["eps"]
    assert found["same_network"] == pytest.approx(0.2)
    assert found["of_network"] == pytest.approx(-0.1)


def test_the_signature_is_attacked_above_clean() -> None:
    names = ["first", "second"]
    off = signature_of(row(CANONICAL, [0.4, 0.2]), names)
    assert (off.above, off.verdict) == (0, "absent")
    on = signature_of(row("all", [0.97, 0.99]), names)
    assert (on.above, on.verdict) == (2, "appears")
    assert on.difference == pytest.approx(0.08)
    mixed = signature_of(row("all", [0.91, 0.89]), names)
    assert (mixed.above, mixed.verdict) == (1, "undecided")
    equal = signature_of(row("all", [0.9, 0.9]), names)
    assert (equal.above, equal.verdict) == (0, "absent")


def test_the_thesis_logs_have_it_on_nineteen_of_twenty_tasks() -> None:
    thesis = logged(pd.read_csv(REFERENCE / "cifar100_single_task_logs.csv"))
    assert (thesis.above, len(thesis.tasks)) == (19, 20)
    means = signature_table([thesis]).set_index("task").loc["mean"]
    assert means["attacked"] == pytest.approx(0.514, abs=5e-4)
    assert means["clean"] == pytest.approx(0.360, abs=5e-4)


# -- small tables -----------------------------------------------------------------------------------------------------------


def task_of(classes: int, right: int, size: int) -> Predicted:
    """Sorted by class, `right` of `size` images of each class right, the others taken for the next class."""
    labels = np.repeat(np.arange(classes), size)
    wrong = np.tile(np.arange(size) >= right, classes)
    return Predicted("a task", labels, np.where(wrong, (labels + 1) % classes, labels))


def test_the_last_batch_is_what_is_left_over_in_class_order() -> None:
    task = task_of(5, 50, 100)
    last = last_batch(task)
    assert len(last.labels) == 500 % 32
    assert set(last.labels) == {4}
    assert len(last_batch(task_of(2, 8, 16)).labels) == 32


def test_weighted_precision_of_one_class_is_one_and_f1_flatters() -> None:
    last = last_batch(task_of(5, 90, 100))
    precision, recall, f1 = weighted_scores(last)
    assert (precision, recall) == (1.0, 0.5)
    assert f1 == pytest.approx(2 / 3)


def test_weighted_scores_are_those_of_scikit_learn() -> None:
    from sklearn.metrics import precision_recall_fscore_support

    rng = np.random.default_rng(0)
    labels, predicted = rng.integers(0, 4, 60), rng.integers(0, 5, 60)
    expected = precision_recall_fscore_support(labels, predicted, average="weighted", zero_division=0)[:3]
    assert weighted_scores(Predicted("a task", labels, predicted)) == pytest.approx(expected)


def test_f1_is_given_for_all_samples_and_for_the_last_batch() -> None:
    found = f1_table([task_of(5, 60, 100), task_of(5, 80, 100)]).set_index(["task", "part"])
    assert found.loc[("mean", "all samples"), "accuracy"] == pytest.approx(0.7)
    assert found.loc[("mean", "all samples"), "macro_F1"] == pytest.approx(0.7)
    assert found.loc[("mean", "last batch"), "classes"] == 1


def many_classes(classes: int, right: float, seed: int = 0) -> Predicted:
    """Sorted by class, of 8 to 41 images each, of which a share is right."""
    rng = np.random.default_rng(seed)
    labels = np.repeat(np.arange(classes), rng.integers(8, 42, classes))
    other = (labels + rng.integers(1, classes, len(labels))) % classes
    return Predicted("birds", labels, np.where(rng.random(len(labels)) < right, labels, other))


def test_a_batch_of_one_class_flatters_and_whole_sets_of_many_unequal_classes_do_not() -> None:
    task = many_classes(200, 0.5)
    whole, last = f1_table([task]).iloc[0], f1_table([task]).iloc[1]
    assert (whole["samples"], whole["classes"]) == (len(task.labels), 200)
    assert whole["macro_F1"] == pytest.approx(0.5, abs=0.03)
    assert last["samples"] == len(task.labels) % 32
    batches = batches_table([task], 0.6).iloc[0]
    assert batches["batches"] == -(-len(task.labels) // 32)
    # Wrong answers are other classes than those of the batch, so hardly one of them lowers a precision.
    assert batches["weighted_F1_median"] > whole["macro_F1"] + 0.1
    # And each of these classes counts as much as those of the batch.
    assert batches["macro_F1_median"] < whole["macro_F1"] - 0.2
    assert 0.5 < batches["weighted_F1_as_printed"] < 1
    assert batches_table([task_of(2, 32, 64)], 0.6)["of_one_class"].item() == 1
    (words,) = f1_in_words("madry_at, canonical", [task], 0.6)
    assert f"over {len(task.labels):,} images of 200 classes; last batch" in words


def test_no_last_batch_of_the_official_test_sets_has_a_printed_recall() -> None:
    data_sets = read_published().data_sets
    # All images of such a batch are of the last class.
    left = [test % BATCH for test in data_sets["test"]]
    assert left == [2, 9, 5]
    recalls = [
        {hits / n / (1 + others) for hits in range(n + 1) for others in range(n - hits + 1)} for n in left
    ]  # fmt: skip
    means = {sum(each) / len(left) for each in itertools.product(*recalls)} | set().union(*recalls)
    for printed in read_published().fine_grained["recall"]:
        assert min(abs(mean - printed) for mean in means) > 5e-5


def test_one_printed_f1_is_not_that_of_its_precision_and_recall() -> None:
    found = thesis_f1_table(pd.read_csv(REFERENCE / "fine_grained.csv"))
    off = (found["F1"] - found["F1_of_its_precision_and_recall"]).abs() > 2e-4
    assert off.sum() == 1
    assert found.loc[off, "F1_of_its_precision_and_recall"].item() == pytest.approx(0.8931)


def test_the_comparator_says_how_each_number_was_measured() -> None:
    thesis = pd.read_csv(REFERENCE / "cifar100_methods.csv")
    quoted = pd.read_csv(REFERENCE / "anp_vs_paper_cifar100_vgg16.csv")
    found = comparator_table(ROWS[0], outcomes([0.6, 0.4]), 0.2, [5, 5], thesis, quoted)
    assert found.iloc[0]["classes"] == "5, task given"
    unequal = comparator_table(ROWS[0], None, 0.17, [64, 3], thesis, quoted)
    assert unequal.iloc[0]["classes"] == "3 to 64, task given"
    black = found.iloc[1]
    assert black["attack"] == "black-box"
    assert black["difference"] == pytest.approx(0.2)
    rows = found[found["source"] == "the thesis' table"].set_index("row")
    assert (rows.loc["PackNet", "attack"], rows.loc["PackNet", "chance"]) == ("white-box", 0.2)
    assert (rows.loc["TRADES", "attack"], rows.loc["TRADES", "chance"]) == ("black-box", 0.01)
    # Each quoted number is one of the black-box column.
    column = found[(found["source"] == "ANP-VS' table") & (found["attack"] == "black-box")]["accuracy"].round(4)
    for row_ in rows[rows["attack"] == "black-box"]["accuracy"]:
        assert (column == row_).any()


def test_chance_is_nothing_and_everything_right_is_one() -> None:
    assert above_chance(0.2, 0.2) == 0
    assert above_chance(1.0, 0.01) == 1


def test_one_seed_hides_its_spread() -> None:
    one = seeds_table([row(CANONICAL, [0.4, 0.2])]).iloc[0]
    assert np.isnan(one["standard_deviation"])
    three = seeds_table([row(CANONICAL, [0.4, 0.2], 3)]).iloc[0]
    assert three["standard_deviation"] == pytest.approx(0.01)
    assert three["best_minus_mean"] == pytest.approx(0.01)


# -- files ------------------------------------------------------------------------------------------------------------------


def report_(board: str = "tiny set=1") -> AuditReport:
    predicted = {"madry_at, canonical": [task_of(5, 60, 20), task_of(5, 50, 20)]}
    return AuditReport(board, "8/255", ROWS, ["first", "second"], 0.2, [5, 5], None, predicted)


def test_equal_outcomes_give_equal_bytes(tmp_path: Path) -> None:
    first, second = (write(report_(), tmp_path / name).paths for name in ("a", "b"))
    assert [path.name for path in first] == [path.name for path in second]
    assert {path.suffix for path in first} == {".csv", ".png", ".svg", ".pdf"}
    for mine, theirs in zip(first, second, strict=True):
        assert mine.read_bytes() == theirs.read_bytes(), mine.name


@pytest.mark.parametrize(
    ("seeds", "told"),
    [
        (1, "1 seed; intervals: test-set noise only"),
        (2, "2 seeds; intervals: hierarchical bootstrap over 2 seeds"),
        (3, "3 seeds; intervals: t-interval over 3 seeds"),
    ],
)
def test_the_terminal_says_which_intervals_it_shows(seeds: int, told: str) -> None:
    rows = [row(CANONICAL, [0.4, 0.2], seeds), row("eps", [0.6, 0.4], seeds)]
    console = Console(record=True, width=200, file=io.StringIO())
    show(Written(replace(report_(), rows=rows, tables=()), effects_of(rows), (), ()), console)
    assert f"200 test images in all, {told}\n" in console.export_text()


def test_the_figure_names_every_switch_and_the_remainder(tmp_path: Path) -> None:
    svg = next(path for path in write(report_(), tmp_path).paths if path.suffix == ".svg").read_text()
    for words in ("step size", SUM, INTERACTION, "attacked", "the thesis"):
        assert words in svg
