"""The order of jobs, on places that execute nothing."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest

from benchmark.planning.jobs import Job
from benchmark.planning.plan import Rates
from benchmark.running.engines import schedule as scheduling
from benchmark.running.engines.base import JobEnd
from benchmark.running.engines.forecast import ends
from benchmark.running.engines.schedule import Until
from benchmark.running.seconds.left import Allowance
from results.records import DIRECTORY_DIGITS
from tests.benchmark.running.conftest import MadeClock
from tests.benchmark.running.engines.fake_workers import DEATH, FakeWorkers, planned, schedule

RATES = Rates(1.0, 1.0, 1.0)
FAILS = {"failures": ("broken",), "learned": False}


def test_the_longest_jobs_begin_first(tmp_path: Path) -> None:
    workers = FakeWorkers()
    schedule(planned(("short", 1), ("long", 9), ("middle", 5)), workers, tmp_path)
    assert workers.started == ["long", "middle", "short"]


def test_a_job_that_a_long_one_waits_for_begins_before_a_longer_one_that_nothing_waits_for(tmp_path: Path) -> None:
    workers = FakeWorkers()
    schedule(planned(("alone", 5), ("needed", 1), ("waits", 6, ["needed"])), workers, tmp_path)
    assert workers.started == ["needed", "waits", "alone"]


def test_of_equal_ways_to_the_end_the_one_that_more_wait_for_begins_first(tmp_path: Path) -> None:
    workers = FakeWorkers()
    jobs = planned(("a", 1), ("b", 1), ("of_a", 2, ["a"]), ("of_b", 2, ["b"]), ("too", 2, ["b"]))
    schedule(jobs, workers, tmp_path)
    assert workers.started[0] == "b"


def test_no_job_begins_before_what_it_needs_has_ended_and_all_places_are_used(tmp_path: Path) -> None:
    workers = FakeWorkers(3)
    jobs = planned(("a", 1), ("b", 1), ("c", 9, ["a", "b"]), ("d", 1, ["c"]), ("e", 1))
    results, _ = schedule(jobs, workers, tmp_path)
    order = workers.started
    assert max(order.index("a"), order.index("b")) < order.index("c") < order.index("d")
    assert workers.side_by_side == 3
    assert not any(result.failures for result in results.values())


def test_a_failed_job_fails_those_that_need_it_and_no_others(tmp_path: Path) -> None:
    workers = FakeWorkers(1, a=[FAILS])
    results, told = schedule(planned(("a", 9), ("of_a", 1, ["a"]), ("deep", 1, ["of_a"]), ("b", 1)), workers, tmp_path)
    assert workers.started == ["a", "b"]
    assert "prerequisite a failed" in results["of_a"].failures[0]
    assert "prerequisite of_a failed" in results["deep"].failures[0]
    assert not results["b"].failures
    assert [event.job for event in told if event.kind == "failed"] == ["of_a", "deep"]


def test_a_job_that_failed_but_learned_is_enough_for_those_that_need_it(tmp_path: Path) -> None:
    workers = FakeWorkers(1, a=[{"failures": ("an attack crashed",)}])
    results, _ = schedule(planned(("a", 9), ("of_a", 1, ["a"])), workers, tmp_path)
    assert workers.started == ["a", "of_a"]
    assert not results["of_a"].failures


def test_a_dead_job_is_tried_again_at_once_and_the_others_are_not_disturbed(tmp_path: Path) -> None:
    workers = FakeWorkers(1, a=["dead", "dead"])
    results, told = schedule(planned(("a", 9), ("b", 1), ("of_a", 1, ["a"])), workers, tmp_path)
    assert workers.started[:3] == ["a", "a", "a"]
    assert sorted(workers.started[3:]) == ["b", "of_a"]
    assert not any(result.failures for result in results.values())
    assert [event.text for event in told] == [
        f"{DEATH}; tried again from its last checkpoint ({n} of 2)" for n in (1, 2)
    ]
    assert not (tmp_path / "runs").exists(), "a death that was made good is no failure"


@pytest.mark.parametrize("retries", [0, 2])
def test_a_job_that_dies_again_and_again_is_recorded_as_failed_and_the_others_finish(
    tmp_path: Path, retries: int
) -> None:
    workers = FakeWorkers(2, a=["dead"] * 9)
    results, told = schedule(planned(("a", 9), ("of_a", 1, ["a"]), ("b", 1)), workers, tmp_path, retries=retries)
    assert workers.started.count("a") == retries + 1
    assert DEATH in results["a"].failures[0]
    assert not results["b"].failures
    (line,) = (tmp_path / "runs" / "a"[:DIRECTORY_DIGITS] / "failures.jsonl").read_text().splitlines()
    assert json.loads(line)["kind"] == "killed"
    assert [event.kind for event in told if event.job == "a"] == ["note"] * retries + ["failed"]


def test_a_job_whose_learning_was_killed_is_tried_again_and_keeps_the_failure_that_it_recorded(tmp_path: Path) -> None:
    killed = {
        "failures": ("b: learn: its process was killed; the same command goes on",),
        "learned": False,
        "again": True,
    }
    workers = FakeWorkers(1, a=[killed], b=[killed, killed, killed])
    results, told = schedule(planned(("a", 9), ("b", 1)), workers, tmp_path)
    assert workers.started == ["a", "a", "b", "b", "b"]
    assert not results["a"].failures
    assert results["b"].failures == killed["failures"]
    events = [event for event in told if event.job == "b"]
    assert [event.kind for event in events] == ["note", "note", "failed"]
    assert events[0].text == "learn: its process was killed; tried again from its last checkpoint (1 of 2)"


def test_a_run_that_another_process_works_on_is_waited_for_while_others_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scheduling, "HELD_SECONDS", 0.001)
    held = {"learned": False, "held": "process 7 is working on this run"}
    workers = FakeWorkers(1, a=[held, held, held])
    results, told = schedule(planned(("a", 9), ("b", 1)), workers, tmp_path)
    assert workers.started.count("a") == 4
    assert workers.started[1] == "b"
    assert not any(result.failures for result in results.values())
    assert [event.text for event in told] == ["process 7 is working on this run; it is waited for"], "once"


def test_a_held_run_that_is_due_is_left_alone_until_a_place_is_free(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scheduling, "HELD_SECONDS", 0.001)
    asked: list[float | None] = []

    class Busy(FakeWorkers):
        """One place, at which `b` ends for those who wait for it."""

        def ended(self, timeout: float | None = None) -> list[JobEnd]:
            if self.started[-1] == "b":
                asked.append(timeout)
                assert len(asked) < 5, "asked again and again, which takes a processor from the runs"
                if timeout is not None:
                    time.sleep(0.002)
                    return []
            return super().ended(timeout)

    workers = Busy(1, a=[{"learned": False, "held": "process 7 is working on this run"}])
    schedule(planned(("a", 9), ("b", 1)), workers, tmp_path)
    assert workers.started == ["a", "b", "a"]
    assert asked == [None], "as long as it takes"


def test_when_time_is_up_nothing_runs_any_more_and_nothing_has_failed(clock: MadeClock, tmp_path: Path) -> None:
    workers = FakeWorkers(2, a=["endless"])
    jobs = planned(("a", 9), ("of_a", 1, ["a"]), ("b", 5))
    results, told = schedule(jobs, workers, tmp_path, Until(clock.now + 5, RATES))
    assert workers.started == ["a", "b"]
    assert [results[name].left for name in ("a", "of_a", "b")] == [True, True, False]
    assert not any(result.failures for result in results.values())
    assert {event.job for event in told if event.kind == "left"} == {"a", "of_a"}


def test_a_job_is_told_how_much_time_there_is(clock: MadeClock, tmp_path: Path) -> None:
    workers = FakeWorkers()
    schedule(planned(("a", 1), ("b", 1)), workers, tmp_path, Until(clock.now + 100, RATES))
    first, second = workers.allowances
    assert first is not None
    assert second is not None
    assert 0 < second.seconds <= first.seconds <= 100
    assert first.rates == RATES


def test_nothing_begins_when_time_is_up(clock: MadeClock, tmp_path: Path) -> None:
    workers = FakeWorkers()
    results, _ = schedule(planned(("a", 1)), workers, tmp_path, Until(clock.now - 1, RATES))
    assert workers.started == []
    assert results["a"].left


def test_a_job_that_left_something_leaves_those_that_need_it_and_others_use_the_time(
    clock: MadeClock, tmp_path: Path
) -> None:
    workers = FakeWorkers(1, a=[{"learned": False, "left": True}])
    jobs = planned(("a", 9), ("of_a", 1, ["a"]), ("b", 1))
    results, _ = schedule(jobs, workers, tmp_path, Until(clock.now + 100, RATES))
    assert workers.started == ["a", "b"]
    assert results["of_a"].left
    assert not any(result.failures for result in results.values())


def test_the_places_are_stopped_when_the_command_is(tmp_path: Path) -> None:
    workers = FakeWorkers(1, a=[KeyboardInterrupt()])
    with pytest.raises(KeyboardInterrupt):
        schedule(planned(("a", 1)), workers, tmp_path)
    assert workers.stopped


def test_a_forecast_follows_prerequisites_and_places() -> None:
    jobs = planned(("alone", 5), ("needed", 1), ("waits", 6, ["needed"]), ("last", 2))
    seconds = {item.job.hash: item.passes for item in jobs}
    assert ends(jobs, seconds, 1) == {"needed": 1, "waits": 7, "alone": 12, "last": 14}
    assert ends(jobs, seconds, 2) == {"needed": 1, "waits": 7, "alone": 5, "last": 7}
    assert ends(jobs, seconds, 9) == {"needed": 1, "waits": 7, "alone": 5, "last": 2}


class LateWorkers(FakeWorkers):
    """Places whose jobs end after the time is up, as those that are executed in this process do."""

    def __init__(self, clock: MadeClock, **ends: list[Any]) -> None:
        super().__init__(1, **ends)
        self._clock = clock

    def start(self, job: Job, allowance: Allowance | None = None) -> None:
        super().start(job, allowance)
        self._clock.now += 9


@pytest.mark.parametrize("how", [{}, {"failures": ("a: boom",), "learned": False}], ids=["well", "badly"])
def test_what_a_job_says_that_ends_after_the_time_counts(clock: MadeClock, how: dict[str, Any], tmp_path: Path) -> None:
    until = Until(clock.now + 5, RATES)
    results, told = schedule(planned(("a", 1), ("b", 1, ["a"])), LateWorkers(clock, a=[how]), tmp_path, until)
    assert results["a"].failures == how.get("failures", ())
    assert not results["a"].left
    assert results["b"].left != bool(how)
    assert [event.job for event in told if event.kind == "left"] == ([] if how else ["b"])


def test_a_job_whose_process_dies_as_time_runs_out_is_left(clock: MadeClock, tmp_path: Path) -> None:
    until = Until(clock.now + 5, RATES)
    results, _ = schedule(planned(("a", 1)), LateWorkers(clock, a=["dead"]), tmp_path, until)
    assert results["a"].left
