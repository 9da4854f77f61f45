"""Training steps as one CUDA graph: the kernels of a step launched as one, with no host in between.

A step on a small batch is thousands of kernels of microseconds each. Launching them one by one takes longer than running them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol

import torch
from torch import Tensor, nn

from attacks.parts.clock import purpose
from attacks.parts.graphs.recording import recording
from methods.training.fit import Fit, Step
from methods.training.inner_attack import Batch, InnerAttack
from methods.training.recipe import Recipe

WARM_UPS = 3
"""Steps before the first capture: torch demands some, because libraries and optimisers allocate their memory in them."""

Outcome = tuple[Tensor, Tensor]
"""The loss of a step (scalar) and its logits (N, classes)."""


class StepRecorder(Protocol):
    """Records the work of a step once, and repeats it."""

    def aside(self) -> AbstractContextManager[None]:
        """Hold the block apart from other work, as the steps before a recording must be."""

    def record(self, work: Callable[[], Outcome], generators: Sequence[torch.Generator]) -> Callable[[], Outcome]:
        """The function that repeats `work` on the tensors that it reads now. Nothing is computed before it is called.

        generators: those that `work` draws from.
        Raises RuntimeError if `work` cannot be recorded.
        """


class GraphRecorder:
    """Records CUDA graphs.

    device: a GPU.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._stream = torch.cuda.Stream(device)

    @contextmanager
    def aside(self) -> Iterator[None]:
        current = torch.cuda.current_stream(self._device)
        self._stream.wait_stream(current)
        with torch.cuda.stream(self._stream):
            yield
        current.wait_stream(self._stream)

    def record(self, work: Callable[[], Outcome], generators: Sequence[torch.Generator]) -> Callable[[], Outcome]:
        states = [generator.get_state() for generator in generators]
        graph = torch.cuda.CUDAGraph()
        try:
            with recording(graph, self._stream, generators=generators):
                outcome = work()
        except RuntimeError:
            torch.cuda.synchronize(self._device)
            for generator, state in zip(generators, states, strict=True):
                generator.set_state(state)
            raise

        def replay() -> Outcome:
            graph.replay()
            return outcome

        return replay


def recorder_for(device: torch.device) -> StepRecorder | None:
    """The recorder of a device: one of CUDA graphs on a GPU, none elsewhere."""
    return GraphRecorder(device) if device.type == "cuda" else None


class Steps:
    """The steps of one training: the first few as they are, the others recorded once and repeated.

    A recording reads the tensors that were there when it was made, so a network whose tensors are others now is recorded again.

    fit: what is trained.
    attack: the inner attack.
    optimizer: the recipe's.
    generators: those that a step may draw from.
    recorder: None: every step is made as it is.

    recordings: how many were made so far.
    why_plain: the reason for which steps are made as they are from now on; empty if there is none.
    """

    def __init__(
        self,
        fit: Fit,
        attack: InnerAttack,
        recipe: Recipe,
        optimizer: torch.optim.Optimizer,
        generators: Sequence[torch.Generator],
        recorder: StepRecorder | None,
    ) -> None:
        self.fit, self._attack, self._recipe, self._optimizer = fit, attack, recipe, optimizer
        self._generators, self._recorder = generators, recorder
        self._recorded: _Recorded | None = None
        self._made = self.recordings = 0
        self.why_plain = "" if recorder else "there is no GPU"

    def make(self, batch: Batch, step: Step) -> Outcome:
        """Make a step on a batch: its loss and its logits, detached. The next step may overwrite them."""
        outcome = self._moved(batch)
        self._made += 1
        # Methods decide by the step's number here, such as when to cut, so it is no part of the recording.
        if self.fit.after_step:
            self.fit.after_step(step)
        return outcome

    def forget(self) -> None:
        """Give up the memory of what was recorded."""
        self._recorded = None

    def _moved(self, batch: Batch) -> Outcome:
        if self._recorder is None or self.why_plain:
            return self._as_it_is(batch)
        if self._made < WARM_UPS:
            with self._recorder.aside():
                return self._as_it_is(batch)
        if self._recorded is None or not self._recorded.reads(self.fit.network):
            with purpose("capture"):
                self._recorded = self._record(self._recorder, batch)
        return self._recorded.repeat(batch) if self._recorded else self._as_it_is(batch)

    def _as_it_is(self, batch: Batch) -> Outcome:
        return self.fit.move(batch, self._attack, self._recipe, self._optimizer)

    def _record(self, recorder: StepRecorder, batch: Batch) -> _Recorded | None:
        """Record a step on copies of a batch's tensors; None if that fails, and then all steps to come are made as they are."""
        held = batch.copied()
        # Gradients made outside would be added to; those of the recording live in its own memory.
        self.fit.clear_gradients(self._optimizer)
        try:
            repeat = recorder.record(lambda: self._as_it_is(held), self._generators)
        except RuntimeError as error:
            self.why_plain = (str(error).strip().splitlines() or [type(error).__name__])[0]
            self.fit.clear_gradients(self._optimizer)
            # Those of tensors that no optimiser moves lie in memory of the recording too, where nothing was computed.
            for parameter in self.fit.network.parameters():
                parameter.grad = None
            return None
        self.recordings += 1
        return _Recorded(held, repeat, _addresses(self.fit.network))


class _Recorded:
    """A recorded step.

    held: the batch that it reads.
    repeat_it: repeats it.
    addresses: of the network's tensors, when it was recorded.
    """

    def __init__(self, held: Batch, repeat_it: Callable[[], Outcome], addresses: list[int]) -> None:
        self._held, self._repeat_it, self._addresses = held, repeat_it, addresses

    def reads(self, network: nn.Module) -> bool:
        """True if the network's tensors are where they were."""
        return _addresses(network) == self._addresses

    def repeat(self, batch: Batch) -> Outcome:
        self._held.take_over(batch)
        return self._repeat_it()


def _addresses(network: nn.Module) -> list[int]:
    return [tensor.data_ptr() for tensor in (*network.parameters(), *network.buffers())]
