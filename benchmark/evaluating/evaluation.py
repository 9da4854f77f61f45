"""Attacking one classifier on one task, as values: no files, no methods, no runs."""

from __future__ import annotations

import dataclasses
import json
import random
import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from attacks.base import Attack, AttackError, AttackResult, Outcome, SharedResult
from attacks.parts.sharing import SharedRun, combine_shared
from attacks.starts import Starts
from attacks.threat_model import ThreatModelError
from attacks.victim import checked_logits
from benchmark.evaluating.determinism import full_precision, repeatable
from benchmark.evaluating.fingerprints import classifier_fingerprint
from benchmark.evaluating.memory import PROBE_ROWS, activation_bytes, fitting_rows, free_bytes, out_of_memory
from results.checkpoints import tensor_hash
from scenarios.base import ImageSet
from scenarios.parts.augmentation import to_float

CONTRACT_IMAGES = 16
"""Images on which a classifier's contract is checked."""

PROBABILITY_TOLERANCE = 1e-3


@dataclass(frozen=True, slots=True)
class AttackScore:
    """What one attack left of a classifier: outcomes at the final iterate and at the worst of all, on the CPU.

    trace: JSON of the attack's trace, with the warnings of its settings; worst: the images of `any`, if they were asked for.
    """

    final: Outcome
    any: Outcome
    trace: str
    largest_change: float
    worst: Tensor | None = None


@dataclass(frozen=True, slots=True)
class Measured:
    """Attacks that ran together on one task, over all samples asked for.

    samples, labels: int64 (N,), on the CPU; attacks: each with what it left; rows: how many went through the classifier at
    once, at most; unchanged: classifier and global random state hashed equal before and after.
    """

    samples: Tensor
    labels: Tensor
    attacks: dict[Attack, AttackScore]
    rows: int
    seconds: float
    gradient_evaluations: int
    forward_passes: int
    unchanged: bool


class BrokenContract(AttackError):
    """A classifier is not what the harness attacks. check: the name of the verdict that says so."""

    def __init__(self, check: str, message: str) -> None:
        super().__init__(message)
        self.check = check


def check_classifier(classifier: nn.Module, images: Tensor, classes: int) -> None:
    """Raise BrokenContract unless the classifier keeps its contract: eval mode, frozen, logits (N, classes) of this task.

    images: float (N, C, H, W), a few of the task's.
    """
    if any(module.training for module in classifier.modules()):
        raise BrokenContract("eval_mode", "the classifier is not in eval mode; return it after .eval()")
    if any(parameter.requires_grad for parameter in classifier.parameters()):
        raise BrokenContract("eval_mode", "the classifier is not frozen; return it after .requires_grad_(False)")
    with torch.no_grad():
        logits = checked_logits(classifier, images, 0)
    if logits.shape[1] != classes:
        raise BrokenContract(
            "head_sliced",
            f"the classifier returns {logits.shape[1]} logits per image; this task has {classes} classes, "
            f"so (N, {classes}) is right",
        )
    if not logits.isfinite().all():
        raise BrokenContract(
            "outputs_are_logits",
            "the classifier returns logits that are not finite (NaN or infinite) for unchanged images",
        )
    sums_to_one = (logits.sum(1) - 1).abs().amax() < PROBABILITY_TOLERANCE
    if logits.amin() >= 0 and sums_to_one:
        raise BrokenContract(
            "outputs_are_logits",
            "the classifier returns probabilities (they are not negative and sum to 1); return logits, without softmax",
        )


def measure(
    classifier: nn.Module,
    test: ImageSet,
    run: SharedRun,
    *,
    seed: int,
    key: str,
    batch_size: int,
    keep_images: bool = False,
) -> Measured:
    """Attack every image of `test` with the attacks of `run`, in batches; random numbers from (seed, key, sample).

    batch_size: rows that go through the classifier at once, at most; fewer where memory is short. Raises whatever an attack
    raises: a crash is a failure, never a number.
    """
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
    return Measured(
        samples=test.samples.cpu(),
        labels=test.labels.cpu(),
        attacks={
            attack: _scored(attack, result, changes[attack], keep_images) for attack, result in whole.results.items()
        },
        rows=rows,
        seconds=seconds,
        gradient_evaluations=whole.gradient_evaluations,
        forward_passes=whole.forward_passes,
        unchanged=_state(classifier) == before,
    )


def _changes(result: SharedResult, images: Tensor) -> dict[Attack, float]:
    """By attack the largest change of any image it returned, measured here: what an attack says of itself is no evidence.

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
    for attack, measured in found.items():
        change_, low_, high_ = zip(*(values.tolist() for values in measured), strict=True)
        if min(low_) < 0 or max(high_) > 1:
            raise ThreatModelError(f"{attack.name}: images reach {min(low_):.6f} .. {max(high_):.6f}, outside [0, 1]")
        changes[attack] = max(change_)
    return changes


def _scored(attack: Attack, result: AttackResult, change: float, keep_images: bool) -> AttackScore:
    trace = dataclasses.asdict(result.trace)
    if not trace["standing"]:
        del trace["standing"]
    if attack.warnings():
        trace["warnings"] = list(attack.warnings())
    return AttackScore(
        final=result.final[attack.steps],
        any=result.any[attack.steps],
        trace=json.dumps(trace),
        largest_change=max([change, *result.trace.largest_change]),
        worst=result.worst if keep_images else None,
    )


def _state(classifier: nn.Module) -> tuple[object, ...]:
    """What an evaluation must leave as it was: the classifier, its gradients, and the global random states."""
    gradients = {name: p.grad is not None and tensor_hash(p.grad) for name, p in classifier.named_parameters()}
    on_gpu = torch.cuda.get_rng_state().numpy().tobytes() if torch.cuda.is_initialized() else b""
    random_states = (torch.get_rng_state().numpy().tobytes(), on_gpu, repr(np.random.get_state()), random.getstate())
    return classifier_fingerprint(classifier), gradients, random_states


def _on_cpu(result: SharedResult, keep_images: bool) -> SharedResult:
    def move(outcomes: dict[int, Outcome]) -> dict[int, Outcome]:
        return {steps: Outcome(outcome.predicted.cpu(), outcome.margin.cpu()) for steps, outcome in outcomes.items()}

    def one(result: AttackResult) -> AttackResult:
        # Images that nobody keeps: an empty tensor per batch holds their count alone.
        empty = torch.empty(len(result.adversarial), 0)
        worst = result.worst.cpu() if keep_images else empty
        return dataclasses.replace(
            result, final=move(result.final), any=move(result.any), adversarial=empty, worst=worst
        )

    return dataclasses.replace(result, results={attack: one(each) for attack, each in result.results.items()})


def subset(test: ImageSet, samples: Sequence[int]) -> ImageSet:
    """The images of `test` with these sample ids, in the order of the set."""
    wanted = torch.isin(test.samples, torch.tensor(list(samples), dtype=torch.int64, device=test.samples.device))
    return test.select(wanted.nonzero().squeeze(1))
