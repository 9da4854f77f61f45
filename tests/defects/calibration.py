"""Tables of how often the checks find planted defects, by strength, and how often they fire on honest rows.

python -m tests.defects.calibration [--preset digits] [--seeds 0 1 2] [--data-root DIR] [--results DIR] [--set key=value ...]
                                    [--only WORD ...] [--honest LABEL ...] [--workers N] [--output FILE.md]

What is stored is not run again, so a command that was stopped goes on.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

from rich.console import Console

from benchmark.errors import ConfigError
from results.files import whole_file
from scenarios.base import DataError
from tests.defects.calibrating import Calibration, execute, read
from tests.defects.catalogue import CATALOGUE, HONEST, UNDEFENDED
from tests.defects.tables import alarm_table, detection_table, gap_table, kind_table, to_markdown

RESULTS = Path(__file__).resolve().parents[2] / "results" / "calibration"


def main(arguments: list[str] | None = None) -> int:
    """Run the calibration and print its tables. Exit codes: 0 done, 2 the command is wrong."""
    options = _parser().parse_args(arguments)
    only = [word.lower() for word in options.only]
    planted = [each for each in CATALOGUE if not only or any(word in each.label.lower() for word in only)]
    console = Console(stderr=True)
    if not planted:
        console.print(f"error: --only {' '.join(options.only)}: no defect is called that", style="red", markup=False)
        return 2
    calibration = Calibration(
        preset=options.preset,
        planted=planted,
        seeds=options.seeds,
        results=options.results,
        overrides=options.set,
        honest=options.honest,
        data_root=options.data_root,
        workers=options.workers,
    )
    began = time.monotonic()
    try:
        if not options.read_only:
            execute(calibration, console)
    except (ConfigError, DataError) as error:
        console.print(f"error: {error}", style="red", markup=False)
        return 2
    console.print(f"{(time.monotonic() - began) / 60:.1f} minutes", highlight=False)
    text = report(calibration)
    print(text, end="")
    if options.output:
        with whole_file(options.output) as path:
            path.write_text(text, encoding="utf-8")
    return 0


def report(calibration: Calibration) -> str:
    """The tables as Markdown, of what is stored."""
    found = read(calibration)
    defended = [label for label in calibration.honest if label not in UNDEFENDED]
    undefended = [label for label in calibration.honest if label in UNDEFENDED]
    parts = [
        ("Planted defects by kind", kind_table(calibration.planted, found)),
        ("Planted defects", detection_table(calibration.planted, found)),
        (f"Honest rows ({', '.join(defended)})", alarm_table(defended, found)),
        (f"Undefended rows ({', '.join(undefended)})", alarm_table(undefended, found)),
        ("Both sides of the thresholds", gap_table(calibration.honest, calibration.planted, found)),
    ]
    head = " ".join(
        [f"Preset {calibration.preset}, seeds {' '.join(map(str, calibration.seeds))}", *calibration.overrides]
    )
    return "\n\n".join([head, *(f"## {title}\n\n{to_markdown(rows)}" for title, rows in parts if rows)]) + "\n"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="calibration", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--preset", default="digits", help="a built-in preset or a YAML file")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--data-root", type=Path)
    parser.add_argument("--results", type=Path, default=RESULTS, help="where runs are stored")
    parser.add_argument("--set", nargs="+", default=[], metavar="KEY=VALUE", help="overrides of the preset")
    parser.add_argument("--only", nargs="+", default=[], metavar="WORD", help="defects whose name holds one of these")
    parser.add_argument("--honest", nargs="+", default=[*HONEST, *UNDEFENDED], metavar="LABEL")
    parser.add_argument("--workers", type=int)
    parser.add_argument("--read-only", action="store_true", help="tell of what is stored, run nothing")
    parser.add_argument("--output", type=Path, help="a Markdown file")
    return parser


if __name__ == "__main__":
    sys.exit(main())
