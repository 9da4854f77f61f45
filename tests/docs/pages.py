"""The README and the pages of docs/, as text, and what a test looks for in them."""

from __future__ import annotations

import re
from pathlib import Path

from tests.conftest import REPOSITORY

README = REPOSITORY / "README.md"
PAGES = [README, *sorted((REPOSITORY / "docs").glob("*.md"))]

BLOCK = re.compile(
    r"^```(?P<language>\w*)(?: title=\"(?P<title>[^\"]+)\")?\n(?P<text>.*?)^```$", re.DOTALL | re.MULTILINE
)
"""A fenced block: its language, the file that it is, and its text."""


def read(page: Path) -> str:
    return page.read_text(encoding="utf-8")


def prose(page: Path) -> str:
    """The page without its fenced blocks."""
    return BLOCK.sub("", read(page))


def named(page: Path) -> str:
    """The page as a test calls it: `README.md`, `docs/attacks.md`."""
    return str(page.relative_to(REPOSITORY))


def section(page: Path, heading: str) -> str:
    """The text below a heading, up to the next one of its level or a higher one."""
    marks = heading.split(" ")[0]
    found = re.search(
        rf"^{re.escape(heading)}\n(.*?)(?=^#{{1,{len(marks)}}} |\Z)", read(page), re.DOTALL | re.MULTILINE
    )
    assert found, f"{named(page)} has no heading {heading!r}"
    return found[1]


def tables(text: str) -> list[list[list[str]]]:
    """The tables in a text, each as its rows of cells; the line below the header is left out."""
    found = []
    for block in re.findall(r"(?:^\|.*\|\n)+", text, re.MULTILINE):
        rows = [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in block.splitlines()]
        found.append([rows[0], *rows[2:]])
    return found
