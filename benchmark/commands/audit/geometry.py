"""What the thesis' space and box do to a task's images, before any network is there (A1, A2)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import torch

from benchmark.commands.audit.attack import Geometry
from benchmark.commands.audit.training import measured_normalisation
from scenarios.base import Task
from scenarios.parts.augmentation import to_float


@dataclass(frozen=True)
class BoxEffect:
    """Of one task's test images, normalised by its training images; shares of all entries, in [0, 1].

    eps_255: what eps in normalised space is in pixels, in units of 1/255, mean over channels. raised, cut: entries that the box
    [0, 1] of normalised space moves up to the mean or down to mean + std; inside: neither. beyond_eps: entries that the box
    alone moves further than eps in pixels; shift_255: how far it moves them on average, in units of 1/255. movable: entries
    where an attack with eps in normalised space can do anything after the clamp.
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
    """A record per task."""
    return [vars(box_effect(task, eps)) for task in tasks]
