"""Run less, say the same: attacks that share a trajectory, and results of batches put back together. Pure functions."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from attacks.base import Attack, AttackResult, Outcome, Trace


@dataclass(frozen=True, slots=True)
class SharedRun:
    """One run that serves several attacks.

    attack: the member of most steps, the one that is run; members: every demanded attack it serves, in the order of the
    demand, without repetition. A member's results stand at checkpoint `member.steps`.
    """

    attack: Attack
    members: tuple[Attack, ...]

    @property
    def checkpoints(self) -> tuple[int, ...]:
        """What to pass to `attack.run`: the members' numbers of steps, ascending."""
        return tuple(sorted({member.steps for member in self.members}))


def share_trajectories(attacks: Iterable[Attack]) -> list[SharedRun]:
    """Group attacks of equal `trajectory()`, in the order in which the first of each group is demanded."""
    groups: dict[tuple[object, ...], dict[Attack, None]] = {}
    for attack in attacks:
        groups.setdefault(attack.trajectory(), {})[attack] = None
    return [SharedRun(max(members, key=lambda member: member.steps), tuple(members)) for members in groups.values()]


def executed_as(runs: Iterable[SharedRun]) -> dict[Attack, tuple[Attack, int]]:
    """Each demanded attack to the attack that is run for it and the checkpoint where its results stand."""
    return {member: (run.attack, member.steps) for run in runs for member in run.members}


def combine_results(results: Sequence[AttackResult]) -> AttackResult:
    """The results of one attack on successive batches as if there had been one batch.

    Batches may differ in size. Raises ValueError for no results, or for results of different attacks.
    """
    if not results:
        raise ValueError("no results to combine")
    counts = {(result.gradient_evaluations, result.forward_passes, *result.final) for result in results}
    if len(counts) > 1:
        raise ValueError(f"results of different attacks cannot be combined: passes and checkpoints {sorted(counts)}")
    sizes = [len(result.adversarial) for result in results]
    return replace(
        results[0],
        final={steps: _join([result.final[steps] for result in results]) for steps in results[0].final},
        any={steps: _join([result.any[steps] for result in results]) for steps in results[0].any},
        adversarial=torch.cat([result.adversarial for result in results]),
        trace=combine_traces([result.trace for result in results], sizes),
    )


def combine_traces(traces: Sequence[Trace], sizes: Sequence[int]) -> Trace:
    """One trace of all batches: means weighted by the number of samples, the largest change by its maximum.

    Raises ValueError if the traces are not of equal length, or none is given.
    """
    return Trace(
        loss=_mean([trace.loss for trace in traces], sizes),
        zero_gradients=_mean([trace.zero_gradients for trace in traces], sizes),
        non_finite=_mean([trace.non_finite for trace in traces], sizes),
        largest_change=[max(changes) for changes in zip(*(trace.largest_change for trace in traces), strict=True)],
    )


def _mean(rows: Sequence[list[float]], sizes: Sequence[int]) -> list[float]:
    if not rows or len(rows) != len(sizes):
        raise ValueError(f"{len(rows)} traces and {len(sizes)} sizes: expected as many, one or more")
    return [
        sum(value * size for value, size in zip(column, sizes, strict=True)) / sum(sizes)
        for column in zip(*rows, strict=True)
    ]


def _join(outcomes: Sequence[Outcome]) -> Outcome:
    predicted: list[Tensor] = [outcome.predicted for outcome in outcomes]
    margin: list[Tensor] = [outcome.margin for outcome in outcomes]
    return Outcome(torch.cat(predicted), torch.cat(margin))
