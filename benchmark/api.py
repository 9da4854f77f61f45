"""The benchmark from Python: functions that return frames and typed values, without a console (docs/from-python.md).

They do what the commands of the same purpose do. Mistakes are exceptions whose message is one clear line: `ConfigError` for
presets, options and classifiers, `DataError` for missing images, `MethodError` for settings of a method that do not fit.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import pandas as pd
import torch
from torch import nn

from benchmark.commands import listing
from benchmark.commands.evaluate.attacking import ModuleEvaluation, attack_module, choose_protocol
from benchmark.commands.parsing.until import moment_of
from benchmark.commands.run import end_of_work
from benchmark.planning.options import PUBLISHED, RETRIES, RUNS, RunOptions
from benchmark.planning.plan import Planned
from benchmark.running.preset_run import Ended, failed_checks, prepare
from reports.frames import Tables
from results import Results, load


@dataclass(frozen=True)
class PresetResult:
    """A preset after it was run.

    preset: name of its board.
    runs: a row per run that was asked for or needed: label, seed, run (hash), state (`stored` if nothing was left to do, `done`,
        `failed`, or `left` if time ran out before it was complete) and verdict (the worst of its checks; None for a run that only
        others need).
    failures: one line per failure; empty if everything that is demanded is stored.
    failed_checks: one line per check that fails on a run that was asked for.
    results: the preset's stored runs, published ones included.
    """

    preset: str
    runs: pd.DataFrame
    failures: list[str]
    failed_checks: list[str]
    results: Results

    @cached_property
    def tables(self) -> Tables:
        """The board's tables as frames; built when first asked for."""
        return Tables(self.results)

    @property
    def leaderboard(self) -> pd.DataFrame:
        """The rows of the board, best first."""
        return self.tables.leaderboard


def run_preset(
    preset: str | Path,
    *,
    methods: Sequence[str] | None = None,
    seeds: Sequence[int] | None = None,
    overrides: Sequence[str] = (),
    pretrain: str | None = None,
    checks: str | None = None,
    results: Path | str = RUNS,
    published: Path | str = PUBLISHED,
    data_root: Path | str | None = None,
    download: bool = False,
    device: str = "auto",
    workers: int | None = 1,
    retries: int = RETRIES,
    until: str | None = None,
    engine: str = "local",
    address: str | None = None,
    gpus_per_run: float | None = None,
    force: bool = False,
    learn_here: bool = False,
) -> PresetResult:
    """Train, attack and store what a preset demands and is not stored yet, as `run` does.

    preset: name of a built-in preset, or path of a YAML file.
    methods: labels, names of methods or paths of their files; None: all rows of the preset.
    seeds: instead of the preset's.
    overrides: `key.path=value` each, as after `--set`; the board's name then tells them.
    pretrain: the scenario that pretrained_at starts from, as YAML.
    checks: extra attacks for the verdicts, `none`, `final` or `deep`; None: as the preset says.
    results: folder of runs.
    published: folder of tracked runs, which count as done.
    data_root: folder of the images; download: True to fetch a missing data set.
    device: `auto`, `cpu`, `cuda`, `cuda:N` or `mps`.
    workers: runs side by side; 1 runs in this process, None takes as many processes as there are cores for. On a Ray cluster 1
        is one place of it, None all.
    retries: tries more for a run whose process died; a run in this process takes it along when it dies.
    until: `13m`, `1h30m` or `23:15`: nothing is begun that would not end by then; None: as long as it takes.
    engine: `local`, or `ray` for the Ray cluster at `address` (`HOST:PORT`, `auto`, or None to start one here), on which a run
        takes `gpus_per_run` (None: one where there are any).
    force: True to set stored runs aside and run again.
    learn_here: True to learn in the process that attacks, for a debugger; the check `learned_without_test` is then not run.
    Raises ConfigError, DataError and MethodError before anything is trained. Later failures are stored and returned.
    """
    options = RunOptions(
        preset=str(preset),
        methods=methods,
        seeds=seeds,
        overrides=overrides,
        results=Path(results),
        published=Path(published),
        pretrain=pretrain,
        checks=checks,
        data_root=None if data_root is None else Path(data_root),
        download=download,
        device=device,
        workers=workers,
        retries=retries,
        until=None if until is None else moment_of(until),
        engine=engine,
        address=address,
        gpus_per_run=gpus_per_run,
        force=force,
        learn_here=learn_here,
    )
    options = replace(options, command=_command(options))
    with _threads_restored():
        work = prepare(options)
        work.set_aside()
        planned = work.plan()
        ended = work.complete(planned, until=end_of_work(options.until, work, planned))
    return PresetResult(
        preset=work.preset.name,
        runs=_runs(planned, ended),
        failures=ended.failures,
        failed_checks=failed_checks(ended.verdicts),
        results=_of_preset(load(options.results, options.published), work.preset.name),
    )


def _command(options: RunOptions) -> str:
    """The command that does the same: it is recorded with the runs, and reports show how to make them again."""
    given = {
        "--methods": options.methods,
        "--seeds": options.seeds,
        "--set": options.overrides,
        "--pretrain": options.pretrain and [options.pretrain],
        "--checks": options.checks and [options.checks],
    }
    words = [word for option, values in given.items() if values for word in [option, *map(str, values)]]
    return shlex.join(["python", "run_benchmark.py", "run", "--preset", options.preset, *words])


def _runs(planned: Sequence[Planned], ended: Ended) -> pd.DataFrame:
    """The frame of `PresetResult.runs`."""
    states = {
        "failed": {result.job for result in ended.executed if result.failures},
        "left": set(ended.left),
        "done": {result.job for result in ended.executed},
    }
    rows = []
    for job in (item.job for item in planned):
        state = next((name for name, jobs in states.items() if job.hash in jobs), "stored")
        verdict = ended.verdicts.get((job.label, job.seed), {}) if job.of_preset else {}
        rows.append((job.label, job.seed, job.hash, state, verdict.get("verdict")))
    return pd.DataFrame(rows, columns=["label", "seed", "run", "state", "verdict"])


def _of_preset(results: Results, preset: str) -> Results:
    """The runs that a preset demands, without the boards of other presets that they are rows of too."""
    runs = [
        replace(run, config={**run.config, "protocols": {preset: run.protocols[preset]}})
        for run in results.runs
        if preset in run.protocols
    ]
    return Results(runs, results.unreadable)


def evaluate_module(
    model: nn.Module,
    preset: str | Path,
    task: int | str | None = None,
    *,
    overrides: Sequence[str] = (),
    data_root: Path | str | None = None,
    download: bool = False,
    device: str = "auto",
) -> ModuleEvaluation:
    """Attack a classifier under a preset's protocol and judge it, as `evaluate` does. Nothing is trained or stored.

    model: from float (N, C, H, W) in [0, 1] to logits (N, classes of the task). Under protocol `class` the classes are those of
        all tasks, in the order of the tasks. It is attacked frozen and in eval mode, and left in the mode and on the device that
        it came in.
    preset: name of a built-in preset, or path of a YAML file.
    task: number or name of the task; under protocol `class` it may be left out for all tasks.
    overrides: `key.path=value` each, as after `--set`.
    data_root: folder of the images; download: True to fetch a missing data set.
    device: `auto`, `cpu`, `cuda`, `cuda:N` or `mps`.
    Raises ConfigError, for a model that breaks its contract too, and DataError. An attack that fails is a line in `failures`.
    """
    root = None if data_root is None else Path(data_root)
    options = RunOptions(str(preset), overrides=overrides, data_root=root, download=download, device=device)
    with _threads_restored():
        return attack_module(model, type(model).__name__, choose_protocol(options, None if task is None else str(task)))


@contextmanager
def _threads_restored() -> Iterator[None]:
    """Give torch its number of threads back: a preset sets its own."""
    threads = torch.get_num_threads()
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def list_methods() -> pd.DataFrame:
    """Every method: name, summary, needs, claims, paper."""
    return pd.DataFrame(listing.methods())


def list_attacks() -> pd.DataFrame:
    """Every attack: name (as presets write it), summary."""
    return pd.DataFrame(listing.attacks())


def list_scenarios() -> pd.DataFrame:
    """Every scenario: name, summary."""
    return pd.DataFrame(listing.scenarios())


def list_presets() -> pd.DataFrame:
    """Every built-in preset: name, summary."""
    return pd.DataFrame(listing.presets())
