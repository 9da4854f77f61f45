"""The local engine: jobs on worker processes, each after the runs it needs. One worker means this process."""

from __future__ import annotations

import multiprocessing
import os
import queue
import signal
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress

from benchmark.events import Event, Listener
from benchmark.execution import Outcome, execute
from benchmark.jobs import Job, Machine
from benchmark.presets import Preset
from results.files import StoreError
from scenarios.base import Task

_worker_tasks: list[Task] | None = None


def load_tasks(preset: Preset, machine: Machine) -> list[Task]:
    return preset.scenario(machine.source).load(machine.device)


def run_jobs(jobs: Sequence[Job], machine: Machine, tasks: list[Task], listen: Listener) -> list[Outcome]:
    """Execute the jobs, each after those it needs; a job whose need failed fails, the others go on."""
    if machine.workers == 1 or len(jobs) == 1:
        return _in_turn(jobs, lambda job: _guarded(job, machine, tasks, listen))
    return _in_processes(jobs, machine, listen)


def _guarded(job: Job, machine: Machine, tasks: list[Task], listen: Listener) -> Outcome:
    listen(Event(job.hash, job.label, job.seed, "start"))
    try:
        outcome = execute(job, machine, tasks, listen)
    except (StoreError, OSError) as error:
        outcome = Outcome(job.hash, (f"{job}: {' '.join(str(error).split())}",), learned=False)
    kind = "failed" if outcome.failures else "done"
    listen(Event(job.hash, job.label, job.seed, kind, text="; ".join(outcome.failures)))
    return outcome


def _failed_need(job: Job, outcomes: dict[str, Outcome]) -> Outcome | None:
    for need in job.needs.values():
        if need.hash in outcomes and not outcomes[need.hash].learned:
            return Outcome(job.hash, (f"{job}: its prerequisite {need} failed",), learned=False)
    return None


def _in_turn(jobs: Sequence[Job], work: Callable[[Job], Outcome]) -> list[Outcome]:
    outcomes: dict[str, Outcome] = {}
    for job in jobs:
        outcomes[job.hash] = _failed_need(job, outcomes) or work(job)
    return list(outcomes.values())


def _in_processes(jobs: Sequence[Job], machine: Machine, listen: Listener) -> list[Outcome]:
    context = multiprocessing.get_context("spawn")
    with context.Manager() as manager:
        events = manager.Queue()
        stop = threading.Event()
        pump = threading.Thread(target=_pump, args=(events, listen, stop), daemon=True, name="events")
        pump.start()

        def new_pool() -> ProcessPoolExecutor:
            return ProcessPoolExecutor(
                machine.workers, context, initializer=_start_worker, initargs=(jobs[0].preset, machine)
            )

        pool = new_pool()
        try:
            waiting, running, outcomes = list(jobs), dict[Future[Outcome], Job](), dict[str, Outcome]()
            wanted = {job.hash for job in jobs}
            while waiting or running:
                try:
                    for job in list(waiting):
                        failed = _failed_need(job, outcomes)
                        if failed is not None:
                            outcomes[job.hash] = failed
                            waiting.remove(job)
                            continue
                        ready = all(need.hash in outcomes or need.hash not in wanted for need in job.needs.values())
                        if ready and len(running) < machine.workers:
                            running[pool.submit(_work, job, machine, events)] = job
                            waiting.remove(job)
                    for future in wait(running, return_when=FIRST_COMPLETED).done:
                        outcome = future.result()
                        outcomes[running.pop(future).hash] = outcome
                except BrokenProcessPool:
                    # A worker was killed (memory, a signal): its pool is lost, and with it what ran beside it.
                    for job in running.values():
                        reason = f"{job}: its process was killed (out of memory?); the same command goes on"
                        outcomes[job.hash] = Outcome(job.hash, (reason,), learned=False)
                        listen(Event(job.hash, job.label, job.seed, "failed", text=reason))
                    running.clear()
                    pool.shutdown(wait=False)
                    pool = new_pool()
            return [outcomes[job.hash] for job in jobs]
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
            stop.set()
            pump.join(timeout=2)


def _pump(events: queue.Queue[Event], listen: Listener, stop: threading.Event) -> None:
    while not stop.is_set() or not events.empty():
        try:
            listen(events.get(timeout=0.2))
        except queue.Empty:
            continue
        except (EOFError, OSError):
            return


def _start_worker(preset: Preset, machine: Machine) -> None:
    global _worker_tasks
    # Ctrl-C ends workers at once and silently: files are whole or not there, and the parent says what to do.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    threading.Thread(target=_end_with, args=(os.getppid(),), daemon=True, name="parent").start()
    _worker_tasks = load_tasks(preset, machine)


def _end_with(parent: int) -> None:
    """End this worker when its parent is gone: an orphan would hold its run and be in the way of the next command."""
    while os.getppid() == parent:
        time.sleep(0.5)
    os._exit(1)


def _work(job: Job, machine: Machine, events: queue.Queue[Event]) -> Outcome:
    assert _worker_tasks is not None

    def tell(event: Event) -> None:
        # Whether anybody listens is no matter of the run's.
        with suppress(EOFError, OSError):
            events.put(event)

    return _guarded(job, machine, _worker_tasks, tell)
