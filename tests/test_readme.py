"""What the README shows works as it stands there."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from results import load
from tests.conftest import REPOSITORY
from tests.tiny import run_tiny

README = (REPOSITORY / "README.md").read_text(encoding="utf-8")

BLOCKS = re.findall(r"```python\n(.*?)```", README, re.DOTALL)


def test_the_method_in_the_readme_runs_and_gets_a_row(tmp_path: Path) -> None:
    (source,) = [block for block in BLOCKS if "class Mine(Method)" in block]
    (tmp_path / "from_the_readme.py").write_text(source, encoding="utf-8")
    assert run_tiny(tmp_path, [str(tmp_path / "from_the_readme.py"), "madry_at"]) == 0
    predictions = {
        run.label: run.predictions.drop(columns=["evaluation_id"]) for run in load(tmp_path / "runs", None).runs
    }
    assert predictions["from_the_readme"].equals(predictions["madry_at"]), "it is what madry_at is"


def test_the_frames_in_the_readme_are_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(REPOSITORY)
    (source,) = [block for block in BLOCKS if "Tables(load())" in block]
    imports, shown = source.rsplit("\n\n", 1)
    names: dict[str, Any] = {}
    exec(imports, names)
    assert len(eval(shown, names))


def test_every_file_the_readme_points_to_is_there() -> None:
    for path in re.findall(r"\]\(((?!http)[^)#]+)\)", README):
        assert (REPOSITORY / path).exists(), path


def test_the_readme_names_both_commands_and_the_same_without_make() -> None:
    for words in ("make benchmark", "make test", "pip install -r requirements.txt", "run_benchmark.py", "pytest"):
        assert words in README
