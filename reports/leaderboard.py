"""The leaderboard as tables: a wide one with every number (CSV), and a compact one to read."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from reports.boards import Board, Row
from reports.evidence import SUBMITTED, TRANSFER, AttackFacts
from reports.measures import COSTS
from reports.metrics import CLEAN, MATRIX_METRICS, WORST
from reports.sweeps import in_eps, ranking_of, worsts
from reports.version import version_of
from results.schema import ANY

NOT_AVAILABLE = "n/a"
MOST_ATTACKS = 24
"""Columns of a table for reading."""
MARKS = {"extra_data": "extra data", "image_memory": "keeps images"}
"""Needs that everybody who reads a row must know of."""
FIRST = ("rank", "label", "method", "seeds", "verdict")
CHECKS = ("checks_pass", "checks_warn", "checks_fail", "checks_not_run")
LAST = ("interval", "seed_values", "published", "extra_data", "row", *CHECKS, "reason", "leaderboard")


def columns(board: Board) -> list[str]:
    """Numeric columns of a board, in order. Each carries the name of its formula and of the attack."""
    matrix = [name for name in _with_any(board, board.matrix) if name != WORST]
    others = [name for name in _with_any(board, _attacks(board)) if name != CLEAN]
    other_worsts = [name for name in worsts(board) if name != WORST]
    found = []
    for attack in (WORST, CLEAN, *other_worsts, *others):
        found += _with_interval(f"ACC_lopezpaz2017 {attack}")
    for attack in matrix:
        for metric in MATRIX_METRICS:
            found += _with_interval(f"{metric} {attack}")
        found += [f"I_joint {attack}", f"I_single_task {attack}"]
        found += [] if attack == CLEAN else [f"gap {attack}", *_with_interval(f"excess_F {attack}")]
    found += [f"gap {attack}" for attack in (WORST, *other_worsts, *others) if attack not in matrix]
    found += [
        f"macro_{score} {attack}" for attack in (CLEAN, WORST, *others) for score in ("precision", "recall", "F1")
    ]
    return list(dict.fromkeys([*found, f"samples {WORST}", *COSTS]))


def _with_interval(column: str) -> list[str]:
    return [column, f"{column} low", f"{column} high"]


def _attacks(board: Board) -> list[str]:
    """The attacks of a board: those that are demanded of every row, then transfers, which some rows have."""
    return [*board.demanded, *(name for name, attack in board.attacks.items() if attack.kind == TRANSFER)]


def _with_any(board: Board, attacks: Sequence[str]) -> list[str]:
    """The attacks, each followed by its any-iterate outcome where a row has it."""
    stored = {name for row in board.rows for name in row.measures.matrices}
    return [name for attack in attacks for name in (attack, attack + ANY) if name == attack or name in stored]


def wide_table(boards: Sequence[Board]) -> pd.DataFrame:
    """Every row of every board with every number, as fractions; NaN where a number is not available.

    leaderboard: the version that a published row is from; None for others.
    """
    numeric = list(dict.fromkeys(column for board in boards for column in columns(board)))
    version = version_of(boards)
    records = [
        {**_record(board, row, numeric), "leaderboard": version if row.published else None}
        for board in boards
        for row in board.rows
    ]
    return pd.DataFrame(records, columns=[*FIRST, "preset", *numeric, *LAST])


def _record(board: Board, row: Row, numeric: Sequence[str]) -> dict[str, object]:
    values: dict[str, float] = dict(row.measures.values)
    for column, interval in row.measures.intervals.items():
        values[f"{column} low"], values[f"{column} high"] = interval.low, interval.high
    return {
        "rank": "" if row.rank is None else row.rank,
        "label": row.label,
        "method": row.method,
        "seeds": len(row.seeds),
        "verdict": row.verdict,
        "preset": board.preset,
        **{column: values.get(column, float("nan")) for column in numeric},
        "interval": row.measures.interval,
        "seed_values": " ".join(str(seed) for seed in row.seed_values),
        "published": row.published,
        "extra_data": row.protocol.extra_data,
        "row": row.identity,
        **{f"checks_{status}": count for status, count in row.checks.items()},
        "reason": row.reason,
    }


def to_csv(frame: pd.DataFrame) -> str:
    """Deterministic text: numbers in full precision, `n/a` where there is none."""
    return frame.to_csv(index=False, na_rep=NOT_AVAILABLE, lineterminator="\n")


# -- for people -------------------------------------------------------------------------------------------------------


def percent(value: float) -> str:
    """A fraction in percent with one decimal; -0.0 is 0.0."""
    return NOT_AVAILABLE if value != value else f"{100 * value + 0.0:.1f}".replace("-0.0", "0.0")


def percent_with_interval(row: Row, column: str) -> str:
    """`61.2 [58.0, 64.1]` in percent."""
    value, bounds = row.measures.value(column), row.measures.bounds(column)
    if value != value or bounds.low != bounds.low:
        return percent(value)
    return f"{percent(value)} [{percent(bounds.low)}, {percent(bounds.high)}]"


def amount(value: float) -> str:
    """A cost for people: three significant digits, thousands in words of the metric system."""
    if value != value:
        return NOT_AVAILABLE
    for size, unit in ((1e9, "G"), (1e6, "M"), (1e4, "k")):
        if abs(value) >= size:
            return f"{value / (1e3 if unit == 'k' else size):.3g} {unit}"
    return f"{value:.3g}" if abs(value) < 100 else f"{value:.0f}"


def short_name(attack: str, board: Board) -> str:
    """The attack's name without what the whole board shares: `pgd-10 linf 51/255 a=12.75/255` → `pgd-10`.

    Where the board has several step sizes for this kind of attack at its norm and eps, they are told in eps:
    `pgd-10 a=eps/4`. Attacks at another norm or eps keep their names.
    """
    base = attack.removesuffix(ANY)
    facts: AttackFacts | None = board.attacks.get(base)
    if facts is None or facts.threat != ranking_of(board) or not facts.norm:
        return attack
    alike = [other for other in board.attacks.values() if (other.kind, other.threat) == (facts.kind, facts.threat)]
    first, *extras = _without_step_size(facts)
    if len({other.step_size for other in alike}) > 1:
        extras = [f"a={in_eps(facts.step_in_eps)}", *extras]
    elif sum(_without_step_size(other) == [first, *extras] for other in alike) > 1:
        # A transfer's step size is that of the attack it was made with: it is told as it stands in the name.
        extras = base.rpartition(f" {facts.norm} ")[2].split(" ")[1:]
    return " ".join([first, *extras]) + (ANY if attack.endswith(ANY) else "")


def _without_step_size(attack: AttackFacts) -> list[str]:
    """The words of an attack's name without norm, eps and step size: `pgd-10 linf 8/255 a=2/255 r=5` → `pgd-10`, `r=5`."""
    kind, _, rest = attack.name.rpartition(f" {attack.norm} ")
    return [kind, *(word for word in rest.split(" ")[1:] if not word.startswith("a="))]


def label_of(row: Row) -> str:
    """The label, with what everybody must know of the row; a dagger: it was published and not run here."""
    marks = [mark for need, mark in MARKS.items() if need in row.protocol.needs]
    attacks = [attack for seed in row.seeds for attack in seed.evidence.attacks.values()]
    # Its worst case is over images that nobody submitted for the others.
    marks += ["submitted images"] if any(attack.kind == SUBMITTED for attack in attacks) else []
    known = f"{row.label} ({', '.join(marks)})" if marks else row.label
    return f"{known} †" if row.published else known


def verdict_of(row: Row) -> str:
    """The verdict, and how many of the checks that there are passed: `pass 25/30`."""
    return f"{row.verdict} {row.checks['pass']}/{sum(row.checks.values())}"


def compact_table(board: Board) -> pd.DataFrame:
    """Ranked rows for reading: percent with one decimal and intervals, as text."""
    robust = board.robust_matrix
    records = []
    for row in board.ranked:
        record = {
            "rank": str(row.rank),
            "label": label_of(row),
            "seeds": str(len(row.seeds)),
            "verdict": verdict_of(row),
            "ACC worst": percent_with_interval(row, f"ACC_lopezpaz2017 {WORST}"),
            "ACC clean": percent_with_interval(row, f"ACC_lopezpaz2017 {CLEAN}"),
        }
        if robust:
            record[f"ACC {short_name(robust, board)}"] = percent_with_interval(row, f"ACC_lopezpaz2017 {robust}")
        record["F clean"] = percent_with_interval(row, f"F_chaudhry2018 {CLEAN}")
        if robust:
            record[f"F {short_name(robust, board)}"] = percent_with_interval(row, f"F_chaudhry2018 {robust}")
        record["train s"] = amount(row.measures.value("train_seconds"))
        record["MB"] = amount(row.measures.value("stored_mb"))
        records.append(record)
    return pd.DataFrame(records)


def below_table(board: Board) -> pd.DataFrame:
    """Rows below the line, with the reason."""
    return pd.DataFrame(
        [
            {
                "label": label_of(row),
                "seeds": str(len(row.seeds)),
                "verdict": row.verdict,
                "ACC worst": percent(row.acc),
                "ACC clean": percent(row.measures.value(f"ACC_lopezpaz2017 {CLEAN}")),
                "reason": row.reason,
            }
            for row in board.below
        ]
    )


def accuracy_table(board: Board) -> pd.DataFrame:
    """ACC of ranked rows in percent, as text, under every attack that was run.

    Of more than `MOST_ATTACKS` only what can be read: at the ranking's norm and eps, then any-iterate alone where it is
    recorded. `worst` stands for the other norms and eps.
    """
    stored = {name for row in board.ranked for name in row.measures.matrices}
    attacks = [a for a in (CLEAN, *_with_any(board, _attacks(board))) if a in stored]
    if len(attacks) > MOST_ATTACKS:
        here = {name for a in board.attacks.values() if a.threat == ranking_of(board) for name in (a.name, a.any)}
        attacks = [a for a in attacks if a in here or a == CLEAN]
    if len(attacks) > MOST_ATTACKS:
        attacks = [a for a in attacks if a + ANY not in stored]
    others = [name for name in worsts(board) if name != WORST]
    return pd.DataFrame(
        [
            {
                "label": label_of(row),
                **{
                    short_name(attack, board): percent(row.measures.value(f"ACC_lopezpaz2017 {attack}"))
                    for attack in (*dict.fromkeys(attacks), *others, WORST)
                },
            }
            for row in board.ranked
        ]
    )


def caption(board: Board) -> str:
    """One sentence that says what the table is of."""
    kinds = sorted({row.measures.interval for row in board.ranked})
    samples = sorted({int(row.measures.value(f"samples {WORST}")) for row in board.ranked})
    counted = f" over {' or '.join(f'{n:,}' for n in samples)} test images" if samples else ""
    return (
        f"Percent after {board.tasks} tasks, worst at eps {_eps(board)}{counted}; intervals: 95 %"
        + (f" ({'; '.join(kinds)})" if kinds else "")
        + f"; chance {percent(board.chance)}. Rank: 1 + number of methods significantly better. "
        + "F: forgetting, lower is better. Verdict: checks passed, of all; what did not pass or warn was not run."
    )


def _eps(board: Board) -> str:
    if board.eps is None:
        return NOT_AVAILABLE
    scaled = board.eps * 255
    return f"{scaled.numerator}/255" if scaled.denominator == 1 else str(board.eps)
