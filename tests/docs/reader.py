"""A reader who follows a page of docs/ to the letter, in a copy of the repository.

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
import shlex
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

from tests.conftest import REPOSITORY
from tests.warm import python

DOCS = REPOSITORY / "docs"
BLOCK = re.compile(
    r"^```(?P<language>\w+)(?: title=\"(?P<title>[^\"]+)\")?\n(?P<text>.*?)^```$", re.DOTALL | re.MULTILINE
)
NUMBER = r"-?\d+(?:\.\d+)?"
LONGEST = 900.0
"""Seconds that a command may take on a machine that is busy with other things."""


def page(name: str) -> str:
    return (DOCS / f"{name}.md").read_text(encoding="utf-8")


def copy_of_the_repository(folder: Path) -> Path:
    """The part of the repository that commands need, in `folder`/repository."""
    ignored = shutil.ignore_patterns("__pycache__", "published", "runs", "output")
    copy = folder / "repository"
    for name in ("attacks", "benchmark", "methods", "reports", "results", "scenarios"):
        shutil.copytree(REPOSITORY / name, copy / name, ignore=ignored)
    shutil.copy(REPOSITORY / "run_benchmark.py", copy)
    return copy


def as_pattern(shown: str) -> re.Pattern[str]:
    """The pattern that a line of a page stands for."""
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
        code, printed = self.run(command)
        assert code is not None, f"$ {command}\ntook more than {LONGEST:g} seconds:\n{printed}"
        assert code == expected, f"$ {command}\nended with {code}:\n{printed}"
        missing = missing_line(lines, printed)
        assert missing is None, f"$ {command}\ndid not print\n{missing}\nbut\n{printed}"

    def run(self, command: str) -> tuple[int | None, str]:
        """Run a line as a shell does; return the exit code, None if it took too long, and all that was printed."""
        # `python` is the one that runs this test.
        path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
        environment = {**os.environ, "PATH": path, "COLUMNS": "120"}
        words = simple_words(command)
        output = self.place / ".printed"
        if words and words[0] == "python":
            code = python(words[1:], self.place, environment, output, LONGEST)
        else:
            with output.open("w") as stream:
                done = subprocess.run(
                    command, shell=True, cwd=self.place, env=environment, stdout=stream, stderr=subprocess.STDOUT,
                    timeout=LONGEST,
                )  # fmt: skip
            code = done.returncode
        return code, output.read_text(encoding="utf-8")


def simple_words(command: str) -> list[str] | None:
    """The words of a command; None if it needs a shell, for a pipe, a variable, a pattern or the like outside quotes."""
    unquoted = re.sub(r"'[^']*'|\"[^\"$`]*\"", "", command)
    return None if re.search(r"[|&;<>()$`*?~#\\]", unquoted) else shlex.split(command)


def _any(lines: list[str], word: str) -> bool:
    return any(line.startswith(word) for line in lines)
