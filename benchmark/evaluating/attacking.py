"""One classifier attacked on images of one task, as values: this module knows no files, methods or runs."""

from __future__ import annotations

import dataclasses
import json
import random
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from attacks.base import Attack, AttackResult, Outcome, SharedResult
from attacks.parts.guard import random_state_kept
from attacks.parts.sharing import SharedRun, combine_shared
from attacks.starts import Starts
from attacks.threat_model import ThreatModelError
from benchmark.evaluating.determinism import full_precision, repeatable
from benchmark.evaluating.fingerprints import classifier_fingerprint
from benchmark.evaluating.inspection.python_state import python_state
from benchmark.evaluating.memory import PROBE_ROWS, activation_bytes, fitting_rows, free_bytes, out_of_memory
from benchmark.evaluating.settings import Evaluation
from results.checkpoints import tensor_hash
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
    rows: images that went through the classifier at once, at most.
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
    batch_size: int | None = None,
    keep_images: bool = False,
) -> Attacked:
    """Attack test images of a task with the preset's seed and batch size.

    samples: ids of the images.
    run: the attacks, which run together.
    batch_size: instead of the preset's.
    keep_images: True to return the worst and the last images too.
    Raises whatever an attack raises: a crash is a failure, never a number.
    """
    return attack_images(
        classifier,
        subset(task.test, samples),
        run,
        seed=evaluation.seed,
        key=task.test_fingerprint,
        batch_size=batch_size or evaluation.batch_size,
        keep_images=keep_images,
    )


def attack_images(
    classifier: nn.Module,
    test: ImageSet,
    run: SharedRun,
    *,
    seed: int,
    key: str,
    batch_size: int,
    keep_images: bool = False,
) -> Attacked:
    """Attack every image of `test` with the attacks of `run`, in batches.

    seed, key: an image's random start follows from these two and its sample id.
    batch_size: images that go through the classifier at once, at most; fewer where memory is short.
    keep_images: True to return the worst and the last images too.
    Raises whatever an attack raises: a crash is a failure, never a number.
    """
    _settle(classifier, test)
    before = _state(classifier)
    began = time.perf_counter()
    with repeatable(), full_precision():
        device = test.labels.device
        per_row = activation_bytes(classifier, to_float(test.images[:PROBE_ROWS]))
        rows = fitting_rows(batch_size, per_row, free_bytes(device))
        results, done = [], 0
        changes: dict[Attack, float] = {}
        while done < len(test):
            index = torch.arange(done, min(len(test), done + max(1, rows // run.rows_per_image)), device=device)
            start = Starts(seed, key, test.samples[index])
            images = to_float(test.images[index])
            try:
                result = run.run(classifier, images, test.labels[index], start)
            except RuntimeError as error:
                if not out_of_memory(error) or len(index) == 1:
                    raise
                rows //= 2
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
            attack: _outcomes(attack, result, changes[attack], keep_images) for attack, result in whole.results.items()
        },
        rows=rows,
        seconds=seconds,
        gradient_evaluations=whole.gradient_evaluations,
        forward_passes=whole.forward_passes,
        unchanged=_state(classifier) == before,
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
        found[attack] = [known[id(returned), attack.threat_model.norm] for returned in (each.adversarial, each.worst)]
    changes = {}
    for attack, returned_values in found.items():
        change_of, low_of, high_of = zip(*(values.tolist() for values in returned_values), strict=True)
        if min(low_of) < 0 or max(high_of) > 1:
            raise ThreatModelError(
                f"{attack.name}: images reach {min(low_of):.6f} .. {max(high_of):.6f}, outside [0, 1]"
            )
        changes[attack] = max(change_of)
    return changes


def _outcomes(attack: Attack, result: AttackResult, change: float, keep_images: bool) -> AttackOutcomes:
    trace = dataclasses.asdict(result.trace)
    if not trace["standing"]:
        del trace["standing"]
    if attack.warnings():
        trace["warnings"] = list(attack.warnings())
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


def _state(classifier: nn.Module) -> tuple[object, ...]:
    """Everything that attacks must leave as it was: the classifier, its gradients, and the global random states."""
    gradients = {name: p.grad is not None and tensor_hash(p.grad) for name, p in classifier.named_parameters()}
    on_gpu = torch.cuda.get_rng_state().numpy().tobytes() if torch.cuda.is_initialized() else b""
    # As bytes: to print the 624 words of numpy's state took longer than to hash a small classifier.
    name, words, *counters = np.random.get_state(legacy=True)
    of_numpy = (name, np.asarray(words).tobytes(), *counters)
    random_states = (torch.get_rng_state().numpy().tobytes(), on_gpu, of_numpy, random.getstate())
    return classifier_fingerprint(classifier), python_state(classifier), gradients, random_states


def _on_cpu(result: SharedResult, keep_images: bool) -> SharedResult:
    def move(outcomes: dict[int, Outcome]) -> dict[int, Outcome]:
        return {steps: Outcome(outcome.predicted.cpu(), outcome.margin.cpu()) for steps, outcome in outcomes.items()}

    def one(result: AttackResult) -> AttackResult:
        # If nobody keeps these images, an empty tensor per batch holds their count alone.
        empty = torch.empty(len(result.adversarial), 0)
        worst, last = (result.worst.cpu(), result.adversarial.cpu()) if keep_images else (empty, empty)
        return dataclasses.replace(
            result, final=move(result.final), any=move(result.any), adversarial=last, worst=worst
        )

    return dataclasses.replace(result, results={attack: one(each) for attack, each in result.results.items()})


def subset(test: ImageSet, samples: Sequence[int]) -> ImageSet:
    """The images of `test` with these sample ids, in the order of `test`."""
    wanted = torch.isin(test.samples, torch.tensor(list(samples), dtype=torch.int64, device=test.samples.device))
    return test.select(wanted.nonzero().squeeze(1))
