"""`check`: what keeps its contract passes, and whatever breaks one thing is told which, and what to change."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from benchmark import cli
from benchmark.contract import problems_of
from benchmark.contract.attack_requirements import ATTACK_REQUIREMENTS
from benchmark.contract.method_requirements import METHOD_REQUIREMENTS
from benchmark.contract.scenario_requirements import SCENARIO_REQUIREMENTS
from benchmark.contract.targets import find_target
from tests.benchmark import broken_attacks, broken_classifiers, broken_methods, broken_scenarios
from tests.benchmark.plugin_methods import NEEDS_GOALS, write


def check(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, list[str], str]:
    """Exit code, lines of output, and what went to stderr."""
    code = cli.main(["check", *arguments])
    captured = capsys.readouterr()
    return code, captured.out.splitlines(), captured.err


def changed(source: str, changes: list[tuple[str, str]]) -> str:
    for old, new in changes:
        assert old in source
        source = source.replace(old, new)
    return source


def assert_matches(found: list[str], expected: list[str]) -> None:
    assert len(found) == len(expected), found
    for line, pattern in zip(found, expected, strict=True):
        assert re.search(pattern, line), line
        assert "\n" not in line


# -- what breaks one thing ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("defect", broken_methods.METHODS)
def test_a_broken_method_is_told_what_is_wrong_and_what_to_change(tmp_path: Path, defect: str) -> None:
    source, expected = broken_methods.METHODS[defect]
    assert_matches(problems_of(write(tmp_path, source), tmp_path / "trial"), expected)


@pytest.mark.parametrize("defect", broken_attacks.BROKEN)
def test_a_broken_attack_is_told_what_is_wrong_and_what_to_change(tmp_path: Path, defect: str) -> None:
    changes, expected = broken_attacks.BROKEN[defect]
    path = write(tmp_path, changed(broken_attacks.SOUND, changes))
    assert_matches(problems_of(path, tmp_path / "trial"), expected)


@pytest.mark.parametrize("defect", broken_scenarios.BROKEN)
def test_a_broken_scenario_is_told_what_is_wrong_and_what_to_change(tmp_path: Path, defect: str) -> None:
    body, expected = broken_scenarios.BROKEN[defect]
    path = write(tmp_path, broken_scenarios.SOUND + body)
    assert_matches(problems_of(path, tmp_path / "trial"), expected)


# -- what is sound -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("source", "requirements"),
    [
        (broken_classifiers.METHOD, len(METHOD_REQUIREMENTS) - 1),
        (NEEDS_GOALS, len(METHOD_REQUIREMENTS) - 2),
        (broken_attacks.SOUND, len(ATTACK_REQUIREMENTS)),
        (broken_scenarios.SOUND, len(SCENARIO_REQUIREMENTS)),
    ],
    ids=["method", "method that requires another", "attack", "scenario"],
)
def test_a_sound_file_keeps_every_requirement(
    source: str, requirements: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, lines, _ = check(capsys, write(tmp_path, source))
    assert code == 0
    assert [line[:5] for line in lines[1:-1]] == ["ok   "] * requirements
    assert lines[-1] == f"{requirements} requirements, {requirements} hold, 0 failed"


@pytest.mark.parametrize("name", ["packnet", "pgd", "digits"])
def test_a_built_in_one_is_checked_by_its_name(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, lines, _ = check(capsys, name)
    assert code == 0, lines
    assert name in lines[0]


def test_a_name_may_have_dashes_as_in_presets() -> None:
    assert find_target("autoattack-c2").plugin.name == "autoattack_c2"


# -- what is printed ------------------------------------------------------------------------------------------------------


def test_what_fails_is_counted_and_what_needs_it_is_skipped(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source, expected = broken_methods.METHODS["raises"]
    code, lines, _ = check(capsys, write(tmp_path, source))
    assert code == 1
    kinds = [line[:4] for line in lines[1:-1]]
    assert kinds == ["ok  "] * 5 + ["FAIL"] + ["skip"] * (len(METHOD_REQUIREMENTS) - 6)
    assert re.match("FAIL " + expected[0], lines[6])
    assert (
        lines[-1]
        == f"{len(METHOD_REQUIREMENTS)} requirements, 5 hold, 1 failed, {kinds.count('skip')} skipped: they need what failed"
    )


def test_settings_are_given_as_in_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = broken_methods.METHODS["no default"][0]
    path = write(tmp_path, source)
    assert check(capsys, path)[0] == 1
    assert check(capsys, path, "--set", "share=0.5")[0] == 0
    code, _, error = check(capsys, path, "--set", "shrae=0.5")
    assert code == 2
    assert "did you mean 'share'" in error
    assert check(capsys, "pgd", "--set", "steps=3", "step_size=eps/2", "norm=l2", "eps=0.5")[0] == 0
    assert check(capsys, "digits", "--set", "tasks=2")[0] == 0


def test_nothing_is_left_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write(tmp_path, broken_classifiers.METHOD)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    assert check(capsys, path)[0] == 0
    assert [file.name for file in tmp_path.iterdir() if file.name != "__pycache__"] == ["mine.py"]


# -- what cannot be checked at all -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("def broken(:\n", ["line 1"]),
        ("x = 1\n", ["one class that extends one of Method, Attack, Scenario", "found none"]),
        ("import nothing_of_this_name\n", ["cannot be imported", "nothing_of_this_name"]),
        ("from methods.base import Method\nclass Mine(Method):\n    version = 1\n", ["Mine lacks", "load_state"]),
        (broken_classifiers.METHOD + "class Other(Mine):\n    version = 1\n", ["2 (Mine, Other)"]),
        (broken_classifiers.METHOD + broken_scenarios.SOUND.replace("Mine", "Other"), ["found method and scenario"]),
        (broken_classifiers.METHOD.replace("version = 1", "version = None"), ["lacks version"]),
    ],
)
def test_a_file_that_is_no_plugin_is_one_line_and_exit_code_2(
    source: str, words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write(tmp_path, source, f"unusable_{abs(hash(source))}")
    code, _, error = check(capsys, path)
    assert code == 2
    assert len(error.splitlines()) == 1
    assert all(word in error for word in [path, *words]), error


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["nowhere.py"], ["nowhere.py", "no such file"]),
        (["packnett"], ["'packnett'", "did you mean 'packnet'"]),
        (["packnet", "--set", "prune_ratio=1"], ["prune_ratio = 1", "nothing"]),
        (["pgd", "--set", "step=3"], ["'step'", "'steps'"]),
        (["pgd", "--set", "steps=[1, 2]"], ["one value for each field"]),
        (["torchattacks"], ["algorithm", "--set algorithm=VALUE"]),
        (["digits", "--set", "tasks=0"], ["tasks = 0"]),
        (["digits", "--set", "tasks=9"], ["tasks = 9", "5 tasks"]),
        (["image_folder"], ["folders: missing"]),
    ],
)
def test_a_wrong_command_is_one_line_and_exit_code_2(
    arguments: list[str], words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    code, _, error = check(capsys, *arguments)
    assert code == 2
    assert len(error.splitlines()) == 1
    assert all(word in error for word in words), error


@pytest.mark.parametrize(
    ("field", "words"),
    [
        ("eps: float = 0.3", ["field of its own called 'eps'", "self.threat_model.eps"]),
        ("samples: int = 7", ["field of its own called 'samples'", "another name"]),
        ("version: int = 1", ["field of its own called 'version'", "ClassVar[int]"]),
        ("step_size: float = 0.05", ["step_size = 0.05", "Fraction", "column"]),
        ("loss: float = 1.5", ["loss = 1.5", "a text"]),
        ("restarts: float = 1.5", ["restarts = 1.5", "a whole number"]),
        ("table: dict = field(default_factory=dict)", ["unhashable type: 'dict'", "tuples"]),
        ("def __post_init__(self):\n        raise ValueError('planted')", ["cannot be made", "ValueError: planted"]),
    ],
)
def test_an_attack_whose_fields_cannot_be_stored_is_one_line_before_anything_is_run(
    field: str, words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    body = [("    length: float = 0.5\n", f"    length: float = 0.5\n    {field}\n")]
    source = changed(broken_attacks.SOUND.replace("version: ClassVar[int] = 1", "version = 1"), body)
    code, _, error = check(capsys, write(tmp_path, source))
    assert code == 2
    assert len(error.splitlines()) == 1
    assert all(word in error for word in ["error: mine: ", *words]), error


def test_a_name_that_is_taken_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, _, error = check(capsys, write(tmp_path, broken_classifiers.METHOD, "standard"))
    assert code == 2
    assert "exists already" in error


def test_missing_images_say_how_to_get_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("CONTINUAL_CACHE", str(tmp_path / "cache"))
    code, _, error = check(capsys, "cifar100_superclasses", "--data-root", str(tmp_path))
    assert code == 2
    assert str(tmp_path) in error
