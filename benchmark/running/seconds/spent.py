"""Seconds by purpose as facts of a run: learning, validating, each attack, hashing, writing and so on, over all its sessions."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from attacks.parts.clock import RunClock
from results.files import StoreError
from results.schema import SECONDS
from results.store import RunStore


@contextmanager
def timed(store: RunStore) -> Iterator[Callable[[], None]]:
    """Count the seconds of a run by purpose inside the block.

    Yields a function that stores them, added to those of earlier sessions; a session that is killed is counted up to its last
    call. They are stored at the end too, unless the run's directory cannot be written.
    """
    with RunClock().running() as clock:
        before = _stored(store) if store.has_part("facts", SECONDS) else {}

        def note() -> None:
            now = clock.so_far()
            rows = [
                {"task": -1, "phase": SECONDS, "name": name, "value": before.get(name, 0.0) + now.get(name, 0.0)}
                for name in sorted({*before, *now})
            ]
            store.write_part("facts", SECONDS, rows)

        try:
            yield note
        except StoreError:
            raise
        except BaseException:
            if store.exists():
                note()
            raise
        else:
            note()


def _stored(store: RunStore) -> dict[str, float]:
    try:
        facts = store.read().facts
    except StoreError:
        # Whoever works on the run is told.
        return {}
    mine = facts[facts["phase"] == SECONDS]
    return dict(zip(mine["name"], mine["value"].fillna(0.0), strict=True))
