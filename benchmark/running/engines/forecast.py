"""The end of every job as a schedule would make it, from the seconds that each takes. Nothing is executed."""

from __future__ import annotations

import heapq
from collections.abc import Mapping, Sequence

from benchmark.planning.plan import Planned
from benchmark.running.engines.schedule import in_turn


def ends(planned: Sequence[Planned], seconds: Mapping[str, float], places: int) -> dict[str, float]:
    """Seconds from now until each job has ended, by hash, if nothing dies and nothing else runs.

    planned: every job follows those it needs.
    seconds: that each job takes, by hash.
    places: at which jobs are executed side by side, 1 or more.
    """
    waiting, running, found = in_turn(planned), list[tuple[float, str]](), dict[str, float]()
    wanted, now = {job.hash for job in waiting}, 0.0
    while waiting or running:
        for job in list(waiting):
            needed = {need.hash for need in job.needs.values()} & wanted
            if len(running) < places and needed <= found.keys():
                waiting.remove(job)
                heapq.heappush(running, (now + seconds[job.hash], job.hash))
        now, ended = heapq.heappop(running)
        found[ended] = now
    return found
