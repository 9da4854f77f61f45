"""Many cases for one check: the same few in every run of the tests, new ones while `make fuzz` lasts (not itself a test)."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar

from hypothesis import HealthCheck, given, settings
from hypothesis.strategies import SearchStrategy

from benchmark.errors import one_line
from tests.ending import ending

T = TypeVar("T")

SECONDS = "FUZZ_SECONDS"
"""The environment variable with the seconds that all tests of this folder may take together; without it they are short."""
NO_END = 300
"""Seconds after which a case counts as one that does not end. The slowest takes a second or two."""


@dataclass
class Share:
    """The part of `SECONDS` that each test has; `conftest.py` divides."""

    seconds: float = 0.0


SHARE = Share()


def explore(check: Callable[[T], None], cases: SearchStrategy[T], examples: int) -> None:
    """Call `check` with cases. It raises what it finds.

    examples: the number of cases where there are no seconds to spend; they are the same ones every time.
    """

    def checked(case: T) -> None:
        with ending(NO_END):
            check(case)

    # The cases, and those that were found and are kept in .hypothesis, go by this name.
    checked.__qualname__ = checked.__name__ = re.sub(r"\W", "_", os.environ["PYTEST_CURRENT_TEST"])
    test = settings(max_examples=50 if SHARE.seconds else examples, suppress_health_check=list(HealthCheck))(
        given(cases)(checked)
    )
    end = time.monotonic() + SHARE.seconds
    test()
    while time.monotonic() < end:
        test()


def seconds_to_spend() -> float:
    """The seconds that `make fuzz` gives; 0 in a usual run of the tests."""
    return float(os.environ.get(SECONDS) or 0)


@contextmanager
def told(*errors: type[Exception]) -> Iterator[None]:
    """Let pass an error that a person can read: one of these classes, one line, not too long."""
    try:
        yield
    except errors as error:
        message = str(error)
        assert message.strip(), "an error without words"
        assert "\n" not in message, message
        # The command line shows a part of a long message, and escapes what no terminal should be given.
        one_line(message).encode()
