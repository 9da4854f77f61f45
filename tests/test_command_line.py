"""The command line as a user meets it: exit codes, one clear line, nothing harmed."""

from __future__ import annotations

import contextlib
import io
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from benchmark import cli
from benchmark.commands import report
from results import load
from tests.benchmark import plugin_methods
from tests.conftest import REPOSITORY
from tests.tiny import write_preset


@pytest.fixture
def no_published_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Reports show the test's own runs alone: reading the published ones takes half a minute."""
    monkeypatch.setattr(report, "PUBLISHED", tmp_path / "published")


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The folder of one finished run of seed 3, and what the command printed."""
    folder = tmp_path_factory.mktemp("finished")
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        preset = str(write_preset(folder))
        assert call("run", "--preset", preset, "--results", str(folder / "runs"), "--seeds", "3") == 0
    return folder / "runs", printed.getvalue()


def call(*arguments: str) -> int:
    try:
        return cli.main(arguments)
    except SystemExit as stop:  # argparse
        return int(stop.code or 0)


def one_line(captured: str) -> str:
    lines = [line for line in captured.strip().splitlines() if line.startswith(("error:", "run_benchmark.py"))]
    assert len(lines) == 1, captured
    return lines[0]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--preset", "digitz"], ["'digitz'", "did you mean 'digits'"]),
        (["--preset", "digits", "--methods", "madri_at"], ["'madri_at'", "did you mean 'madry_at'"]),
        (["--preset", "digits", "--methods", "nowhere/mine.py"], ["mine.py", "no such file"]),
        (["--preset", "digits", "--set", "recipe.epoch=3"], ["recipe.epoch", "'epochs'"]),
        (["--preset", "digits", "--set", "eps=2"], ["eps = 2"]),
        (["--preset", "digits", "--set", "scenario.tasks=9"], ["tasks = 9", "5 tasks"]),
        (["--preset", "digits", "--seeds"], ["--seeds"]),
        (["--preset", "digits", "--workers", "0"], ["--workers 0"]),
        (["--preset", "digits", "--workers", "5000"], ["--workers 5000", "core"]),
        (["--preset", "digits", "--set", "backbone.name=vgg16_bn"], ["vgg16_bn", "17x17", "small_conv"]),
        (["--preset", "digits", "--set", "recipe.augmentation=shfit"], ["shfit", "shift"]),
        (["--preset", "digits", "--set", "recipe.learning_rate=.inf"], ["recipe.learning_rate", "finite"]),
        (["--preset", "digits", "--set", "methods.madry_at.recipe=5"], ["methods.LABEL.setting"]),
        (["--preset", "digits", "--set", "methods.cmat.prune_epochs.x=1"], ["prune_epochs", "no keys"]),
        (["--preset", "digits", "--set", "methods.packnet.prune_ratio=1"], ["packnet", "prune_ratio = 1", "nothing"]),
        (["--preset", "digits", "--set", "methods.cmat.mu=0.5"], ["cmat", "mu = 0.5", "1"]),
        (["--preset", "digits", "--set", "recipe.epochs=1", "recipe.epochs=2"], ["recipe.epochs", "twice"]),
    ],
)
def test_a_wrong_command_is_one_line_and_exit_code_2(
    arguments: list[str], words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call("run", *arguments, "--results", str(tmp_path / "runs")) == 2
    line = one_line(capsys.readouterr().err)
    assert all(word in line for word in words), line
    assert not list(tmp_path.rglob("config.json"))


def test_a_missing_data_set_says_where_it_was_looked_for_and_how_to_get_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--preset", "cifar100-cpu", "--data-root", str(tmp_path), "--results", str(tmp_path / "runs")]
    assert call("run", *arguments) == 2
    line = one_line(capsys.readouterr().err)
    assert str(tmp_path) in line
    assert "--download" in line


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tmp_path.chmod(0o500)
    assert call("run", "--preset", "digits", "--results", str(tmp_path / "runs")) == 2
    assert str(tmp_path / "runs") in one_line(capsys.readouterr().err)


def test_a_results_path_that_is_a_file_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").touch()
    assert call("run", "--preset", "digits", "--results", str(tmp_path / "file")) == 2
    assert str(tmp_path / "file") in one_line(capsys.readouterr().err)


def test_a_gpu_that_is_not_there_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    assert call("run", "--preset", "digits", "--device", "cuda", "--results", str(tmp_path)) == 2
    assert "--device cpu" in one_line(capsys.readouterr().err)


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("def broken(:\n", ["line 1"]),
        ("x = 1\n", ["expected one class", "none"]),
        ("import nothing_of_this_name\n", ["nothing_of_this_name"]),
        (
            "from methods.base import Method\nclass Mine(Method):\n    version = 1\n",
            ["Mine lacks", "load_state", "begin"],
        ),
        (plugin_methods.HEAD.replace("    version = 1\n", "    version = None\n"), ["lacks version"]),
        (plugin_methods.HEAD + plugin_methods.HEAD.replace("Mine", "Other"), ["2 (Mine, Other)"]),
        ("import sys\nsys.exit(3)\n", ["ends the program with sys.exit(3)", "line 2"]),
        ("exit()\n", ["ends the program with sys.exit()", "cannot be imported"]),
        ("class Odd(BaseException):\n    pass\nraise Odd('so')\n", ["cannot be imported (Odd: so)"]),
        ("raise ValueError('\\x1b[31mred' + 'x' * 9999)\n", [r"ValueError: \x1b[31mred", "..."]),
    ],
)
def test_a_broken_method_file_is_named_with_its_cause(
    source: str, words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = plugin_methods.write(tmp_path, source, f"broken_{abs(hash(source))}")
    assert call("run", "--preset", "digits", "--methods", path, "--results", str(tmp_path / "runs")) == 2
    line = one_line(capsys.readouterr().err)
    assert all(word in line for word in [*words, path]), line


def test_a_plug_in_that_ends_the_program_while_a_run_is_planned_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = f"{plugin_methods.HEAD}\n    @classmethod\n    def check(cls, settings, network):\n        raise SystemExit(0)\n"
    path = plugin_methods.write(tmp_path, source, "ends")
    assert call("run", "--preset", "digits", "--methods", path, "--results", str(tmp_path / "runs"), "--dry-run") == 2
    assert re.search(
        r"plug-in ends the program with sys.exit\(0\), .*ends\.py, line \d+$", one_line(capsys.readouterr().err)
    )


def test_ctrl_c_while_a_plug_in_is_imported_stops(tmp_path: Path) -> None:
    path = plugin_methods.write(tmp_path, "raise KeyboardInterrupt\n", "stopped")
    assert call("run", "--preset", "digits", "--methods", path, "--results", str(tmp_path / "runs")) == 130


def test_a_method_file_may_not_take_a_built_in_methods_name(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = plugin_methods.write(tmp_path, plugin_methods.HEAD, "standard")
    assert call("run", "--preset", "digits", "--methods", path, "--results", str(tmp_path / "runs")) == 2
    assert "exists already" in one_line(capsys.readouterr().err)


@pytest.mark.parametrize("what", ["methods", "attacks", "scenarios", "presets", "runs"])
def test_list_names_what_there_is(what: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call("list", what, "--results", str(tmp_path)) == 0
    expected = {"methods": "madry_at", "attacks": "pgd", "scenarios": "digits", "presets": "cifar100", "runs": "runs"}
    assert expected[what] in capsys.readouterr().out


@pytest.mark.usefixtures("no_published_runs")
def test_a_run_with_a_failing_method_ends_with_1_and_the_report_shows_it_as_failed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = plugin_methods.write(tmp_path, plugin_methods.RAISES, "failing")
    preset, runs = str(write_preset(tmp_path)), str(tmp_path / "runs")
    assert call("run", "--preset", preset, "--methods", path, "madry_at", "--results", runs) == 1
    assert call("report", "--results", runs, "--output", str(tmp_path / "out")) == 0
    board = (tmp_path / "out" / "leaderboard.csv").read_text()
    assert "failing" in board
    assert "planted failure" in (tmp_path / "out" / "leaderboard.md").read_text()
    capsys.readouterr()


def test_options_that_are_given_twice_add_up(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["run", "--preset", str(write_preset(tmp_path)), "--results", str(tmp_path / "runs"), "--dry-run"]
    assert call(*words, "--seeds", "3", "--seeds", "4", "--methods", "madry_at", "--methods", "standard") == 0
    planned = re.findall(r"(madry_at|standard)\W+(\d)\b", capsys.readouterr().out)
    assert sorted(planned) == [(label, seed) for label in ("madry_at", "standard") for seed in "34"]


@pytest.mark.usefixtures("no_published_runs")
def test_the_end_of_a_run_names_the_report_that_shows_it(finished: tuple[Path, str], tmp_path: Path) -> None:
    shown = finished[1].rpartition("`python run_benchmark.py ")[2].partition("`")[0]
    assert call(*shown.split(), "--output", str(tmp_path / "out")) == 0
    assert "madry_at" in (tmp_path / "out" / "leaderboard.csv").read_text()


def test_words_that_an_output_cannot_encode_do_not_end_the_report(finished: tuple[Path, str], tmp_path: Path) -> None:
    words = ["report", "--results", str(finished[0]), "--output", str(tmp_path / "out")]
    # Without the published runs, as above.
    program = (
        "import sys, pathlib; from benchmark import cli; from benchmark.commands import report;"
        f"report.PUBLISHED = pathlib.Path({str(tmp_path)!r}); sys.exit(cli.main(sys.argv[1:]))"
    )
    command = [sys.executable, "-c", program, *words]
    environment = {**os.environ, "PYTHONIOENCODING": "ascii"}
    ended = subprocess.run(command, cwd=REPOSITORY, env=environment, capture_output=True, check=False)
    assert ended.returncode == 0, ended.stderr


def test_the_recorded_command_says_what_was_run_but_not_where(finished: tuple[Path, str]) -> None:
    (run,) = load(finished[0], None).runs
    assert "--results DIR --seeds 3" in run.protocols["tiny"]["command"]


def test_a_mistyped_results_folder_is_named_and_no_page_is_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for command in ("report", "list"):
        words = ["runs"] if command == "list" else ["--output", str(tmp_path / "out")]
        assert call(command, *words, "--results", str(tmp_path / "typo")) == 2
        assert "typo" in one_line(capsys.readouterr().err)
    assert not (tmp_path / "out").exists()


@pytest.mark.usefixtures("no_published_runs")
def test_a_report_that_cannot_be_written_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "runs").mkdir()
    assert call("report", "--results", str(tmp_path / "runs"), "--output", str(tmp_path / "file" / "out")) == 2
    assert str(tmp_path / "file") in one_line(capsys.readouterr().err)


@pytest.mark.parametrize(
    "arguments", [["rum"], ["run"], ["run", "--preset", "digits", "--seeds", "x"], ["list", "runz"]]
)
def test_a_usage_error_is_one_line(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert call(*arguments) == 2
    assert len(capsys.readouterr().err.strip().splitlines()) == 1


@pytest.mark.usefixtures("no_published_runs")
def test_a_report_of_nothing_is_a_sensible_page(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "none").mkdir()
    assert call("report", "--results", str(tmp_path / "none"), "--output", str(tmp_path / "out")) == 0
    assert (tmp_path / "out" / "index.html").exists()
    assert capsys.readouterr().out.strip()


DISTURBED = (
    plugin_methods.HEAD
    + """
    def classifier(self, task):
        network = super().classifier(task)
        network.register_forward_hook(lambda module, images, logits: logits + 0.01 * torch.randn_like(logits))
        return network
"""
)


def test_strict_runs_end_with_1_if_a_check_of_a_row_that_was_asked_for_fails(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = plugin_methods.write(tmp_path, DISTURBED, "disturbed")
    common = ["run", "--preset", str(write_preset(tmp_path)), "--results", str(tmp_path / "runs")]
    assert call(*common, "--methods", path, "madry_at") == 0
    assert "failed:" not in capsys.readouterr().out
    # Everything is stored by now: verdicts count all the same.
    assert call(*common, "--methods", path, "madry_at", "--strict") == 1
    shown = capsys.readouterr().out
    assert "failed: disturbed seed 0: check repeatable: " in shown
    assert "Nothing to do" in shown
    assert call(*common, "--methods", "madry_at", "--strict") == 0
    assert "failed:" not in capsys.readouterr().out
