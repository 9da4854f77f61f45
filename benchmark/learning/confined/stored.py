"""The classifiers of a run, made in a confined process from its last checkpoint alone."""

from __future__ import annotations

import codecs
import importlib
import pickle
import sys
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import torch
from torch import nn

from benchmark.learning.confined.process import Limits, Made, plug_in_files
from benchmark.learning.context import RunContext
from benchmark.learning.opened_files import data_places
from benchmark.learning.restoring import restored_state
from benchmark.planning.jobs import Job
from benchmark.planning.machine import Machine, use_device
from benchmark.plugins import ATTACKS, METHODS, SCENARIOS
from results.checkpoints import Checkpoints
from results.records import Run
from results.store import RunStore
from scenarios.base import Stream


@dataclass(frozen=True)
class FromCheckpoint:
    """A job's method, and the state that a checkpoint of its run holds (`process.Source`).

    job: pickled, because to read it is to import plug-ins.
    stream: of the job.
    runs, run: the folder of runs, and the hash of this one.
    key: name of the checkpoint.
    device: of the classifiers.
    modules: of the repository, which the process imports before it is confined: somebody may edit one while a run goes on.
    """

    job: bytes
    stream: Stream
    runs: Path
    run: str
    key: str
    device: str
    modules: tuple[str, ...]
    limits: Limits

    @classmethod
    def of(cls, job: Job, machine: Machine, key: str, run: Run) -> FromCheckpoint:
        """The source of a stored run. key: name of its checkpoint."""
        began = datetime.fromisoformat(run.config["provenance"]["started_at"]).timestamp()
        own = (*plug_in_files(), *([str(job.plugin.path)] if job.plugin.sha256 else []))
        return cls(
            job=pickle.dumps(job),
            stream=job.stream,
            runs=machine.runs,
            run=job.hash,
            key=key,
            device=machine.device,
            modules=repository_modules(),
            limits=Limits(own, data_places(machine.source.data_root), began, machine.threads),
        )

    def gather(self) -> Callable[[], Callable[[], Made]]:
        """Read the checkpoint, and import what every method may import. Raises StoreError."""
        store, device = RunStore(self.runs, self.run), torch.device(self.device)
        state = restored_state(Checkpoints(store.directory / "checkpoints"), self.key, device)
        for name in self.modules:
            importlib.import_module(name)
        # All plug-ins of the repository: a preset looks for its own among them, and somebody may have edited one meanwhile.
        for kind in (METHODS, ATTACKS, SCENARIOS):
            kind.all()
        warm_up(device)

        def importing() -> Callable[[], Made]:
            job: Job = pickle.loads(self.job)
            method = job.new_method()

            def making() -> Made:
                context = RunContext(job, device, method, store, {}, lambda event: None, restores=True)
                method.begin(self.stream, context)
                method.load_state(state)
                return lambda task: method.classifier(job.asks(task)).to(device)

            return making

        return importing


def repository_modules() -> tuple[str, ...]:
    """Modules of the repository that this process has imported, without those that only it needs."""
    mine = ("attacks", "methods", "scenarios", "results")
    lower = ("benchmark.planning", "benchmark.evaluating", "benchmark.learning")
    return tuple(sorted(name for name in sys.modules if name.partition(".")[0] in mine or name.startswith(lower)))


def warm_up(device: torch.device) -> None:
    """Use the device and the reader of tensors once: torch loads modules, libraries and devices when they are first needed."""
    use_device(str(device))
    image = torch.zeros(1, 1, 8, 8, device=device, requires_grad=True)
    network = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Flatten(), nn.Linear(72, 2)).to(device).eval()
    nn.functional.cross_entropy(network(image), torch.zeros(1, dtype=torch.int64, device=device)).backward()
    pickle.loads(pickle.dumps(torch.zeros(1)))
    for name in ("ascii", "latin-1", "utf-16"):
        codecs.lookup(name)
