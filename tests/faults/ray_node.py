"""A Ray cluster of several local nodes loses one while a preset runs, and must deliver the tables of an undisturbed run.

python -m tests.faults.ray_node [--preset digits] [--folder DIR] [--nodes 2] [--kills 1] [--seed 0] [--set key=value ...]
                                [--methods LABEL ...] [--data-root DIR]

First the local engine runs the preset without any disturbance. Then a cluster of this machine runs it again: a head without
processors, and nodes with as many as a run has threads. At a seeded moment, after a run has sent back a checkpoint, all
processes of one node are killed with signal 9; with --kills 2 a new node joins before the second one is killed, and so on.
Predictions must be the same to the byte, and the leaderboard the same but for seconds and memory. DIR keeps both results, and
the undisturbed one is not run again.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmark.planning.presets import load_preset
from reports.frames import Tables
from results import load

REPOSITORY = Path(__file__).resolve().parents[2]
MEASURED = ("_seconds", "memory_mb")
"""Ends of the names of columns that say what was measured of the machine."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit codes: 0 the same tables; 1 others."""
    options = _parser().parse_args(arguments)
    folder = Path(options.folder or tempfile.mkdtemp(prefix="ray-node-"))
    local, disturbed = folder / "local", folder / "ray"
    began = time.monotonic()
    subprocess.run(_command(options, local), cwd=REPOSITORY, check=True)
    print(f"undisturbed, local engine: {time.monotonic() - began:.0f} s", flush=True)
    shutil.rmtree(disturbed, ignore_errors=True)
    began = time.monotonic()
    kills, code = run_and_kill(options, disturbed)
    print(
        f"disturbed, {options.nodes} nodes, {kills} killed: {time.monotonic() - began:.0f} s, exit code {code}",
        flush=True,
    )
    wrong = (
        [] if code == 0 and kills == options.kills else [f"exit code {code}, {kills} of {options.kills} nodes killed"]
    )
    wrong += differences(local, disturbed)
    for line in wrong:
        print(f"wrong: {line}")
    print(f"{'DIFFERENT' if wrong else 'the same leaderboard, and the same predictions to the byte'} ({folder})")
    return 1 if wrong else 0


def run_and_kill(options: argparse.Namespace, results: Path) -> tuple[int, int]:
    """Run the preset on a cluster, and kill nodes of it. Returns how many were killed, and the exit code of the command."""
    from ray.cluster_utils import Cluster

    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_worker_niceness", "0")
    rng = random.Random(options.seed)
    threads = load_preset(options.preset, options.overrides).file.threads or 1
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
    nodes = [cluster.add_node(num_cpus=threads) for _ in range(options.nodes)]
    process = subprocess.Popen(
        [*_command(options, results), "--engine", "ray", "--address", cluster.address], cwd=REPOSITORY
    )
    kills = 0
    try:
        while process.poll() is None:
            time.sleep(0.2)
            if kills < options.kills and _is_in_the_middle(results, kills):
                time.sleep(rng.uniform(0, options.within))
                victim = nodes.pop(rng.randrange(len(nodes)))
                if kills:
                    nodes.append(cluster.add_node(num_cpus=threads))
                kills += 1
                print(f"node {kills} is killed", flush=True)
                cluster.remove_node(victim, allow_graceful=False)
        return kills, process.returncode
    finally:
        process.kill()
        process.wait()
        cluster.shutdown()


def _is_in_the_middle(results: Path, kills: int) -> bool:
    """True once runs that are worked on hold more checkpoints than nodes were killed."""
    worked_on = [path.parent for path in results.glob("*/running")]
    return sum(len(list(run.glob("checkpoints/task-*.json"))) for run in worked_on) > kills


def differences(one: Path, other: Path) -> list[str]:
    """Lines on runs whose predictions are not the same to the byte, and on numbers of the leaderboard that differ."""
    found = []
    files: list[dict[str, bytes]] = []
    for results in (one, other):
        parts = sorted(results.glob("*/predictions/*.parquet"))
        files.append({path.relative_to(results).as_posix(): path.read_bytes() for path in parts})
    if not files[0]:
        found.append("there are no predictions")
    found += [f"only one has {name}" for name in sorted(files[0].keys() ^ files[1].keys())]
    found += [
        f"{name} differs" for name in sorted(files[0].keys() & files[1].keys()) if files[0][name] != files[1][name]
    ]
    tables: list[Any] = [Tables(load(results, results / "nowhere")).leaderboard for results in (one, other)]
    columns = [name for name in tables[0].columns if not str(name).endswith(MEASURED)]
    if not tables[0][columns].equals(tables[1][columns]):
        found += [f"leaderboard: {name}" for name in columns if not tables[0][name].equals(tables[1][name])]
    return found


def _command(options: argparse.Namespace, results: Path) -> list[str]:
    words = ["--preset", options.preset, "--results", str(results), "--device", "cpu"]
    words += ["--methods", *options.methods] if options.methods else []
    words += ["--set", *options.overrides] if options.overrides else []
    words += ["--data-root", str(options.data_root)] if options.data_root else []
    return [sys.executable, "run_benchmark.py", "run", *words]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m tests.faults.ray_node", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("--preset", default="digits")
    parser.add_argument("--methods", nargs="+")
    parser.add_argument("--set", nargs="+", dest="overrides", default=[])
    parser.add_argument("--data-root", type=Path)
    parser.add_argument("--folder", type=Path, help="keeps both results (default: a temporary one)")
    parser.add_argument("--nodes", type=int, default=2)
    parser.add_argument("--kills", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0, help="of the moments and of the nodes")
    parser.add_argument("--within", type=float, default=5.0, help="seconds within which a kill follows a checkpoint")
    return parser


if __name__ == "__main__":
    sys.exit(main())
