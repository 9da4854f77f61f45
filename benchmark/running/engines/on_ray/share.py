"""The part of a node that each job is given, and the places that this makes of a cluster."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from benchmark.errors import ConfigError
from benchmark.planning.machine import OnRay

Resources = Mapping[str, float]
"""The resources of a node, by Ray's names."""


@dataclass(frozen=True)
class Share:
    """The part of a node that each job is given.

    cpus: whole processors, 1 or more.
    gpus: 0, a fraction of one, or a whole number.
    """

    cpus: int
    gpus: float

    def places(self, resources: Resources) -> int:
        """The number of jobs that fit on a node side by side. resources: of the node, by Ray's names."""
        by_cpus = int(resources.get("CPU", 0) // self.cpus)
        return min(by_cpus, self.by_gpus(resources)) if self.gpus else by_cpus

    def by_gpus(self, resources: Resources) -> int:
        """The number of jobs that a node has GPUs for."""
        there = int(resources.get("GPU", 0))
        if self.gpus >= 1:
            return there // math.ceil(self.gpus)
        return there * self.sharers

    @property
    def sharers(self) -> int:
        """The number of jobs that share each GPU, 1 or more: a fraction is one of a single card."""
        return math.floor(1 / self.gpus) if 0 < self.gpus < 1 else 1

    def __str__(self) -> str:
        return f"{self.cpus} CPU" + (f" and {self.gpus:g} GPU" if self.gpus else "")


def share_of(on: OnRay, nodes: Sequence[Resources]) -> Share:
    """The part of a node that each job is given: the same on all nodes. Raises ConfigError if GPUs are asked for in vain."""
    has_gpus = any(node.get("GPU") for node in nodes)
    if on.device == "cpu" or (on.device == "auto" and not has_gpus):
        return Share(on.threads or _fewest(node.get("CPU", 0) for node in nodes), 0)
    if not has_gpus:
        raise ConfigError(
            "--device cuda: no node of the cluster has a GPU; use --device cpu, or start Ray on nodes with GPUs"
        )
    gpus = 1.0 if on.gpus is None else on.gpus
    alone = Share(1, gpus)
    # Nobody waits for a core while a GPU is free.
    return Share(
        on.threads or _fewest(node.get("CPU", 0) // max(1, alone.by_gpus(node)) for node in nodes if node.get("GPU")),
        gpus,
    )


def _fewest(cpus: Iterable[float]) -> int:
    """The fewest processors among those of nodes that have any, 1 or more."""
    return max(1, int(min((count for count in cpus if count), default=1)))


def must_fit(share: Share, nodes: Sequence[Resources], where: str) -> None:
    """Raise ConfigError unless a node can be given one job. where: begins the message."""
    if not any(share.places(node) for node in nodes):
        there = "; ".join(f"{node.get('CPU', 0):g} CPU, {node.get('GPU', 0):g} GPU" for node in nodes) or "none"
        raise ConfigError(
            f"{where}: a run asks for {share}, and no node of the cluster has as much (nodes: {there}); change --set "
            "threads=N or --gpus-per-run"
        )
