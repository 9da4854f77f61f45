"""The clock of purposes: exclusive times that sum to the time that it ran."""

from __future__ import annotations

import threading

import pytest

from attacks.parts import clock as module
from attacks.parts.clock import OTHER, RunClock, purpose, running_clock


@pytest.fixture
def wait(monkeypatch: pytest.MonkeyPatch):  # type: ignore[no-untyped-def]
    """Seconds pass when this is called, and only then."""
    at = [100.0]
    monkeypatch.setattr(module.time, "perf_counter", lambda: at[0])

    def pass_seconds(seconds: float) -> None:
        at[0] += seconds

    return pass_seconds


def test_inner_purposes_are_taken_out_of_outer_ones(wait) -> None:  # type: ignore[no-untyped-def]
    with RunClock().running() as clock:
        wait(1)
        with purpose("attack"):
            wait(10)
            with purpose("hash"):
                wait(100)
            wait(20)
        with purpose("hash"):
            wait(200)
        wait(2)
    wait(5)
    assert clock.seconds == {OTHER: 3, "attack": 30, "hash": 300}


def test_a_purpose_ends_with_an_error(wait) -> None:  # type: ignore[no-untyped-def]
    with RunClock().running() as clock:
        with pytest.raises(KeyError), purpose("attack"):
            wait(1)
            raise KeyError
        wait(2)
    assert clock.seconds == {"attack": 1, OTHER: 2}


def test_seconds_of_another_process_replace_those_of_waiting_for_it(wait) -> None:  # type: ignore[no-untyped-def]
    with RunClock().running() as clock, purpose("start"):
        wait(10)
        clock.take_over({"learn": 6, "write": 1})
        wait(1)
        assert clock.so_far() == {OTHER: 0, "start": 4, "learn": 6, "write": 1}


def test_nothing_is_counted_without_a_clock_or_in_another_thread(wait) -> None:  # type: ignore[no-untyped-def]
    with purpose("hash"):
        assert running_clock() is None
    found = []

    def work() -> None:
        with purpose("hash"):
            found.append(running_clock())

    with RunClock().running() as clock:
        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
        assert running_clock() is clock
    assert found == [None]
    assert set(clock.seconds) == {OTHER}


def test_clocks_of_two_runs_do_not_mix(wait) -> None:  # type: ignore[no-untyped-def]
    with RunClock().running() as first:
        wait(1)
        with RunClock().running() as second, purpose("hash"):
            wait(10)
        with purpose("write"):
            wait(2)
    assert second.seconds == {OTHER: 0, "hash": 10}
    assert first.seconds == {OTHER: 11, "write": 2}
