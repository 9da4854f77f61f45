"""Where a run is from: its identity, the presets that demanded it, and its data."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

import pandas as pd
from rich.console import Console

from benchmark.commands.verify.findings import Finding, Problems
from benchmark.errors import ConfigError
from benchmark.planning.jobs import Job, make_jobs, tasks_of
from benchmark.planning.machine import Machine, make_machine
from benchmark.planning.options import RunOptions
from benchmark.planning.presets import Preset, PresetRow, load_preset, validated
from benchmark.planning.protocols import flat, protocol_of, task_rows
from benchmark.planning.tasks import load_with_progress
from benchmark.plugins import SCENARIOS
from methods.base import MethodError
from reports.numbers.wording import counted
from results.files import canonical_json, digest
from results.records import DIRECTORY_DIGITS, Results, Run
from scenarios.base import DataError, SourceOptions, Task

PRETRAINING = ": pre-training"
"""How the name of a preset ends that demanded a run of another scenario, which rows of it are pre-trained on."""
LATER = ("demanded_at", "command", "source", "checks")
"""What a demand records beside what is compared."""
ALWAYS = ("label", "ranking_eps", "matrix", "matrix_samples", "final", "samples", "tasks")
"""What every demand says."""
OUTSIDE = ("seed", "label", "row", "hash")
"""What an identity holds beside what all seeds of a row have in common."""
DERIVED = ("label", "hash", "row")
"""What an identity holds beside what was trained."""


@dataclass(frozen=True)
class Origin:
    """What made a run, as far as it is here. tasks: its data, without the preset too; why: what is lacking, in words."""

    job: Job | None
    machine: Machine | None
    tasks: list[Task] | None
    why: str
    presets: Finding


def check_identity(run: Run, results: Results) -> Finding:
    """The identity's hash and its row's, recomputed, and the directory that is named by them."""
    problems = Problems()
    identity = run.identity
    row = {name: value for name, value in identity.items() if name not in OUTSIDE}
    found = digest({**row, "seed": identity["seed"]})
    if found != run.hash:
        problems.add(f"the identity hashes to {found[:DIRECTORY_DIGITS]}, not to {run.hash[:DIRECTORY_DIGITS]}: edited")
    if run.directory.name != run.hash[:DIRECTORY_DIGITS]:
        problems.add(f"the directory is not named by the identity ({run.hash[:DIRECTORY_DIGITS]})")
    left_out = _check_row(run, row, {each.hash: each.row for each in results.runs}, problems)
    return Finding("identity", "config.json", problems.lines(), left_out)


def _check_row(run: Run, row: Mapping[str, Any], known: Mapping[str, str], problems: Problems) -> str:
    """Check the row's hash; return what could not be checked. known: rows of stored runs by their hash."""
    said = run.identity.get("prerequisites", [])
    needed = [str(each) for each in said] if isinstance(said, list) else []
    if needed and digest(row) == run.row:
        return "the row's hash is of an older form, by which other seeds do not join this one"
    lacking = [each for each in needed if each not in known]
    if lacking:
        return f"the row's hash: {counted(len(lacking), 'run')} needed for it not stored here"
    if digest({**row, "prerequisites": sorted(known[each] for each in needed)}) != run.row:
        problems.add("the row's hash is not that of the identity without its seed")
    return ""


def origin_of(run: Run, options: RunOptions, console: Console) -> Origin:
    """Find the presets that demanded a run and make their jobs again. Raises ConfigError for a wrong --preset or --device."""
    problems, left_out, made, data = Problems(), [], 0, ""
    best: tuple[Job, Machine, list[Task]] | None = None
    for name, protocol in run.protocols.items():
        if not isinstance(protocol, dict):
            problems.add("a demand that cannot be read", [name])
            continue
        try:
            preset = _preset(name, protocol, run.seed, options)
        except ConfigError as error:
            if options.preset:
                raise
            left_out.append(f"{name}: {error}; name its file with --preset")
            continue
        machine = make_machine(options, preset)
        try:
            tasks = load_with_progress(preset, machine, console)
            jobs = make_jobs(preset, _rows(preset, protocol), tasks, machine.source)
            job = next((job for job in jobs if job.hash == run.hash), None)
            learned = tasks if job is None else tasks_of(job, tasks, machine)
        except DataError as error:
            data = "the data is not here"
            left_out.append(f"{name}: {data} ({error})")
            continue
        except (ConfigError, MethodError) as error:
            problems.add(f"preset {name} does not make this run any more", [str(error)])
            continue
        if job is None and (run.identity.get("method_file") or not _is_row(protocol)):
            left_out.append(
                f"{name}: {'its method is of another file' if _is_row(protocol) else 'no row of it needs this'}"
            )
        elif job is None:
            problems.add(f"preset {name} does not make this run any more", [_other(run, protocol, jobs)])
        else:
            _compare(run, job, name, protocol, learned, machine, problems)
            made += 1
            best = best or (job, machine, learned)
    if not run.protocols:
        left_out.append("no preset demanded it")
    checked = f"{counted(made, 'preset')} made it again" if made or problems.lines() else ""
    presets = Finding("presets", checked, problems.lines(), "; ".join(left_out))
    if best is not None:
        return Origin(*best, "", presets)
    why = data or "no preset here makes this run"
    return Origin(None, None, None if data else _data_alone(run, options), why, presets)


def _is_row(protocol: Mapping[str, Any]) -> bool:
    """False where the run was demanded because rows need it."""
    return bool(protocol.get("row_of_preset", True))


def _preset(name: str, protocol: Mapping[str, Any], seed: int, options: RunOptions) -> Preset:
    """The preset that goes by `name`, with the row that the protocol is of, or all rows that may need the run."""
    file, *overrides = shlex.split(name.removesuffix(PRETRAINING))
    file = options.preset or file
    if _is_row(protocol):
        methods = [str(protocol["label"])] if "label" in protocol else []
    else:
        methods = [entry.label or entry.method for entry in load_preset(file, overrides, [seed]).file.optional]
    return load_preset(file, overrides, [seed], methods)


def _rows(preset: Preset, protocol: Mapping[str, Any]) -> list[PresetRow]:
    mine = [row for row in preset.rows if _is_row(protocol) and row.label == protocol.get("label")]
    return mine or preset.rows


def _other(run: Run, protocol: Mapping[str, Any], jobs: Sequence[Job]) -> str:
    """What else the preset makes under the run's label."""
    label = protocol.get("label", run.label)
    other = next((job for job in jobs if job.of_preset and job.label == label), None)
    return f"no row {label}" if other is None else f"its {label} differs in {_differing(run.identity, other.identity)}"


def _differing(mine: Mapping[str, Any], other: Mapping[str, Any]) -> str:
    """Dotted names of what two identities differ in. Labels are names, and each preset has its own."""
    ours, theirs = (flat({k: v for k, v in _plain(each).items() if k not in DERIVED}) for each in (mine, other))
    return ", ".join(name for name in dict.fromkeys([*ours, *theirs]) if ours.get(name) != theirs.get(name))


def _plain(values: Mapping[str, Any]) -> dict[str, Any]:
    """As it is once stored: lists for tuples."""
    found: dict[str, Any] = json.loads(canonical_json(values))
    return found


def _compare(
    run: Run,
    job: Job,
    name: str,
    protocol: Mapping[str, Any],
    tasks: Sequence[Task],
    machine: Machine,
    problems: Problems,
) -> None:
    """Hold the stored identity and what was demanded against what the preset says."""
    if differing := _differing(run.identity, job.identity):
        problems.add("the identity is not what the preset says", [differing])
    old = digest({name: value for name, value in run.identity.items() if name not in OUTSIDE})
    if run.row not in (job.identity["row"], old):
        problems.add("the row's hash is not what the preset says")
    ours = _plain(protocol_of(job, machine.command, tasks).to_json())
    # Older records lack what is recorded by now, but none of what numbers are made of.
    changed = [key for key, value in protocol.items() if key not in LATER and ours.get(key, value) != value]
    changed += [key for key in ALWAYS if key not in protocol]
    if changed:
        problems.add(f"preset {name} demands something else", [", ".join(changed)])


def _data_alone(run: Run, options: RunOptions) -> list[Task] | None:
    """The tasks of a run whose preset is not here, from its identity alone; None where they cannot be had."""
    scenario = run.identity.get("scenario")
    if not isinstance(scenario, dict) or scenario.get("file"):
        return None
    try:
        plugin = SCENARIOS.find(str(scenario.get("name")))
        settings = validated(plugin.cls.Settings, scenario.get("settings", {}), "scenario")
        return plugin.cls(settings, SourceOptions(options.data_root)).load()
    except (ConfigError, DataError):
        return None


def check_tasks(run: Run, stored: pd.DataFrame, tasks: Sequence[Task] | None, why: str) -> Finding:
    """tasks.parquet against the identity and, where it is here, the data set itself."""
    problems = Problems()
    said = run.identity.get("scenario")
    scenario = said if isinstance(said, dict) else {}
    if stored["task"].tolist() != list(range(len(stored))):
        problems.add("tasks.parquet does not hold each task once, in order")
    if stored["name"].tolist() != scenario.get("tasks"):
        problems.add("other tasks than the identity says")
    if digest_of(stored["fingerprint"].tolist()) != scenario.get("fingerprint"):
        problems.add("fingerprints of tasks that are not those of the identity")
    checked = counted(len(stored), "task")
    if tasks is None:
        return Finding("tasks", checked, problems.lines(), f"the data set: {why}")
    for told, row in zip(task_rows(tasks), stored.to_dict("records"), strict=False):
        plain = {name: list(value) if name == "classes" else value for name, value in row.items()}
        if differing := [name for name, value in told.items() if plain.get(name) != value]:
            problems.add("a task that is not that of the data set", [f"task {told['task']} ({', '.join(differing)})"])
    if len(tasks) != len(stored):
        problems.add(f"{len(stored)} tasks, the data set has {len(tasks)}")
    return Finding("tasks", checked, problems.lines())


def digest_of(fingerprints: Sequence[str]) -> str:
    """As `scenarios.base.fingerprint_of_tasks`, of stored fingerprints."""
    return sha256("\n".join(map(str, fingerprints)).encode()).hexdigest()
