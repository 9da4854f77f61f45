"""Runs per hour with one worker and with several, each with one thread, in turns on an idle machine.

python -m tests.scaling.workers --workers 2 --pairs 2
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.conftest import REPOSITORY
from tests.scaling.costs import folder_bytes


def timed(preset: str, methods: list[str], seeds: list[str], workers: int) -> tuple[float, int]:
    """Seconds that a command takes in an empty folder, and the bytes that it leaves there."""
    with tempfile.TemporaryDirectory() as folder:
        words = ["run", "--preset", preset, "--methods", *methods, "--seeds", *seeds, "--set", "threads=1"]
        # Published records would be taken for finished runs.
        words += ["--workers", str(workers), "--results", folder, "--force"]
        began = time.perf_counter()
        subprocess.run(
            [sys.executable, "run_benchmark.py", *words],
            cwd=REPOSITORY,
            check=True,
            stdout=subprocess.DEVNULL,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )
        return time.perf_counter() - began, folder_bytes(Path(folder))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--preset", default="digits")
    parser.add_argument("--methods", nargs="+", default=["madry_at"])
    parser.add_argument("--seeds", nargs="+", default=["0", "1", "2", "3"])
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--pairs", type=int, default=2)
    given = parser.parse_args()
    print("| one worker, s | so many, s | times the runs per hour | MB that they leave |")
    print("|---:|---:|---:|---:|")
    for _ in range(given.pairs):
        alone, size = timed(given.preset, given.methods, given.seeds, 1)
        together, _ = timed(given.preset, given.methods, given.seeds, given.workers)
        print(f"| {alone:.1f} | {together:.1f} | {alone / together:.2f} | {size / 1e6:.1f} |", flush=True)


if __name__ == "__main__":
    main()
