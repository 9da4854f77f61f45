"""The comparison of an audit: the cells that its variants need, and the report that is made of their outcomes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from attacks.threat_model import over_255
from benchmark.commands.audit.attacking.cell_store import CellStore
from benchmark.commands.audit.attacking.cells import AuditAttack, AuditCell, attacks_of, clean_attack, turn_of
from benchmark.commands.audit.box_effects import box_effects
from benchmark.commands.audit.protocols import THESIS
from benchmark.commands.audit.protocols.shield import COLUMNS
from benchmark.commands.audit.switches import AuditedEvaluation, AuditProtocol
from benchmark.commands.audit.variants import Variant
from benchmark.planning.jobs import Job
from benchmark.planning.presets import Preset
from reports.audit.audited_row import CANONICAL, AuditedRow
from reports.audit.columns import COPIED, EPS_OF_COLUMN, ColumnOutcomes
from reports.audit.files import AuditReport
from reports.audit.small_tables import Predicted
from scenarios.base import Task

BLACK_BOX_STEPS = 40


@dataclass(frozen=True)
class AuditComparison:
    """The variants of an audit, which are compared with the canonical one of their row.

    evaluation: the one that is audited.
    tasks: the data of the preset.
    undefended: by seed the run that black-box images are made on; empty if there are none.
    tables: the small tables that are wanted: `f1` is of canonical rows and of bundles.
    """

    evaluation: AuditedEvaluation
    preset: Preset
    tasks: Sequence[Task]
    variants: Sequence[Variant]
    undefended: Mapping[int, Job]
    tables: Sequence[str]

    def cells(self) -> list[AuditCell]:
        """All cells, each once. They are known before anything is learned."""
        found: dict[str, AuditCell] = {}
        for variant in self.variants:
            for seed in variant.jobs:
                for task in self.tasks:
                    attacked = [*self._reported(variant, seed, task), *self._same_network(variant, seed, task)]
                    for cell in [*attacked, self._clean(variant, seed, task)]:
                        found.setdefault(cell.key, cell)
        found |= {cell.key: cell for cells in self._black_box().values() for cell in cells}
        found |= {cell.key: cell for variant in self._scored() for cell in self._whole_sets(variant)}
        found |= {cell.key: cell for variant in self._with_columns() for cell in self._column_cells(variant)}
        return list(found.values())

    def report(self, store: CellStore) -> AuditReport:
        """The report of stored outcomes. Raises StoreError if an outcome is not stored."""
        rows = [self._row(variant, store) for variant in self.variants]
        black_box = {seed: [store.outcome(cell).correct for cell in cells] for seed, cells in self._black_box().items()}
        return AuditReport(
            board=self.preset.name,
            eps=over_255(self.preset.eps),
            rows=rows,
            tasks=[task.name for task in self.tasks],
            chance=float(np.mean([task.chance(task.id) for task in self.tasks])),
            classes=[len(task.classes) for task in self.tasks],
            black_box=black_box or None,
            predicted={
                f"{variant.method}, {variant.name}": self._predicted(variant, store) for variant in self._scored()
            },
            geometry=box_effects(self.tasks, self.preset.eps) if self.evaluation is THESIS else (),
            columns=[found for variant in self._with_columns() for found in self._columns(variant, store)],
            tables=tuple(self.tables),
            of=self.evaluation.name,
        )

    # -- the cells that a number is read from ------------------------------------------------------------------------------

    def _cell(self, variant: Variant, protocol: AuditProtocol, seed: int, task: Task, attack: AuditAttack) -> AuditCell:
        """An attack on the classifier that the protocol takes of a task."""
        return AuditCell(variant.jobs[seed], turn_of(protocol, task.id, len(self.tasks)), task.id, attack)

    def _counted(self, variant: Variant, protocol: AuditProtocol, seed: int, task: Task) -> list[AuditCell]:
        """The cells in which a sample must be right to count. With the suite the clean image is one of them."""
        steps = variant.jobs[seed].recipe.attack.steps
        attacks = attacks_of(protocol, steps, self.preset.eps, len(task.classes))
        if protocol.counts_clean:
            attacks = [clean_attack(protocol), *attacks]
        return [self._cell(variant, protocol, seed, task, attack) for attack in attacks]

    def _reported(self, variant: Variant, seed: int, task: Task) -> list[AuditCell]:
        """The cells of the accuracy that the variant's own protocol reports."""
        return self._counted(variant, variant.protocol, seed, task)

    def _same_network(self, variant: Variant, seed: int, task: Task) -> list[AuditCell]:
        """The cells of the canonical evaluation of the variant's network."""
        canonical = next(
            other.protocol for other in self.variants if (other.method, other.name) == (variant.method, CANONICAL)
        )
        # Each of the independent networks is there until the end.
        protocol = canonical.turned({"sequence": variant.protocol.sequence})
        return self._counted(variant, protocol, seed, task)

    def _clean(self, variant: Variant, seed: int, task: Task) -> AuditCell:
        """The cell of the unchanged images."""
        return self._cell(variant, variant.protocol, seed, task, clean_attack(variant.protocol))

    def _unchanged(self, variant: Variant, protocol: AuditProtocol, seed: int, task: Task) -> list[AuditCell]:
        """The cell of the unchanged images under another protocol than the variant's, alone."""
        return [self._cell(variant, protocol, seed, task, clean_attack(protocol))]

    def _black_box(self) -> dict[int, list[AuditCell]]:
        """By seed the cells of each task: images made on the undefended network are shown to the canonical one."""
        found: dict[int, list[AuditCell]] = {}
        for variant in self.variants:
            if (variant.method, variant.name) != ("madry_at", CANONICAL):
                continue
            for seed, source in self.undefended.items():
                alone = variant.protocol.turned({"eval_attack": "training attack"})
                (white_box,) = attacks_of(alone, BLACK_BOX_STEPS, self.preset.eps, 2)
                attack = AuditAttack("ce", "final", BLACK_BOX_STEPS, white_box.geometry, source=source)
                found[seed] = [self._cell(variant, variant.protocol, seed, task, attack) for task in self.tasks]
        return found

    def _scored(self) -> list[Variant]:
        """The variants whose F1 is wanted: canonical ones and bundles."""
        return [v for v in self.variants if "f1" in self.tables and (v.switch is None or v.switch.bundle)]

    def _with_columns(self) -> list[Variant]:
        """The variants whose accuracy in every column of SHIELD's table is wanted: the canonical ones."""
        return [v for v in self.variants if v.switch is None and {EPS_OF_COLUMN, COPIED} & set(self.tables)]

    def _whole_sets(self, variant: Variant) -> list[AuditCell]:
        """A cell per task, of the first seed: the training attack's final iterate on all test images, as the thesis scores."""
        seed = min(variant.jobs)
        alone = variant.protocol.turned({"eval_attack": "training attack"})
        steps = variant.jobs[seed].recipe.attack.steps
        found = []
        for task in self.tasks:
            (attack,) = attacks_of(alone, steps, self.preset.eps, len(task.classes))
            found.append(replace(self._cell(variant, variant.protocol, seed, task, attack), whole=True))
        return found

    def _column_cells(self, variant: Variant) -> Iterable[AuditCell]:
        for columns in COLUMNS.values():
            for changes in columns.values():
                protocol = variant.protocol.turned(changes)
                for seed in variant.jobs:
                    for task in self.tasks:
                        yield from self._counted(variant, protocol, seed, task)
                        yield from self._unchanged(variant, protocol, seed, task)

    # -- rows -----------------------------------------------------------------------------------------------------------------

    def _outcomes(
        self, variant: Variant, store: CellStore, cells: Callable[[int, Task], Iterable[AuditCell]]
    ) -> dict[int, list[np.ndarray]]:
        """By seed and task: bool (n,), True for samples that are right in all of the cells. cells: of a seed and a task."""
        return {
            seed: [
                np.logical_and.reduce([store.outcome(cell).correct for cell in cells(seed, task)])
                for task in self.tasks
            ]
            for seed in variant.jobs
        }

    def _row(self, variant: Variant, store: CellStore) -> AuditedRow:
        switch = variant.switch
        return AuditedRow(
            method=variant.method,
            switch=variant.name,
            reported=self._outcomes(variant, store, lambda seed, task: self._reported(variant, seed, task)),
            clean=self._outcomes(variant, store, lambda seed, task: [self._clean(variant, seed, task)]),
            same_network=self._outcomes(variant, store, lambda seed, task: self._same_network(variant, seed, task)),
            bundle=switch is not None and switch.bundle,
            parts=tuple(part.name for part in self.evaluation.singles_in(switch)) if switch and switch.bundle else (),
            canonical=switch.canonical if switch else "",
            turned=switch.turned if switch else "",
            findings=switch.findings if switch else "",
            expected=switch.expected if switch else "",
        )

    def _predicted(self, variant: Variant, store: CellStore) -> list[Predicted]:
        """The predictions on whole test sets, per task."""
        outcomes = [store.outcome(cell) for cell in self._whole_sets(variant)]
        return [
            Predicted(task.name, outcome.labels, outcome.predicted)
            for task, outcome in zip(self.tasks, outcomes, strict=True)
        ]

    def _columns(self, variant: Variant, store: CellStore) -> Iterable[ColumnOutcomes]:
        """The outcomes in every column of SHIELD's table, for each way to give the columns their eps."""
        for radii, columns in COLUMNS.items():
            protocols = {column: variant.protocol.turned(changes) for column, changes in columns.items()}
            found = {
                column: self._outcomes(variant, store, partial(self._counted, variant, protocol))
                for column, protocol in protocols.items()
            }
            # Batch norm is the same in all of them.
            clean = partial(self._unchanged, variant, next(iter(protocols.values())))
            yield ColumnOutcomes(variant.method, radii, found, self._outcomes(variant, store, clean))
