"""The comparison of an audit: the cells that its variants need, and the report that is made of their outcomes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from attacks.threat_model import over_255
from benchmark.commands.audit.attacking.cell_store import CellStore
from benchmark.commands.audit.attacking.cells import AuditAttack, AuditCell, attacks_of, clean_attack, turn_of
from benchmark.commands.audit.box_effects import box_effects
from benchmark.commands.audit.switches import AuditProtocol, singles_in
from benchmark.commands.audit.variants import Variant
from benchmark.planning.jobs import Job
from benchmark.planning.presets import Preset
from reports.audit.audited_row import CANONICAL, AuditedRow
from reports.audit.files import AuditReport
from reports.audit.small_tables import Predicted
from scenarios.base import Task

BLACK_BOX_STEPS = 40


@dataclass(frozen=True)
class AuditComparison:
    """The variants of an audit, which are compared with the canonical one of their row.

    tasks: the data of the preset.
    undefended: by seed the run that black-box images are made on; empty if there are none.
    f1: True if F1 of whole test sets and of their last batches is wanted, of canonical rows and of bundles.
    """

    preset: Preset
    tasks: Sequence[Task]
    variants: Sequence[Variant]
    undefended: Mapping[int, Job]
    f1: bool = True

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
        return list(found.values())

    def report(self, store: CellStore, tables: Sequence[str]) -> AuditReport:
        """The report of stored outcomes. tables: the small tables in it. Raises StoreError if an outcome is not stored."""
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
            geometry=box_effects(self.tasks, self.preset.eps),
            tables=tuple(tables),
        )

    # -- the cells that a number is read from ------------------------------------------------------------------------------

    def _cell(self, variant: Variant, protocol: AuditProtocol, seed: int, task: Task, attack: AuditAttack) -> AuditCell:
        """An attack on the classifier that the protocol takes of a task."""
        return AuditCell(variant.jobs[seed], turn_of(protocol, task.id, len(self.tasks)), task.id, attack)

    def _counted(self, variant: Variant, protocol: AuditProtocol, seed: int, task: Task) -> list[AuditCell]:
        """The cells in which a sample must be right to count. With the suite the clean image is one of them."""
        steps = variant.jobs[seed].recipe.attack.steps
        attacks = attacks_of(protocol, steps, self.preset.eps, len(task.classes))
        if protocol.eval_attack == "suite":
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
        return [v for v in self.variants if self.f1 and (v.switch is None or v.switch.bundle)]

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

    # -- rows -----------------------------------------------------------------------------------------------------------------

    def _row(self, variant: Variant, store: CellStore) -> AuditedRow:
        def outcomes(cells: Callable[[Variant, int, Task], Iterable[AuditCell]]) -> dict[int, list[np.ndarray]]:
            """By seed and task: bool (n,), True for samples that are right in all of the cells."""
            return {
                seed: [
                    np.logical_and.reduce([store.outcome(cell).correct for cell in cells(variant, seed, task)])
                    for task in self.tasks
                ]
                for seed in variant.jobs
            }

        switch = variant.switch
        return AuditedRow(
            method=variant.method,
            switch=variant.name,
            reported=outcomes(self._reported),
            clean=outcomes(lambda v, seed, task: [self._clean(v, seed, task)]),
            same_network=outcomes(self._same_network),
            bundle=switch is not None and switch.bundle,
            parts=tuple(part.name for part in singles_in(switch)) if switch and switch.bundle else (),
            canonical=switch.canonical if switch else "",
            thesis=switch.thesis if switch else "",
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
