"""The time that a job has: what would not end in it is not begun. The clock is a number that the tests move on."""

from __future__ import annotations

import io
import time
from datetime import datetime
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from rich.console import Console

from benchmark.commands.parsing.until import moment_of
from benchmark.commands.run import run
from benchmark.commands.timing import rates as timed
from benchmark.errors import ConfigError
from benchmark.learning.events import Event
from benchmark.planning.options import RunOptions
from benchmark.planning.plan import PER_RUN, PER_TURN, Cost, Rates
from benchmark.running.engines.perform import perform
from benchmark.running.preset_run import prepare
from benchmark.running.seconds.left import ATTACK, BEFORE, END, LEARN, Allowance, OutOfTime, TimeLeft
from tests.benchmark.running.conftest import MadeClock
from tests.benchmark.running.stored import only, table
from tests.tiny import run_tiny, write_preset

RATES = Rates(training=2.0, walking=1.0, exact=1.0)


def begins(left: TimeLeft, kind: str, cost: Cost) -> bool:
    try:
        with left.stage(kind, cost):
            return True
    except OutOfTime:
        return False


def test_a_stage_begins_if_it_ends_in_time_and_not_otherwise(clock: MadeClock) -> None:
    assert begins(TimeLeft(Allowance(10.0, RATES)), ATTACK, Cost(exact=10.0))
    left = TimeLeft(Allowance(10.0, RATES))
    assert not begins(left, ATTACK, Cost(exact=10.1))
    assert left.out
    assert begins(left, ATTACK, Cost(walking=3.0)), "a shorter one may"
    clock.now += 9.0
    assert not begins(left, ATTACK, Cost(walking=3.0))


def test_learning_and_the_end_of_a_run_take_time_beside_their_passes(clock: MadeClock) -> None:
    assert begins(TimeLeft(Allowance(6.0 + PER_TURN, RATES)), LEARN, Cost(training=3.0))
    assert not begins(TimeLeft(Allowance(6.0 + PER_TURN - 0.1, RATES)), LEARN, Cost(training=3.0))
    assert begins(TimeLeft(Allowance(PER_RUN, RATES)), END, Cost())
    assert not begins(TimeLeft(Allowance(PER_RUN - 0.1, RATES)), END, Cost())


def test_the_pace_of_stages_before_counts_for_those_of_their_kind(clock: MadeClock) -> None:
    left = TimeLeft(Allowance(100.0, RATES))
    with left.stage(ATTACK, Cost(exact=3 * BEFORE)):
        clock.now += 7 * BEFORE
    assert left.pace(ATTACK) == 2.0
    assert left.pace(LEARN) == 1.0
    assert not begins(left, ATTACK, Cost(exact=33.0))
    assert begins(left, ATTACK, Cost(exact=32.0))


def test_a_short_stage_tells_little_about_a_long_one(clock: MadeClock) -> None:
    left = TimeLeft(Allowance(100.0, RATES))
    with left.stage(ATTACK, Cost(exact=0.001)):
        clock.now += 0.1
    assert 1 < left.pace(ATTACK) < 1.05


def test_the_time_between_giving_a_job_and_its_begin_is_of_its_own(clock: MadeClock) -> None:
    given = Allowance(10.0, RATES)
    assert begins(TimeLeft(given), ATTACK, Cost(exact=9.0))
    assert not begins(TimeLeft(given.after(2.0)), ATTACK, Cost(exact=9.0))


def test_without_an_end_everything_begins() -> None:
    left = TimeLeft()
    assert begins(left, LEARN, Cost(training=1e30))
    left.raise_if_out()


@pytest.mark.parametrize(
    ("text", "seconds"), [("13m", 780), ("1h30m", 5400), ("45s", 45), (" 2h ", 7200), ("90m", 5400)]
)
def test_a_time_from_now(clock: MadeClock, text: str, seconds: float) -> None:
    assert moment_of(text) == clock.now + seconds


@pytest.mark.parametrize(
    ("text", "seconds"), [("23:15", 900), ("22:59", 86340), ("23:00", 86400), ("0:10", 4200), ("23:00:30", 30)]
)
def test_a_time_of_day_is_the_next_one(clock: MadeClock, text: str, seconds: float) -> None:
    assert moment_of(text, datetime(2026, 3, 1, 23, 0)) == clock.now + seconds


@pytest.mark.parametrize(
    "text", ["", "13", "m", "24:00", "12:60", "1:2", "-5m", "1.5h", "5m1h", "soon", "9" * 400 + "m"]
)
def test_anything_else_is_refused_and_the_message_says_how_it_is_written(text: str) -> None:
    with pytest.raises(ConfigError, match=r"--until .* 13m, 1h30m or 45s, .* 23:15"):
        moment_of(text)


@pytest.mark.parametrize(
    ("rates", "learned"),
    [(Rates(1e9, 0.0, 0.0), 0), (Rates(0.0, 1e9, 0.0), 1)],
    ids=["no time to learn", "no time to attack"],
)
def test_a_job_leaves_what_does_not_fit_and_the_same_command_ends_as_if_nothing_had_been_left(
    tmp_path: Path, rates: Rates, learned: int
) -> None:
    """Attacks that walk in another precision are the dear ones here; the clean images are asked about in float32."""
    evaluation = {"precision": "bf16"}
    work = prepare(
        RunOptions(
            str(write_preset(tmp_path, evaluation=evaluation)),
            results=tmp_path / "runs",
            published=tmp_path / "published",
            workers=1,
        )
    )
    told: list[Event] = []
    result = perform(work.jobs[0], work.machine, work.tasks, told.append, Allowance(1e6, rates))
    assert (result.left, result.failures, result.learned) == (True, (), False)
    assert told[-1].kind == "left"
    directory = tmp_path / "runs" / work.jobs[0].hash[:16]
    assert len(list(directory.glob("checkpoints/task-*.json"))) == learned
    assert len(list(directory.glob("predictions/*.parquet"))) == (1 if learned else 0)
    assert not (directory / "running").exists()
    assert run_tiny(tmp_path, evaluation=evaluation) == 0
    assert run_tiny(tmp_path, results="whole", evaluation=evaluation) == 0
    assert table(only(tmp_path)).equals(table(only(tmp_path, "whole")))


def command(
    folder: Path, monkeypatch: pytest.MonkeyPatch, seconds: float, changes: dict[str, Any] | None = None, **options: Any
) -> str:
    """Run the tiny preset until so many seconds from now, at a pass per second. Returns what is printed."""
    monkeypatch.setattr(timed, "measure_rates", lambda *given: Rates(1.0, 1.0, 1.0))
    told = io.StringIO()
    runs = {"results": folder / "runs", "published": folder / "published", "workers": 1}
    given = RunOptions(
        str(write_preset(folder, **(changes or {}))), until=time.monotonic() + seconds, **runs, **options
    )
    assert run(given, Console(file=told, width=200)) == 0, "nothing failed"
    return told.getvalue()


def test_a_run_whose_answers_cannot_be_made_again_in_time_is_left_and_not_complete_without_them(tmp_path: Path) -> None:
    assert run_tiny(tmp_path) == 0
    facts = only(tmp_path).directory / "facts"
    before = pd.read_parquet(facts / "afresh.parquet")
    for name in ("afresh", "cost"):
        (facts / f"{name}.parquet").unlink()
    work = prepare(
        RunOptions(str(tmp_path / "tiny.yaml"), results=tmp_path / "runs", published=tmp_path / "published", workers=1)
    )
    rates = Rates(1e9, 1e9, 1e9)
    result = perform(work.jobs[0], work.machine, work.tasks, lambda event: None, Allowance(100.0, rates))
    assert (result.left, result.failures) == (True, ())
    assert not (facts / "cost.parquet").exists()
    assert run_tiny(tmp_path) == 0
    assert len(pd.read_parquet(facts / "afresh.parquet")) == len(before)


def test_transfers_that_are_left_are_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [{"method": "standard"}, {"method": "madry_at"}]
    matrix = {"attack": "pgd", "steps": 2, "step_size": "eps/4"}
    evaluation = {"matrix": [{"attack": "clean"}, matrix], "final": []}
    assert run_tiny(tmp_path, rows=rows, evaluation=evaluation) == 0
    evaluation["final"] = [{**matrix, "from": ["standard"]}]
    told = command(tmp_path, monkeypatch, 0, {"methods": rows, "evaluation": evaluation})
    assert "0 tasks to learn and 2 cells to attack are left of 1 run: madry_at (seed 0); the same" in told


def test_a_command_without_time_left_says_what_is_left_and_does_not_fail(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = command(tmp_path, monkeypatch, 0)
    assert "time is up; 2 tasks to learn and 8 cells to attack are left of 1 run: madry_at (seed 0); the same" in told
    assert not list(tmp_path.glob("runs/*/checkpoints/*"))


@pytest.mark.parametrize(("seconds", "fits", "count"), [(1e9, "yes", 1), (1e2, "in part", 0), (0, "no", 0)])
def test_a_dry_run_says_which_runs_fit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seconds: float, fits: str, count: int
) -> None:
    told = command(tmp_path, monkeypatch, seconds, dry_run=True)
    row = next(line for line in told.splitlines() if "madry_at" in line)
    assert fits in row
    assert f"{count} of 1 runs fit into" in told
