"""A preset of a stranger is planned, or refused in a line, whatever its file holds."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import strategies as st

from benchmark.errors import ConfigError
from benchmark.planning.options import RunOptions
from benchmark.planning.preset_files import available, labels
from benchmark.planning.tasks import load_and_warn
from benchmark.running.preset_run import prepare
from methods.base import MethodError
from scenarios.base import DataError
from tests.fuzz.exploring import explore, told
from tests.fuzz.near import near, near_bytes
from tests.tiny import TINY, rows_for

PRESET: dict[str, Any] = {
    **TINY,
    "methods": [
        *rows_for(["packnet", "cmat", "er"]),
        {"method": "standard", "label": "plain", "recipe": {"epochs": 1}},
    ],
    "evaluation": {
        **TINY["evaluation"],
        "final": [{"attack": "pgd", "steps": [1, 2], "step_size": "eps/4", "samples": 8}],
    },
}
TEXT = yaml.safe_dump(PRESET)
SIGNS = [
    "*a",
    "&a ",
    "!!python/object/apply:os.system [x]",
    "<<: *a",
    "\t",
    "- ",
    "? ",
    "{",
    "[[[[[",
    "|\n",
    "--- ",
    "'",
    "#",
    ": ",
]


def planned(folder: Path, content: bytes) -> None:
    """Plan the runs of a preset as `run --dry-run` does, without timing anything."""
    path = folder / "strange.yaml"
    path.write_bytes(content)
    with told(ConfigError):
        labels(str(path))
    with told(ConfigError, DataError, MethodError):
        options = RunOptions(
            str(path), results=folder / "runs", published=folder / "published", workers=1, device="cpu", dry_run=True
        )
        work = prepare(options, lambda preset, machine: load_and_warn(preset, machine))
        work.plan()
    assert sorted(each.name for each in folder.iterdir()) == ["strange.yaml"], "planning writes nothing"


def test_any_values_in_a_preset(tmp_path: Path) -> None:
    explore(lambda raw: planned(tmp_path, json.dumps(raw).encode()), near(PRESET), 60)


def test_any_text_of_a_preset(tmp_path: Path) -> None:
    texts = st.tuples(near_bytes(TEXT.encode()), st.sampled_from(SIGNS), st.floats(0, 1)).map(
        lambda case: case[0][: int(case[2] * len(case[0]))] + case[1].encode() + case[0][int(case[2] * len(case[0])) :]
    )
    explore(lambda content: planned(tmp_path, content), near_bytes(TEXT.encode()) | texts, 80)


@pytest.mark.parametrize("name", ["cifar100-full", "fine-grained", "thesis"])
def test_any_values_in_a_preset_that_extends_one(tmp_path: Path, name: str) -> None:
    raw = yaml.safe_load(available()[name].read_text(encoding="utf-8"))
    explore(lambda changed: planned(tmp_path, json.dumps(changed).encode()), near(raw), 6)
