"""A table of what attacks that walk in lower precision find, beside the same attacks in float32 on the same classifiers.

python -m tests.defects.precisions RESULTS [--precision bf16] [--output FILE.md]

RESULTS holds runs of one preset, evaluated twice: as the preset says in float32, and with `--set evaluation.precision=bf16`.
The second command learns nothing again, because the precision of attacks is no part of a run.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from reports.numbers.outcomes import Outcomes, outcomes_of
from reports.numbers.statistics.comparisons import mcnemar
from results import load
from results.schema import ANY
from tests.defects.tables import to_markdown

Z = 1.959964
"""The 97.5 % point of the normal distribution."""


def differences(results: Path, precision: str) -> list[dict[str, Any]]:
    """A row for each run and attack that has both: images that stand, and those that one of the two broke alone."""
    rows = []
    for run in load(results, None).runs:
        if run.predictions.empty:
            continue
        tasks = int(run.predictions["task"].max()) + 1
        outcomes = outcomes_of(run.predictions, tasks)
        for name in outcomes.correct:
            base = name.removesuffix(ANY)
            fast = f"{base} in={precision}" + (ANY if name.endswith(ANY) else "")
            if fast in outcomes.correct:
                rows.append({"row": run.label, "attack": name, **_pair(outcomes, name, fast)})
    return rows


def _pair(outcomes: Outcomes, name: str, fast: str) -> dict[str, Any]:
    exact, lower = outcomes.after_last(name), outcomes.after_last(fast)
    both = (exact >= 0) & (lower >= 0)
    stands, stands_fast = exact[both] == 1, lower[both] == 1
    return {
        "images": int(both.sum()),
        "stand, float32": int(stands.sum()),
        "stand": int(stands_fast.sum()),
        "broken by float32 alone": int((~stands & stands_fast).sum()),
        "broken by the other alone": int((stands & ~stands_fast).sum()),
    }


def table(rows: list[dict[str, Any]]) -> pd.DataFrame:
    """The rows, and their sum by attack: the difference of accuracies in points, its 95 % interval, and McNemar's p."""
    frame = pd.DataFrame(rows)
    summed = frame.groupby("attack", sort=False).sum(numeric_only=True).reset_index()
    summed.insert(0, "row", f"all {frame['row'].nunique()}")
    whole = pd.concat([frame, summed], ignore_index=True)
    first, second = (whole[f"broken by {who} alone"] for who in ("float32", "the other"))
    count = whole["images"]
    difference = (first - second) / count
    # Of paired proportions: the variance of a difference of which most pairs are equal.
    error = np.sqrt(np.maximum((first + second) / count - difference**2, 0) / count)
    whole["points"] = (100 * difference).round(2)
    whole["interval"] = [
        f"[{100 * (d - Z * e):.2f}, {100 * (d + Z * e):.2f}]" for d, e in zip(difference, error, strict=True)
    ]
    pairs = zip(first, second, strict=True)
    whole["p"] = [mcnemar(*_vectors(int(a), int(b))) for a, b in pairs]
    whole["p"] = whole["p"].round(3)
    return whole


def _vectors(first: int, second: int) -> tuple[np.ndarray, np.ndarray]:
    """Two vectors that differ so often in either direction."""
    return np.array([True] * first + [False] * second, bool), np.array([False] * first + [True] * second, bool)


def main(arguments: list[str] | None = None) -> int:
    """Print the table. Exit codes: 0 done, 2 nothing to compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("results", type=Path)
    parser.add_argument("--precision", default="bf16")
    parser.add_argument("--sums", action="store_true", help="the sums over all rows alone")
    parser.add_argument("--output", type=Path)
    options = parser.parse_args(arguments)
    rows = differences(options.results, options.precision)
    if not rows:
        print(f"error: {options.results} holds no attack in both float32 and {options.precision}", file=sys.stderr)
        return 2
    frame = table(rows)
    frame = frame[frame["row"].str.startswith("all ")] if options.sums else frame
    text = to_markdown(frame.astype(str).to_dict("records")) + "\n"
    print(text, end="")
    if options.output:
        options.output.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
