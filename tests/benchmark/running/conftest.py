"""A clock that goes on when a test says so."""

from __future__ import annotations

import time

import pytest


class MadeClock:
    """The monotonic clock of this process, which stands still but for those that sleep."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1000.0
        monkeypatch.setattr(time, "monotonic", lambda: self.now)
        monkeypatch.setattr(time, "sleep", self._sleep)

    def _sleep(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> MadeClock:
    return MadeClock(monkeypatch)
