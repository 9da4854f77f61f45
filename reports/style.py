"""How every figure looks: one palette, one style, one way to save, so that equal records give equal bytes."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

COLUMN, PAGE = 3.5, 7.16
"""Widths in inches of one and two columns of a paper."""
INK, FAINT = "#22262b", "#8a9099"
"""Text and lines; what should stand back."""

PALETTE = (
    "#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#8c8c00", "#332288", "#999999", "#7b3f00",
)  # fmt: skip
"""Okabe & Ito 2008 (without black, which is text; yellow is darkened to be seen on white), and three of Tol's."""
HATCHES = ("", "////", "....", "xxxx")
SEQUENTIAL = "cividis"
"""Even in lightness, and the same for people who do not tell red from green."""
TASK_SCALE, MOST_NAMED_TASKS = "viridis", 8
"""Up to so many tasks each has a colour of the palette (before its grey, which is what nobody owns); more take this scale."""

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

_NO_DATES = {
    "png": {"Software": None},
    "svg": {"Date": None, "Creator": None},
    "pdf": {"CreationDate": None, "Creator": None, "Producer": None},
}


@contextmanager
def paper_style() -> Iterator[None]:
    """Draw inside this; nothing of the caller's matplotlib is changed."""
    with mpl.rc_context(SETTINGS):
        yield


def looks(labels: Iterable[str]) -> dict[str, tuple[str, str]]:
    """Colour and hatch of every label, by the alphabet: the same in all figures of a report."""
    ordered = sorted(set(labels))
    return {
        label: (PALETTE[k % len(PALETTE)], HATCHES[k // len(PALETTE) % len(HATCHES)]) for k, label in enumerate(ordered)
    }


def save(figure: Figure, stem: Path) -> list[Path]:
    """Write `stem`.png, .svg and .pdf without dates; return their paths."""
    stem.parent.mkdir(parents=True, exist_ok=True)
    # The layout is the same in every format: find it once.
    figure.draw_without_rendering()
    figure.set_layout_engine("none")
    paths = []
    for suffix, metadata in _NO_DATES.items():
        path = stem.with_name(f"{stem.name}.{suffix}")
        figure.savefig(path, format=suffix, metadata=metadata)
        paths.append(path)
    return paths


def for_page(svg: str) -> str:
    """The figure's <svg> element for a page with a light and a dark side: ink takes the colour of the page's text."""
    # Backgrounds are patches: on a page they are the page's own. White words on dark cells stay white.
    body = re.sub(r'(<g id="patch_\d+">\s*<path [^>]*?)fill: #ffffff', r"\1fill: none", svg[svg.index("<svg") :])
    return (
        body.replace(INK, "currentColor").replace('width="', 'data-width="', 1).replace('height="', 'data-height="', 1)
    )


def task_colours(tasks: int) -> list[str]:
    """A colour per task. Many tasks take a scale, from the first to the last: their order is then what can be seen."""
    if tasks <= MOST_NAMED_TASKS:
        return list(PALETTE[:tasks])
    return [to_hex(mpl.colormaps[TASK_SCALE](0.97 * k / (tasks - 1))) for k in range(tasks)]


def shortened(name: str, longest: int) -> str:
    return name if len(name) <= longest else name[: longest - 1].rstrip(" _-") + "…"
