"""Attacking one classifier on one task, as values: no files, no methods, no runs."""

from __future__ import annotations

import dataclasses
import json
import random
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from attacks.base import AttackError, AttackResult, Outcome
from attacks.planning import SharedRun, combine_results
from attacks.starts import Starts
from benchmark.identity import classifier_fingerprint
from results.checkpoints import tensor_hash
from scenarios.augmentation import to_float
from scenarios.base import ImageSet


@dataclass(frozen=True, slots=True)
class Measured:
    """One trajectory on one task: outcomes of the attacks that share it, over all samples asked for.

    samples, labels: int64 (N,); outcomes per number of steps, on the CPU; unchanged: classifier and global random state
    hashed equal before and after.
    """

    samples: Tensor
    labels: Tensor
    final: dict[int, Outcome]
    any: dict[int, Outcome]
    trace: str
    largest_change: float
    seconds: float
    gradient_evaluations: int
    forward_passes: int
    unchanged: bool


def check_classifier(classifier: nn.Module, images: Tensor, classes: int) -> None:
    """Raise AttackError unless the classifier keeps its contract: eval mode, frozen, logits (N, classes) of this task."""
    if any(module.training for module in classifier.modules()):
        raise AttackError("the classifier is not in eval mode; return it after .eval()")
    if any(parameter.requires_grad for parameter in classifier.parameters()):
        raise AttackError("the classifier is not frozen; return it after .requires_grad_(False)")
    with torch.no_grad():
        logits = classifier(images[:2])
    if logits.shape != (len(images[:2]), classes):
        raise AttackError(
            f"the classifier returns shape {tuple(logits.shape)} for {len(images[:2])} images; "
            f"this task has {classes} classes, so (N, {classes}) is right"
        )


def measure(classifier: nn.Module, test: ImageSet, run: SharedRun, *, seed: int, key: str, batch_size: int) -> Measured:
    """Attack every image of `test` with the attack of `run`, in batches; starts from (seed, key, sample, restart).

    Raises whatever the attack raises: a crash is a failure, never a number.
    """
    before = _state(classifier)
    began = time.perf_counter()
    results: list[AttackResult] = []
    with repeatable(), _full_precision():
        for index in torch.arange(len(test), device=test.labels.device).split(batch_size):
            start = Starts(seed, key, test.samples[index])
            images = to_float(test.images[index])
            result = run.attack.run(classifier, images, test.labels[index], start, run.checkpoints)
            results.append(_on_cpu(result))
    seconds = time.perf_counter() - began
    whole = combine_results(results)
    return Measured(
        samples=test.samples.cpu(),
        labels=test.labels.cpu(),
        final=whole.final,
        any=whole.any,
        trace=json.dumps(dataclasses.asdict(whole.trace)),
        largest_change=max(whole.trace.largest_change, default=0.0),
        seconds=seconds,
        gradient_evaluations=whole.gradient_evaluations * len(test),
        forward_passes=whole.forward_passes * len(test),
        unchanged=_state(classifier) == before,
    )


def _state(classifier: nn.Module) -> tuple[object, ...]:
    """What an evaluation must leave as it was: the classifier, its gradients, and the global random states."""
    gradients = {name: p.grad is not None and tensor_hash(p.grad) for name, p in classifier.named_parameters()}
    on_gpu = torch.cuda.get_rng_state().numpy().tobytes() if torch.cuda.is_initialized() else b""
    random_states = (torch.get_rng_state().numpy().tobytes(), on_gpu, repr(np.random.get_state()), random.getstate())
    return classifier_fingerprint(classifier), gradients, random_states


def _on_cpu(result: AttackResult) -> AttackResult:
    def move(outcomes: dict[int, Outcome]) -> dict[int, Outcome]:
        return {steps: Outcome(outcome.predicted.cpu(), outcome.margin.cpu()) for steps, outcome in outcomes.items()}

    # Adversarial images are not kept: an empty tensor per batch holds their count alone.
    empty = torch.empty(len(result.adversarial), 0)
    return dataclasses.replace(result, final=move(result.final), any=move(result.any), adversarial=empty)


@contextmanager
def repeatable() -> Iterator[None]:
    """Deterministic kernels and no autotuning: learning and attacking again gives the same bits on the same device."""
    cudnn = torch.backends.cudnn
    before = (cudnn.deterministic, cudnn.benchmark)
    cudnn.deterministic, cudnn.benchmark = True, False
    try:
        yield
    finally:
        cudnn.deterministic, cudnn.benchmark = before


@contextmanager
def _full_precision() -> Iterator[None]:
    """No TF32 while attacks run; what was set before comes back afterwards."""
    cudnn, matmul = torch.backends.cudnn, torch.backends.cuda.matmul
    before = (cudnn.allow_tf32, matmul.allow_tf32)
    cudnn.allow_tf32, matmul.allow_tf32 = False, False
    try:
        yield
    finally:
        cudnn.allow_tf32, matmul.allow_tf32 = before


def subset(test: ImageSet, samples: Sequence[int]) -> ImageSet:
    """The images of `test` with these sample ids, in the order of the set."""
    wanted = torch.isin(test.samples, torch.tensor(list(samples), dtype=torch.int64, device=test.samples.device))
    return test.select(wanted.nonzero().squeeze(1))
