"""Words of tables and of the page: numbers, rows and attacks as text."""

from __future__ import annotations

import re
from functools import lru_cache

import pandas as pd

from reports.boards.board import Board, Row
from reports.boards.sweeps import ranking_of
from reports.numbers.attack_facts import SUBMITTED, AttackFacts
from reports.numbers.labels import begins_like_a_formula, visible
from reports.numbers.wording import in_eps
from results.schema import ANY

NOT_AVAILABLE = "n/a"

MARKS = {"extra_data": "extra data", "image_memory": "keeps images"}
"""Marks behind the label, by need: every reader of the row must know of these needs."""


_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?", re.IGNORECASE)


def to_csv(frame: pd.DataFrame) -> str:
    """Write a frame as deterministic text: numbers in full precision, `n/a` for NaN.

    Text is visible, and no spreadsheet takes it for a formula: a quote stands before what begins like one.
    """
    plain = frame.set_axis([_cell(str(name)) for name in frame.columns], axis="columns")
    for place, dtype in enumerate(frame.dtypes):
        if not pd.api.types.is_numeric_dtype(dtype):
            texts = frame.iloc[:, place]
            plain.isetitem(place, texts.map(lambda value: _cell(value) if isinstance(value, str) else value).array)
    return plain.to_csv(index=False, na_rep=NOT_AVAILABLE, lineterminator="\n")


@lru_cache(maxsize=10_000)
def _cell(text: str) -> str:
    """The text of a cell, visible, and harmless to a spreadsheet."""
    shown = visible(text)
    return f"'{shown}" if begins_like_a_formula(shown) and not _NUMBER.fullmatch(shown) else shown


def percent(value: float) -> str:
    """A fraction in percent with one decimal, `n/a` for NaN; -0.0 is 0.0."""
    return NOT_AVAILABLE if value != value else f"{100 * value + 0.0:.1f}".replace("-0.0", "0.0")


def percent_with_interval(row: Row, column: str) -> str:
    """`61.2 [58.0, 64.1]` in percent."""
    value, bounds = row.measures.value(column), row.measures.bounds(column)
    if value != value or bounds.low != bounds.low:
        return percent(value)
    return f"{percent(value)} [{percent(bounds.low)}, {percent(bounds.high)}]"


def points(value: float) -> str:
    """A difference of two accuracies in percentage points, with its sign; `n/a` for NaN."""
    return NOT_AVAILABLE if value != value else f"{100 * value:+.1f}".replace("-0.0", "+0.0")


def amount(value: float) -> str:
    """A cost with three significant digits, large ones in k, M or G; `n/a` for NaN."""
    if value != value:
        return NOT_AVAILABLE
    # Units are chosen for the rounded value: 999,600 is 1 M and not 1e+03 k.
    rounded = abs(float(f"{value:.3g}"))
    for least, size, unit in ((1e9, 1e9, "G"), (1e6, 1e6, "M"), (1e4, 1e3, "k")):
        if rounded >= least:
            return f"{value / size:.3g} {unit}"
    return f"{value:.3g}" if abs(value) < 100 else f"{value:.0f}"


def short_name(attack: str, board: Board) -> str:
    """The attack's name without the settings that the whole board shares: `pgd-10 linf 51/255 a=12.75/255` → `pgd-10`.

    If the board has several step sizes for this kind of attack at its norm and eps, the name has them in eps:
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
        # The step size of a transfer is that of the attack it was made with, so it stays as it is in the name.
        extras = base.rpartition(f" {facts.norm} ")[2].split(" ")[1:]
    return " ".join([first, *extras]) + (ANY if attack.endswith(ANY) else "")


def _without_step_size(attack: AttackFacts) -> list[str]:
    """The words of the name without norm, eps, step size and precision: `pgd-10 linf 8/255 a=2/255 r=5` → `pgd-10`, `r=5`."""
    kind, _, rest = attack.name.rpartition(f" {attack.norm} ")
    return [kind, *(word for word in rest.split(" ")[1:] if not word.startswith(("a=", "in=")))]


def label_of(row: Row) -> str:
    """The label with the marks of the row; a dagger means that it was published and not run here."""
    marks = [mark for need, mark in MARKS.items() if need in row.protocol.needs]
    attacks = [attack for seed in row.seeds for attack in seed.evidence.attacks.values()]
    # Its `worst` is over images that nobody submitted for the others.
    marks += ["submitted images"] if any(attack.kind == SUBMITTED for attack in attacks) else []
    known = f"{row.label} ({', '.join(marks)})" if marks else row.label
    return f"{known} †" if row.published else known


def verdict_of(row: Row) -> str:
    """The verdict, and the number of checks that passed of all: `pass 25/30`."""
    return f"{row.verdict} {row.checks['pass']}/{sum(row.checks.values())}"
