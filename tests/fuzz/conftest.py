"""The seconds of `make fuzz` are divided among the tests of this folder."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.fuzz.exploring import SHARE, seconds_to_spend


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    # Last, when those that nobody asked for are left out.
    here = [item for item in items if item.path.parent == Path(__file__).parent]
    SHARE.seconds = seconds_to_spend() / max(len(here), 1)
