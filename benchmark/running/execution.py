"""One run from start to end: what is not learned is learned, what is not attacked is attacked, in the order of the stream."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any

import torch

from attacks.base import Attack
from attacks.parts.clock import purpose
from benchmark.evaluating.determinism import repeatable
from benchmark.evaluating.questions import QUESTIONS, asked_phases
from benchmark.learning.context import Spent
from benchmark.learning.events import Event, Listener
from benchmark.learning.handed_over import Shelf
from benchmark.learning.provenance import forget_peak_memory, peak_memory_mb, provenance
from benchmark.learning.restoring import restored_method
from benchmark.planning.cells import Cell, Stored, Work, demanded, missing_cells, to_hand_over_again
from benchmark.planning.jobs import Job
from benchmark.planning.machine import Machine
from benchmark.planning.plan import cost_of, learning_cost
from benchmark.planning.protocols import record_demand, task_rows
from benchmark.planning.stored_runs import (
    learnable_again,
    needed_run,
    state_key,
    task_checkpoints,
    task_key,
    turns_to_learn,
    without_facts,
)
from benchmark.planning.tasks import warning_rows
from benchmark.running.attack_cells import CellAttacks
from benchmark.running.failures import JobResult, failure_lines, is_of_place, record_failure
from benchmark.running.gpu import lost, raise_if_lost, return_memory
from benchmark.running.judging_afresh import judge_afresh
from benchmark.running.learning_apart import Learns, LearnsApart, LearnsHere
from benchmark.running.recording import Recorder
from benchmark.running.seconds.left import ATTACK, END, LEARN, OutOfTime, TimeLeft
from benchmark.running.seconds.spent import timed
from methods.base import Method
from results.checkpoints import Checkpoints, stored_bytes
from results.files import StoreError
from results.schema import AFRESH, COSTS, DATA
from results.store import RunStore
from scenarios.base import Task


def execute(job: Job, machine: Machine, tasks: list[Task], listen: Listener, time: TimeLeft | None = None) -> JobResult:
    """Do everything that a run lacks. Failures are recorded in the run and returned; other runs go on.

    time: that the job has; None for as much as it takes.
    Raises RunHeld if another process works on the run, StoreError if its directory cannot be written.
    """
    store = RunStore(machine.runs, job.hash)
    torch.set_num_threads(machine.threads)
    with store.working(watch=False), timed(store) as note_seconds:
        listen(Event(job.hash, job.label, job.seed, "start"))
        execution = Execution(job, machine, tasks, store, listen, note_seconds, time)
        # A worker does one run after another, and attacks where it does not learn.
        forget_peak_memory(execution.device)
        try:
            execution.prepare()
            with repeatable():
                execution.run()
        except (StoreError, KeyboardInterrupt):
            raise
        except OutOfTime:
            return JobResult(job.hash, tuple(execution.failure_lines()), execution.is_learned(), left=True)
        except (Exception, SystemExit) as error:
            # A method that calls `sys.exit` fails like one that raises: it does not end the others.
            gone = lost(error, execution.device)
            execution.fail("learn" if gone is None else "run", gone or error)
            learned = gone is not None and execution.is_learned()
            failures = tuple(execution.failure_lines())
            return JobResult(job.hash, failures, learned, lost=gone is not None, again=execution.of_the_place)
        finally:
            execution.learner.close()
        if not execution.failures:
            store.clear_failures()
        return JobResult(job.hash, tuple(execution.failure_lines()), again=execution.of_the_place)


class Execution:
    """The steps of one run.

    A turn is a task that was learned, by its id. A method that learns all tasks at once has one turn, the last task.

    method: as the state after the turn in hand makes it.
    turn: the turn that was learned last; None if nothing was learned.
    note_seconds: stores where the time went so far.
    of_the_place: True if a process was killed or a GPU lost: another try may succeed.
    """

    def __init__(
        self,
        job: Job,
        machine: Machine,
        tasks: list[Task],
        store: RunStore,
        listen: Listener,
        note_seconds: Callable[[], None] = lambda: None,
        time: TimeLeft | None = None,
    ) -> None:
        self.job, self.machine, self.tasks, self.store, self.listen = job, machine, tasks, store, listen
        self.failures: list[tuple[str, str]] = []
        self.note_seconds, self.time = note_seconds, time or TimeLeft()
        self.of_the_place = False
        self.device = torch.device(machine.device)
        self.checkpoints = Checkpoints(store.directory / "checkpoints")
        self.recorder = Recorder(store, job.preset, machine.device, machine.threads)
        self.shelf = Shelf(store.directory, job.preset.ranking)
        self.method: Method = job.new_method()
        self.turns = job.turns(len(tasks))
        self.turn: int | None = None
        place = LearnsApart if machine.learn_apart else LearnsHere
        self.learner: Learns = place(job, machine, job.stream, store, listen)

    # -- the steps ------------------------------------------------------------------------------------------------------

    def prepare(self) -> None:
        """Put configuration and tasks in place, and set aside parts and checkpoints that are unreadable."""
        for problem in self.store.set_broken_aside():
            self.note(f"set aside {problem}")
        self.store.write_config(self.job.identity, provenance(self.machine))
        record_demand(self.job, self.machine, self.tasks)
        self.store.write_tasks(task_rows(self.tasks))
        if warned := warning_rows(self.tasks):
            self.store.write_part("facts", DATA, warned)
        for turn in self.turns:
            if task_key(turn) in self.checkpoints:
                try:
                    self.checkpoints.load(task_key(turn))
                except StoreError as error:
                    moved = self.store.set_checkpoint_aside(task_key(turn), str(error))
                    self.note(f"set aside {moved}; the task is learned again")

    def run(self) -> None:
        """Learn and attack turn by turn, then record the facts that end a run."""
        stored = self._stored()
        latest = max((turn for turn in self.turns if self._is_learned(turn)), default=-1)
        again = self._learned_again([turn for turn in self.turns if turn <= latest])
        attacked = [turn for turn in self.turns if self._missing(stored, turn)]
        to_learn = {*again, *turns_to_learn(self.checkpoints, self.job, self.turns, attacked)}
        for turn in self.turns:
            cells = self._missing(stored, turn)
            if turn < latest and not cells and turn not in to_learn:
                continue
            # Of evaluations that learning has set aside nobody knew before.
            if turn in to_learn or not self._is_learned(turn):
                evaluated = self.store.evaluated(turn)
                self.learn(turn)
                if evaluated:
                    # Learning sets evaluations of other classifiers aside.
                    stored = self._stored()
                    cells = self._missing(stored, turn)
            self.restore(turn)
            self.listen(self._event("task", turn))
            self.attack(cells)
            # The next task would overtake the cells that were not begun: their checkpoint may not be kept.
            self.time.raise_if_out()
            self._forget_old_checkpoints(turn)
            self.note_seconds()
        with self.time.stage(END):
            self._finish()

    def _learned_again(self, learned: Sequence[int]) -> list[int]:
        """The turns, of those that were learned, that are learned once more, because their facts or epochs were unreadable."""
        found = without_facts(self.store, learned)
        again = [turn for turn in found if learnable_again(self.checkpoints, self.turns, turn)]
        for turn in again:
            self.note(f"the facts of task {turn} are made by learning alone: it is learned again")
        for turn in set(found) - set(again):
            self.note(
                f"the facts of task {turn} are not made again: its checkpoint, or that of the task before, was not kept "
                f"(keep: {self.job.preset.file.keep}); --force learns the run anew"
            )
        return again

    def _finish(self) -> None:
        """Ask, judge, prove, and write the costs: these come last, because a run without its costs is not finished."""
        phases = () if self.job.learn_only else asked_phases(self.job.preset.evaluation)
        if not all(self.store.has_part("facts", phase) or self.ask(phase) for phase in phases):
            return
        self.hand_over_again()
        if not self.judge_afresh():
            return
        self.write_costs()

    def _stored(self) -> Stored:
        with purpose("read"):
            return Stored(self.store.read(), self.job.preset)

    def is_learned(self) -> bool:
        """True if all turns are learned."""
        return all(self._is_learned(turn) for turn in self.turns)

    def _is_learned(self, turn: int) -> bool:
        return state_key(self.checkpoints, self.job, turn) is not None

    def _missing(self, stored: Stored, turn: int) -> list[Cell]:
        return missing_cells(demanded(self.job, self.tasks, turn), stored, turn)

    # -- learning -------------------------------------------------------------------------------------------------------

    def restore(self, turn: int) -> None:
        """Make the method anew, in its state after `turn`. Classifiers that are attacked come from the stored state alone."""
        key = state_key(self.checkpoints, self.job, turn)
        assert key is not None
        with purpose("read"):
            self.method = restored_method(self.job, self.machine, key)

    def learn(self, turn: int) -> None:
        """Learn a turn, where no test image is."""
        self.turn = turn
        return_memory(self.device)
        learned = self.tasks if self.job.all_at_once else [self.tasks[turn]]
        with self.time.stage(LEARN, learning_cost(self.job, self.tasks, [turn])):
            self.learner.learn(turn, [task.to_learn() for task in learned])

    def _forget_old_checkpoints(self, turn: int) -> None:
        keep = self.job.preset.file.keep
        if keep == "last" or (keep == "auto" and self.job.claims_unforgetting):
            self.checkpoints.forget([task_key(old) for old in self.turns if old < turn])

    # -- attacking ------------------------------------------------------------------------------------------------------

    def attack(self, cells: Sequence[Cell], *, again: bool = False) -> None:
        """Attack cells of one turn, task by task; a crash fails its own cells and no others.

        again: True for cells that are recorded, which are attacked once more for their images alone.
        """
        attacks = CellAttacks(self.recorder, self._tell, self._timed, self.shelf)
        for task in {cell.task: self.tasks[cell.task] for cell in cells}.values():
            mine = [cell for cell in cells if cell.task == task.id]
            try:
                classifier = self.method.classifier(self.job.asks(task.id)).to(self.device)
                attacks.make(mine, classifier, task, again=again)
            except (StoreError, OSError):
                raise
            except (Exception, SystemExit) as error:
                raise_if_lost(error, self.device)
                self._tell(mine[0].after_task, task.id, [cell.attack for cell in mine], error)

    def _timed(self, work: Work) -> AbstractContextManager[None]:
        return self.time.stage(ATTACK, cost_of(work, self.job, self.tasks))

    def _tell(self, after_task: int, task: int, attacks: Sequence[Attack], error: BaseException | None) -> None:
        """Note how attacks on a task ended."""
        for attack in attacks:
            name = self.job.preset.attack_name(attack)
            if error is not None:
                where = {"after_task": after_task, "task": task, "attack": name}
                self.fail(f"{name} on task {task} after task {after_task}", error, **where)
            self.listen(self._event("evaluation", after_task, name))

    # -- after the last turn --------------------------------------------------------------------------------------------

    def ask(self, phase: str) -> bool:
        """Ask every classifier after the last task the questions of a phase; a crash is a failure.

        Returns True if all answers are stored.
        """
        rows = []
        for task in self.tasks:
            try:
                with purpose(phase):
                    classifier = self.method.classifier(self.job.asks(task.id)).to(self.device)
                    rows += QUESTIONS[phase](classifier, task, self.job.preset.asking)
            except (Exception, SystemExit) as error:
                raise_if_lost(error, self.device)
                # Its attacks failed in the same way and say so; there is no reason to ask the others.
                self.fail(f"{phase} on task {task.id}", error, task=task.id, check=phase)
                return False
        self.store.write_part("facts", phase, rows)
        return True

    def hand_over_again(self) -> None:
        """Attack once more what was to be judged afresh, if neither the answers nor its images are stored."""
        if self.job.learn_only or self.store.has_part("facts", AFRESH):
            return
        shown = self.shelf.shown(self.store.read().evaluations["evaluation_id"].unique())
        cells = [
            cell
            for cell in to_hand_over_again(self.job, self.tasks, self._stored())
            if (cell.task, self.job.preset.attack_name(cell.attack)) not in shown
        ]
        if cells:
            self.note(f"{len(cells)} attacks run once more: the answers of classifiers made anew are not stored")
        self.attack(cells, again=True)
        # Nobody could judge what was not attacked, and answers that are stored count for good.
        self.time.raise_if_out()

    def judge_afresh(self) -> bool:
        """Let classifiers made anew judge what the attacks handed over, and prove a claim not to forget, in a confined process.

        A crash is a failure, never a proof. Returns True if the outcome, for or against, is stored. Raises DeviceLost.
        """
        # The other process needs as much of it as this one had when it attacked.
        return_memory(self.device)
        try:
            judge_afresh(self.job, self.machine, task_key(self.turns[-1]), self.store, self.shelf, self.tasks)
        except (StoreError, OSError):
            raise
        except Exception as error:
            raise_if_lost(error, self.device)
            self.fail("classifiers made anew", error, check=AFRESH)
            return False
        return True

    def write_costs(self) -> None:
        """Record what learning took and what a deployment must store, counted by the harness, never by the method."""
        tensors = self.method.state().tensors
        spent = Spent.from_json(self.checkpoints.values(task_key(self.turns[-1]))["spent"])
        needed = [cost for job in self.job.needs.values() if (cost := self._cost_of(job)) is not None]
        values = {
            "train_seconds": spent.seconds,
            "train_gradient_evaluations": spent.image_gradients,
            "prerequisite_seconds": sum(needed),
            "stored_mb": stored_bytes(tensors) / 1e6,
            "parameters": sum(tensor.numel() for tensor in tensors.values() if tensor.is_floating_point()),
            "peak_memory_mb": spent.peak_memory_mb,
            "evaluation_peak_memory_mb": peak_memory_mb(self.device),
        }
        rows = [{"task": -1, "phase": COSTS, "name": name, "value": float(value)} for name, value in values.items()]
        self.store.write_part("facts", COSTS, rows)

    def _cost_of(self, job: Job) -> float | None:
        """Seconds that a needed run and its own prerequisites took to learn; None if it is not stored."""
        run = needed_run(job, self.machine)
        if run is None:
            return None
        facts = run.facts
        costs = facts[(facts["phase"] == COSTS) & facts["name"].isin(["train_seconds", "prerequisite_seconds"])]
        if len(costs):
            return float(costs["value"].sum())
        # It has learned, and was stopped before its end. Its last checkpoint knows what learning took.
        checkpoints = Checkpoints(RunStore(self.machine.runs, job.hash).directory / "checkpoints")
        names = task_checkpoints(checkpoints)
        if not names:
            return None
        spent = Spent.from_json(checkpoints.values(names[-1])["spent"]).seconds
        return spent + sum(self._cost_of(need) or 0.0 for need in job.needs.values())

    # -- what is told ---------------------------------------------------------------------------------------------------

    def note(self, text: str) -> None:
        self.listen(Event(self.job.hash, self.job.label, self.job.seed, "note", text=text))

    def _event(self, kind: str, turn: int, text: str = "") -> Event:
        job = self.job
        name = self.tasks[turn].name
        return Event(job.hash, job.label, job.seed, kind, turn, len(self.tasks), name, text=text)

    def fail(self, stage: str, error: BaseException, **where: Any) -> None:
        """Record a failure of this run: with its traceback in failures.jsonl, and as one line for people."""
        self.of_the_place |= is_of_place(error)
        turn = None if self.job.all_at_once else self.turn
        self.failures.append((stage, record_failure(self.store, stage, error, **{"task": turn, **where})))

    def failure_lines(self) -> list[str]:
        return failure_lines(self.job, self.failures)
