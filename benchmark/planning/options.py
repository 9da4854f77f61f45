"""The options of a run as they are given, and the folders they name by default. Nothing here imports torch."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmark.errors import ConfigError

ROOT = Path(__file__).resolve().parents[2]
"""The repository."""

RUNS = ROOT / "results" / "runs"
PUBLISHED = ROOT / "results" / "published"

ENGINES = ("local", "ray")
"""Values of `--engine`."""

RETRIES = 2
"""Times that a run is tried again whose process died."""

DEVICES = ("auto", "cpu", "cuda", "mps")
"""Values of `--device`; `cuda` may be followed by the number of a GPU."""


def device_name(text: str) -> str:
    """A device as torch writes it: `auto`, `cpu`, `cuda`, `cuda:N` or `mps`. Raises ConfigError for anything else.

    Of the processor and of MPS there is one, so `cpu:0` is `cpu`.
    """
    name = text.strip().lower()
    if re.fullmatch(r"(cpu|mps):0", name):
        name = name.partition(":")[0]
    cuda = re.fullmatch(r"cuda:([0-9]{1,3})", name)
    if name not in DEVICES and not cuda:
        raise ConfigError(f"--device {text}: expected auto, cpu, cuda, cuda:N (the GPU of number N, from 0) or mps")
    return f"cuda:{int(cuda[1])}" if cuda else name


@dataclass(frozen=True)
class RunOptions:
    """A preset, what is changed in it, and where and how it is run.

    preset: the name of a built-in preset, or the path of a YAML file.
    methods: labels, names of methods or paths of their files; None: all rows of the preset.
    seeds: instead of the preset's.
    overrides: `key.path=value` each.
    results: the folder of runs; published: the folder of tracked runs, which count as done.
    pretrain: the scenario that pretrained_at starts from, as YAML.
    checks: extra attacks, `none`, `final` or `deep`; None: as the preset says.
    data_root: the folder of the images; download: True if a missing data set is fetched.
    device: `auto`, `cpu`, `cuda`, `cuda:N` or `mps`.
    workers: runs side by side; None: as many as there are cores for, one on a GPU.
    dry_run: True if nothing is started or written.
    force: True if stored runs are set aside and run again.
    engine: `local`, or `ray` for a Ray cluster.
    address: of the cluster, `HOST:PORT`, or `auto` for the one that this machine belongs to; None to start one here.
    gpus_per_run: of a node of the cluster, a fraction below 1 or a whole number; None for one where there are any.
    learn_here: True if methods learn in the process that attacks them, for a debugger; `learned_without_test` is then not run.
    apart: True if runs are executed in worker processes even if there is one: a run whose process is killed is then tried
        again, and the others go on. False to work in this process, for a debugger and where a process takes longer than the work.
    retries: times that a run is tried again whose process died, 0 or more.
    until: the moment of `time.monotonic` at which work stops; None for as long as it takes.
    command: the command line that is recorded with each run.
    Raises ConfigError for empty methods or seeds, for one text where several are expected, for workers below 1, for retries below
    0, for a device that is none of these, and for options of the cluster without one.
    """

    preset: str
    methods: Sequence[str] | None = None
    seeds: Sequence[int] | None = None
    overrides: Sequence[str] = ()
    results: Path = RUNS
    published: Path = PUBLISHED
    pretrain: str | None = None
    checks: str | None = None
    data_root: Path | None = None
    download: bool = False
    device: str = "auto"
    workers: int | None = None
    dry_run: bool = False
    force: bool = False
    engine: str = "local"
    address: str | None = None
    gpus_per_run: float | None = None
    learn_here: bool = False
    apart: bool = False
    retries: int = RETRIES
    until: float | None = None
    command: str = ""

    def __post_init__(self) -> None:
        for option, name in (("--methods", "methods"), ("--seeds", "seeds"), ("--set", "overrides")):
            given = getattr(self, name)
            if isinstance(given, str | int):
                raise ConfigError(f"{option}: {given!r} is one value; give a list, such as [{given!r}]")
            if given is not None:
                # A generator would be empty when it is read again.
                object.__setattr__(self, name, tuple(given if name == "seeds" else map(str, given)))
        if self.methods is not None and not self.methods:
            raise ConfigError("--methods: give one label, method or file or more")
        if self.seeds is not None and not self.seeds:
            raise ConfigError("--seeds: give one number or more, such as --seeds 0 1 2")
        object.__setattr__(self, "device", device_name(self.device))
        if self.workers is not None and self.workers < 1:
            raise ConfigError(f"--workers {self.workers}: give 1 or more")
        if self.retries < 0:
            raise ConfigError(f"--retries {self.retries}: give 0 or more")
        self._check_engine()

    def _check_engine(self) -> None:
        """Raise ConfigError unless the options of engines fit each other."""
        if self.engine not in ENGINES:
            raise ConfigError(f"--engine {self.engine}: expected {' or '.join(ENGINES)}")
        if self.engine != "ray":
            for option, value in (("--address", self.address), ("--gpus-per-run", self.gpus_per_run)):
                if value is not None:
                    raise ConfigError(f"{option} {value}: belongs to --engine ray")
            return
        gpus = self.gpus_per_run
        if gpus is not None and not (0 < gpus < 1 or (gpus >= 1 and gpus == int(gpus))):
            raise ConfigError(
                f"--gpus-per-run {gpus:g}: give a fraction, such as 0.5 for two runs a GPU, or a whole number"
            )
        if self.device not in ("auto", "cpu", "cuda"):
            raise ConfigError(f"--device {self.device}: with --engine ray Ray chooses the GPU; use auto, cpu or cuda")
