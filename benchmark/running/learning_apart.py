"""Learning in a process of its own: training and validation images are sent to it turn by turn, test images never are."""

from __future__ import annotations

import multiprocessing
import signal
import traceback
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any, Protocol

import numpy as np
import torch

from attacks.parts.clock import RunClock, purpose, running_clock
from benchmark.evaluating.determinism import repeatable
from benchmark.learning.confined import readers
from benchmark.learning.events import Event, Listener
from benchmark.learning.learner import Learner
from benchmark.learning.opened_files import Watch, data_places
from benchmark.planning.jobs import Job
from benchmark.planning.machine import Machine, use_device
from benchmark.processes import Terminated, end_when_told, end_with_parent, main_left_out, make_streams_steady
from benchmark.running.failures import GOES_ON, KILLED, LearningFailed
from benchmark.running.gpu import DeviceLost, lost, return_memory, share_card
from results.files import StoreError
from results.store import RunStore
from scenarios.base import ImageSet, LearnTask, Stream
from scenarios.placement import device_for

ORDER_SECONDS = 2.0
"""The time in which a process that is told to end puts in order what it holds; then it is killed."""


class Learns(Protocol):
    """The place where a run is learned."""

    def learn(self, turn: int, tasks: Sequence[LearnTask]) -> None:
        """As `Learner.learn`. Raises LearningFailed, or the method's own error, if that fails."""

    def close(self) -> None:
        """Give up everything that learning held."""


class LearnsHere:
    """Learning in this process, for a debugger, and for tests of other things. Nothing is watched.

    job, machine, stream, store, listen: as of `Learner`.
    """

    def __init__(self, job: Job, machine: Machine, stream: Stream, store: RunStore, listen: Listener) -> None:
        self._arguments = (job, machine, stream, store, listen)
        self._learner: Learner | None = None

    def learn(self, turn: int, tasks: Sequence[LearnTask]) -> None:
        if self._learner is None:
            self._learner = Learner(*self._arguments)
            self._learner.begin()
        self._learner.learn(turn, tasks)

    def close(self) -> None:
        self._learner = None


class LearnsApart:
    """Learning in a process that is started for this run, at its first turn, and ends with it.

    job, machine, stream, store, listen: as of `Learner`. Events reach `listen` in this process, in their order.
    """

    def __init__(self, job: Job, machine: Machine, stream: Stream, store: RunStore, listen: Listener) -> None:
        self._job, self._machine, self._stream, self._store, self._listen = job, machine, stream, store, listen
        self._process: multiprocessing.process.BaseProcess | None = None
        self._connection: Connection[Any, Any] | None = None

    def learn(self, turn: int, tasks: Sequence[LearnTask]) -> None:
        """As `Learner.learn`. Raises LearningFailed if the method fails or its process is killed, DeviceLost if it lost the GPU,
        StoreError if nothing can be stored.
        """
        try:
            # Of the time spent waiting here, what the process does not count for purposes of its own went into starting it.
            with purpose("start"):
                answer = self._asked(turn, tasks)
        except (EOFError, ConnectionError):
            self.close()
            message = "its process was killed (out of memory? a smaller recipe.micro_batch needs less)"
            raise LearningFailed(KILLED, message + GOES_ON) from None
        if isinstance(answer, _Unstored):
            raise StoreError(answer.message)
        if isinstance(answer, LearningFailed | DeviceLost):
            raise answer

    def _asked(self, turn: int, tasks: Sequence[LearnTask]) -> Any:
        """Send a turn to the process, and wait for its answer."""
        connection = self._connected()
        connection.send((turn, [_Plain.of(task) for task in tasks]))
        while isinstance(answer := connection.recv(), Event | _Took):
            if isinstance(answer, Event):
                self._listen(answer)
            elif (clock := running_clock()) is not None:
                clock.take_over(answer.seconds)
        return answer

    def _connected(self) -> Connection[Any, Any]:
        if self._connection is None:
            context = multiprocessing.get_context("spawn")
            self._connection, theirs = context.Pipe()
            process = context.Process(
                target=_serve,
                args=(theirs, self._job, self._machine, self._stream, self._store.directory.parent),
                name=f"learns {self._job.label}",
            )
            with main_left_out():
                process.start()
            self._process = process
            # The other end lives in the process alone: when that ends, reading here ends too.
            theirs.close()
        return self._connection

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
        if self._process is not None:
            self._process.terminate()
            self._process.join(ORDER_SECONDS)
            # Code of a method may hold on to anything.
            self._process.kill()
            self._process.join()
        self._process = self._connection = None


@dataclass(frozen=True)
class _Unstored:
    """Nothing could be stored. message: of the StoreError."""

    message: str


@dataclass(frozen=True)
class _Took:
    """The time that a turn took. seconds: by purpose."""

    seconds: dict[str, float]


@dataclass(frozen=True)
class _Plain:
    """A task to learn as arrays, which any process can read.

    task: its id, name and classes.
    parts: images, labels and samples of the training and of the validation images.
    """

    task: tuple[int, str, tuple[str, ...]]
    parts: tuple[tuple[np.ndarray, ...], ...]

    @classmethod
    def of(cls, task: LearnTask) -> _Plain:
        parts = [(part.images, part.labels, part.samples) for part in (task.train, task.validation)]
        return cls(
            (task.id, task.name, task.classes), tuple(tuple(t.cpu().numpy() for t in tensors) for tensors in parts)
        )

    @property
    def train_bytes(self) -> int:
        """Bytes of the training images."""
        return int(self.parts[0][0].nbytes)

    def to(self, device: str, there: torch.device) -> LearnTask:
        """The task on a device, its training images in another place."""
        train, validation = (ImageSet(*map(torch.from_numpy, part)) for part in self.parts)
        train = ImageSet(train.images.to(there), train.labels.to(device), train.samples.to(device))
        return LearnTask(*self.task, train, validation.to(device))


def _placed(tasks: Sequence[_Plain], device: str) -> list[LearnTask]:
    """The tasks of a turn on a device; training images stay on the host if all of them would take too much of it."""
    # Twice: images of several tasks, or of a task and a memory, are joined there when they are learned.
    there = device_for(2 * sum(task.train_bytes for task in tasks), device)
    return [task.to(device, there) for task in tasks]


def _serve(connection: Connection[Any, Any], job: Job, machine: Machine, stream: Stream, runs: Any) -> None:
    """Learn the turns that are asked for, until the other end is closed."""
    # Ctrl-C reaches this process too. The parent tells the user, and what is stored is whole.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    end_when_told()
    end_with_parent()
    make_streams_steady()
    with suppress(Terminated):
        try:
            _learn(connection, job, machine, stream, runs)
        finally:
            # From here on nothing is held that would have to be put in order.
            signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _learn(connection: Connection[Any, Any], job: Job, machine: Machine, stream: Stream, runs: Any) -> None:
    torch.set_num_threads(machine.threads)
    use_device(machine.device)
    device = torch.device(machine.device)
    share_card(device, machine.workers)
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)

    def tell(event: Event) -> None:
        with suppress(OSError):
            connection.send(event)

    learner: Learner | None = None
    readers.wrap()
    watch = Watch.of_this_process(data_places(machine.source.data_root), job.plugin.path)
    while True:
        try:
            turn, tasks = connection.recv()
        except EOFError:
            return
        clock = RunClock()
        try:
            with repeatable(), clock.running():
                if learner is None:
                    learner = Learner(job, machine, stream, RunStore(runs, job.hash), tell, watch)
                    learner.begin()
                learner.learn(turn, _placed(tasks, machine.device))
            answer: Any = None
        except StoreError as error:
            answer = _Unstored(str(error))
        except (Exception, SystemExit) as error:
            # A method that calls `sys.exit` fails like one that raises. Only this process can tell if the device is lost to it.
            answer = lost(error, device) or LearningFailed.of(error, "".join(traceback.format_exception(error)))
            learner = None
        return_memory(device)
        connection.send(_Took(clock.seconds))
        connection.send(answer)
