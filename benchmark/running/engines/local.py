"""Worker processes on this machine, each supervised by itself: one that is killed costs a stage of its own job, and no other's.

A worker has a pipe of its own, because a killed one may have held the lock of a shared queue. It leads a process group: whatever
it started ends with it.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection, wait
from typing import Any

import torch

from benchmark.learning.events import Event, Listener
from benchmark.planning.jobs import Job
from benchmark.planning.machine import Machine, use_device
from benchmark.planning.tasks import load_tasks
from benchmark.processes import Terminated, end_when_told, end_with_parent, main_left_out, make_streams_steady
from benchmark.running.engines.base import JobEnd
from benchmark.running.engines.perform import failed, perform
from benchmark.running.failures import JobResult
from benchmark.running.gpu import share_card
from benchmark.running.seconds.left import Allowance
from results.files import StoreError
from scenarios.base import DataError, Task

ORDER_SECONDS = 3.0
"""The time in which workers that are told to end put in order what they hold; then they are killed."""

_BEGUN = "begun"
"""Said by a worker that can be told to end."""


class LocalWorkers:
    """Worker processes (`base.Workers`), started when they are first needed.

    listen: is told of events by whoever waits in `ended`.
    """

    def __init__(self, machine: Machine, listen: Listener) -> None:
        self._machine, self._listen = machine, listen
        self._idle: list[_Worker] = []
        self._busy: list[_Worker] = []

    @property
    def free(self) -> int:
        return self._machine.workers - len(self._busy)

    def start(self, job: Job, allowance: Allowance | None = None) -> None:
        while self._idle and self._idle[-1].is_dead():
            # It was killed while it did nothing.
            self._idle.pop().kill()
        worker = self._idle.pop() if self._idle else _Worker(self._machine)
        self._busy.append(worker)
        worker.give(job, allowance)

    def ended(self, timeout: float | None = None) -> list[JobEnd]:
        until = None if timeout is None else time.monotonic() + timeout
        while True:
            heard: list[Any] = [end for worker in self._busy for end in (worker.connection, worker.process.sentinel)]
            left = None if until is None else max(0.0, until - time.monotonic())
            ready = set(wait(heard, left))
            told = [w for w in list(self._busy) if w.connection in ready or w.process.sentinel in ready]
            ends = [end for worker in told if (end := self._hear(worker)) is not None]
            if ends or not ready:
                return ends

    def _hear(self, worker: _Worker) -> JobEnd | None:
        """Read what a worker says. Returns the end of its job, if it says so or is dead."""
        assert worker.job is not None
        result = worker.read(self._listen)
        if result is None and worker.dead is None:
            return None
        self._busy.remove(worker)
        if worker.dead is not None or (result is not None and result.lost):
            # A process that lost its GPU would fail every run that it is given.
            worker.kill()
        else:
            self._idle.append(worker)
        return JobEnd(worker.job.hash, result, "" if result is not None else worker.death())

    def stop(self) -> None:
        workers = [*self._busy, *self._idle]
        try:
            for worker in workers:
                worker.tell_to_end()
            until = time.monotonic() + ORDER_SECONDS
            left = {worker.process.sentinel for worker in workers}
            while left and (seconds := until - time.monotonic()) > 0:
                left -= set(wait(list(left), seconds))  # type: ignore[arg-type]
        finally:
            # Also if Ctrl-C came once more.
            for worker in workers:
                worker.kill()
            self._busy, self._idle = [], []


class _Worker:
    """One worker process.

    job: that it was given last.
    dead: its exit code; None while it lives.
    """

    def __init__(self, machine: Machine) -> None:
        context = multiprocessing.get_context("spawn")
        self.connection, theirs = context.Pipe()
        self.process = context.Process(target=_serve, args=(theirs, machine), name="worker")
        self.job: Job | None = None
        self.dead: int | None = None
        self._begun = self._gone = False
        with main_left_out(), _signals_held_back():
            self.process.start()
        theirs.close()

    def give(self, job: Job, allowance: Allowance | None) -> None:
        self.job = job
        # One that died while it was idle is found dead by whoever waits for this job.
        with suppress(OSError):
            self.connection.send((job, allowance, time.monotonic()))

    def read(self, listen: Listener) -> JobResult | None:
        """Pass events on. Returns the result of the job, if it is among what was said."""
        events: list[Event] = []
        try:
            while self.connection.poll():
                said = self.connection.recv()
                if isinstance(said, JobResult):
                    return said
                if isinstance(said, Event):
                    events.append(said)
                else:
                    self._begun = True
            dead = self.is_dead()
        except (EOFError, OSError):
            # Nothing can be read any more: it is as good as dead.
            dead = True
        finally:
            # Whoever listens may have errors of its own.
            for event in events:
                listen(event)
        if dead:
            self.kill()
            self.dead = self.process.exitcode
        return None

    def is_dead(self) -> bool:
        """True if the process has ended."""
        return bool(wait([self.process.sentinel], 0))

    def death(self) -> str:
        """A line on how it died."""
        if self.dead is not None and self.dead < 0:
            name = signal.Signals(-self.dead).name if -self.dead in set(signal.Signals) else "unknown"
            memory = "; out of memory?" if -self.dead == signal.SIGKILL else ""
            return f"its process was killed by signal {-self.dead} ({name}{memory})"
        return f"its process ended with code {self.dead}"

    def tell_to_end(self) -> None:
        """Let it put in order what it holds; one that has not begun holds nothing."""
        if self._begun:
            self.process.terminate()
        else:
            self.process.kill()

    def kill(self) -> None:
        """End it and everything that it started, and wait for its end. It may be dead already."""
        if self._gone:
            return
        assert self.process.pid is not None
        # Until it was waited for, nobody else has its number.
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.kill()
        self.process.join()
        self._gone = True
        self.connection.close()


@contextmanager
def _signals_held_back() -> Iterator[None]:
    """Processes that are started inside the block hear of SIGINT and SIGTERM only once they ask for it.

    Until then they would end with a traceback on Ctrl-C, which reaches every process of a terminal.
    """
    # It would let signals through again when it is started.
    resource_tracker.ensure_running()
    held = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, held)


# -- in the worker's process ----------------------------------------------------------------------------------------------


def _serve(connection: Connection[Any, Any], machine: Machine) -> None:
    """Execute the jobs that are given, until there are no more. The process ends here."""
    os.setpgid(0, 0)
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    end_when_told()
    make_streams_steady()
    end_with_parent()
    code = 0
    try:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT, signal.SIGTERM})
        connection.send(_BEGUN)
        _work(connection, machine)
    except (Terminated, EOFError, BrokenPipeError):
        pass
    except BaseException:
        traceback.print_exc()
        code = 1
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        with suppress(OSError):
            sys.stdout.flush()
            sys.stderr.flush()
        # Nothing is waited for that a library or a method may have left.
        os._exit(code)


def _work(connection: Connection[Any, Any], machine: Machine) -> None:
    def tell(event: Event) -> None:
        connection.send(event)

    use_device(machine.device)
    share_card(torch.device(machine.device), machine.workers)
    tasks: list[Task] = []
    while True:
        job, allowance, given = connection.recv()
        try:
            if not tasks and not job.elsewhere:
                tasks = load_tasks(job.preset, machine)
        except (DataError, StoreError, OSError) as error:
            connection.send(failed(job, error, tell))
        else:
            # The start of this process, and the images, took of its time. The clock is the machine's.
            left = allowance and allowance.after(time.monotonic() - given)
            connection.send(perform(job, machine, tasks, tell, left))
