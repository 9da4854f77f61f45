"""Processes of the harness: each ends when the process that started it is gone."""

from __future__ import annotations

import multiprocessing
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from typing import Any, TypeVar

T = TypeVar("T")


def end_with_parent() -> None:
    """Watch the parent, and end this process once it is gone: an orphan would keep its run from the next command."""
    parent = os.getppid()

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(0.5)
        os._exit(1)

    threading.Thread(target=watch, daemon=True, name="parent").start()


@contextmanager
def main_left_out() -> Iterator[None]:
    """Processes that are spawned inside the block do not import the main script again.

    They need nothing of it. A script that runs a preset would run it once more in each of them, unless all of it stood under
    `if __name__ == "__main__"`.
    """
    main = sys.modules["__main__"].__dict__
    held: dict[str, Any] = {name: main[name] for name in ("__file__", "__spec__") if name in main}
    main["__spec__"] = None
    main.pop("__file__", None)
    try:
        yield
    finally:
        main.update(held)


def in_fresh_process(work: Callable[..., T], *arguments: Any) -> T:
    """Call `work` in a process that was started for it and has learned nothing; return its result."""
    with (
        main_left_out(),
        ProcessPoolExecutor(1, multiprocessing.get_context("spawn"), initializer=end_with_parent) as pool,
    ):
        return pool.submit(work, *arguments).result()
