"""CUDA graphs: the kernels of one attack step, launched as one. The CPU path is the same function, not captured.

An attack step on a small batch is hundreds of kernels of microseconds each, and launching them one by one costs more than
running them. A graph is captured for a shape that is met again and again, and replayed for every step of every batch of it.

A graph reads a copy of the classifier, into which the tensors of any classifier of the same structure are put: the classifiers of
all tasks share their graphs.
"""

from __future__ import annotations

import copy
import warnings
import weakref
from collections import Counter, OrderedDict
from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from attacks.parts.clock import purpose
from attacks.parts.graphs.recording import recording
from attacks.parts.graphs.structure import structure_of

Logits = Callable[[Tensor], Tensor]
"""A classifier, or whatever answers like it."""

Computation = Callable[..., tuple[Tensor, ...]]
"""Settings, then tensors of the same M rows, to tensors of M rows. A row's results depend on this row alone."""

SIGHTINGS = 8
"""Calls on one shape that are made as they are before it is captured: a capture costs as much as many of them."""

MOST_GRAPHS = 64
"""Graphs that are kept of one structure. The one whose last use is longest ago goes first."""

MOST_STRUCTURES = 4
"""Structures of classifiers whose graphs are kept, likewise."""

SMALLEST_BATCH = 16
"""Rows below which a pass takes no less time on a GPU."""


class Captured:
    """A captured `work` that runs on static copies of its tensors. Its settings (non-tensors) stay as they were."""

    def __init__(self, work: Computation, settings: tuple[Any, ...], tensors: tuple[Tensor, ...]) -> None:
        # Whatever else the work reads has to live as long as the graph does.
        self._work = work
        self._inputs = tuple(tensor.clone() for tensor in tensors)
        self._last: tuple[Tensor, ...] = ()
        self._memory = _memory_of(tensors[0].device)
        stream = self._memory.stream
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            # Torch demands it: libraries allocate their workspaces at a first run.
            work(*settings, *self._inputs)
            with _waiting_refused():
                work(*settings, *self._inputs)
        torch.cuda.current_stream().wait_stream(stream)
        self._graph = torch.cuda.CUDAGraph()
        with recording(self._graph, stream, self._memory.pool):
            self._outputs = work(*settings, *self._inputs)

    def __call__(self, tensors: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        for index, (static, tensor) in enumerate(zip(self._inputs, tensors, strict=True)):
            # A tensor that does not change from step to step is the same object, and is copied once.
            if not (index < len(self._last) and self._last[index] is tensor):
                static.copy_(tensor)
        self._last = tensors
        self._graph.replay()
        # Copies, made at once: the next graph may write over what this one has left.
        return tuple(output.clone() for output in self._outputs)


@contextmanager
def _waiting_refused() -> Iterator[None]:
    """Raise RuntimeError where work waits for the device. In a recording it would be refused too, but leave that half open."""
    before = torch.cuda.get_sync_debug_mode()
    with warnings.catch_warnings():
        # Torch warns of each switch that it may overlook some waiting: a recording refuses that by itself.
        warnings.filterwarnings("ignore", "Synchronization debug mode is a prototype")
        torch.cuda.set_sync_debug_mode("error")
        try:
            yield
        finally:
            torch.cuda.set_sync_debug_mode(before)


class _Memory:
    """The memory in which the graphs of a stream compute, one after another, and the stream on which they are captured."""

    def __init__(self, device: torch.device) -> None:
        self.pool = torch.cuda.graph_pool_handle()
        self.stream = torch.cuda.Stream(device)


_memories: weakref.WeakValueDictionary[tuple[torch.device, int], _Memory] = weakref.WeakValueDictionary()
"""By device and stream: default streams of devices are numbered alike. A memory goes with its last graph, as torch demands."""


def _memory_of(device: torch.device) -> _Memory:
    stream = torch.cuda.current_stream(device)
    key = (stream.device, stream.cuda_stream)
    if (memory := _memories.get(key)) is None:
        memory = _memories[key] = _Memory(device)
    return memory


def capturable(
    make: Callable[[Logits], Computation], key: Hashable, classifier: nn.Module, device: torch.device, batch: int = 0
) -> Computation:
    """The work that `make` makes for a classifier; on a GPU a function that captures it per shape and replays the graph.

    make: a classifier → work on it. The work must not wait for the device.
    key: names the work, apart from the classifier: equal keys compute the same.
    batch: rows of a whole batch, of which ever fewer are asked about. On a GPU rows are then filled up to one of few sizes, graph
        or no graph: results do not depend on what was captured before. 0: rows stay as many as they are.

    A classifier that cannot be captured (because it waits for the device, say) is run as it is, and so is a shape for which
    memory does not suffice.
    """
    return _Repeated(make, key, classifier, batch) if device.type == "cuda" else make(classifier)


def rung(rows: int, batch: int) -> int:
    """The size to which `rows` rows of a batch are filled up: the least of batch, 3/4, 1/2, 3/8, 1/4 ... that holds them.

    A batch of 0 has no sizes: the rows as they are.
    """
    if rows >= batch:
        return rows
    found, halves = batch, 1
    while True:
        for size in (-(-3 * batch // (4 * halves)), -(-batch // (2 * halves))):
            # In whole multiples of the smallest, because products of odd shapes are slow.
            size = min(batch, -(-size // SMALLEST_BATCH) * SMALLEST_BATCH)
            if size < rows:
                return found
            found = size
        if found <= SMALLEST_BATCH:
            return found
        halves *= 2


def forget_graphs() -> None:
    """Give up all graphs and free their memory, because it has run out."""
    for graphs in (*_shared.values(), *_own.values()):
        graphs.forget()
    if torch.cuda.is_initialized():
        torch.cuda.empty_cache()


class _Repeated:
    """Work on one classifier that is captured where a shape comes again.

    plain: the work as it is.
    """

    def __init__(self, make: Callable[[Logits], Computation], key: Hashable, classifier: nn.Module, batch: int) -> None:
        self._make, self._key, self._classifier, self._batch = make, key, classifier, batch
        self._plain = make(classifier)
        self._graphs = _graphs_of(classifier)
        self._filled: tuple[tuple[Tensor, Tensor], ...] = ()

    def __call__(self, *arguments: Any) -> tuple[Tensor, ...]:
        tensors = tuple(argument for argument in arguments if isinstance(argument, Tensor))
        settings = arguments[: len(arguments) - len(tensors)]
        count = len(tensors[0])
        rows = self._fill(tensors, rung(count, self._batch))
        answers = self._replayed(settings, rows)
        if answers is None:
            answers = self._plain(*settings, *rows)
        return answers if len(rows[0]) == count else tuple(answer[:count] for answer in answers)

    def _fill(self, tensors: tuple[Tensor, ...], size: int) -> tuple[Tensor, ...]:
        """Rows filled up with the first one. A tensor that was filled the last time is not filled again."""
        if size == len(tensors[0]):
            return tensors
        known = {id(tensor): (tensor, filled) for tensor, filled in self._filled if len(filled) == size}
        self._filled = tuple(known.get(id(tensor)) or (tensor, _filled_up(tensor, size)) for tensor in tensors)
        return tuple(filled for _, filled in self._filled)

    def _replayed(self, settings: tuple[Any, ...], tensors: tuple[Tensor, ...]) -> tuple[Tensor, ...] | None:
        """The answers of a graph; None if there is none and none is made."""
        graphs = self._graphs
        if self._key in graphs.impossible:
            return None
        shape = (self._key, settings, _modes(), *((tensor.shape, tensor.dtype) for tensor in tensors))
        graph = graphs.find(shape)
        if graph is None:
            if not graphs.is_due(shape):
                return None
            graphs.hold(self._classifier, self)
            graph = graphs.capture(shape, self._make, self._classifier, settings, tensors)
            if graph is None:
                return None
        graphs.hold(self._classifier, self)
        answers = graph(tensors)
        if not graphs.trusts(self._classifier):
            plain = self._plain(*settings, *tensors)
            if not _same(answers, plain):
                # It reads what is no tensor of its own.
                if graphs.is_shared:
                    self._graphs = _own[self._classifier] = _Graphs(None)
                else:
                    graphs.impossible.add(self._key)
                return plain
            graphs.trust(self._classifier)
        return answers


def _filled_up(tensor: Tensor, size: int) -> Tensor:
    return torch.cat([tensor, tensor[:1].expand(size - len(tensor), *tensor.shape[1:])])


Shape = tuple[Any, ...]
"""The key of a work, its settings, the switches of the process, and shapes and dtypes of its tensors."""


class _Graphs:
    """The graphs of all classifiers of one structure; or those of one classifier alone.

    replica: a copy of a classifier that the graphs read; None: they read the one classifier itself.
    impossible: keys of works whose capture has failed for another reason than memory.
    """

    def __init__(self, replica: nn.Module | None) -> None:
        self._replica = replica
        self._addresses: list[int] = []
        self.impossible: set[Hashable] = set()
        self._made: OrderedDict[Shape, Captured | None] = OrderedDict()
        self._sightings: Counter[Shape] = Counter()
        self._held: weakref.ref[object] | None = None
        self._trusted: weakref.WeakSet[nn.Module] = weakref.WeakSet()

    @property
    def is_shared(self) -> bool:
        """True if they are of all classifiers of one structure."""
        return self._replica is not None

    def forget(self) -> None:
        """Give up all graphs."""
        self._made.clear()

    def renew(self, classifier: nn.Module) -> None:
        """Give up graphs that read the classifier itself if its tensors lie elsewhere now, as after `parameter.data = ...`."""
        if not self.is_shared and self._made and self._addresses != _addresses(classifier):
            self.forget()
            self._trusted.discard(classifier)

    def find(self, shape: Shape) -> Captured | None:
        if shape in self._made:
            self._made.move_to_end(shape)
        return self._made.get(shape)

    def is_due(self, shape: Shape) -> bool:
        """True if a shape has been met often enough to be captured. None was found in memory for it: never."""
        if shape in self._made:
            return False
        self._sightings[shape] += 1
        return self._sightings[shape] > SIGHTINGS

    def hold(self, classifier: nn.Module, user: object) -> None:
        """Put the classifier's tensors into the replica, once for each user, and again if another one was in between."""
        if self._held is not None and self._held() is user:
            return
        self._held = weakref.ref(user)
        if self._replica is not None:
            with torch.no_grad():
                for mine, theirs in zip(_tensors(self._replica), _tensors(classifier), strict=True):
                    mine.copy_(theirs)

    def capture(
        self,
        shape: Shape,
        make: Callable[[Logits], Computation],
        classifier: nn.Module,
        settings: tuple[Any, ...],
        tensors: tuple[Tensor, ...],
    ) -> Captured | None:
        """A graph for this shape; None if there cannot be one. `hold` comes before."""
        asked = self._replica or classifier
        reads = _tensors(asked)
        try:
            with purpose("capture"):
                graph = Captured(make(self._replica or _not_kept(classifier)), settings, tensors)
            if list(map(id, _tensors(asked))) != list(map(id, reads)):
                # The graph would read memory that is somebody else's by then.
                raise RuntimeError("the classifier puts other tensors in the place of its own")
        except RuntimeError as error:
            torch.cuda.synchronize()
            # The pool of a recording that failed takes no other one.
            _memories.clear()
            if _ran_out(error):
                forget_graphs()
                self._made[shape] = None
            else:
                self.impossible.add(shape[0])
            return None
        self._made[shape] = graph
        self._addresses = _addresses(asked)
        if len(self._made) > MOST_GRAPHS:
            self._made.popitem(last=False)
        return graph

    def trusts(self, classifier: nn.Module) -> bool:
        """True if graphs were seen to answer as this classifier does."""
        return classifier in self._trusted

    def trust(self, classifier: nn.Module) -> None:
        self._trusted.add(classifier)


OUT_OF_MEMORY = (
    "allocate memory",
    "CUDA error: out of memory",
    "CUDA driver error: out of memory",
    "STATUS_ALLOC_FAILED",
    "ALLOCATION_FAILED",
    "unable to find an engine to execute this computation",
)
"""Words of errors that say it on a CPU, of the runtime and the driver of a GPU, and of libraries that allocate memory past torch.

The last ones are torch's, where no way to compute a convolution was left: it passes over each whose work space does not fit.
"""


def out_of_memory(error: BaseException) -> bool:
    """True if the error says that memory ran out, on a GPU or on the CPU."""
    said = isinstance(error, RuntimeError) and any(words in str(error) for words in OUT_OF_MEMORY)
    return said or isinstance(error, torch.OutOfMemoryError)


def _ran_out(error: BaseException | None) -> bool:
    """True if memory ran out, or if the error came of that: a recording that it ends raises another one."""
    while error is not None and not out_of_memory(error):
        error = error.__cause__ or error.__context__
    return error is not None


def _not_kept(classifier: nn.Module) -> Logits:
    """The classifier, in a form that does not keep it alive: a graph that reads it goes when it goes."""
    known = weakref.ref(classifier)

    def ask(images: Tensor) -> Tensor:
        there = known()
        assert there is not None, "the classifier is gone, and its graphs with it"
        return there(images)  # type: ignore[no-any-return]

    return ask


_shared: OrderedDict[Hashable, _Graphs] = OrderedDict()
"""By structure."""

_own: weakref.WeakKeyDictionary[nn.Module, _Graphs] = weakref.WeakKeyDictionary()
"""Of classifiers that share with nobody: dropped when the classifier is."""


def _graphs_of(classifier: nn.Module) -> _Graphs:
    if classifier in _own:
        _own[classifier].renew(classifier)
        return _own[classifier]
    structure = structure_of(classifier)
    if structure is not None and structure not in _shared:
        try:
            _shared[structure] = _Graphs(copy.deepcopy(classifier))
        except Exception:  # whatever a module says that cannot be copied
            structure = None
        while len(_shared) > MOST_STRUCTURES:
            _shared.popitem(last=False)
    if structure is None:
        graphs = _own[classifier] = _Graphs(None)
        return graphs
    _shared.move_to_end(structure)
    return _shared[structure]


def _tensors(module: nn.Module) -> list[Tensor]:
    return [*module.parameters(), *module.buffers()]


def _addresses(module: nn.Module) -> list[int]:
    return [tensor.data_ptr() for tensor in _tensors(module)]


def _modes() -> Hashable:
    """The switches of the process that choose kernels: a graph keeps those under which it was captured."""
    cudnn = torch.backends.cudnn
    return (
        cudnn.allow_tf32,
        torch.backends.cuda.matmul.allow_tf32,
        cudnn.deterministic,
        cudnn.benchmark,
        torch.are_deterministic_algorithms_enabled(),
        torch.is_autocast_enabled("cuda") and torch.get_autocast_dtype("cuda"),
    )


def _same(answers: Sequence[Tensor], others: Sequence[Tensor]) -> bool:
    """True if the tensors are equal; NaN equals NaN. Waits for the device."""
    return all(
        torch.equal(answer, other) or bool(((answer == other) | (answer.isnan() & other.isnan())).all())
        for answer, other in zip(answers, others, strict=True)
    )
