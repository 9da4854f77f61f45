"""Checks of the record itself: is everything there, was it measured under the stated conditions, was anything learned."""

from __future__ import annotations

from typing import Any

import numpy as np

from reports.checks import FAIL, NOT_RUN, PASS, WARN, Verdict, is_at_chance, unit
from reports.completeness import learns_all_at_once, missing_cells
from reports.evidence import Evidence
from reports.metrics import CLEAN
from reports.unforgetting import CLAIM, KINDS, counted, proofs

CHANGE_TOLERANCE = 1e-6
"""Slack of the largest measured change over eps: x + eps is rounded to float32."""
AGAIN = "; run it again with --force"
"""The way out for runs that were recorded before there were proofs."""
MOST_NAMED = 3
"""How many tasks a reason names."""


def failures(evidence: Evidence) -> Verdict:
    found = standing_failures(evidence)
    verdict = unit(
        "failures", "failures of what this preset demands and is missing", "none: a crash is a failure, never robust"
    )
    if not found:
        return verdict("0 failures", PASS, "nothing failed")
    return verdict(f"{len(found)} failures", FAIL, f"failed: {describe_failure(found[-1])}")


def standing_failures(evidence: Evidence) -> list[dict[str, Any]]:
    """Recorded failures, oldest first, that explain why something demanded here is missing.

    A crash of an attack that this preset does not demand, or of a cell that was measured since, says nothing of this row.
    """
    missing = set(missing_cells(evidence))
    standing = []
    for entry in evidence.run.failures:
        attack = entry.get("attack")
        cell = (attack, entry.get("after_task"), entry.get("task"))
        if cell in missing or (attack is None and missing):
            standing.append(entry)
    return standing


def describe_failure(entry: dict[str, Any]) -> str:
    where = f"task {entry['task']}: " if entry.get("task") is not None else ""
    return where + " ".join(str(entry.get("message") or entry.get("kind") or "no message").split())


def complete(evidence: Evidence) -> Verdict:
    verdict = unit("complete", "demanded cells that are stored", "all: a mean over some cells is another number")
    missing = missing_cells(evidence)
    if not missing:
        return verdict("0 cells missing", PASS, "every demanded cell is stored")
    (attack, i, j), count = missing[0], len(missing)
    first = f"{attack} on task {j} after task {i}"
    return verdict(f"{count} cells missing", FAIL, f"{count} demanded cells are not stored, the first: {first}")


def within_eps(evidence: Evidence) -> Verdict:
    verdict = unit(
        "within_eps", "largest measured pixel change minus eps", f"<= {CHANGE_TOLERANCE:g}: float32 rounding of x + eps"
    )
    measured = evidence.evaluations.dropna(subset=["largest_change", "eps"])
    if measured.empty:
        return verdict("", NOT_RUN, "no evaluation recorded its largest change")
    limits = measured["attack"].map({name: float(a.eps) for name, a in evidence.attacks.items() if a.eps is not None})
    excess = (measured["largest_change"] - limits).to_numpy(float)
    if np.isnan(excess).all():
        return verdict("", NOT_RUN, "no demanded attack recorded its largest change")
    worst = int(np.nanargmax(excess))
    name = str(measured["attack"].iloc[worst])
    found = f"{name}: {excess[worst]:+.3g}"
    if excess[worst] > CHANGE_TOLERANCE:
        return verdict(found, FAIL, f"{name} changed a pixel by {excess[worst]:.3g} more than its eps")
    return verdict(found, PASS, "no attack left its ball")


def unchanged(evidence: Evidence) -> Verdict:
    verdict = unit(
        "unchanged", "evaluations that left classifier and random state as they were", "all: hashes must be equal"
    )
    known = evidence.evaluations["unchanged"].dropna()
    if known.empty:
        return verdict("", NOT_RUN, "no evaluation recorded it")
    changed = int((~known.astype(bool)).sum())
    found = f"{changed} of {len(known)} changed something"
    if changed:
        return verdict(found, FAIL, f"{changed} evaluations changed the classifier or the random state")
    return verdict(found, PASS, "every evaluation left everything as it was")


def learned_something(evidence: Evidence) -> Verdict:
    """A network that collapsed to one class is robust at chance, and may stand above an honest one that is broken."""
    verdict = unit(
        "learned_something",
        "tasks whose clean accuracy right after they were learned is at or below chance, within two standard errors",
        "none: robustness at chance is that of a constant answer",
    )
    cells = sorted(evidence.outcomes.correct.get(CLEAN, {}))
    asked = cells if learns_all_at_once(evidence) else [(i, j) for i, j in cells if i == j]
    asked = [(i, j) for i, j in asked if evidence.chance(j) > 0]
    if not asked:
        return verdict("", NOT_RUN, "no clean accuracy, or no chance to hold it against")
    at_chance = [j for i, j in asked if is_at_chance(evidence, CLEAN, i, j)]
    found = f"{len(at_chance)} of {len(asked)} tasks"
    if at_chance:
        return verdict(found, WARN, f"clean accuracy is at chance on {found} right after learning")
    return verdict(found, PASS, "every task was learned")


def validation_reproduced(evidence: Evidence) -> Verdict:
    verdict = unit(
        "validation_reproduced",
        "validation accuracy recomputed through classifier(t) minus what the method logged when it selected",
        "within one validation sample: another split, attack or normalisation shows here",
    )
    facts = evidence.facts[evidence.facts["phase"] == "harness"]
    values = dict(zip(zip(facts["task"].tolist(), facts["name"].tolist(), strict=True), facts["value"], strict=True))
    sizes = dict(zip(evidence.tasks["task"].tolist(), evidence.tasks["validation"].tolist(), strict=True))
    compared = []
    for (task, name), value in values.items():
        logged = values.get((task, name.replace("validation_", "selected_")))
        if name.startswith("validation_") and logged is not None and not np.isnan(logged):
            difference = abs(value - logged)
            # What is logged of no single task (task -1) was measured on all of them together.
            samples = difference * sizes.get(task, max(1, sum(sizes.values())))
            compared.append((np.inf if np.isnan(samples) else samples, task, name, value, logged))
    if not compared:
        return verdict("", NOT_RUN, "the method logged no validation accuracy when it selected")
    samples, task, name, value, logged = max(compared)
    found = f"task {task} {name}: harness {value:.4f}, logged {logged:.4f}"
    if samples > 1 + 1e-6:
        return verdict(found, FAIL, f"the method logged {logged:.4f} on task {task}, the harness finds {value:.4f}")
    return verdict(found, PASS, "the harness finds what the method logged")


def unforgetting(evidence: Evidence) -> Verdict:
    """A method that claims not to forget must have been made again, bit for bit, by a process that learned nothing."""
    verdict = unit(
        "unforgetting",
        "old classifiers, their logits and some attacks, made again by a fresh process from nothing but the last state",
        "all equal to the bit: what changes is forgotten, however little",
    )
    claims, found, tasks = evidence.protocol.claims, proofs(evidence.facts), evidence.outcomes.tasks
    if claims is None:
        return verdict("", NOT_RUN, "an older record that does not say what the method claims")
    if CLAIM not in claims:
        return verdict("", NOT_RUN, "the method does not claim not to forget")
    differing = {kind: [task for task, proof in found.items() if kind in proof.differing] for kind in KINDS}
    if any(differing.values()):
        named = "; ".join(f"{kind} of {_first(those)}" for kind, those in differing.items() if those)
        return verdict(named, FAIL, f"not what was learned: {named}")
    if not found and missing_cells(evidence):
        return verdict("", NOT_RUN, "the proof follows the last task, and the run is not complete")
    if not found:
        return verdict("0 tasks", FAIL, f"the method claims not to forget, and no proof of it is stored{AGAIN}")
    whole = sum(proof.is_whole for proof in found.values())
    attacks = sum(proof.attacks for proof in found.values())
    words = f"{whole} of {tasks} classifiers, {counted(attacks, 'attack')}"
    if whole < tasks:
        reason = f"the proof that nothing is forgotten covers {whole} of {counted(tasks, 'task')}{AGAIN}"
        return verdict(words, FAIL, reason)
    repeated = f", and {counted(attacks, 'attack')} gave the same predictions" if attacks else ""
    made = f"made {whole} of {tasks} classifiers again, bit for bit"
    return verdict(words, PASS, f"a fresh process with nothing but the last state {made}{repeated}")


def _first(tasks: list[int]) -> str:
    """`task 2`, `tasks 0, 1, 2 and 5 more`."""
    named = ", ".join(str(task) for task in tasks[:MOST_NAMED])
    more = f" and {len(tasks) - MOST_NAMED} more" if len(tasks) > MOST_NAMED else ""
    return f"task{'' if len(tasks) == 1 else 's'} {named}{more}"
