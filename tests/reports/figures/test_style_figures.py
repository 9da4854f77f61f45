"""Looks that everybody tells apart, words that do not overlap, and files that stay small."""

import itertools
import math
import re
from collections import Counter

import numpy as np
import pytest
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

from reports.boards.building import build_boards
from reports.figures.accuracy import accuracy_bars, accuracy_matrices, matrices_caption
from reports.figures.cost import cost_figure
from reports.figures.placing import beside, spread
from reports.figures.ranking import ranking_figure
from reports.figures.sequence import sequence_figure
from reports.figures.style import (
    DISTINCT,
    INK,
    MARKERS,
    PAGE,
    PALETTE,
    for_page,
    looks,
    paper_style,
    save,
    smaller,
    task_colours,
)
from reports.figures.sweep import sweep_figure
from reports.figures.time import time_figure
from reports.figures.training import training_figure
from results import load
from tests.reports.figure_words import drawn_texts, outside, overlapping
from tests.reports.synthetic_runs import FakeRun, write_run

SEEN_AS = {
    "normal": np.eye(3),
    "deuteranopia": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
    "protanopia": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
}
"""Linear RGB as it is seen without red or green: Machado, Oliveira & Fernandes 2009, severity 1."""
TOLD_APART = 15
"""CIE 1976 colour difference; about 2 is just seen side by side, and marks stand far from each other."""
METHODS = [f"method {k:02d}" for k in range(14)]


def lab(colour, seen_as="normal"):
    """CIELAB under D65 of a colour as somebody sees it."""
    rgb = np.array(to_rgb(colour))
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    seen = np.clip(np.array(SEEN_AS[seen_as]) @ linear, 0, 1)
    to_xyz = np.array([[0.4125, 0.3576, 0.1804], [0.2127, 0.7152, 0.0722], [0.0193, 0.1192, 0.9503]])
    xyz = to_xyz @ seen / [0.9505, 1, 1.0888]
    f = np.where(xyz > (6 / 29) ** 3, np.cbrt(xyz), xyz / (3 * (6 / 29) ** 2) + 4 / 29)
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


def difference(one, other, seen_as):
    return np.linalg.norm(lab(one, seen_as) - lab(other, seen_as))


@pytest.mark.parametrize("seen_as", SEEN_AS)
def test_fourteen_methods_are_told_apart_by_everybody_in_bars_and_in_lines(seen_as):
    found = looks(METHODS)
    for one, other in itertools.combinations(found.values(), 2):
        if difference(one.colour, other.colour, seen_as) < TOLD_APART:
            assert one.hatch != other.hatch
            assert one.marker != other.marker
            assert one.dashes != other.dashes


@pytest.mark.parametrize("seen_as", SEEN_AS)
def test_tasks_of_the_palette_are_told_apart_and_seen_on_white(seen_as):
    for one, other in itertools.combinations(task_colours(DISTINCT), 2):
        assert difference(one, other, seen_as) > TOLD_APART
    assert max(lab(colour)[0] for colour in PALETTE) < 75


def test_looks_depend_on_the_labels_and_not_on_their_order_or_the_ranking():
    assert looks(METHODS) == looks(reversed(METHODS)) == looks([*METHODS, METHODS[3]])
    assert len(set(looks(f"{k:02d}" for k in range(40)).values())) == 40


def test_labels_that_share_a_board_share_a_colour_only_where_colours_run_out():
    boards = [[f"a{k}" for k in range(20)], [f"b{k}" for k in range(8)], ["a3", "b5", *(f"c{k}" for k in range(6))]]
    found = looks(*boards)
    assert len(set(found.values())) == len(found) == 34
    for labels in boards:
        shared = Counter(found[label].colour for label in labels)
        assert len(shared) == DISTINCT
        assert max(shared.values()) == math.ceil(len(labels) / DISTINCT)


# -- where words stand ------------------------------------------------------------------------------------------------


def test_places_are_spread_no_further_than_they_must_be():
    assert spread([10, 0, 30], 5).tolist() == [10, 0, 30]
    assert spread([10, 10, 10], 5).tolist() == [5, 10, 15]
    assert spread([10, 8], 4).tolist() == [11, 7]
    assert spread([0, 1, 50], 4, low=0, high=50).tolist() == [0, 4, 50]
    assert spread([99, 100], 4, low=0, high=100).tolist() == [96, 100]
    assert spread([5, 5, 5], 10, low=0, high=10).tolist() == [0, 5, 10]
    assert spread([], 5).tolist() == []


def boxes_overlap(boxes):
    return [
        (a, b)
        for a, b in itertools.combinations(range(len(boxes)), 2)
        if (boxes[a][:2] < boxes[b][2:]).all() and (boxes[b][:2] < boxes[a][2:]).all()
    ]


def test_labels_beside_a_crowd_of_points_touch_neither_each_other_nor_a_mark():
    rng = np.random.default_rng(5)
    anchors = np.column_stack([np.full(14, 40.0) + rng.normal(0, 2, 14), np.linspace(20, 150, 14)])
    sizes = np.tile([60.0, 7.0], (14, 1))
    marks = np.concatenate([anchors - 2, anchors + 2], 1)
    corners = beside(anchors, sizes, marks, (0, 0, 230, 180))
    boxes = np.concatenate([corners, corners + sizes], 1)
    assert not boxes_overlap(boxes)
    for box in boxes:
        assert not [mark for mark in marks if (box[:2] < mark[2:]).all() and (mark[:2] < box[2:]).all()]
    assert (corners >= 0).all()
    assert (corners + sizes <= [230, 180]).all()


# -- all figures of a board with many rows ----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def crowd(tmp_path_factory):
    """Every figure of 14 methods, by name, and the looks they were drawn with."""
    root = tmp_path_factory.mktemp("crowd")
    log = [{"task": j, "phase": "train", "epoch": 0, "seconds": 3.0, "robust_validation": 0.5} for j in range(3)]
    log = [{**epoch, "loss": 1.0, "learning_rate": 0.1, "selected": False} for epoch in log]
    for k, name in enumerate(METHODS):
        costs = {"train_seconds": 10.0 + 40 * (k % 7), "stored_mb": 8.5 if k % 3 else 25.0 + k}
        joint = {"all_at_once": True, "protocol": {"all_at_once": True}} if k == 13 else {}
        label = f"{name}, with a long name" if k == 5 else name
        write_run(root, FakeRun(name, label, quality=0.8 + 0.1 * k, samples=20, costs=costs, training=log, **joint))
    (board,) = build_boards(load(root, None), ())
    found = looks(row.label for row in board.rows)
    with paper_style():
        drawn = {
            "accuracy": accuracy_bars(board, found),
            "matrices": accuracy_matrices(board),
            **{
                name: draw(board, found)[1]
                for name, draw in {
                    "sweep": sweep_figure,
                    "training": training_figure,
                    "sequence": sequence_figure,
                    "cost": cost_figure,
                    "time": lambda board, _: time_figure(board),
                    "ranking": ranking_figure,
                }.items()
            },
        }
    assert "grey: not measured" in matrices_caption(board)
    return drawn, found


FIGURES = ("accuracy", "matrices", "sweep", "training", "sequence", "cost", "time", "ranking")


@pytest.mark.parametrize("name", FIGURES)
def test_words_can_be_read_and_stand_apart_inside_the_figure(crowd, name):
    figure = crowd[0][name]
    texts = drawn_texts(figure)
    assert min(text.get_fontsize() for text in texts) >= 6
    assert figure.get_figwidth() <= PAGE + 0.001
    assert not outside(figure)
    assert not overlapping(texts)


@pytest.mark.parametrize("name", [name for name in FIGURES if name not in ("accuracy", "matrices", "time")])
def test_a_method_has_one_colour_and_one_marker_in_all_figures(crowd, name):
    drawn, found = crowd
    lines = [line for axes in drawn[name].axes for line in axes.lines if line.get_marker() in MARKERS]
    known = {(look.colour, look.marker) for look in found.values()}
    assert {(line.get_color(), line.get_marker()) for line in lines} == known


@pytest.mark.parametrize("name", FIGURES)
def test_a_figure_on_the_page_is_small(crowd, name, tmp_path):
    with paper_style():
        paths = save(crowd[0][name], tmp_path / name)
    assert len(for_page(paths[1].read_text())) < 250_000


# -- files ------------------------------------------------------------------------------------------------------------


def test_a_smaller_svg_shows_the_same():
    marks = "".join(f'     <use xlink:href="#m1" x="{k}.123456" y="2.5" style="fill: #0072b2"/>\n' for k in (1, 2))
    svg = f'<svg>\n <g id="line2d_1">\n   <g>\n{marks}   </g>\n <text x="1.23456">0.123456</text>\n </g>\n</svg>\n'
    small = smaller(svg)
    assert small.count("fill: #0072b2") == 1
    assert re.findall(r'<use [^>]*x="([\d.]+)"', small) == ["1.12", "2.12"]
    assert '<text x="1.23">0.123456</text>' in small
    # Of a group whose marks overlap, opacity is seen once.
    faint = svg.replace("fill:", "opacity: 0.5; fill:")
    assert smaller(faint).count("opacity: 0.5") == 2
    image = '<image xlink:href="data:image/png;base64,\niVBOR.9999w0=="/>'
    assert "base64,iVBOR" in smaller(image)


@pytest.fixture
def figure():
    with paper_style():
        drawn = Figure(figsize=(PAGE / 2, 2), layout="constrained")
        axes = drawn.add_subplot()
        axes.plot([0, 1], [0, 1], "o", color=INK)
        axes.text(0.5, 0.5, "white", color="#ffffff")
    return drawn


def test_all_formats_are_saved_from_one_layout_and_a_page_gets_it_in_its_width(figure, tmp_path):
    with paper_style():
        paths = save(figure, tmp_path / "one")
    assert [path.suffix for path in paths] == [".png", ".svg", ".pdf"]
    assert figure.get_layout_engine() is None
    svg = for_page(paths[1].read_text())
    assert svg.startswith("<svg")
    assert re.search(r'<svg[^>]* style="max-width: 50%" viewBox="0 0 257', svg)
    assert INK not in svg
    assert not re.findall(r"<path[^>]*fill: #ffffff", svg)
    assert len(re.findall("fill: #ffffff", svg)) == 1
    used = set(re.findall(r'(?:href="|url\()#([^")]+)', svg))
    assert used == set(re.findall(r' id="([^"]*)"', svg))
