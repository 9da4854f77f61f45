"""A check by classifiers that were made anew and have seen nothing: `judged_afresh`.

After the last task a confined process makes every classifier from the stored state and asks it about images that the attacks
handed over. Its answers, beside the recorded ones, are stored as facts of the phase `AFRESH`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pandas as pd

from reports.checks.check import FAIL, NOT_RECORDED_YET, PASS, WARN, Judgement, Sample, check, named, not_run
from reports.checks.classifier import APART, repeatable
from reports.numbers.completeness import describe_failure
from reports.numbers.evidence import Evidence
from reports.numbers.metrics import CLEAN
from reports.numbers.proofs import what_was_reached
from reports.numbers.wording import counted
from results.schema import AFRESH, SAFE_MARGIN


@check(
    question="Does a classifier that has seen nothing answer as was recorded?",
    measures="answers to images that attacks handed over which are others when classifiers are made anew from the stored state, "
    "in a confined process: attacked images first, mixed, in two other orders, clean ones last",
    threshold=f"none whose two largest logits are further apart than rounding ({SAFE_MARGIN:g} of 1 + the largest logit), and no "
    "reach for a file, a connection or another process; margins alone that differ by more than that warn, and fail above "
    f"{APART:g} of the largest logit; a randomised defense that `repeatable` lets pass with a warning gets one here too",
    why="An image's answer is the classifier's alone. Where it takes having been asked before, the clean image or the attack's "
    "walk must have been kept somewhere, and an attacker who starts with the attacked image breaks it. Other batches round "
    "differently, by parts in a million; one answer beyond that is one too many.",
    planted="memories of the images that were asked about, in Python containers, modules and closures; classifiers that read "
    "what was learned from files, the environment, shared memory or a connection",
)
def judged_afresh(evidence: Evidence) -> Judgement:
    facts = evidence.facts[evidence.facts["phase"] == AFRESH]
    if refused := what_was_reached(facts):
        return Judgement(FAIL, f"{len(refused.names)} reached for", f"made anew, the classifier {refused}")
    crashed = [entry for entry in evidence.run.failures if entry.get("check") == AFRESH]
    if facts.empty:
        if crashed:
            return Judgement(
                FAIL, f"{len(crashed)} failures", f"failed when made anew: {describe_failure(crashed[-1])}"
            )
        return not_run(NOT_RECORDED_YET)
    others = facts[facts["name"] == "another_classifier"]["task"].astype(int).tolist()
    if others:
        return Judgement(
            FAIL, f"{len(others)} other classifiers", f"the stored state of task {others[0]} makes another classifier"
        )
    answers = _answers(facts)
    asked = sum(answer["asked"] for answer in answers)
    changed, lost, moved, order = (_samples(answers, key) for key in ("changed", "lost", "moved", "order"))
    count, gained = (sum(answer[key] for answer in answers) for key in ("answers_changed", "answers_lost"))
    off = max((answer["off"] for answer in answers), default=0.0)
    found = f"{count} of {asked} answers, margins off by {off:.3g}"
    if changed or order or off > APART:
        seen = lost or changed or order or moved
        told = f"classifiers that had seen nothing give another answer to {count} of {counted(asked, 'image')}"
        told += f", {gained} of which were counted right" if count else f", but margins are off by {off:.2g}"
        told += named(seen)
        status = FAIL
        if repeatable(evidence).status == WARN:
            status, told = WARN, f"{told}: a randomised defense, attacked with averaged gradients"
        return Judgement(status, found, told, tuple(seen))
    if impossible := facts.loc[facts["name"] == "not_judged", "text"].tolist():
        return not_run(str(impossible[-1]))
    if missing := _not_handed_over(evidence, answers):
        task, attack = missing[0]
        first = f"{attack} on task {task}"
        return not_run(
            f"{counted(len(missing), 'evaluation')} handed over no image ({first}): attacked before this was asked"
        )
    if moved:
        return Judgement(
            WARN, found, f"no answer is another one, but margins are off by {off:.2g}{named(moved)}", tuple(moved)
        )
    return Judgement(
        PASS, found, f"classifiers that had seen nothing gave the recorded answers to {counted(asked, 'image')}"
    )


def _answers(facts: pd.DataFrame) -> list[dict[str, Any]]:
    """The readable facts `answers`: the JSON of each, with `task` and `asked`."""
    found = []
    for row in facts[facts["name"] == "answers"].to_dict("records"):
        try:
            text = json.loads(row["text"])
        except (TypeError, ValueError):
            continue
        lists, numbers = ("changed", "lost", "moved", "order", "covers"), ("answers_changed", "answers_lost", "off")
        if not isinstance(text, Mapping) or not all(isinstance(text.get(key), list) for key in lists):
            continue
        if all(isinstance(text.get(key), int | float) for key in numbers):
            found.append({**text, "task": int(row["task"]), "asked": int(row["value"])})
    return found


def _samples(answers: list[dict[str, Any]], key: str) -> list[Sample]:
    return sorted({(answer["task"], int(sample)) for answer in answers for sample in answer[key]})


def _not_handed_over(evidence: Evidence, answers: list[dict[str, Any]]) -> list[tuple[int, str]]:
    """(task, attack) of evaluations after the last task, clean and at the ranking's eps, that no classifier judged anew."""
    # By the evaluation's id, the last of what an answer covers: an attack may have had another name then.
    judged = {(answer["task"], str(covered[-1])) for answer in answers for covered in answer["covers"] if covered}
    names = {CLEAN, *(attack.name for attack in evidence.at_ranking_eps())}
    rows = evidence.evaluations
    rows = rows[(rows["after_task"] == evidence.outcomes.last) & rows["attack"].isin(names)]
    there = {(int(row["task"]), str(row["attack"])): False for row in rows.to_dict("records")}
    for row in rows.to_dict("records"):
        key = (int(row["task"]), str(row["attack"]))
        there[key] = there[key] or (key[0], str(row["evaluation_id"])) in judged
    return sorted(key for key, found in there.items() if not found)
