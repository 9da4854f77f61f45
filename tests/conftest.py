"""Settings of all tests: one thread (small networks, and the same bits everywhere), and proofs of not forgetting in this process,
because a fresh one takes seconds to start; `test_unforgetting_proof.py` starts them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from benchmark.learning import unforgetting_proof as unforgetting

REPOSITORY = Path(__file__).resolve().parents[1]
REAL_CIFAR100 = REPOSITORY.parent / "shared" / "data" / "cifar100"

IN_FRESH_PROCESS = unforgetting.in_fresh_process


@pytest.fixture(autouse=True, scope="session")
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(autouse=True, scope="session")
def _proofs_in_this_process() -> Iterator[None]:
    def here(work: Callable[..., Any], *arguments: Any) -> Any:
        return work(*arguments)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(unforgetting, "in_fresh_process", here)
        yield
