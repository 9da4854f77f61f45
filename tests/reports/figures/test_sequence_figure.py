"""Accuracy over the sequence: the mean over the tasks seen so far, with the right interval, and readable names."""

import numpy as np
import pytest

from reports.figures import sequence as sequence_module
from reports.figures.sequence import seen_so_far, sequence_attacks, sequence_figure, sequence_table
from reports.figures.style import looks
from reports.figures.training import training_figure
from reports.numbers.statistics.intervals import t_interval
from tests.reports.figure_words import drawn
from tests.reports.synthetic_runs import FakeRun, board_of, clean, pgd


def test_the_mean_is_over_the_tasks_seen_so_far():
    nan = np.nan
    R = np.array([[0.7, 0.9, nan], [0.8, 0.75, nan], [0.75, 0.7, 0.6]])
    assert seen_so_far(R).tolist() == pytest.approx([0.7, 0.775, 2.05 / 3])
    assert np.isnan(seen_so_far(np.array([[nan, nan], [0.5, 0.7]]))).tolist() == [True, False]
    assert seen_so_far(np.stack([R, R])).shape == (2, 3)


def test_after_the_last_task_it_is_acc_with_its_interval(tmp_path):
    board = board_of(tmp_path, FakeRun("packnet", forgets=0.4))
    table = sequence_table(board)
    attack = f"{pgd(10).name} any"
    assert sequence_attacks(board) == ["clean", attack]
    (row,) = board.ranked
    for name in ("clean", attack):
        of_name = table[table["attack"] == name].set_index("after_task")
        bounds = row.measures.bounds(f"ACC_lopezpaz2017 {name}")
        expected = [row.measures.value(f"ACC_lopezpaz2017 {name}"), bounds.low, bounds.high]
        assert of_name.loc[2, ["accuracy", "low", "high"]].tolist() == pytest.approx(expected)
        assert of_name.loc[0, "accuracy"] == pytest.approx(row.measures.matrices[name][0, 0])


def test_three_seeds_have_t_intervals(tmp_path):
    board = board_of(tmp_path, *(FakeRun("packnet", seed=seed, quality=1 + 0.3 * seed) for seed in range(3)))
    table = sequence_table(board).set_index(["attack", "after_task"])
    matrices = [seed.evidence.outcomes.correct["clean"] for seed in board.ranked[0].seeds]
    values = [np.mean([(cells[1, j] == 1).mean() for j in (0, 1)]) for cells in matrices]
    found, expected = table.loc[("clean", 1)], t_interval(values)
    assert (found["low"], found["high"]) == pytest.approx((expected.low, expected.high))


def test_any_iterate_is_shown_only_where_every_row_has_it(tmp_path):
    final_only = pgd(10, any_power=None)
    board = board_of(tmp_path, FakeRun("packnet"), FakeRun("older", matrix=[clean(), final_only]))
    assert sequence_attacks(board) == ["clean", pgd(10).name]
    assert set(sequence_table(board)["label"]) == {"packnet", "older"}


def test_what_learns_all_tasks_at_once_is_a_single_mark_at_the_end(tmp_path):
    joint = FakeRun("joint_at", all_at_once=True, protocol={"all_at_once": True})
    board = board_of(tmp_path, FakeRun("packnet"), joint)
    table = sequence_table(board)
    assert table[table["label"] == "joint_at"]["after_task"].tolist() == [2, 2]
    caption, figure = drawn(sequence_figure, board)
    assert caption.endswith("a single mark: all tasks were learned at once")
    colour = looks(["packnet", "joint_at"])["joint_at"].colour
    (mark,) = [line for line in figure.axes[0].lines if line.get_color() == colour and len(line.get_xdata()) == 1][:1]
    assert abs(mark.get_xdata()[0] - 2) < 0.3
    assert "single mark" not in drawn(sequence_figure, board_of(tmp_path / "without", FakeRun("packnet")))[0]


def test_few_long_lines_have_bands_and_many_have_bars(tmp_path, monkeypatch):
    board = board_of(tmp_path, FakeRun("packnet"), FakeRun("madry_at"))
    monkeypatch.setattr(sequence_module, "MOST_MARKS", 2)

    def artists():
        caption, figure = drawn(sequence_figure, board)
        return caption, [type(each).__name__ for each in figure.axes[0].collections]

    caption, found = artists()
    assert "as bands" in caption
    assert found == ["FillBetweenPolyCollection"] * 2
    monkeypatch.setattr(sequence_module, "MOST_BANDS", 1)
    caption, found = artists()
    assert "as bars, which are moved apart sideways, at some of the tasks" in caption
    assert found == ["LineCollection"] * 2


def test_one_task_is_no_sequence(tmp_path):
    assert drawn(sequence_figure, board_of(tmp_path, FakeRun(tasks=1))) is None


def test_chance_is_that_of_the_tasks_seen_so_far(tmp_path):
    board = board_of(tmp_path / "unequal", FakeRun("packnet", classes=[2, 4, 20], samples=100))
    assert board.chance == pytest.approx((0.5 + 0.25 + 0.05) / 3)
    _, figure = drawn(sequence_figure, board)
    (course,) = [line for line in figure.axes[0].lines if len(line.get_xdata()) == 5]
    expected = [50, 37.5, 80 / 3]
    assert course.get_ydata().tolist() == pytest.approx([expected[0], *expected, expected[-1]])
    # Of equal tasks it is one level.
    _, figure = drawn(sequence_figure, board_of(tmp_path / "equal", FakeRun("packnet", classes=4)))
    assert [line for line in figure.axes[0].lines if list(line.get_ydata()) == [25, 25]]


def test_chance_falls_where_one_head_answers_among_all_classes_seen(tmp_path):
    epoch = {"phase": "train", "epoch": 0, "seconds": 3.0, "loss": 1.0, "learning_rate": 0.1, "selected": False}
    log = [{"task": task, "robust_validation": 0.5, **epoch} for task in range(3)]
    scenario = {"name": "digits", "settings": {"protocol": "class"}}
    board = board_of(tmp_path, FakeRun("packnet", classes=2, training=log, identity={"scenario": scenario}))
    expected = [50, 25, 100 / 6]
    _, figure = drawn(sequence_figure, board)
    (course,) = [line for line in figure.axes[0].lines if len(line.get_xdata()) == 5]
    assert course.get_ydata().tolist() == pytest.approx([expected[0], *expected, expected[-1]])
    # Curves of training are means over tasks, each asked about when it was learned.
    _, figure = drawn(training_figure, board)
    (level,) = [line for line in figure.axes[0].lines if line.get_label() == "chance"]
    assert list(level.get_ydata()) == pytest.approx([np.mean(expected)] * 2)
