"""A method on trial: it learns the tiny stream as in a real run, in several circumstances."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from attacks.parts.guard import random_state_kept
from benchmark.contract.classifier_requirements import FIRST, logits_of
from benchmark.contract.surroundings import other_test_images, random_states, seed_everything, settings_watched
from benchmark.evaluating.determinism import repeatable
from benchmark.evaluating.fingerprints import classifier_fingerprint
from benchmark.learning.learner import Learner
from benchmark.learning.restoring import restored_method
from benchmark.planning.jobs import Job, make_jobs, tasks_of
from benchmark.planning.machine import Machine
from benchmark.planning.presets import Preset, PresetRow, load_preset
from benchmark.planning.stored_runs import task_key
from benchmark.plugins import Plugin
from benchmark.running.execution import Execution
from methods.base import Method
from results.checkpoints import tensor_hash
from results.store import RunStore
from scenarios.base import LearnTask, SourceOptions, StreamProtocol, Task

TINY = Path(__file__).with_name("tiny.yaml")
SEEDS = (0, 1)


@dataclass(frozen=True, slots=True)
class Circumstances:
    """Circumstances of learning.

    seed: of the run.
    global_seed: of the global generators, from which no method may draw.
    other_test_images: True if the stream's test images are exchanged for others.
    turns: number of turns after which learning stops; None: all.
    """

    seed: int = SEEDS[0]
    global_seed: int = 1
    other_test_images: bool = False
    turns: int | None = None


USUAL = Circumstances()
ELSEWHERE = Circumstances(global_seed=2, other_test_images=True)
"""Everything differs that must not matter."""

OTHER_SEED = Circumstances(seed=SEEDS[1], turns=1)


@dataclass(frozen=True, slots=True)
class Kept:
    """A classifier as it was handed out when its task was learned.

    classifier: the module itself.
    fingerprint: of the module at that time.
    logits: of the task's probes at that time, float (N, classes).
    """

    classifier: nn.Module
    fingerprint: str
    logits: Tensor


class LearnerOnTrial(Learner):
    """A learner that tests `FIRST` of a classifier before it validates it, so that a broken one is named clearly.

    tasks: of the stream, with their test images.
    """

    def __init__(self, job: Job, machine: Machine, tasks: list[Task], store: RunStore) -> None:
        super().__init__(job, machine, job.stream, store, _nobody)
        self.tasks = tasks

    def learn_turn(self, turn: int) -> None:
        """Learn a turn from its tasks."""
        learned = self.tasks if self.job.all_at_once else [self.tasks[turn]]
        self.learn(turn, [task.to_learn() for task in learned])

    def recheck_validation(self, turn: int, tasks: Sequence[LearnTask]) -> None:
        for task in self.tasks[: turn + 1] if self.job.all_at_once else [self.tasks[turn]]:
            classifier = self.method.classifier(self.job.asks(task.id))
            for test in FIRST:
                test(replace(task, seen=task.seen[: turn + 1]), classifier)
        super().recheck_validation(turn, tasks)


@dataclass
class Learned:
    """A stream that was learned.

    learner: the harness' own.
    fingerprints: per turn, of the classifier of every task (`classifier_fingerprint`).
    kept: by task, its classifier as it was handed out first.
    facts: all that were recorded.
    changed_images: images and labels that the method changed, in words.
    changed_settings: global settings that the method changed, in words.
    random_states: of the global generators, after learning.
    """

    learner: LearnerOnTrial
    fingerprints: list[dict[int, str]] = field(default_factory=list)
    kept: dict[int, Kept] = field(default_factory=dict)
    facts: list[dict[str, Any]] = field(default_factory=list)
    changed_images: list[str] = field(default_factory=list)
    changed_settings: list[str] = field(default_factory=list)
    random_states: dict[str, object] = field(default_factory=dict)

    @property
    def method(self) -> Method:
        return self.learner.method

    @property
    def tasks(self) -> list[Task]:
        """The tasks that were learned."""
        return self.learner.tasks[: max(self.fingerprints[-1]) + 1]

    def turn(self, turn: int) -> None:
        """Learn a turn, and note its facts, its classifiers, and images that it changed."""
        learner = self.learner
        images = _hashes(learner.tasks)
        learner.learn_turn(turn)
        # The next turn begins with an empty log.
        self.facts += learner.context.logs.facts
        stored = learner.checkpoints.values(task_key(turn))["classifiers"]
        self.fingerprints.append({int(task): found for task, found in stored.items()})
        self.changed_images += [name for name, found in _hashes(learner.tasks).items() if found != images[name]]
        for task in learner.tasks[: turn + 1]:
            if task.id not in self.kept:
                classifier = learner.method.classifier(learner.job.asks(task.id))
                self.kept[task.id] = Kept(classifier, classifier_fingerprint(classifier), logits_of(classifier, task))


class MethodTrial:
    """A method on trial.

    plugin: the method.
    folder: where its runs are stored.
    overrides: its settings, `key=value` each, as in `--set`.
    protocol: the question at test; None: `task`, or `class` for a method that can answer no other.
    Each of the circumstances is tried once, when it is asked for. Raises ConfigError for wrong overrides.
    """

    def __init__(
        self,
        plugin: Plugin[Method],
        folder: Path,
        overrides: Sequence[str] = (),
        protocol: StreamProtocol | None = None,
    ) -> None:
        self.plugin, self.folder = plugin, folder
        self._asked = protocol
        self.overrides = [f"methods.{plugin.name}.{override}" for override in overrides]
        self._learned: dict[Circumstances, Learned] = {}
        if overrides:
            _ = self.row

    @property
    def path(self) -> Path:
        return self.plugin.path

    @property
    def cls(self) -> type[Method]:
        return self.plugin.cls

    @cached_property
    def protocol(self) -> StreamProtocol:
        """The question at test."""
        if self._asked is not None:
            return self._asked
        (row,) = load_preset(str(TINY), self.overrides, SEEDS, [self.plugin.reference]).choose([self.plugin.reference])
        return "task" if "task" in self.cls.can_answer(row.settings) else "class"

    @cached_property
    def preset(self) -> Preset:
        asked = [] if self.protocol == "task" else [f"scenario.protocol={self.protocol}"]
        return load_preset(str(TINY), [*self.overrides, *asked], SEEDS, [self.plugin.reference])

    @cached_property
    def row(self) -> PresetRow:
        """The method's row in the tiny preset, or else one with its defaults. Raises ConfigError."""
        (row,) = self.preset.choose([self.plugin.reference])
        return row

    @cached_property
    def machine(self) -> Machine:
        """The machine of the runs that the method requires."""
        return Machine(
            self.folder / "required",
            self.folder / "published",
            SourceOptions(),
            "cpu",
            1,
            torch.get_num_threads(),
            "",
            learn_apart=False,
        )

    @cached_property
    def jobs(self) -> list[Job]:
        """The method's jobs, one per seed, each after those it requires. Raises ConfigError, MethodError."""
        return make_jobs(self.preset, [self.row], self._tasks(), self.machine.source)

    def _tasks(self) -> list[Task]:
        return self.preset.scenario(self.machine.source).load()

    def job(self, seed: int) -> Job:
        return next(job for job in self.jobs if job.of_preset and job.seed == seed)

    def under(self, protocol: StreamProtocol) -> MethodTrial:
        """The same method, asked another question."""
        trial = MethodTrial(self.plugin, self.folder / protocol, (), protocol)
        trial.overrides = self.overrides
        return trial

    def classifier(self, method: Method, task: int) -> nn.Module:
        """The classifier that a method hands out for a task."""
        return method.classifier(self.job(SEEDS[0]).asks(task))

    @cached_property
    def usual(self) -> Learned:
        """The stream learned in the usual circumstances."""
        return self.learned(USUAL)

    def learned(self, circumstances: Circumstances) -> Learned:
        """Learn the stream in these circumstances. Raises whatever the method raises, with a note that says when."""
        if circumstances not in self._learned:
            self._require(circumstances.seed)
            self._learned[circumstances] = self._learn(circumstances)
        return self._learned[circumstances]

    def resumed(self) -> Learned:
        """Learn the last turn with a fresh instance from the checkpoint of the turn before, as after a kill."""
        before, last = self.usual.learner.turns[-2:]

        def restore(learner: Learner) -> None:
            directory = learner.checkpoints.directory
            shutil.copytree(self.usual.learner.checkpoints.directory, directory)
            learner.checkpoints.forget([task_key(last)])
            learner.restore(before)

        return self._learn(Circumstances(global_seed=3), restore, [last])

    def restored(self) -> Method:
        """Make a fresh instance and give it the state of the last checkpoint, nothing else."""
        learner = self.usual.learner
        machine = replace(self.machine, runs=learner.store.directory.parent)
        return restored_method(learner.job, machine, task_key(learner.turns[-1]))

    def _require(self, seed: int) -> None:
        """Learn the runs that the method requires, without attacking anything."""
        for job in self.jobs:
            if job.of_preset or job.seed != seed or RunStore(self.machine.runs, job.hash).exists():
                continue
            tasks = tasks_of(job, self._tasks(), self.machine)
            execution = Execution(job, self.machine, tasks, RunStore(self.machine.runs, job.hash), _nobody)
            execution.prepare()
            with repeatable(), random_state_kept():
                for turn in execution.turns:
                    execution.learn(turn)
            execution.restore(execution.turns[-1])
            execution.write_costs()

    def _learn(
        self,
        circumstances: Circumstances,
        restore: Callable[[Learner], None] | None = None,
        turns: Sequence[int] | None = None,
    ) -> Learned:
        job = self.job(circumstances.seed)
        place = self.folder / f"trial-{sum(1 for _ in self.folder.glob('trial-*'))}"
        place.mkdir(parents=True)
        with ExitStack() as stack:
            stack.enter_context(random_state_kept())
            stack.enter_context(repeatable())
            if circumstances.other_test_images:
                stack.enter_context(other_test_images(self.preset.scenario_plugin.cls))
            learner = LearnerOnTrial(job, self.machine, self._tasks(), RunStore(place, job.hash))
            learned = Learned(learner)
            seed_everything(circumstances.global_seed)
            # Innermost: what the method changed is put back before anything else is.
            learned.changed_settings = stack.enter_context(settings_watched())
            doing = "when it begins"
            try:
                learner.begin()
                if restore is not None:
                    doing = "while it takes over its state"
                    restore(learner)
                for turn in turns or learner.turns[: circumstances.turns]:
                    doing = "while learning all tasks" if job.all_at_once else f"while learning task {turn}"
                    learned.turn(turn)
            except (Exception, SystemExit) as error:
                error.add_note(doing)
                raise
            learned.random_states = random_states()
        return learned


def _nobody(event: object) -> None:
    """Nobody listens."""


def _hashes(tasks: Sequence[Task]) -> dict[str, str]:
    """SHA-256 of the images and labels that a method learns from, by what they are called."""
    return {
        f"{part}.{what} of task {task.id}": tensor_hash(getattr(getattr(task, part), what))
        for task in tasks
        for part in ("train", "validation")
        for what in ("images", "labels")
    }


def difference(first: nn.Module, second: nn.Module) -> str:
    """The tensors in which two classifiers differ, such as `head.weight, head.bias and 3 more`."""
    one, other = dict(first.state_dict()), dict(second.state_dict())
    names = [
        name
        for name in sorted(one.keys() | other.keys())
        if name not in one or name not in other or tensor_hash(one[name]) != tensor_hash(other[name])
    ]
    if not names:
        return "something outside its tensors"
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
