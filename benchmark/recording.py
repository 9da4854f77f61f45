"""Measured trajectories as rows of the store."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from attacks.base import Attack
from benchmark.cells import Work
from benchmark.evaluation import Measured
from benchmark.identity import attack_name, evaluation_id, measurement
from benchmark.presets import Preset
from results import schema
from results.files import canonical_json
from results.store import RunStore
from scenarios.base import Task


class Recorder:
    """Writes evaluations of one run, and copies those of classifiers that did not change.

    Each evaluation is two parts named by its id, turn and first sample: its predictions, then its row in `evaluations`.
    The row comes last, so predictions count as measured only when both are whole.
    """

    def __init__(self, store: RunStore, preset: Preset, device: str, threads: int) -> None:
        self.store, self.preset, self.device, self.threads = store, preset, device, threads

    def _part(self, identifier: str, after_task: int, samples: tuple[int, ...]) -> str:
        return f"{identifier}.{after_task:03d}.{samples[0]:05d}"

    def identifier(self, attack: Attack, task: Task, classifier: str) -> str:
        evaluation = self.preset.file.evaluation
        return evaluation_id(
            classifier, measurement(attack, task.test_fingerprint, evaluation.seed, evaluation.precision)
        )

    def record(self, work: Work, task: Task, classifier: str, measured: Measured) -> None:
        """Store every attack of the trajectory; its cost is counted at the longest one."""
        evaluation = self.preset.file.evaluation
        for attack in work.run.members:
            identifier = self.identifier(attack, task, classifier)
            name = attack_name(attack, evaluation.seed)
            outcomes = {name: measured.final[attack.steps]}
            if attack.iterative:
                outcomes[name + schema.ANY] = measured.any[attack.steps]
            tables = []
            for shown, outcome in outcomes.items():
                tables.append(
                    _predictions(work, shown, identifier, measured, outcome.predicted.numpy(), outcome.margin.numpy())
                )
            longest = attack is work.run.attack
            specification = attack.specification()
            row: dict[str, Any] = {
                "after_task": work.after_task,
                "task": work.task,
                "attack": name,
                "evaluation_id": identifier,
                "kind": attack.kind,
                "norm": attack.threat_model.norm,
                "eps": str(attack.threat_model.eps),
                "steps": attack.steps,
                "step_size": specification.get("step_size"),
                "restarts": specification.get("restarts"),
                "loss": specification.get("loss"),
                "specification": canonical_json(specification),
                "attack_version": attack.version,
                "classifier": classifier,
                "task_fingerprint": task.test_fingerprint,
                "seed": evaluation.seed,
                "precision": evaluation.precision,
                "device": self.device,
                "threads": self.threads,
                "batch_size": evaluation.batch_size,
                "samples": len(measured.samples),
                "trajectory": attack_name(work.run.attack, evaluation.seed),
                "reused": False,
                "seconds": measured.seconds if longest else 0.0,
                "gradient_evaluations": measured.gradient_evaluations if longest else 0,
                "forward_passes": measured.forward_passes if longest else 0,
                "largest_change": measured.largest_change,
                "unchanged": measured.unchanged,
                "trace": measured.trace,
            }
            part = self._part(identifier, work.after_task, work.samples)
            self.store.write_part("predictions", part, pa.concat_tables(tables))
            self.store.write_part("evaluations", part, [row])

    def reuse(self, work: Work, task: Task, classifier: str) -> Work | None:
        """Copy what is stored of the same classifier, task and attack from another turn; return the work that is left."""
        left = []
        for attack in work.run.members:
            identifier = self.identifier(attack, task, classifier)
            source = self._same(identifier, work)
            if source is None:
                left.append(attack)
                continue
            part = self._part(identifier, work.after_task, work.samples)
            for table in ("predictions", "evaluations"):
                self.store.write_part(table, part, self._copied(table, source, work))
        if not left:
            return None
        longest = max(left, key=lambda attack: attack.steps)
        return Work(work.after_task, work.task, type(work.run)(longest, tuple(left)), work.samples)

    def _same(self, identifier: str, work: Work) -> str | None:
        """The name of a stored part of this evaluation with exactly these samples, from any other turn."""
        for path in sorted(
            (self.store.directory / "evaluations").glob(f"{identifier}.*.{work.samples[0]:05d}.parquet")
        ):
            predictions = self.store.directory / "predictions" / path.name
            if predictions.exists() and _samples(predictions) == set(work.samples):
                return path.stem
        return None

    def _copied(self, table: str, source: str, work: Work) -> pa.Table:
        rows = pq.read_table(self.store.directory / table / f"{source}.parquet", partitioning=None)
        turn = pa.array(np.full(len(rows), work.after_task), type=pa.int16())
        rows = rows.set_column(rows.column_names.index("after_task"), "after_task", turn)
        if table == "evaluations":
            free = {"reused": True, "seconds": 0.0, "gradient_evaluations": 0, "forward_passes": 0}
            for column, value in free.items():
                field = schema.EVALUATIONS.field(column)
                values = pa.array([value] * len(rows), type=field.type)
                rows = rows.set_column(rows.column_names.index(column), field, values)
        return rows


def _samples(path: Path) -> set[int]:
    return set(pq.read_table(path, columns=["sample"], partitioning=None)["sample"].to_pylist())


def _predictions(
    work: Work, name: str, identifier: str, measured: Measured, predicted: np.ndarray, margin: np.ndarray
) -> pa.Table:
    count = len(predicted)
    return pa.table(
        {
            "after_task": pa.array(np.full(count, work.after_task), pa.int16()),
            "task": pa.array(np.full(count, work.task), pa.int16()),
            "sample": pa.array(measured.samples.numpy(), pa.int32()),
            "attack": pa.DictionaryArray.from_arrays(pa.array(np.zeros(count), pa.int32()), [name]),
            "label": pa.array(measured.labels.numpy(), pa.int16()),
            "predicted": pa.array(predicted, pa.int16()),
            "margin": pa.array(margin, pa.float32()),
            "evaluation_id": pa.DictionaryArray.from_arrays(pa.array(np.zeros(count), pa.int32()), [identifier]),
        },
        schema=schema.PREDICTIONS,
    )
