"""Provenance: where and with what a run was made. It is recorded beside the results and is no part of an identity."""

from __future__ import annotations

import platform
import resource
import sys
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from benchmark.planning.machine import Machine
from benchmark.version import git_commit
from results.store import now


def provenance(machine: Machine) -> dict[str, Any]:
    """The provenance of a run that starts now, as JSON."""
    device = torch.cuda.get_device_name() if machine.device.startswith("cuda") else platform.processor() or "cpu"
    names = ("torch", "numpy", "pandas", "pyarrow")
    return {
        "started_at": now(),
        "command": machine.command,
        "device": machine.device,
        "hardware": device,
        "cores": torch.get_num_threads(),
        "threads": machine.threads,
        "workers": machine.workers,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "versions": {name: version(name) for name in names},
        "git": git_commit(),
    }


def arithmetic(device: torch.device) -> str:
    """Everything that decides the last bits of a result: library version, processor or GPU, instructions in use."""
    if device.type == "cuda":
        return f"torch {torch.__version__} {torch.cuda.get_device_name(device)}"
    return f"torch {torch.__version__} {_processor()} {torch.backends.cpu.get_cpu_capability()}"


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())


def forget_peak_memory(device: torch.device) -> None:
    """Let `peak_memory_mb` count from now on. On a CPU that takes Linux; elsewhere the peak is that of the whole process."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    else:
        with suppress(OSError):
            # 5 sets the peak of the resident set to its present size.
            Path("/proc/self/clear_refs").write_text("5")


def peak_memory_mb(device: torch.device) -> float:
    """Peak memory so far in MB: of the GPU's allocator, or of this process with its libraries."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 1e6
    kilobytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return kilobytes / (1e6 if sys.platform == "darwin" else 1e3)
