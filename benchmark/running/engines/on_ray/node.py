"""A job on a node of the cluster: in a folder of its own, from which everything that it stores is reported as it comes to be."""

from __future__ import annotations

import multiprocessing
import os
import queue
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

from benchmark.learning.events import Event
from benchmark.planning.jobs import Job
from benchmark.planning.machine import Machine
from benchmark.planning.tasks import count_as_loaded
from benchmark.running.engines.on_ray.folders import JOB, own_folder
from benchmark.running.engines.on_ray.luggage import PackedJob, tasks_from, unpacked
from benchmark.running.engines.on_ray.parcels import File, Outgoing, in_pieces, put
from benchmark.running.engines.perform import perform
from benchmark.running.failures import JobResult
from benchmark.running.gpu import share_card
from benchmark.running.seconds.left import Allowance
from results.store import RunStore

SECONDS_BETWEEN_REPORTS = 2.0
"""What a node stored longer ago than this is not lost with it."""

_SECONDS_OF_A_WAIT = 0.1


@dataclass(frozen=True)
class Luggage:
    """Everything that a job takes along. References are Ray's: a node fetches what stands behind one once, for all its jobs.

    job: the job.
    machine: of the node; its folders are filled in there.
    tasks: a reference of a `PackedTask` for each task that the job learns.
    runs: by a run's directory below `machine.runs`, the reference of its files.
    published: the same below `machine.published`.
    torch: version of torch where the job comes from.
    """

    job: PackedJob
    machine: Machine
    tasks: Sequence[Any]
    runs: Mapping[str, Any]
    published: Mapping[str, Any]
    torch: str
    allowance: Allowance | None = None


@dataclass(frozen=True)
class NodeReport:
    """A piece of what happened to a job since the last report: files are stored before the events that tell of them.

    files, gone: of its run's directory.
    events: in their order.
    result: of the job, in its last report.
    """

    files: list[File] = field(default_factory=list)
    gone: list[str] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)
    result: JobResult | None = None


def work(luggage: Luggage) -> Iterator[NodeReport]:
    """Execute a job; a task of Ray. Whatever ends it ends the processes that it started and clears its folder away."""
    with own_folder(JOB) as folder:
        try:
            yield from _reports(luggage, folder)
        finally:
            end_children()


def _reports(luggage: Luggage, folder: Path) -> Iterator[NodeReport]:
    # Only a node needs it here; the rest of this module is tried out without a cluster.
    import ray

    machine = replace(luggage.machine, runs=folder / "runs", published=folder / "published")
    for place, stored in ((machine.runs, luggage.runs), (machine.published, luggage.published)):
        for name, reference in stored.items():
            put(place / name, ray.get(reference))
    job = unpacked(luggage.job, folder / "files", ray.get)
    share_card(torch.device(machine.device), machine.workers)
    tasks = tasks_from(ray.get(list(luggage.tasks)), machine.device)
    # No image is read here: those of the job came along, whichever scenario it is of.
    count_as_loaded(job.preset, machine.source, machine.device, tasks)
    outgoing = Outgoing(RunStore(machine.runs, job.hash).directory)
    told: queue.SimpleQueue[Event | JobResult | BaseException] = queue.SimpleQueue()
    if torch.__version__ != luggage.torch:
        told.put(_note(job, f"torch {torch.__version__} on {os.uname().nodename}, {luggage.torch} where it comes from"))

    def execute() -> None:
        try:
            told.put(perform(job, machine, tasks, told.put, luggage.allowance))
        except BaseException as error:
            told.put(error)

    threading.Thread(target=execute, daemon=True, name="job").start()
    yield from reports(told, outgoing)


def reports(
    told: queue.SimpleQueue[Event | JobResult | BaseException],
    outgoing: Outgoing,
    seconds: float = SECONDS_BETWEEN_REPORTS,
) -> Iterator[NodeReport]:
    """Report what a job tells and stores until it ends. Raises what ended it, if that is no result.

    told: its events, and at last its result.
    seconds: between two reports at most.
    """
    while True:
        events, end = _heard(told, seconds)
        files, gone = outgoing.changes()
        *before, last = [*in_pieces(files)] or [[]]
        yield from (NodeReport(piece) for piece in before)
        if isinstance(end, BaseException):
            yield NodeReport(last, gone, events)
            raise end
        if last or gone or events or end:
            yield NodeReport(last, gone, events, end)
        if end is not None:
            return


def _heard(
    told: queue.SimpleQueue[Event | JobResult | BaseException], seconds: float
) -> tuple[list[Event], JobResult | BaseException | None]:
    """The events that came, once one came or time is up, and the end of the job if that came too."""
    events: list[Event] = []
    until = time.monotonic() + seconds
    # In short waits: whoever cancels a task of Ray is heard between two.
    while told.empty() and (left := until - time.monotonic()) > 0:
        time.sleep(min(left, _SECONDS_OF_A_WAIT))
    with suppress(queue.Empty):
        item = told.get_nowait()
        while True:
            if not isinstance(item, Event):
                return events, item
            events.append(item)
            item = told.get_nowait()
    return events, None


def _note(job: Job, text: str) -> Event:
    return Event(job.hash, job.label, job.seed, "note", text=text)


def end_children() -> None:
    """End the processes that this one started, so that none writes into a folder that is gone."""
    for process in multiprocessing.active_children():
        process.kill()
        process.join()
