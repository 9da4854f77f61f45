"""Time and size of a report: `python -m benchmark.commands.timing.reports`, on made-up records of full size.

By default 12 rows x 3 seeds x 20 tasks under the whole sweep of the preset `cifar100-full`: about 50 million predictions. The
report is made as a user makes it, by `run_benchmark.py report --presets cifar100-full` in a process of its own.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmark.commands.timing.generated_records import Size, generate
from benchmark.planning.presets import load_preset
from reports.numbers.wording import counted

COMMAND = Path(__file__).parents[3] / "run_benchmark.py"


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmark.commands.timing.reports", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("--preset", default="cifar100-full", help="the preset whose attacks the records are of")
    parser.add_argument("--methods", type=int, default=Size.methods)
    parser.add_argument("--seeds", type=int, default=Size.seeds)
    parser.add_argument("--tasks", type=int, default=Size.tasks)
    parser.add_argument("--keep", type=Path, metavar="DIR", help="keep records and report in this new folder")
    options = parser.parse_args()
    if options.keep is not None and options.keep.exists():
        parser.error(f"--keep {options.keep}: exists already; name a new folder")
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.keep or Path(temporary)
        began = time.perf_counter()
        size = Size(options.methods, options.seeds, options.tasks)
        predictions = generate(folder / "runs", load_preset(options.preset), size)
        seconds, runs = time.perf_counter() - began, counted(size.methods * size.seeds, "run")
        print(f"{predictions:,} predictions in {runs} ({seconds:.0f} s to make up)")
        seconds, memory = _report(folder / "runs", folder / "report", options.preset)
        page = (folder / "report" / "index.html").stat().st_size
        print(f"report: {seconds:.1f} s, {memory / 1e9:.2f} GB at its peak; index.html {page / 1e6:.2f} MB")
    return 0


def _report(runs: Path, output: Path, preset: str) -> tuple[float, float]:
    """Run `report` for the preset. Returns its seconds and its peak memory in bytes, with those of the processes it starts."""
    began = time.perf_counter()
    arguments = [sys.executable, str(COMMAND), "report", "--results", str(runs), "--output", str(output)]
    arguments += ["--presets", preset]
    process = subprocess.Popen(arguments, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"error: report ended with exit code {os.waitstatus_to_exitcode(status)}")
    # Linux counts in kilobytes, macOS in bytes.
    return time.perf_counter() - began, usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024)


if __name__ == "__main__":
    sys.exit(main())
