"""From variants to cells, and from stored outcomes to the rows that reports are made of."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from attacks.threat_model import over_255
from benchmark.commands.audit.cells import CLEAN, AuditCell, AuditLane, Measurements, lanes_of, turn_of
from benchmark.commands.audit.geometry import box_effects
from benchmark.commands.audit.protocol import ALL, AuditProtocol, singles_in
from benchmark.commands.audit.variants import Variant
from benchmark.planning.jobs import Job
from benchmark.planning.presets import Preset
from reports.audit.audited_row import CANONICAL, AuditedRow
from reports.audit.files import AuditReport
from reports.audit.small_tables import Predicted
from scenarios.base import Task

BLACK_BOX_STEPS = 40


@dataclass(frozen=True)
class Findings:
    """The variants of an audit and what is measured of them. undefended: by seed the run that black-box images are made on."""

    preset: Preset
    tasks: Sequence[Task]
    variants: Sequence[Variant]
    undefended: Mapping[int, Job]

    def cells(self) -> list[AuditCell]:
        """Everything that is measured, each once; known before anything is learned."""
        found: dict[str, AuditCell] = {}
        for variant in self.variants:
            for seed in variant.jobs:
                for task in self.tasks:
                    groups = [self._reported(variant, seed, task), self._same_network(variant, seed, task)]
                    for cell in [*groups[0], *groups[1], self._clean(variant, seed, task)]:
                        found.setdefault(cell.key, cell)
        found |= {cell.key: cell for cells in self._black_box().values() for cell in cells}
        return list(found.values())

    def report(self, measurements: Measurements, tables: Sequence[str]) -> AuditReport:
        """Raises StoreError where something was not measured."""
        rows = [self._row(variant, measurements) for variant in self.variants]
        black_box = {
            seed: [measurements.reading(cell).correct for cell in cells] for seed, cells in self._black_box().items()
        }
        return AuditReport(
            board=self.preset.name,
            eps=over_255(self.preset.eps),
            rows=rows,
            tasks=[task.name for task in self.tasks],
            chance=float(np.mean([task.chance for task in self.tasks])),
            black_box=black_box or None,
            predicted={
                f"{variant.method}, {variant.name}": self._predicted(variant, measurements)
                for variant in self.variants
                if variant.name in (CANONICAL, ALL)
            },
            geometry=box_effects(self.tasks, self.preset.eps),
            tables=tuple(tables),
        )

    # -- what a number is read from -----------------------------------------------------------------------------------------

    def _cell(self, variant: Variant, protocol: AuditProtocol, seed: int, task: Task, lane: AuditLane) -> AuditCell:
        return AuditCell(variant.jobs[seed], turn_of(protocol, task.id, len(self.tasks)), task.id, lane)

    def _counted(self, variant: Variant, protocol: AuditProtocol, seed: int, task: Task) -> list[AuditCell]:
        """The cells of which every one must be right: under the suite the clean image is one of them."""
        steps = self._recipe_steps(variant.jobs[seed])
        lanes = lanes_of(protocol, steps, self.preset.eps, len(task.classes))
        if protocol.eval_attack == "suite":
            lanes = [AuditLane(CLEAN, bn_mode=protocol.eval_bn), *lanes]
        return [self._cell(variant, protocol, seed, task, lane) for lane in lanes]

    @staticmethod
    def _recipe_steps(job: Job) -> int:
        return job.recipe.attack.steps

    def _reported(self, variant: Variant, seed: int, task: Task) -> list[AuditCell]:
        return self._counted(variant, variant.protocol, seed, task)

    def _same_network(self, variant: Variant, seed: int, task: Task) -> list[AuditCell]:
        canonical = next(
            other.protocol for other in self.variants if (other.method, other.name) == (variant.method, CANONICAL)
        )
        # Independent networks are each there until the end.
        protocol = canonical.turned({"sequence": variant.protocol.sequence})
        return self._counted(variant, protocol, seed, task)

    def _clean(self, variant: Variant, seed: int, task: Task) -> AuditCell:
        return self._cell(variant, variant.protocol, seed, task, AuditLane(CLEAN, bn_mode=variant.protocol.eval_bn))

    def _black_box(self) -> dict[int, list[AuditCell]]:
        """Per seed and task: images made on the undefended network, shown to the canonical one."""
        found: dict[int, list[AuditCell]] = {}
        for variant in self.variants:
            if (variant.method, variant.name) != ("madry_at", CANONICAL):
                continue
            for seed, source in self.undefended.items():
                [lane, *_] = lanes_of(
                    variant.protocol.turned({"eval_attack": "training attack"}), BLACK_BOX_STEPS, self.preset.eps, 2
                )
                lane = AuditLane("ce", "final", BLACK_BOX_STEPS, lane.geometry, source=source)
                found[seed] = [self._cell(variant, variant.protocol, seed, task, lane) for task in self.tasks]
        return found

    # -- rows -----------------------------------------------------------------------------------------------------------------

    def _row(self, variant: Variant, measurements: Measurements) -> AuditedRow:
        def outcomes(cells: Callable[[Variant, int, Task], Iterable[AuditCell]]) -> dict[int, list[np.ndarray]]:
            return {
                seed: [
                    np.logical_and.reduce([measurements.reading(cell).correct for cell in cells(variant, seed, task)])
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

    def _predicted(self, variant: Variant, measurements: Measurements) -> list[Predicted]:
        """Of the first seed: per task the class that counts, a wrong one where any attack found one."""
        seed = min(variant.jobs)
        found = []
        for task in self.tasks:
            readings = [measurements.reading(cell) for cell in self._reported(variant, seed, task)]
            predicted = readings[0].predicted.copy()
            for reading in readings[1:]:
                still = predicted == reading.labels
                predicted[still] = reading.predicted[still]
            found.append(Predicted(task.name, readings[0].labels, predicted))
        return found
