"""`verify RUN --submit FILE --task T`: adversarial images of somebody else's attack, scored and kept with the run.

From then on the worst case of the run is taken over them too.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import torch
from rich.console import Console
from torch import nn

from attacks.parts.sharing import SharedRun
from attacks.parts.submitted import Images, Submitted
from attacks.threat_model import BALL_TOLERANCE, ThreatModel
from benchmark.commands.verify.origins import origin_of
from benchmark.commands.verify.submit.file import SubmittedFile, read_submission
from benchmark.errors import ConfigError
from benchmark.evaluating.attacking import Attacked, attack_task
from benchmark.evaluating.fingerprints import classifier_fingerprint
from benchmark.evaluating.kept_images import broken_images
from benchmark.learning.restoring import Classifiers
from benchmark.planning.cells import Work
from benchmark.planning.jobs import Job
from benchmark.planning.machine import Machine, check_writable
from benchmark.planning.options import RunOptions
from benchmark.planning.stored_runs import find, task_key
from benchmark.planning.tasks import find_task
from benchmark.running.recording import Recorder
from benchmark.running.verdict_files import stored_verdicts, write_verdicts
from reports.numbers.wording import counted
from results.checkpoints import Checkpoints
from results.files import StoreError
from results.records import Run, load
from results.store import RunStore
from scenarios.base import Task
from scenarios.parts.augmentation import to_float


@dataclass(frozen=True, slots=True)
class SubmissionTarget:
    """What a submission is made for: the classifier of a task after the last one, and what was measured of it.

    standing: test samples that nothing stored breaks at the ranking's norm and eps.
    """

    job: Job
    machine: Machine
    task: Task
    turn: int
    classifier: nn.Module
    fingerprint: str
    standing: frozenset[int]


def submit(run: Run, file: Path, task_name: str, options: RunOptions, console: Console) -> int:
    """Score a file of adversarial images and keep what it breaks. Returns 0.

    Raises ConfigError, StoreError, MethodError: one line; nothing was changed then.
    """
    submitted = read_submission(file)
    target = target_of(run, task_name, options, console)
    known = _is_known(run, submitted.sha256, target)
    if known is not None:
        console.print(f"{file} was submitted before, as {known!r}; nothing was changed", highlight=False, markup=False)
        return 0
    _check_images(submitted, target, file)
    attack = Submitted(
        threat_model=target.job.preset.ranking,
        title=submitted.notes.get("name", file.stem),
        author=submitted.notes.get("author", ""),
        made_with=submitted.notes.get("attack", ""),
        sha256=submitted.sha256,
        images=Images(submitted.samples, submitted.images),
    )
    check_writable(options.results)
    with RunStore(target.machine.runs, target.job.hash).working():
        attacked = _record(attack, target)
    for preset in stored_verdicts(run):
        write_verdicts(options.results, options.published, preset)
    wrong = attacked.samples[attacked.outcomes[attack].any.predicted != attacked.labels]
    broken = set(wrong.tolist()) & set(submitted.samples.tolist())
    newly = broken & target.standing
    total = len(submitted.samples)
    console.print(
        f"{run.label} seed {run.seed}, task {target.task.id} ({target.task.name}): {len(newly)} newly broken of "
        f"{counted(total, 'image')}; {len(broken - newly)} were wrong already, {total - len(broken)} are right",
        highlight=False,
        markup=False,
    )
    name = target.job.preset.attack_name(attack)
    console.print(f"kept as {name!r}: the worst case of this run contains it", highlight=False, markup=False)
    return 0


def open_target(name: str, task: str, options: RunOptions) -> SubmissionTarget:
    """What there is to attack: the classifier of a task of a stored run. Raises ConfigError, StoreError, MethodError.

    name: of the run, as for `verify`; task: number or name; options: where runs and data are, and whose preset.
    """
    run = find(name, load(options.results, options.published), options.results)
    return target_of(run, task, options, Console(quiet=True))


def target_of(run: Run, task_name: str, options: RunOptions, console: Console) -> SubmissionTarget:
    """The classifier that images are submitted for, from its checkpoint. Raises ConfigError, StoreError, MethodError."""
    checkpoints = Checkpoints(run.directory / "checkpoints")
    if run.published or not checkpoints.names():
        what = "is a published record without checkpoints" if run.published else "holds no checkpoints"
        preset = next(iter(run.protocols), "PRESET")
        command = f"run --preset {preset} --methods {run.label} --seeds {run.seed} --force"
        raise ConfigError(f"{run.label}: {what}, so nothing can be scored; make it here first with `{command}`")
    origin = origin_of(run, options, console)
    if origin.job is None or origin.machine is None or origin.tasks is None:
        said = "; ".join([*origin.presets.problems, origin.presets.left_out]).strip("; ")
        raise ConfigError(f"{run.label}: {origin.why} ({said})")
    turn = len(origin.tasks) - 1
    task = find_task(origin.tasks, task_name)
    if task_key(turn) not in checkpoints:
        raise ConfigError(f"{run.label}: no checkpoint after the last task ({task_key(turn)}); run it to its end first")
    torch.set_num_threads(origin.machine.threads)
    classifier = Classifiers(origin.machine).of(origin.job, turn, task.id)
    fingerprint = classifier_fingerprint(classifier)
    rows = run.evaluations
    rows = rows[(rows["after_task"] == turn) & (rows["task"] == task.id)]
    if rows.empty:
        raise ConfigError(
            f"{run.label}: nothing is measured on task {task.id} after the last task; run it to its end first"
        )
    if set(rows["classifier"]) != {fingerprint} or set(rows["task_fingerprint"]) != {task.test_fingerprint}:
        raise StoreError(
            f"{run.directory}: the checkpoint is not the classifier that was measured; `verify {run.hash[:8]}` says more"
        )
    standing = _standing(run, turn, task, origin.job.preset.ranking)
    return SubmissionTarget(origin.job, origin.machine, task, turn, classifier, fingerprint, standing)


def _standing(run: Run, turn: int, task: Task, model: ThreatModel) -> frozenset[int]:
    """Samples that are wrong neither on the clean image nor under any stored attack of this norm and eps."""
    rows = run.evaluations
    here = (rows["kind"] == "clean") | ((rows["norm"] == model.norm) & (rows["eps"] == str(model.eps)))
    identifiers = set(rows.loc[here & (rows["after_task"] == turn) & (rows["task"] == task.id), "evaluation_id"])
    found = run.predictions
    found = found[(found["after_task"] == turn) & (found["task"] == task.id) & found["evaluation_id"].isin(identifiers)]
    wrong = set(found.loc[found["predicted"] != found["label"], "sample"].tolist())
    return frozenset(set(task.test.samples.tolist()) - wrong)


def _is_known(run: Run, sha256: str, target: SubmissionTarget) -> str | None:
    """What the same file goes by where it was submitted for this task's classifier before."""
    rows = run.evaluations
    mine = rows[
        (rows["kind"] == Submitted.KIND) & (rows["task"] == target.task.id) & (rows["after_task"] == target.turn)
    ]
    for name, specification in zip(mine["attack"], mine["specification"], strict=True):
        if json.loads(specification).get("sha256") == sha256:
            return str(name)
    return None


def _check_images(submitted: SubmittedFile, target: SubmissionTarget, file: Path) -> None:
    """Raise ConfigError unless the images are of this classifier and of samples of this task, in shape and in the ball."""
    test, where = target.task.test.to("cpu"), f"--submit {file}"
    said = submitted.notes.get("classifier", "")
    if said and said != target.fingerprint:
        raise ConfigError(
            f"{where}: made for the classifier {said[:12]}; that of task {target.task.id} after the last task is "
            f"{target.fingerprint[:12]} (full: {target.fingerprint})"
        )
    unknown = submitted.samples[~torch.isin(submitted.samples, test.samples)]
    if len(unknown):
        raise ConfigError(
            f"{where}: sample {int(unknown[0])} is not in the test set of task {target.task.id} ({target.task.name}), which has "
            f"{int(test.samples.min())}..{int(test.samples.max())}"
        )
    if submitted.images.shape[1:] != test.images.shape[1:]:
        mine, theirs = tuple(submitted.images.shape[1:]), tuple(test.images.shape[1:])
        raise ConfigError(f"{where}: images of shape {mine}; those of task {target.task.id} are {theirs}")
    place = {int(sample): i for i, sample in enumerate(test.samples.tolist())}
    clean = to_float(test.images[[place[int(sample)] for sample in submitted.samples.tolist()]])
    model = target.job.preset.ranking
    change = model.largest_change(submitted.images, clean)
    outside = change > float(model.eps) + BALL_TOLERANCE * max(1.0, float(model.eps))
    if outside.any():
        first = int(outside.nonzero()[0])
        raise ConfigError(
            f"{where}: {int(outside.sum())} of {len(change)} images are outside the ball of the ranking ({model}); sample "
            f"{int(submitted.samples[first])} changes by {float(change[first]):.6f}"
        )


def _record(attack: Submitted, target: SubmissionTarget) -> Attacked:
    """Score every test image of the task, the unchanged one where none was submitted, and store outcomes and images."""
    task, preset = target.task, target.job.preset
    work = Work(target.turn, task.id, SharedRun((attack,)), tuple(task.test.samples.tolist()))
    attacked = attack_task(target.classifier, task, work.samples, work.run, preset.evaluation, keep_images=True)
    store = RunStore(target.machine.runs, target.job.hash)
    recorder = Recorder(store, preset, target.machine.device, target.machine.threads)
    kept = broken_images(attacked.outcomes[attack], attacked, task, target.classifier)
    recorder.keep_images(work, attack, task, target.fingerprint, kept)
    # Last, because what is recorded counts.
    recorder.record(work, task, target.fingerprint, attacked)
    return attacked
