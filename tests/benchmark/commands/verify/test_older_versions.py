"""`verify` makes an attack of an older version again by the setting that makes it now, and knows its stored name."""

from __future__ import annotations

import json

import pytest

from attacks.autoattack import AutoAttack
from benchmark.commands.verify.findings import Problems
from benchmark.commands.verify.records.specifications import made_of, verify_columns
from benchmark.planning.options import PUBLISHED
from results import schema
from results.parts import read_parts


def rows_of_autoattack() -> list[dict[str, object]]:
    """The published evaluations of AutoAttack, as they are stored."""
    paths = sorted((PUBLISHED / "cifar100-cpu").glob("*/evaluations/all.parquet"))
    rows, _ = read_parts(paths, schema.EVALUATIONS)
    return [row for row in rows.to_pylist() if row["kind"] == "autoattack"]


def test_the_published_evaluations_of_autoattack_hold() -> None:
    rows = rows_of_autoattack()
    assert len(rows) == 42 * 3
    for row in rows:
        problems = Problems()
        specification = json.loads(row["specification"])
        assert made_of(specification) == AutoAttack(
            threat_model=made_of(specification).threat_model, schedule="stretched"
        )
        verify_columns(row, specification, "here", problems)
        assert not problems.lines()


@pytest.mark.parametrize(
    ("version", "name", "expected"),
    [
        (1, "autoattack linf 8/255", True),
        (1, "autoattack linf 8/255 schedule=stretched", True),
        (2, "autoattack linf 8/255", True),
        (2, "autoattack linf 8/255 schedule=stretched", False),
        (1, "autoattack linf 4/255", False),
    ],
)
def test_each_version_has_its_own_names(version: int, name: str, expected: bool) -> None:
    row = rows_of_autoattack()[0]
    specification = {**json.loads(str(row["specification"])), "version": version}
    problems = Problems()
    spelled = json.dumps(specification, sort_keys=True, separators=(",", ":"))
    verify_columns(
        {**row, "attack_version": version, "attack": name, "specification": spelled}, specification, "here", problems
    )
    assert (not problems.lines()) == expected, problems.lines()
