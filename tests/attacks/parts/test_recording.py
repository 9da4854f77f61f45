"""Recordings on a GPU that fail leave the process as it was."""

from __future__ import annotations

import pytest
import torch

from attacks.parts import capture
from attacks.parts.capture import recording

GPU = torch.device("cuda")

pytestmark = [pytest.mark.cuda, pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")]


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


def test_work_that_waits_for_the_device_is_refused_before_it_is_recorded(monkeypatch):
    monkeypatch.setattr(capture, "recording", lambda *_: pytest.fail("it was recorded"))
    with pytest.raises(RuntimeError, match="synchroniz"):
        capture.Captured(lambda points: (points * points.sum().item(),), (), (torch.ones(2, device=GPU),))
    assert torch.cuda.get_sync_debug_mode() == 0
