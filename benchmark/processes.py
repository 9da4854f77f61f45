"""Processes of the harness: each ends when the process that started it is gone."""

from __future__ import annotations

import multiprocessing
import os
import threading
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
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


def in_fresh_process(work: Callable[..., T], *arguments: Any) -> T:
    """Call `work` in a process that was started for it and has learned nothing; return its result."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn"), initializer=end_with_parent) as pool:
        return pool.submit(work, *arguments).result()
