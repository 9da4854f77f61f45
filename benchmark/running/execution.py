"""One run from start to end: what is not learned is learned, what is not attacked is attacked, in the order of the stream."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch

from attacks.base import Attack
from benchmark.evaluating.determinism import repeatable
from benchmark.evaluating.fingerprints import classifier_fingerprint
from benchmark.evaluating.probing import probe
from benchmark.evaluating.validation import validate
from benchmark.learning import unforgetting_proof as unforgetting
from benchmark.learning.context import RunContext, Spent
from benchmark.learning.events import Event, Listener
from benchmark.learning.provenance import arithmetic, peak_memory_mb, provenance
from benchmark.learning.restoring import FinishedRun, restored_state, stream_of
from benchmark.planning.cells import Cell, Stored, demanded, missing_cells
from benchmark.planning.jobs import Job
from benchmark.planning.machine import Machine
from benchmark.planning.protocols import record_demand, task_rows
from benchmark.planning.stored_runs import find_run, task_checkpoints, task_key
from benchmark.running.attack_cells import attack_and_record
from benchmark.running.failures import JobResult, failure_lines, record_failure
from benchmark.running.recording import Recorder
from methods.base import MethodError, Prerequisite
from results.checkpoints import Checkpoint, Checkpoints, stored_bytes
from results.files import StoreError
from results.schema import COSTS, HARNESS, PROBES, UNFORGETTING
from results.store import RunStore
from scenarios.base import Task


def execute(job: Job, machine: Machine, tasks: list[Task], listen: Listener) -> JobResult:
    """Do everything that a run lacks. Failures are recorded in the run and returned; other runs go on.

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
    """The steps of one run.

    A turn is a task that was learned, by its id. A method that learns all tasks at once has one turn, the last task.
    """

    def __init__(self, job: Job, machine: Machine, tasks: list[Task], store: RunStore, listen: Listener) -> None:
        self.job, self.machine, self.tasks, self.store, self.listen = job, machine, tasks, store, listen
        self.failures: list[tuple[str, str]] = []
        self.device = torch.device(machine.device)
        self.checkpoints = Checkpoints(store.directory / "checkpoints")
        self.recorder = Recorder(store, job.preset, machine.device, machine.threads)
        self.method = job.new_method()
        self.turns = job.turns(len(tasks))
        self.context = RunContext(job, self.device, self.method, store, self._prerequisites(), listen)
        self.at_turn: int | None = None

    def _prerequisites(self) -> dict[str, Callable[[], Prerequisite]]:
        return {key: partial(FinishedRun, needed, self.machine) for key, needed in self.job.needs.items()}

    # -- the steps ------------------------------------------------------------------------------------------------------

    def prepare(self) -> None:
        """Put configuration and tasks in place, and set aside parts and checkpoints that are unreadable."""
        for problem in self.store.set_broken_aside():
            self.note(f"set aside {problem}")
        self.store.write_config(self.job.identity, provenance(self.machine))
        record_demand(self.job, self.machine, self.tasks)
        self.store.write_tasks(task_rows(self.tasks))
        for turn in self.turns:
            if task_key(turn) in self.checkpoints:
                try:
                    self.checkpoints.load(task_key(turn))
                except StoreError as error:
                    moved = self.store.set_checkpoint_aside(task_key(turn), str(error))
                    self.note(f"set aside {moved}; the task is learned again")

    def run(self) -> None:
        """Learn and attack turn by turn, then record the facts that end a run."""
        self.method.begin(stream_of(self.job, self.machine), self.context)
        stored = self._stored()
        latest = max((turn for turn in self.turns if self._state_key(turn) is not None), default=-1)
        for turn in self.turns:
            cells = self._missing(stored, turn)
            if turn < latest and not cells:
                continue
            if self._state_key(turn) is not None:
                self.restore(turn)
            else:
                self._restore_turn_before(turn)
                self.learn(turn)
                # Learning sets evaluations of other classifiers aside.
                cells = self._missing(self._stored(), turn)
            self.listen(self._event("task", turn))
            self.attack(cells)
            self._forget_old_checkpoints(turn)
        self._finish()

    def _finish(self) -> None:
        """Probe, prove, and write the costs: these come last, because a run without its costs is not finished."""
        if not self.job.learn_only and not self.store.has_part("facts", PROBES) and not self.probe():
            return
        if self.job.claims_unforgetting and not self.prove_unforgetting():
            return
        self.write_costs()

    def _stored(self) -> Stored:
        return Stored(self.store.read(), self.job.preset)

    def _missing(self, stored: Stored, turn: int) -> list[Cell]:
        return missing_cells(demanded(self.job, self.tasks, turn), stored, turn)

    # -- learning -------------------------------------------------------------------------------------------------------

    def _state_key(self, turn: int) -> str | None:
        """The checkpoint that holds the classifiers as they were after `turn`; None if there is none.

        That is the turn's own, or for a method that claims not to forget the latest one.
        """
        if task_key(turn) in self.checkpoints:
            return task_key(turn)
        if self.job.claims_unforgetting:
            later = [name for name in task_checkpoints(self.checkpoints) if name > task_key(turn)]
            return later[-1] if later else None
        return None

    def restore(self, turn: int) -> None:
        """Bring the method to its state after `turn`, from a checkpoint."""
        key = self._state_key(turn)
        assert key is not None
        self.method.load_state(restored_state(self.checkpoints, key, self.device))
        self.context.spent = Spent.from_json(self.checkpoints.values(key)["spent"])
        self.at_turn = turn

    def _restore_turn_before(self, turn: int) -> None:
        """Bring the method to the state from which it learns `turn`. Raises MethodError if that was not kept."""
        before = self.turns[: self.turns.index(turn)]
        if not before or self.at_turn == before[-1]:
            return
        if self._state_key(before[-1]) is None:
            raise MethodError(
                f"cells after task {turn} are demanded and its checkpoint was not kept (keep: {self.job.preset.file.keep}); "
                "run again with --force"
            )
        self.restore(before[-1])

    def learn(self, turn: int) -> None:
        """Learn a turn, and store its facts and its checkpoint."""
        context, tasks = self.context, [task.to_learn() for task in self.tasks]
        if self.job.all_at_once:
            context.begin_turn(-1, len(tasks), "all tasks")
            self.method.learn_all(tasks, context)
        else:
            context.begin_turn(turn, len(tasks), tasks[turn].name)
            self.method.learn(tasks[turn], context)
        context.end_turn()
        self.recheck_validation(turn)
        if self.job.claims_unforgetting:
            self._fingerprint(turn)
        self._save(turn)
        self.at_turn = turn

    def recheck_validation(self, turn: int) -> None:
        """Record the validation accuracy of the classifiers just learned, beside what the method logged."""
        record, all_at_once = self.context.record_fact, self.job.all_at_once
        learned = range(turn + 1) if all_at_once else [turn]
        recipe, eps = self.job.recipe, self.job.preset.eps
        found = {
            task: validate(self.method.classifier(task), self.tasks[task].to_learn(), recipe, eps) for task in learned
        }
        for task, validation in found.items():
            # Image by image, so that methods whose goal is this run can compare pairs.
            outcomes = validation.to_json()
            record(HARNESS, "validation_clean", validation.clean, task, outcomes["clean"])
            record(HARNESS, "validation_robust", validation.robust, task, outcomes["robust"])
        if all_at_once:
            sizes = [len(self.tasks[task].validation) for task in learned]
            for kind in ("clean", "robust"):
                mean = sum(getattr(found[t], kind) * n for t, n in zip(learned, sizes, strict=True)) / sum(sizes)
                record(HARNESS, f"validation_{kind}", mean, -1)
        # The last value logged is the method's selection; a method that decides by itself records these facts.
        for name in ("selected_clean", "selected_robust"):
            logged = [fact for fact in self.context.logs.facts if fact["name"] == name]
            if logged:
                record(HARNESS, name, logged[-1]["value"], -1 if all_at_once else turn)

    def _fingerprint(self, turn: int) -> None:
        """Record what a later proof of not forgetting compares with; an earlier proof is void."""
        found = unforgetting.fingerprints(self.method.classifier(turn).to(self.device), self.tasks[turn])
        found["arithmetic"] = arithmetic(self.device)
        for kind, value in found.items():
            self.context.record_fact(HARNESS, f"fingerprint_{kind}", None, turn, value)
        self.store.drop_part("facts", UNFORGETTING)

    def _save(self, turn: int) -> None:
        """Store the facts and the checkpoint of a turn; records of classifiers that are no more are set aside."""
        context, state = self.context, self.method.state()
        self.store.drop_part("facts", PROBES)
        fingerprints = {str(task): classifier_fingerprint(self.method.classifier(task)) for task in range(turn + 1)}
        for problem in self.store.set_stale_aside(turn, fingerprints):
            self.note(f"set aside {problem}")
        context.spent.peak_memory_mb = peak_memory_mb(self.device)
        values = {"method": state.values, "spent": context.spent.to_json(), "classifiers": fingerprints}
        self.store.write_part("facts", task_key(turn), context.logs.facts)
        self.store.write_part("training", task_key(turn), context.logs.training)
        self.checkpoints.save(task_key(turn), Checkpoint(state.tensors, values))
        self.checkpoints.forget([name for name in self.checkpoints.names() if ".stage-" in name])

    def _forget_old_checkpoints(self, turn: int) -> None:
        keep = self.job.preset.file.keep
        if keep == "last" or (keep == "auto" and self.job.claims_unforgetting):
            self.checkpoints.forget([task_key(old) for old in self.turns if old < turn])

    # -- attacking ------------------------------------------------------------------------------------------------------

    def attack(self, cells: Sequence[Cell]) -> None:
        """Attack cells of one turn, task by task; a crash fails its own cells and no others."""
        for task in {cell.task: self.tasks[cell.task] for cell in cells}.values():
            mine = [cell for cell in cells if cell.task == task.id]
            try:
                classifier = self.method.classifier(task.id).to(self.device)
                attack_and_record(mine, classifier, task, self.recorder, self._tell)
            except (StoreError, OSError):
                raise
            except Exception as error:
                self._tell(mine[0].after_task, task.id, [cell.attack for cell in mine], error)

    def _tell(self, after_task: int, task: int, attacks: Sequence[Attack], error: Exception | None) -> None:
        """Note how attacks on a task ended."""
        for attack in attacks:
            name = self.job.preset.attack_name(attack)
            if error is not None:
                where = {"after_task": after_task, "task": task, "attack": name}
                self.fail(f"{name} on task {task} after task {after_task}", error, **where)
            self.listen(self._event("evaluation", after_task, name))

    # -- after the last turn --------------------------------------------------------------------------------------------

    def probe(self) -> bool:
        """Probe every classifier after the last task; a crash is a failure. Returns True if all answers are stored."""
        rows = []
        for task in self.tasks:
            try:
                rows += probe(self.method.classifier(task.id).to(self.device), task)
            except Exception as error:
                # Its attacks failed in the same way and say so; there is no reason to probe the others.
                self.fail(f"probes on task {task.id}", error, task=task.id, check=PROBES)
                return False
        self.store.write_part("facts", PROBES, rows)
        return True

    def prove_unforgetting(self) -> bool:
        """Make every old classifier again in a fresh process. A crash is a failure, never a proof.

        Returns True if the outcome, for or against, is stored.
        """
        if self.store.has_part("facts", UNFORGETTING):
            return True
        try:
            key = task_key(self.turns[-1])
            rows = unforgetting.prove(self.job, self.machine, key, self.store.read(), len(self.tasks))
            self.store.write_part("facts", UNFORGETTING, rows)
        except (StoreError, OSError):
            raise
        except Exception as error:
            self.fail("proof that nothing is forgotten", error)
            return False
        return True

    def write_costs(self) -> None:
        """Record what learning took and what a deployment must store, counted by the harness, never by the method."""
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
        rows = [{"task": -1, "phase": COSTS, "name": name, "value": float(value)} for name, value in values.items()]
        self.store.write_part("facts", COSTS, rows)

    def _cost_of(self, run_hash: str) -> float | None:
        """Seconds that a needed run and its own prerequisites took; None if it is not stored."""
        run = find_run(run_hash, self.machine)
        if run is None:
            return None
        facts = run.facts
        costs = facts[(facts["phase"] == COSTS) & facts["name"].isin(["train_seconds", "prerequisite_seconds"])]
        return float(costs["value"].sum())

    # -- what is told ---------------------------------------------------------------------------------------------------

    def note(self, text: str) -> None:
        self.listen(Event(self.job.hash, self.job.label, self.job.seed, "note", text=text))

    def _event(self, kind: str, turn: int, text: str = "") -> Event:
        job = self.job
        name = self.tasks[turn].name
        return Event(job.hash, job.label, job.seed, kind, turn, len(self.tasks), name, text=text)

    def fail(self, stage: str, error: BaseException, **where: Any) -> None:
        """Record a failure of this run: with its traceback in failures.jsonl, and as one line for people."""
        turn = None if self.context.turn < 0 else self.context.turn
        self.failures.append((stage, record_failure(self.store, stage, error, **{"task": turn, **where})))

    def failure_lines(self) -> list[str]:
        return failure_lines(self.job, self.failures)
