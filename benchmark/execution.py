"""One run from start to end: learn what is not learned, measure what is not measured, in the order of the stream."""

from __future__ import annotations

import platform
import resource
import subprocess
import sys
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from torch import nn

from benchmark.cells import Stored, Work, missing, shared_work
from benchmark.context import RunContext, Spent
from benchmark.demands import Demand
from benchmark.evaluation import check_classifier, measure, repeatable, subset
from benchmark.events import Event, Listener
from benchmark.identity import attack_name, classifier_fingerprint
from benchmark.jobs import Job, Machine
from benchmark.recording import Recorder
from benchmark.validation import validate
from methods.base import Method, MethodError, Prerequisite, State
from methods.training import Diverged
from results.checkpoints import Checkpoint, Checkpoints, stored_bytes
from results.files import StoreError
from results.records import DIRECTORY_DIGITS, Run, read_run
from results.store import RunStore, demand_of_published, now
from scenarios.augmentation import to_float
from scenarios.base import Stream, Task


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a job ended. failures: one line each, empty if everything demanded is stored; learned: whether all tasks were."""

    job: str
    failures: tuple[str, ...] = ()
    learned: bool = True


def task_key(turn: int) -> str:
    return f"task-{turn:03d}"


COSTS = "cost"
"""The part of `facts` that holds what a run cost; a run without it is not finished."""


def execute(job: Job, machine: Machine, tasks: list[Task], listen: Listener) -> Outcome:
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
            return Outcome(job.hash, tuple(execution.failure_lines()), learned=False)
        if not execution.failures:
            store.clear_failures()
        return Outcome(job.hash, tuple(execution.failure_lines()))


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
        demand(self.job, self.machine, len(self.tasks))
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
        expected = isinstance(error, MethodError | Diverged)
        message = str(error) if expected else f"{type(error).__name__}: {error}"
        message = " ".join(message.split())
        turn = None if self.context.turn < 0 else self.context.turn
        entry = {"stage": stage, "task": turn, **where, "kind": type(error).__name__, "message": message}
        self.store.fail(**entry, traceback="".join(traceback.format_exception(error)))
        self.failures.append((stage, message))

    def failure_lines(self) -> list[str]:
        """One line for each cause, however many cells it cost."""
        stages: dict[str, list[str]] = {}
        for stage, message in self.failures:
            stages.setdefault(message, []).append(stage)
        return [
            f"{self.job}: {found[0]}{f' and {len(found) - 1} more' if len(found) > 1 else ''}: {message}"
            for message, found in stages.items()
        ]

    # -- the run --------------------------------------------------------------------------------------------------------

    def run(self) -> None:
        stored = Stored(self.store.read())
        self.method.begin(stream_of(self.job, self.machine), self.context)
        there = [turn for turn in self.turns if self._state_key(turn) is not None]
        for turn in self.turns:
            work = self._work(stored, turn)
            if there and turn <= there[-1]:
                if not work and turn != there[-1]:
                    continue
                if self._state_key(turn) is None:
                    self._learn_again(turn)
                    work = self._work(Stored(self.store.read()), turn)
                else:
                    self.restore(turn)
            else:
                self.learn(turn)
                work = self._work(Stored(self.store.read()), turn)
            self.listen(self._event("task", turn))
            for item in work:
                self.evaluate(item)
            self._forget_old_checkpoints(turn)
        self.write_costs()

    def _work(self, stored: Stored, turn: int) -> list[Work]:
        return shared_work(missing(self.job.preset, self.tasks, stored, turn, self.all_at_once))

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
        if "unforgetting" in self.method.claims:
            later = [name for name in self.checkpoints.names() if "." not in name and name > task_key(turn)]
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
            context._fact("harness", "validation_clean", validation.clean, task)
            context._fact("harness", "validation_robust", validation.robust, task)
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

    def evaluate(self, work: Work) -> None:
        """Measure one trajectory; a crash fails this cell and no other."""
        task = self.tasks[work.task]
        name = attack_name(work.run.attack, self.job.preset.file.evaluation.seed)
        try:
            classifier = self.method.classifier(work.task).to(self.device)
            check_classifier(classifier, to_float(task.test.images[:2]), len(task.classes))
            fingerprint = classifier_fingerprint(classifier)
            left = self.recorder.reuse(work, task, fingerprint)
            if left is not None:
                evaluation = self.job.preset.file.evaluation
                measured = measure(
                    classifier,
                    subset(task.test, left.samples),
                    left.run,
                    seed=evaluation.seed,
                    key=task.test_fingerprint,
                    batch_size=evaluation.batch_size,
                )
                self.recorder.record(left, task, fingerprint, measured)
        except (StoreError, OSError):
            raise
        except Exception as error:
            where = {"after_task": work.after_task, "task": work.task, "attack": name}
            self.fail(f"{name} on task {work.task} after task {work.after_task}", error, **where)
        self.listen(self._event("evaluation", work.after_task, name))

    def _event(self, kind: str, turn: int, text: str = "") -> Event:
        job = self.job
        name = self.tasks[turn].name
        return Event(job.hash, job.label, job.seed, kind, turn, len(self.tasks), name, text=text)

    def _forget_old_checkpoints(self, turn: int) -> None:
        keep = self.job.preset.file.keep
        if keep == "last" or (keep == "auto" and "unforgetting" in self.method.claims):
            self.checkpoints.forget([task_key(old) for old in self.turns if old < turn])

    # -- after ----------------------------------------------------------------------------------------------------------

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


class FinishedRun:
    """A finished run that another one needs (`methods.base.Prerequisite`)."""

    def __init__(self, job: Job, machine: Machine) -> None:
        run = find_run(job.hash, machine)
        if run is None:
            raise MethodError(f"the prerequisite run {job} is not stored")
        self.job, self.machine, self.run = job, machine, run

    def fact(self, name: str, task: int) -> float:
        """A fact's value, the last recorded where several phases recorded it. Raises MethodError if there is none."""
        facts = self.run.facts
        found = facts[(facts["name"] == name) & (facts["task"] == task)]["value"].dropna()
        if found.empty:
            raise MethodError(f"prerequisite {self.job} holds no fact {name!r} of task {task}")
        return float(found.iloc[-1])

    @cached_property
    def _method(self) -> Method:
        store = RunStore(self.machine.runs, self.job.hash)
        checkpoints = Checkpoints(store.directory / "checkpoints")
        names = [name for name in checkpoints.names() if "." not in name]
        if not names:
            raise MethodError(f"prerequisite {self.job} holds no checkpoint; run it again with --force")
        method, device = self.job.new_method(), torch.device(self.machine.device)
        method.begin(
            stream_of(self.job, self.machine), RunContext(self.job, device, method, store, {}, lambda event: None)
        )
        method.load_state(restored_state(checkpoints, names[-1], device))
        return method

    def classifier(self, task: int) -> nn.Module:
        """The classifier of a task as it was after the last one. Raises MethodError if the run holds no checkpoint."""
        return self._method.classifier(task)


def stream_of(job: Job, machine: Machine) -> Stream:
    return job.preset.scenario(machine.source).stream()


def restored_state(checkpoints: Checkpoints, name: str, device: torch.device) -> State:
    """A method's state from one of its run's checkpoints, on the device. Raises StoreError."""
    stored = checkpoints.load(name, device)
    return State(stored.tensors, stored.values["method"])


def task_rows(tasks: Sequence[Task]) -> list[dict[str, Any]]:
    """The rows of `tasks.parquet`."""
    return [
        {
            "task": task.id,
            "name": task.name,
            "classes": list(task.classes),
            "train": len(task.train),
            "validation": len(task.validation),
            "test": len(task.test),
            "chance": task.chance,
            "fingerprint": task.fingerprint,
            "test_fingerprint": task.test_fingerprint,
        }
        for task in tasks
    ]


def find_run(run_hash: str, machine: Machine) -> Run | None:
    """The stored run with this hash: the local one, or a published one that holds more."""
    name = run_hash[:DIRECTORY_DIGITS]
    local = machine.runs / name
    found = []
    for directory in [local, *sorted(machine.published.glob(f"*/{name}"))]:
        if (directory / "config.json").exists():
            run = read_run(directory, published=directory != local)
            if run.hash == run_hash:
                found.append(run)
    return max(found, key=lambda run: run.measured_cells, default=None)


def demand(job: Job, machine: Machine, tasks: int, *, published: bool = False) -> None:
    """Note with the run what the preset demands of it: what reports and later resumptions measure it against.

    Published records are tracked files that a run does not change: what is demanded of them stands beside the local runs.
    """
    preset = job.preset
    seed = preset.file.evaluation.seed

    def samples(demands: Sequence[Demand]) -> dict[str, int]:
        return {attack_name(d.attack, seed): d.samples for d in demands if d.samples is not None}

    protocol = {
        "label": job.label if job.of_preset else job.plugin.name,
        "eps": str(preset.eps),
        "ranking_eps": str(preset.eps),
        "matrix": [attack_name(demand.attack, seed) for demand in preset.matrix],
        "matrix_samples": samples(preset.matrix),
        "final": [attack_name(demand.attack, seed) for demand in preset.final],
        "samples": samples(preset.final),
        "tasks": tasks,
        "all_at_once": "all_tasks" in job.plugin.cls.needs,
        "row_of_preset": job.of_preset,
        "command": machine.command,
    }
    if published:
        demand_of_published(machine.runs, job.hash, preset.name, protocol)
    else:
        RunStore(machine.runs, job.hash).demand(preset.name, protocol)


def provenance(machine: Machine) -> dict[str, Any]:
    """Where and with what a run was made: beside the results, never part of an identity."""
    device = torch.cuda.get_device_name() if machine.device.startswith("cuda") else platform.processor() or "cpu"
    names = ("torch", "numpy", "pandas", "pyarrow")
    return {
        "started_at": now(),
        "command": machine.command,
        "device": machine.device,
        "hardware": device,
        "cores": torch.get_num_threads(),
        "threads": machine.threads,
        "workers": machine.workers,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "versions": {name: version(name) for name in names},
        "git": git_commit(),
    }


def git_commit() -> str | None:
    """The commit this code is at, with `+changes` if files differ from it; None outside a checkout."""
    root = Path(__file__).resolve().parents[1]

    def git(*words: str) -> str:
        return subprocess.run(["git", *words], cwd=root, capture_output=True, text=True, check=True).stdout.strip()

    try:
        changed = "+changes" if git("status", "--porcelain", "--untracked-files=no") else ""
        return git("rev-parse", "HEAD") + changed
    except (OSError, subprocess.CalledProcessError):
        return None


def peak_memory_mb(device: torch.device) -> float:
    """Peak memory so far: of the GPU's allocator, or of this process."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 1e6
    kilobytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return kilobytes / (1e6 if sys.platform == "darwin" else 1e3)
