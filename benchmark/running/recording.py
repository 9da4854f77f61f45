"""Recording: outcomes of attacks as rows of the store."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute
import torch

from attacks.base import Attack, Outcome
from benchmark.evaluating.attacking import Attacked, AttackOutcomes
from benchmark.evaluating.fingerprints import Snapshots, evaluation_id
from benchmark.learning.provenance import arithmetic
from benchmark.planning.cells import Cell, Work
from benchmark.planning.presets import Preset
from results import schema
from results.adversarial import AdversarialImages, path_of, read_images, write_images
from results.files import StoreError, canonical_json
from results.parts import read_parts
from results.store import RunStore
from scenarios.base import Task


class Recorder:
    """Records the evaluations of one run, and copies those of classifiers that did not change.

    Each evaluation is two parts named by its id, turn and first sample: its predictions, then its row in `evaluations`.
    The row comes last, so predictions count as stored only if both are whole.

    snapshots: of the classifiers that were attacked.
    """

    def __init__(self, store: RunStore, preset: Preset, device: str, threads: int) -> None:
        self.store, self.preset, self.device, self.threads = store, preset, device, threads
        self.snapshots = Snapshots()
        self._arithmetic = arithmetic(torch.device(device))
        self._known: dict[str, set[str]] | None = None

    def record(self, work: Work, task: Task, classifier: str, attacked: Attacked) -> None:
        """Store the outcomes of every attack that ran. classifier: its fingerprint."""
        for attack, outcomes in attacked.outcomes.items():
            identifier = self._identifier(attack, task, classifier)
            name = self.preset.attack_name(attack)
            tables = [_predictions(work, name, identifier, attacked, outcomes.final)]
            if attack.iterative:
                tables.append(_predictions(work, name + schema.ANY, identifier, attacked, outcomes.any))
            row = self._row(work, task, classifier, attacked, attack, outcomes)
            part = self._part(identifier, work.after_task, work.samples)
            self._write(part, pa.concat_tables(tables), [row])
            self._drop_what_is_said_again(part, set(work.samples))

    def _row(
        self, work: Work, task: Task, classifier: str, attacked: Attacked, attack: Attack, outcomes: AttackOutcomes
    ) -> dict[str, Any]:
        """The row of one attack in `evaluations`. The cost of attacks that ran together is counted at the one of most steps."""
        specification = attack.specification()
        costly = work.run.attack
        counted = attack == costly
        return {
            "after_task": work.after_task,
            "task": work.task,
            "attack": self.preset.attack_name(attack),
            "evaluation_id": self._identifier(attack, task, classifier),
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
            "seed": self.preset.seed_of(attack),
            "precision": self.preset.precision_of(attack),
            "device": self.device,
            "arithmetic": self._arithmetic,
            "threads": self.threads,
            "batch_size": attacked.rows,
            "samples": len(attacked.samples),
            "trajectory": self.preset.attack_name(costly),
            "reused": False,
            "seconds": attacked.seconds if counted else 0.0,
            "gradient_evaluations": attacked.gradient_evaluations if counted else 0,
            "forward_passes": attacked.forward_passes if counted else 0,
            "largest_change": outcomes.largest_change,
            "unchanged": attacked.unchanged,
            "trace": outcomes.trace,
        }

    def _part(self, identifier: str, after_task: int, samples: tuple[int, ...]) -> str:
        return f"{identifier}.{after_task:03d}.{samples[0]:05d}"

    def _write(self, part: str, predictions: pa.Table, evaluation: pa.Table | list[dict[str, Any]]) -> None:
        self._keep_others(part, predictions)
        self._put(part, predictions, evaluation)

    def _keep_others(self, part: str, predictions: pa.Table) -> None:
        """Store the rows of a part that is about to be replaced by one without them once more, in a part of their own.

        Another preset may have demanded more samples of the same evaluation, and its checkpoint may be gone.
        """
        if part not in self._parts_of(part):
            return
        if not all(self.store.has_part(table, part) for table in ("evaluations", "predictions")):
            return
        evaluation, rows = self._stored("evaluations", part), self._stored("predictions", part)
        others = _of_samples(rows, set(rows["sample"].to_pylist()) - set(predictions["sample"].to_pylist()))
        if not len(others):
            return
        samples = sorted(set(others["sample"].to_pylist()))
        named = f"{part.rpartition('.')[0]}.{samples[0]:05d}"
        self._keep_others(named, others)
        # With its cost, which was paid.
        self._put(named, others, _with(evaluation, "samples", len(samples)))

    def _put(self, part: str, predictions: pa.Table, evaluation: pa.Table | list[dict[str, Any]]) -> None:
        self.store.write_part("predictions", part, predictions)
        self.store.write_part("evaluations", part, evaluation)
        self._parts_of(part)
        assert self._known is not None
        self._known.setdefault(part.partition(".")[0], set()).add(part)

    def _stored(self, table: str, part: str) -> pa.Table:
        """The rows of a stored part, with the columns of today. Raises StoreError if it is unreadable."""
        rows, problems = read_parts([self.store.directory / table / f"{part}.parquet"], schema.TABLES[table])
        if problems:
            raise StoreError(str(problems[0]))
        return rows

    def _parts_of(self, part: str) -> list[str]:
        """Names of the parts of an evaluation that were stored, sorted; some may have been set aside since.

        part: the evaluation's id, or the name of any of its parts.
        Folders are listed once: there are thousands of parts, and whoever holds the run's lock is the only one who adds any.
        """
        if self._known is None:
            self._known = {}
            for path in (self.store.directory / "predictions").glob("*.parquet"):
                self._known.setdefault(path.stem.partition(".")[0], set()).add(path.stem)
        return sorted(self._known.get(part.partition(".")[0], ()))

    def named(self, attacked: Attacked, task: Task, classifier: str) -> dict[Attack, tuple[str, str]]:
        """The attacks that ran, each with its name in tables and the id of its evaluation. classifier: its fingerprint."""
        return {
            attack: (self.preset.attack_name(attack), self._identifier(attack, task, classifier))
            for attack in attacked.outcomes
        }

    def _identifier(self, attack: Attack, task: Task, classifier: str) -> str:
        return evaluation_id(classifier, self.preset.evaluation_fields(attack, task))

    def _drop_what_is_said_again(self, part: str, samples: set[int]) -> None:
        """Delete parts of the same evaluation and turn whose samples are all in the part that was just written."""
        same = [
            other
            for other in self._parts_of(part)
            if other != part and other.rpartition(".")[0] == part.rpartition(".")[0]
        ]
        for other in same:
            there = self.store.has_part("predictions", other)
            if there and set(self._stored("predictions", other)["sample"].to_pylist()) <= samples:
                path_of(self.store.directory, other).unlink(missing_ok=True)
                self.store.drop_part("evaluations", other)
                self.store.drop_part("predictions", other)

    def keep_images(self, work: Work, attack: Attack, task: Task, classifier: str, kept: AdversarialImages) -> None:
        """Store the adversarial images that a classifier got wrong."""
        part = self._part(self._identifier(attack, task, classifier), work.after_task, work.samples)
        notes = {
            "attack": self.preset.attack_name(attack),
            "norm": attack.threat_model.norm,
            "eps": str(attack.threat_model.eps),
            "classifier": classifier,
            "task": str(task.id),
            "after_task": str(work.after_task),
        }
        write_images(path_of(self.store.directory, part), kept, notes)

    def reuse(self, cell: Cell, task: Task, classifier: str) -> Cell | None:
        """Copy outcomes of the same classifier, task and attack from other turns.

        Returns the cell with the samples that are still missing, None if there are none.
        """
        identifier = self._identifier(cell.attack, task, classifier)
        missing = set(cell.missing)
        for other in self._parts_of(identifier):
            there = all(self.store.has_part(table, other) for table in ("evaluations", "predictions"))
            if not missing or not there or other.split(".")[1] == f"{cell.after_task:03d}":
                continue
            rows = self._stored("predictions", other)
            wanted = missing & set(rows["sample"].to_pylist())
            images = path_of(self.store.directory, other)
            if not wanted or (self.preset.evaluation.keep_images and not images.exists()):
                continue
            kept = _of_samples(rows, wanted)
            evaluation = self._stored("evaluations", other)
            part = self._part(identifier, cell.after_task, tuple(sorted(wanted)))
            if self.preset.evaluation.keep_images:
                kept_images, notes = read_images(images)
                notes["after_task"] = str(cell.after_task)
                write_images(path_of(self.store.directory, part), kept_images.among(wanted), notes)
            self._write(
                part, _at_turn(kept, cell.after_task), _for_free(_at_turn(evaluation, cell.after_task), len(wanted))
            )
            missing -= wanted
        return replace(cell, missing=tuple(sorted(missing))) if missing else None


def _of_samples(rows: pa.Table, samples: set[int]) -> pa.Table:
    return rows.filter(pa.compute.is_in(rows["sample"], pa.array(sorted(samples), rows["sample"].type)))


def _at_turn(rows: pa.Table, after_task: int) -> pa.Table:
    return _with(rows, "after_task", after_task)


def _for_free(rows: pa.Table, samples: int) -> pa.Table:
    """Rows of `evaluations` as those of copied outcomes, which cost nothing."""
    free = {"reused": True, "samples": samples, "seconds": 0.0, "gradient_evaluations": 0, "forward_passes": 0}
    for column, value in free.items():
        rows = _with(rows, column, value)
    return rows


def _with(rows: pa.Table, column: str, value: Any) -> pa.Table:
    index = rows.column_names.index(column)
    return rows.set_column(index, column, pa.array([value] * len(rows), type=rows.schema.field(column).type))


def _predictions(work: Work, name: str, identifier: str, attacked: Attacked, outcome: Outcome) -> pa.Table:
    """The rows of `predictions` that say how an attack ended. name: of the attack, with its suffix."""
    count = len(outcome.predicted)
    return pa.table(
        {
            "after_task": pa.array(np.full(count, work.after_task), pa.int16()),
            "task": pa.array(np.full(count, work.task), pa.int16()),
            "sample": pa.array(attacked.samples.numpy(), pa.int32()),
            "attack": pa.DictionaryArray.from_arrays(pa.array(np.zeros(count), pa.int32()), [name]),
            "label": pa.array(attacked.labels.numpy(), pa.int16()),
            "predicted": pa.array(outcome.predicted.numpy(), pa.int16()),
            "margin": pa.array(outcome.margin.numpy(), pa.float32()),
            "evaluation_id": pa.DictionaryArray.from_arrays(pa.array(np.zeros(count), pa.int32()), [identifier]),
        },
        schema=schema.PREDICTIONS,
    )
