"""Bars of the ranking join exactly the rows that are not significantly different, also where that is not transitive."""

import itertools

import numpy as np

from reports.figures.ranking import columns_of, ranking_figure, tie_groups
from reports.numbers.statistics.comparisons import Comparison
from tests.reports.figure_words import drawn, drawn_texts, outside, overlapping
from tests.reports.synthetic_runs import FakeRun, board_of


def comparisons(labels, apart):
    """All pairs; those of `apart` are significant, for the first in the order of labels."""
    found = []
    for first, second in itertools.combinations(labels, 2):
        p = 0.001 if {first, second} in [set(pair) for pair in apart] else 0.5
        found.append(Comparison(first, second, 0.1, 0, 0.2, p, p, "made up", 1, 100))
    return found


def groups(labels, *apart):
    return ["".join(group) for group in tie_groups(labels, comparisons(labels, apart))]


def test_rows_that_are_alike_are_one_group_and_rows_that_all_differ_are_none():
    assert groups("abc") == ["abc"]
    assert groups("abc", "ab", "ac", "bc") == []
    assert groups("abcd", "ac", "ad", "bc", "bd") == ["ab", "cd"]


def test_being_alike_is_not_transitive():
    assert groups("abc", "ac") == ["ab", "bc"]
    # b differs from both of its neighbours, which are alike.
    assert groups("abc", "ab", "bc") == ["ac"]
    assert groups("abcd", "ac", "bd") == ["ab", "ad", "bc", "cd"]


def test_a_group_whose_pairs_are_all_in_others_is_not_needed():
    # The maximal groups are abc, abd, bce, acf: every pair of abc is in another one.
    alike = ("ab", "ac", "bc", "ad", "bd", "be", "ce", "af", "cf")
    apart = ["".join(pair) for pair in itertools.combinations("abcdef", 2) if "".join(pair) not in alike]
    assert groups("abcdef", *apart) == ["abd", "acf", "bce"]


def test_two_rows_have_a_group_in_common_if_and_only_if_they_are_alike():
    rng = np.random.default_rng(3)
    labels = "abcdefghijklmn"
    for share in (0.1, 0.4, 0.8):
        apart = ["".join(pair) for pair in itertools.combinations(labels, 2) if rng.random() < share]
        found = groups(labels, *apart)
        joined = {frozenset(pair) for group in found for pair in itertools.combinations(group, 2)}
        alike = {frozenset(pair) for pair in itertools.combinations(labels, 2)} - {frozenset(pair) for pair in apart}
        assert joined == alike
        for group in found:
            assert list(group) == sorted(group)
            assert not [other for other in set(labels) - set(group) if all({other, one} in alike for one in group)]


def test_a_pair_with_nothing_in_common_is_not_told_apart():
    nan = float("nan")
    nothing = Comparison("a", "b", nan, nan, nan, nan, nan, "nothing in common", 0, 0)
    assert tie_groups("ab", [nothing]) == [["a", "b"]]


def test_bars_share_a_column_only_with_room_between_them():
    assert columns_of(["abc", "bcd", "cde"], "abcde") == [0, 1, 2]
    assert columns_of(["ab", "cd"], "abcd") == [0, 1]
    assert columns_of(["ab", "de"], "abcde") == [0, 0]


def test_the_figure_has_the_rows_by_accuracy_their_intervals_and_the_bars(tmp_path):
    qualities = {"strong": 2.5, "middle": 2.4, "weak": 0.8, "other_weak": 0.75}
    board = board_of(tmp_path, *(FakeRun(name, quality=quality) for name, quality in qualities.items()))
    _, figure = drawn(ranking_figure, board)
    accuracies, bars = figure.axes
    ordered = sorted(board.ranked, key=lambda row: -row.acc)
    marks = [line for line in accuracies.lines if line.get_linestyle() == "None"]
    assert [float(line.get_xdata()[0]) for line in marks] == [100 * row.acc for row in ordered]
    intervals = [tuple(line.get_xdata()) for line in accuracies.lines if line.get_linewidth() == 1.2]
    bounds = [row.measures.bounds("ACC_lopezpaz2017 worst") for row in ordered]
    assert intervals == [(100 * each.low, 100 * each.high) for each in bounds]
    names = [text.get_text() for text in accuracies.texts if text.get_text() != "chance"]
    assert [names[2 * k + 1] for k in range(4)] == [row.label for row in ordered]
    assert [names[2 * k] for k in range(4)] == [str(row.rank) for row in ordered]
    solid = [tuple(line.get_ydata().round(2)) for line in bars.lines if line.get_linewidth() == 2.2]
    assert solid == [(-0.32, 1.32), (1.68, 3.32)]


def test_a_single_row_has_no_ties(tmp_path):
    board = board_of(tmp_path, FakeRun())
    assert drawn(ranking_figure, board) is None


def test_chance_is_in_the_panel_also_where_every_row_is_below_it(tmp_path):
    board = board_of(tmp_path, FakeRun("weak", quality=-1.5), FakeRun("weaker", quality=-2.0))
    assert max(row.acc for row in board.ranked) < board.chance / 2
    _, figure = drawn(ranking_figure, board)
    accuracies, _ = figure.axes
    assert accuracies.get_xlim()[1] > 100 * board.chance
    assert not outside(figure)
    assert not overlapping(drawn_texts(figure))
