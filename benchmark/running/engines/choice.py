"""Jobs executed on the places that a machine offers."""

from __future__ import annotations

from collections.abc import Sequence

from benchmark.learning.events import Listener
from benchmark.planning.machine import Machine
from benchmark.planning.plan import Planned
from benchmark.running.engines.base import Workers
from benchmark.running.engines.here import InThisProcess
from benchmark.running.engines.local import LocalWorkers
from benchmark.running.engines.on_ray.environment import set_up
from benchmark.running.engines.schedule import Schedule, Until
from benchmark.running.failures import JobResult
from scenarios.base import Task


def run_jobs(
    planned: Sequence[Planned], machine: Machine, tasks: list[Task], listen: Listener, until: Until | None = None
) -> list[JobResult]:
    """Execute jobs, each after those it needs. A job whose prerequisite failed fails; the others go on.

    planned: every job follows those it needs.
    tasks: of the preset.
    until: the end of the time that there is; None for as much as it takes.
    Returns their results in the same order.
    """
    # A process takes longer to start than a debugger, or a test, wants to wait.
    alone = (machine.workers == 1 or len(planned) == 1) and not machine.apart and machine.ray is None
    places = InThisProcess(machine, tasks, listen) if alone else _places(machine, tasks, listen)
    return Schedule(planned, places, machine, listen, until, in_order=alone).run()


def _places(machine: Machine, tasks: list[Task], listen: Listener) -> Workers:
    """Places in other processes. Raises ConfigError if there is no such cluster."""
    if machine.ray is None:
        return LocalWorkers(machine, listen)
    set_up(machine.ray.address)
    # Ray is an optional requirement.
    from benchmark.running.engines.on_ray.workers import RayWorkers

    return RayWorkers(machine, tasks, listen)
