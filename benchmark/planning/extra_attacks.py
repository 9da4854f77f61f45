"""Extra attacks: attacks that are run for the checks alone. They cost at most an eighth of the passes of their evaluation."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

from attacks.base import Attack
from attacks.composition import Composition
from attacks.distilled import Distilled
from attacks.float32 import Float32
from attacks.inside import Inside
from attacks.parts.sharing import share_runs
from attacks.pgd import PGD
from attacks.rescaled import Rescaled
from attacks.square import Square
from attacks.threat_model import LARGEST_EPS, ThreatModel
from benchmark.planning.demands import Demand, joined
from benchmark.planning.presets import Preset
from scenarios.base import Task

SHARE = 0.12
"""Extra attacks may cost this share of the passes of the evaluation after the last task. Their batches are small, so that a pass
takes more time: where images are small, they come to a fifth of the seconds."""
FEWEST, MOST = 8, 100
"""Samples per task: fewer decide nothing, more are not needed."""
SCALES = (Fraction(1, 100),)
"""Factors by which logits are multiplied under attack. A tenth, ten and a hundred were given up for the attacks inside the ball.
On logits x1000, x100 and x30 and on softmax x50 and x1000 a hundred found no more than the preset's attacks."""
UNBOUNDED_STEPS, RESCALED_STEPS = 20, 10
FEW_QUERIES, QUERIES = 100, 1000
"""Queries per image of the black-box attack: by default, and of `deep`."""
DEEP_SAMPLES = 100
"""Samples per task of the black-box attack of `deep`."""
ONE, HALF, QUARTER = Fraction(1), Fraction(1, 2), Fraction(1, 4)


def extra_demands(preset: Preset, tasks: Sequence[Task]) -> list[Demand]:
    """The extra attacks after the last task, as `evaluation.checks` says: `none`, `final` (the cheap ones) or `deep` (all).

    An attack that the preset demands anyway is left out. Samples are the same for every task, `FEWEST` to `MOST`, and so few that
    the passes stay under `SHARE` of those of the preset's own attacks. Attacks of many passes get half or a quarter of them.
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
    shares: dict[Attack, Fraction] = {zero: ONE, unbounded: HALF, **dict.fromkeys(scaled, 3 * QUARTER)}
    shares |= {Inside(threat_model=model): ONE, Distilled(threat_model=model): ONE}
    if preset.evaluation.precision != "fp32":
        like = walk_to_compare(preset)
        shares[Float32(threat_model=model, made_with=like)] = ONE
    blind = not _has_black_box(preset)
    if blind and wanted != "deep":
        shares[Square(threat_model=model, queries=FEW_QUERIES)] = QUARTER
    samples = _samples(preset, tasks, shares)
    found = [
        Demand(attack, max(FEWEST, min(MOST, int(share * samples))), extra=True) for attack, share in shares.items()
    ]
    if blind and wanted == "deep":
        found.append(Demand(Square(threat_model=model, queries=QUERIES), DEEP_SAMPLES, extra=True))
    there = {demand.attack for demand in preset.final}
    return [demand for demand in joined(found) if demand.attack not in there]


def walk_to_compare(preset: Preset) -> Attack:
    """The attack that is made once more in float32: the preset's longest PGD at the ranking's eps, or PGD-10 if it has none.

    Of the same length the one of the smallest steps. Targets and restarts repeat what one walk shows.
    """
    own = [
        demand.attack
        for demand in preset.final
        if type(demand.attack) is PGD and demand.attack.threat_model == preset.ranking
    ]
    plain = [attack for attack in own if attack.restarts == 1 and not attack.targets and attack.eot == 1]
    if not plain:
        return PGD(threat_model=preset.ranking, steps=10, step_size=preset.ranking.eps / 4)
    return max(plain, key=lambda attack: (attack.steps, attack.loss == "ce", -attack.step_size))


def _samples(preset: Preset, tasks: Sequence[Task], shares: dict[Attack, Fraction]) -> Fraction:
    """The number of samples per task that `SHARE` of the evaluation after the last task pays for.

    shares: of that number, by extra attack.
    """
    paid, price = 0.0, 0.0
    for task in tasks:
        classes, size = task.answers(tasks[-1].id), len(task.test)
        covered = {demand.attack: demand.covers(size) for demand in preset.final}
        for run in share_runs(covered):
            # If members cover different samples the fewest count: extra attacks get less, never more.
            paid += run.passes(classes) * min(covered[attack] for attack in run.members)
        price += sum(run.passes(classes) * float(shares[run.attack]) for run in share_runs(shares))
    return Fraction(SHARE * paid / price) if price else Fraction(FEWEST)


def _has_black_box(preset: Preset) -> bool:
    """True if the preset demands a black-box attack at its eps already: Square, alone or as a part of a composition."""
    attacks = [demand.attack for demand in preset.final if demand.attack.threat_model.eps == preset.eps]
    return any(isinstance(attack, Square | Composition) for attack in attacks)
