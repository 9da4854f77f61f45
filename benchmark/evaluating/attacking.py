"""One classifier attacked on images of one task, as values: this module knows no files, methods or runs."""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor, nn

from attacks.base import Attack, AttackResult, Outcome, SharedResult
from attacks.memory import (
    PROBE_ROWS,
    activation_bytes,
    fastest_rows,
    fitting_rows,
    free_bytes,
)
from attacks.parts.graphs.capture import forget_graphs, out_of_memory
from attacks.parts.guard import random_state_kept
from attacks.parts.sharing import SharedRun, combine_shared
from attacks.starts import Starts
from attacks.threat_model import ThreatModelError
from benchmark.evaluating.determinism import full_precision, repeatable
from benchmark.evaluating.inspection.kept_state import StateWatch
from benchmark.evaluating.precision import Arithmetic, Precision, arithmetic_for
from benchmark.evaluating.settings import Evaluation
from scenarios.base import ImageSet, Task
from scenarios.parts.augmentation import to_float

Answer = TypeVar("Answer")


@dataclass(frozen=True, slots=True)
class AttackOutcomes:
    """The outcomes of one attack, on the CPU.

    final: at the last iterate.
    any: at the worst of all iterates.
    trace: JSON of the attack's trace, with the warnings of its settings.
    largest_change: of any image, in pixel space, in the attack's norm.
    worst: float (N, C, H, W) in [0, 1], the images of `any`; None if they were not asked for.
    last: likewise of `final`. Where attacks shared a trajectory, both are those of the attack of most steps.
    """

    final: Outcome
    any: Outcome
    trace: str
    largest_change: float
    worst: Tensor | None = None
    last: Tensor | None = None


@dataclass(frozen=True, slots=True)
class Attacked:
    """The outcomes of attacks that ran together on images of one task.

    samples: int64 (N,), ids of the images, on the CPU.
    labels: int64 (N,), on the CPU.
    outcomes: by attack.
    rows: that went through the classifier at once, at most: images, each as often as attacks that ran together share it.
    seconds, gradient_evaluations, forward_passes: the cost of all attacks together; the last two count images.
    unchanged: True if the classifier, what it holds in Python and the global random states hashed equal before and after.
    """

    samples: Tensor
    labels: Tensor
    outcomes: dict[Attack, AttackOutcomes]
    rows: int
    seconds: float
    gradient_evaluations: int
    forward_passes: int
    unchanged: bool


def attack_task(
    classifier: nn.Module,
    task: Task,
    samples: Sequence[int],
    run: SharedRun,
    evaluation: Evaluation,
    *,
    arithmetic: Arithmetic | None = None,
    watch: StateWatch | None = None,
    rows: int | None = None,
    keep_images: bool = False,
) -> Attacked:
    """Attack test images of a task with the preset's seed, batch size and precision.

    samples: ids of the images.
    run: the attacks, which run together.
    arithmetic: that of the classifier, from `arithmetic_of`, if it was found before.
    watch: over the classifier, if it is attacked more than once.
    rows: that go through the classifier at once, at most, as an earlier evaluation tells them (`Attacked.rows`): then all batches
        are those of that evaluation. None: as many as are fastest.
    keep_images: True to return the worst and the last images too.
    Raises whatever an attack raises: a crash is a failure, never a number.
    """
    return attack_images(
        arithmetic or arithmetic_of(classifier, task.test, evaluation.precision),
        subset(task.test, samples),
        run,
        seed=evaluation.seed,
        key=task.test_fingerprint,
        batch_size=evaluation.batch_size,
        rows=rows,
        keep_images=keep_images,
        watch=watch,
    )


def arithmetic_of(classifier: nn.Module, images: ImageSet, precision: Precision) -> Arithmetic:
    """The way in which attacks compute on a classifier if a precision is allowed.

    images: any that it is made for; their shape and device alone are used.
    """
    with repeatable(), full_precision():
        return arithmetic_for(classifier, images.images.shape[1:], images.images.device, precision)


def attack_images(
    arithmetic: Arithmetic,
    test: ImageSet,
    run: SharedRun,
    *,
    seed: int,
    key: str,
    batch_size: int,
    rows: int | None = None,
    keep_images: bool = False,
    watch: StateWatch | None = None,
) -> Attacked:
    """Attack every image of `test` with the attacks of `run`, in batches.

    arithmetic: the classifier, and the precision in which attacks walk.
    seed, key: an image's random start follows from these two and its sample id.
    batch_size: images that go through the classifier at once, at most; fewer where memory is short.
    rows: as of `attack_task`.
    keep_images: True to return the worst and the last images too.
    watch: over the classifier, if it is attacked more than once.
    Raises whatever an attack raises: a crash is a failure, never a number.
    """
    classifier = arithmetic.exact
    watch = watch or StateWatch(classifier)
    watch.begin(lambda: _settle(classifier, test))
    began = time.perf_counter()
    with repeatable(), full_precision():
        device = test.labels.device
        per_row = activation_bytes(classifier, to_float(test.images[:PROBE_ROWS]))
        fastest = fastest_rows(arithmetic.walked, device, batch_size) if run.batch_free else batch_size
        rows = fitting_rows(rows or fastest, per_row, free_bytes(device))
        results: list[SharedResult] = []
        done = 0
        changes: dict[Attack, float] = {}
        while done < len(test):
            count = max(1, min(batch_size, rows // run.rows_per_image))
            index = torch.arange(done, min(len(test), done + count), device=device)
            start = Starts(seed, key, test.samples[index])
            images = to_float(test.images[index])
            try:
                result = run.run(arithmetic.classifier, images, test.labels[index], start)
            except Exception as error:
                if out_of_memory(error) and len(index) > 1:
                    forget_graphs()
                    while rows // run.rows_per_image >= len(index):
                        rows //= 2
                    # From the first image on, so that all batches are of the size that is recorded: others round differently.
                    results, done = [], 0
                    changes.clear()
                elif arithmetic.classifier is not classifier:
                    # A fault of the fast copy is none of the classifier, which is attacked as it is from here on.
                    reason = f"its copy fails under attack, after {done} of {len(test)} images: {error}"
                    arithmetic = arithmetic.without_copy(reason)
                else:
                    raise
                continue
            for attack, change in _changes(result, images).items():
                changes[attack] = max(change, changes.get(attack, 0.0))
            results.append(_on_cpu(result, keep_images))
            done += len(index)
    seconds = time.perf_counter() - began
    whole = combine_shared(results)
    return Attacked(
        samples=test.samples.cpu(),
        labels=test.labels.cpu(),
        outcomes={
            attack: _outcomes(attack, result, changes[attack], keep_images, arithmetic)
            for attack, result in whole.results.items()
        },
        rows=min(rows, batch_size * run.rows_per_image),
        seconds=seconds,
        gradient_evaluations=whole.gradient_evaluations,
        forward_passes=whole.forward_passes,
        unchanged=watch.unchanged(),
    )


def as_in_an_attack(ask: Callable[[], Answer]) -> Answer:
    """Call a function from here: a classifier that looks who is asking finds the module that attacks it."""
    return ask()


def _changes(result: SharedResult, images: Tensor) -> dict[Attack, float]:
    """The largest change of any image that each attack returned, computed here: what an attack says of itself is no evidence.

    Raises ThreatModelError for images outside [0, 1].
    """
    known: dict[tuple[int, str], Tensor] = {}
    found = {}
    for attack, each in result.results.items():
        for returned in (each.adversarial, each.worst):
            key = (id(returned), attack.threat_model.norm)
            if key not in known:
                low, high = torch.aminmax(returned)
                change = attack.threat_model.largest_change(returned, images).amax()
                known[key] = torch.stack([change.double(), low.double(), high.double()])
        found[attack] = [(id(returned), attack.threat_model.norm) for returned in (each.adversarial, each.worst)]
    # In one transfer, because each waits for the device.
    numbers = dict(zip(known, torch.stack(list(known.values())).tolist(), strict=True))
    changes = {}
    for attack, keys in found.items():
        change_of, low_of, high_of = zip(*(numbers[key] for key in keys), strict=True)
        if min(low_of) < 0 or max(high_of) > 1:
            raise ThreatModelError(
                f"{attack.name}: images reach {min(low_of):.6f} .. {max(high_of):.6f}, outside [0, 1]"
            )
        changes[attack] = max(change_of)
    return changes


def _outcomes(
    attack: Attack, result: AttackResult, change: float, keep_images: bool, arithmetic: Arithmetic
) -> AttackOutcomes:
    trace = dataclasses.asdict(result.trace)
    if not trace["standing"]:
        del trace["standing"]
    if attack.warnings():
        trace["warnings"] = list(attack.warnings())
    if attack.walks and (said := arithmetic.said()):
        trace["precision"] = said
    return AttackOutcomes(
        final=result.final[attack.steps],
        any=result.any[attack.steps],
        trace=json.dumps(trace),
        largest_change=max([change, *result.trace.largest_change]),
        worst=result.worst if keep_images else None,
        last=result.adversarial if keep_images else None,
    )


def _settle(classifier: nn.Module, test: ImageSet) -> None:
    """Ask a classifier about one grey image, so that what an honest one makes at first use and keeps is there.

    That is a grid of positions, say, for images of this size. A classifier that remembers more than that still changes under
    attack, and of test images it has learned nothing.
    """
    grey = torch.full_like(to_float(test.images[:1]), 0.5)
    # Whoever cannot answer this fails under attack, and is told there.
    with torch.no_grad(), random_state_kept(), suppress(Exception):
        classifier(grey)


def _on_cpu(result: SharedResult, keep_images: bool) -> SharedResult:
    """The result of one batch on the CPU. All outcomes are fetched at once, because each transfer waits for the device."""
    every = [
        outcome
        for each in result.results.values()
        for by_steps in (each.final, each.any)
        for outcome in by_steps.values()
    ]
    fetched = dict(zip(map(id, every), _fetched(every), strict=True))
    images: dict[int, Tensor] = {}

    def image(tensor: Tensor) -> Tensor:
        # Attacks that share a trajectory return the same images.
        return images.setdefault(id(tensor), tensor.cpu() if id(tensor) not in images else tensor)

    def one(result: AttackResult) -> AttackResult:
        # If nobody keeps these images, an empty tensor per batch holds their count alone.
        empty = torch.empty(len(result.adversarial), 0)
        worst, last = (image(result.worst), image(result.adversarial)) if keep_images else (empty, empty)
        final, of_any = ({k: fetched[id(o)] for k, o in found.items()} for found in (result.final, result.any))
        return dataclasses.replace(result, final=final, any=of_any, adversarial=last, worst=worst)

    return dataclasses.replace(result, results={attack: one(each) for attack, each in result.results.items()})


def _fetched(outcomes: Sequence[Outcome]) -> list[Outcome]:
    """Outcomes of one batch on the CPU, in two transfers."""
    predicted = torch.stack([outcome.predicted for outcome in outcomes]).cpu()
    margin = torch.stack([outcome.margin for outcome in outcomes]).cpu()
    return [Outcome(*both) for both in zip(predicted, margin, strict=True)]


def subset(test: ImageSet, samples: Sequence[int]) -> ImageSet:
    """The images of `test` with these sample ids, in the order of `test`."""
    wanted = torch.isin(test.samples, torch.tensor(list(samples), dtype=torch.int64, device=test.samples.device))
    return test.select(wanted.nonzero().squeeze(1))
