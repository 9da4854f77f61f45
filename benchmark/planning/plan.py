"""Before anything starts: what is there, what is to be done, and how long it will take on this machine."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from statistics import median

import torch
import torch.nn.functional as F

from attacks.parts.ascent import ascend
from benchmark.planning.cells import Cell, Stored, Work, missing, shared_work
from benchmark.planning.jobs import Job, tasks_of
from benchmark.planning.machine import Machine
from benchmark.planning.stored_runs import find_run, task_key
from methods.backbones import MultiHead
from results.checkpoints import Checkpoints
from results.records import Run
from results.schema import COSTS, PROBES
from results.store import RunStore
from scenarios.base import Scenario, Task


@dataclass(frozen=True)
class Planned:
    """A job with what it still lacks.

    turns: tasks (or, learned all at once, 1) to learn; passes: forward-sized passes of one image, for learning and for
    evaluating; published: the tracked record that makes it complete; parts_missing: whether what ends a run is not there.
    """

    job: Job
    turns: int
    work: tuple[Work, ...]
    learning_passes: float
    evaluation_passes: float
    run: Run | None
    published: bool = False
    parts_missing: bool = False

    @property
    def complete(self) -> bool:
        return not self.turns and not self.work and not self.parts_missing

    @property
    def cells(self) -> int:
        """How many attacks on a task are to be measured."""
        return sum(len(work.run.members) for work in self.work)

    @property
    def passes(self) -> float:
        return self.learning_passes + self.evaluation_passes

    @property
    def state(self) -> str:
        if self.complete:
            return "published" if self.published else "complete"
        if not self.turns:
            return "evaluate"
        return "go on" if self.run is not None else "train"


def plan(jobs: Sequence[Job], machine: Machine, tasks: list[Task], *, use_published: bool = True) -> list[Planned]:
    """What each job still lacks, without those that nobody lacks. use_published: whether tracked records count as done."""
    if not use_published:
        machine = replace(machine, published=machine.runs / ".nowhere")
    planned: list[Planned] = []
    # From the rows to what they need: a run that only others need has nothing to do where those have learned already.
    wanted: set[str] = set()
    for job in reversed(jobs):
        if job.of_preset or job.hash in wanted:
            job = replace(job, weights=job.weights and job.hash in wanted, learn_only=not job.of_preset)
            planned.append(_plan_job(job, machine, tasks_of(job, tasks, machine)))
            if planned[-1].turns:
                wanted |= {need.hash for need in job.needs.values()}
    return planned[::-1]


def _plan_job(job: Job, machine: Machine, tasks: Sequence[Task]) -> Planned:
    all_at_once = "all_tasks" in job.plugin.cls.needs
    turns = [len(tasks) - 1] if all_at_once else list(range(len(tasks)))
    run = find_run(job.hash, machine)
    # A failed or published run without checkpoints can still be complete: only what is demanded counts.
    lacking = _lacking(job, run, tasks, turns, all_at_once, checks=False)
    if run is not None and run.published and (lacking or job.weights):
        job = replace(job, learn_only=job.learn_only or not lacking)
        run = find_run(job.hash, replace(machine, published=machine.runs / ".nowhere"))
        lacking = _lacking(job, run, tasks, turns, all_at_once, checks=False)
    local = RunStore(machine.runs, job.hash)
    there = (
        set(Checkpoints(local.directory / "checkpoints").names()) if run is not None and not run.published else set()
    )
    latest = max((turn for turn in turns if task_key(turn) in there), default=-1)
    published = run is not None and run.published
    unlearned = latest < turns[-1] and not published
    to_learn = [turn for turn in turns if turn > latest] if lacking or (job.learns and unlearned) else []
    finished = latest == turns[-1]
    if finished or to_learn:
        # What only checks look at is made while the classifiers are there; nobody learns again for it.
        lacking = _lacking(job, run, tasks, turns, all_at_once, checks=True)
    work = shared_work(lacking)
    sizes = [(len(task.train), len(task.validation)) for task in tasks]
    learned = sizes if all_at_once and to_learn else [sizes[turn] for turn in to_learn]
    per_task = _passes_of_learning(job)
    return Planned(
        job=job,
        turns=len(to_learn),
        work=tuple(work),
        learning_passes=sum(per_task(train, held_out) for train, held_out in learned),
        evaluation_passes=sum(passes_of(item, tasks) for item in _paid(job, work)),
        parts_missing=finished and not all(local.has_part("facts", part) for part in _last_parts(job)),
        run=run,
        published=published,
    )


def _last_parts(job: Job) -> tuple[str, ...]:
    """The parts of a run's facts without which it is not finished."""
    return (COSTS,) if job.learn_only else (COSTS, PROBES)


def _lacking(
    job: Job, run: Run | None, tasks: Sequence[Task], turns: Sequence[int], all_at_once: bool, checks: bool
) -> list[Cell]:
    if job.learn_only:
        return []
    stored = Stored(run, job.preset)
    return [cell for turn in turns for cell in missing(job.preset, tasks, stored, turn, all_at_once, checks)]


def _passes_of_learning(job: Job) -> Callable[[int, int], float]:
    """Passes that learning costs on so many training and validation images, at most."""
    cls, settings, recipe = job.plugin.cls, job.typed_settings, job.recipe
    epochs, per_image = cls.epochs(settings, recipe), cls.passes(settings, recipe)
    validations = math.ceil(epochs / recipe.selection.every)
    per_validation = 2 * recipe.selection.steps + 1
    return lambda train, held_out: epochs * train * per_image + validations * held_out * per_validation


def _paid(job: Job, work: Sequence[Work]) -> list[Work]:
    """The work that is really run: old classifiers of a method that does not forget are attacked once."""
    if "unforgetting" not in job.new_method().claimed():
        return list(work)
    return list({(item.task, item.run, item.samples): item for item in reversed(work)}.values())


def passes_of(work: Work, tasks: Sequence[Task]) -> float:
    """Forward-sized passes that a run of attacks costs, at most."""
    return work.run.passes(len(tasks[work.task].classes)) * len(work.samples)


def seconds_per_pass(jobs: Sequence[Job], scenario: Scenario, device: str, threads: int) -> float:
    """Seconds of one forward-sized pass per image, from about a second of PGD with the preset's network on this machine."""
    job, stream = jobs[0], scenario.stream()
    torch.set_num_threads(threads)
    backbone = job.preset.file.backbone.build(stream.image_shape)
    network = MultiHead(backbone, stream.class_counts, stream.mean, stream.std).for_task(0)
    network.to(device, memory_format=torch.channels_last).eval().requires_grad_(False)
    images = torch.rand(job.recipe.batch_size, *stream.image_shape, device=device)
    labels = torch.zeros(len(images), dtype=torch.int64, device=device)

    def step() -> None:
        ascend(lambda x: F.cross_entropy(network(x), labels), images, images - 0.1, images + 0.1, 0.01, 1)
        if device.startswith("cuda"):
            torch.cuda.synchronize()

    times: list[float] = []
    step()
    began = time.perf_counter()
    while time.perf_counter() - began < 1.0 or len(times) < 3:
        before = time.perf_counter()
        step()
        times.append(time.perf_counter() - before)
    return median(times) / 2 / len(images)


def checkpoint_gigabytes(jobs: Sequence[Planned], scenario: Scenario) -> float:
    """At most so much will the checkpoints take: every task's network stored anew."""
    stream = scenario.stream()
    if not jobs:
        return 0.0
    # On the meta device nothing is allocated, however wide the network is.
    with torch.device("meta"):
        backbone = jobs[0].job.preset.file.backbone.build(stream.image_shape)
    parameters = sum(parameter.numel() for parameter in backbone.parameters())
    return sum(item.turns for item in jobs) * parameters * 4 / 1e9
