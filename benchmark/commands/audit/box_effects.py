"""The changes that the thesis' space and box make to a task's images, before there is any network (A1, A2)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import torch

from benchmark.commands.audit.learning.audited_network import measured_normalisation
from benchmark.commands.audit.pgd import Geometry
from scenarios.base import Task
from scenarios.parts.augmentation import to_float


@dataclass(frozen=True)
class BoxEffect:
    """The effect of the box [0, 1] of normalised space on one task's test images, normalised by its training images.

    eps_255: eps of normalised space in pixels, in units of 1/255, mean over channels.
    raised: share of all entries that the box moves up to the mean, in [0, 1], as all shares here.
    cut: share that it moves down to mean + std.
    inside: share that it leaves as they are.
    beyond_eps: share that it moves further than eps in pixels.
    shift_255: mean distance that it moves an entry, in units of 1/255.
    movable: share that an attack with eps in normalised space can still change after the clamp.
    """

    task: str
    eps_255: float
    raised: float
    cut: float
    inside: float
    beyond_eps: float
    shift_255: float
    movable: float


def box_effect(task: Task, eps: Fraction) -> BoxEffect:
    """Clamp a task's test images to the box and compare. eps: in the units of either space."""
    images = to_float(task.test.images)
    mean, std = measured_normalisation(task.to_learn())
    shift = images.clamp(mean, mean + std) - images
    lower, upper = Geometry("normalised", "normalised", eps, eps).bounds(images, mean, std)

    def share(entries: torch.Tensor) -> float:
        return float(entries.double().mean())

    return BoxEffect(
        task=task.name,
        eps_255=float(255 * float(eps) * std.mean()),
        raised=share(shift > 0),
        cut=share(shift < 0),
        inside=share(shift == 0),
        beyond_eps=share(shift.abs() > float(eps)),
        shift_255=255 * share(shift.abs()),
        movable=share(upper > lower),
    )


def box_effects(tasks: Sequence[Task], eps: Fraction) -> list[dict[str, Any]]:
    """The effects on every task, a record each."""
    return [vars(box_effect(task, eps)) for task in tasks]
