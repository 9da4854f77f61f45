"""Stored runs made up for tests: real records, written by the real store, of networks that never existed."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from reports.boards.board import Board
from reports.boards.building import build_boards
from reports.checks.check import Check
from reports.checks.verdicts import CHECKS
from results import load, schema
from results.files import digest, read_json, write_json
from results.records import identity_hash, row_hash
from results.store import RunStore

EPS = "1/5"
POWER = {"clean": 0.0, "noise": 0.05, "fgsm": 0.7, "pgd": 1.0}


@dataclass(frozen=True)
class FakeAttack:
    """name as stored; power: how far it lowers margins; samples: how many per task it covers (None: all).

    any_power: how much further its any-iterate outcome lowers them (which attacks of one step or none do not have); rest:
    what else its specification holds; trace: instead of that of the run.
    """

    name: str
    kind: str
    power: float
    eps: str = EPS
    steps: int = 0
    step_size: str | None = None
    samples: int | None = None
    norm: str = "linf"
    restarts: int = 1
    loss: str = "ce"
    any_power: float | None = 0.02
    rest: Mapping[str, Any] = field(default_factory=dict)
    trace: Mapping[str, Any] | None = None
    version: int = 1

    @property
    def outcomes(self) -> list[tuple[str, float]]:
        """(name of the outcome, how far it lowers margins beyond `power`)"""
        if self.steps <= 1 or self.any_power is None:
            return [(self.name, 0.0)]
        return [(self.name, 0.0), (f"{self.name} any", self.any_power)]

    @property
    def specification(self) -> dict[str, Any]:
        fields = {"attack": self.kind, "version": self.version, "norm": self.norm, "eps": self.eps, "steps": self.steps}
        return fields | {"step_size": self.step_size, "restarts": self.restarts, "loss": self.loss} | dict(self.rest)


def clean() -> FakeAttack:
    return FakeAttack("clean", "clean", 0.0, eps="0")


def noise(eps: str = EPS) -> FakeAttack:
    return FakeAttack(f"noise linf {over_255(eps)}", "noise", 0.05, eps)


def fgsm(eps: str = EPS) -> FakeAttack:
    return FakeAttack(f"fgsm linf {over_255(eps)}", "fgsm", 0.7, eps)


def pgd(
    steps: int,
    eps: str = EPS,
    power: float | None = None,
    samples: int | None = None,
    size: str = "1/4",
    norm: str = "linf",
    restarts: int = 1,
    **more: Any,
) -> FakeAttack:
    """size: the step size in units of eps; more: other fields of `FakeAttack`."""
    step = str(Fraction(eps) * Fraction(size))
    name = f"pgd-{steps} {norm} {over_255(eps)} a={over_255(step)}" + (f" r={restarts}" if restarts > 1 else "")
    strength = 1.1 - 0.5 / (steps + 5) if power is None else power
    return FakeAttack(name, "pgd", strength, eps, steps, step, samples, norm, restarts, **more)


def other_sizes() -> list[FakeAttack]:
    """PGD at two other step sizes, weaker than the usual one."""
    return [pgd(10, size="1/8", power=0.9), pgd(10, size="1/2", power=0.9)]


def square(power: float = 0.6, eps: str = EPS) -> FakeAttack:
    return FakeAttack(f"square linf {over_255(eps)}", "square", power, eps, any_power=None)


def inside(power: float = 0.6, eps: str = EPS) -> FakeAttack:
    return FakeAttack(f"inside-6 linf {over_255(eps)}", "inside", power, eps, 6, any_power=None)


def distilled(power: float = 0.6, eps: str = EPS) -> FakeAttack:
    return FakeAttack(f"distilled-8 linf {over_255(eps)}", "distilled", power, eps, any_power=None)


def float32(power: float = 0.6) -> FakeAttack:
    made_with = pgd(40)
    rest = {"made_with": made_with.specification}
    return FakeAttack(f"float32 {made_with.name}", "float32", power, any_power=None, rest=rest)


def transfer(source: str, power: float = 0.3, samples: int | None = None) -> FakeAttack:
    made_with = pgd(40)
    rest = {"source": source, "origin": "0" * 8, "made_with": made_with.specification}
    return FakeAttack(f"transfer from={source} {made_with.name}", "transfer", power, samples=samples, rest=rest)


def autoattack(standing: Mapping[str, int], power: float = 1.2) -> FakeAttack:
    """standing: what each part leaves, of every task."""
    trace = {"loss": [], "standing": dict(standing)}
    name = f"autoattack linf {over_255(EPS)}"
    return FakeAttack(name, "autoattack", power, steps=100, any_power=None, trace=trace, version=2)


def zero() -> FakeAttack:
    """The attack that may change nothing, of the checks."""
    return FakeAttack("pgd-1 linf 0/255 a=0/255", "pgd", 0.0, "0", 1, "0", any_power=None)


def unbounded(power: float = 9.0) -> FakeAttack:
    """The attack that may change everything, of the checks."""
    return FakeAttack("pgd-20 linf 255/255 a=63.75/255", "pgd", power, "1", 20, "1/4")


def rescaled(scale: str = "100", power: float = 1.0, eps: str = EPS) -> FakeAttack:
    name = f"rescaled-10 linf {over_255(eps)} a=12.75/255 scale={float(Fraction(scale)):g}"
    return FakeAttack(name, "rescaled", power, eps, 10, str(Fraction(eps) / 4), rest={"scale": scale})


def probe_facts(
    tasks: int, repeat: float | None = 0.0, batch: float | None = 2e-7, flips: Sequence[int] = ()
) -> list[dict[str, Any]]:
    """The answers of the last task's classifier when it is asked twice and in other batches; the others answer well."""
    facts = []
    for task in range(tasks):
        last = task == tasks - 1
        for name, value, usual in (("repeat_difference", repeat, 0.0), ("batch_difference", batch, 2e-7)):
            text = json.dumps({"images": 32, "flips": list(flips) if last else []})
            facts.append(
                {"task": task, "phase": "probes", "name": name, "value": value if last else usual, "text": text}
            )
    return facts


def gradient_facts(
    tasks: int, error: float | None = 0.03, nearby: float | None = 0.0, **said: Any
) -> list[dict[str, Any]]:
    """The gradient of the last task's classifier compared with its answers; those of the others are true.

    said: what the text says instead of the usual.
    """
    usual = {"images": 16, "moved": 16, "wrong": [], "flat": False, "random": False, "arithmetic": "float64"}
    facts = []
    for task in range(tasks):
        last = task == tasks - 1
        text = json.dumps(usual | (said if last else {}))
        values = (("gradient_error", error, 0.03, text), ("gradient_error_nearby", nearby, 0.0, None))
        facts += [
            {"task": task, "phase": "gradients", "name": name, "value": value if last else true, "text": each}
            for name, value, true, each in values
        ]
    return facts


def over_255(value: str) -> str:
    scaled = Fraction(value) * 255
    return f"{scaled.numerator if scaled.denominator == 1 else float(scaled):.6g}/255"


@dataclass
class FakeRun:
    """A run to make up. quality: mean margin; forgets: margin lost per later task; learned: tasks done so far.

    samples, classes: of every task, or of each; uneven: True for classes of unequal size.
    """

    method: str = "naive"
    label: str | None = None
    seed: int = 0
    preset: str = "digits"
    tasks: int = 3
    samples: int | Sequence[int] = 40
    classes: int | Sequence[int] = 2
    uneven: bool = False
    quality: float = 1.6
    forgets: float = 0.1
    learned: int | None = None
    all_at_once: bool = False
    settings: dict[str, Any] = field(default_factory=dict)
    identity: dict[str, Any] = field(default_factory=dict)
    eps: str = EPS
    matrix: Sequence[FakeAttack] = field(default_factory=lambda: [clean(), pgd(10)])
    final: Sequence[FakeAttack] = field(default_factory=lambda: [noise(), fgsm(), pgd(40), *other_sizes()])
    transfers: Sequence[FakeAttack] = ()
    checks: Sequence[FakeAttack] = ()
    demands: dict[str, int] | None = None
    row_of_preset: bool = True
    demanded_at: str = "2026-01-01T00:00:00+00:00"
    costs: dict[str, float] = field(
        default_factory=lambda: {"train_seconds": 12.5, "stored_mb": 1.25, "parameters": 1e5}
    )
    facts: Sequence[dict[str, Any]] = ()
    claims: Sequence[str] | None = None
    protocol: dict[str, Any] = field(default_factory=dict)
    training: Sequence[dict[str, Any]] = ()
    backbone: str | None = None
    task_name: str = "pair_{}"
    failure: dict[str, Any] | None = None
    trace: dict[str, list[float]] | None = None
    edit_evaluation: Callable[[dict[str, Any]], None] | None = None
    edit_margin: Callable[[str, int, int, np.ndarray], np.ndarray] | None = None

    @property
    def name(self) -> str:
        return self.label or self.method

    def samples_of(self, task: int) -> int:
        return self.samples if isinstance(self.samples, int) else self.samples[task]

    def classes_of(self, task: int) -> int:
        return self.classes if isinstance(self.classes, int) else self.classes[task]

    def labels_of(self, task: int) -> np.ndarray:
        """Every class in turn; if uneven, class 0 comes most often, and the last one least often."""
        turn = np.arange(self.samples_of(task)) % self.classes_of(task)
        if not self.uneven:
            return turn
        return np.random.default_rng([13, task]).permutation(np.minimum(turn, turn[::-1]))


def write_run(root: Path, fake: FakeRun, *, by_cell: bool = False) -> RunStore:
    """Write the records of one made-up run under `root`, through the store.

    by_cell: a part per cell, as a run that goes on writes them; else one part for all, which is made and read in less time.
    """
    made_up = {"settings": fake.settings, "eps": fake.eps}
    identity: dict[str, Any] = {"schema": 1, "method": fake.method, "seed": fake.seed, "made_up": made_up}
    identity |= {"scenario": {"name": "digits", "fingerprint": f"{fake.tasks}x{fake.samples}"}}
    identity |= {"backbone": {"name": fake.backbone, "width": 1.0}} if fake.backbone else {}
    identity = with_hashes({**identity, **fake.identity, "label": fake.name})
    store = RunStore(root, identity["hash"])
    store.write_config(identity, {"device": "cpu"})
    demand(store, fake)
    store.write_tasks(_tasks(fake))
    cells = dict(sorted((_cell(fake, attack, i, j) for i, j, attack in _cells(fake)), key=lambda cell: cell[0]))
    if by_cell:
        for name, (predictions, evaluation) in cells.items():
            store.write_part("predictions", name, predictions.cast(schema.PREDICTIONS))
            store.write_part("evaluations", name, [evaluation])
    elif cells:
        predictions = pa.concat_tables([predictions for predictions, _ in cells.values()])
        store.write_part("predictions", "all", predictions.cast(schema.PREDICTIONS))
        store.write_part("evaluations", "all", [evaluation for _, evaluation in cells.values()])
    costs = [{"task": -1, "phase": "cost", "name": name, "value": value} for name, value in fake.costs.items()]
    store.write_part("facts", "costs", [*costs, *fake.facts])
    if fake.training:
        store.write_part("training", "task-000", fake.training)
    if fake.failure:
        store.fail(**fake.failure)
    return store


def with_hashes(identity: dict[str, Any]) -> dict[str, Any]:
    """An identity with the hashes of its fields: that of a run which was not changed after it was stored."""
    return {**identity, "row": row_hash(identity), "hash": identity_hash(identity)}


def board_of(folder: Path, *fakes: FakeRun, checks: Sequence[Check] = ()) -> Board:
    """Write made-up runs of one preset into the folder and build their board, which no check judges by default."""
    for fake in fakes:
        write_run(folder, fake)
    (board,) = build_boards(load(folder, None), checks)
    return board


def judged_board_of(folder: Path, *fakes: FakeRun) -> Board:
    """As `board_of`, judged by all checks."""
    return board_of(folder, *fakes, checks=CHECKS)


def demand(store: RunStore, fake: FakeRun) -> None:
    """Note the demand with the made-up time instead of the present one."""
    protocol = {"eps": fake.eps, "ranking_eps": fake.eps, "tasks": fake.tasks, "row_of_preset": fake.row_of_preset}
    covered = {a.name: a.samples for a in (*fake.final, *fake.transfers) if a.samples is not None}
    protocol |= {"samples": covered if fake.demands is None else fake.demands}
    protocol |= {"matrix": [a.name for a in fake.matrix], "final": [a.name for a in fake.final], "command": "run"}
    protocol |= {"transfers": [a.name for a in fake.transfers]} if fake.transfers else {}
    protocol |= {"checks": [a.name for a in fake.checks]} if fake.checks else {}
    protocol |= {"versions": {a.name: a.version for a in (*fake.matrix, *fake.final, *fake.transfers)}}
    # Older records do not say what a method claims.
    protocol |= {} if fake.claims is None else {"claims": list(fake.claims)}
    store.demand(fake.preset, {"label": fake.name, **protocol, **fake.protocol})
    config = read_json(store.directory / "config.json")
    config["protocols"][fake.preset]["demanded_at"] = fake.demanded_at
    write_json(store.directory / "config.json", config)


def _tasks(fake: FakeRun) -> list[dict[str, Any]]:
    return [
        {
            "task": j, "name": fake.task_name.format(j), "classes": [str(c) for c in range(fake.classes_of(j))],
            "fingerprint": f"f{j}", "train": 100, "validation": 25, "test": fake.samples_of(j),
            "chance": 1 / fake.classes_of(j),
        }
        for j in range(fake.tasks)
    ]  # fmt: skip


def _cells(fake: FakeRun) -> list[tuple[int, int, FakeAttack]]:
    last, learned = fake.tasks - 1, fake.tasks if fake.learned is None else fake.learned
    cells = [(i, j, attack) for i in range(learned) for j in range(i + 1) for attack in fake.matrix]
    if fake.all_at_once:
        cells = [cell for cell in cells if cell[0] == last]
    if learned == fake.tasks:
        matrix = {attack.name for attack in fake.matrix}
        final = [attack for attack in (*fake.final, *fake.transfers, *fake.checks) if attack.name not in matrix]
        cells += [(last, j, attack) for j in range(fake.tasks) for attack in final]
    return cells


def _cell(fake: FakeRun, attack: FakeAttack, i: int, j: int) -> tuple[str, tuple[pa.Table, dict[str, Any]]]:
    """The name of a cell's part, its predictions and its evaluation."""
    whole, classes = fake.samples_of(j), fake.classes_of(j)
    n = min(attack.samples or whole, whole)
    difficulty = np.random.default_rng([11, j]).normal(0, 0.8, whole)[:n]
    own = np.random.default_rng([7, fake.seed, j, *fake.name.encode()]).normal(0, 0.6, whole)[:n]
    labels = fake.labels_of(j)[:n]
    margin = fake.quality - difficulty - own - fake.forgets * (i - j) - attack.power
    evaluation = f"{attack.kind}{attack.steps}-{digest(attack.name)[:6]}-{i}-{j}"
    tables = []
    for name, lowered in attack.outcomes:
        values = margin - lowered
        if fake.edit_margin is not None:
            values = fake.edit_margin(name, i, j, values)
        wrong = (labels + 1 + (np.arange(n) // classes) % max(1, classes - 1)) % classes
        columns = {"after_task": np.full(n, i), "task": np.full(n, j), "sample": np.arange(n), "attack": [name] * n}
        columns |= {"label": labels, "predicted": np.where(values > 0, labels, wrong), "margin": values}
        tables.append(pa.table({**columns, "evaluation_id": [evaluation] * n}))
    return evaluation, (pa.concat_tables(tables), _evaluation(fake, attack, i, j, n, evaluation))


def _evaluation(fake: FakeRun, attack: FakeAttack, i: int, j: int, n: int, evaluation: str) -> dict[str, Any]:
    steps = max(1, attack.steps)
    climbing = {
        "loss": [0.5 + 0.5 * (1 - 0.7**k) for k in range(steps + 1)],
        "zero_gradients": [0.01] * steps,
        "non_finite": [0.0] * steps,
    }
    trace = attack.trace or ((fake.trace or climbing) if attack.kind in ("pgd", "fgsm") else {})
    record: dict[str, Any] = {
        "after_task": i, "task": j, "attack": attack.name, "evaluation_id": evaluation, "kind": attack.kind,
        "norm": attack.norm, "eps": attack.eps, "steps": attack.steps, "step_size": attack.step_size,
        "restarts": attack.restarts, "loss": attack.loss, "specification": json.dumps(attack.specification),
        "attack_version": attack.version, "samples": n, "largest_change": float(Fraction(attack.eps)), "unchanged": True,
        "seconds": 0.1,
        "gradient_evaluations": attack.steps * n, "trace": json.dumps(trace),
    }  # fmt: skip
    if fake.edit_evaluation is not None:
        fake.edit_evaluation(record)
    return record
