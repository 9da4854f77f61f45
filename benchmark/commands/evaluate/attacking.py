"""A classifier attacked under a preset's protocol on one task, or among the classes of all tasks, without a console."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory

import pandas as pd
import torch
from torch import Tensor, nn

from attacks.base import Attack, AttackError, Outcome
from attacks.threat_model import ThreatModelError
from benchmark.commands.evaluate.conventions import convention_warnings
from benchmark.commands.evaluate.made_anew import FromFile
from benchmark.commands.evaluate.strange_modules import found_asking, one_line, plain, ready, run_uncompiled
from benchmark.commands.evaluate.temporary_run import TemporaryRun
from benchmark.errors import ConfigError
from benchmark.evaluating.attacking import Attacked, AttackOutcomes, arithmetic_of, attack_task
from benchmark.evaluating.classifier_contract import CONTRACT_IMAGES, check_classifier
from benchmark.evaluating.fingerprints import classifier_fingerprint
from benchmark.evaluating.precision import Arithmetic
from benchmark.planning.cells import cells_of, shared_work
from benchmark.planning.extra_attacks import extra_demands
from benchmark.planning.machine import Machine, make_machine
from benchmark.planning.options import RunOptions
from benchmark.planning.presets import Preset, load_preset
from benchmark.planning.tasks import find_task, load_and_warn
from reports.checks.verdicts import FAIL, Verdict
from reports.numbers.attack_facts import COUNTED_EXTRAS
from reports.numbers.metrics import WORST
from reports.numbers.statistics.intervals import wilson
from results.files import StoreError
from results.schema import ANY
from scenarios.base import Task
from scenarios.parts.augmentation import to_float

Watch = Callable[[str], AbstractContextManager[object]]
"""Called with the names of attacks before they run; entered while they do."""

AttackedParts = list[tuple[int, Attacked, AttackOutcomes]]
"""The outcomes of one attack, each with the id of the task. A task's samples may be spread over several runs."""


@dataclass(frozen=True, slots=True)
class AttackAccuracy:
    """The accuracy of a classifier under one attack.

    attack: name of the attack; with ` any` behind it an image counts as right only if it is right at every iterate.
    samples: number of attacked images.
    accuracy: share of them that is classified right, 0 to 1; NaN if there are none.
    low, high: ends of its 95 % interval (Wilson).
    """

    attack: str
    samples: int
    accuracy: float
    low: float
    high: float


@dataclass(frozen=True)
class ModuleEvaluation:
    """The outcome of attacking a classifier.

    tasks: the tasks whose test images were attacked: one, or under protocol `class` one or more.
    columns: the class that each of its logits stands for: of the task, or under protocol `class` of all tasks in turn.
    accuracies: one per attack, and one more per iterative attack for any of its iterates.
    worst: under all attacks at the preset's eps together, on the images that all of them cover; extra attacks that anybody could
        use count on the images that they cover.
    verdicts: one per check.
    failures: one line per attack that failed, and per attack that changed the classifier or the global random states.
    notes: one line per thing that was done so that the module could be measured, such as a cast of the images.
    warnings: one line per reason to doubt that the numbers are those of the network that was meant.
    """

    preset: Preset
    tasks: tuple[Task, ...]
    columns: tuple[str, ...]
    accuracies: list[AttackAccuracy]
    worst: AttackAccuracy
    verdicts: list[Verdict]
    failures: list[str]
    notes: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    @property
    def classes(self) -> int:
        """The number of classes among which it answered."""
        return len(self.columns)

    @property
    def task(self) -> Task | None:
        """The task whose test images were attacked; None if there are several."""
        return self.tasks[0] if len(self.tasks) == 1 else None

    @property
    def attacks(self) -> pd.DataFrame:
        """The accuracies as a frame: attack, samples, accuracy, low, high; a row per attack."""
        return pd.DataFrame([asdict(each) for each in self.accuracies], columns=list(AttackAccuracy.__slots__))

    @property
    def failed_checks(self) -> list[Verdict]:
        return [verdict for verdict in self.verdicts if verdict.status == FAIL]


@dataclass(frozen=True)
class ModuleProtocol:
    """The preset, the machine and the tasks that a classifier is attacked with: one, or under protocol `class` one or more.

    columns: the class that each logit stands for.
    """

    preset: Preset
    machine: Machine
    tasks: tuple[Task, ...]
    columns: tuple[str, ...]

    def one_turn(self) -> list[Task]:
        """The tasks, numbered from 0, as if all classes of the stream had been learned in one turn."""
        answered = [task.seen[-1:] * len(self.tasks) for task in self.tasks]
        return [replace(task, id=i, seen=seen) for i, (task, seen) in enumerate(zip(self.tasks, answered, strict=True))]


def choose_protocol(
    options: RunOptions, task: str | None, load: Callable[[Preset, Machine], list[Task]] = load_and_warn
) -> ModuleProtocol:
    """Read the preset and load its tasks. Raises ConfigError and DataError.

    task: number or name of the task. None for all tasks, where the preset's protocol is `class`.
    load: loads the preset's tasks.
    """
    preset = load_preset(options.preset, options.overrides)
    machine = make_machine(options, preset)
    if task is None:
        preset.must_not_tell_tasks(machine.source)
    tasks = load(preset, machine)
    chosen = tasks if task is None else [find_task(tasks, task)]
    answered = chosen if preset.scenario_settings.protocol == "task" else tasks
    columns = tuple(name for each in answered for name in each.classes)
    return ModuleProtocol(preset, machine, tuple(chosen), columns)


def attack_module(
    classifier: nn.Module,
    name: str,
    protocol: ModuleProtocol,
    watch: Watch = nullcontext,
    *,
    file: str | None = None,
    warnings: Sequence[str] = (),
) -> ModuleEvaluation:
    """Attack a classifier and judge it. It is left in the mode and on the device that it came in.

    classifier: from float (N, C, H, W) in [0, 1] to logits (N, classes), or to an output that holds them. The classes are
        those of the task; under protocol `class` those of all tasks of the stream, in the order of the tasks.
    name: of the classifier, for messages.
    file: `FILE.py[:NAME]` that makes it anew; None if no file does.
    warnings: one line for everything that is known of it already.
    Raises ConfigError if the classifier breaks its contract.
    """
    if not isinstance(classifier, nn.Module):
        raise ConfigError(f"{name}: expected an nn.Module, got {classifier!r}")
    preset, machine, tasks = protocol.preset, protocol.machine, protocol.one_turn()
    classes = len(protocol.columns)
    torch.set_num_threads(machine.threads)
    inside, notes = plain(classifier)
    with _mistakes_of(name), run_uncompiled(), ready(inside, machine.device):
        trial = to_float(tasks[0].validation.images[:CONTRACT_IMAGES])
        asking = found_asking(inside, trial, classes)
        asked = asking.of(inside)
        _check(asked, tasks[0], classes)
        with TemporaryDirectory(prefix="evaluate-") as folder:
            source = None if file is None else FromFile.of(file, machine, asking)
            run = TemporaryRun(Path(folder), asked, tasks, preset, machine, source)
            arithmetic = arithmetic_of(asked, tasks[0].test, preset.evaluation.precision)
            attacked, extra, failures = _attack_all(arithmetic, tasks, preset, run, watch)
            verdicts = run.verdicts()
        stream = preset.scenario(machine.source).stream()
        tests = [task.test for task in tasks]
        convention = convention_warnings(asked, tests, stream.mean, stream.std, protocol.columns)
    accuracies = [
        each for attack, parts in attacked.items() for each in _accuracies(preset.attack_name(attack), attack, parts)
    ]
    return ModuleEvaluation(
        preset,
        protocol.tasks,
        protocol.columns,
        accuracies,
        _worst(attacked, extra, preset),
        verdicts,
        failures,
        notes=[*notes, *asking.notes(), *arithmetic.notes()],
        warnings=[*warnings, *convention],
    )


@contextmanager
def _mistakes_of(name: str) -> Iterator[None]:
    """Put the name of a classifier before what is wrong with it."""
    try:
        yield
    except ConfigError as error:
        raise ConfigError(f"{name}: {error}") from error


def _check(classifier: nn.Module, task: Task, classes: int) -> None:
    """Raise ConfigError if a classifier breaks its contract, or cannot be told from others."""
    try:
        check_classifier(classifier, to_float(task.test.images[:CONTRACT_IMAGES]), classes)
        classifier_fingerprint(classifier)
    except (Exception, SystemExit) as error:
        raise ConfigError(_line(error)) from error


def _attack_all(
    arithmetic: Arithmetic, tasks: Sequence[Task], preset: Preset, run: TemporaryRun, watch: Watch
) -> tuple[dict[Attack, AttackedParts], dict[Attack, AttackedParts], list[str]]:
    """Run the preset's attacks and the extra attacks on every task, and record all of them in `run`.

    Returns the outcomes of the preset's attacks, those of the extra attacks, and a line per failure.
    """
    attacked: dict[Attack, AttackedParts] = {demand.attack: [] for demand in preset.final}
    others: dict[Attack, AttackedParts] = {}
    failures = []
    demands = [*preset.final, *extra_demands(preset, tasks)]
    works = [(task, work) for task in tasks for work in shared_work(cells_of(demands, task, len(tasks) - 1))]
    classifier = arithmetic.exact
    for task, work in works:
        names = ", ".join(attack.name for attack in work.run.members)
        if len(tasks) > 1:
            names = f"{task.name}: {names}"
        with watch(names):
            try:
                found = attack_task(
                    classifier, task, work.samples, work.run, preset.evaluation, arithmetic=arithmetic, keep_images=True
                )
            except StoreError:
                raise
            except (Exception, SystemExit) as error:
                # A stranger's network may raise anything; what the other attacks found stands.
                failures.append(f"{names}: {_line(error)}")
                run.fail(task, work.run.members, error)
                continue
        run.record(task, work, found)
        if not found.unchanged:
            failures.append(f"{names}: the classifier or the global random state changed under attack")
        for attack, outcomes in found.outcomes.items():
            (attacked if attack in attacked else others).setdefault(attack, []).append((task.id, found, outcomes))
    return {attack: parts for attack, parts in attacked.items() if parts}, others, failures


def _accuracies(name: str, attack: Attack, parts: AttackedParts) -> list[AttackAccuracy]:
    """The accuracy at the last iterate; of an iterative attack also that at any iterate. name: of the attack in tables."""
    found = [_accuracy(name, _right(parts, "final"))]
    if attack.iterative:
        found.append(_accuracy(name + ANY, _right(parts, "any")))
    return found


def _worst(attacked: dict[Attack, AttackedParts], extra: dict[Attack, AttackedParts], preset: Preset) -> AttackAccuracy:
    """The accuracy on images that are right clean and under every attack in the ranking's ball, at any iterate.

    An image that an extra attack covers must be right under it too, if it is one that counts in `worst`.
    """
    votes = [
        _right(parts, "any")
        for attack, parts in attacked.items()
        if attack.threat_model.eps == 0 or attack.threat_model == preset.ranking
    ]
    found = [
        _right(parts, "any")
        for attack, parts in extra.items()
        if attack.kind in COUNTED_EXTRAS and attack.threat_model == preset.ranking
    ]
    shared: set[tuple[int, int]] = set.intersection(*(set(vote) for vote in votes)) if votes else set()
    return _accuracy(
        WORST,
        {
            image: all(vote[image] for vote in votes) and all(vote.get(image, True) for vote in found)
            for image in shared
        },
    )


def _right(parts: AttackedParts, kind: str) -> dict[tuple[int, int], bool]:
    """True for each image, by the ids of its task and sample, that is classified right. kind: `final` or `any`."""
    right: dict[tuple[int, int], bool] = {}
    for task, attacked, outcomes in parts:
        outcome: Outcome = getattr(outcomes, kind)
        correct: Tensor = outcome.predicted == attacked.labels
        images = ((task, sample) for sample in attacked.samples.tolist())
        right |= dict(zip(images, correct.tolist(), strict=True))
    return right


def _accuracy(name: str, right: dict[tuple[int, int], bool]) -> AttackAccuracy:
    count, samples = sum(right.values()), len(right)
    if not samples:
        return AttackAccuracy(name, 0, float("nan"), float("nan"), float("nan"))
    interval = wilson(count, samples)
    return AttackAccuracy(name, samples, count / samples, interval.low, interval.high)


def _line(error: BaseException) -> str:
    """An error in one line; an unexpected one with its type."""
    text = " ".join(str(error).split())
    return text if isinstance(error, AttackError | ThreatModelError) else one_line(error)
