"""A leaderboard of a thousand runs on 1, 8 and 64 GPUs, as the schedule of every engine would make it. Nothing is executed.

    python -m tests.scaling.simulation

The rows and the runs that they need are those of a preset. What a run costs is what the same row cost where it was measured: the
seconds of learning and of attacks that published records tell. `Schedule` decides what goes next, as in a real run; places and
clock are made up.
"""

from __future__ import annotations

import argparse
import heapq
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

from benchmark.planning.machine import Machine
from benchmark.planning.plan import Planned
from benchmark.planning.presets import load_preset
from benchmark.running.engines.base import JobEnd
from benchmark.running.engines.schedule import Schedule
from benchmark.running.failures import JobResult
from benchmark.running.seconds.left import Allowance
from scenarios.base import SourceOptions
from tests.scaling.costs import published, seconds


@dataclass(frozen=True)
class Made:
    """A job as the schedule sees it. hash: its row and seed."""

    hash: str
    label: str
    seed: int
    needs: dict[str, Made] = field(default_factory=dict)

    def __str__(self) -> str:
        return self.hash


@dataclass(frozen=True)
class Priced:
    """A job and its price. passes: its seconds."""

    job: Made
    passes: float


class MadeUpPlaces:
    """Places (`base.Workers`) on which time passes at once.

    now: seconds since the begin.
    busy: seconds in which places executed something, together.
    """

    def __init__(self, places: int, seconds: Mapping[str, float]) -> None:
        self._places, self._seconds = places, seconds
        self._running: list[tuple[float, str]] = []
        self.now = self.busy = 0.0

    @property
    def free(self) -> int:
        return self._places - len(self._running)

    def start(self, job: Made, allowance: Allowance | None = None) -> None:
        took = self._seconds[job.hash]
        self.busy += took
        heapq.heappush(self._running, (self.now + took, job.hash))

    def ended(self, timeout: float | None = None) -> list[JobEnd]:
        if not self._running:
            return []
        self.now, name = heapq.heappop(self._running)
        return [JobEnd(name, JobResult(name))]

    def stop(self) -> None:
        """Nothing is left to stop."""


def jobs_of(preset: str, seeds: int, scale: float) -> list[Priced]:
    """The runs of a preset with so many seeds, and those that they need and that are no rows.

    scale: seconds on the machine that is imagined, for one on the machine that was measured.
    """
    costs = {label: seconds(run) for label, run in published(preset)}
    rows = [row for row in load_preset(preset).rows if row.label in costs]
    row_of: dict[str, str] = {}
    for row in rows:
        row_of.setdefault(row.plugin.name, row.label)
    found: dict[str, Priced] = {}

    def add(label: str, name: str, price: float, needs: Sequence[tuple[str, str, float]], seed: int) -> Made:
        key = f"{label or name} {seed}"
        if key not in found:
            needed = {need[1]: add(*need, (), seed) for need in needs}
            found[key] = Priced(Made(key, label, seed, needed), price * scale)
        return found[key].job

    for seed in range(seeds):
        for row in rows:
            needs = []
            for spec in row.plugin.cls.requires(row.settings):
                same = row_of.get(spec.method, "")
                needs.append((same, spec.method, sum(costs[same]) if same else costs[row.label][0]))
            add(row.label, row.plugin.name, sum(costs[row.label]), needs, seed)
    return list(found.values())


def longest_chain(jobs: Sequence[Priced]) -> float:
    """Seconds of the longest chain of runs that need each other."""
    price = {item.job.hash: item.passes for item in jobs}

    def chain(job: Made) -> float:
        return price[job.hash] + max((chain(need) for need in job.needs.values()), default=0.0)

    return max(chain(item.job) for item in jobs)


def makespan(jobs: Sequence[Priced], places: int) -> tuple[float, float]:
    """Seconds until everything has ended, and the share of them in which places were busy."""
    made_up = MadeUpPlaces(places, {item.job.hash: item.passes for item in jobs})
    nowhere = Path("nowhere")
    machine = Machine(nowhere, nowhere, SourceOptions(), "cpu", 1, 1, "")
    Schedule(cast(list[Planned], list(jobs)), made_up, machine, lambda event: None).run()
    return made_up.now, made_up.busy / (made_up.now * places)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--preset", default="cifar100-cpu", help="rows, and records with their costs")
    parser.add_argument("--runs", type=int, default=1000)
    parser.add_argument("--places", type=int, nargs="+", default=[1, 8, 64])
    parser.add_argument("--mean-minutes", type=float, default=4.3, help="of a run on the GPU that is imagined")
    parser.add_argument("--start-seconds", type=float, default=8.0, help="of a run, in which its GPU does nothing")
    parser.add_argument("--sent-mb", type=float, default=0.0, help="that a run sends to the machine of the command")
    parser.add_argument("--mb-per-second", type=float, default=500.0, help="that the machine of the command takes in")
    given = parser.parse_args()
    one = jobs_of(given.preset, 1, 1.0)
    scale = given.mean_minutes * 60 * len(one) / sum(item.passes for item in one)
    jobs = jobs_of(given.preset, math.ceil(given.runs / len(one)), scale)[: given.runs]
    jobs = [Priced(item.job, item.passes + given.start_seconds) for item in jobs]
    work = sum(item.passes for item in jobs) - given.start_seconds * len(jobs)
    taken_in = len(jobs) * given.sent_mb / given.mb_per_second
    print(f"{len(jobs)} runs of {given.preset}'s rows, {work / 3600:.1f} hours of work without their starts")
    print(
        f"the longest chain takes {longest_chain(jobs) / 60:.1f} minutes; the command takes {taken_in / 60:.1f} to take in"
    )
    print("| GPUs | hours | of linear | busy | hours if all lengths were equal to their mean |")
    print("|---:|---:|---:|---:|---:|")
    for places in given.places:
        took, busy = makespan(jobs, places)
        took = max(took, taken_in)
        even = math.ceil(len(jobs) / places) * (work / len(jobs) + given.start_seconds)
        print(
            f"| {places} | {took / 3600:.2f} | {100 * work / (took * places):.1f} % | {100 * busy:.1f} % | {even / 3600:.2f} |"
        )


if __name__ == "__main__":
    main()
