"""What every process that the harness starts does: it ends when the one that started it is gone."""

from __future__ import annotations

import os
import threading
import time


def end_with_parent() -> None:
    """End this process once its parent is gone: an orphan would hold its run and be in the way of the next command."""
    parent = os.getppid()

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(0.5)
        os._exit(1)

    threading.Thread(target=watch, daemon=True, name="parent").start()
