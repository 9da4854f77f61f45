"""The command line answers at once what needs no torch, shows examples that work, and lets the shell complete names."""

from __future__ import annotations

import argparse
import os
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmark import cli
from benchmark.commands.parsing import choices
from benchmark.commands.parsing.options import OneLineParser
from benchmark.plugins import ATTACKS, METHODS, SCENARIOS
from tests.conftest import REPOSITORY
from tests.tiny import run_tiny

WHICH_ARE_IMPORTED = """
import sys
from pathlib import Path
from benchmark.cli import main
from benchmark.commands import report
report.PUBLISHED = Path("nowhere")
try:
    code = main({words!r})
except SystemExit as stop:
    code = stop.code or 0
print("imported:", *sorted({{"torch", "pandas", "rich"}} & set(sys.modules)))
sys.exit(code)
"""


def imported_by(*words: str) -> tuple[int, set[str]]:
    """The exit code of a command in a process of its own, and the large libraries that it imported."""
    script = WHICH_ARE_IMPORTED.format(words=words)
    ran = subprocess.run([sys.executable, "-c", script], cwd=REPOSITORY, capture_output=True, text=True, check=False)
    last = ran.stdout.splitlines()[-1]
    assert last.startswith("imported:"), ran.stderr
    return ran.returncode, set(last.split()[1:])


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["--help"], 0),
        (["run", "--help"], 0),
        (["audit", "--help"], 0),
        (["--version"], 0),
        (["rum"], 2),
        (["run"], 2),
        (["run", "--preset", "digitz"], 2),
        (["evaluate", "mine.py", "--preset", "digitz", "--task", "0"], 2),
        (["run", "--preset", "digits", "--seeds", "x"], 2),
        (["run", "--preset", "digits", "--workers", "0"], 2),
        (["run", "--preset", "digits", "--device", "gpu"], 2),
        (["run", "--preset", "digits", "--methods", "madri_at"], 2),
        (["run", "--preset", "digits-full", "--methods", "packnet+trade"], 2),
        (["run", "--preset", "digits", "--set", "recipe.epochs"], 2),
        (["run", "--preset", "digits", "--dry"], 2),
        (["evaluate", "nowhere.py", "--preset", "digits", "--task", "0"], 2),
        (["new-method", "cmat"], 2),
        (["report", "--results", "nowhere"], 2),
        (["verify", "cmat", "--task", "0"], 2),
    ],
)
def test_help_and_mistakes_import_nothing_large(words: list[str], code: int) -> None:
    found, imported = imported_by(*words)
    assert found == code
    assert imported <= {"rich"}


def test_presets_are_listed_without_torch_and_pandas() -> None:
    assert imported_by("list", "presets") == (0, {"rich"})


def test_report_imports_no_torch(tmp_path: Path) -> None:
    assert run_tiny(tmp_path) == 0
    code, imported = imported_by("report", "--results", str(tmp_path / "runs"), "--output", str(tmp_path / "out"))
    assert code == 0
    assert imported == {"pandas", "rich"}
    assert "madry_at" in (tmp_path / "out" / "leaderboard.csv").read_text()


def test_stored_runs_are_listed_without_torch(tmp_path: Path) -> None:
    assert imported_by("list", "runs", "--results", str(tmp_path)) == (0, {"pandas", "rich"})


# -- help ------------------------------------------------------------------------------------------------------------------------


def parsers() -> Iterator[argparse.ArgumentParser]:
    """The parser of the command line and those of all commands."""
    top = cli.make_parser()
    yield top
    for action in top._actions:
        if isinstance(action, argparse._SubParsersAction):
            yield from action.choices.values()


def examples(parser: argparse.ArgumentParser) -> list[str]:
    lines = [line.strip() for line in (parser.epilog or "").splitlines()]
    return [line for line in lines if line.startswith("python run_benchmark.py ")]


def exit_code_of_parsing(line: str) -> int:
    try:
        cli.make_parser().parse_args(shlex.split(line)[2:])
    except SystemExit as stop:  # --help
        return int(stop.code or 0)
    return 0


@pytest.mark.parametrize("parser", list(parsers()), ids=lambda parser: parser.prog)
def test_every_help_shows_examples_that_are_right(
    parser: argparse.ArgumentParser, capsys: pytest.CaptureFixture[str]
) -> None:
    found = examples(parser)
    assert found
    for line in found:
        assert exit_code_of_parsing(line) == 0, capsys.readouterr().err
        assert line in parser.format_help()


def test_the_commands_are_those_that_scripts_know() -> None:
    named = [parser.prog.split()[-1] for parser in parsers() if isinstance(parser, OneLineParser)]
    assert {"run", "report", "list", "evaluate", "audit", "verify", "check", "new-method", "time"} <= set(named)


def test_options_take_several_words_and_may_be_repeated() -> None:
    words = "run --preset digits --methods cmat mine.py --seeds 0 1 2 --set eps=0.1 recipe.epochs=2 --set seeds=[1]"
    options = cli.make_parser().parse_args(words.split())
    assert options.methods == ["cmat", "mine.py"]
    assert options.seeds == [0, 1, 2]
    assert options.overrides == ["eps=0.1", "recipe.epochs=2", "seeds=[1]"]


def test_the_version_names_the_package_and_the_commit(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        cli.main(["--version"])
    assert not stop.value.code
    shown = capsys.readouterr().out
    assert shown.startswith("continual-adversarial-benchmark 0.")
    if (REPOSITORY / ".git").exists():
        head = ["git", "rev-parse", "HEAD"]
        assert subprocess.run(head, cwd=REPOSITORY, capture_output=True, text=True, check=True).stdout.strip() in shown


def test_the_recorded_command_hides_places_however_they_are_given() -> None:
    given = ["run", "--results", "/home/me", "--data-root=/home/data", "--seeds", "1", "--set", "results=5"]
    assert cli.recorded(given) == (
        "python run_benchmark.py run --results DIR --data-root=DIR --seeds 1 --set results=5"
    )


# -- completion ------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("kind", "plugins"), [("methods", METHODS), ("attacks", ATTACKS), ("scenarios", SCENARIOS)])
def test_names_for_the_shell_are_those_of_the_plugins(kind: str, plugins: object) -> None:
    names = [name.replace("-", "_") for name in choices.plugin_names(kind)]
    assert names == sorted(plugins.all())  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("run --preset digits-", {"digits-full"}),
        ("run --preset digits --methods cmat pack", {"packnet"}),
        ("check autoattack", {"autoattack", "autoattack-c2", "autoattack-c3"}),
        ("eval", {"evaluate"}),
        ("run --preset digits --str", {"--strict"}),
        ("list pre", {"presets"}),
    ],
)
def test_the_shell_completes(line: str, expected: set[str], tmp_path: Path) -> None:
    words, file = f"run_benchmark.py {line}", tmp_path / "words"
    shell = {"_ARGCOMPLETE": "1", "_ARGCOMPLETE_IFS": "\n", "_ARGCOMPLETE_STDOUT_FILENAME": str(file)}
    environment = {**os.environ, **shell, "COMP_LINE": words, "COMP_POINT": str(len(words))}
    subprocess.run([sys.executable, "run_benchmark.py"], cwd=REPOSITORY, env=environment, check=True)
    assert {word.strip() for word in file.read_text().splitlines()} == expected


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_shell_can_load_its_completion(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["completion", shell]) == 0
    code = capsys.readouterr().out
    assert "run_benchmark.py" in code
    if shell == "bash":
        subprocess.run(["bash", "-n"], input=code, text=True, check=True)


def test_the_script_may_be_completed() -> None:
    head = (REPOSITORY / "run_benchmark.py").read_text()[:1024]
    assert "PYTHON_ARGCOMPLETE_OK" in head
    assert os.access(REPOSITORY / "run_benchmark.py", os.X_OK)
