"""A fresh process that makes classifiers from what is stored, confined, and answers what it is asked about them.

Images never lie in it before it is asked about them: they are sent with the question.
"""

from __future__ import annotations

import io
import multiprocessing
import pickle
import sys
import tempfile
import traceback
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Protocol, TypeVar, cast

import torch
from torch import nn

from benchmark.learning.confined.sandbox import CannotConfine, Confinement, confine
from benchmark.processes import end_with_parent, main_left_out

T = TypeVar("T")

Made = Callable[[int], nn.Module]
"""Makes the classifier of a task, by its id, on the device on which it is asked."""


@dataclass(frozen=True)
class Limits:
    """The limits of a confined process.

    own: plug-in files that may be read however young they are.
    data: folders of data sets, where nothing may be read.
    began: seconds since the epoch; no code is younger.
    threads: of torch.
    """

    own: tuple[str, ...]
    data: tuple[str, ...]
    began: float
    threads: int


class Source(Protocol):
    """The source that classifiers are made from. It is picklable."""

    @property
    def limits(self) -> Limits:
        """The limits of the process that makes them."""

    def gather(self) -> Callable[[], Callable[[], Made]]:
        """Read everything that is needed, before the process is confined.

        The result imports the plug-ins: confined, but for the files of installed packages. Its result makes the classifiers, with
        nothing but code in reach.
        """


class NotMade(Exception):
    """Classifiers could not be made anew, or did not answer.

    kind: the name of the error's class.
    message: one line.
    reached: what was reached for, and refused.
    traceback: of the process.
    """

    def __init__(self, kind: str, message: str, reached: tuple[str, ...], traceback: str) -> None:
        super().__init__(f"{kind}: {message}")
        self.kind, self.message, self.reached, self.traceback = kind, message, reached, traceback


@dataclass(frozen=True)
class _Answer:
    """The answer to one question: a value, or an error as its class, message and traceback."""

    value: Any
    reached: tuple[str, ...]
    error: tuple[str, str, str] | None = None


class ConfinedProcess:
    """A process for one source, in a `with` block.

    means: what confines it, in words.
    reached: what code of the plug-ins reached for, and was refused, so far.
    """

    def __init__(self, source: Source) -> None:
        self._source = source
        self.means = ""
        self.reached: tuple[str, ...] = ()

    def __enter__(self) -> ConfinedProcess:
        """Start it, and make the method. Raises CannotConfine, NotMade."""
        context = multiprocessing.get_context("spawn")
        self._pool = ProcessPoolExecutor(1, context, initializer=end_with_parent)
        self._folder = tempfile.TemporaryDirectory(prefix="confined-", ignore_cleanup_errors=True)
        try:
            with tempfile.NamedTemporaryFile(prefix="witness-") as witness:
                with main_left_out():
                    begun = self._pool.submit(_begin, _packed(self._source), witness.name, self._folder.name)
                self.means = self._heard(begun.result())
        except BaseException:
            self._pool.shutdown(wait=False)
            self._folder.cleanup()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._pool.shutdown(wait=error is None)
        self._folder.cleanup()

    def ask(self, work: Callable[..., T], *arguments: Any) -> T:
        """Call `work` there with the maker of classifiers and these arguments. Raises NotMade.

        work: of a module of this repository.
        """
        return cast(T, self._heard(self._pool.submit(_ask, _packed((work, arguments))).result()))

    def _heard(self, packed: bytes) -> Any:
        answer: _Answer = pickle.loads(packed)
        self.reached = answer.reached
        if answer.error is None:
            return answer.value
        kind, message, trace = answer.error
        if kind == CannotConfine.__name__:
            raise CannotConfine(message)
        raise NotMade(kind, message, answer.reached, trace)


class Here:
    """The same in this process, which nothing confines: for tests of other things, where a process takes too long to start."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self.means = "nothing"
        self.reached: tuple[str, ...] = ()

    def __enter__(self) -> Here:
        self._made = self._source.gather()()()
        return self

    def __exit__(self, *error: object) -> None:
        pass

    def ask(self, work: Callable[..., T], *arguments: Any) -> T:
        return work(self._made, *arguments)


# -- in the other process -------------------------------------------------------------------------------------------------

_made: Made | None = None
_confinement: Confinement | None = None


def _begin(packed: bytes, witness: str, folder: str) -> bytes:
    """Read, confine, import and make, in this order. Returns the means of confinement."""
    source: Source = pickle.loads(packed)

    def begin() -> str:
        global _made, _confinement
        limits = source.limits
        torch.set_num_threads(limits.threads)
        importing = source.gather()
        _confinement = confine(limits.began, limits.own, limits.data, witness, folder)
        making = importing()
        _confinement.answering()
        _made = making()
        return _confinement.means

    return _answered(begin)


def _ask(packed: bytes) -> bytes:
    def answer() -> Any:
        work, arguments = pickle.loads(packed)
        assert _made is not None
        return work(_made, *arguments)

    return _answered(answer)


def _answered(work: Callable[[], Any]) -> bytes:
    """The value of `work`, or the error that it ended in. A plug-in's own class of errors is unknown to the other process."""
    value, error, reached = None, None, tuple[str, ...]()
    try:
        value = work()
        reached = () if _confinement is None else _confinement.reached()
    except (Exception, SystemExit) as caught:
        # Who cannot go on without a file that is not there reached for it too.
        reached = () if _confinement is None else (_confinement.reached() or _confinement.missing())
        message = " ".join(str(caught).split())
        error = (type(caught).__name__, message, "".join(traceback.format_exception(caught)))
    return _packed(_Answer(value, reached, error))


def _packed(value: Any) -> bytes:
    """Pickled as plain bytes: torch would put tensors into shared memory between processes, which this one cannot open."""
    written = io.BytesIO()
    pickle.Pickler(written).dump(value)
    return written.getvalue()


def plug_in_files() -> tuple[str, ...]:
    """The files of all plug-ins that this process has imported from outside the repository."""
    files = [
        getattr(module, "__file__", None) for name, module in list(sys.modules.items()) if name.startswith("_plugin_")
    ]
    return tuple(sorted(file for file in files if file))
