"""Extra attacks: attacks that are run for the checks alone. They cost at most a fifth of the evaluation they belong to."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

from attacks.parts.sharing import share_runs
from attacks.pgd import PGD
from attacks.rescaled import Rescaled
from attacks.square import Square
from attacks.threat_model import LARGEST_EPS, ThreatModel
from benchmark.planning.demands import Demand, joined
from benchmark.planning.presets import Preset
from scenarios.base import Task

SHARE = 0.2
"""Extra attacks may cost this share of the passes of the evaluation after the last task."""
FEWEST, MOST = 8, 100
"""Samples per task: fewer decide nothing, more are not needed."""
SCALES = (Fraction(1, 100), Fraction(1, 10), Fraction(10), Fraction(100))
"""Factors by which logits are multiplied under attack."""
UNBOUNDED_STEPS, RESCALED_STEPS = 20, 10
QUERIES = 1000
"""Queries per image of the black-box attack."""
DEEP_SAMPLES = 100
"""Samples per task of the black-box attack."""


def extra_demands(preset: Preset, tasks: Sequence[Task]) -> list[Demand]:
    """The extra attacks after the last task, as `evaluation.checks` says: `none`, `final` (the cheap ones) or `deep` (all).

    An attack that the preset demands anyway is left out. The number of samples is the same for every task, `FEWEST` to `MOST`,
    and so small that the passes stay under `SHARE` of those of the preset's own attacks.
    """
    wanted = preset.evaluation.checks
    if wanted == "none":
        return []
    model = preset.ranking
    whole = Fraction(LARGEST_EPS[model.norm])
    zero = PGD(threat_model=ThreatModel(Fraction(0), model.norm), steps=1, step_size=Fraction(0))
    # It starts at the image: a random point of so large a ball is a random image, wrong by chance whatever the gradient is.
    unbounded = PGD(
        threat_model=ThreatModel(whole, model.norm), steps=UNBOUNDED_STEPS, step_size=whole / 4, random_start=False
    )
    step = model.eps / 4
    scaled = [Rescaled(threat_model=model, steps=RESCALED_STEPS, step_size=step, scale=scale) for scale in SCALES]
    samples = _samples(preset, tasks, [zero, unbounded, *scaled])
    found = [Demand(attack, samples, extra=True) for attack in (zero, unbounded, *scaled)]
    if wanted == "deep" and not _has_black_box(preset):
        found.append(Demand(Square(threat_model=model, queries=QUERIES), DEEP_SAMPLES, extra=True))
    there = {demand.attack for demand in preset.final}
    return [demand for demand in joined(found) if demand.attack not in there]


def _samples(preset: Preset, tasks: Sequence[Task], extra: Sequence[PGD]) -> int:
    """The number of samples per task that `SHARE` of the evaluation after the last task pays for."""
    paid, price = 0.0, 0.0
    for task in tasks:
        classes, size = len(task.classes), len(task.test)
        covered = {demand.attack: demand.covers(size) for demand in preset.final}
        for run in share_runs(covered):
            # If members cover different samples the fewest count: extra attacks get less, never more.
            paid += run.passes(classes) * min(covered[attack] for attack in run.members)
        price += sum(run.passes(classes) for run in share_runs(extra))
    return max(FEWEST, min(MOST, int(SHARE * paid / price))) if price else FEWEST


def _has_black_box(preset: Preset) -> bool:
    """True if the preset demands a black-box attack at its eps already."""

    def is_one(demand: Demand) -> bool:
        return demand.attack.kind == "square" or demand.attack.kind.startswith(("autoattack", "ensemble"))

    return any(is_one(demand) and demand.attack.threat_model.eps == preset.eps for demand in preset.final)
