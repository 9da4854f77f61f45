"""One run from start to end: learn what is not learned, measure what is not measured, in the order of the stream."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch

from attacks.base import Attack
from benchmark.evaluating.determinism import repeatable
from benchmark.evaluating.fingerprints import attack_name, classifier_fingerprint
from benchmark.evaluating.probing import probe
from benchmark.evaluating.validation import validate
from benchmark.learning import unforgetting_proof as unforgetting
from benchmark.learning.context import RunContext, Spent
from benchmark.learning.events import Event, Listener
from benchmark.learning.provenance import arithmetic, peak_memory_mb, provenance
from benchmark.learning.restoring import FinishedRun, restored_state, stream_of
from benchmark.planning.cells import Cell, Stored, missing
from benchmark.planning.jobs import Job
from benchmark.planning.machine import Machine
from benchmark.planning.protocols import demand, task_rows
from benchmark.planning.stored_runs import find_run, task_checkpoints, task_key
from benchmark.running.failures import JobResult, failure_lines, record_failure
from benchmark.running.measuring import measure_cells
from benchmark.running.recording import Recorder
from methods.base import MethodError, Prerequisite
from results.checkpoints import Checkpoint, Checkpoints, stored_bytes
from results.files import StoreError
from results.schema import COSTS, PROBES
from results.store import RunStore
from scenarios.base import Task


def execute(job: Job, machine: Machine, tasks: list[Task], listen: Listener) -> JobResult:
    """Do what is missing of one run. What goes wrong is recorded in the run and returned; other runs are not concerned.

    Raises StoreError if the run's directory belongs to another process or cannot be written.
    """
    store = RunStore(machine.runs, job.hash)
    torch.set_num_threads(machine.threads)
    with store.working():
        execution = Execution(job, machine, tasks, store, listen)
        if execution.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(execution.device)
        try:
            execution.prepare()
            with repeatable():
                execution.run()
        except (StoreError, KeyboardInterrupt):
            raise
        except (Exception, SystemExit) as error:
            # A method that calls `sys.exit` fails like one that raises: it does not end the others.
            execution.fail("learn", error)
            return JobResult(job.hash, tuple(execution.failure_lines()), learned=False)
        if not execution.failures:
            store.clear_failures()
        return JobResult(job.hash, tuple(execution.failure_lines()))


class Execution:
    """The steps of one run. `turn` counts the tasks learned; methods that need all tasks have one turn, the last."""

    def __init__(self, job: Job, machine: Machine, tasks: list[Task], store: RunStore, listen: Listener) -> None:
        self.job, self.machine, self.tasks, self.store, self.listen = job, machine, tasks, store, listen
        self.failures: list[tuple[str, str]] = []
        self.device = torch.device(machine.device)
        self.checkpoints = Checkpoints(store.directory / "checkpoints")
        self.recorder = Recorder(store, job.preset, machine.device, machine.threads)
        self.method = job.new_method()
        self.all_at_once = "all_tasks" in self.method.needs
        self.turns = [len(tasks) - 1] if self.all_at_once else list(range(len(tasks)))
        self.context = RunContext(job, self.device, self.method, store, self._prerequisites(), listen)
        self.at_turn: int | None = None

    # -- before ---------------------------------------------------------------------------------------------------------

    def prepare(self) -> None:
        """Put configuration and tasks in place, and set aside what cannot be read."""
        # Whoever comes back to a run that failed wants to know of this attempt, not of that one.
        for problem in self.store.set_broken_aside():
            self.note(f"set aside {problem}")
        self.store.write_config(self.job.identity, provenance(self.machine))
        demand(self.job, self.machine, self.tasks)
        self.store.write_tasks(task_rows(self.tasks))
        for turn in self.turns:
            if task_key(turn) in self.checkpoints:
                try:
                    self.checkpoints.load(task_key(turn))
                except StoreError as error:
                    moved = self.store.set_checkpoint_aside(task_key(turn), str(error))
                    self.note(f"set aside {moved}; the task is learned again")

    def note(self, text: str) -> None:
        self.listen(Event(self.job.hash, self.job.label, self.job.seed, "note", text=text))

    def fail(self, stage: str, error: BaseException, **where: Any) -> None:
        """Record a failure of this run: in failures.jsonl with its traceback, and as one line for people."""
        turn = None if self.context.turn < 0 else self.context.turn
        self.failures.append((stage, record_failure(self.store, stage, error, **{"task": turn, **where})))

    def failure_lines(self) -> list[str]:
        return failure_lines(self.job, self.failures)

    # -- the run --------------------------------------------------------------------------------------------------------

    def run(self) -> None:
        stored = Stored(self.store.read(), self.job.preset)
        self.method.begin(stream_of(self.job, self.machine), self.context)
        there = [turn for turn in self.turns if self._state_key(turn) is not None]
        for turn in self.turns:
            cells = self._missing(stored, turn)
            if there and turn <= there[-1]:
                if not cells and turn != there[-1]:
                    continue
                if self._state_key(turn) is None:
                    self._learn_again(turn)
                    cells = self._missing(Stored(self.store.read(), self.job.preset), turn)
                else:
                    self.restore(turn)
            else:
                self.learn(turn)
                cells = self._missing(Stored(self.store.read(), self.job.preset), turn)
            self.listen(self._event("task", turn))
            self.evaluate(cells)
            self._forget_old_checkpoints(turn)
        if not self.job.learn_only and not self.store.has_part("facts", PROBES) and not self.probe():
            return
        if unforgetting.CLAIM in self.method.claimed() and not self.prove_unforgetting():
            return
        # Last, because a run without its costs is not finished.
        self.write_costs()

    def _missing(self, stored: Stored, turn: int) -> list[Cell]:
        return [] if self.job.learn_only else missing(self.job.preset, self.tasks, stored, turn, self.all_at_once)

    def _learn_again(self, turn: int) -> None:
        """Learn a turn whose checkpoint is not there though a later one is, because cells after it are demanded."""
        before = self.turns[: self.turns.index(turn)]
        if before and self._state_key(before[-1]) is None:
            raise MethodError(
                f"cells after task {turn} are demanded and its checkpoint was not kept (keep: {self.job.preset.file.keep}); "
                "run again with --force"
            )
        if before:
            self.restore(before[-1])
        self.learn(turn)

    def _state_key(self, turn: int) -> str | None:
        """The checkpoint that gives the classifiers as they were after `turn`: its own, or for a method that claims not to
        forget the latest one."""
        if task_key(turn) in self.checkpoints:
            return task_key(turn)
        if unforgetting.CLAIM in self.method.claimed():
            later = [name for name in task_checkpoints(self.checkpoints) if name > task_key(turn)]
            return later[-1] if later else None
        return None

    def learn(self, turn: int) -> None:
        context, tasks = self.context, [task.to_learn() for task in self.tasks]
        if self.all_at_once:
            context.begin_turn(-1, len(tasks), "all tasks")
            self.method.learn_all(tasks, context)
        else:
            context.begin_turn(turn, len(tasks), tasks[turn].name)
            self.method.learn(tasks[turn], context)
        context.end_turn()
        self._recheck_validation(turn)
        if unforgetting.CLAIM in self.method.claimed():
            found = unforgetting.fingerprints(self.method.classifier(turn).to(self.device), self.tasks[turn])
            found["arithmetic"] = arithmetic(self.device)
            for kind, value in found.items():
                context._fact("harness", f"fingerprint_{kind}", None, turn, value)
            self.store.drop_part("facts", unforgetting.PHASE)
        self.store.drop_part("facts", PROBES)
        state = self.method.state()
        fingerprints = {str(task): classifier_fingerprint(self.method.classifier(task)) for task in range(turn + 1)}
        for problem in self.store.set_stale_aside(turn, fingerprints):
            self.note(f"set aside {problem}")
        context.spent.peak_memory_mb = peak_memory_mb(self.device)
        values = {"method": state.values, "spent": context.spent.to_json(), "classifiers": fingerprints}
        self.store.write_part("facts", task_key(turn), context.logs.facts)
        self.store.write_part("training", task_key(turn), context.logs.training)
        self.checkpoints.save(task_key(turn), Checkpoint(state.tensors, values))
        self.checkpoints.forget([name for name in self.checkpoints.names() if ".stage-" in name])
        self.at_turn = turn

    def _recheck_validation(self, turn: int) -> None:
        """Validation accuracy through `classifier(t)`, recomputed by the harness, beside what the method logged."""
        context = self.context
        learned = range(turn + 1) if self.all_at_once else [turn]
        recipe, eps = self.job.recipe, self.job.preset.eps
        found = {
            task: validate(self.method.classifier(task), self.tasks[task].to_learn(), recipe, eps) for task in learned
        }
        for task, validation in found.items():
            # Image by image, so that methods which take this run as their goal can compare pairs.
            outcomes = validation.to_json()
            context._fact("harness", "validation_clean", validation.clean, task, outcomes["clean"])
            context._fact("harness", "validation_robust", validation.robust, task, outcomes["robust"])
        if self.all_at_once:
            sizes = [len(self.tasks[task].validation) for task in learned]
            for kind in ("clean", "robust"):
                mean = sum(getattr(found[t], kind) * n for t, n in zip(learned, sizes, strict=True)) / sum(sizes)
                context._fact("harness", f"validation_{kind}", mean, -1)
        # The last thing logged is what the method selected; a method that decides by itself records these facts.
        for name in ("selected_clean", "selected_robust"):
            logged = [fact for fact in context.logs.facts if fact["name"] == name]
            if logged:
                context._fact("harness", name, logged[-1]["value"], -1 if self.all_at_once else turn)

    def restore(self, turn: int) -> None:
        key = self._state_key(turn)
        assert key is not None
        self.method.load_state(restored_state(self.checkpoints, key, self.device))
        self.context.spent = Spent.from_json(self.checkpoints.values(key)["spent"])
        self.at_turn = turn

    def evaluate(self, cells: Sequence[Cell]) -> None:
        """Measure cells of one turn, task by task; what crashes fails its own cells and no others."""
        for task in {cell.task: self.tasks[cell.task] for cell in cells}.values():
            mine = [cell for cell in cells if cell.task == task.id]
            try:
                classifier = self.method.classifier(task.id).to(self.device)
                measure_cells(mine, classifier, task, self.recorder, self._measured)
            except (StoreError, OSError):
                raise
            except Exception as error:
                self._measured(mine[0].after_task, task.id, [cell.attack for cell in mine], error)

    def _measured(self, after_task: int, task: int, attacks: Sequence[Attack], error: Exception | None) -> None:
        """Note how attacks on a task went."""
        for attack in attacks:
            name = attack_name(attack, self.job.preset.file.evaluation.seed)
            if error is not None:
                where = {"after_task": after_task, "task": task, "attack": name}
                self.fail(f"{name} on task {task} after task {after_task}", error, **where)
            self.listen(self._event("evaluation", after_task, name))

    def _event(self, kind: str, turn: int, text: str = "") -> Event:
        job = self.job
        name = self.tasks[turn].name
        return Event(job.hash, job.label, job.seed, kind, turn, len(self.tasks), name, text=text)

    def _forget_old_checkpoints(self, turn: int) -> None:
        keep = self.job.preset.file.keep
        if keep == "last" or (keep == "auto" and unforgetting.CLAIM in self.method.claimed()):
            self.checkpoints.forget([task_key(old) for old in self.turns if old < turn])

    def probe(self) -> bool:
        """Ask each classifier after the last task a few questions that take a pass each; a crash is a failure.

        Returns whether the answers are stored.
        """
        rows = []
        for task in self.tasks:
            try:
                rows += probe(self.method.classifier(task.id).to(self.device), task)
            except Exception as error:
                # The attacks on it failed the same way, and say so; what they left is no reason to ask again.
                self.fail(f"probes on task {task.id}", error, task=task.id, check=PROBES)
                return False
        self.store.write_part("facts", PROBES, rows)
        return True

    # -- after ----------------------------------------------------------------------------------------------------------

    def prove_unforgetting(self) -> bool:
        """Once every task is learned: a fresh process makes the old classifiers again. A crash is a failure, never a proof.

        Returns whether the outcome, for or against, is stored.
        """
        if self.store.has_part("facts", unforgetting.PHASE):
            return True
        try:
            key = task_key(self.turns[-1])
            rows = unforgetting.prove(self.job, self.machine, key, self.store.read(), len(self.tasks))
            self.store.write_part("facts", unforgetting.PHASE, rows)
        except (StoreError, OSError):
            raise
        except Exception as error:
            self.fail("proof that nothing is forgotten", error)
            return False
        return True

    def write_costs(self) -> None:
        """What learning took and what a deployment must store, measured by the harness, never self-reported."""
        tensors = self.method.state().tensors
        spent = self.context.spent
        needed = [cost for job in self.job.needs.values() if (cost := self._cost_of(job.hash)) is not None]
        values = {
            "train_seconds": spent.seconds,
            "train_gradient_evaluations": spent.image_gradients,
            "prerequisite_seconds": sum(needed),
            "stored_mb": stored_bytes(tensors) / 1e6,
            "parameters": sum(tensor.numel() for tensor in tensors.values() if tensor.is_floating_point()),
            "peak_memory_mb": spent.peak_memory_mb,
        }
        rows = [{"task": -1, "phase": "cost", "name": name, "value": float(value)} for name, value in values.items()]
        self.store.write_part("facts", COSTS, rows)

    def _cost_of(self, run_hash: str) -> float | None:
        run = find_run(run_hash, self.machine)
        if run is None:
            return None
        facts = run.facts
        costs = facts[(facts["phase"] == "cost") & facts["name"].isin(["train_seconds", "prerequisite_seconds"])]
        return float(costs["value"].sum())

    def _prerequisites(self) -> dict[str, Callable[[], Prerequisite]]:
        return {key: partial(FinishedRun, needed, self.machine) for key, needed in self.job.needs.items()}
