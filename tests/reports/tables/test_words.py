"""Numbers as tables write them."""

from __future__ import annotations

import math

import pytest

from reports.tables.words import amount


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0"),
        (99.96, "100"),
        (9_994, "9994"),
        (9_999, "10 k"),
        (12_345, "12.3 k"),
        (999_400, "999 k"),
        (999_600, "1 M"),
        (999_999_999, "1 G"),
        (-999_600, "-1 M"),
        (math.nan, "n/a"),
    ],
)
def test_a_cost_has_three_digits_and_the_unit_of_its_rounded_value(value: float, text: str) -> None:
    assert amount(value) == text
