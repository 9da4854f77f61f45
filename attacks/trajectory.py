"""What all attacks of this folder do: walk from starting points, look at every iterate, report what survives.

A walk is one trajectory: iterate 0 (the start) to iterate k, k gradients and k + 1 forward passes. `attack_batch`
merges the walks of all restarts. What is measured stays on the device until one transfer at the end of the batch.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from attacks.ascent import step
from attacks.base import Attack, AttackError, AttackResult, Outcome, Trace, is_worse, outcome_of, worse
from attacks.losses import Loss, cross_entropy
from attacks.starts import Starts
from attacks.threat_model import ThreatModel


def starting_points(threat_model: ThreatModel, images: Tensor, start: Starts, restarts: int) -> Iterator[Tensor]:
    """Uniform points of the ball, clamped to the box: `restarts` float (N, C, H, W), made one at a time."""
    if len(start.samples) != len(images):
        raise AttackError(f"{len(start.samples)} sample ids were given for {len(images)} images")
    lower, upper = threat_model.bounds(images)
    for restart in range(restarts):
        # Multiplied, then added, never fused: identical to the bit on every device.
        noise = start.uniform(images.shape, restart).to(images) * float(threat_model.eps)
        yield noise.add_(images).clamp_(lower, upper)


def attack_batch(
    attack: Attack,
    classifier: nn.Module,
    images: Tensor,
    labels: Tensor,
    starts: Iterable[Tensor],
    checkpoints: Sequence[int] | None,
    step_size: float = 0.0,
    loss: Loss = cross_entropy,
) -> AttackResult:
    """Walk `attack.steps` steps of `step_size` from each of `starts` and merge; arguments and errors as `Attack.run`.

    Safe to call under `torch.no_grad()` and `torch.inference_mode()`. Touches no mode, buffer, `.grad` or global random
    state (a classifier in train mode may do so itself).
    """
    reported = _check_checkpoints(attack, checkpoints)
    largest_label = _check_inputs(images, labels)
    with torch.inference_mode(False), torch.enable_grad():
        images, labels = _usable_in_autograd(images), _usable_in_autograd(labels)
        batch = _Batch(classifier, images, labels, largest_label, *attack.threat_model.bounds(images))
        merged: _Merged | None = None
        walks = []
        for start in starts:
            walk = _walk(batch, _usable_in_autograd(start), step_size, attack.steps, loss)
            merged = _merge(merged, walk, reported, labels)
            walks.append((walk.iterates, walk.gradients))
    assert merged is not None, "an attack without a starting point"
    trace = _trace(walks, len(images))
    attack.threat_model.check(merged.adversarial, images)
    return AttackResult(
        final=merged.final,
        any=merged.any,
        adversarial=merged.adversarial,
        trace=trace,
        gradient_evaluations=len(walks) * attack.steps,
        forward_passes=len(walks) * (attack.steps + 1),
    )


@dataclass(frozen=True, slots=True)
class _Batch:
    """Who is attacked, within which bounds."""

    classifier: nn.Module
    images: Tensor
    labels: Tensor
    largest_label: int
    lower: Tensor
    upper: Tensor

    def logits(self, points: Tensor) -> Tensor:
        """Logits (N, C) of `points` in at least float32, of the right shape; whether they are finite is seen later."""
        logits = self.classifier(points)
        if not isinstance(logits, Tensor):
            raise AttackError(f"the classifier returned a {type(logits).__name__}; expected a tensor of logits (N, C)")
        count = len(points)
        if logits.ndim != 2 or len(logits) != count or logits.shape[1] < 2 or not logits.is_floating_point():
            raise AttackError(
                f"the classifier returned {logits.dtype} of shape {tuple(logits.shape)}; "
                f"expected float logits ({count}, C) with C of 2 or more"
            )
        if self.largest_label >= logits.shape[1]:
            raise AttackError(
                f"label {self.largest_label} is outside 0..{logits.shape[1] - 1}, the classifier's classes"
            )
        return logits if logits.dtype == torch.float64 else logits.float()


@dataclass(frozen=True, slots=True)
class _Walk:
    """One trajectory of a batch, on the device.

    outcomes: at iterates 0..k; last: float (N, C, H, W), iterate k; iterates: (k + 1, 3), the mean loss, the largest
    pixel change and the number of samples whose logits are not finite; gradients: (k, 2), the shares of zero and of
    non-finite entries.
    """

    outcomes: list[Outcome]
    last: Tensor
    iterates: Tensor
    gradients: Tensor


def _walk(batch: _Batch, start: Tensor, step_size: float, steps: int, loss: Loss) -> _Walk:
    outcomes: list[Outcome] = []
    iterates: list[Tensor] = []
    gradients: list[Tensor] = []
    current = start.detach()
    for number in range(steps + 1):
        # The last forward records a graph too, though nobody differentiates it: a library may choose another kernel
        # without one, and iterate 7 of 40 steps would not equal iterate 7 of 7 to the bit.
        point = current.detach().requires_grad_()
        logits = batch.logits(point)
        losses = loss(logits, batch.labels)
        with torch.no_grad():
            outcomes.append(outcome_of(logits, batch.labels))
            change = (current - batch.images).abs().amax()
            broken = (~logits.isfinite()).any(1).sum()
            iterates.append(torch.stack([losses.mean().float(), change.float(), broken.float()]))
        if number < steps:
            gradient = _gradient(losses.sum(), point)
            gradients.append(torch.stack([(gradient == 0).float().mean(), (~gradient.isfinite()).float().mean()]))
            # NaN counts in the trace and moves nothing (torch.sign(NaN) is 0 today, which may change).
            current = step(current, gradient.nan_to_num(), batch.lower, batch.upper, step_size)
    measured = torch.stack(gradients) if gradients else torch.zeros(0, 2, device=current.device)
    return _Walk(outcomes, current, torch.stack(iterates), measured)


def _gradient(loss: Tensor, point: Tensor) -> Tensor:
    """The gradient with respect to the image; zeros if the classifier cuts it: evidence for the trace, not a crash."""
    if not loss.requires_grad:
        return torch.zeros_like(point)
    return torch.autograd.grad(loss, point, allow_unused=True, materialize_grads=True)[0]


@dataclass(frozen=True, slots=True)
class _Merged:
    """The worst over the walks so far; `last` is the outcome of `adversarial`."""

    final: dict[int, Outcome]
    any: dict[int, Outcome]
    last: Outcome
    adversarial: Tensor


def _merge(merged: _Merged | None, walk: _Walk, reported: tuple[int, ...], labels: Tensor) -> _Merged:
    running = walk.outcomes[:1]
    for outcome in walk.outcomes[1:]:
        running.append(worse(running[-1], outcome, labels))
    final = {steps: walk.outcomes[steps] for steps in reported}
    smallest = {steps: running[steps] for steps in reported}
    last = walk.outcomes[-1]
    if merged is None:
        return _Merged(final, smallest, last, walk.last)
    take = is_worse(merged.last, last, labels)[:, None, None, None]
    return _Merged(
        final={steps: worse(merged.final[steps], final[steps], labels) for steps in reported},
        any={steps: worse(merged.any[steps], smallest[steps], labels) for steps in reported},
        last=worse(merged.last, last, labels),
        adversarial=torch.where(take, walk.last, merged.adversarial),
    )


def _trace(walks: list[tuple[Tensor, Tensor]], count: int) -> Trace:
    """Means over the walks (the largest change: the maximum), in one transfer to the host."""
    iterates = torch.stack([iterates for iterates, _ in walks])
    gradients = torch.stack([gradients for _, gradients in walks])
    columns = [
        iterates[..., 0].mean(0),
        iterates[..., 1].amax(0),
        iterates[..., 2].amax(0),
        *gradients.mean(0).unbind(1),
    ]
    numbers: list[float] = torch.cat(columns).tolist()
    length, steps = iterates.shape[1], gradients.shape[1]
    losses, changes, broken = (numbers[index * length : (index + 1) * length] for index in range(3))
    zero, non_finite = numbers[3 * length : 3 * length + steps], numbers[3 * length + steps :]
    for number, samples in enumerate(broken):
        if samples:
            raise AttackError(
                f"the classifier returned logits that are not finite (NaN or infinite) "
                f"for {int(samples)} of {count} images at iterate {number}"
            )
    return Trace(losses, zero, non_finite, changes)


def _usable_in_autograd(tensor: Tensor) -> Tensor:
    return tensor.clone() if tensor.is_inference() else tensor.detach()


def _check_checkpoints(attack: Attack, checkpoints: Sequence[int] | None) -> tuple[int, ...]:
    reported = (attack.steps,) if checkpoints is None else tuple(sorted(set(checkpoints)))
    if not reported or reported[0] < 0 or reported[-1] > attack.steps:
        raise AttackError(
            f"checkpoints {list(reported)} of {attack.name}: expected numbers of steps in 0..{attack.steps}"
        )
    return reported


def _check_inputs(images: Tensor, labels: Tensor) -> int:
    """Raise AttackError unless the batch is what `Attack.run` expects; returns the largest label. One transfer."""
    if images.ndim != 4 or len(images) == 0 or images.dtype not in (torch.float32, torch.float64):
        raise AttackError(
            f"images are {images.dtype} {tuple(images.shape)}; expected float32 (N, C, H, W) with N above 0"
        )
    if labels.shape != images.shape[:1] or labels.dtype != torch.int64:
        raise AttackError(f"labels are {labels.dtype} {tuple(labels.shape)}; expected int64 ({len(images)},)")
    ends = torch.stack(
        [*(end.double() for end in torch.aminmax(images)), *(end.double() for end in torch.aminmax(labels))]
    )
    low, high, smallest, largest = ends.tolist()
    if not (low >= 0 and high <= 1):
        raise AttackError(f"images reach {low:.6g} .. {high:.6g}; expected pixels in [0, 1]")
    if smallest < 0:
        raise AttackError(f"label {int(smallest)} is negative")
    return int(largest)
