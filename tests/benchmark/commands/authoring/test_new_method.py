"""`new-method`: what it writes works as it stands, and nothing that is there is harmed."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from benchmark import cli
from benchmark.commands.authoring import new_method as new_method_command
from benchmark.commands.authoring.new_method import METHOD, TEST
from benchmark.contract import problems_of
from tests.conftest import REPOSITORY
from tests.warm import python


def new_method(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    """Exit code, output, and what went to stderr."""
    code = cli.main(["new-method", *map(str, arguments)])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def files(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*.py"))


def pytest_of(path: Path, output: Path) -> tuple[int | None, str]:
    """The exit code and the output of a run as its reader is told to do it: from the repository's root."""
    words = ["-m", "pytest", "-q", "-p", "no:cacheprovider", str(path)]
    code = python(words, REPOSITORY, os.environ, output, seconds=600)
    return code, output.read_text()


def test_what_it_writes_passes_its_own_test_which_can_fail(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, _, _ = new_method(capsys, "my_method2", "--folder", tmp_path)
    assert code == 0
    assert files(tmp_path) == ["my_method2.py", "test_my_method2.py"]
    test, output = tmp_path / "test_my_method2.py", tmp_path / "printed"
    code, printed = pytest_of(test, output)
    assert code == 0, printed
    path = tmp_path / "my_method2.py"
    source = path.read_text()
    path.write_text(source.replace(".materialise()", "").replace("* self.settings.later_rate", ""))
    code, printed = pytest_of(test, output)
    assert code == 1
    assert "is not in eval mode" in printed
    assert "test_the_lower_the_later_rate" in printed


def test_it_keeps_the_contract_and_says_what_to_do_next(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _, out, _ = new_method(capsys, "my_method", "--folder", tmp_path)
    file = str(tmp_path / "my_method.py")
    for command in (
        f"check {file}",
        f"-m pytest {tmp_path / 'test_my_method.py'}",
        f"run --preset digits --methods {file}",
    ):
        assert command in out
    assert problems_of(file, tmp_path / "trial") == []
    assert "class MyMethod(Method):" in Path(file).read_text()
    assert not re.search(
        "skeleton", Path(file).read_text() + (tmp_path / "test_my_method.py").read_text(), re.IGNORECASE
    )


def test_here_is_the_default(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert new_method(capsys, "mine")[0] == 0
    assert files(tmp_path) == ["mine.py", "test_mine.py"]


def test_in_the_repository_the_test_goes_to_the_tests(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "methods").mkdir()
    (tmp_path / "tests" / "methods").mkdir(parents=True)
    monkeypatch.setattr(new_method_command, "ROOT", tmp_path)
    monkeypatch.chdir(tmp_path)
    code, out, _ = new_method(capsys, "mine", "--folder", "methods")
    assert code == 0
    assert files(tmp_path) == ["methods/mine.py", "tests/methods/test_mine.py"]
    assert "--methods mine\n" in out
    test = tmp_path / "tests" / "methods" / "test_mine.py"
    code, printed = pytest_of(test, tmp_path / "printed")
    assert code == 0, printed


def test_a_method_of_the_repository_is_found_by_its_file(tmp_path: Path) -> None:
    assert problems_of(REPOSITORY / "methods" / "madry_at.py", tmp_path) == []


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("my-method", ["snake case"]),
        ("MyMethod", ["snake case"]),
        ("2nd", ["snake case"]),
        ("my__method", ["snake case"]),
        ("../mine", ["snake case"]),
        ("mine.py", ["snake case"]),
        ("class", ["snake case"]),
        ("packnet", ["exists already"]),
        ("method", ["would be called Method"]),
        ("state", ["would be called State"]),
    ],
)
def test_a_name_that_no_method_can_have_is_one_line_and_exit_code_2(
    name: str, words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, _, error = new_method(capsys, name, "--folder", tmp_path)
    assert code == 2
    assert len(error.splitlines()) == 1
    assert all(word in error for word in [name, *words]), error
    assert files(tmp_path) == []


@pytest.mark.parametrize("there", ["mine.py", "test_mine.py"])
def test_nothing_is_overwritten(there: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / there).write_text("precious")
    code, _, error = new_method(capsys, "mine", "--folder", tmp_path)
    assert code == 2
    assert there in error
    assert files(tmp_path) == [there]
    assert (tmp_path / there).read_text() == "precious"


def test_a_folder_that_is_not_there_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, _, error = new_method(capsys, "mine", "--folder", tmp_path / "nowhere")
    assert code == 2
    assert "nowhere: no such folder" in error


def test_the_templates_are_as_long_as_one_reads() -> None:
    assert len(METHOD.read_text().splitlines()) <= 65
    assert len(TEST.read_text().splitlines()) <= 35
