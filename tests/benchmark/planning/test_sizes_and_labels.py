"""Numbers of any size, and labels of any characters: refused when a preset is planned, in one line."""

import re
from pathlib import Path
from typing import Any

import pytest

from benchmark.errors import ConfigError
from benchmark.planning.presets import load_preset
from reports.numbers.labels import label_mistake, likeness, shown_label, visible
from tests.ending import ending
from tests.tiny import write_preset

PGD = {"attack": "pgd", "steps": 1, "step_size": "eps/4"}
HUGE = {
    "eps underflows": ({"eps": "1e-400"}, "eps: '1e-400' is too small"),
    "eps is lost in float32": ({"eps": 1e-8}, "eps: eps = 1e-08 is too small to change a pixel"),
    "eps has a huge exponent": ({"eps": "1e99999999"}, "eps: '1e99999999' has an exponent of more than three digits"),
    "eps is a fraction of huge integers": ({"eps": f"1{'0' * 3000}/1{'0' * 3001}"}, "'10000000000000000000'... has 6004 chara"),
    "eps has too many digits": ({"eps": "0." + "1" * 200}, "has 202 characters"),
    "eps is not a number": ({"eps": float("nan")}, "eps = nan: expected a number such as 8/255 or 0.1"),
    "eps is infinite": ({"eps": "inf"}, "eps: 'inf' is not a number"),
    "eps is a list": ({"eps": ["8/255"]}, "eps = ['8/255']: expected a number such as 8/255 or 0.1"),
    "eps is a huge integer": ({"eps": 10**80}, "eps: a whole number of more than 63 bits"),
    "eps is negative": ({"eps": "-8/255"}, "eps: eps = -8/255 is outside 0..1"),
    "a step of training": ({"recipe": {"attack": {"step_size": "1e-99999999"}}}, "more than three digits"),
    "a step of validation": ({"recipe": {"selection": {"step_size": "1e-400"}}}, "'1e-400' is too small"),
    "a step of a method": (
        {"methods": [{"method": "free_at", "settings": {"step_size": "1e99999999"}}]}, "more than three digits",
    ),
    "the eps of an attack": ({"evaluation": {"matrix": [{**PGD, "eps": "1e-99999999"}]}}, "more than three digits"),
    "an eps that float32 loses": ({"evaluation": {"matrix": [{**PGD, "eps": "eps/100000000"}]}}, "too small to change a pixel"),
    "the step of an attack": ({"evaluation": {"matrix": [{**PGD, "step_size": "1e99999999"}]}}, "more than three digits"),
    "steps": ({"evaluation": {"matrix": [{**PGD, "steps": 10**40}]}}, "steps: expected a whole number of 1 to 1,000,000,000"),
    "a scale": (
        {"evaluation": {"matrix": [{"attack": "rescaled", "steps": 1, "step_size": "eps/4", "scale": "1e-400"}]}},
        "scale: '1e-400' is too small",
    ),
    "a share": ({"evaluation": {"matrix": [{"attack": "square", "queries": 1, "p_init": "1e99999999"}]}}, "three digits"),
    "an argument of torchattacks": (
        {"evaluation": {"matrix": [{"attack": "torchattacks:PGD", "alpha": "1e99999999"}]}}, "a number such as 2/255",
    ),
    "epochs": ({"recipe": {"epochs": 10**80}}, "epochs: a whole number of more than 63 bits"),
    "a seed": ({"seeds": [10**80]}, "seeds: a whole number of more than 63 bits"),
    "a learning rate": ({"recipe": {"learning_rate": float("inf")}}, "learning_rate = inf"),
    "sweeps that multiply": (
        {"evaluation": {"matrix": [{**PGD, "steps": list(range(1, 200)), "restarts": list(range(1, 200))}]}},
        "sweeps of 39,601 attacks in all, more than 10,000",
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", HUGE)
def test_a_number_that_nothing_can_be_measured_at_is_refused_at_once(tmp_path: Path, kind: str) -> None:
    changes, message = HUGE[kind]
    with ending(), pytest.raises(ConfigError, match=re.escape(message)) as caught:
        load_preset(str(write_preset(tmp_path, **changes)))
    assert "\n" not in str(caught.value)


def rows(*labels: str) -> list[dict[str, Any]]:
    return [
        {"method": "madry_at", "label": label, "settings": {"per_task_bn": bool(k)}} for k, label in enumerate(labels)
    ]


@pytest.mark.parametrize(
    ("label", "message"),
    [
        ("   ", "'   ' is blank"),
        ("\u00a0", "is blank"),
        ("\u3164", "is blank"),
        ("a\nb", r"label 'a\nb' holds a line break (U+000A)"),
        ("a\u2028b", "holds a line break (U+2028)"),
        ("\x1b[31mred", r"label '\x1b[31mred' holds a character that cannot be seen (U+001B)"),
        ("\u202eabc", "holds a character that cannot be seen (U+202E)"),
        ("a\u200bb", "holds a character that cannot be seen (U+200B)"),
        ("x" * 101, "has 101 characters, more than 100"),
        ("=cmd|' /C calc'!A0", "begins with '=', which spreadsheets take for a formula"),
        ("@x", "begins with '@'"),
        ("＝x", "begins with '＝'"),
    ],
)
def test_a_label_that_no_table_can_show_is_refused(tmp_path: Path, label: str, message: str) -> None:
    with pytest.raises(ConfigError, match=re.escape("tiny: methods: label")) as caught:
        load_preset(str(write_preset(tmp_path, methods=rows(label))))
    assert message in str(caught.value)
    assert label_mistake(label)


@pytest.mark.parametrize(
    "label",
    [
        "[/]",
        "[red]x[/red]",
        "a|b",
        "$x^$",
        "madry_at+bn",
        "Ünïcödé",
        "方法",
        "می\u200cخواهم",
        "a.b (c) = 3",
        "x" * 100,
        ":-)",
    ],
)
def test_a_label_of_any_seen_characters_stays_as_it_is(tmp_path: Path, label: str) -> None:
    (row,) = load_preset(str(write_preset(tmp_path, methods=rows(label)))).rows
    assert row.label == label
    assert shown_label(label) == label


@pytest.mark.parametrize(
    ("first", "second"), [("ours", "Ours"), ("é", "e\u0301"), ("a b", "a  b"), ("ﬁne", "fine"), ("ß", "SS")]
)
def test_labels_that_readers_cannot_tell_apart_are_refused(tmp_path: Path, first: str, second: str) -> None:
    assert likeness(first) == likeness(second)
    with pytest.raises(ConfigError, match="differ in case, spaces or Unicode form alone"):
        load_preset(str(write_preset(tmp_path, methods=rows(first, second))))
    assert len(load_preset(str(write_preset(tmp_path, methods=rows(first, f"{second}2")))).rows) == 2


def test_a_label_that_stands_twice_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="label 'a' stands twice"):
        load_preset(str(write_preset(tmp_path, methods=rows("a", "a"))))
    with pytest.raises(ConfigError, match="label 'madry_at' stands twice"):
        load_preset(str(write_preset(tmp_path, methods=[{"method": "madry_at"}, {"method": "madry_at"}])))


def test_a_preset_is_named_by_a_name_that_can_be_shown(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"named by its file, and 'a\\x1bb' holds a character"):
        load_preset(str(write_preset(tmp_path, "a\x1bb")))
    assert load_preset(str(write_preset(tmp_path, "[x]"))).name == "[x]"


@pytest.mark.parametrize(
    ("stored", "shown"),
    [
        ("a\nb", r"a\nb"),
        ("\x1b[31m", r"\x1b[31m"),
        ("\u202eabc", r"\u202eabc"),
        ("", "(no label)"),
        (" \t", r" \t"),
        ("  ", "(no label)"),
        ("=x", "=x"),
    ],
)
def test_stored_labels_of_any_kind_can_be_shown(stored: str, shown: str) -> None:
    assert shown_label(stored) == shown
    assert visible(shown) == shown


def test_long_stored_labels_stay_different() -> None:
    first, second = (shown_label("x" * 1000 + end) for end in "ab")
    assert first != second
    assert len(first) < 120
