"""Recordings that fail leave the process as it was: on a GPU, and as calls of torch where there is none."""

from __future__ import annotations

from contextlib import contextmanager, suppress
from types import SimpleNamespace
from typing import ClassVar

import pytest
import torch

from attacks.parts.graphs import capture
from attacks.parts.graphs.recording import recording

GPU = torch.device("cuda")

on_a_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")


@on_a_gpu
@pytest.mark.cuda
def test_after_a_recording_that_failed_the_process_goes_on():
    stream, pool, before = torch.cuda.Stream(), torch.cuda.graph_pool_handle(), torch.cuda.current_stream()
    generator, kept = torch.Generator(GPU), torch.ones(4, device=GPU)
    good = torch.cuda.CUDAGraph()
    with recording(good, stream, pool):
        doubled = kept * 2
    with pytest.raises(RuntimeError), recording(torch.cuda.CUDAGraph(), stream, pool, [generator]):
        (kept + torch.rand(4, device=GPU, generator=generator)).sum().item()
    assert torch.cuda.current_stream() == before
    assert torch.rand(2, device=GPU).isfinite().all()
    assert torch.rand(2, device=GPU, generator=generator).isfinite().all()
    large = torch.ones(2**28, dtype=torch.uint8, device=GPU)
    reserved = torch.cuda.memory_reserved()
    del large
    torch.cuda.empty_cache()
    assert torch.cuda.memory_reserved() <= reserved - 2**28
    again = torch.cuda.CUDAGraph()
    with recording(again, stream, torch.cuda.graph_pool_handle(), [generator]):
        tripled = kept * 3 + 0 * torch.rand(4, device=GPU, generator=generator)
    good.replay()
    again.replay()
    assert torch.equal(doubled, kept * 2)
    assert torch.equal(tripled, kept * 3)


@on_a_gpu
@pytest.mark.cuda
def test_work_that_waits_for_the_device_is_refused_before_it_is_recorded(monkeypatch):
    monkeypatch.setattr(capture, "recording", lambda *_: pytest.fail("it was recorded"))
    with pytest.raises(RuntimeError, match="synchroniz"):
        capture.Captured(lambda points: (points * points.sum().item(),), (), (torch.ones(2, device=GPU),))
    assert torch.cuda.get_sync_debug_mode() == 0


@on_a_gpu
@pytest.mark.cuda
def test_a_graph_that_goes_takes_nothing_from_another_one_of_its_stream():
    stream, left, right = torch.cuda.Stream(), torch.rand(512, 512, device=GPU), torch.rand(512, 512, device=GPU)
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        expected = left @ right
    torch.cuda.current_stream().wait_stream(stream)
    graphs = [torch.cuda.CUDAGraph() for _ in range(2)]
    products = []
    for graph in graphs:
        with recording(graph, stream):
            products.append(left @ right)
    graphs.pop(0).reset()
    torch.cuda.empty_cache()
    taken = torch.full((2**26,), 7, dtype=torch.uint8, device=GPU)
    graphs[0].replay()
    assert torch.equal(products[1], expected)
    assert bool((taken == 7).all())


# The calls of torch, for which no GPU is needed.


class Recorded:
    """A graph that remembers the generators that it was told of."""

    made: ClassVar[list] = []

    def __init__(self):
        self.generators = []
        self.made.append(self)

    def register_generator_state(self, generator):
        self.generators.append(generator)


@pytest.fixture
def calls(monkeypatch):
    """Calls that torch was asked for, with a `graph` that leaves its stream current if the block raises, as torch's own does."""
    found = SimpleNamespace(current="default", ended=[], released=[], open=False, order=[])

    @contextmanager
    def stream(chosen):
        before, found.current = found.current, chosen
        try:
            yield
        finally:
            found.current = before

    @contextmanager
    def graph(made, pool=None, stream=None):
        before, found.current, found.open = found.current, stream, True
        found.order.append("recording")
        yield
        found.current, found.open = before, False

    def end(device, pool):
        if not found.open:
            raise RuntimeError("not currently recording to mempool_id")
        found.ended.append((device, pool))

    for name, value in (
        ("stream", stream),
        ("graph", graph),
        ("synchronize", lambda device: None),
        ("CUDAGraph", Recorded),
    ):
        monkeypatch.setattr(torch.cuda, name, value)
    monkeypatch.setattr(torch.cuda, "graph_pool_handle", lambda: (0, 7))
    monkeypatch.setattr(torch._C, "_cuda_endAllocateToPool", end, raising=False)
    monkeypatch.setattr(torch._C, "_cuda_releasePool", lambda *given: found.released.append(given), raising=False)
    monkeypatch.setattr(torch._C, "_cuda_clearCublasWorkspaces", lambda: found.order.append("clear"), raising=False)
    monkeypatch.setattr(Recorded, "made", [])
    return found


SIDE = SimpleNamespace(device=torch.device("cpu", 0))


def test_a_recording_that_succeeds_is_torchs_own(calls):
    graph = Recorded()
    with recording(graph, SIDE, generators=["mine"]):
        assert calls.current is SIDE
    assert (calls.current, calls.ended, calls.released) == ("default", [], [])
    assert graph.generators == ["mine"]
    assert Recorded.made == [graph]


@pytest.mark.parametrize("fails", [False, True])
def test_products_of_matrices_share_no_workspace_with_what_is_outside_the_recording(calls, fails):
    with suppress(KeyError), recording(Recorded(), SIDE):
        calls.order.append("work")
        if fails:
            raise KeyError
    # A recording that failed is closed by another one.
    assert calls.order == ["clear", "recording", "work", *(["recording"] if fails else []), "clear"]


def test_a_torch_that_keeps_no_workspaces_is_not_asked_to_forget_them(calls, monkeypatch):
    monkeypatch.delattr(torch._C, "_cuda_clearCublasWorkspaces")
    with recording(Recorded(), SIDE):
        calls.order.append("work")
    assert calls.order == ["recording", "work"]


def test_a_recording_that_fails_is_closed_and_the_generators_are_taken_along_in_one_that_succeeds(calls):
    graph = Recorded()
    with pytest.raises(RuntimeError, match="the first error"), recording(graph, SIDE, (0, 3), ["mine"]):
        raise RuntimeError("the first error")
    assert calls.current == "default"
    assert calls.ended == calls.released == [(0, (0, 3))]
    assert [each.generators for each in Recorded.made] == [["mine"], ["mine"]]
    assert not calls.open


def test_a_recording_that_torch_closed_by_itself_is_not_closed_twice(calls):
    with pytest.raises(RuntimeError, match="the first error"), recording(Recorded(), SIDE):
        calls.open = False
        raise RuntimeError("the first error")
    assert calls.ended == calls.released == []
