"""Attacks that run together, and results of batches put back together: less is run, and the results are the same."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import zip_longest

import torch
from torch import Tensor, nn

from attacks.base import MANY, Attack, AttackResult, Outcome, SharedResult, Trace
from attacks.starts import Starts


@dataclass(frozen=True, slots=True)
class SharedRun:
    """One run that serves several attacks of one family.

    members: the attacks, in the order in which they were demanded, each once.
    """

    members: tuple[Attack, ...]

    @property
    def attack(self) -> Attack:
        """The member of most steps. The cost of the whole run is recorded as its cost."""
        return max(self.members, key=lambda member: member.steps)

    @property
    def rows_per_image(self) -> int:
        """The rows of a batch that one image takes."""
        return type(self.attack).rows_per_image(self.members)

    @property
    def batch_free(self) -> bool:
        """True if results are the same, up to rounding, in any batch."""
        return type(self.attack).batch_free

    def passes(self, classes: int = MANY) -> float:
        """The most forward-sized passes that the run costs per image of a classifier of so many classes."""
        return type(self.attack).passes_together(self.members, classes)

    def run(self, classifier: nn.Module, images: Tensor, labels: Tensor, start: Starts) -> SharedResult:
        """Attack one batch with all members; arguments and errors as `Attack.run`."""
        return type(self.attack).run_together(self.members, classifier, images, labels, start)


def share_runs(attacks: Iterable[Attack]) -> list[SharedRun]:
    """The runs that serve these attacks: one for each family, in the order in which its first attack is demanded."""
    groups: dict[tuple[object, ...], dict[Attack, None]] = {}
    for attack in attacks:
        groups.setdefault((type(attack), *attack.family()), {})[attack] = None
    return [SharedRun(tuple(members)) for members in groups.values()]


def combine_shared(results: Sequence[SharedResult]) -> SharedResult:
    """The results of one shared run on successive batches as if there had been one batch.

    Raises ValueError for no results, as `combine_results` does.
    """
    if not results:
        raise ValueError("no results to combine")
    attacks = list(results[0].results)
    return SharedResult(
        {attack: combine_results([result.results[attack] for result in results]) for attack in attacks},
        sum(result.gradient_evaluations for result in results),
        sum(result.forward_passes for result in results),
    )


def combine_results(results: Sequence[AttackResult]) -> AttackResult:
    """The results of one attack on successive batches as if there had been one batch.

    Batches may differ in size. Raises ValueError for no results, or for results of different attacks.
    """
    if not results:
        raise ValueError("no results to combine")
    checkpoints = {tuple(result.final) for result in results}
    if len(checkpoints) > 1:
        raise ValueError(f"results of different attacks cannot be combined: checkpoints {sorted(checkpoints)}")
    sizes = [len(result.adversarial) for result in results]
    return replace(
        results[0],
        final={steps: _join([result.final[steps] for result in results]) for steps in results[0].final},
        any={steps: _join([result.any[steps] for result in results]) for steps in results[0].any},
        adversarial=torch.cat([result.adversarial for result in results]),
        worst=torch.cat([result.worst for result in results]),
        trace=combine_traces([result.trace for result in results], sizes),
        gradient_evaluations=sum(result.gradient_evaluations for result in results),
        forward_passes=sum(result.forward_passes for result in results),
    )


def combine_traces(traces: Sequence[Trace], sizes: Sequence[int]) -> Trace:
    """One trace of all batches.

    loss, zero_gradients, non_finite: means over batches, weighted by their number of samples.
    largest_change: the maximum over batches.
    standing: the sum over batches of the samples that stand after each part.

    A batch whose attack ended early counts as far as it went.

    sizes: of the batches, one for each trace. Raises ValueError if there are none, or another number of them.
    """
    if not traces or len(traces) != len(sizes):
        raise ValueError(f"{len(traces)} traces and {len(sizes)} sizes: expected as many, one or more")
    changes = zip_longest(*(trace.largest_change for trace in traces), fillvalue=0.0)
    parts = [part for trace in traces for part in trace.standing]
    return Trace(
        loss=_mean([trace.loss for trace in traces], sizes),
        zero_gradients=_mean([trace.zero_gradients for trace in traces], sizes),
        non_finite=_mean([trace.non_finite for trace in traces], sizes),
        largest_change=[max(column) for column in changes],
        standing={part: sum(trace.standing.get(part, 0) for trace in traces) for part in dict.fromkeys(parts)},
    )


def _mean(rows: Sequence[list[float]], sizes: Sequence[int]) -> list[float]:
    """The mean of each column, weighted by the sizes of the rows that reach it."""
    columns = []
    for column in zip_longest(*rows):
        weighted = [(value, size) for value, size in zip(column, sizes, strict=True) if value is not None]
        columns.append(sum(value * size for value, size in weighted) / sum(size for _, size in weighted))
    return columns


def _join(outcomes: Sequence[Outcome]) -> Outcome:
    predicted: list[Tensor] = [outcome.predicted for outcome in outcomes]
    margin: list[Tensor] = [outcome.margin for outcome in outcomes]
    return Outcome(torch.cat(predicted), torch.cat(margin))
