"""The plan of a command before anything starts: what is stored, what is missing, and how long it will take here."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction

import torch

from attacks.distilled import Distilled
from attacks.inside import Inside
from attacks.parts.trajectory.outcomes import milestones
from attacks.search import SearchAttack
from benchmark.evaluating.questions import asked_phases
from benchmark.planning.cells import Cell, Stored, Work, demanded, missing_cells, shared_work, to_hand_over_again
from benchmark.planning.jobs import Job, tasks_of
from benchmark.planning.machine import Machine
from benchmark.planning.stored_runs import (
    HANDED_OVER,
    find_run,
    learnable_again,
    task_key,
    turns_to_learn,
    unusable,
    without_facts,
)
from results.checkpoints import Checkpoints
from results.parts import Problem
from results.records import Run
from results.schema import AFRESH, COSTS, UNFORGETTING
from results.store import RunStore
from scenarios.base import Scenario, Task

ASKED_OF_SEARCH = 3
"""Times that the exact classifier judges an image of an attack that searches: unchanged, when it seems broken, at the end."""

STANDING = Fraction(5, 4)
"""The expected part of an attack's passes, in units of chance, if it goes on with images that stand alone. AutoAttack took 0.05
to 0.33 of its passes on the 14 published rows of `cifar100-cpu` (median 0.23), where chance is 0.2."""

PER_RUN, PER_TURN = 8.0, 1.0
"""Seconds of a run, and of each task that it learns, that are neither training nor attack: processes, files, proofs, probes."""


@dataclass(frozen=True, slots=True)
class Cost:
    """Forward-sized passes of one image, by the rate at which a machine makes them; an image gradient is two.

    training: in training steps, at most.
    walking: of attacks in the precision that evaluations allow.
    exact: in float32: of the validation attack, and of what judges attacks in another precision.
    turns: tasks learned, each with files, proofs and probes.
    """

    training: float = 0.0
    walking: float = 0.0
    exact: float = 0.0
    turns: int = 0

    def __add__(self, other: Cost) -> Cost:
        return Cost(
            self.training + other.training,
            self.walking + other.walking,
            self.exact + other.exact,
            self.turns + other.turns,
        )

    @property
    def passes(self) -> float:
        return self.training + self.walking + self.exact


@dataclass(frozen=True, slots=True)
class Rates:
    """Seconds per image and forward-sized pass.

    training: of steps of plain adversarial training by the preset's recipe, recorded where steps are.
    walking: of attacks in the precision that evaluations allow.
    exact: of attacks in float32.
    """

    training: float
    walking: float
    exact: float

    def of_passes(self, cost: Cost) -> float:
        """The seconds that the passes of a cost take."""
        return cost.training * self.training + cost.walking * self.walking + cost.exact * self.exact

    def seconds(self, cost: Cost) -> float:
        """The seconds that a run of this cost takes, if nothing else runs."""
        return self.of_passes(cost) + PER_RUN + PER_TURN * cost.turns if cost.passes else 0.0

    def __str__(self) -> str:
        """For people, in microseconds."""
        shown = {"training": self.training, "attacks": self.walking, "float32": self.exact}
        if self.walking == self.exact:
            del shown["float32"]
        return ", ".join(f"{name} {value * 1e6:.3g}" for name, value in shown.items()) + " µs per image and pass"


@dataclass(frozen=True)
class Planned:
    """A job with everything that it still lacks.

    job: the job.
    turns: turns to learn, 0 or more; 1 at most if all tasks are learned at once.
    work: attacks to run.
    learning: what learning costs, at most.
    evaluation: what the attacks cost.
    run: the stored run; None if nothing is stored.
    published: True if `run` is a tracked record.
    parts_missing: True if the run is learned but parts are not stored, or unusable, that can be made again.
    unusable: the parts that reports cannot use.
    """

    job: Job
    turns: int
    work: tuple[Work, ...]
    learning: Cost
    evaluation: Cost
    run: Run | None
    published: bool = False
    parts_missing: bool = False
    unusable: tuple[Problem, ...] = ()

    @property
    def complete(self) -> bool:
        return not self.turns and not self.work and not self.parts_missing

    @property
    def cells(self) -> int:
        """The number of cells to attack."""
        return sum(len(work.run.members) for work in self.work)

    @property
    def learning_passes(self) -> float:
        return self.learning.passes

    @property
    def evaluation_passes(self) -> float:
        return self.evaluation.passes

    @property
    def passes(self) -> float:
        return self.cost.passes

    @property
    def cost(self) -> Cost:
        return self.learning + self.evaluation

    @property
    def state(self) -> str:
        """One or two words for people: how far the run is."""
        if self.complete:
            return "published" if self.published else "complete"
        if not self.turns:
            return "evaluate"
        return "go on" if self.run is not None else "train"


def plan(jobs: Sequence[Job], machine: Machine, tasks: list[Task], *, use_published: bool = True) -> list[Planned]:
    """Find what each job still lacks.

    Jobs that only other runs need are left out if those runs have learned already, unless one was stopped between its last task
    and its end.

    use_published: False if tracked records do not count as stored.
    """
    if not use_published:
        machine = machine.without_published()
    planned: list[Planned] = []
    # From the rows back to what they need: only a run that still has to learn wants its prerequisites.
    wanted: set[str] = set()
    for job in reversed(jobs):
        if job.of_preset or job.hash in wanted:
            job = replace(job, weights=job.weights and job.hash in wanted, learn_only=not job.of_preset)
            planned.append(_plan_job(job, machine, tasks_of(job, tasks, machine)))
            if planned[-1].turns:
                wanted |= {need.hash for need in job.needs.values()}
        else:
            item = _plan_job(replace(job, weights=False, learn_only=True), machine, tasks_of(job, tasks, machine))
            if item.parts_missing and not item.turns:
                planned.append(item)
    return planned[::-1]


def _plan_job(job: Job, machine: Machine, tasks: Sequence[Task]) -> Planned:
    turns = job.turns(len(tasks))
    run = find_run(job.hash, machine)
    # A failed run, or a published one without checkpoints, can still be complete: only what is demanded counts.
    lacking = _missing(job, run, tasks, extra=False)
    if run is not None and run.published and (lacking or job.weights):
        # Nothing can be attacked or handed on without checkpoints, so the run is learned here.
        job = replace(job, learn_only=job.learn_only or not lacking)
        run = find_run(job.hash, machine.without_published())
        lacking = _missing(job, run, tasks, extra=False)
    published = run is not None and run.published
    local = RunStore(machine.runs, job.hash)
    kept = None if run is None or published else Checkpoints(local.directory / "checkpoints")
    learned = kept is not None and task_key(turns[-1]) in kept
    must_learn = bool(lacking) or (job.learns and not learned and not published)
    to_learn = turns_to_learn(kept, job, turns, {cell.after_task for cell in lacking}) if must_learn else []
    if learned or to_learn:
        # Extra attacks are run while the classifiers are there; nothing is learned again for them.
        lacking = _missing(job, run, tasks, extra=True)
    if learned and not published and _afresh_is_lost(job, local):
        lacking = [*lacking, *to_hand_over_again(job, tasks, Stored(run, job.preset))]
    work = shared_work(lacking)
    broken = [] if run is None else unusable(run)
    again: list[int] = []
    if learned and not published:
        # A part that is unreadable counts as missing: it is set aside before anything is made again.
        torn = {problem.path.stem for problem in broken if problem.path.parent.name in ("facts", "training")}
        candidates = [turn for turn in turns if task_key(turn) in torn or turn in without_facts(local, turns)]
        again = [
            turn for turn in candidates if learnable_again(Checkpoints(local.directory / "checkpoints"), turns, turn)
        ]
    to_learn = sorted({*to_learn, *again})
    return Planned(
        job=job,
        turns=len(to_learn),
        work=tuple(work),
        learning=learning_cost(job, tasks, to_learn),
        evaluation=sum((cost_of(item, job, tasks) for item in _paid(job, work)), Cost()),
        parts_missing=learned and (bool(broken) or not all(local.has_part("facts", part) for part in _last_parts(job))),
        unusable=tuple(broken),
        run=run,
        published=published,
    )


def _afresh_is_lost(job: Job, local: RunStore) -> bool:
    """True if nothing says how classifiers that were made anew answered, and no image waits to be judged by them."""
    there = local.has_part("facts", AFRESH) or (local.directory / HANDED_OVER).exists()
    return not there and not job.learn_only


def _missing(job: Job, run: Run | None, tasks: Sequence[Task], *, extra: bool) -> list[Cell]:
    """The cells of all turns that a stored run lacks."""
    stored = Stored(run, job.preset)
    turns = job.turns(len(tasks))
    return [cell for turn in turns for cell in missing_cells(demanded(job, tasks, turn, extra=extra), stored, turn)]


def _last_parts(job: Job) -> tuple[str, ...]:
    """The parts of a run's facts without which it is not finished."""
    proved = (UNFORGETTING,) if job.claims_unforgetting else ()
    return (COSTS, *proved) if job.learn_only else (COSTS, AFRESH, *proved, *asked_phases(job.preset.evaluation))


def learning_cost(job: Job, tasks: Sequence[Task], turns: Sequence[int]) -> Cost:
    """The cost of learning these turns, as methods forecast it; images that a method adds to a task are not in it."""
    cls, settings, recipe = job.plugin.cls, job.typed_settings, job.recipe
    epochs, per_image = cls.epochs(settings, recipe), cls.passes(settings, recipe)
    validations = math.ceil(epochs / recipe.selection.every)
    per_validation = 2 * recipe.selection.steps + 1
    learned = tasks if job.all_at_once and turns else [tasks[turn] for turn in turns]
    # The ragged last batch of an epoch is dropped; of tasks that are learned together there is one.
    sizes = [sum(len(task.train) for task in learned)] if job.all_at_once else [len(task.train) for task in learned]
    images = sum(size - size % min(size, recipe.batch_size) for size in sizes if size)
    return Cost(
        training=epochs * images * per_image,
        exact=sum(validations * len(task.validation) * per_validation for task in learned),
        turns=len(turns),
    )


def _paid(job: Job, work: Sequence[Work]) -> list[Work]:
    """The work that is really run: a classifier that does not change between turns is attacked once."""
    if not job.claims_unforgetting:
        return list(work)
    return list({(item.task, item.run, item.samples): item for item in reversed(work)}.values())


def cost_of(work: Work, job: Job, tasks: Sequence[Task]) -> Cost:
    """The expected cost of attacks: those that go on with images that stand take a part of their passes."""
    task, count, run = tasks[work.task], len(work.samples), work.run
    passes = run.passes(task.answers(work.after_task)) * count
    searches = isinstance(run.attack, SearchAttack)
    if searches and not isinstance(run.attack, Inside | Distilled):
        passes *= min(1.0, float(STANDING) / task.answers(work.after_task))
    if job.preset.precision_of(run.attack) == "fp32":
        return Cost(exact=passes)
    # A walk in another precision stops there too, for the exact classifier to be asked.
    stops = {member.steps for member in run.members} | set(milestones(run.attack.steps))
    # At each stop about the point that was reached, and about the worst one if that is another.
    asked = ASKED_OF_SEARCH if searches else 2 * len(stops) * run.rows_per_image
    return Cost(walking=passes, exact=asked * count)


def checkpoint_gigabytes(jobs: Sequence[Planned], scenario: Scenario) -> float:
    """Gigabytes that the checkpoints will take, at most: as if every turn stored a whole network."""
    stream = scenario.stream()
    if not jobs:
        return 0.0
    # On the meta device nothing is allocated, however wide the network is.
    with torch.device("meta"):
        backbone = jobs[0].job.preset.file.backbone.build(stream.image_shape)
    parameters = sum(parameter.numel() for parameter in backbone.parameters())
    return sum(item.turns for item in jobs) * parameters * 4 / 1e9
