"""An end for what never ends, however busy the machine is (not itself a test)."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

LONG = 60
"""Seconds after which something that should be done at once counts as endless. The slowest takes a second or two."""


@contextmanager
def ending(within: int = LONG) -> Iterator[None]:
    """Raise AssertionError in what takes longer.

    within: whole seconds, far more than a busy machine needs: it tells what never ends, and not what is slow.
    """

    def late(*_: Any) -> None:
        raise AssertionError(f"no end after {within} seconds")

    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(within)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)
