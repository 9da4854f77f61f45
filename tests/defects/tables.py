"""The results of the calibration as Markdown tables. Pure functions."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from reports.checks.verdicts import FAIL, NOT_RUN, PASS, WARN, Verdict
from reports.numbers.wording import first_of
from tests.defects.calibrating import Found
from tests.defects.catalogue import CARRIER, PlantedDefect
from tests.defects.numbers import number, quantity, spread

Table = list[dict[str, str]]


def detection_table(planted: Sequence[PlantedDefect], found: Mapping[str, Sequence[Found]]) -> Table:
    """A row per defect and strength.

    It says in how many seeds the check meant for it failed (or warned), with the check's number; in how many the row is off the
    ranking; the ACC of `worst` that the row reports, and its points above the same networks without the defect; and the other
    checks that failed, or that warned though they do not for the honest networks.
    """
    usual = {check for each in found.get(CARRIER, ()) for check in each.warning()}
    honest = {each.seed: each.reported for each in found.get(CARRIER, ())}
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
                "above honest": _points([s.reported - honest.get(s.seed, math.nan) for s in seeds], "+.1f"),
                "other checks that fired": _others(each, seeds, usual),
            }
        )
    return rows


def alarm_table(labels: Iterable[str], found: Mapping[str, Sequence[Found]]) -> Table:
    """A row per check: how often it passed, warned, failed and was not run over rows and seeds, its number, its alarms."""
    seeds = [each for label in labels for each in found[label]]
    checks = list(dict.fromkeys(verdict.check for each in seeds for verdict in each.verdicts))
    rows = []
    for check in checks:
        own = [(each, verdict) for each in seeds for verdict in each.verdicts if verdict.check == check]
        count = Counter(verdict.status for _, verdict in own)
        alarms = [f"{each.label} {each.seed}" for each, verdict in own if verdict.status in (WARN, FAIL)]
        rows.append(
            {
                "check": check,
                **{status: str(count[status]) for status in (PASS, WARN, FAIL, NOT_RUN)},
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
    return f"{count} of {len(seeds)}"


def _points(values: Sequence[float], form: str = ".1f") -> str:
    """The mean of fractions in percent; n/a where one is missing."""
    mean = sum(values) / len(values) if values else math.nan
    return "n/a" if math.isnan(mean) else format(100 * mean, form)
