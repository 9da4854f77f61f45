"""Checks of learning: no test image may have a part in it. `learned_without_test` and `test_like_validation`.

The first looks at what a method reached for while it learned, the second at the outcome, whatever the way.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.stats import rankdata

from reports.checks.check import FAIL, NOT_RECORDED_YET, PASS, WARN, Judgement, check, not_run
from reports.numbers.completeness import describe_failure, learns_all_at_once
from reports.numbers.evidence import Evidence
from reports.numbers.metrics import CLEAN
from reports.numbers.outcomes import NOT_MEASURED
from reports.numbers.statistics.comparisons import Counts, better_in_strata, larger_in_strata
from reports.numbers.wording import first_of
from results.schema import ANY, LEARNING, UNSEEN

CERTAIN = 1e-4
"""p-value of a comparison below which it is certain that images were learned from. It is doubtful below ten times that."""
CERTAIN_BESIDE_CONTROL = 1e-3
"""The same for the comparison beside the control: it is the sharpest, and there is one of it."""

LEARNED_HERE = "the method learned in the process that attacks it, which holds the test images (--learn-here)"


@check(
    question="Did the method learn without reaching for data that it was not given?",
    measures="files, loaders and connections that were opened in the process in which the method learned, which holds no test "
    "image; and numbers and texts other than words in the method's own code, compressed",
    threshold="none fails, nor do more than 2,000 bytes in code; for methods that declare extra data, files elsewhere than in "
    "data sets make it warn; processes that were started make it warn",
    why="A method is given the images that it may learn from. Code, its own checkpoints and files that it wrote itself are no "
    "data. Everything else may be a test image under another name.",
    planted="the test set read through the package's loaders, through scikit-learn, from the files of the data set, from a copy; "
    "test images written in the method's code",
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
    "data in code": "had more data in its code than settings need:",
}


@check(
    question="Is the network no better on test images than on other images of the same kind?",
    measures="test images against validation images: accuracy, clean and under the matrix' PGD (any-iterate); margins under that "
    "attack; and the share of right images that a copy moved by half a pixel makes wrong",
    threshold=f"tests stratified by task (exact for counts, ranks for margins): one-sided p < {CERTAIN:g} fails, below ten times "
    f"that it warns; beside the margins of the undefended network on the same images {CERTAIN_BESIDE_CONTROL:g} fails",
    why="Both parts are drawn alike, and a method that selects by validation images looks better on those. Of an honest row one "
    "of the comparisons fails by chance in 700 rows.",
    planted="networks trained on test images, on all or half of them; a table of the test images",
)
def test_like_validation(evidence: Evidence) -> Judgement:
    facts = evidence.facts[evidence.facts["phase"] == UNSEEN]
    if facts.empty:
        crashed = [entry for entry in evidence.run.failures if entry.get("check") == UNSEEN]
        if crashed:
            return Judgement(FAIL, f"{len(crashed)} failures", f"failed when asked: {describe_failure(crashed[-1])}")
        return not_run(NOT_RECORDED_YET)
    compared = [_Compared(better_in_strata(strata), words) for words, strata in _counts(evidence, facts)]
    margins = _margins(evidence, facts)
    if margins:
        tested, others = (
            float(np.median(np.concatenate([pair[side] for pair in margins.values()]))) for side in (0, 1)
        )
        words = f"median margin under attack: {tested:.3g} on test images, {others:.3g} on validation images"
        compared.append(_Compared(larger_in_strata(list(margins.values())), words))
    if margins and evidence.control is not None:
        control = evidence.control.facts
        usual = _margins(evidence.control, control[control["phase"] == UNSEEN])
        if beside := [
            _beyond(margins[task], usual[task]) for task in margins if _aligned(margins[task], usual.get(task))
        ]:
            words = "margins under attack, beside the undefended network's on the same images, favour test images"
            compared.append(_Compared(larger_in_strata(beside), words, CERTAIN_BESIDE_CONTROL))
    if not compared:
        return not_run("no outcome on test images can be compared")
    sharpest = min(compared, key=lambda each: each.p / each.certain)
    found = f"{sharpest.told}, p = {sharpest.p:.3g}"
    if sharpest.p < 10 * sharpest.certain:
        status = FAIL if sharpest.p < sharpest.certain else WARN
        return Judgement(status, found, f"{sharpest.told}: the test images are better known than they can be")
    return Judgement(PASS, found, "test images are answered like validation images")


@dataclass(frozen=True)
class _Compared:
    """A comparison of test images with validation images. told: its numbers in words; certain: the p-value that fails."""

    p: float
    told: str
    certain: float = CERTAIN


Strata = list[tuple[Counts, Counts]]
"""By task, (right, number) of test images and of validation images."""


def _counts(evidence: Evidence, facts: Any) -> Iterator[tuple[str, Strata]]:
    """Comparisons of counts, each with its words. None of them is empty."""
    told = {(int(row.task), str(row.name)): _told(row.text) for row in facts.itertuples(index=False)}
    tasks = range(evidence.outcomes.tasks)
    held_out = {task: told[task, "validation"] for task in tasks if told.get((task, "validation"))}
    attacks = {str(each.get("attack")) for each in held_out.values()}
    for words, key, names in (
        ("right on the clean image", "clean", [CLEAN]),
        *((f"right under {name}", "attacked", [name + ANY, name]) for name in sorted(attacks)),
    ):
        stored = next((name for name in names if name in evidence.outcomes.correct), None)
        if stored is None or not held_out:
            continue
        strata: Strata = []
        for task, counts in held_out.items():
            cell = evidence.outcomes.vector(stored, evidence.outcomes.last, task)
            covered = cell[cell != NOT_MEASURED]
            strata.append(((int((covered == 1).sum()), len(covered)), (int(counts[key]), int(counts["images"]))))
        yield _with_shares(words, strata), strata
    copies = [told[task, "copies"] for task in tasks if told.get((task, "copies"))]
    # Test images that lose more than others: a table knows an image, and not its copies.
    strata = [(_pair(each["test"]), _pair(each["validation"])) for each in copies]
    if strata:
        yield _with_shares("right, and wrong in a copy", strata), strata


def _with_shares(words: str, strata: Strata) -> str:
    tested, others = (_share([pair[side] for pair in strata]) for side in (0, 1))
    return f"{words}: {100 * tested:.1f} % on test images, {100 * others:.1f} % on validation images"


Margins = tuple[np.ndarray, np.ndarray]
"""Margins under the attack, float (n,) of test images by ascending id and (m,) of validation images in their order."""


def _margins(evidence: Evidence, facts: Any) -> dict[int, Margins]:
    """By task, the margins of its images; without tasks of which none were recorded."""
    found = {}
    for row in facts[facts["name"] == "validation"].itertuples(index=False):
        told, task = _told(row.text), int(row.task)
        stored = evidence.outcomes.final.get(str(told.get("attack")) + ANY, {}).get(task)
        if stored is not None and told.get("margins"):
            found[task] = (stored.margin.astype(float), np.asarray(told["margins"], float))
    return {task: pair for task, pair in found.items() if np.isfinite(pair[0]).any()}


def _aligned(mine: Margins, others: Margins | None) -> bool:
    return others is not None and all(len(a) == len(b) for a, b in zip(mine, others, strict=True))


def _beyond(mine: Margins, usual: Margins) -> Margins:
    """The ranks of margins beyond those that another network's margins on the same images predict.

    Images differ in difficulty far more than networks do, and another network's margins say which are easy.
    """
    known = [np.isfinite(a) & np.isfinite(b) for a, b in zip(mine, usual, strict=True)]
    of_mine, of_usual = (
        rankdata(np.concatenate([part[keep] for part, keep in zip(pair, known, strict=True)])) for pair in (mine, usual)
    )
    spread = of_usual.var()
    slope = np.cov(of_mine, of_usual, ddof=0)[0, 1] / spread if spread else 0.0
    left = of_mine - slope * of_usual
    return left[: known[0].sum()], left[known[0].sum() :]


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
