"""Checks of learning: no test image may have a part in it. `learned_without_test` and `test_like_validation`.

The first looks at what a method reached for while it learned, the second at the outcome, whatever the way.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from reports.checks.check import FAIL, NOT_RECORDED_YET, PASS, WARN, Judgement, check, not_run
from reports.numbers.completeness import describe_failure, learns_all_at_once
from reports.numbers.evidence import Evidence
from reports.numbers.metrics import CLEAN
from reports.numbers.outcomes import NOT_MEASURED
from reports.numbers.statistics.comparisons import Counts, better_in_strata
from reports.numbers.wording import first_of
from results.schema import ANY, LEARNING, UNSEEN

CERTAIN, DOUBTFUL = 1e-4, 1e-3
"""p-values below which images that were learned from are certain, or must be told of."""

LEARNED_HERE = "the method learned in the process that attacks it, which holds the test images (--learn-here)"


@check(
    question="Did the method learn without reaching for data that it was not given?",
    measures="files, loaders and connections that were opened in the process in which the method learned, which holds no test "
    "image",
    threshold="none fails; for methods that declare extra data, files elsewhere than in data sets make it warn; processes that "
    "were started make it warn",
    why="A method is given the images that it may learn from. Code, its own checkpoints and files that it wrote itself are no "
    "data. Everything else may be a test image under another name.",
    planted="the test set read through the package's loaders, through scikit-learn, from the files of the data set, from a copy",
)
def learned_without_test(evidence: Evidence) -> Judgement:
    rows = evidence.facts[(evidence.facts["phase"] == LEARNING) & (evidence.facts["name"] == "watched")]
    if rows.empty:
        return not_run(NOT_RECORDED_YET)
    if (rows["value"] != 1).any():
        reasons = [_told(text).get("reason") for text in rows["text"]]
        return not_run(next((str(reason) for reason in reasons if reason), LEARNED_HERE))
    turns = 1 if learns_all_at_once(evidence) else evidence.outcomes.tasks
    if rows["task"].nunique() < turns:
        return not_run(f"only {rows['task'].nunique()} of {turns} turns were watched")
    reached: dict[str, list[str]] = {}
    for told in (_told(text) for text in rows["text"]):
        for kind, names in told.items():
            reached[kind] = list(dict.fromkeys([*reached.get(kind, []), *map(str, names)]))
    started = reached.pop("processes", [])
    declared = evidence.protocol.extra_data
    excused = [kind for kind in ("files", "connections") if declared and kind in reached]
    failing = {kind: names for kind, names in reached.items() if names and kind not in excused}
    found = ", ".join(f"{len(names)} {kind}" for kind, names in reached.items()) or "0 files"
    if failing:
        words = "; ".join(f"{_WORDS.get(kind, kind)} {first_of(names, most=2)}" for kind, names in failing.items())
        return Judgement(FAIL, found, f"while it learned, the method {words}")
    if excused:
        names = [name for kind in excused for name in reached[kind]]
        return Judgement(
            WARN, found, f"the method declares extra data; while it learned it reached for {first_of(names)}"
        )
    if started:
        return Judgement(WARN, found, f"the method started processes that nobody watched: {first_of(started)}")
    return Judgement(PASS, found, "the method learned from what it was given")


_WORDS = {
    "files": "opened",
    "data files": "opened files of a data set:",
    "loaders": "loaded a scenario:",
    "connections": "connected:",
}


@check(
    question="Is the network no better on test images than on other images of the same kind?",
    measures="accuracy on test images against accuracy on validation images, clean and under the matrix' PGD (any-iterate); and "
    "the share of right test images that a copy moved by half a pixel makes wrong, against that of validation images",
    threshold=f"exact test over all tasks (sums of hypergeometric numbers): one-sided p < {CERTAIN:g} fails, "
    f"p < {DOUBTFUL:g} warns",
    why="Both parts are drawn alike, and a method that selects by validation images looks better on those. Of the three "
    "comparisons of an honest row one fails by chance in 3,000 rows.",
    planted="networks trained on test images, on all or half of them; a table of the test images",
)
def test_like_validation(evidence: Evidence) -> Judgement:
    facts = evidence.facts[evidence.facts["phase"] == UNSEEN]
    if facts.empty:
        crashed = [entry for entry in evidence.run.failures if entry.get("check") == UNSEEN]
        if crashed:
            return Judgement(FAIL, f"{len(crashed)} failures", f"failed when asked: {describe_failure(crashed[-1])}")
        return not_run(NOT_RECORDED_YET)
    compared = []
    for words, strata in _comparisons(evidence, facts):
        if strata:
            tested, others = (_share([pair[side] for pair in strata]) for side in (0, 1))
            compared.append((better_in_strata(strata), words, tested, others))
    if not compared:
        return not_run("no outcome on test images can be compared")
    p, words, tested, others = min(compared)
    told = f"{words}: {100 * tested:.1f} % on test images, {100 * others:.1f} % on validation images"
    found = f"{told}, p = {p:.3g}"
    if p < DOUBTFUL:
        return Judgement(
            FAIL if p < CERTAIN else WARN, found, f"{told}: the test images are better known than they can be"
        )
    return Judgement(PASS, found, "test images are answered like validation images")


Strata = list[tuple[Counts, Counts]]
"""By task, (right, number) of test images and of validation images."""


def _comparisons(evidence: Evidence, facts: Any) -> Iterator[tuple[str, Strata]]:
    told = {(int(row.task), str(row.name)): _told(row.text) for row in facts.itertuples(index=False)}
    tasks = range(evidence.outcomes.tasks)
    held_out = {task: told[task, "validation"] for task in tasks if told.get((task, "validation"))}
    attacks = {str(each.get("attack")) for each in held_out.values()}
    for words, key, names in (
        ("right on the clean image", "clean", [CLEAN]),
        *((f"right under {name}", "attacked", [name + ANY, name]) for name in sorted(attacks)),
    ):
        stored = next((name for name in names if name in evidence.outcomes.correct), None)
        if stored is None:
            continue
        strata: Strata = []
        for task, counts in held_out.items():
            cell = evidence.outcomes.vector(stored, evidence.outcomes.last, task)
            covered = cell[cell != NOT_MEASURED]
            strata.append(((int((covered == 1).sum()), len(covered)), (int(counts[key]), int(counts["images"]))))
        yield words, strata
    copies = [told[task, "copies"] for task in tasks if told.get((task, "copies"))]
    # Test images that lose more than others: a table knows an image, and not its copies.
    yield "right, and wrong in a copy", [(_pair(each["test"]), _pair(each["validation"])) for each in copies]


def _pair(counts: Any) -> Counts:
    first, second = counts
    return int(first), int(second)


def _share(counts: list[Counts]) -> float:
    return sum(right for right, _ in counts) / max(1, sum(number for _, number in counts))


def _told(text: Any) -> dict[str, Any]:
    """The JSON object of a fact; empty if it is unreadable."""
    try:
        told = json.loads(text) if isinstance(text, str) else {}
    except ValueError:
        told = {}
    return told if isinstance(told, dict) else {}
