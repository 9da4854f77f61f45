"""The classifier that a submission attacks: that of a task after the last one, made from the run's checkpoint."""

from __future__ import annotations

import shlex
from dataclasses import dataclass

import torch
from rich.console import Console
from torch import nn

from attacks.threat_model import ThreatModel
from benchmark.commands.verify.presets import Made, origin_of
from benchmark.errors import ConfigError
from benchmark.evaluating.fingerprints import classifier_fingerprint
from benchmark.learning.restoring import Classifiers
from benchmark.planning.options import RunOptions
from benchmark.planning.presets.overrides import taken_apart
from benchmark.planning.stored_runs import find_stored_run, task_key
from benchmark.planning.tasks import find_task
from results.checkpoints import Checkpoints
from results.files import StoreError
from results.records import Run, load
from scenarios.base import Task


@dataclass(frozen=True, slots=True)
class SubmissionTarget:
    """The classifier that a submission attacks.

    made: the run as its preset makes it: job, machine and tasks.
    task: the task the classifier is of.
    turn: the last task of the run; the classifier is as it was after it.
    classifier: the module, from images in [0, 1] to logits of the task's classes.
    fingerprint: the classifier's fingerprint, 64 hex digits.
    standing: ids of the test samples that no stored attack breaks at the ranking's norm and eps.
    """

    made: Made
    task: Task
    turn: int
    classifier: nn.Module
    fingerprint: str
    standing: frozenset[int]


def open_target(name: str, task: str, options: RunOptions) -> SubmissionTarget:
    """The classifier of a task of a stored run, for an attack on it.

    name: the beginning of the run's hash, or its label. task: its number or its name. options: the folders of runs and data,
    and the preset of the run. Raises ConfigError, StoreError, MethodError.
    """
    run = find_stored_run(name, load(options.results, options.published), options.results, options.preset)
    return target_of(run, task, options, Console(quiet=True))


def target_of(run: Run, task_name: str, options: RunOptions, console: Console) -> SubmissionTarget:
    """The classifier of a task of this run. Raises ConfigError, StoreError, MethodError."""
    _require_checkpoints(run)
    origin = origin_of(run, options, console)
    if origin.made is None:
        reasons = "; ".join([*origin.presets.problems, origin.presets.left_out]).strip("; ")
        raise ConfigError(f"{run.label}: {origin.lacking} ({reasons})")
    made = origin.made
    turn = len(made.tasks) - 1
    task = find_task(made.tasks, task_name)
    if task_key(turn) not in Checkpoints(run.directory / "checkpoints"):
        raise ConfigError(f"{run.label}: no checkpoint after the last task ({task_key(turn)}); run it to its end first")
    torch.set_num_threads(made.machine.threads)
    classifier = Classifiers(made.machine).of(made.job, turn, task.id)
    fingerprint = classifier_fingerprint(classifier)
    _require_evaluated(run, turn, task, fingerprint)
    standing = _standing(run, turn, task, made.job.preset.ranking)
    return SubmissionTarget(made, task, turn, classifier, fingerprint, standing)


def _require_checkpoints(run: Run) -> None:
    """Raise ConfigError, with the command that makes the run here, if the run has no checkpoints."""
    if run.published or not Checkpoints(run.directory / "checkpoints").names():
        what = "is a published record without checkpoints" if run.published else "holds no checkpoints"
        name, demand = next(iter(run.protocols.items()), ("PRESET", {}))
        preset, overrides = taken_apart(name, str(demand.get("command", "")))
        words = ["run", "--preset", preset, "--methods", run.label, "--seeds", str(run.seed)]
        command = shlex.join([*words, *(["--set", *overrides] if overrides else []), "--force"])
        raise ConfigError(f"{run.label}: {what}, so nothing can be scored; make it here first with `{command}`")


def _require_evaluated(run: Run, turn: int, task: Task, fingerprint: str) -> None:
    """Raise ConfigError if nothing attacked the task's classifier yet, StoreError if something attacked another one."""
    rows = run.evaluations
    rows = rows[(rows["after_task"] == turn) & (rows["task"] == task.id)]
    if rows.empty:
        raise ConfigError(f"{run.label}: task {task.id} is not evaluated after the last task; run it to its end first")
    if set(rows["classifier"]) != {fingerprint} or set(rows["task_fingerprint"]) != {task.test_fingerprint}:
        raise StoreError(
            f"{run.directory}: the checkpoint is not the classifier that was evaluated; "
            f"`verify {run.hash[:8]}` says more"
        )


def _standing(run: Run, turn: int, task: Task, model: ThreatModel) -> frozenset[int]:
    """Samples that are right on the clean image and under every stored attack of this norm and eps."""
    rows = run.evaluations
    here = (rows["kind"] == "clean") | ((rows["norm"] == model.norm) & (rows["eps"] == str(model.eps)))
    identifiers = set(rows.loc[here & (rows["after_task"] == turn) & (rows["task"] == task.id), "evaluation_id"])
    found = run.predictions
    found = found[(found["after_task"] == turn) & (found["task"] == task.id) & found["evaluation_id"].isin(identifiers)]
    wrong = set(found.loc[found["predicted"] != found["label"], "sample"].tolist())
    return frozenset(set(task.test.samples.tolist()) - wrong)
