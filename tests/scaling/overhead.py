"""The time of stored runs that neither learning nor attacks took, from the clock that every run stores.

python -m tests.scaling.overhead --preset fine-grained-cpu
python -m tests.scaling.overhead --results DIR
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

from results.records import Run, read_run
from tests.scaling.costs import OF_THE_HARNESS, by_purpose, published

CHECKS = ("probes", "gradients", "unseen", "afresh", "unforgetting")


def stored(results: Path) -> Iterator[tuple[str, Run]]:
    """The runs in a folder of results, each with its label."""
    for folder in sorted(results.iterdir()):
        if (folder / "config.json").is_file():
            run = read_run(folder)
            yield run.label, run


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--preset", default="fine-grained-cpu", help="whose published runs are read")
    parser.add_argument("--results", type=Path, help="a folder of runs that are read instead")
    given = parser.parse_args()
    print("| row | seconds | learning and attacks | questions of checks | harness | of it reading and writing |")
    print("|---|---:|---:|---:|---:|---:|")
    for label, run in stored(given.results) if given.results else published(given.preset):
        spent = by_purpose(run)
        whole = sum(spent.values())
        if not whole:
            continue
        harness, checks, store = (
            sum(spent.get(name, 0.0) for name in names) / whole for names in (OF_THE_HARNESS, CHECKS, ("read", "write"))
        )
        shares = " | ".join(f"{100 * share:.1f} %" for share in (1 - harness - checks, checks, harness, store))
        print(f"| `{label}` | {whole:.0f} | {shares} |")


if __name__ == "__main__":
    main()
