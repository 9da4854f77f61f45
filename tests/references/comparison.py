"""Our methods, trained clean, held against reference implementations on a small stream: the table of docs/methods.md.

python -m tests.references.comparison [--avalanche DIR] [--mammoth DIR] [--gpm DIR] [--wsn DIR] [--piggyback DIR]
                                      [--seeds 0 1 2 3 4] [--only WORD ...] [--store FILE.json] [--output FILE.md]

No test runs this, and nothing here is installed with the repository. References are for behaviour alone: each learns the same
images with the same network, the same start, the same SGD and the same settings, and accuracy and forgetting are compared. They
are fetched by hand:

    pip install --target references avalanche-lib==0.6.0 kornia timm     # --avalanche references
    git clone https://github.com/aimagelab/mammoth                        # e75a491c69fd729edeb01431afb753d9157d9a81
    git clone https://github.com/sahagobinda/GPM                          # 1a238ec9d2ca30bae8fd1707f161cc6bd093c72a
    git clone https://github.com/ihaeyong/WSN                             # f066982e6c4f89a765f2d54ef41536978a2fff0b
    git clone https://github.com/arunmallya/piggyback                     # 5a6094c45896c035a690d6f2fac0b102df176600

`stream.py` has stream, training and network, `cases.py` the comparisons, and there is a file for each side. What is stored in
`--store` is not run again, so a command that was stopped goes on. A side of a case runs in a process of its own, because the
references' packages have the same names.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import warnings
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import fields
from multiprocessing import get_context
from pathlib import Path

import torch

from tests.references import mammoth_side
from tests.references.cases import Case, Folders, cases
from tests.references.stream import Matrix

OURS = "ours"
Store = dict[str, dict[str, list[list[float]]]]
"""Case and side → seed → rows of accuracies."""


def main(arguments: list[str] | None = None) -> int:
    """Run what is not stored, and print the table."""
    options = _parser().parse_args(arguments)
    folders = Folders(**{field.name: getattr(options, field.name) for field in fields(Folders)})
    chosen = [case for case in cases(folders) if not options.only or any(word in case.key for word in options.only)]
    store: Store = json.loads(options.store.read_text()) if options.store and options.store.exists() else {}
    for case in chosen:
        for side in (OURS, *case.references):
            known = store.setdefault(f"{case.key}: {side}", {})
            missing = [seed for seed in options.seeds if str(seed) not in known]
            if not missing:
                continue
            with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
                found = pool.submit(_run, folders, case.key, side, missing).result()
            known |= {str(seed): rows for seed, rows in zip(missing, found, strict=True)}
            print(
                f"{case.key}: {side}", *_cells([Matrix(rows) for rows in known.values()]), file=sys.stderr, flush=True
            )
            if options.store:
                options.store.write_text(json.dumps(store))
    text = table(chosen, store, options.seeds)
    print(text, end="")
    if options.output:
        options.output.write_text(text, encoding="utf-8")
    return 0


def _run(folders: Folders, key: str, side: str, seeds: Sequence[int]) -> list[list[list[float]]]:
    """The accuracies of one side of one case, by seed."""
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    # Last, so that nothing of the references hides what is installed here, or a folder of this repository.
    if folders.avalanche:
        sys.path.append(str(folders.avalanche))
    if folders.mammoth and side.startswith("Mammoth"):
        mammoth_side.use(folders.mammoth)
    (case,) = (case for case in cases(folders) if case.key == key)
    run = case.ours if side == OURS else case.references[side]
    found = []
    for seed in seeds:
        with tempfile.TemporaryDirectory() as folder:
            found.append(run(Path(folder), seed).rows)
    return found


def table(chosen: Sequence[Case], store: Store, seeds: Sequence[int]) -> str:
    """The table as Markdown: mean ± standard error over seeds, in percent, and how many standard errors both sides are apart."""
    lines = [
        "| method | question | settings | ours: ACC | forgetting | reference | ACC | forgetting | apart (ACC) |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for case in chosen:
        mine = _matrices(store, case, OURS, seeds)
        for side in case.references:
            theirs = _matrices(store, case, side, seeds)
            shown = (side, *_cells(theirs), f"{_apart(mine, theirs):+.1f}")
            words = (case.name, case.protocol, case.said, *_cells(mine), *shown)
            lines.append(f"| {' | '.join(words)} |")
    return "\n".join(lines) + "\n"


def _matrices(store: Store, case: Case, side: str, seeds: Sequence[int]) -> list[Matrix]:
    return [Matrix(store[f"{case.key}: {side}"][str(seed)]) for seed in seeds]


def _cells(matrices: Sequence[Matrix]) -> tuple[str, str]:
    return tuple(  # type: ignore[return-value]
        f"{statistics.mean(values):.1f} ± {_error(values):.1f}"
        for values in ([each.accuracy for each in matrices], [each.forgetting for each in matrices])
    )


def _error(values: Sequence[float]) -> float:
    return statistics.stdev(values) / len(values) ** 0.5 if len(values) > 1 else 0.0


def _apart(mine: Sequence[Matrix], theirs: Sequence[Matrix]) -> float:
    """The difference of the means in standard errors of that difference."""
    left, right = [each.accuracy for each in mine], [each.accuracy for each in theirs]
    error = (_error(left) ** 2 + _error(right) ** 2) ** 0.5
    return (statistics.mean(left) - statistics.mean(right)) / error if error else 0.0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m tests.references.comparison", description=(__doc__ or "").split("\n")[0]
    )
    for field in fields(Folders):
        parser.add_argument(
            f"--{field.name}", type=Path, metavar="DIR", help=f"folder of {field.name}; left out if not given"
        )
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument("--only", nargs="+", metavar="WORD", help="cases whose name has one of these words")
    parser.add_argument("--store", type=Path, metavar="FILE.json", help="accuracies of all runs, read and written")
    parser.add_argument("--output", type=Path, metavar="FILE.md", help="the table, beside printing it")
    return parser


if __name__ == "__main__":
    sys.exit(main())
