"""The extra attacks that only checks look at: which, on how many samples, and why that costs at most a fifth of an evaluation."""

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
"""Of the passes of an evaluation after the last task, so much may go into extra attacks."""
FEWEST, MOST = 8, 100
"""Samples per task: fewer decide nothing, more are not needed."""
SCALES = (Fraction(1, 100), Fraction(1, 10), Fraction(10), Fraction(100))
UNBOUNDED_STEPS, RESCALED_STEPS = 20, 10
QUERIES = 1000
DEEP_SAMPLES = 100


def check_demands(preset: Preset, tasks: Sequence[Task]) -> list[Demand]:
    """What the preset's checks ask for after the last task: nothing, the cheap and the final attacks, or the deep ones too.

    Attacks that the preset demands anyway are not asked for twice. On so many samples of each task, the same for all, that the
    passes stay under `SHARE` of those of the preset's own attacks, but at least `FEWEST` and at most `MOST`.
    """
    if preset.checks == "none":
        return []
    model = preset.ranking
    whole = Fraction(LARGEST_EPS[model.norm])
    zero = PGD(threat_model=ThreatModel(Fraction(0), model.norm), steps=1, step_size=Fraction(0))
    # From the image itself: a random start in so large a ball is a random image, wrong by chance whatever the gradient is.
    unbounded = PGD(
        threat_model=ThreatModel(whole, model.norm), steps=UNBOUNDED_STEPS, step_size=whole / 4, random_start=False
    )
    step = model.eps / 4
    scaled = [Rescaled(threat_model=model, steps=RESCALED_STEPS, step_size=step, scale=scale) for scale in SCALES]
    samples = _samples(preset, tasks, [zero, unbounded, *scaled])
    wanted = [Demand(attack, samples) for attack in (zero, unbounded, *scaled)]
    if preset.checks == "deep" and not _has_black_box(preset):
        wanted.append(Demand(Square(threat_model=model, queries=QUERIES), DEEP_SAMPLES))
    there = {demand.attack for demand in preset.final}
    return [demand for demand in joined(wanted) if demand.attack not in there]


def _samples(preset: Preset, tasks: Sequence[Task], extra: Sequence[PGD]) -> int:
    """As many samples of each task as a fifth of the evaluation after the last task pays for."""
    paid, price = 0.0, 0.0
    for task in tasks:
        classes, size = len(task.classes), len(task.test)
        covered = {demand.attack: demand.covers(size) for demand in preset.final}
        for run in share_runs(covered):
            # Where members cover different samples this counts the fewest: the checks get less, never more.
            paid += run.passes(classes) * min(covered[attack] for attack in run.members)
        price += sum(run.passes(classes) for run in share_runs(extra))
    return max(FEWEST, min(MOST, int(SHARE * paid / price))) if price else FEWEST


def _has_black_box(preset: Preset) -> bool:
    def is_one(demand: Demand) -> bool:
        return demand.attack.kind == "square" or demand.attack.kind.startswith(("autoattack", "ensemble"))

    return any(is_one(demand) and demand.attack.threat_model.eps == preset.eps for demand in preset.final)
