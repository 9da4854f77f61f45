"""A fixture that all tests of reports share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from threadpoolctl import threadpool_limits


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    """Matrices here are small: threads that wait for each other take ten times the work, most of all beside other tests."""
    with threadpool_limits(1, user_api="blas"):
        yield
