"""The page on tuning quotes the stored outcome of its grid, number by number."""

from __future__ import annotations

import re

import pandas as pd

from tests.conftest import REPOSITORY

PAGE = REPOSITORY / "docs" / "tuning.md"
STORED = REPOSITORY / "results" / "published" / "cifar100-20-cpu" / "tuning.csv"


def shown(value: float) -> str:
    return f"{100 * value + 0.0:.1f}".replace("-", "−")


def test_the_table_is_what_is_stored() -> None:
    stored = pd.read_csv(STORED).set_index(["label", "recipe.learning_rate"])
    lines = re.findall(
        r"^\| `?([^|`]+?)`? \| ([^|]+) \| ([^|]+) \| ([^|]+) \|$", PAGE.read_text(encoding="utf-8"), re.MULTILINE
    )
    quoted = {label: cells for label, *cells in lines if label in stored.index.get_level_values(0)}
    assert list(quoted) == list(dict.fromkeys(stored.index.get_level_values(0)))
    for label, cells in quoted.items():
        for rate, cell in zip((0.02, 0.04, 0.08), cells, strict=True):
            row = stored.loc[(label, rate)]
            above = f" (+{shown(row['above_preset'])} [{shown(row['above_low'])}, {shown(row['above_high'])}])"
            assert cell == shown(row["validation_robust"]) + ("" if row["of_preset"] else above)
