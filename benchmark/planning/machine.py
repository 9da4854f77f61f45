"""The machine that jobs run on: device, workers, folders."""

from __future__ import annotations

import importlib.util
import os
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from benchmark.errors import ConfigError
from benchmark.planning.options import RETRIES, RunOptions
from benchmark.planning.presets import Preset
from reports.numbers.wording import counted
from scenarios.base import SourceOptions


@dataclass(frozen=True)
class OnRay:
    """The Ray cluster that jobs are executed on, and what each is given there.

    address: `HOST:PORT`, `auto`, or None for a cluster of this machine alone.
    device: of the jobs: `auto`, `cpu` or `cuda`.
    workers: jobs side by side; None for as many as its nodes have room for.
    gpus: for each job, or a fraction of one; None for a whole one where there are any.
    threads: of each job; None for an equal part of its node.
    """

    address: str | None = None
    device: str = "auto"
    workers: int | None = None
    gpus: float | None = None
    threads: int | None = None

    def __str__(self) -> str:
        return f"the Ray cluster at {self.address}" if self.address else "a Ray cluster of this machine"


@dataclass(frozen=True)
class Machine:
    """The place where jobs are executed. All of this is provenance, none of it identity.

    runs: folder of the run directories.
    published: folder of tracked records, which count as stored.
    source: where scenarios find their images.
    device: of torch, such as `cpu`, `cuda` or `cuda:1`.
    workers: number of processes, 1 or more.
    threads: CPU threads of each process, 1 or more.
    command: the command line, for the record.
    learn_apart: True if methods learn in processes of their own, which hold no test images.
    apart: True if runs are executed in worker processes even if there is one worker, or one run; False if one works in the
        process that asked for it.
    retries: times that a run is tried again whose process died, 0 or more.
    ray: the cluster that executes the jobs; None if this machine does.
    """

    runs: Path
    published: Path
    source: SourceOptions
    device: str
    workers: int
    threads: int
    command: str
    learn_apart: bool = True
    apart: bool = False
    retries: int = RETRIES
    ray: OnRay | None = None

    def without_published(self) -> Machine:
        """This machine as if it held no tracked records."""
        return replace(self, published=self.runs / ".nowhere")


def make_machine(options: RunOptions, preset: Preset) -> Machine:
    """Choose the device that is there, and workers and threads that keep all cores busy. Raises ConfigError.

    With the engine `ray` this machine only plans, on its CPU: the nodes of the cluster have the GPUs.
    """
    ray = _on_ray(options, preset)
    device = "cpu" if ray else options.device
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    _must_be_there(device)
    use_device(device)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    threads = min(preset.file.threads or cores, cores)
    workers = None if ray else options.workers
    if workers is not None and workers > cores:
        raise ConfigError(f"--workers {workers}: this machine has {counted(cores, 'core')}; use 1..{cores}")
    if workers is None:
        workers = 1 if device.startswith("cuda") else max(1, cores // threads)
    elif preset.file.threads is None:
        threads = max(1, cores // workers)
    # A dry run starts nothing, not even a download.
    source = SourceOptions(options.data_root, options.download and not options.dry_run)
    return Machine(
        options.results,
        options.published,
        source,
        device,
        workers,
        threads,
        options.command,
        learn_apart=not options.learn_here,
        apart=options.apart and not options.learn_here,
        retries=options.retries,
        ray=ray,
    )


def _on_ray(options: RunOptions, preset: Preset) -> OnRay | None:
    """The cluster of `--engine ray`; None for another engine. Raises ConfigError if Ray is not installed."""
    if options.engine != "ray":
        return None
    if importlib.util.find_spec("ray") is None:
        raise ConfigError(
            "--engine ray: Ray is not installed here; `make setup-ray` installs it, or requirements-ray.txt"
        )
    return OnRay(options.address, options.device, options.workers, options.gpus_per_run, preset.file.threads)


def _must_be_there(device: str) -> None:
    """Raise ConfigError if a device is not there, or lacks the arithmetic that is needed."""
    kind, _, number = device.partition(":")
    if kind == "cuda" and not torch.cuda.is_available():
        raise ConfigError(f"--device {device}: no CUDA GPU is there (torch {torch.__version__}); use --device cpu")
    if number and int(number) >= torch.cuda.device_count():
        raise ConfigError(
            f"--device {device}: this machine has {counted(torch.cuda.device_count(), 'CUDA GPU')}, numbered from 0"
        )
    if kind == "mps":
        if not torch.backends.mps.is_available():
            raise ConfigError(f"--device mps: no such GPU is there (torch {torch.__version__}); use --device cpu")
        try:
            torch.zeros(1, dtype=torch.float64, device=device)
        except (TypeError, RuntimeError) as error:
            raise ConfigError(
                "--device mps: it cannot compute in float64, as attacks and checks must; use --device cpu"
            ) from error


def use_device(device: str) -> None:
    """Make a GPU that was chosen by its number the one that this process means by `cuda`."""
    if device.startswith("cuda:"):
        torch.cuda.set_device(device)


def check_writable(folder: Path) -> None:
    """Make the folder of the runs. Raises ConfigError if nothing can be written there."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / f".probe-{os.getpid()}"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise ConfigError(f"--results {folder}: cannot be written ({error.strerror}); choose another folder") from None
