"""A clock of purposes: the seconds that a run spends on learning, on each attack, on hashing, on writing and so on.

A purpose inside another one is taken out of it, so the seconds of all purposes sum to the time that the clock ran. It stands here
because everything that takes time may import it: attacks, training and the harness.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar

OTHER = "other"
"""The purpose of all that has no other one."""


class RunClock:
    """Seconds by purpose of one thread of one run.

    seconds: by purpose, up to the last change of purpose.
    """

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._purposes: list[str] = []
        self._since = 0.0

    @contextmanager
    def running(self) -> Iterator[RunClock]:
        """Run the clock inside the block: `purpose` counts on it there, in this thread."""
        before = _running.set(self)
        try:
            with self.purpose(OTHER):
                yield self
        finally:
            _running.reset(before)

    @contextmanager
    def purpose(self, name: str) -> Iterator[None]:
        """Count the time inside the block for a purpose, apart from purposes inside it."""
        self._count()
        self._purposes.append(name)
        try:
            yield
        finally:
            self._count()
            self._purposes.pop()

    def so_far(self) -> dict[str, float]:
        """Seconds by purpose, up to now."""
        self._count()
        return dict(self.seconds)

    def take_over(self, seconds: Mapping[str, float]) -> None:
        """Count what the clock of another process counted while this one waited for it: instead of the purpose in hand."""
        self._count()
        self._add(self._purposes[-1] if self._purposes else OTHER, -sum(seconds.values()))
        for name, value in seconds.items():
            self._add(name, value)

    def _count(self) -> None:
        now = time.perf_counter()
        if self._purposes:
            self._add(self._purposes[-1], now - self._since)
        self._since = now

    def _add(self, name: str, seconds: float) -> None:
        self.seconds[name] = self.seconds.get(name, 0.0) + seconds


_running: ContextVar[RunClock | None] = ContextVar("running clock", default=None)
"""The clock of this thread. A new thread has none."""


@contextmanager
def purpose(name: str) -> Iterator[None]:
    """Count the time inside the block for a purpose, on the clock that runs in this thread; without one nothing is counted."""
    clock = _running.get()
    if clock is None:
        yield
        return
    with clock.purpose(name):
        yield


def running_clock() -> RunClock | None:
    """The clock that runs in this thread; None if none does."""
    return _running.get()
