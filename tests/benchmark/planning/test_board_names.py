"""The name of a board says which overrides it was run with; they come out of it as they went in."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest

from benchmark.cli import recorded
from benchmark.planning.presets import load_preset
from benchmark.planning.presets.overrides import joined, taken_apart
from tests.tiny import write_preset

PLAIN = [
    ["recipe.epochs=5"],
    ["recipe.epochs=5", "eps=0.1"],
    ["evaluation.final=[{attack: fgsm, samples: 20}]"],
    ["evaluation.final=[{attack: fgsm, samples: 20}, {attack: pgd, steps: 3}]", "seeds=[0, 1]", "eps=1/255"],
    ["description=one word after another"],
    ["description='eps=1 in quotes'", "threads=1"],
    ['description="seeds=1 [ in quotes"', "threads=1"],
    ["description=it's five o'clock", "threads=1"],
    ["description=a=b, c=d", "threads=1"],
    ["description=two\nlines"],
    ["methods.madry_at+bn.recipe.epochs=3", "threads=1"],
    [],
]
AMBIGUOUS = [
    ["description=of eps=1"],
    ["description=[ never closed", "threads=1"],
    ["methods.my row.epochs=1", "eps=1"],
]
"""Names that are only understood with the command."""


@pytest.mark.parametrize("overrides", PLAIN)
@pytest.mark.parametrize("stem", ["digits", "my preset"])
def test_overrides_come_out_of_a_name_as_they_went_in(stem: str, overrides: list[str]) -> None:
    assert taken_apart(joined(stem, overrides)) == (stem, sorted(overrides))


@pytest.mark.parametrize("overrides", PLAIN + AMBIGUOUS)
def test_the_recorded_command_says_it_without_a_doubt(overrides: list[str]) -> None:
    words = ["run", "--preset", "digits", *(["--set", *overrides] if overrides else []), "--seeds", "0"]
    name = joined("digits", overrides)
    assert taken_apart(name, recorded(words)) == ("digits", sorted(overrides))
    single = [word for each in overrides for word in (f"--set={each}",)]
    assert taken_apart(name, shlex.join(["run", *single])) == ("digits", sorted(overrides))


def test_a_command_that_makes_another_name_is_not_believed() -> None:
    assert taken_apart("digits eps=0.1", "run --preset digits --set eps=0.2") == ("digits", ["eps=0.1"])
    assert taken_apart("digits eps=0.1", "not 'closed") == ("digits", ["eps=0.1"])


def test_names_of_boards_are_what_they_were(tmp_path: Path) -> None:
    """Stored records name their boards: another way to join would make other boards of them."""
    values = ["evaluation.final=[{attack: fgsm, samples: 20}]", "description=two words"]
    preset = load_preset(str(write_preset(tmp_path)), values)
    assert preset.name == "tiny description=two words evaluation.final=[{attack: fgsm, samples: 20}]"
