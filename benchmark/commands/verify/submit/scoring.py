"""Scores a file of adversarial images and keeps it with the run. From then on the run's worst case contains it."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from rich.console import Console

from attacks.parts.foreign.submitted import Images, Submitted
from attacks.parts.sharing import SharedRun
from benchmark.commands.verify.submit.file import SubmittedFile, read_submission
from benchmark.commands.verify.submit.target import SubmissionTarget, target_of
from benchmark.errors import ConfigError
from benchmark.evaluating.attacking import Attacked, attack_task
from benchmark.evaluating.kept_images import broken_images
from benchmark.planning.cells import Work
from benchmark.planning.machine import check_writable
from benchmark.planning.options import RunOptions
from benchmark.running.recording import Recorder
from benchmark.running.verdict_files import stored_verdicts, write_verdicts
from reports.numbers.wording import counted
from results.records import Run
from results.store import RunStore
from scenarios.base import ImageSet
from scenarios.parts.augmentation import to_float


def submit(run: Run, file: Path, task_name: str, options: RunOptions, console: Console) -> int:
    """Score a file of adversarial images and keep the images that break the classifier. Returns 0.

    Raises ConfigError, StoreError, MethodError: one line; nothing was changed then.
    """
    submitted = read_submission(file)
    target = target_of(run, task_name, options, console)
    known = _known_name(run, submitted.sha256, target)
    if known is not None:
        console.print(f"{file} was submitted before, as {known!r}; nothing was changed", highlight=False, markup=False)
        return 0
    _require_fitting(submitted, target, file)
    attack = _attack_of(submitted, target, file)
    check_writable(options.results)
    with RunStore(target.made.machine.runs, target.made.job.hash).working():
        attacked = _record(attack, target)
    for preset in stored_verdicts(run):
        write_verdicts(options.results, options.published, preset)
    _tell(run, target, submitted, attacked, console)
    return 0


def _attack_of(submitted: SubmittedFile, target: SubmissionTarget, file: Path) -> Submitted:
    """The submission as an attack: it returns the images of the file, and the clean image of every other sample."""
    return Submitted(
        threat_model=target.made.job.preset.ranking,
        title=submitted.notes.get("name", file.stem),
        author=submitted.notes.get("author", ""),
        made_with=submitted.notes.get("attack", ""),
        sha256=submitted.sha256,
        images=Images(submitted.samples, submitted.images),
    )


def _record(attack: Submitted, target: SubmissionTarget) -> Attacked:
    """Classify every test image of the task, submitted where there is one and clean where not; store outcomes and images."""
    task, preset, machine = target.task, target.made.job.preset, target.made.machine
    work = Work(target.turn, task.id, SharedRun((attack,)), tuple(task.test.samples.tolist()))
    attacked = attack_task(target.classifier, task, work.samples, work.run, preset.evaluation, keep_images=True)
    recorder = Recorder(RunStore(machine.runs, target.made.job.hash), preset, machine.device, machine.threads)
    kept = broken_images(attacked.outcomes[attack], attacked, task, target.classifier)
    recorder.keep_images(work, attack, task, target.fingerprint, kept)
    # Last, because what is recorded counts.
    recorder.record(work, task, target.fingerprint, attacked)
    return attacked


def _tell(run: Run, target: SubmissionTarget, submitted: SubmittedFile, attacked: Attacked, console: Console) -> None:
    """Print how many images break the classifier, how many of their samples stood until now, and the attack's name."""
    ((attack, outcomes),) = attacked.outcomes.items()
    wrong = attacked.samples[outcomes.any.predicted != attacked.labels]
    broken = set(wrong.tolist()) & set(submitted.samples.tolist())
    newly = broken & target.standing
    total = len(submitted.samples)
    console.print(
        f"{run.label} seed {run.seed}, task {target.task.id} ({target.task.name}): {len(newly)} newly broken of "
        f"{counted(total, 'image')}; {len(broken - newly)} were wrong already, {total - len(broken)} are right",
        highlight=False,
        markup=False,
    )
    name = target.made.job.preset.attack_name(attack)
    console.print(f"kept as {name!r}: the worst case of this run contains it", highlight=False, markup=False)


def _known_name(run: Run, sha256: str, target: SubmissionTarget) -> str | None:
    """The name of the same file where it was submitted for this classifier before; None where it was not."""
    rows = run.evaluations
    mine = (rows["kind"] == Submitted.KIND) & (rows["task"] == target.task.id) & (rows["after_task"] == target.turn)
    for name, specification in rows.loc[mine, ["attack", "specification"]].itertuples(index=False):
        if json.loads(specification).get("sha256") == sha256:
            return str(name)
    return None


def _require_fitting(submitted: SubmittedFile, target: SubmissionTarget, file: Path) -> None:
    """Raise ConfigError unless the images are of this classifier, of samples of this task, of its shape, and in the ball."""
    task, test, where = target.task, target.task.test.to("cpu"), f"--submit {file}"
    classifier = submitted.notes.get("classifier", "")
    if classifier and classifier != target.fingerprint:
        raise ConfigError(
            f"{where}: made for the classifier {classifier[:12]}; that of task {task.id} after the last task is "
            f"{target.fingerprint[:12]} (full: {target.fingerprint})"
        )
    unknown = submitted.samples[~torch.isin(submitted.samples, test.samples)]
    if len(unknown):
        raise ConfigError(
            f"{where}: sample {int(unknown[0])} is not in the test set of task {task.id} ({task.name}), which has "
            f"{int(test.samples.min())}..{int(test.samples.max())}"
        )
    if submitted.images.shape[1:] != test.images.shape[1:]:
        mine, theirs = tuple(submitted.images.shape[1:]), tuple(test.images.shape[1:])
        raise ConfigError(f"{where}: images of shape {mine}; those of task {task.id} are {theirs}")
    _require_in_ball(submitted, target, test, where)


def _require_in_ball(submitted: SubmittedFile, target: SubmissionTarget, test: ImageSet, where: str) -> None:
    """Raise ConfigError unless every image is in the ball of the ranking around its clean image."""
    place = {int(sample): i for i, sample in enumerate(test.samples.tolist())}
    clean = to_float(test.images[[place[int(sample)] for sample in submitted.samples.tolist()]])
    model = target.made.job.preset.ranking
    change = model.largest_change(submitted.images, clean)
    outside = change > model.largest_allowed
    if outside.any():
        first = int(outside.nonzero()[0])
        raise ConfigError(
            f"{where}: {int(outside.sum())} of {len(change)} images are outside the ball of the ranking ({model}); "
            f"sample {int(submitted.samples[first])} changes by {float(change[first]):.6f}"
        )
