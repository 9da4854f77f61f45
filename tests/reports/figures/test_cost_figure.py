"""The figure of costs: all seconds that are known, the Pareto front, and a note on rows that are left out."""

import math
from dataclasses import replace

import pytest

from reports.figures.cost import cost_figure, cost_table, pareto_front
from tests.reports.figure_words import drawn, outside, words
from tests.reports.synthetic_runs import FakeRun, board_of

PLAIN = FakeRun("plain", quality=1.0, costs={"train_seconds": 10, "stored_mb": 1, "prerequisite_seconds": 0})
NEEDY = FakeRun("needy", quality=2.0, costs={"train_seconds": 20, "stored_mb": 30, "prerequisite_seconds": 50})
SILENT = FakeRun("silent", quality=1.5, costs={"train_seconds": 30})


def test_seconds_hold_those_of_prerequisites_where_they_are_known(tmp_path):
    table = cost_table(board_of(tmp_path, PLAIN, NEEDY, SILENT)).set_index("label")
    assert table["seconds"].to_dict() == {"needy": 70, "silent": 30, "plain": 10}
    assert table["knows_prerequisites"].to_dict() == {"needy": True, "silent": False, "plain": True}
    assert table["stored_mb"].to_dict() == {"needy": 30, "silent": pytest.approx(math.nan, nan_ok=True), "plain": 1}
    assert (table["low"] < table["accuracy"]).all()
    assert (table["accuracy"] < table["high"]).all()


def test_the_front_is_what_nobody_beats():
    assert pareto_front([3, 1, 2, 4], [9, 5, 4, 9]) == [1, 0]
    assert pareto_front([1, 1, 2], [5, 6, 7]) == [1, 2]
    assert pareto_front([1, 1], [5, 5]) == [0, 1]
    assert pareto_front([2, 1], [5, 5]) == [1]


def test_a_row_without_a_cost_is_left_out_and_named(tmp_path):
    _, figure = drawn(cost_figure, board_of(tmp_path, PLAIN, NEEDY, SILENT))
    text = " ".join(words(figure)).replace("\n", " ")
    assert "Not recorded, left out: silent." in text
    assert "Prerequisites not recorded, without them: silent." in text
    stored, seconds = figure.axes
    assert (words_of(stored), words_of(seconds)) == ({"plain", "needy"}, {"plain", "needy", "silent"})


def words_of(axes):
    return {text.get_text() for text in axes.texts} - {"chance"}


def test_an_axis_is_logarithmic_where_its_range_asks_for_it(tmp_path):
    near = replace(NEEDY, costs={"train_seconds": 20, "stored_mb": 1.5, "prerequisite_seconds": 50})
    stored, seconds = drawn(cost_figure, board_of(tmp_path, PLAIN, near))[1].axes
    assert (stored.get_xscale(), seconds.get_xscale()) == ("linear", "log")
    assert stored.get_xlim()[0] == 0


def test_marks_stand_at_their_costs_and_the_front_joins_them(tmp_path):
    board = board_of(tmp_path, PLAIN, NEEDY, replace(SILENT, costs={**SILENT.costs, "stored_mb": 40}))
    axes = drawn(cost_figure, board)[1].axes[0]
    marks = [line for line in axes.lines if line.get_linestyle() == "None"]
    assert [float(line.get_xdata()[0]) for line in marks] == pytest.approx([30, 40, 1])
    (front,) = [line for line in axes.lines if line.get_drawstyle() == "steps-post"]
    assert list(front.get_xdata())[:-1] == pytest.approx([1, 30])
    assert front.get_xdata()[-1] == pytest.approx(axes.get_xlim()[1])


def test_without_two_rows_there_is_nothing_to_compare(tmp_path):
    assert drawn(cost_figure, board_of(tmp_path, PLAIN)) is None


def test_chance_is_in_the_panels_also_where_every_row_is_below_it(tmp_path):
    board = board_of(tmp_path, replace(PLAIN, quality=-2.0), replace(NEEDY, quality=-1.5))
    assert max(row.acc for row in board.ranked) < board.chance / 2
    _, figure = drawn(cost_figure, board)
    assert all(axes.get_ylim()[1] > 100 * board.chance for axes in figure.axes)
    assert not outside(figure)
