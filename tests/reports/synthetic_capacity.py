"""Facts of methods that share one network's weights, made up by playing out who owns what; no network is trained."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

Shape = tuple[int, int]
Fact = dict[str, Any]
SMALL: tuple[Shape, ...] = ((8, 9), (8, 72), (16, 72), (32, 64))


def vgg16(width: float = 0.25) -> list[Shape]:
    """Rows and rest of VGG16-BN's 13 convolutions and two linear layers on 32x32 images."""
    plan = [int(c * width) for c in (64, 64, 128, 128, 256, 256, 256, 512, 512, 512, 512, 512, 512)]
    convolutions = [(rows, inputs * 9) for inputs, rows in zip([3, *plan], plan, strict=False)]
    hidden = int(4096 * width)
    return [*convolutions, (hidden, plan[-1]), (hidden, hidden)]


@dataclass
class FakeCapacity:
    """A way of handing out weights. picks: the share of earlier tasks' weights that is used, None: all, unrecorded.

    ratio: share handed back, one for all tasks or one per task; grows: by task the mu it grows to, in rows only.
    """

    tasks: int = 3
    shapes: Sequence[Shape] = SMALL
    ratio: float | Sequence[float] = 0.6
    picks: float | None = None
    grows: dict[int, float] = field(default_factory=dict)
    goal: float | None = None
    reached: Sequence[float] = ()
    seed: int = 0

    def ratio_of(self, task: int) -> float:
        return self.ratio if isinstance(self.ratio, float) else self.ratio[task]


def packnet(**fields: Any) -> FakeCapacity:
    return FakeCapacity(**fields)


def cmat(**fields: Any) -> FakeCapacity:
    return FakeCapacity(**{"picks": 0.7, "goal": 0.6, **fields})


def capacity_facts(fake: FakeCapacity) -> list[Fact]:
    """All facts that such a method records, task after task."""
    random = np.random.default_rng(fake.seed)
    owners = [np.zeros(shape, int) for shape in fake.shapes]
    facts: list[Fact] = []
    mu = 1.0
    for task in range(fake.tasks):
        if task in fake.grows:
            mu = fake.grows[task]
            rows = [int(shape[0] * mu**0.5) - len(old) for shape, old in zip(fake.shapes, owners, strict=True)]
            owners = [np.pad(old, ((0, more), (0, 0))) for more, old in zip(rows, owners, strict=True)]
        owners = [np.where(old == 0, task + 1, old) for old in owners]
        picks = [_picks(fake, random, layer, task) for layer in owners]
        facts.append(_structure(task, "train", mu, owners, picks))
        owners = [_released(layer, task, fake.ratio_of(task), random) for layer in owners]
        facts.append(_structure(task, "prune", mu, owners, picks))
        if fake.picks is not None and task > 0:
            picks = [_picks(fake, random, layer, task) for layer in owners]
            facts.append(_structure(task, "retrain", mu, owners, picks))
        facts += _decisions(fake, task)
        facts += _capacity(fake, task, mu, owners, picks)
    return facts


def proof_facts(tasks: int, attacks: int = 1, different: Sequence[tuple[int, str]] = ()) -> list[Fact]:
    """The facts of a proof by a fresh process. different: (task, "classifier" | "logits" | "predictions") that differ."""
    kinds = [(task, kind, None) for task in range(tasks) for kind in ("classifier", "logits")]
    repeated = [(task, "predictions", f"pgd-10 linf, after task {task}") for task in range(attacks)]
    return [
        {"task": task, "phase": "unforgetting", "name": f"same_{kind}", "value": float((task, kind) not in different)}
        | ({"text": text} if text else {})
        for task, kind, text in [*kinds, *repeated]
    ]


def _fact(task: int, name: str, value: float | None, text: str | None = None) -> Fact:
    return {"task": task, "phase": "method", "name": name, "value": value, "text": text}


def _picks(fake: FakeCapacity, random: np.random.Generator, owners: np.ndarray, task: int) -> np.ndarray:
    earlier = (owners > 0) & (owners <= task)
    return earlier & (random.random(owners.shape) < (1.0 if fake.picks is None else fake.picks))


def _released(owners: np.ndarray, task: int, ratio: float, random: np.random.Generator) -> np.ndarray:
    mine = np.flatnonzero(owners == task + 1)
    changed = owners.copy().ravel()
    changed[random.permutation(mine)[: round(ratio * len(mine))]] = 0
    return changed.reshape(owners.shape)


def _structure(task: int, moment: str, mu: float, owners: list[np.ndarray], picks: list[np.ndarray]) -> Fact:
    k = min(range(len(owners)), key=lambda k: owners[k].size)
    used = picks[k] | (owners[k] == task + 1)
    picture = {
        "layer": f"layers.{3 * k}.weight",
        "rows": len(owners[k]),
        "owners": bytes(owners[k].ravel().tolist()).hex(),
        "used": "".join("01"[int(value)] for value in used.ravel()),
    }
    return _fact(task, f"structure {moment}", mu, json.dumps(picture))


def _decisions(fake: FakeCapacity, task: int) -> list[Fact]:
    reached = fake.reached[task] if task < len(fake.reached) else 0.65
    ratio = _fact(task, "prune_ratio", fake.ratio_of(task))
    if fake.goal is None:
        return [ratio, *(_fact(task, f"reached_{stage}", reached) for stage in ("train", "prune", "retrain"))]
    met = float(reached >= fake.goal - 0.02)
    values = {"goal": fake.goal, "tolerance": 0.02, "reached": reached, "goal_met": met}
    return [ratio, *(_fact(task, name, value) for name, value in values.items())]


def _capacity(
    fake: FakeCapacity, task: int, mu: float, owners: list[np.ndarray], picks: list[np.ndarray]
) -> list[Fact]:
    facts, everything = [], sum(layer.size for layer in owners)
    for k, layer in enumerate(owners):
        for owner, count in enumerate(np.bincount(layer.ravel(), minlength=task + 2).tolist()):
            name = "weights_free" if owner == 0 else f"weights_of_task_{owner - 1}"
            facts.append(_fact(task, name, count, f"layers.{3 * k}.weight"))
    free, owned = (sum(int((layer == owner).sum()) for layer in owners) / everything for owner in (0, task + 1))
    facts += [_fact(task, "mu", mu), _fact(task, "shared_weights", everything)]
    facts += [_fact(task, "free_share", free), _fact(task, "owned_share", owned)]
    if fake.picks is not None and task > 0:
        earlier = [int(((layer > 0) & (layer <= task)).sum()) for layer in owners]
        for k, mask in enumerate(picks):
            facts.append(_fact(task, "picked_share", int(mask.sum()) / earlier[k], f"layers.{3 * k}.weight"))
        facts.append(_fact(task, "picked_share", sum(int(mask.sum()) for mask in picks) / sum(earlier)))
    if owned == 0:
        facts.append(_fact(task, "exhausted", 1, "no free weight was left"))
    return facts
