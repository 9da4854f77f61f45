"""The worked examples in docs/ do what they say: each page is followed to the letter in a copy of the repository.

A page is read from top to bottom, in fenced blocks:
- a block of python or yaml with `title="PATH"` is that file; a second block with the same title, before anything else was done
  with the file, is appended to it;
- a block of diff with a title changes a file that is there: lines with a minus (or nothing) before them are found once in it, and
  become those with a plus (or nothing);
- in a block of console, lines after `$ ` are commands, the lines below are what they print, in this order and perhaps with others
  between them. `...` in such a line stands for anything, a number for any number, blanks for any blanks. A command ends with 2
  where the page shows `error:`, with 1 where it shows `FAIL`, else with 0.

Commands run as they stand there. The repository is a copy in a temporary folder, so that its results/runs and reports/output are
there too and plug-ins can be put into its folders; it lacks results/published, so that reports show the page's runs alone.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd
import pytest

from tests.conftest import REPOSITORY

DOCS = REPOSITORY / "docs"
PAGES = sorted(path.stem for path in DOCS.glob("adding-*.md"))
BLOCK = re.compile(
    r"^```(?P<language>\w+)(?: title=\"(?P<title>[^\"]+)\")?\n(?P<text>.*?)^```$", re.DOTALL | re.MULTILINE
)
NUMBER = r"-?\d+(?:\.\d+)?"
LONGEST = 900.0
"""Seconds that a command may take on a machine that is busy with other things."""


def copy_of_the_repository(folder: Path) -> Path:
    """What of the repository a command needs, in `folder`/repository."""
    ignored = shutil.ignore_patterns("__pycache__", "published", "runs", "output")
    copy = folder / "repository"
    for name in ("attacks", "benchmark", "methods", "reports", "results", "scenarios"):
        shutil.copytree(REPOSITORY / name, copy / name, ignore=ignored)
    shutil.copy(REPOSITORY / "run_benchmark.py", copy)
    return copy


def as_pattern(shown: str) -> re.Pattern[str]:
    """What a line of a page stands for."""
    parts = re.findall(rf"\.\.\.|{NUMBER}|[^\d.-]+|[.-]", " ".join(shown.split()))
    return re.compile(
        "".join(".*" if part == "..." else NUMBER if re.fullmatch(NUMBER, part) else re.escape(part) for part in parts)
    )


def missing_line(shown: list[str], printed: str) -> str | None:
    """The first of the lines shown that was not printed, in this order; None if all were."""
    lines = iter([" ".join(line.split()) for line in printed.splitlines()])
    for line in shown:
        if line.strip() == "...":
            continue
        pattern = as_pattern(line)
        if not any(pattern.fullmatch(found) for found in lines):
            return line
    return None


@dataclass
class Reader:
    """Somebody who does what a page says, in `place`."""

    place: Path
    begun: set[Path] = field(default_factory=set)

    def follow(self, page: str) -> None:
        """Raises AssertionError where the page is wrong."""
        blocks = list(BLOCK.finditer(page))
        assert 2 * len(blocks) == len(re.findall(r"^```", page, re.MULTILINE)), "a block that cannot be read"
        for block in blocks:
            language, title, text = block["language"], block["title"], block["text"]
            if language == "console":
                for command in re.split(r"^\$ ", text, flags=re.MULTILINE)[1:]:
                    self._type(*command.split("\n", 1))
                self.begun.clear()
            else:
                assert title, f"a block that belongs nowhere:\n{text}"
                change = self._change if language == "diff" else self._write
                change(self.place / title, text)

    def _write(self, file: Path, text: str) -> None:
        with file.open("a" if file in self.begun else "w", encoding="utf-8") as stream:
            stream.write(text)
        self.begun.add(file)

    def _change(self, file: Path, diff: str) -> None:
        lines = diff.splitlines()
        old, new = ("".join(f"{line[1:]}\n" for line in lines if line[:1] != other) for other in "+-")
        text = file.read_text(encoding="utf-8")
        assert text.count(old) == 1, f"{file.name}: not once in it:\n{old}"
        file.write_text(text.replace(old, new), encoding="utf-8")

    def _type(self, command: str, shown: str) -> None:
        lines = shown.splitlines()
        expected = 2 if _any(lines, "error:") else 1 if _any(lines, "FAIL") else 0
        # `python` is the one that runs this test.
        path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
        done = subprocess.run(
            command, shell=True, cwd=self.place, env={**os.environ, "PATH": path, "COLUMNS": "120"}, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=LONGEST,
        )  # fmt: skip
        assert done.returncode == expected, f"$ {command}\nended with {done.returncode}:\n{done.stdout}"
        missing = missing_line(lines, done.stdout)
        assert missing is None, f"$ {command}\ndid not print\n{missing}\nbut\n{done.stdout}"


def _any(lines: list[str], word: str) -> bool:
    return any(line.startswith(word) for line in lines)


@pytest.fixture
def reader(tmp_path: Path) -> Reader:
    return Reader(copy_of_the_repository(tmp_path))


def leaderboard(reader: Reader) -> pd.DataFrame:
    return pd.read_csv(reader.place / "reports" / "output" / "leaderboard.csv")


@pytest.mark.slow
def test_the_method_of_the_page_gets_a_row(reader: Reader) -> None:
    reader.follow(page("adding-a-method"))
    board = leaderboard(reader).set_index("label")
    assert set(board.index) == {"rehearsal", "madry_at"}
    assert set(board["preset"]) == {"memory"}
    assert set(board["verdict"]) <= {"pass", "warn"}
    worst = board["ACC_lopezpaz2017 worst"]
    assert worst["rehearsal"] > worst["madry_at"], "kept images help against forgetting"


@pytest.mark.slow
def test_the_attack_of_the_page_is_measured_and_no_weaker_than_fgsm(reader: Reader) -> None:
    reader.follow(page("adding-an-attack"))
    (row,) = leaderboard(reader).to_dict("records")
    attacked = ("fgsm linf 51/255", "mi-fgsm-10 linf 51/255 a=12.75/255")
    weak, strong = (row[f"ACC_lopezpaz2017 {attack}"] for attack in attacked)
    assert strong <= weak


@pytest.mark.slow
def test_the_scenario_of_the_page_is_learned(reader: Reader) -> None:
    reader.follow(page("adding-a-scenario"))
    board = leaderboard(reader)
    assert set(board["label"]) == {"madry_at"}
    assert set(board["preset"]) == {"turned"}
    assert (board["ACC_lopezpaz2017 clean"] > 0.2).all(), "chance is 0.1"


def page(name: str) -> str:
    return (DOCS / f"{name}.md").read_text(encoding="utf-8")


def test_every_page_is_followed_and_linked() -> None:
    assert PAGES == ["adding-a-method", "adding-a-scenario", "adding-an-attack"]
    readme = (REPOSITORY / "README.md").read_text(encoding="utf-8")
    assert all(f"](docs/{name}.md)" in readme for name in PAGES)


@pytest.mark.parametrize("name", PAGES)
def test_paths_that_a_page_names_are_there(name: str) -> None:
    named = re.findall(r"`((?:methods|attacks|scenarios|benchmark|tests)/\w[\w/]*\.py)`", page(name))
    assert named
    for path in named:
        assert (REPOSITORY / path).exists(), path


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("```console\n$ echo done in 3:12\ndone in 0:07\n```\n", ""),
        ("```console\n$ printf 'a\\nb\\nc  d\\n'\n...\nb\nc d\n```\n", ""),
        ("```console\n$ echo one\n$ echo two\none\n```\n", "did not print"),
        ("```console\n$ printf 'b\\na\\n'\na\nb\n```\n", "did not print"),
        ("```console\n$ exit 2\n```\n", "ended with 2"),
        ("```console\n$ echo error: x\nerror: x\n```\n", "ended with 0"),
        ('```python title="a.py"\nprint(1)\n```\n```python title="a.py"\nx\n```\n```console\n$ python a.py\n```\n', "NameError"),
        ('```yaml title="a"\nx\ny\n```\n```diff title="a"\n x\n-y\n+z\n```\n```console\n$ cat a\nz\n```\n', ""),
        ('```yaml title="a"\nx\n```\n```diff title="a"\n-y\n+z\n```\n', "not once in it"),
        ("```python\nx\n```\n", "belongs nowhere"),
        ("```console\n$ true\n", "cannot be read"),
        ("```python file='a.py'\nx\n```\n", "cannot be read"),
    ],
)  # fmt: skip
def test_a_page_that_is_wrong_is_found_out(text: str, wrong: str, tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match=wrong) if wrong else nullcontext():
        Reader(tmp_path).follow(text)
