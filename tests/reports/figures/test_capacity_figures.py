"""Figures of owned weights show what is stored: every share, every weight, every pick."""

import numpy as np
import pytest
from matplotlib.colors import to_hex

from reports.figures.capacity import capacity_figures, owners_figure, shown
from reports.figures.structure import MOST_DOTS, structure_figure
from reports.figures.style import paper_style, task_colours
from reports.numbers.capacity import owners, structures
from tests.reports.figure_words import drawn
from tests.reports.synthetic_capacity import capacity_facts, cmat, packnet
from tests.reports.synthetic_runs import FakeRun, judged_board_of

GROWING = cmat(grows={1: 1.5}, ratio=[0.8, 0.5, 0.6])


def cmat_run(fake=GROWING, **fields):
    return FakeRun("cmat", facts=capacity_facts(fake), tasks=fake.tasks, quality=2.2, **fields)


def packnet_run(**fields):
    return FakeRun("packnet", facts=capacity_facts(packnet()), **fields)


def words(figure):
    """All text of a figure, that of its panels included."""
    with paper_style():
        figure.draw_without_rendering()
    return [text.get_text() for text in figure.findobj(lambda artist: hasattr(artist, "get_text")) if text.get_text()]


def test_bars_show_the_shares_that_are_stored(tmp_path):
    board = judged_board_of(tmp_path, packnet_run(backbone="small_conv"))
    with paper_style():
        figure = owners_figure(board.ranked, board)
    assert len(figure.axes) == 3
    shares = owners(board.ranked[0].seeds[0].evidence.facts)
    of_last = shares[(shares["task"] == 2) & (shares["layer"] == "layers.0.weight")].set_index("owner")["weights"]
    tops = [patch.get_data().values[0] for patch in figure.axes[2].patches]
    expected = 100 * of_last[["0", "1", "2", "free"]].cumsum() / of_last.sum()
    assert tops == pytest.approx(expected.tolist())
    colours = [to_hex(patch.get_facecolor(), keep_alpha=True) for patch in figure.axes[2].patches]
    assert colours == [*(colour + "ff" for colour in task_colours(3)), "#00000000"]
    assert {"conv 1", "fc 1", "after task 2, mu 1", "task 1 pair_1", "free"} <= set(words(figure))


def test_many_tasks_and_layers_are_thinned_out(tmp_path):
    fake = packnet(tasks=12, shapes=[(4, 9)] * 20)
    board = judged_board_of(tmp_path, FakeRun("packnet", facts=capacity_facts(fake), tasks=12, samples=10))
    with paper_style():
        figure = owners_figure(board.ranked, board)
    titles = [axes.get_title(loc="left") for axes in figure.axes if axes.get_title(loc="left")]
    assert titles == [f"after task {task}, mu 1" for task in (0, 4, 7, 11)]
    assert [len(axes.get_xticks()) for axes in figure.axes[:4]] == [16] * 4
    assert "16 of 20 layers" in drawn(capacity_figures, board)["owners"][0]
    assert "structure" not in drawn(capacity_figures, board)


def test_every_task_has_a_colour_of_its_own():
    for tasks in (1, 8, 9, 20):
        assert len(set(task_colours(tasks))) == tasks
    assert shown(20, 4) == [0, 6, 13, 19]
    assert shown(2, 4) == [0, 1]


def drawn_dots(axes):
    return sum(len(line.get_xdata()) for line in axes.lines if line.get_marker() == "o")


def test_the_structure_picture_shows_every_weight_once(tmp_path):
    board = judged_board_of(tmp_path, packnet_run(), cmat_run(backbone="small_conv"))
    with paper_style():
        caption, figure = structure_figure(board)
    assert "conv 1 under cmat" in caption
    assert "before it grew" in caption
    assert sorted(map(drawn_dots, figure.axes)) == [72] * 2 + [81] * 6
    found = structures(board.ranked[0].seeds[0].evidence.facts)
    retrained = found[2, "retrain"]
    earlier = np.isin(retrained.owners, (1, 2))
    unused = earlier & ~retrained.used
    faint = [line for line in figure.axes[-1].lines if line.get_marker() == "o" and (line.get_alpha() or 1) < 1]
    assert sum(len(line.get_xdata()) for line in faint) == unused.sum()
    hollow = [line for line in figure.axes[-1].lines if line.get_markerfacecolor() == "none"]
    assert sum(len(line.get_xdata()) for line in hollow) == (retrained.owners == 0).sum()
    assert f"picks {(earlier & retrained.used).sum()} of {earlier.sum()}" in words(figure)
    assert any(text.startswith("grown to mu 1.5, fills ") for text in words(figure))


def test_every_dot_stands_where_its_weight_is_in_the_colour_of_its_owner(tmp_path):
    board = judged_board_of(tmp_path, cmat_run(fake=cmat()))
    with paper_style():
        _, figure = structure_figure(board)
    drawn = structures(board.ranked[0].seeds[0].evidence.facts)[2, "retrain"]
    assert drawn.owners.shape == (8, 9)
    for task, colour in enumerate(task_colours(3)):
        lines = [line for line in figure.axes[-1].lines if line.get_color() == colour]
        # The longer side goes across: weights of a filter in x, filters in y.
        places = {(y, x) for line in lines for x, y in zip(*line.get_data(), strict=True)}
        assert places == set(zip(*(drawn.owners == task + 1).nonzero(), strict=True))


def test_the_old_border_is_drawn_where_the_layer_grew_and_nowhere_else(tmp_path):
    with paper_style():
        _, figure = structure_figure(judged_board_of(tmp_path, cmat_run()))
    borders = {k: [line for line in axes.lines if line.get_marker() != "o"] for k, axes in enumerate(figure.axes)}
    with_border = [lines for lines in borders.values() if lines]
    assert len(with_border) == 3
    assert {tuple(lines[0].get_xdata()) for lines in with_border} == {(7.5, 7.5)}


def test_a_large_layer_is_cut_and_its_caption_says_so(tmp_path):
    board = judged_board_of(tmp_path, cmat_run(fake=cmat(shapes=[(100, 40), (100, 80)])))
    with paper_style():
        caption, figure = structure_figure(board)
    assert "its first 55 of 100 filters" in caption
    assert {drawn_dots(axes) for axes in figure.axes} == {55 * 40}
    assert MOST_DOTS >= 55 * 40


def test_no_more_than_three_tasks_are_told(tmp_path):
    with paper_style():
        _, figure = structure_figure(judged_board_of(tmp_path, cmat_run(fake=cmat(tasks=5))))
    assert len(figure.axes) == 8


def test_growth_has_a_line_per_row(tmp_path):
    board = judged_board_of(tmp_path, packnet_run(), cmat_run(), FakeRun("madry_at"))
    _, figure = drawn(capacity_figures, board)["growth"]
    free, size = figure.axes
    by_label = {line.get_label(): list(line.get_ydata()) for line in free.lines}
    assert set(by_label) == {"packnet", "cmat"}
    assert by_label["packnet"] == pytest.approx([60, 36, 21.6], abs=0.3)
    assert sorted(list(line.get_ydata()) for line in size.lines) == [[1, 1, 1], [1, 1.5, 1.5]]
