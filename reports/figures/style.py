"""The look of all figures: one palette, one style, and one way to save them, so that equal records give equal bytes."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib as mpl
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

from results.files import whole_file

COLUMN, PAGE = 3.5, 7.16
"""Widths in inches of one and two columns of a paper."""
INK, FAINT = "#22262b", "#8a9099"
"""The colours of text and lines, and of parts that should stand back."""

PALETTE = (
    "#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#332288", "#7b3f00", "#999999",
)  # fmt: skip
"""Okabe & Ito 2008 without black, the colour of text, and yellow, which is not seen on white; one of Tol's; brown; grey for
weights that nobody owns."""
DISTINCT = 8
"""Colours that everybody can tell apart, also without seeing red or green. Further labels differ in hatch and dashes."""
HATCHES = ("", "////", "....", "xxxx")
DASHES: tuple[Any, ...] = ("-", (0, (6, 1.5)), (0, (4, 1, 1, 1)), (0, (2, 1)))
"""Dashes of lines, in the order of the hatches of bars."""
MARKERS = "osD^vPX<>p"
SEQUENTIAL = "cividis"
"""A scale of even lightness, the same for readers who do not tell red from green."""
TASK_SCALE, MOST_NAMED_TASKS = "viridis", DISTINCT
"""The scale of colours for tasks, and the number of tasks up to which each has a colour of the palette instead."""

SETTINGS: dict[Any, Any] = {
    "figure.dpi": 100,
    "savefig.dpi": 220,
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 7.5,
    "axes.titlesize": 8,
    "axes.labelsize": 7.5,
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
    "legend.fontsize": 7,
    "legend.frameon": False,
    "text.color": INK,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "axes.linewidth": 0.6,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "xtick.major.size": 2.5,
    "ytick.major.size": 2.5,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "hatch.linewidth": 0.5,
    "pdf.fonttype": 42,
    "svg.fonttype": "none",
    "svg.hashsalt": "continual adversarial defenses",
    "text.parse_math": False,
}

FORMATS: dict[str, dict[str, Any]] = {
    "png": {"Software": None},
    "svg": {"Date": None, "Creator": None},
    "pdf": {"CreationDate": None, "Creator": None, "Producer": None},
}


@contextmanager
def paper_style() -> Iterator[None]:
    """Draw inside this context. The caller's settings of matplotlib stay as they are."""
    with mpl.rc_context(SETTINGS):
        yield


class Look(NamedTuple):
    """The look of a method in all figures: bars by colour and hatch, lines by colour, dashes and marker."""

    colour: str
    hatch: str
    marker: str
    dashes: Any

    @property
    def line(self) -> dict[str, Any]:
        return {"color": self.colour, "linestyle": self.dashes, "linewidth": 1.1, **self.point}

    @property
    def point(self) -> dict[str, Any]:
        return {
            "color": self.colour, "marker": self.marker, "markersize": 3.8, "markeredgecolor": "white", "markeredgewidth": 0.3,
        }  # fmt: skip


Looks = Mapping[str, Look]


def looks(*boards: Iterable[str]) -> dict[str, Look]:
    """The look of every label. It is the same in all figures if the labels of all boards of a report are given.

    A report has more labels than there are colours. In alphabetical order each label takes the look whose colour the fewest
    labels on its own boards have.

    boards: the labels of each board.
    """
    of_boards = [set(labels) for labels in boards]
    every = sorted(set().union(*of_boards))
    free, taken = list(range(len(every) + DISTINCT)), [Counter[int]() for _ in of_boards]
    found = {}
    for label in every:
        here = [colours for colours, labels in zip(taken, of_boards, strict=True) if label in labels]
        chosen = min(free, key=lambda k: (sum(colours[k % DISTINCT] for colours in here), k))
        free.remove(chosen)
        found[label] = _look(chosen)
        for colours in here:
            colours[chosen % DISTINCT] += 1
    return found


def _look(k: int) -> Look:
    again = k // DISTINCT
    return Look(
        PALETTE[k % DISTINCT], HATCHES[again % len(HATCHES)], MARKERS[k % len(MARKERS)], DASHES[again % len(DASHES)]
    )


def save(figure: Figure, stem: Path) -> list[Path]:
    """Write `stem`.png, .svg and .pdf without dates. Returns their paths. Raises StoreError if one cannot be written."""
    # The layout is the same in every format, so it is found once. ("none" instead of None would still draw twice per format.)
    if figure.get_layout_engine() is not None:
        figure.draw_without_rendering()
        figure.set_layout_engine(None)
    paths = []
    for suffix, metadata in FORMATS.items():
        path = stem.with_name(f"{stem.name}.{suffix}")
        with whole_file(path) as temporary:
            figure.savefig(temporary, format=suffix, metadata=metadata)
            if suffix == "svg":
                svg = smaller(temporary.read_text(encoding="utf-8"))
                temporary.write_text(svg, encoding="utf-8", newline="\n")
        paths.append(path)
    return paths


def smaller(svg: str) -> str:
    """Shorten an SVG: hundredths of a point, no indentation, and one style for all marks of a line that share it."""
    svg = svg.replace("base64,\n", "base64,")
    svg = re.sub(r"<[^>]+>", lambda tag: re.sub(r"(\.\d\d)\d+", r"\1", " ".join(tag[0].split())), svg)
    svg = re.sub(r"\n\s+", "\n", svg)
    return re.sub(r"<g>\n((?:<use [^>]*/>\n)+)</g>", _with_one_style, svg)


def _with_one_style(group: re.Match[str]) -> str:
    styles = set(re.findall(r' style="([^"]*)"', group[1]))
    # Marks take fill and stroke, and their opacity, from the group around them. The opacity of a group is another thing.
    if (
        len(styles) != 1
        or re.search(r"(?<!-)opacity", "".join(styles))
        or group[1].count(" style=") != group[1].count("<use ")
    ):
        return group[0]
    return f'<g style="{styles.pop()}">\n' + re.sub(r' style="[^"]*"', "", group[1]) + "</g>"


def for_page(svg: str) -> str:
    """The figure's <svg> element for a page with a light and a dark side: ink takes the colour of the page's text.

    It is as wide as the page, or narrower in the proportion of the figure to `PAGE`, so that words have one size everywhere.
    """
    # Backgrounds are patches; on a page they are transparent. White words on dark cells stay white.
    body = re.sub(r'(<g id="patch_\d+">\s*<path [^>]*?)fill: #ffffff', r"\1fill: none", svg[svg.index("<svg") :])
    # Every figure counts its parts from 1. On a page with several figures only parts that are referred to keep their names.
    named = set(re.findall(r'(?:href="|url\()#([^")]+)', body))
    body = re.sub(r' id="([^"]*)"', lambda found: found[0] if found[1] in named else "", body)
    size = re.search(r'width="([\d.]+)pt" height="[\d.]+pt"', body)
    if size is not None:
        part = min(1.0, float(size[1]) / (72 * PAGE))
        body = body.replace(size[0], f'style="max-width: {100 * part:.0f}%"', 1)
    return body.replace(INK, "currentColor")


def task_colours(tasks: int) -> list[str]:
    """A colour per task. Many tasks take a scale, on which their order can be seen."""
    if tasks <= MOST_NAMED_TASKS:
        return list(PALETTE[:tasks])
    return [to_hex(mpl.colormaps[TASK_SCALE](0.97 * k / (tasks - 1))) for k in range(tasks)]


def shortened(name: str, longest: int) -> str:
    """The name with at most `longest` letters; a shortened one ends with `…`."""
    return name if len(name) <= longest else name[: longest - 1].rstrip(" _-") + "…"


@dataclass(frozen=True)
class FigureOnPage:
    """A figure on the page.

    svg: an <svg> element.
    stem: the name of its files in figures/, without their endings.
    """

    title: str
    svg: str
    stem: str
