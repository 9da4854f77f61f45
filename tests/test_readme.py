"""The README's commands and code work as they stand there, and it stays short enough to be read."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmark.contract import problems_of
from results import load
from tests.docs.pages import BLOCK, PAGES, README, read
from tests.tiny import run_tiny

FILES = {match["title"]: match["text"] for match in BLOCK.finditer(read(README)) if match["title"]}


def written(title: str, folder: Path) -> Path:
    """The file that the README shows under this name, in `folder`."""
    file = folder / title
    file.write_text(FILES[title], encoding="utf-8")
    return file


def test_it_is_read_in_one_sitting() -> None:
    assert len(read(README).splitlines()) <= 200


def test_the_files_that_it_shows_are_those_tested_here() -> None:
    assert set(FILES) == {"my_method.py", "corners.py", "my_network.py"}


def test_the_method_runs_and_gets_a_row(tmp_path: Path) -> None:
    method = written("my_method.py", tmp_path)
    assert run_tiny(tmp_path, [str(method), "madry_at"]) == 0
    predictions = {
        run.label: run.predictions.drop(columns=["evaluation_id"]) for run in load(tmp_path / "runs", None).runs
    }
    assert predictions["my_method"].equals(predictions["madry_at"]), "it is what madry_at is"


def test_the_attack_keeps_its_contract(tmp_path: Path) -> None:
    assert problems_of(written("corners.py", tmp_path), tmp_path) == []


def test_the_attack_is_run_on_every_row_of_a_preset(tmp_path: Path) -> None:
    attack = written("corners.py", tmp_path)
    evaluation = {"final": [{"attack": str(attack)}]}
    assert run_tiny(tmp_path, ["madry_at"], evaluation=evaluation) == 0
    (run,) = load(tmp_path / "runs", None).runs
    assert "corners" in set(run.evaluations["kind"])


def test_the_network_is_attacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from benchmark.cli import main

    written("my_network.py", tmp_path)
    monkeypatch.chdir(tmp_path)
    (line,) = [line for line in read(README).splitlines() if " evaluate my_network.py" in line]
    words = line.split("#")[0].split()[2:]
    assert main([*words, "--output", "table.csv"]) == 0
    assert "worst" in (tmp_path / "table.csv").read_text(encoding="utf-8")


def test_it_names_both_commands_and_the_same_without_make() -> None:
    for words in ("make benchmark", "make test", "pip install -r requirements", "run_benchmark.py", "pytest"):
        assert words in read(README)


def test_it_leads_to_the_index_and_to_the_worked_examples() -> None:
    for page in PAGES:
        if page.stem.startswith("adding-") or (page.name == "README.md" and page != README):
            assert f"](docs/{page.name})" in read(README)
