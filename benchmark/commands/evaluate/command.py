"""`evaluate`: anybody's nn.Module, attacked under a preset's protocol on one task, without training anything."""

from __future__ import annotations

import csv
import hashlib
import inspect
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn

from attacks.base import Attack, AttackError, Outcome
from attacks.parts.sharing import SharedRun
from attacks.threat_model import ThreatModelError
from benchmark.commands.evaluate.temporary_run import PassingRun
from benchmark.errors import ConfigError, nearest
from benchmark.evaluating.evaluation import CONTRACT_IMAGES, AttackScore, Measured, check_classifier, measure, subset
from benchmark.planning.cells import cells_of, shared_work
from benchmark.planning.extra_attacks import check_demands
from benchmark.planning.machine import make_machine
from benchmark.planning.options import RunOptions
from benchmark.planning.presets import Preset, load_preset
from benchmark.planning.tasks import find_task, load_with_progress
from benchmark.plugins import import_file
from reports.checks.verdicts import FAIL, NOT_RUN, PASS, WARN, Verdict
from reports.numbers.statistics import wilson
from results.files import whole_file
from results.schema import ANY
from scenarios.base import Task
from scenarios.parts.augmentation import to_float

WORST = "worst"


@dataclass(frozen=True, slots=True)
class Line:
    """What is said of one attack: on so many samples, right so often, with a 95 % interval (Wilson)."""

    attack: str
    samples: int
    accuracy: float
    low: float
    high: float


def evaluate(target: str, task_name: str, options: RunOptions, output: Path | None, console: Console) -> int:
    """Attack the classifier at `FILE.py[:NAME]` and print what is left of it. Returns 0, or 1 if an attack failed.

    Raises ConfigError and DataError; what the classifier does wrong is a ConfigError too.
    """
    preset = load_preset(options.preset, options.overrides)
    machine = make_machine(options, preset)
    torch.set_num_threads(machine.threads)
    classifier = load_classifier(target)
    task = find_task(load_with_progress(preset, machine, console), task_name)
    classifier = classifier.to(machine.device).eval().requires_grad_(False)
    try:
        check_classifier(classifier, to_float(task.test.images[:CONTRACT_IMAGES]), len(task.classes))
    except Exception as error:
        raise ConfigError(f"{target}: {_line(error)}") from error
    console.print(
        f"{target} on task {task.id} ({task.name}, {len(task.classes)} classes) of preset {preset.name}",
        highlight=False,
        markup=False,
    )
    with PassingRun(classifier, task, preset, machine) as passing:
        measured, failures = attack_all(classifier, task, preset, passing, console)
        verdicts = passing.verdicts()
    lines = [line for attack, parts in measured.items() for line in lines_of(attack, parts)]
    lines.append(worst_line(measured, preset, task))
    show(lines, console)
    for failure in failures:
        console.print(f"failed: {failure}", style="red", highlight=False, markup=False)
    if preset.transfers:
        console.print("left out: transfers, which need the preset's own runs", highlight=False, markup=False)
    show_verdicts(verdicts, console)
    if output is not None:
        with whole_file(output) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(["attack", "samples", "accuracy", "low", "high"])
            writer.writerows([line.attack, line.samples, line.accuracy, line.low, line.high] for line in lines)
    return 1 if failures else 0


def load_classifier(target: str) -> nn.Module:
    """The module at `FILE.py[:NAME]`: an nn.Module, or a class or function that makes one without arguments.

    Without a name the file must hold one nn.Module, or one class of them. Raises ConfigError, one line.
    """
    file, _, name = target.partition(":")
    module = _import(Path(file))
    own = {
        key: value
        for key, value in vars(module).items()
        if isinstance(value, nn.Module)
        or (inspect.isclass(value) and issubclass(value, nn.Module) and value.__module__ == module.__name__)
    }
    if not name:
        instances = {key: value for key, value in own.items() if isinstance(value, nn.Module)}
        own = instances or own
        if len(own) != 1:
            found = f"holds {len(own)} ({', '.join(own)})" if own else "holds none"
            raise ConfigError(f"{file}: expected one nn.Module, the file {found}; name it: {file}:NAME")
        (name,) = own
    if not hasattr(module, name):
        raise ConfigError(f"{file}: there is no {name!r}{nearest(name, own)}")
    found_ = getattr(module, name)
    try:
        made = found_ if isinstance(found_, nn.Module) else found_()
    except Exception as error:
        raise ConfigError(f"{target}: cannot be made without arguments ({_line(error)})") from error
    if not isinstance(made, nn.Module):
        raise ConfigError(f"{target}: expected an nn.Module, or what makes one; found {type(made).__name__}")
    return made


def _import(path: Path) -> ModuleType:
    if path.suffix != ".py" or not path.is_file():
        raise ConfigError(f"{path}: no such Python file; expected FILE.py or FILE.py:NAME")
    name = f"_evaluated_{hashlib.sha256(str(path.resolve()).encode()).hexdigest()[:8]}_{path.stem}"
    # As if the file were run: what stands beside it can be imported.
    sys.path.insert(0, str(path.resolve().parent))
    try:
        return import_file(path, name)
    finally:
        sys.path.pop(0)


MeasuredParts = list[tuple[Measured, AttackScore]]
"""What was measured of one attack, in as many runs as its samples were spread over."""


def attack_all(
    classifier: nn.Module, task: Task, preset: Preset, passing: PassingRun, console: Console
) -> tuple[dict[Attack, MeasuredParts], list[str]]:
    """All attacks of the preset on all samples they ask for, and what failed, one line each. Those of the checks run too.

    passing: what is told of everything."""
    evaluation = preset.file.evaluation
    measured: dict[Attack, MeasuredParts] = {demand.attack: [] for demand in preset.final}
    failures = []
    own = shared_work(cells_of(preset.final, task, task.id))
    extra = shared_work(cells_of(check_demands(preset, [task]), task, task.id))
    for work in [*own, *extra]:
        with console.status(_names(work.run)):
            try:
                found = measure(
                    classifier,
                    subset(task.test, work.samples),
                    work.run,
                    seed=evaluation.seed,
                    key=task.test_fingerprint,
                    batch_size=evaluation.batch_size,
                )
            except (AttackError, ThreatModelError, RuntimeError, ValueError, TypeError) as error:
                failures.append(f"{_names(work.run)}: {_line(error)}")
                passing.fail(work.run.members, error)
                continue
        passing.record(work, found)
        if not found.unchanged:
            failures.append(f"{_names(work.run)}: the classifier or the global random state changed under attack")
        for attack, scored in found.attacks.items():
            if attack in measured:
                measured[attack].append((found, scored))
    return {attack: parts for attack, parts in measured.items() if parts}, failures


def _names(run: SharedRun) -> str:
    return ", ".join(attack.name for attack in run.members)


def lines_of(attack: Attack, parts: MeasuredParts) -> list[Line]:
    """One line for the final iterate, and one for any iterate where that is another thing."""
    found = [_line_of(attack.name, _right(parts, "final"))]
    if attack.iterative:
        found.append(_line_of(attack.name + ANY, _right(parts, "any")))
    return found


def _right(parts: MeasuredParts, kind: str) -> dict[int, bool]:
    """By sample id, whether it is classified right."""
    right: dict[int, bool] = {}
    for measured, scored in parts:
        outcome: Outcome = getattr(scored, kind)
        correct: Tensor = outcome.predicted == measured.labels
        right |= dict(zip(measured.samples.tolist(), correct.tolist(), strict=True))
    return right


def _line_of(name: str, right: dict[int, bool]) -> Line:
    count, samples = sum(right.values()), len(right)
    interval = wilson(count, samples)
    return Line(name, samples, count / samples, interval.low, interval.high)


def worst_line(measured: dict[Attack, MeasuredParts], preset: Preset, task: Task) -> Line:
    """Right on the clean image and under every attack at the preset's eps, on the samples that all of them saw.

    In the norm of the matrix' first attack, which is that of the ranking.
    """
    votes = [
        _right(parts, "any")
        for attack, parts in measured.items()
        if attack.threat_model.eps == 0 or attack.threat_model == preset.ranking
    ]
    shared = set.intersection(*(set(vote) for vote in votes)) if votes else set()
    if not shared:
        return Line(WORST, 0, float("nan"), float("nan"), float("nan"))
    return _line_of(WORST, {sample: all(vote[sample] for vote in votes) for sample in shared})


def show_verdicts(verdicts: Sequence[Verdict], console: Console) -> None:
    """How many checks passed, and what the others found."""
    count = {status: sum(verdict.status == status for verdict in verdicts) for status in (PASS, WARN, FAIL, NOT_RUN)}
    words = ", ".join(f"{number} {status.replace('_', ' ')}" for status, number in count.items() if number)
    console.print(f"checks: {words}", highlight=False, markup=False)
    for verdict in verdicts:
        if verdict.status in (WARN, FAIL):
            style = "red" if verdict.status == FAIL else "yellow"
            line = f"{verdict.status}: {verdict.check}: {verdict.reason}"
            console.print(line, style=style, highlight=False, markup=False)


def show(lines: list[Line], console: Console) -> None:
    table = Table("attack", "samples", "accuracy %", "95 % interval")
    for column in table.columns[1:]:
        column.justify = "right"
    for line in lines:
        table.add_row(
            line.attack,
            str(line.samples),
            f"{100 * line.accuracy:.1f}",
            f"[{100 * line.low:.1f}, {100 * line.high:.1f}]",
        )
    console.print(table)


def _line(error: BaseException) -> str:
    expected = isinstance(error, AttackError | ThreatModelError)
    text = " ".join(str(error).split())
    return text if expected else f"{type(error).__name__}: {text}"
