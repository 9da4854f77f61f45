"""Two copies of a run become one: every part of either. Parts never change once they are written, so hardly any can disagree.

What does disagree is a run that was learned twice into other weights, as on another kind of machine: its outcomes are of other
classifiers, and no row may mix them.
"""

from __future__ import annotations

import filecmp
import json
import os
from collections import defaultdict
from collections.abc import Sequence, Set
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from benchmark.learning import afresh
from benchmark.planning.stored_runs import WHOLE, task_checkpoints, task_key
from results import schema
from results.adversarial import FOLDER as ADVERSARIAL
from results.checkpoints import Checkpoints
from results.files import StoreError, whole_file
from results.parts import parts_of, read_parts
from results.publishing.packing import PAIRED
from results.records import Run
from results.store import RunStore

CONFIG, FAILURES = "config.json", "failures.jsonl"
LAST = (f"facts/{schema.COSTS}.parquet", FAILURES, CONFIG)
"""Files that say that others are there. They are put in place last, in this order."""
OF_WORK = ("handed_over",)
"""Folders of work that is not finished. They are of use to a run that is new here, and to no other."""

PHASES_OF_THEIR_OWN = (
    *(schema.COSTS, schema.SECONDS, schema.AFRESH, schema.UNFORGETTING, schema.DATA),
    *(schema.PROBES, schema.GRADIENTS, schema.UNSEEN),
)
"""Phases of facts with a part of their own; the others are written task by task."""

Cell = tuple[str, int]
"""An evaluation and the turn after which it was."""


@dataclass(frozen=True)
class Union:
    """The changes that make one run of two copies.

    add: files of the other copy that the run lacks, or has less of; in the order in which they are put in place.
    parts: parts of facts and epochs that the run lacks, from a file of the other copy that holds several: rows by path.
    facts: rows of `facts/afresh.parquet` from both copies; None if the run has them all.
    protocols: the demands of the other copy; None if the run has them all.
    failures: lines of both copies; None if they stay.
    forget_failures: True if the other copy has no failure and is finished.
    """

    add: tuple[str, ...]
    parts: dict[str, list[dict[str, Any]]]
    facts: list[dict[str, Any]] | None
    protocols: dict[str, Any] | None
    failures: str | None
    forget_failures: bool

    def __bool__(self) -> bool:
        return bool(self.add or self.parts or self.forget_failures) or not (
            self.facts is self.protocols is self.failures is None
        )


def union_of(here: Run, other: Run, files: Sequence[str]) -> Union:
    """Compare two copies of a run. files: the records of `other`, by their paths in its folder.

    Raises StoreError, one line, if they cannot be one run.
    """
    _require_same_tasks(here, other)
    _require_same_classifiers(here, other)
    richer = _richer_parts(here, other)
    add = [file for file in files if _is_lacking(file, here, richer)]
    lacking = _lacking_rows(here, other, add)
    return Union(
        add=tuple(sorted((file for file in add if file not in lacking), key=_order)),
        parts={file: rows for file, rows in lacking.items() if rows},
        facts=_joined_afresh(here, other),
        protocols=_lacking_protocols(here, other),
        failures=_joined_failures(here, other),
        forget_failures=bool(here.failures) and not other.failures and _finished(other),
    )


def _is_lacking(file: str, here: Run, richer: Set[str]) -> bool:
    """True if a file of the other copy is to be put in place. richer: the parts of evaluations that say more than those here."""
    folder, _, name = file.partition("/")
    if folder in PAIRED:
        return Path(name).stem in richer
    if folder == ADVERSARIAL and Path(name).stem in richer:
        return True
    if file in (CONFIG, FAILURES) or folder in OF_WORK or ".stage-" in name:
        return False
    return not (here.directory / file).exists()


def apply(union: Union, here: Run, other: Run) -> None:
    """Put the files of the other copy in place, by renaming: each is there whole or not at all. The run's lock is held.

    Raises StoreError if something cannot be written. What was put in place until then is right, and the same again goes on.
    """
    for file in union.add:
        target = here.directory / file
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            os.replace(other.directory / file, target)
        except OSError as error:
            raise StoreError(f"{target}: cannot be written ({error.strerror})") from error
    store = RunStore(here.directory.parent, here.hash)
    for file, rows in union.parts.items():
        store.write_part(Path(file).parent.name, Path(file).stem, rows)
    if union.facts is not None:
        store.write_part("facts", schema.AFRESH, union.facts)
    if union.failures is not None:
        with whole_file(here.directory / FAILURES) as temporary:
            temporary.write_text(union.failures, encoding="utf-8")
    if union.forget_failures:
        store.clear_failures()
    if union.protocols is not None:
        store.add_demands(union.protocols)


def _order(file: str) -> tuple[int, str]:
    """Predictions before the evaluations that make them count, tensors before their manifests, the costs of the run last."""
    folders = ("facts", "training", "adversarial", "predictions", "checkpoints/blobs", "checkpoints", "evaluations")
    folder = str(Path(file).parent)
    rank = folders.index(folder) if folder in folders else len(folders)
    return (len(folders) + 1 + LAST.index(file) if file in LAST else rank), file


# -- what may not differ --------------------------------------------------------------------------------------------------


def _require_same_tasks(here: Run, other: Run) -> None:
    mine, theirs = (
        [read_parts([run.directory / "tasks.parquet"], schema.TASKS)[0].to_pylist()] for run in (here, other)
    )
    if mine[0] and theirs[0] and mine != theirs:
        raise StoreError(f"{here.directory}: the tasks of this run are others than those of the copy to merge")


def _require_same_classifiers(here: Run, other: Run) -> None:
    mine, theirs = (_classifiers(run) for run in (here, other))
    for turn, task in sorted(set(mine) & set(theirs)):
        if mine[turn, task] != theirs[turn, task]:
            raise StoreError(
                f"{here.directory}: was learned here and there into other weights (task {task} after task {turn}); the copies "
                "cannot be one run: keep the other one in a folder of its own (--results)"
            )


def _classifiers(run: Run) -> dict[tuple[int, int], frozenset[str]]:
    """The fingerprints of the classifiers of a run, by turn and task, as evaluations, facts and checkpoints have them."""
    found: dict[tuple[int, int], set[str]] = defaultdict(set)
    rows = read_parts(parts_of(run.directory, "evaluations"), schema.EVALUATIONS)[0]
    columns = (rows[name].to_pylist() for name in ("after_task", "task", "classifier"))
    for turn, task, classifier in zip(*columns, strict=True):
        found[turn, task].add(classifier)
    checkpoints = Checkpoints(run.directory / "checkpoints")
    for name in task_checkpoints(checkpoints):
        try:
            said = checkpoints.values(name).get("classifiers", {})
            for task, classifier in said.items():
                found[int(name.rpartition("-")[2]), int(task)].add(str(classifier))
        except (StoreError, AttributeError, ValueError):
            # One that is unreadable is made again by the next `run`.
            continue
    return {place: frozenset(classifiers) for place, classifiers in found.items()}


# -- what is joined -------------------------------------------------------------------------------------------------------


def _lacking_rows(here: Run, other: Run, files: Sequence[str]) -> dict[str, list[dict[str, Any]]]:
    """The parts of facts and epochs that the run lacks, from those files of the other copy that hold several: rows by path.

    files: that are not here, by their paths. A file of which everything is here is among what is returned, without rows.
    """
    found: dict[str, list[dict[str, Any]]] = {}
    for table in ("facts", "training"):
        there = {Path(file).stem for file in files if file.startswith(f"{table}/")}
        mine = {path.stem for path in parts_of(here.directory, table)}
        known = (mine - {WHOLE}) | set(_parts_of_whole(here, table) if WHOLE in mine else ())
        found |= {f"{table}/{name}.parquet": [] for name in there & known}
        if WHOLE in there and known:
            parts = _parts_of_whole(other, table)
            found |= {f"{table}/{name}.parquet": rows for name, rows in parts.items() if name not in known}
            found[f"{table}/{WHOLE}.parquet"] = []
    return found


def _parts_of_whole(run: Run, table: str) -> dict[str, list[dict[str, Any]]]:
    """The rows of the one part of a published run's facts or epochs, by the names of the parts in which a run writes them."""
    rows = read_parts([run.directory / table / f"{WHOLE}.parquet"], schema.TABLES[table])[0].to_pylist()
    last = len(run.identity["scenario"]["tasks"]) - 1
    # Facts of learning are those of a turn; a method that learns all tasks at once has one.
    all_at_once = any(row["task"] < 0 for row in rows if table == "training" or row["phase"] == schema.HARNESS)
    found: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for row in rows:
        of_its_own = table == "facts" and row["phase"] in PHASES_OF_THEIR_OWN
        found[row["phase"] if of_its_own else task_key(last if all_at_once else row["task"])].append(row)
    return found


def _richer_parts(here: Run, other: Run) -> set[str]:
    """The parts of evaluations of the other copy with samples that no part here has, or that were half put in place here."""
    mine, theirs = _Parts(here.directory), _Parts(other.directory)
    found = set()
    for part in theirs.names:
        if mine.has_same(part, theirs):
            continue
        known: dict[Cell, set[int]] = defaultdict(set)
        for near in mine.near(part):
            for cell, samples in mine.samples(near).items():
                known[cell] |= samples
        cells = theirs.samples(part)
        replaced = mine.samples(part) if part in mine.names else {}
        # A part is replaced by one of its name that says all of it and more, and by no other.
        says_all = all(samples <= cells.get(cell, set()) for cell, samples in replaced.items())
        says_more = any(not samples <= known[cell] for cell, samples in cells.items())
        # A merge that was killed between the two files of a part left predictions that its evaluations know nothing of.
        half = any(count != len(replaced[cell]) for cell, count in mine.counts(part).items() if cell in replaced)
        if says_all and (says_more or half):
            found.add(part)
    return found


class _Parts:
    """The parts of a run's evaluations whose two tables are there and readable. Parts of thousands of cells are rarely read.

    names: of the parts.
    """

    def __init__(self, directory: Path) -> None:
        self._folders = [directory / table for table in PAIRED]
        pairs = [{path.stem: path for path in parts_of(directory, table)} for table in PAIRED]
        self.names = {name for name in set(pairs[0]) & set(pairs[1]) if all(_is_readable(pair[name]) for pair in pairs)}
        self._near: dict[str, list[str]] = defaultdict(list)
        for name in self.names:
            self._near[name.rpartition(".")[0]].append(name)

    def near(self, part: str) -> list[str]:
        """The parts that may be of the same evaluation and turn; one that is named by no evaluation holds those of many."""
        key = part.rpartition(".")[0]
        return sorted({*self._near[key], *self._near[""]}) if key else sorted(self.names)

    def has_same(self, part: str, others: _Parts) -> bool:
        """True if another copy has the same bytes in a part."""
        name = f"{part}.parquet"
        return part in self.names and all(
            filecmp.cmp(mine / name, theirs / name, shallow=False)
            for mine, theirs in zip(self._folders, others._folders, strict=True)
        )

    def samples(self, part: str) -> dict[Cell, set[int]]:
        """The samples in a part, by evaluation and turn."""
        table = pq.ParquetFile(self._folders[0] / f"{part}.parquet").read(["evaluation_id", "after_task", "sample"])
        found: dict[Cell, set[int]] = defaultdict(set)
        for row in table.group_by(["evaluation_id", "after_task"]).aggregate([("sample", "list")]).to_pylist():
            found[row["evaluation_id"], row["after_task"]] = set(row["sample_list"])
        return found

    def counts(self, part: str) -> dict[Cell, int]:
        """The numbers of samples of the evaluations in a part, as they say themselves; empty for a part that is not here."""
        if part not in self.names:
            return {}
        names = ["evaluation_id", "after_task", "samples"]
        table = pq.ParquetFile(self._folders[1] / f"{part}.parquet").read(names)
        return {(row[names[0]], row[names[1]]): row[names[2]] for row in table.to_pylist()}


def _is_readable(path: Path) -> bool:
    try:
        return pq.ParquetFile(path).metadata.num_rows >= 0
    except (OSError, pa.ArrowException):
        return False


def _joined_afresh(here: Run, other: Run) -> list[dict[str, Any]] | None:
    """The answers of classifiers made anew, of both copies: they are about the attacks that each copy had. Those here count."""
    name = f"{schema.AFRESH}.parquet"
    mine, theirs = (read_parts([run.directory / "facts" / name], schema.FACTS) for run in (here, other))
    if mine[1] or theirs[1]:
        # Where none is here, the part is added like any other.
        return None
    before, now = theirs[0].to_pylist(), mine[0].to_pylist()
    joined = afresh.joined(before, now)
    lacking = [fact for fact in joined if fact not in now]
    return [*now, *lacking] if lacking else None


def _lacking_protocols(here: Run, other: Run) -> dict[str, Any] | None:
    mine, theirs = (run.config.get("protocols", {}) for run in (here, other))
    return dict(theirs) if set(theirs) - set(mine) else None


def _joined_failures(here: Run, other: Run) -> str | None:
    """The failures of both copies, unless one of them is finished and has none; the same whichever copy is merged into which."""
    if not other.failures or (_finished(here) and not here.failures):
        return None
    mine, theirs = ([json.dumps(entry, ensure_ascii=False) for entry in run.failures] for run in (here, other))
    lacking = [line for line in dict.fromkeys(theirs) if line not in mine]
    return "".join(f"{line}\n" for line in [*mine, *lacking]) if lacking else None


def _finished(run: Run) -> bool:
    return (run.directory / LAST[0]).exists() or (run.directory / "facts" / "all.parquet").exists()
