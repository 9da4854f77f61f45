"""Kills a preset's processes at random moments, again and again, and holds what is stored in the end against an undisturbed run.

    python -m tests.faults.kills --kills 100 --seed 0

Workers, the processes in which methods learn, those in which classifiers are made anew, and the command itself are killed with
signal 9. The same command is given again until it ends well. Then every prediction, fact and epoch and every table must be the
same to the byte, but for seconds and memory; no process may be left, and no file may be half-written. `make faults` does it.
"""

from __future__ import annotations

import argparse
import filecmp
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from benchmark.contract.method_trial import TINY
from results.files import PARTIAL_SUFFIX
from tests.benchmark.running.stored import content, runs
from tests.conftest import REPOSITORY

COMMAND = [sys.executable, "run_benchmark.py"]
KILLS_A_ROUND = 20
"""Then a round is left to end, and the next one begins in an empty folder."""
SHARE_OF_COMMAND = 0.2
"""The share of kills that hit the command itself."""
COSTS = ["seconds", "train_seconds", "prerequisite_seconds", "peak_memory_mb", "evaluation_peak_memory_mb"]
"""Columns that a clock and the memory of the machine decide."""
BY_THE_CLOCK = "__training.csv"
"""The end of the name of the table that says what was reached after how many seconds."""
LONGEST_WAIT = 0.25
"""Between two kills at most, as a share of the time that an undisturbed run takes."""


@dataclass
class Found:
    """The outcome of the kills.

    kills: by the kind of process that was hit.
    commands: that were given, over all rounds.
    rounds: that ended.
    problems: one line each.
    """

    kills: Counter[str] = field(default_factory=Counter)
    commands: int = 0
    rounds: int = 0
    problems: list[str] = field(default_factory=list)


def write_preset(path: Path) -> None:
    """Three rows, one of which needs another run, two seeds, and stages inside tasks."""
    preset: dict[str, Any] = yaml.safe_load(TINY.read_text(encoding="utf-8"))
    rows = [row for row in preset["methods"] if row["method"] in ("madry_at", "packnet", "cmat")]
    path.write_text(yaml.safe_dump({**preset, "methods": rows, "seeds": [0, 1]}), encoding="utf-8")


def begin(preset: Path, results: Path, workers: int, log: Path) -> subprocess.Popen[bytes]:
    """Start the command."""
    words = ["run", "--preset", str(preset), "--results", str(results), "--workers", str(workers)]
    with log.open("ab") as file:
        return subprocess.Popen([*COMMAND, *words], cwd=REPOSITORY, stdout=file, stderr=file)


def children(parent: int) -> list[int]:
    """The processes that a process started and that live, without the one that counts shared resources."""
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            state, number = (entry / "stat").read_text().rpartition(")")[2].split()[:2]
            words = (entry / "cmdline").read_bytes()
        except (OSError, ValueError):
            continue
        if int(number) == parent and state != "Z" and b"resource_tracker" not in words:
            found.append(int(entry.name))
    return sorted(found)


def processes_of(command: int) -> dict[int, str]:
    """The processes of a command that can be killed, each with its kind."""
    workers = children(command)
    below = {pid: "learning or judging" for worker in workers for pid in children(worker)}
    return {**dict.fromkeys(workers, "worker"), **below}


def gone(pids: Sequence[int], seconds: float = 60) -> bool:
    """True once none of the processes lives; False if one still does after so many seconds."""
    until = time.monotonic() + seconds
    while any(lives(pid) for pid in pids):
        if time.monotonic() > until:
            return False
        time.sleep(0.02)
    return True


def lives(pid: int) -> bool:
    """True if a process runs: one that ended and that nobody has asked for does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def kill_one(command: subprocess.Popen[bytes], draw: random.Random, found: Found) -> None:
    """Kill the command or one of its processes."""
    there = processes_of(command.pid)
    if draw.random() < SHARE_OF_COMMAND or not there:
        command.kill()
        command.wait()
        found.kills["command"] += 1
        if not gone(list(there)):
            found.problems.append(f"processes outlived their command: {[pid for pid in there if lives(pid)]}")
        return
    # Each kind as often as the others, however many there are of it.
    kind = draw.choice(sorted(set(there.values())))
    pid = draw.choice([pid for pid, its in there.items() if its == kind])
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return
    found.kills[kind] += 1


def disturbed(preset: Path, results: Path, options: argparse.Namespace, usual: float, draw: random.Random) -> Found:
    """One round: the command is given again and again, under kills at first, until it ends well. usual: seconds of it."""
    found, log = Found(rounds=1), results.with_suffix(".log")
    most = min(KILLS_A_ROUND, options.kills)
    while True:
        command, found.commands = begin(preset, results, options.workers, log), found.commands + 1
        while command.poll() is None and found.kills.total() < most:
            try:
                command.wait(draw.uniform(0, LONGEST_WAIT * usual))
            except subprocess.TimeoutExpired:
                kill_one(command, draw, found)
        code = command.wait()
        if code == 0:
            return found
        # 1: a run was killed more often than it is tried again. Once nothing is killed any more, it must end well.
        if code not in (1, -signal.SIGKILL) or (
            found.kills.total() >= most and code == 1 and found.commands > most + 5
        ):
            found.problems.append(f"the command ended with {code}; see {log}")
            return found


def differences(whole: Path, killed: Path) -> Iterator[str]:
    """One line for each thing that is not the same in two folders of runs."""
    one, two = ({run.hash: run for run in runs(folder.parent, folder.name)} for folder in (whole, killed))
    if one.keys() != two.keys():
        yield f"{killed}: other runs are stored"
        return
    for key, run in one.items():
        names = ("predictions", "facts", "epochs", "tasks", "adversarial images")
        for name, before, after in zip(names, content(run), content(two[key]), strict=True):
            if before != after:
                yield f"{two[key].directory}: other {name}"
        if two[key].failures or two[key].problems:
            yield f"{two[key].directory}: a failure or an unusable part is left"
    for path in killed.rglob(f".*{PARTIAL_SUFFIX}"):
        if path.parent.name != "set-aside":
            yield f"{path}: half-written"
    for path in killed.rglob("running"):
        yield f"{path}: says that somebody works on the run"


def tables_of(results: Path, output: Path) -> list[Path]:
    """Write the report of a folder of runs. Returns its tables of numbers, but for one with a row for every so many seconds."""
    subprocess.run([*COMMAND, "report", "--results", str(results), "--output", str(output)], cwd=REPOSITORY, check=True,
                   stdout=subprocess.DEVNULL)  # fmt: skip
    return sorted(path for path in output.rglob("*.csv") if not path.name.endswith(BY_THE_CLOCK))


def compare_tables(whole: Path, killed: Path, folder: Path) -> Iterator[str]:
    """One line for each table of the report that is not the same to the byte."""
    first, second = folder / "report-whole", folder / f"report-{killed.name}"
    names = [path.relative_to(first) for path in tables_of(whole, first)]
    tables_of(killed, second)
    for name in names:
        if not filecmp.cmp(first / name, second / name, shallow=False) and not same_but_costs(
            first / name, second / name
        ):
            yield f"{second / name}: another table than {first / name}"


def same_but_costs(one: Path, other: Path) -> bool:
    """True if two tables differ in nothing but seconds and memory, which no two runs have in common."""
    frames = [
        pd.read_csv(path, dtype=str, keep_default_na=False).drop(columns=COSTS, errors="ignore")
        for path in (one, other)
    ]
    return frames[0].equals(frames[1])


def main(words: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=100, metavar="N")
    parser.add_argument(
        "--seed", type=int, default=0, metavar="N", help="of the moments and of the processes that are hit"
    )
    parser.add_argument("--workers", type=int, default=2, metavar="N")
    parser.add_argument(
        "--preset", type=Path, metavar="FILE", help="default: three rows and two seeds of the tiny stream"
    )
    options = parser.parse_args(words)
    folder, draw, total = Path(tempfile.mkdtemp(prefix="kills-")), random.Random(options.seed), Found()
    preset = options.preset or folder / "tiny.yaml"
    if options.preset is None:
        write_preset(preset)
    began = time.monotonic()
    if begin(preset, folder / "whole", options.workers, folder / "whole.log").wait() != 0:
        print(f"the undisturbed run failed; see {folder / 'whole.log'}")
        return 1
    usual = time.monotonic() - began
    print(f"undisturbed: {usual:.0f} s", flush=True)
    wanted = options.kills
    while total.kills.total() < wanted and not total.problems:
        options.kills = wanted - total.kills.total()
        results = folder / f"killed-{total.rounds}"
        found = disturbed(preset, results, options, usual, draw)
        found.problems += differences(folder / "whole", results)
        found.problems += compare_tables(folder / "whole", results, folder)
        total.kills += found.kills
        total.commands, total.rounds = total.commands + found.commands, total.rounds + 1
        total.problems += found.problems
        print(f"round {total.rounds}: {dict(found.kills)} killed, {found.commands} commands", flush=True)
        if found.kills.total() < min(KILLS_A_ROUND, options.kills) / 4:
            # The machine was busier when the undisturbed run was timed.
            usual /= 2
    print(
        f"{total.kills.total()} kills (seed {options.seed}) in {total.rounds} rounds: {dict(total.kills)}; "
        f"{total.commands} commands, {time.monotonic() - began:.0f} s"
    )
    for problem in total.problems:
        print(problem)
    if not total.problems:
        print("everything is as in the undisturbed run")
        shutil.rmtree(folder)
    return 1 if total.problems else 0


if __name__ == "__main__":
    sys.exit(main())
