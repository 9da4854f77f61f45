"""YAML as strangers write it: read to the right value, or refused in one short line, before it costs anything."""

import itertools
from pathlib import Path

import pytest

from benchmark.errors import LONGEST_LINE, ConfigError, quoted
from benchmark.planning.preset_files import MOST_BYTES, YamlMistake, available, labels, read_preset, read_yaml
from benchmark.planning.presets import load_preset
from tests.ending import ending
from tests.tiny import write_preset

LETTERS = "abcdefghij"
BOMB = "a: &a [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{this}: &{this} [{', '.join([f'*{before}'] * 10)}]\n" for before, this in itertools.pairwise(LETTERS)
)
"""Ten lists, each of ten times the one before: ten thousand million values in 400 bytes."""
MERGED_BOMB = "a: &a {k: 1}\n" + "".join(
    f"{this}: &{this} {{<<: [{', '.join([f'*{before}'] * 10)}]}}\n" for before, this in itertools.pairwise(LETTERS)
)
REFUSED = {
    "an alias bomb": (f"{BOMB}description: *j\n", "line 5, column 4: more than 100,000 values, aliases written out"),
    "a bomb of merged keys": (MERGED_BOMB, "more than 100,000 values, aliases written out"),
    "nested lists": ("[" * 3000 + "]" * 3000, "line 1, column 41: nested more than 40 levels deep"),
    "nested keys": ("{a: " * 3000 + "}" * 3000, "nested more than 40 levels deep"),
    "levels hidden behind aliases": (
        "".join(f"k{i}: &k{i} {'[' * 15}{f'*k{i - 1}' if i else 'x'}{']' * 15}\n" for i in range(9)),
        "line 3, column 14: nested more than 40 levels deep",
    ),
    "a value inside itself": ("a: &a [*a]", "line 1, column 4: an alias stands inside what it stands for"),
    "a key given twice": (
        "a: 1\nb: 2\na: 3\n",
        "line 3, column 1: 'a' stands twice, first in line 1; give it one value",
    ),
    "twice in a list": ("rows:\n- {x: 1, y: 2, x: 3}\n", "line 2, column 16: 'x' stands twice, first in line 2"),
    "twice in other words": ("1: a\n0x1: b\n", "line 2, column 1: '0x1' stands twice, first in line 1"),
    "two documents": ("a: 1\n---\nb: 2\n", "line 2, column 1: a second document begins; one is read"),
    "a tab": ("a:\n\tb: 1\n", r"line 2, column 1: found character '\t' that cannot start any token"),
    "a date that is none": (
        "a: 2001-99-99",
        "line 1, column 4: '2001-99-99': month must be in 1..12; quotes make it text",
    ),
    "a number of many digits": (f"a: {'9' * 5000}", "line 1, column 4: a whole number of 5000 characters"),
    "one in hexadecimal": (f"a: 0x{'f' * 5000}", "line 1, column 4: a whole number of 5002 characters"),
    "one to the base of 60": (
        f"a: {':'.join(['1'] * 300)}.5",
        "int too large to convert to float; quotes make it text",
    ),
    "a control character": ("a: 1\nb: \x1b[31m", "line 2: the character U+001B is not allowed"),
    "half a character": (r'a: "\ud800"', "line 1, column 4: half a character"),
    "half a character as it is": ("a: \ud800", "no UTF-8 text"),
    "an object of Python": ("a: !!python/object:os.system x", "line 1, column 4: could not determine a constructor"),
    "an alias of nothing": ("a: *x", "line 1, column 4: found undefined alias 'x'"),
    "a list that does not end": ("a: [1, 2\n", "line 2, column 1: expected ',' or ']'"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_text_that_cannot_be_read_is_one_short_line_at_once(kind: str) -> None:
    text, message = REFUSED[kind]
    with ending(), pytest.raises(YamlMistake) as caught:
        read_yaml(text)
    assert message in str(caught.value)
    assert len(str(caught.value)) < 250
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("", None),
        ("\ufeffa: 1", {"a": 1}),
        ("a: &a {x: 1, y: 2}\nb: {<<: *a, x: 3}", {"a": {"x": 1, "y": 2}, "b": {"x": 3, "y": 2}}),
        ("a: &a [1]\nb: [*a, *a]", {"a": [1], "b": [[1], [1]]}),
        ("a: {x: 1}\nb: {x: 1}", {"a": {"x": 1}, "b": {"x": 1}}),
        ("1_000", 1000),
        ("8/255", "8/255"),
        ("1e99999999", "1e99999999"),
    ],
)
def test_usual_text_has_its_value(text: str, value: object) -> None:
    assert read_yaml(text) == value


@pytest.mark.parametrize("name", available())
def test_every_preset_of_the_repository_is_read(name: str) -> None:
    assert load_preset(name).rows
    assert labels(name)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"description: \xff\n", "no UTF-8 text: byte 14 is 0xff"),
        (b"# " + b"x" * MOST_BYTES, "500,002 bytes, more than the 500,000 that a preset may have"),
        (BOMB.encode(), "more than 100,000 values"),
    ],
)
def test_a_file_that_cannot_be_read_is_named_with_the_reason(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "mine.yaml"
    path.write_bytes(content)
    with pytest.raises(YamlMistake, match=message):
        read_preset(path)
    with pytest.raises(ConfigError, match=rf"mine\.yaml: not readable as YAML \(.*{message}"):
        load_preset(str(path))
    assert labels(str(path)) == set()


@pytest.mark.parametrize("value", [BOMB, "{x: 1, x: 2}", "[" * 3000, "9" * 5000])
def test_values_on_the_command_line_are_read_by_the_same_rules(tmp_path: Path, value: str) -> None:
    with pytest.raises(
        ConfigError, match=r"^--set 'description=.{0,110}: the value is not valid YAML \(line"
    ) as caught:
        load_preset(str(write_preset(tmp_path)), [f"description={value}"])
    assert len(str(caught.value)) < 400


@pytest.mark.parametrize(
    "changes",
    [
        {"description": ["long"] * 50_000},
        {"description": "x\ny", "recipe": {"epochs": "z" * 50_000}},
        {"evaluation": {"matrix": [{"attack": "x" * 50_000}]}},
        {"evaluation": {"matrix": [{"nothing": ["x"] * 50_000}]}},
        {"evaluation": {"matrix": [{"attack": "pgd", "steps": 1, "step_size": {"x": ["y"] * 50_000}}]}},
        {"evaluation": {"matrix": [{"attack": "pgd", "steps": 1, "step_size": "1" * 50_000}]}},
        {"methods": [{"method": "madry_at", "label": "x" * 50_000}]},
        {"methods": [{"method": "x" * 50_000}]},
        {"scenario": {"name": "x" * 50_000}},
        {"x" * 50_000: 1},
    ],
)
def test_a_message_quotes_a_part_of_what_is_long(tmp_path: Path, changes: dict[str, object]) -> None:
    with ending(), pytest.raises(ConfigError) as caught:
        _ = load_preset(str(write_preset(tmp_path, **changes))).scenario_settings
    assert len(str(caught.value)) <= LONGEST_LINE + 3
    assert "\n" not in str(caught.value)


def test_a_message_is_one_line_that_no_terminal_obeys() -> None:
    assert str(ConfigError("a\nb \x1b[31mred\u202e")) == r"a b \x1b[31mred\u202e"
    assert quoted(10**5000) == "a number of thousands of digits"
    assert quoted("x" * 200) == f"'{'x' * 99}..."
    assert quoted("short") == "'short'"
