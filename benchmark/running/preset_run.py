"""A preset from its plan to its verdicts: the steps of the command `run`, without a console."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

from benchmark.learning.events import Event, Listener
from benchmark.planning.jobs import Job, make_jobs, tasks_of
from benchmark.planning.machine import Machine, check_writable, make_machine
from benchmark.planning.options import RunOptions
from benchmark.planning.plan import Planned, plan
from benchmark.planning.presets import Preset, load_preset
from benchmark.planning.protocols import record_demand, task_rows
from benchmark.planning.tasks import load_and_warn, warning_rows
from benchmark.running.engines.choice import run_jobs
from benchmark.running.engines.on_ray.environment import must_answer
from benchmark.running.engines.schedule import Until
from benchmark.running.failures import JobResult
from benchmark.running.progress.session import WorkSession
from benchmark.running.transfers import plan_transfers
from benchmark.running.verdict_files import write_verdicts
from reports.checks.verdicts import FAIL
from results.files import StoreError
from results.schema import DATA
from results.store import RunStore, now
from scenarios.base import Task

Watch = Callable[[Sequence[Planned]], AbstractContextManager[Listener]]
"""Called with jobs before they are executed; gives the listener that is told of their progress."""


def _silent(jobs: Sequence[Planned]) -> AbstractContextManager[Listener]:
    def ignore(event: Event) -> None:
        pass

    return nullcontext(ignore)


@dataclass(frozen=True)
class Ended:
    """The end of a preset's run.

    executed: how each executed job ended, those of transfers last; empty if nothing was left to do.
    verdicts: verdicts on the runs that were asked for, as in their `verdicts.json`, by label and seed.
    """

    executed: list[JobResult]
    verdicts: dict[tuple[str, int], dict[str, Any]]

    @property
    def failures(self) -> list[str]:
        """One line per failure."""
        return [failure for result in self.executed for failure in result.failures]

    @property
    def left(self) -> list[str]:
        """Hashes of the runs that are not complete because time ran out, each once."""
        return list(dict.fromkeys(result.job for result in self.executed if result.left))


@dataclass(frozen=True)
class PresetRun:
    """A preset with everything that is needed to plan and execute it.

    jobs: of the chosen rows and of the runs that these need; every job follows those it needs.
    force: True if stored runs are run again.
    """

    preset: Preset
    machine: Machine
    tasks: list[Task]
    jobs: list[Job]
    force: bool = False

    def set_aside(self) -> list[str]:
        """Move directories of runs that are run again or cannot be read out of the way; nothing is deleted.

        Runs that the chosen rows need are run again too, unless they are rows themselves.
        Returns a line per directory: where it is now, and why. Raises StoreError if a process is working on one.
        """
        moved = []
        for job in self.jobs:
            store = RunStore(self.machine.runs, job.hash)
            if reason := self._reason_to_leave(job, store):
                target = store.directory.parent / ".set-aside" / f"{store.directory.name}-{now().replace(':', '')}"
                store.move_away(target)
                moved.append(f"{target}: {reason}")
        return moved

    def _reason_to_leave(self, job: Job, store: RunStore) -> str | None:
        if not store.exists():
            return "run again by --force" if self.force and store.directory.exists() else None
        try:
            demands = store.read().protocols.values()
        except StoreError as error:
            return str(error)
        # A run that a row needs may be a row itself, whose evaluations nobody asked to make again.
        other_row = not job.of_preset and any(
            isinstance(demand, dict) and demand.get("row_of_preset", True) for demand in demands
        )
        return "run again by --force" if self.force and not other_row else None

    def plan(self) -> list[Planned]:
        """Plan the jobs: what is stored of each, and what is missing."""
        return plan(self.jobs, self.machine, self.tasks, use_published=not self.force)

    def plan_transfers(self) -> list[Planned]:
        """Plan the transfers that can be made from what is stored, and are not."""
        return plan_transfers(self.jobs, self.machine, self.tasks)

    def complete(self, planned: Sequence[Planned], watch: Watch = _silent, until: Until | None = None) -> Ended:
        """Execute what is missing, then the transfers, and write the verdicts. Failures are stored and returned.

        until: the end of the time that there is; None for as much as it takes.
        """
        self._demand_again([item for item in planned if item.complete])
        with WorkSession(self.preset.name, self.machine) as session:
            executed = self._execute([item for item in planned if not item.complete], watch, session, until)
            executed += self._execute(self.plan_transfers(), watch, session, until)
        found = write_verdicts(self.machine.runs, self.machine.published, self.preset.name)
        asked = [job for job in self.jobs if job.of_preset and job.hash in found]
        return Ended(executed, {(job.label, job.seed): found[job.hash][1] for job in asked})

    def _execute(
        self, planned: Sequence[Planned], watch: Watch, session: WorkSession, until: Until | None
    ) -> list[JobResult]:
        if not planned:
            return []
        session.add(planned)
        with watch(planned) as shown:

            def listen(event: Event) -> None:
                session(event)
                shown(event)

            return run_jobs(planned, self.machine, self.tasks, listen, until)

    def _demand_again(self, complete: Sequence[Planned]) -> None:
        """Note the demands on complete runs: the preset may know them by another label, or for the first time."""
        for item in complete:
            learned = tasks_of(item.job, self.tasks, self.machine)
            record_demand(item.job, self.machine, learned, published=item.published)
            if not item.published:
                # Nothing else of a complete run is needed to repair these.
                store = RunStore(self.machine.runs, item.job.hash)
                store.write_tasks(task_rows(learned))
                if (warned := warning_rows(learned)) and not store.has_part("facts", DATA):
                    store.write_part("facts", DATA, warned)
                store.clear_failures()
                store.tidy()


def prepare(options: RunOptions, load: Callable[[Preset, Machine], list[Task]] = load_and_warn) -> PresetRun:
    """Read a preset, load its tasks and make the jobs of the rows that the options choose. Nothing is executed.

    load: loads the tasks.
    Raises ConfigError, DataError and MethodError.
    """
    preset = load_preset(
        options.preset, options.overrides, options.seeds, options.methods, options.pretrain, options.checks
    )
    rows = preset.choose(options.methods)
    machine = make_machine(options, preset)
    if not options.dry_run:
        check_writable(machine.runs)
        if machine.ray and machine.ray.address not in (None, "auto"):
            # Before anything is set aside for a cluster that is not there.
            must_answer(machine.ray.address)
    tasks = load(preset, machine)
    return PresetRun(preset, machine, tasks, make_jobs(preset, rows, tasks, machine.source), options.force)


def failed_checks(verdicts: dict[tuple[str, int], dict[str, Any]]) -> list[str]:
    """One line per check that fails. verdicts: as in `Ended`."""
    return [
        f"{label} seed {seed}: check {check['check']}: {check['reason']}"
        for (label, seed), verdict in verdicts.items()
        for check in verdict["checks"]
        if check["status"] == FAIL
    ]
