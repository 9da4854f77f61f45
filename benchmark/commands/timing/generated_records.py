"""Made-up records of any size, to time reports on. Their layout is the real one; the networks never existed."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from attacks.base import Attack
from benchmark.evaluating.fingerprints import attack_name
from benchmark.planning.presets import Preset
from results import schema
from results.files import canonical_json, digest
from results.records import identity_hash, row_hash
from results.store import RunStore

CLASSES, SAMPLES = 5, 500
"""Classes and test images of a task, as of a superclass of CIFAR-100."""
FORGOTTEN = 0.04
"""Margin that a forgetting method loses with every later task."""


@dataclass(frozen=True)
class Size:
    """The size of made-up records.

    methods: number of rows; each is attacked with all attacks of the preset except transfers.
    seeds: number of seeds per row.
    tasks: number of tasks per run.
    """

    methods: int = 12
    seeds: int = 3
    tasks: int = 20


def generate(root: Path, preset: Preset, size: Size) -> int:
    """Write a run for every row and seed under `root`. Returns the number of predictions."""
    labels = [row.label for row in preset.rows][: size.methods]
    labels += [f"method_{k:02d}" for k in range(len(labels), size.methods)]
    return sum(
        _Made(root, preset, label, seed, k, size).write()
        for k, label in enumerate(labels)
        for seed in range(size.seeds)
    )


class _Made:
    """A made-up run. Earlier methods have larger margins; every second method forgets."""

    def __init__(self, root: Path, preset: Preset, label: str, seed: int, place: int, size: Size) -> None:
        self.preset, self.label, self.seed, self.size = preset, label, seed, size
        self.tasks = size.tasks
        self.identity = self._identity()
        self.store = RunStore(root, self.identity["hash"])
        self.quality, self.forgets = 1.6 - 0.06 * place, FORGOTTEN * (place % 2)
        # The control falls, or no row would be ranked.
        self.exposed = 3.0 if "standard" in label else 1.0
        self.attacks = {attack_name(each.attack, 0): each.attack for each in preset.final}
        self.matrix = [attack_name(each.attack, 0) for each in preset.matrix]

    def write(self) -> int:
        self._write_config()
        self.store.write_tasks(
            {
                "task": j, "name": f"task_{j:02d}", "classes": [str(c) for c in range(CLASSES)], "train": 2000,
                "validation": 500, "test": SAMPLES, "chance": 1 / CLASSES, "fingerprint": f"f{j}", "test_fingerprint": f"t{j}",
            }
            for j in range(self.tasks)
        )  # fmt: skip
        tables, rows = [], []
        for j in range(self.tasks):
            rng = np.random.default_rng([self.seed, j, *self.label.encode()])
            base = self.quality - np.random.default_rng([j]).normal(0, 0.8, SAMPLES) - rng.normal(0, 0.6, SAMPLES)
            for i in range(j, self.tasks):
                for name in self.matrix if i < self.tasks - 1 else self.attacks:
                    tables += self._predictions(name, i, j, base)
                    rows.append(self._evaluation(name, i, j))
        predictions = pa.concat_tables(tables)
        self.store.write_part("predictions", "all", predictions)
        self.store.write_part("evaluations", "all", rows)
        self.store.write_part("facts", "costs", self._facts())
        return len(predictions)

    def _identity(self) -> dict[str, Any]:
        fields = {
            "schema": schema.VERSION, "method": self.label, "seed": self.seed, "eps": str(self.preset.eps),
            "scenario": {"name": self.preset.scenario_plugin.name, "fingerprint": f"generated {self.tasks}"},
            "backbone": self.preset.file.backbone.model_dump(), "settings": {}, "recipe": {},
        }  # fmt: skip
        return {**fields, "label": self.label, "row": row_hash(fields), "hash": identity_hash(fields)}

    def _write_config(self) -> None:
        self.store.write_config(self.identity, {"device": "none", "versions": {}})
        protocol: dict[str, Any] = {
            "label": self.label,
            "eps": str(self.preset.eps),
            "ranking_eps": str(self.preset.eps),
        }
        protocol |= {"matrix": self.matrix, "final": list(self.attacks), "samples": {}, "tasks": self.tasks}
        protocol["versions"] = {name: attack.version for name, attack in self.attacks.items()}
        self.store.demand(self.preset.name, {**protocol, "row_of_preset": True, "command": "generated"})

    def _outcomes(self, name: str) -> list[tuple[str, float]]:
        """The outcomes of an attack: (name, how far it lowers margins) each."""
        attack = self.attacks[name]
        power = self.exposed * float(attack.threat_model.eps / self.preset.eps) * _strength(attack)
        return [(name, power), (name + schema.ANY, power + 0.02)] if attack.iterative else [(name, power)]

    def _predictions(self, name: str, i: int, j: int, base: np.ndarray) -> list[pa.Table]:
        labels = np.arange(SAMPLES) % CLASSES
        found = []
        for shown, power in self._outcomes(name):
            margin = base - self.forgets * (i - j) - power
            columns = {
                "after_task": np.full(SAMPLES, i),
                "task": np.full(SAMPLES, j),
                "sample": SAMPLES * j + np.arange(SAMPLES),
            }
            columns |= {
                "label": labels,
                "predicted": np.where(margin > 0, labels, (labels + 1) % CLASSES),
                "margin": margin,
            }
            same = pa.array(np.zeros(SAMPLES, np.int32))
            texts = {"attack": shown, "evaluation_id": self._id(name, i, j)}
            columns |= {key: pa.DictionaryArray.from_arrays(same, [text]) for key, text in texts.items()}
            found.append(pa.table(columns).select(schema.PREDICTIONS.names).cast(schema.PREDICTIONS))
        return found

    def _id(self, name: str, i: int, j: int) -> str:
        return digest([self.store.hash, name, i, j])

    def _evaluation(self, name: str, i: int, j: int) -> dict[str, Any]:
        attack = self.attacks[name]
        specification = attack.specification()
        steps = attack.steps
        trace = {
            "loss": [0.5 + 0.5 * (1 - 0.9**k) for k in range(steps + 1)],
            "zero_gradients": [0.0] * steps,
            "non_finite": [0.0] * steps,
        }
        return {
            "after_task": i, "task": j, "attack": name, "evaluation_id": self._id(name, i, j), "kind": attack.kind,
            "norm": attack.threat_model.norm, "eps": str(attack.threat_model.eps), "steps": steps,
            "step_size": specification.get("step_size"), "restarts": specification.get("restarts"),
            "loss": specification.get("loss"), "specification": canonical_json(specification),
            "attack_version": attack.version, "classifier": f"{i}", "task_fingerprint": f"t{j}", "seed": 0,
            "precision": "fp32", "device": "none", "threads": 1, "batch_size": SAMPLES, "samples": SAMPLES,
            "trajectory": name, "reused": False, "seconds": 1.0, "gradient_evaluations": steps * SAMPLES,
            "forward_passes": (steps + 1) * SAMPLES, "largest_change": float(attack.threat_model.eps), "unchanged": True,
            "trace": canonical_json(trace) if attack.iterative and attack.kind == "pgd" else None,
        }  # fmt: skip

    def _facts(self) -> Sequence[dict[str, Any]]:
        costs = {
            "parameters": 15e6,
            "stored_mb": 60.0 + 7 * len(self.label),
            "train_seconds": 1000.0 * (1 + len(self.label)),
        }
        return [{"task": -1, "phase": schema.COSTS, "name": name, "value": value} for name, value in costs.items()]


def _strength(attack: Attack) -> float:
    """The amount by which an attack lowers margins at the preset's eps. More steps lower them further, up to a limit."""
    return 0.0 if attack.steps == 0 else 1.1 - 0.5 / math.sqrt(attack.steps + 5)
