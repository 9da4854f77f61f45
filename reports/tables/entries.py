"""The entry of a row: all that a reader may want of it, as JSON; a superset of RobustBench's model_info (Croce et al. 2021)."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from fractions import Fraction
from math import nan
from typing import Any

import numpy as np

from reports.boards.board import Board, Row, Seed
from reports.boards.measures import COST_COLUMNS
from reports.checks.check import FAIL, NOT_RUN, OVER_SEEDS
from reports.checks.verdicts import CHECKS
from reports.numbers.metrics import WORST, task_scores
from reports.numbers.outcomes import NOT_MEASURED, Outcomes
from reports.numbers.statistics.intervals import wilson
from reports.numbers.wording import over_255
from reports.tables.commands import commands_of
from reports.tables.precisions import precision_words
from results.file_names import file_name

SCHEMA = 1
"""Version of the entry. It rises when a field changes its meaning."""
NOT_RECORDED = (
    "link",
    "authors",
    "venue",
    "number_forward_passes",
    "reported",
    "external",
    "corruptions_acc",
    "corruptions_mce",
)
"""Fields of RobustBench's model_info that no record holds. They are null, for readers who know them to fill in."""


def entry_names(board: Board) -> list[str]:
    """The names of the entries, aligned with `board.rows`: preset and label, and the identity if two would be equal."""
    stems = [f"{board.stem}__{file_name(row.label)}" for row in board.rows]
    # Some file systems do not tell upper from lower case.
    alike = [stem.casefold() for stem in stems]
    return [
        f"{stem}__{row.short_identity}" if alike.count(stem.casefold()) > 1 else stem
        for stem, row in zip(stems, board.rows, strict=True)
    ]


def row_entry(board: Board, row: Row) -> dict[str, Any]:
    """The entry of one row, ready for `json.dumps`: fractions in full precision, null for missing values."""
    identity = row.seeds[0].run.identity
    entry = {
        "schema": SCHEMA,
        **_model_info(row),
        "preset": board.preset,
        "scenario": _scenario(row),
        "rank": row.rank,
        "label": row.label,
        "method": row.method,
        "method_version": identity.get("method_version"),
        "seeds": row.seed_values,
        "published": row.published,
        "verdict": row.verdict,
        "reason": row.reason,
        "command": commands_of(board.preset, row),
        "metrics": _metrics(row),
        "interval": row.measures.interval,
        "complete_seeds": row.measures.seeds,
        "costs": {name: row.measures.value(name) for name in COST_COLUMNS},
        "comparisons": _comparisons(board, row),
        "checks": _checks(row),
        "matrices": {
            attack: row.measures.matrices[attack] for attack in board.shown_matrices if attack in row.measures.matrices
        },
        "tasks": _tasks(board, row),
        "protocol": _protocol(row),
        "attacks": _attacks(row),
        "settings": identity.get("settings"),
        "recipe": identity.get("recipe"),
        "backbone": identity.get("backbone"),
        "environment": [_environment(seed) for seed in row.seeds],
        "identity": _identity(row),
    }
    plain: dict[str, Any] = _plain(entry)
    return plain


def to_json(entry: Mapping[str, Any]) -> str:
    """Write an entry as deterministic text."""
    return json.dumps(entry, indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def _plain(value: Any) -> Any:
    """Turn values into ones that JSON has: NaN becomes null, an exact fraction its text."""
    if isinstance(value, np.ndarray | np.generic):
        return _plain(value.tolist())
    if isinstance(value, Mapping):
        return {str(key): _plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return str(value) if isinstance(value, Fraction) else value


# -- the fields of RobustBench ---------------------------------------------------------------------------------------------


def _model_info(row: Row) -> dict[str, Any]:
    """The fields of RobustBench in its formats: accuracies in percent, as text with two decimals."""
    first = row.seeds[0]
    backbone = first.run.identity.get("backbone") or {}
    width = backbone.get("width")
    official = [
        attack.name for attack in first.evidence.attacks.values()
        if attack.kind == "autoattack" and attack.threat == first.evidence.ranking and not attack.rest
    ]  # fmt: skip
    return {
        "name": row.label,
        "dataset": _scenario(row),
        "architecture": f"{backbone['name']}{'' if width is None else f', width {width:g}'}" if backbone else None,
        "additional_data": row.protocol.extra_data,
        "eps": over_255(row.protocol.eps) or None,
        "clean_acc": _percent_text(row, "clean"),
        "autoattack_acc": _percent_text(row, official[0]) if official else None,
        "unreliable": row.checks[FAIL] > 0,
        "footnote": row.reason or None,
        **dict.fromkeys(NOT_RECORDED),
    }


def _percent_text(row: Row, attack: str) -> str | None:
    value = row.measures.value(f"ACC_lopezpaz2017 {attack}")
    return f"{100 * value:.2f}" if math.isfinite(value) else None


def _scenario(row: Row) -> str | None:
    scenario = row.seeds[0].run.identity.get("scenario") or {}
    return scenario.get("name") if isinstance(scenario, dict) else str(scenario)


# -- numbers ----------------------------------------------------------------------------------------------------------


def _metrics(row: Row) -> dict[str, dict[str, float]]:
    """The metrics by column name, without costs; low and high are NaN for a metric without interval."""
    found = {}
    for column, value in row.measures.values.items():
        if column not in COST_COLUMNS:
            bounds = row.measures.bounds(column)
            found[column] = {"value": value, "low": bounds.low, "high": bounds.high}
    return found


def _comparisons(board: Board, row: Row) -> list[dict[str, Any]]:
    """The row against every other ranked one: its ACC of `worst` minus the other's.

    is_better: None if they cannot be told apart.
    """
    found = []
    for pair in board.comparisons if row.is_ranked else []:
        if row.label not in (pair.first, pair.second):
            continue
        is_first = row.label == pair.first
        sign = 1 if is_first else -1
        low, high = sorted((sign * pair.low, sign * pair.high))
        bootstrap = sorted((sign * pair.bootstrap_low, sign * pair.bootstrap_high))
        found.append({
            "other": pair.second if is_first else pair.first, "difference": sign * pair.difference, "low": low, "high": high,
            "p": pair.p, "p_holm": pair.p_holm, "is_better": None if pair.better is None else pair.better == row.label,
            "bootstrap_low": bootstrap[0], "bootstrap_high": bootstrap[1],
            "test": pair.test, "seeds": pair.seeds, "samples": pair.samples,
        })  # fmt: skip
    return found


def _tasks(board: Board, row: Row) -> list[dict[str, Any]]:
    """Accuracy and macro scores per task after the last one, means over seeds, under `clean`, the matrix' attack and `worst`.

    low, high: Wilson's interval of the mean accuracy at the number of images of one seed, so of test-set noise only.
    """
    evidences = [seed.evidence for seed in row.used_seeds]
    tasks = evidences[0].tasks.set_index("task")
    attacks = [*board.shown_matrices, WORST]
    scores = {attack: np.mean([task_scores(each.outcomes, attack) for each in evidences], 0) for attack in attacks}
    found = []
    for j in range(evidences[0].outcomes.tasks):
        known: Mapping[Any, Any] = tasks.loc[j].to_dict() if j in tasks.index else {}
        under = {}
        for attack in attacks:
            accuracy, samples = _accuracy([each.outcomes for each in evidences], attack, j)
            bounds = wilson(round(accuracy * samples) if samples else 0, samples)
            precision, recall, f1 = scores[attack][j]
            under[attack] = {
                "accuracy": accuracy, "low": bounds.low, "high": bounds.high, "samples": samples,
                "macro_precision": precision, "macro_recall": recall, "macro_F1": f1,
            }  # fmt: skip
        found.append({
            "task": j, "name": known.get("name"), "classes": list(known.get("classes", [])), "chance": known.get("chance"),
            "train": known.get("train"), "validation": known.get("validation"), "test": known.get("test"), "under": under,
        })  # fmt: skip
    return found


def _accuracy(outcomes: Sequence[Outcomes], attack: str, task: int) -> tuple[float, int]:
    """The mean over seeds of the accuracy after the last task, and its number of samples, in the seed that has the fewest."""
    cells = [each.vector(attack, each.last, task) for each in outcomes]
    covered = [cell[cell != NOT_MEASURED] for cell in cells]
    samples = min(len(cell) for cell in covered)
    return (float(np.mean([cell.mean() for cell in covered])) if samples else nan), samples


# -- how it was attacked ----------------------------------------------------------------------------------------------


def _checks(row: Row) -> list[dict[str, Any]]:
    """Every check in the seed that fares worst, in the order of the checks; by_seed: its status in each."""
    found: list[dict[str, Any]] = []
    for check in CHECKS:
        verdicts = [(seed.run.seed, v) for seed in row.seeds for v in seed.verdicts if v.check == check.name]
        if not verdicts:
            found.append({"name": check.name, "status": NOT_RUN, "reason": "not among the checks"})
            continue
        seed, verdict = max(verdicts, key=lambda each: OVER_SEEDS.index(each[1].status))
        found.append({
            "name": check.name, "status": verdict.status, "reason": verdict.reason, "evidence": verdict.evidence, "seed": seed,
            "measures": verdict.measures, "threshold": verdict.threshold, "cost": verdict.cost, "samples": verdict.samples,
            "by_seed": {str(number): each.status for number, each in verdicts},
        })  # fmt: skip
    return found


def _protocol(row: Row) -> dict[str, Any]:
    protocol, evidence = row.protocol, row.seeds[0].evidence
    return {
        "norm": evidence.ranking[0],
        "eps": over_255(protocol.eps),
        "tasks": evidence.outcomes.tasks,
        "matrix": protocol.matrix,
        "final": protocol.final,
        "transfers": protocol.transfers,
        "checks": protocol.checks,
        "precision": precision_words([seed.evidence for seed in row.seeds]) or None,
        "all_at_once": protocol.all_at_once,
        "claims": protocol.claims,
        "needs": protocol.needs,
        "own_recipe": protocol.own_recipe,
        "source": protocol.source or None,
        "demanded_at": protocol.demanded_at or None,
    }


def _attacks(row: Row) -> list[dict[str, Any]]:
    """The attacks that were run. asked: samples per task after the last one, None for all; samples: all covered ones."""
    evidence = row.seeds[0].evidence
    outcomes = [seed.evidence.outcomes for seed in row.used_seeds]

    return [
        {
            "name": attack.name, "kind": attack.kind, "norm": attack.norm, "eps": over_255(attack.eps), "steps": attack.steps,
            "step_size": over_255(attack.step_size) or None, "restarts": attack.restarts, "loss": attack.loss or None,
            "other": {name: json.loads(value) for name, value in attack.rest},
            "asked": row.protocol.samples(attack.name, final=True),
            "samples": min(each.covered(attack.name) for each in outcomes),
        }
        for attack in evidence.attacks.values()
    ]  # fmt: skip


def _environment(seed: Seed) -> dict[str, Any]:
    """The provenance of a run, without its command."""
    recorded = dict(seed.run.config.get("provenance") or {})
    recorded.pop("command", None)
    return {"seed": seed.run.seed, **recorded}


def _identity(row: Row) -> dict[str, Any]:
    """The identity of the numbers: hashes of the row, of each run, of data and split, and the versions of the parts."""
    identity = row.seeds[0].run.identity
    scenario = identity.get("scenario")
    return {
        "row": row.identity,
        "runs": {str(seed.run.seed): seed.run.hash for seed in row.seeds},
        "scenario": scenario,
        "method_file": identity.get("method_file"),
        "parts": identity.get("parts"),
        "prerequisites": identity.get("prerequisites"),
    }
