"""The leaderboard as tables: a wide one with every number (CSV), and a compact one to read."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from reports.boards import Board, Row
from reports.evidence import AttackFacts
from reports.measures import COSTS
from reports.metrics import CLEAN, MATRIX_METRICS, WORST
from results.schema import ANY

NOT_AVAILABLE = "n/a"
FIRST = ("rank", "label", "method", "seeds", "verdict")
LAST = ("interval", "seed_values", "published", "row", "reason")


def columns(board: Board) -> list[str]:
    """Numeric columns of a board, in order. Each carries the name of its formula and of the attack."""
    matrix = [name for name in _with_any(board, board.matrix) if name != WORST]
    others = [name for name in _with_any(board, board.demanded) if name != CLEAN]
    found = []
    for attack in (WORST, CLEAN, *others):
        found += _with_interval(f"ACC_lopezpaz2017 {attack}")
    for attack in matrix:
        for metric in MATRIX_METRICS:
            found += _with_interval(f"{metric} {attack}")
        found += [f"I_joint {attack}", f"I_single_task {attack}"]
        found += [] if attack == CLEAN else [f"gap {attack}", *_with_interval(f"excess_F {attack}")]
    found += [f"gap {attack}" for attack in (WORST, *others) if attack not in matrix]
    found += [
        f"macro_{score} {attack}" for attack in (CLEAN, WORST, *others) for score in ("precision", "recall", "F1")
    ]
    return list(dict.fromkeys([*found, f"samples {WORST}", *COSTS]))


def _with_interval(column: str) -> list[str]:
    return [column, f"{column} low", f"{column} high"]


def _with_any(board: Board, attacks: Sequence[str]) -> list[str]:
    """The attacks, each followed by its any-iterate outcome where a row has it."""
    stored = {name for row in board.rows for name in row.measures.matrices}
    return [name for attack in attacks for name in (attack, attack + ANY) if name == attack or name in stored]


def wide_table(boards: Sequence[Board]) -> pd.DataFrame:
    """Every row of every board with every number, as fractions; NaN where a number is not available."""
    numeric = list(dict.fromkeys(column for board in boards for column in columns(board)))
    records = [_record(board, row, numeric) for board in boards for row in board.rows]
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
        "row": row.identity,
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

    Where the board has several step sizes for this kind of attack at its eps, they are told in eps: `pgd-10 a=eps/4`.
    """
    base = attack.removesuffix(ANY)
    facts: AttackFacts | None = board.attacks.get(base)
    if facts is None or facts.eps != board.eps or not facts.norm:
        return attack
    kind, _, rest = base.partition(f" {facts.norm} ")
    extras = rest.split(" ")[1:]
    alike = [other for other in board.attacks.values() if (other.kind, other.eps) == (facts.kind, facts.eps)]
    step = "" if len({other.step_size for other in alike}) == 1 else f"a={_in_eps(facts)}"
    extras = [*([step] if step else []), *(extra for extra in extras if not extra.startswith("a="))]
    return " ".join([kind, *extras]) + (ANY if attack.endswith(ANY) else "")


def _in_eps(facts: AttackFacts) -> str:
    """The step size in units of eps: `eps/4`, `3eps/2`."""
    if facts.step_size is None or not facts.eps:
        return NOT_AVAILABLE
    ratio = facts.step_size / facts.eps
    factor = "" if ratio.numerator == 1 else f"{ratio.numerator}"
    return f"{factor}eps" + ("" if ratio.denominator == 1 else f"/{ratio.denominator}")


def label_of(row: Row) -> str:
    """The label, with a dagger where the row was published and not run here."""
    return f"{row.label} †" if row.published else row.label


def compact_table(board: Board) -> pd.DataFrame:
    """Ranked rows for reading: percent with one decimal and intervals, as text."""
    robust = board.robust_matrix
    records = []
    for row in board.ranked:
        record = {
            "rank": str(row.rank),
            "label": label_of(row),
            "seeds": str(len(row.seeds)),
            "verdict": row.verdict,
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
    """ACC of ranked rows under every attack that was run, in percent, as text."""
    stored = {name for row in board.ranked for name in row.measures.matrices}
    attacks = [a for a in (CLEAN, *_with_any(board, board.demanded)) if a in stored]
    return pd.DataFrame(
        [
            {
                "label": label_of(row),
                **{
                    short_name(attack, board): percent(row.measures.value(f"ACC_lopezpaz2017 {attack}"))
                    for attack in (*dict.fromkeys(attacks), WORST)
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
        + "F: forgetting, lower is better."
    )


def _eps(board: Board) -> str:
    if board.eps is None:
        return NOT_AVAILABLE
    scaled = board.eps * 255
    return f"{scaled.numerator}/255" if scaled.denominator == 1 else str(board.eps)
