"""The README and the pages of docs/ point to what is there: files, headings, folders and commands."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from benchmark.cli import make_parser
from benchmark.errors import ConfigError
from tests.conftest import REPOSITORY
from tests.docs.pages import BLOCK, PAGES, README, named, prose, read, section, tables

FOLDERS = ("attacks", "benchmark", "docs", "methods", "reports", "results", "scenarios", "tests")
PATH = rf"`((?:{'|'.join(FOLDERS)})/[^`\s]*|Makefile|LICENSE|run_benchmark\.py|pyproject\.toml|CITATION\.cff)`"
COMMANDS = REPOSITORY / "docs" / "commands.md"
MADE_WHEN_USED = ("reports/output", "results/runs", "results/tuning")
"""Folders that a command makes; git ignores them."""


def anchors(page: Path) -> set[str]:
    """The anchors that GitHub gives to the headings of a page."""
    found: set[str] = set()
    for heading in re.findall(r"^#+ (.+)$", prose(page), re.MULTILINE):
        words = re.sub(r"[^\w\- ]", "", re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).lower()).replace(" ", "-")
        found.add(words)
    return found


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_every_link_leads_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(((?!https?:)[^)\s]+)\)", prose(page)):
        path, _, anchor = target.partition("#")
        file = (page.parent / path).resolve() if path else page
        assert file.exists(), f"{target}: no such file"
        assert not anchor or anchor in anchors(file), f"{target}: {named(file)} has no such heading"


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_every_path_that_is_named_is_there(page: Path) -> None:
    made_here = {match["title"] for match in BLOCK.finditer(read(page)) if match["title"]}
    for path in re.findall(PATH, prose(page)):
        if not path.startswith(MADE_WHEN_USED) and path not in made_here:
            assert (REPOSITORY / path).exists(), f"`{path}`: no such path"


def test_every_page_is_in_the_index() -> None:
    index = REPOSITORY / "docs" / "README.md"
    linked = set(re.findall(r"\]\(([\w-]+\.md)\)", read(index)))
    assert linked == {page.name for page in PAGES if page.parent.name == "docs"} - {"README.md"}


def test_every_folder_of_code_has_a_line_in_the_layout() -> None:
    layout = REPOSITORY / "docs" / "layout.md"
    described = {row[0].strip("`/") for row in tables(section(layout, "## Folders"))[0][1:]}
    files = [
        path for folder in FOLDERS for path in (REPOSITORY / folder).rglob("*.py") if folder not in ("docs", "tests")
    ]
    folders = {str(path.parent.relative_to(REPOSITORY)) for path in files if path.parent.name != "plugins"}
    assert folders <= described, f"no line for {sorted(folders - described)}"


def commands(page: Path) -> list[list[str]]:
    """The words of every command line of the page that starts run_benchmark.py, without those words; no placeholders."""
    lines = re.findall(r"python run_benchmark\.py([^`\n]*)", read(page).replace("\\\n", " "))
    words = [shlex.split(line.split("&&")[0], comments=True) for line in lines]
    return [found for found in words if "COMMAND" not in found]


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_every_command_line_is_understood(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = tmp_path / "repository"
    place.mkdir()
    for block in BLOCK.finditer(read(page)):
        if block["language"] == "yaml" and block["title"]:
            (place / block["title"]).parent.mkdir(exist_ok=True)
            (place / block["title"]).write_text(block["text"], encoding="utf-8")
    monkeypatch.chdir(place)
    for words in commands(page):
        try:
            make_parser().parse_args(words)
        except (SystemExit, ConfigError) as error:
            pytest.fail(f"`{shlex.join(words)}`: {error}")


def described_commands() -> dict[str, list[tuple[str, str]]]:
    """By page, each command that it describes: the command's name, and the text that names its options."""
    (block,) = [
        match["text"] for match in BLOCK.finditer(section(README, "## Commands")) if "run --preset" in match["text"]
    ]
    lines = [(line.split()[0], line) for line in block.splitlines() if not line.startswith("-")]
    rows = tables(section(COMMANDS, "# Commands"))[0][1:]
    return {
        "README.md": lines,
        "docs/commands.md": [(row[0].strip("`").split()[0], row[0]) for row in rows if row[0].startswith("`")],
    }


@pytest.mark.parametrize("page", ["README.md", "docs/commands.md"])
def test_every_command_is_described_with_options_that_it_has(page: str, capsys: pytest.CaptureFixture[str]) -> None:
    described = described_commands()[page]
    for command, text in described:
        shown = help_of(capsys, command)
        for option in re.findall(r"--[a-z][\w-]*", text):
            assert re.search(rf"{option}\b", shown), f"{page}: {command} has no option {option}"
    listed = set(re.findall(r"^    ([a-z][\w-]*)(?: |$)", help_of(capsys), re.MULTILINE))
    assert listed
    assert listed == {command for command, _ in described}


def help_of(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    with pytest.raises(SystemExit):
        make_parser().parse_args([*words, "--help"])
    return capsys.readouterr().out
