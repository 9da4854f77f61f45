"""Images that attacks handed over, judged once more by classifiers that were made anew and have seen nothing.

The classifiers are made in a confined process (`confined`) from the stored state alone. They are asked about attacked images
first, of all attacks and samples mixed, in another order and in batches of another size than in the attacks, by two judges: each
a classifier of its own, in an order of its own. Clean images come last. An honest classifier answers as was recorded.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from attacks.base import margins
from benchmark.evaluating.fingerprints import classifier_fingerprint
from benchmark.evaluating.kept_images import logits_of
from benchmark.learning.confined.process import ConfinedProcess, Here, Made
from benchmark.learning.confined.sandbox import CannotConfine
from benchmark.learning.handed_over import HandedOver
from results.files import digest
from results.schema import AFRESH, SAFE_MARGIN

ROWS = (61, 37)
"""Images that go through the classifier at once, for each judge: numbers that no preset has."""

Asked = ConfinedProcess | Here


@dataclass(frozen=True, slots=True)
class Judged:
    """The answers of two judges to the images of one task: float32 (N, classes) each, and the classifier's fingerprint."""

    fingerprint: str
    logits: tuple[Tensor, Tensor]


def answers(made: Made, task: int, images: NDArray[np.float32], rows: int) -> tuple[str, NDArray[np.float32]]:
    """The fingerprint of a newly made classifier, and its logits. Runs in the confined process.

    images: float32 (N, C, H, W); rows: images that go through at once.
    """
    classifier = made(task)
    fingerprint = classifier_fingerprint(classifier)
    return fingerprint, logits_of(classifier, torch.from_numpy(images), rows).numpy()


def judged(process: Asked, task: int, images: Tensor, seed: str) -> Judged:
    """Ask two judges about the images of a task, in two orders that follow from `seed`. Raises NotMade."""
    fingerprint, found = "", []
    for judge, rows in enumerate(ROWS):
        generator = torch.Generator().manual_seed(int(digest([seed, task, judge])[:12], 16))
        order = torch.randperm(len(images), generator=generator)
        fingerprint, logits = process.ask(answers, task, images[order].numpy(), rows)
        back = torch.empty_like(order)
        back[order] = torch.arange(len(order))
        found.append(torch.from_numpy(logits)[back])
    return Judged(fingerprint, (found[0], found[1]))


def judge(
    process: Asked, handed_over: Sequence[HandedOver], classifiers: Mapping[int, str], seed: str
) -> list[dict[str, Any]]:
    """Let classifiers made anew judge what attacks handed over; return facts of phase `AFRESH`.

    classifiers: by task, the fingerprint of the classifier that was attacked.
    seed: the orders follow from it.
    Per task and attack there is a fact `answers`: the number of images, and as JSON the attack, its evaluation, and the samples
    whose prediction is another one by more than rounding (`changed`), those of them that were recorded right (`lost`), those
    whose margin alone is another one (`moved`), and those about which the two judges differ (`order`); `off` is the largest
    difference of a margin, in units of the largest logit, and `covers` the evaluations whose images they are. Per task whose
    classifier is not the attacked one there is a fact `another_classifier`. Raises NotMade.
    """
    rows = []
    for group in ([one for one in handed_over if one.clean is clean] for clean in (False, True)):
        for task in sorted({one.task for one in group}):
            mine = [one for one in group if one.task == task]
            found = judged(process, task, torch.cat([one.images for one in mine]), seed)
            if found.fingerprint != classifiers.get(task, found.fingerprint):
                rows.append(_fact(task, "another_classifier", 1.0, found.fingerprint))
            parts = zip(*(logits.split([len(one.images) for one in mine]) for logits in found.logits), strict=True)
            rows += [_compared(one, first, second) for one, (first, second) in zip(mine, parts, strict=True)]
    return rows


def _compared(one: HandedOver, first: Tensor, second: Tensor) -> dict[str, Any]:
    """The fact on one attack. first, second: logits of the two judges, float32 (N, classes)."""
    away = _is_not(first, one.predicted) | _is_not(second, one.predicted)
    was_right = one.predicted == one.labels
    scale = torch.maximum(first.abs().amax(1), second.abs().amax(1))
    off = torch.stack([(margins(logits, one.labels) - one.margin).abs() for logits in (first, second)]).amax(0)
    moved = ~(off <= SAFE_MARGIN * (1 + scale))
    share = float((off / scale.amax().clamp_min(torch.finfo(scale.dtype).tiny)).amax())
    order = _is_not(first, second.argmax(1)) | _is_not(second, first.argmax(1))

    def samples(mask: Tensor) -> list[int]:
        return sorted(set(one.samples[mask].tolist()))

    text = {
        "attack": one.attack,
        "answers_changed": int(away.sum()),
        "answers_lost": int((away & was_right).sum()),
        "changed": samples(away),
        "lost": samples(away & was_right),
        "moved": samples(moved & ~away),
        "order": samples(order),
        # NaN is no small difference.
        "off": share if share == share else float("inf"),
        "covers": one.covers,
    }
    return _fact(one.task, "answers", float(len(one.images)), json.dumps(text))


def _is_not(logits: Tensor, predicted: Tensor) -> Tensor:
    """True where the logits name another class than `predicted`, by more than rounding: bool (N,). NaN names none."""
    known = (predicted >= 0) & (predicted < logits.shape[1])
    of_predicted = logits.gather(1, predicted.clamp(0, logits.shape[1] - 1)[:, None]).squeeze(1)
    largest = logits.amax(1)
    return ~known | ~(largest - of_predicted <= SAFE_MARGIN * (1 + logits.abs().amax(1)))


def reached(found: Iterable[str], error: str = "") -> dict[str, Any]:
    """The fact that code of the method reached for what it must not have. error: what came of it, one line."""
    return _fact(-1, "reached", 0.0, json.dumps({"reached": list(found), "error": error}))


def confined_by(means: str) -> dict[str, Any]:
    """The fact that says what confined the process."""
    return _fact(-1, "confined", 1.0, means)


def not_judged(reason: str | CannotConfine) -> dict[str, Any]:
    """The fact that nothing could be judged here, and why."""
    return _fact(-1, "not_judged", None, str(reason))


def joined(before: Iterable[dict[str, Any]], now: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Facts of two judgings: the newer answers of an attack on a task count, and nothing else that was found is forgotten."""

    def key(fact: dict[str, Any]) -> tuple[Any, ...]:
        return fact["task"], fact["name"], fact["text"] if fact["name"] == "reached" else _attack_of(fact)

    # What could not be judged then may be judged now.
    old = {key(fact): fact for fact in before if fact["name"] != "not_judged"}
    return list((old | {key(fact): fact for fact in now}).values())


def _attack_of(fact: dict[str, Any]) -> str:
    return str(json.loads(fact["text"])["attack"]) if fact["name"] == "answers" else ""


def _fact(task: int, name: str, value: float | None, text: str) -> dict[str, Any]:
    return {"task": task, "phase": AFRESH, "name": name, "value": value, "text": text}
