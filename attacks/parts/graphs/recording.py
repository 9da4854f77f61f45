"""One recording of a CUDA graph: a failure leaves the process as it was, and what is recorded shares no workspace."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

import torch


@contextmanager
def recording(
    graph: torch.cuda.CUDAGraph,
    stream: torch.cuda.Stream,
    pool: Any = None,
    generators: Sequence[torch.Generator] = (),
) -> Iterator[None]:
    """Record the work of the block as a graph. If that fails, the process goes on as if nothing had been recorded.

    stream: on which the work runs.
    pool: the memory in which it computes, from `torch.cuda.graph_pool_handle`; None: one of its own.
    generators: those that the work draws from, beside the one of the process.

    Torch leaves a recording that failed half open: its stream stays the current one, the allocator keeps the pool for it and
    frees nothing any more, and generators refuse to draw.
    """
    pool = pool or torch.cuda.graph_pool_handle()
    # This block puts the stream back, if torch's own does not come to that.
    with torch.cuda.stream(stream):
        try:
            for generator in generators:
                graph.register_generator_state(generator)
            # Torch keeps one workspace of cuBLAS per stream, and frees it with the first graph of the stream that goes, although
            # others compute in it (pytorch issue 193402). So each takes one from its own memory.
            _forget_workspaces()
            with torch.cuda.graph(graph, pool=pool, stream=stream):
                yield
        except BaseException:
            _close(stream, pool, generators)
            raise
        finally:
            _forget_workspaces()


def _forget_workspaces() -> None:
    """Let products of matrices take a workspace anew, from the memory that is allocated from then."""
    # It is torch's own, and may go one day; by then torch keeps the workspaces apart by itself.
    with suppress(AttributeError):
        torch._C._cuda_clearCublasWorkspaces()


def _close(stream: torch.cuda.Stream, pool: Any, generators: Sequence[torch.Generator]) -> None:
    """Close a recording that failed. Raises RuntimeError if the device is lost."""
    torch.cuda.synchronize(stream.device)
    # They are torch's own, and may go one day; a recording in another pool is possible without them.
    with suppress(RuntimeError, AttributeError):
        # The first refuses if torch has come to it by itself, and then the second is the graph's own business.
        torch._C._cuda_endAllocateToPool(stream.device.index, pool)
        torch._C._cuda_releasePool(stream.device.index, pool)
    with suppress(RuntimeError):
        # Generators draw again after a recording that succeeds.
        graph = torch.cuda.CUDAGraph()
        for generator in generators:
            graph.register_generator_state(generator)
        with torch.cuda.graph(graph, stream=stream):
            torch.zeros(1, device=stream.device)
