"""Runs that a command learns and does not attack. They are learned like any run, so that a killed command goes on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from rich.console import Console

from benchmark.planning.jobs import Job
from benchmark.planning.machine import Machine
from benchmark.planning.plan import Cost, Planned, plan
from benchmark.planning.stored_runs import task_checkpoints, task_key
from benchmark.running.engines.choice import run_jobs
from benchmark.running.failures import JobResult
from benchmark.running.progress.display import Display
from results.checkpoints import Checkpoints
from results.store import RunStore
from scenarios.base import Task


def is_learned(job: Job, machine: Machine, tasks: int) -> bool:
    """True if the states after every task are there, or the last of a method that does not forget."""
    names = set(task_checkpoints(Checkpoints(RunStore(machine.runs, job.hash).directory / "checkpoints")))
    turns = [tasks - 1] if job.claims_unforgetting else job.turns(tasks)
    return all(task_key(turn) in names for turn in turns)


def still_to_learn(jobs: Sequence[Job], machine: Machine, tasks: list[Task]) -> list[Planned]:
    """The jobs that lack a task, without anything to attack, each after the runs that it needs and that lack one too."""
    planned = plan(jobs, machine, tasks)
    return [
        replace(item, job=replace(item.job, of_preset=False, learn_only=True), work=(), evaluation=Cost())
        for item in planned
        if item.turns
    ]


def learn(todo: Sequence[Planned], machine: Machine, tasks: list[Task], console: Console) -> list[JobResult]:
    """Learn the runs; return how each ended."""
    with Display(todo, machine.workers, console) as display:
        return run_jobs(todo, machine, tasks, display)
