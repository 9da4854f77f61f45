"""Tables of attack quality: how near each attack of a preset comes to the best of all its attacks, on every row and over rows."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from math import isfinite, nan

import numpy as np
import pandas as pd

from reports.boards.attack_quality import AttackCurve, AttackQuality, qualities_of
from reports.boards.board import Board, Row
from reports.boards.sweeps import ranking_of
from reports.numbers.wording import counted, over_255
from reports.tables.words import NOT_AVAILABLE, percent, short_name

FIRST = "attacks, best first"
ALONE = "alone"
"""The only attack of its norm."""


def quality_table(board: Board) -> pd.DataFrame:
    """A line per row and attack: its optimality, in [0, 1], mean over seeds (`AttackQuality`).

    attack: the run at the ranking's eps, or at the largest. eps: all its eps, as fractions, separated by blanks.
    optimality: over all its eps. optimality_at_ranking: at the ranking's eps alone; NaN if it was not run there.
    compared: attacks of the norm; with 1 the optimality is 1 by definition.
    """
    records = [
        (
            row.label, row.short_identity, len(row.used_seeds), _named(found.curve, board), found.curve.norm,
            " ".join(map(str, found.curve.attacks)), found.over_eps, found.at_ranking, found.compared, found.samples,
        )
        for row in board.rows
        for found in qualities_of(board, row)
    ]  # fmt: skip
    columns = ["label", "row", "seeds", "attack", "norm", "eps", "optimality", "optimality_at_ranking"]
    return pd.DataFrame(records, columns=[*columns, "compared", "samples"])


def quality_for_reading(board: Board) -> pd.DataFrame:
    """A line per attack, the best first: its optimality in percent, mean over ranked rows, and the lowest with its row.

    Empty if nothing is ranked, or no attack has an eps.
    """
    by_attack: dict[str, list[tuple[Row, AttackQuality]]] = defaultdict(list)
    for row in board.ranked:
        for found in qualities_of(board, row):
            by_attack[_named(found.curve, board)].append((row, found))
    ranking = ranking_of(board)
    records = []
    for name, several in by_attack.items():
        one = several[0][1]
        over, at = (_mean([getattr(found, field) for _, found in several]) for field in ("over_eps", "at_ranking"))
        known = {row.label: found.over_eps for row, found in several if isfinite(found.over_eps)}
        lowest = min(known.values(), default=nan)
        samples = sorted({found.samples for _, found in several})
        record = {
            FIRST: short_name(name, board),
            "optimality": percent(over),
            "over eps": _epsilons(one.curve),
            f"at {over_255(ranking[1])}": percent(at),
            "lowest": percent(lowest),
            "of row": _where(known, lowest),
            "rows": str(len(several)),
            "images": " or ".join(f"{count:,}" for count in samples),
        }
        if one.compared == 1:
            record["over eps"] += f", {ALONE}"
        place = (one.curve.norm != ranking[0], one.curve.norm, -np.nan_to_num(at, nan=-1.0), -np.nan_to_num(over), name)
        records.append((place, record))
    return pd.DataFrame([record for _, record in sorted(records, key=lambda each: each[0])])


def quality_caption(board: Board) -> str:
    """The words over the table."""
    at = over_255(ranking_of(board)[1])
    return (
        f"How near an attack comes to the best of all attacks of the preset, in percent, mean over {_rows(board)}, transfers "
        "included: 100 breaks all that any attack breaks, 0 nothing. Optimality: 1 − the area between its accuracy over eps and "
        "the lowest of all, divided by the area that the best attack takes from clean accuracy; with one eps, and in the column "
        f"at {at}, that is the share that it breaks of the images that some attack breaks there. Attacks that were run at other "
        f"eps compare at {at} only. Lowest: of all ranked rows. {ALONE.capitalize()}: the only one of its norm, 100 by "
        "definition."
    )


def _rows(board: Board) -> str:
    return counted(len(board.ranked), "ranked row")


def _named(curve: AttackCurve, board: Board) -> str:
    """The name of the run at the ranking's eps, or at the largest."""
    at = curve.attacks.get(board.eps) if board.eps is not None else None
    return (at or curve.largest).name


def _epsilons(curve: AttackCurve) -> str:
    found = [over_255(eps) for eps in curve.attacks]
    return f"{found[0]} only" if len(found) == 1 else f"0 to {found[-1]}, {len(found)} eps"


def _where(known: Mapping[str, float], lowest: float) -> str:
    """The label of the row with the lowest value, or the number of rows that share it."""
    labels = [label for label, value in known.items() if value <= lowest + 1e-9]
    if not labels:
        return NOT_AVAILABLE
    return labels[0] if len(labels) == 1 else counted(len(labels), "row")


def _mean(values: Sequence[float]) -> float:
    known = [value for value in values if isfinite(value)]
    return float(np.mean(known)) if known else nan
