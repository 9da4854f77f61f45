"""The house stays in order: folders are small, a class has a name of its own, docstrings say what a thing is or does.

What may import what is held by `lint-imports` (pyproject.toml, [tool.importlinter]).
"""

from __future__ import annotations

import ast
import shutil
import subprocess
from collections import Counter
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY

PACKAGES = ("benchmark", "methods", "scenarios", "attacks", "results", "reports")
CATALOGUES = ("attacks", "methods", "scenarios")
"""One file per attack, per method, per scenario: these folders are as large as there are attacks, methods and scenarios."""
MOST_ENTRIES = 13
MOST_TEST_LINES = 400
QUESTIONS = ("What", "Which", "Where", "Whether", "Who", "Whose", "How")


def python_files(*folders: str) -> list[Path]:
    return sorted(path for folder in folders for path in (REPOSITORY / folder).rglob("*.py"))


def named(path: Path) -> str:
    return str(path.relative_to(REPOSITORY))


def documented(path: Path) -> list[str]:
    """Every docstring of a file: of the module, its classes and its functions."""
    kinds = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    nodes = [node for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if isinstance(node, kinds)]
    return [text for node in nodes if (text := ast.get_docstring(node))]


def test_no_code_folder_holds_more_than_one_can_look_over() -> None:
    """Folders of results that git ignores are no part of it."""
    folders = {path.parent for path in python_files(*PACKAGES)} - {REPOSITORY / name for name in CATALOGUES}
    entries = {
        named(folder): len(
            [
                e
                for e in folder.iterdir()
                if e.name not in ("__init__.py", "__pycache__", "output", "runs", "audit", "tuning", "calibration")
            ]
        )
        for folder in folders
    }
    assert {name: count for name, count in entries.items() if count > MOST_ENTRIES} == {}


def test_no_class_name_is_defined_twice() -> None:
    names = Counter(
        node.name
        for path in python_files(*PACKAGES)
        for node in ast.parse(path.read_text(encoding="utf-8")).body
        if isinstance(node, ast.ClassDef)
    )
    assert [name for name, count in names.items() if count > 1] == []


def test_docstrings_begin_with_what_a_thing_is_or_does() -> None:
    turned = [
        f"{named(path)}: {text.splitlines()[0]}"
        for path in python_files(*PACKAGES, "tests")
        for text in documented(path)
        if text.split()[0] in QUESTIONS
    ]
    assert turned == []


@pytest.mark.parametrize("catalogue", CATALOGUES)
def test_helpers_of_plug_ins_stand_in_folders_of_their_own(catalogue: str) -> None:
    """Beside the plug-ins stand only the modules that plug-ins import from."""
    public = {
        "attacks": {
            "base",
            "composition",
            "memory",
            "search",
            "settings",
            "starts",
            "threat_model",
            "victim",
            "fractions",
            "made_with",
        },
        "methods": {"backbones", "base", "errors", "settings"},
        "scenarios": {"base", "canonical", "duplicates", "placement", "splitting", "tasks"},
    }[catalogue]
    from benchmark.plugins import ATTACKS, METHODS, SCENARIOS

    kind = {"attacks": ATTACKS, "methods": METHODS, "scenarios": SCENARIOS}[catalogue]
    files = {path.stem for path in (REPOSITORY / catalogue).glob("*.py")} - {"__init__"}
    assert files - set(kind.all()) <= public


def test_no_test_file_is_longer_than_one_can_read() -> None:
    lengths = {named(path): len(path.read_text(encoding="utf-8").splitlines()) for path in python_files("tests")}
    assert {name: length for name, length in lengths.items() if length > MOST_TEST_LINES} == {}


@pytest.mark.skipif(
    not (REPOSITORY / ".git").exists() or shutil.which("git") is None, reason="no clone, so nothing is tracked"
)
def test_pictures_stand_where_the_pages_show_them() -> None:
    """An example of a page that is tried in the root leaves its picture there, and `git add --all` takes it along."""
    found = subprocess.run(
        ["git", "ls-files", "*.png", "*.pdf", "*.svg"], cwd=REPOSITORY, capture_output=True, text=True, check=True
    )
    assert [name for name in found.stdout.split() if not name.startswith("docs/images/")] == []
