"""The engine: jobs on worker processes, each after the jobs it needs. One worker means this process."""

from __future__ import annotations

import multiprocessing
import queue
import signal
import threading
from collections.abc import Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress

import torch

from benchmark.learning.events import Event, Listener
from benchmark.planning.jobs import Job
from benchmark.planning.machine import Machine, use_device
from benchmark.planning.presets import Preset
from benchmark.planning.tasks import load_tasks
from benchmark.processes import end_with_parent, main_left_out, make_streams_steady
from benchmark.running.engines.perform import perform
from benchmark.running.failures import JobResult
from benchmark.running.gpu import share_card
from results.store import RunStore
from scenarios.base import Task

_worker_tasks: list[Task] | None = None
_worker_events: multiprocessing.Queue[Event] | None = None


def run_jobs(jobs: Sequence[Job], machine: Machine, tasks: list[Task], listen: Listener) -> list[JobResult]:
    """Execute the jobs, each after those it needs. A job whose prerequisite failed fails; the others go on.

    jobs: every job follows those it needs.
    tasks: of the preset.
    Returns their results in the same order.
    """
    outcomes: dict[str, JobResult] = {}
    if machine.workers == 1 or len(jobs) == 1:
        for job in jobs:
            outcomes[job.hash] = _failed_need(job, outcomes) or perform(job, machine, tasks, listen)
            if outcomes[job.hash].lost:
                # This process has no GPU any more. Others may: a failed kernel costs the process that started it alone.
                break
    left = [job for job in jobs if job.hash not in outcomes]
    if left:
        _in_processes(left, machine, listen, outcomes)
    return [outcomes[job.hash] for job in jobs]


def _failed_need(job: Job, outcomes: dict[str, JobResult]) -> JobResult | None:
    """The failure of a job whose prerequisite failed; None if none did."""
    for need in job.needs.values():
        if need.hash in outcomes and not outcomes[need.hash].learned:
            return JobResult(job.hash, (f"{job}: its prerequisite {need} failed",), learned=False)
    return None


class Pool:
    """Worker processes, and the events that they send.

    Every pool has a queue of its own, because a killed worker may have held the lock of the old one.
    """

    def __init__(self, preset: Preset, machine: Machine, listen: Listener) -> None:
        context = multiprocessing.get_context("spawn")
        self._events: multiprocessing.Queue[Event] = context.Queue()
        self._stop = threading.Event()
        self._pump = threading.Thread(target=_pump, args=(self._events, listen, self._stop), daemon=True, name="events")
        self._pump.start()
        self._executor = ProcessPoolExecutor(
            machine.workers,
            context,
            initializer=_start_worker,
            initargs=(preset, machine, self._events),
        )

    def submit(self, job: Job, machine: Machine) -> Future[JobResult]:
        with main_left_out():
            return self._executor.submit(_work, job, machine)

    def close(self) -> None:
        self._executor.shutdown(wait=False, cancel_futures=True)
        self._stop.set()
        self._pump.join(timeout=2)


def _in_processes(jobs: Sequence[Job], machine: Machine, listen: Listener, outcomes: dict[str, JobResult]) -> None:
    """Execute jobs in worker processes. outcomes: of the jobs that ended before, by hash; those of these are added."""
    preset = next((job.preset for job in jobs if not job.elsewhere), jobs[0].preset)
    pool = Pool(preset, machine, listen)
    try:
        waiting, running = list(jobs), dict[Future[JobResult], Job]()
        wanted = {job.hash for job in jobs}
        # Jobs that ran when a worker was killed. Each is run again alone, so that a second kill tells which job it was.
        suspects: set[str] = set()
        worn = False
        while waiting or running:
            try:
                for job in list(waiting):
                    failed = _failed_need(job, outcomes)
                    if failed is not None:
                        outcomes[job.hash] = failed
                        waiting.remove(job)
                        continue
                    ready = all(need.hash in outcomes or need.hash not in wanted for need in job.needs.values())
                    alone = job.hash in suspects or any(other.hash in suspects for other in running.values())
                    if ready and not worn and len(running) < (1 if alone else machine.workers):
                        running[pool.submit(job, machine)] = job
                        waiting.remove(job)
                for future in wait(running, return_when=FIRST_COMPLETED).done:
                    outcome = future.result()
                    outcomes[running.pop(future).hash] = outcome
                    worn |= outcome.lost
                if worn and not running:
                    # A process that lost its GPU would fail every run that it is given.
                    pool.close()
                    pool, worn = Pool(preset, machine, listen), False
            except BrokenProcessPool:
                # A worker was killed (memory, a signal). Its pool is lost, and with it the jobs that ran beside it.
                lost = list(running.values())
                running.clear()
                pool.close()
                pool = Pool(preset, machine, listen)
                if len(lost) == 1 and lost[0].hash in suspects:
                    outcomes[lost[0].hash] = _killed(lost[0], machine, listen)
                else:
                    suspects |= {job.hash for job in lost}
                    waiting = lost + waiting
    finally:
        pool.close()


def _killed(job: Job, machine: Machine, listen: Listener) -> JobResult:
    """Record that a job's process was killed while nothing else ran."""
    message = "its process was killed (out of memory?); the same command goes on"
    RunStore(machine.runs, job.hash).fail(stage="run", task=None, kind="killed", message=message)
    listen(Event(job.hash, job.label, job.seed, "failed", text=message))
    return JobResult(job.hash, (f"{job}: {message}",), learned=False)


def _pump(events: multiprocessing.Queue[Event], listen: Listener, stop: threading.Event) -> None:
    while not stop.is_set() or not events.empty():
        try:
            listen(events.get(timeout=0.2))
        except queue.Empty:
            continue
        except (EOFError, OSError):
            return


def _start_worker(preset: Preset, machine: Machine, events: multiprocessing.Queue[Event]) -> None:
    global _worker_tasks, _worker_events
    # Ctrl-C ends workers at once and silently: files are whole or not there, and the parent tells the user.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    end_with_parent()
    make_streams_steady()
    use_device(machine.device)
    share_card(torch.device(machine.device), machine.workers)
    _worker_events = events
    _worker_tasks = load_tasks(preset, machine)


def _work(job: Job, machine: Machine) -> JobResult:
    assert _worker_tasks is not None
    assert _worker_events is not None
    events = _worker_events

    def tell(event: Event) -> None:
        # A run goes on if nobody listens any more.
        with suppress(EOFError, OSError, ValueError):
            events.put(event)

    return perform(job, machine, _worker_tasks, tell)
