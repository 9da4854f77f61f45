"""docs/layout.md lists the import paths that stay. The pages and the skeleton import from these paths alone; all are there."""

from __future__ import annotations

import ast
import importlib
import re
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY
from tests.docs.pages import BLOCK, PAGES, README, named, read, section, tables

(LAYOUT,) = [page for page in PAGES if page.name == "layout.md"]
SKELETONS = sorted((REPOSITORY / "benchmark").rglob("*skeleton.py"))
FOLLOWED = [page for page in PAGES if page.stem.startswith("adding-") or page.stem in ("from-python", "verify")]
EXAMPLES = [README, *FOLLOWED, *SKELETONS]
OURS = ("attacks", "benchmark", "methods", "reports", "results", "scenarios")


def public() -> dict[str, set[str]]:
    """The names that stay, by the module that they are imported from."""
    (listed,) = tables(section(LAYOUT, "## Import paths that stay"))
    return {path.strip("`"): set(re.findall(r"`(\w+)`", names)) for path, names, *_ in listed[1:]}


def code_of(file: Path) -> list[str]:
    """The Python code in a page or a file: blocks of one title are one file, of a diff only its import lines count."""
    if file.suffix == ".py":
        return [read(file)]
    written: dict[str, str] = {}
    for number, block in enumerate(BLOCK.finditer(read(file))):
        title = block["title"] or f"block {number}"
        if block["language"] == "python":
            written[title] = written.get(title, "") + block["text"]
        elif block["language"] == "diff" and title.endswith(".py"):
            imports = [line[1:] for line in block["text"].splitlines() if re.match(r"[+ ](from|import) ", line)]
            written[f"{title} {number}"] = "\n".join(imports)
    return list(written.values())


def imported(file: Path) -> set[tuple[str, str]]:
    """The imports of a file from this repository: (module, name), or (module, "") for a whole module."""
    found: set[tuple[str, str]] = set()
    for code in code_of(file):
        for node in ast.walk(ast.parse(code)):
            if isinstance(node, ast.ImportFrom) and node.module:
                found |= {(node.module, alias.name) for alias in node.names}
            elif isinstance(node, ast.Import):
                found |= {(alias.name, "") for alias in node.names}
    return {(module, name) for module, name in found if module.split(".")[0] in OURS}


@pytest.mark.parametrize("file", EXAMPLES, ids=named)
def test_examples_import_from_listed_paths_alone(file: Path) -> None:
    stays = public()
    for module, name in imported(file):
        whole = f"{module}.{name}" if name else module
        assert whole in stays or name in stays.get(module, ()), f"{named(file)} imports {whole}"


def test_the_skeleton_is_there_to_be_looked_at() -> None:
    assert [path.name for path in SKELETONS] == ["skeleton.py", "test_skeleton.py"]
    assert all(imported(path) for path in SKELETONS)


@pytest.mark.parametrize("module", public())
def test_every_listed_name_can_be_imported(module: str) -> None:
    names = public()[module]
    assert names
    found = importlib.import_module(module)
    missing = {name for name in names if not hasattr(found, name)}
    assert not missing
