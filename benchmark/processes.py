"""Processes of the harness: each ends when the process that started it is gone, and none ends because nobody reads its output."""

from __future__ import annotations

import io
import multiprocessing
import multiprocessing.connection
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager, suppress
from typing import Any, NoReturn, TextIO, TypeVar

T = TypeVar("T")


class SteadyStream:
    """A standard stream that its reader may leave: what is written then is dropped, and the work goes on.

    A disk that cannot take the output is told to whoever writes, because there a reader waits for it.
    """

    def __init__(self, stream: TextIO, name: str = "") -> None:
        """name: of the stream, for messages; without one nothing is told."""
        self._stream, self._name = stream, name
        self._lost: OSError | None = None
        if name and isinstance(stream, io.TextIOWrapper):
            # A terminal of another encoding shows a question mark for a letter that it lacks.
            stream.reconfigure(errors="replace")

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        """Write text. Raises OSError with the stream's name if a disk cannot take it."""
        with self._dropping():
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        """Write what is buffered. Raises OSError with the stream's name if a disk could not take something."""
        if self._lost is not None:
            # argparse passes over the error that told it first.
            raise self._lost
        with self._dropping():
            self._stream.flush()

    @contextmanager
    def _dropping(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            self._leave()
            if self._name and not isinstance(error, BrokenPipeError):
                self._lost = OSError(error.errno, error.strerror, self._name)
                raise self._lost from error

    def _leave(self) -> None:
        """Send the rest nowhere: also what is buffered, which the interpreter would write at its end."""
        with suppress(OSError, ValueError), open(os.devnull, "w", encoding="utf-8") as nowhere:
            os.dup2(nowhere.fileno(), self._stream.fileno())


def make_streams_steady() -> None:
    """From now on, standard output and errors go on if they are closed, if nobody reads them, and in any encoding.

    Writing to standard output raises OSError with its name if it leads to a disk that cannot take it.
    """
    for number in range(3):
        if not _is_open(number):
            # A file that is opened later would get this number, and all that is printed.
            os.open(os.devnull, os.O_RDWR)
    # Python has None in the place of a stream that was closed.
    sys.stdout = SteadyStream(sys.stdout or _nowhere(), "standard output")  # type: ignore[assignment]
    sys.stderr = SteadyStream(sys.stderr or _nowhere())  # type: ignore[assignment]


@contextmanager
def steady_streams() -> Iterator[None]:
    """Inside the block, standard streams are as `make_streams_steady` makes them."""
    before = sys.stdout, sys.stderr
    make_streams_steady()
    try:
        yield
    finally:
        sys.stdout, sys.stderr = before


def _nowhere() -> TextIO:
    return open(os.devnull, "w", encoding="utf-8")


def _is_open(number: int) -> bool:
    try:
        os.fstat(number)
    except OSError:
        return False
    return True


class Terminated(KeyboardInterrupt):
    """The process was told to end (SIGTERM): Ctrl-C from somebody else."""


def end_when_told() -> None:
    """From now on SIGTERM raises Terminated in the main thread, so that what is begun is put in order."""

    def told(number: int, frame: object) -> NoReturn:
        raise Terminated

    signal.signal(signal.SIGTERM, told)


def end_with_parent() -> None:
    """Watch the parent, and end this process at once when it is gone: an orphan would keep its run from the next command.

    With a process that leads a group of its own, the group ends.
    """
    started_by, number = multiprocessing.parent_process(), os.getppid()

    def watch() -> None:
        while os.getppid() == number:
            if started_by is None:
                time.sleep(0.5)
            elif multiprocessing.connection.wait([started_by.sentinel], timeout=5):
                # A pipe that only the parent had the other end of.
                break
        if os.getpgrp() == os.getpid():
            os.killpg(os.getpid(), signal.SIGKILL)
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
