"""docs/from-python.md is executed from top to bottom, and prints what it says, for the published rows alone."""

from __future__ import annotations

import contextlib
import io
import re
from pathlib import Path

import pytest

from results.version import PUBLISHED
from tests.docs.reader import page

STEP = re.compile(r"^```python\n(?P<code>.*?)^```\n(?:\n```text\n(?P<shown>.*?)^```\n)?", re.DOTALL | re.MULTILINE)


@pytest.mark.slow
def test_the_page_prints_what_it_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "results").mkdir()
    (tmp_path / "results" / "published").symlink_to(PUBLISHED)
    monkeypatch.chdir(tmp_path)
    text, known = page("from-python"), {}
    steps = list(STEP.finditer(text))
    assert len(steps) == text.count("```python") == text.count("```text")
    for step in steps:
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            exec(compile(step["code"], "from-python.md", "exec"), known)
        assert _lines(printed.getvalue()) == _lines(step["shown"])
    assert (tmp_path / "accuracy-over-eps.png").stat().st_size > 5_000


def _lines(text: str) -> list[str]:
    """pandas pads lines; editors cut that off."""
    return [line.rstrip() for line in text.splitlines()]
