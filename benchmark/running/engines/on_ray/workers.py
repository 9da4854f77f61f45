"""Jobs as tasks of a Ray cluster: what each needs travels to its node, and what it stores comes back while it runs."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import ray
import torch
from ray import exceptions

from benchmark.learning.events import Event, Listener
from benchmark.planning.jobs import Job, tasks_of
from benchmark.planning.machine import Machine
from benchmark.running.engines.base import JobEnd
from benchmark.running.engines.on_ray.cluster import Cluster
from benchmark.running.engines.on_ray.folders import clear_folders
from benchmark.running.engines.on_ray.luggage import PackedTask, Packer
from benchmark.running.engines.on_ray.node import Luggage, NodeReport, work
from benchmark.running.engines.on_ray.parcels import File, needed_run, put, remove, whole_run
from benchmark.running.engines.on_ray.share import Share, must_fit, share_of
from benchmark.running.failures import JobResult
from benchmark.running.seconds.left import Allowance
from results.files import StoreError, canonical_json
from results.records import DIRECTORY_DIGITS
from results.store import RunHeld, RunStore
from scenarios.base import DataError, Task

SECONDS_TO_CLEAR_AWAY = 5.0
"""A job that is stopped has this long to end its processes and clear its folder away, before its process is killed."""

_SECONDS_OF_A_WAIT = 0.1


@dataclass
class _Running:
    """A job on its way or on a node.

    held: the lock of its run, in this process.
    result: once it was reported.
    """

    job: Job
    store: RunStore
    held: ExitStack
    result: JobResult | None = None


class RayWorkers:
    """Places of a Ray cluster (`base.Workers`).

    machine: this one; `machine.ray` says which cluster.
    tasks: of the preset, on the CPU.
    Raises ConfigError if the cluster cannot be reached, or if no node of it can be given a job.
    """

    def __init__(self, machine: Machine, tasks: list[Task], listen: Listener) -> None:
        assert machine.ray is not None
        self._machine, self._tasks, self._listen = machine, tasks, listen
        self._running: dict[Any, _Running] = {}
        self._ended: list[JobEnd] = []
        self._put_tasks: dict[str, list[Any]] = {}
        self._put_runs: dict[tuple[Path, float], Any] = {}
        self._most = machine.ray.workers
        self._cluster = Cluster(machine.ray.address, machine.threads * machine.workers)
        try:
            nodes = self._cluster.nodes()
            self._share = share_of(machine.ray, nodes)
            must_fit(self._share, nodes, str(self._cluster))
        except BaseException:
            self._cluster.stop()
            raise
        self._packer = Packer(ray.put)
        self._work = _as_task(self._share)

    @property
    def free(self) -> int:
        """Places without a job: those that the nodes offer now, which may come and go, or as many as were asked for."""
        places = self._most or sum(map(self._share.places, self._cluster.nodes()))
        # While nothing runs there is one: a job waits in the queue of the cluster until a node comes.
        return max(0 if self._running else 1, places - len(self._running))

    def start(self, job: Job, allowance: Allowance | None = None) -> None:
        store, held = RunStore(self._machine.runs, job.hash), ExitStack()
        try:
            # Whoever else works on the run is kept out from here: on a node nobody sees this folder.
            held.enter_context(store.working(watch=False))
            for problem in store.set_broken_aside():
                self._tell(job, "note", f"set aside {problem}")
            task = self._work.remote(self._packed(job, allowance))
        except RunHeld as other:
            self._ended.append(JobEnd(job.hash, JobResult(job.hash, learned=False, held=str(other))))
            return
        except (StoreError, OSError, DataError, exceptions.RayError) as error:
            held.close()
            self._fail(job, error)
            return
        except BaseException:
            held.close()
            raise
        self._running[task] = _Running(job, store, held)
        if not any(map(self._share.places, self._cluster.nodes())):
            self._tell(job, "note", f"no node of the cluster has {self._share} now; it waits for one")

    def ended(self, timeout: float | None = None) -> list[JobEnd]:
        deadline = None if timeout is None else time.monotonic() + timeout
        while not self._ended:
            left = 1.0 if deadline is None else max(0.0, deadline - time.monotonic())
            ready = self._ready(min(left, 1.0))
            for task in ready:
                self._hear(task)
            # What has arrived is heard even if there is no time to wait.
            if not left and not ready:
                break
        found, self._ended = self._ended, []
        return found

    def _ready(self, seconds: float) -> list[Any]:
        """A task that has something to tell, once there is one or time is up."""
        until = time.monotonic() + seconds
        while True:
            ready, _ = ray.wait([*self._running], timeout=0) if self._running else ([], [])
            left = until - time.monotonic()
            if ready or left <= 0:
                return list(ready)
            # Not in Ray, which makes a Ctrl-C of every signal.
            time.sleep(min(left, _SECONDS_OF_A_WAIT))

    def stop(self) -> None:
        try:
            if not self._cluster.own:
                self._tell_to_end()
            for task in self._running:
                with suppress(exceptions.RayError, ValueError):
                    ray.cancel(task, force=True)
        finally:
            for running in self._running.values():
                running.held.close()
            self._running.clear()
            self._cluster.stop()
            if self._cluster.own:
                clear_folders(SECONDS_TO_CLEAR_AWAY)

    def _tell_to_end(self) -> None:
        """Let jobs end their processes and clear their folders away, each on its own machine."""
        for task in self._running:
            with suppress(exceptions.RayError, ValueError):
                ray.cancel(task, force=False)
        deadline = time.monotonic() + SECONDS_TO_CLEAR_AWAY
        # What is on its way still counts.
        while self._running and time.monotonic() < deadline:
            for task in self._ready(0.2):
                self._hear(task)

    # -- what a job takes along ---------------------------------------------------------------------------------------------

    def _packed(self, job: Job, allowance: Allowance | None) -> Luggage:
        machine = self._machine
        device = "cuda" if self._share.gpus else "cpu"
        there = replace(machine, device=device, threads=self._share.cpus, workers=self._share.sharers, ray=None)
        own = self._run_of(job, machine)
        runs, published = {own.name: ray.put(whole_run(own))}, dict[str, Any]()
        for needed in (*job.needs.values(), *job.sources.values()):
            directory = self._run_of(needed, machine)
            if needed.hash != job.hash and directory.is_dir():
                runs[directory.name] = self._once(directory, needed_run)
            for record in sorted(machine.published.glob(f"*/{directory.name}")):
                published[f"{record.parent.name}/{record.name}"] = self._once(record, whole_run)
        tasks = self._tasks_of(job)
        return Luggage(self._packer.pack(job), there, tasks, runs, published, torch.__version__, allowance)

    def _run_of(self, job: Job, machine: Machine) -> Path:
        return machine.runs / job.hash[:DIRECTORY_DIGITS]

    def _once(self, directory: Path, files: Callable[[Path], list[File]]) -> Any:
        """The reference of a stored run's files. They are put away once, for all jobs that need the run."""
        key = (directory, _last_change(directory))
        if key not in self._put_runs:
            self._put_runs[key] = ray.put(files(directory))
        return self._put_runs[key]

    def _tasks_of(self, job: Job) -> list[Any]:
        """References of the tasks that a job learns."""
        key = canonical_json(job.preset.file.scenario) if job.elsewhere else ""
        if key not in self._put_tasks:
            tasks = tasks_of(job, self._tasks, self._machine)
            self._put_tasks[key] = [ray.put(PackedTask.of(task)) for task in tasks]
        return self._put_tasks[key]

    # -- what comes back ----------------------------------------------------------------------------------------------------

    def _hear(self, task: Any) -> None:
        """Take the next report of a job, or the news that it ended."""
        running = self._running[task]
        try:
            report: NodeReport = ray.get(next(task))
        except StopIteration:
            death = "" if running.result else "its task on the cluster ended without a result"
            self._over(task, JobEnd(running.job.hash, running.result, death))
        except exceptions.RayError as error:
            self._over(task, JobEnd(running.job.hash, None, death_of(error)))
        else:
            try:
                put(running.store.directory, report.files)
                remove(running.store.directory, report.gone)
            except StoreError as error:
                ray.cancel(task, force=True)
                self._running.pop(task).held.close()
                self._fail(running.job, error)
                return
            for event in report.events:
                self._listen(event)
            running.result = report.result or running.result

    def _over(self, task: Any, end: JobEnd) -> None:
        self._running.pop(task).held.close()
        self._ended.append(end)

    def _fail(self, job: Job, error: Exception) -> None:
        """End a job that can be given nothing to do, or whose results cannot be stored."""
        failure = f"{job}: {' '.join(str(error).split())}"
        self._tell(job, "failed", failure)
        self._ended.append(JobEnd(job.hash, JobResult(job.hash, (failure,), learned=False)))

    def _tell(self, job: Job, kind: str, text: str) -> None:
        self._listen(Event(job.hash, job.label, job.seed, kind, text=text))


def _as_task(share: Share) -> Any:
    """The task of Ray that executes a job."""
    # A process does one job: what a method left in it, a lost GPU among it, ends with it. Retries are not Ray's to make.
    return ray.remote(
        num_cpus=share.cpus,
        num_gpus=share.gpus,
        num_returns="streaming",
        max_calls=1,
        max_retries=0,
        scheduling_strategy="SPREAD",
    )(work)


def death_of(error: exceptions.RayError) -> str:
    """A line on the end of a task that gave no result."""
    if isinstance(error, exceptions.NodeDiedError):
        return "its node died; what had come back until then is stored"
    if isinstance(error, exceptions.OutOfMemoryError):
        return "Ray ended its process, because its node ran out of memory"
    if isinstance(error, exceptions.WorkerCrashedError):
        return "its process on the cluster was killed (out of memory?)"
    if isinstance(error, exceptions.RayTaskError):
        return f"it failed on its node: {' '.join(str(error.cause).split())}"
    first = next(iter(str(error).splitlines()), "")
    return f"Ray lost it ({type(error).__name__}: {first})"


def _last_change(directory: Path) -> float:
    return max((path.stat().st_mtime for path in directory.rglob("*") if path.is_file()), default=0.0)
