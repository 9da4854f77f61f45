"""What all tests share: one thread (small networks, and the same bits everywhere), and no cache folder but the test's own."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

REPOSITORY = Path(__file__).resolve().parents[1]
REAL_CIFAR100 = REPOSITORY.parent / "shared" / "data" / "cifar100"


@pytest.fixture(autouse=True, scope="session")
def _one_thread() -> None:
    torch.set_num_threads(1)
