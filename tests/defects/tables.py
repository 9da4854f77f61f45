"""The results of the calibration as Markdown tables. Pure functions."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from reports.checks.verdicts import FAIL, NOT_RUN, PASS, WARN, Verdict
from reports.numbers.statistics.intervals import wilson
from reports.numbers.wording import first_of
from tests.defects.calibrating import Found
from tests.defects.catalogue import CARRIER
from tests.defects.defect import PlantedDefect
from tests.defects.numbers import number, quantity, spread

Table = list[dict[str, str]]

GAIN = 1
"""Points that a defect must report beyond the truth to count as one that gains something."""


def detection_table(planted: Sequence[PlantedDefect], found: Mapping[str, Sequence[Found]]) -> Table:
    """A row per defect and strength.

    It says in how many seeds the check meant for it failed (or warned), with the check's number; in how many the row is off the
    ranking; the ACC of `worst` that the row reports, what is true of it, and its points above the same networks without the
    defect; and the other checks that failed, or that warned though they do not for the honest networks. Intervals are of 95 %.
    """
    usual = {check for each in found.get(CARRIER, ()) for check in each.warning()}
    honest = {each.seed: each for each in found.get(CARRIER, ())}
    reported = {seed: each.reported for seed, each in honest.items()}
    rows = []
    for each in planted:
        seeds = found[each.label]
        mine = [verdict for seed in seeds for verdict in seed.verdicts if verdict.check in each.meant]
        rows.append(
            {
                "defect": each.defect,
                "strength": each.strength,
                "meant for it": " or ".join(each.meant) or "none: harmless",
                "found by it": _found_by(each, seeds),
                "its number": _numbers(mine),
                "off the ranking": _of(sum(seed.is_off for seed in seeds), seeds),
                "reported, %": _points([seed.reported for seed in seeds]),
                "true, %": _points([truth(each, s, honest) for s in seeds]),
                "above honest": _points([s.reported - reported.get(s.seed, math.nan) for s in seeds], "+.1f"),
                "other checks that fired": _others(each, seeds, usual),
            }
        )
    return rows


def kind_table(planted: Sequence[PlantedDefect], found: Mapping[str, Sequence[Found]]) -> Table:
    """A row per defect, all strengths and seeds together: how many are off the ranking, and of those that gain something."""
    honest = {each.seed: each for each in found.get(CARRIER, ())}
    rows = []
    for defect in dict.fromkeys(each.defect for each in planted):
        mine = [(each, seed) for each in planted if each.defect == defect for seed in found[each.label]]
        off = [seed.is_off for _, seed in mine]
        gains = [gain(each, seed, honest) for each, seed in mine]
        gaining = [is_off for is_off, points in zip(off, gains, strict=True) if points > GAIN]
        known = [points for points in gains if not math.isnan(points)]
        rows.append(
            {
                "defect": defect,
                "runs": str(len(mine)),
                "off the ranking": share(sum(off), len(off)),
                "largest gain, points": f"{max(known):+.1f}" if known else "n/a",
                f"of those that gain more than {GAIN} point": share(sum(gaining), len(gaining)),
                "ranked": first_of([f"{each.strength} {seed.seed}" for each, seed in mine if not seed.is_off], most=6),
            }
        )
    return rows


def gain(planted: PlantedDefect, seed: Found, honest: Mapping[int, Found]) -> float:
    """Points that a seed reports beyond the truth, and the same networks without a defect do not; NaN where nobody knows.

    honest: by seed, the same networks without a defect.
    """
    without = honest.get(seed.seed)
    if without is None:
        return math.nan
    usual = 0.0 if planted.knows_the_test or math.isnan(without.true) else without.reported - without.true
    return 100 * (seed.reported - truth(planted, seed, honest) - usual)


def truth(planted: PlantedDefect, seed: Found, honest: Mapping[int, Found]) -> float:
    """The accuracy of a seed that is there in truth, 0 to 1; NaN where nobody knows.

    honest: by seed, the same networks without a defect.
    """
    if not planted.knows_the_test:
        return seed.true
    return honest[seed.seed].reported if seed.seed in honest else math.nan


def share(count: int, of: int) -> str:
    """`count of n [low, high] %`, with Wilson's 95 % interval; n/a for none."""
    if not of:
        return "n/a"
    bounds = wilson(count, of)
    return f"{count} of {of} [{100 * bounds.low:.0f}, {100 * bounds.high:.0f}] %"


def alarm_table(labels: Iterable[str], found: Mapping[str, Sequence[Found]]) -> Table:
    """A row per check: how often it passed, warned, failed and was not run over rows and seeds, its number, its alarms.

    The first row is of all checks together. The shares of failures are of the rows on which a check was run.
    """
    seeds = [each for label in labels for each in found[label]]
    checks = list(dict.fromkeys(verdict.check for each in seeds for verdict in each.verdicts))
    worst = Counter(FAIL if each.failing() else WARN if each.warning() else PASS for each in seeds)
    rows = [
        {
            "check": "any",
            **{status: str(worst[status]) for status in (PASS, WARN, FAIL, NOT_RUN)},
            FAIL: share(worst[FAIL], len(seeds)),
            "number": "",
            "threshold": "",
            "alarms (row and seed)": first_of([f"{e.label} {e.seed}" for e in seeds if e.is_off], most=6),
        }
    ]
    for check in checks:
        own = [(each, verdict) for each in seeds for verdict in each.verdicts if verdict.check == check]
        count = Counter(verdict.status for _, verdict in own)
        alarms = [f"{each.label} {each.seed}" for each, verdict in own if verdict.status in (WARN, FAIL)]
        rows.append(
            {
                "check": check,
                **{status: str(count[status]) for status in (PASS, WARN, FAIL, NOT_RUN)},
                FAIL: share(count[FAIL], len(own) - count[NOT_RUN]) if count[NOT_RUN] < len(own) else "0",
                "number": _numbers([verdict for _, verdict in own]),
                "threshold": own[0][1].threshold,
                "alarms (row and seed)": first_of(alarms, most=6),
            }
        )
    return rows


def gap_table(labels: Iterable[str], planted: Sequence[PlantedDefect], found: Mapping[str, Sequence[Found]]) -> Table:
    """A row per check that a defect is meant for: its number over the honest rows, and over the defects, strength by strength."""
    honest = [verdict for label in labels for each in found[label] for verdict in each.verdicts]
    rows = []
    for check in dict.fromkeys(check for each in planted for check in each.meant):
        beside = [
            f"{each.label}: {values}"
            for each in planted
            if check in each.meant
            and (values := spread(number(v) for seed in found[each.label] for v in seed.verdicts if v.check == check))
        ]
        mine = [verdict for verdict in honest if verdict.check == check]
        rows.append(
            {
                "check": check,
                "number": quantity(check),
                "threshold": mine[0].threshold if mine else "",
                "honest": spread(number(verdict) for verdict in mine),
                "planted": "; ".join(beside),
            }
        )
    return rows


def to_markdown(rows: Table) -> str:
    """A GitHub table; nothing for no rows."""
    if not rows:
        return ""
    lines = [list(rows[0]), ["---"] * len(rows[0]), *(list(row.values()) for row in rows)]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


def _found_by(planted: PlantedDefect, seeds: Sequence[Found]) -> str:
    failed = sum(bool(set(seed.failing()) & set(planted.meant)) for seed in seeds)
    warned = sum(bool(set(seed.warning()) & set(planted.meant)) for seed in seeds if not _fails(planted, seed))
    return _of(failed, seeds) + (f" (and {warned} warned of)" if warned else "")


def _fails(planted: PlantedDefect, seed: Found) -> bool:
    return bool(set(seed.failing()) & set(planted.meant))


def _numbers(verdicts: Sequence[Verdict]) -> str:
    """By check, where it could be read."""
    checks = dict.fromkeys(verdict.check for verdict in verdicts)
    spreads = {check: spread(number(verdict) for verdict in verdicts if verdict.check == check) for check in checks}
    return "; ".join(f"{values} {quantity(check)}" for check, values in spreads.items() if values)


def _others(planted: PlantedDefect, seeds: Sequence[Found], usual: set[str]) -> str:
    failed = Counter(check for seed in seeds for check in seed.failing() if check not in planted.meant)
    warned = Counter(check for seed in seeds for check in seed.warning() if check not in {*planted.meant, *usual})
    return ", ".join(
        [*(f"{check} {count}" for check, count in failed.items()), *(f"{c} {n} (warned)" for c, n in warned.items())]
    )


def _of(count: int, seeds: Sequence[Found]) -> str:
    return share(count, len(seeds)) if seeds else "0 of 0"


def _points(values: Sequence[float], form: str = ".1f") -> str:
    """The mean of fractions in percent; n/a where one is missing."""
    mean = sum(values) / len(values) if values else math.nan
    return "n/a" if math.isnan(mean) else format(100 * mean, form)
