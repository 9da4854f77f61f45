"""The reading of stored runs, without torch and without writing. Unreadable files are named, never silently dropped."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from results import schema
from results.files import StoreError, digest, read_json
from results.merged import read_merged
from results.parts import Problem, parts_of, read_parts

DIRECTORY_DIGITS = 16
"""A run's directory is named by this many hex digits of its identity's hash."""

NAMES = ("label", "row", "hash")
"""Fields of an identity that do not say what was trained."""


def identity_hash(identity: Mapping[str, Any]) -> str:
    """SHA-256 over the fields of an identity that say what was trained, its seed among them: 64 hex digits."""
    return digest({name: value for name, value in identity.items() if name not in NAMES})


def row_hash(identity: Mapping[str, Any]) -> str:
    """SHA-256 over the same fields without the seed: that of the row, if the run needs no other runs."""
    return identity_hash({name: value for name, value in identity.items() if name != "seed"})


@dataclass
class Run:
    """One stored run. Its tables are read when first asked for.

    directory: of the run.
    config: the content of its `config.json`.
    published: True if it is a tracked record without checkpoints.
    problems: unreadable parts that were met so far.
    """

    directory: Path
    config: dict[str, Any]
    published: bool = False
    problems: list[Problem] = field(default_factory=list)

    @property
    def identity(self) -> dict[str, Any]:
        return self.config["identity"]

    @property
    def hash(self) -> str:
        return self.identity["hash"]

    @property
    def row(self) -> str:
        """The hash of the identity without the seed: runs of one row differ in nothing else."""
        return self.identity["row"]

    @property
    def label(self) -> str:
        return self.identity["label"]

    @property
    def method(self) -> str:
        return self.identity["method"]

    @property
    def seed(self) -> int:
        return self.identity["seed"]

    @property
    def stream_protocol(self) -> str:
        """The question at test: `task` if an image's task was told, `class` if it was not (`scenarios.base.StreamProtocol`)."""
        scenario = self.identity.get("scenario")
        settings = scenario.get("settings") if isinstance(scenario, dict) else None
        return settings.get("protocol", "task") if isinstance(settings, dict) else "task"

    @property
    def protocols(self) -> dict[str, dict[str, Any]]:
        """The demands on this run, by preset, with the names that attacks have now.

        A demand that does not say of which version its attacks are is older than the versions that changed names.
        """
        stored = self.config.get("protocols", {})
        return {
            preset: _renamed(demand) if isinstance(demand, dict) and "versions" not in demand else demand
            for preset, demand in stored.items()
        }

    def _read(self, table: str, columns: pa.Schema) -> pd.DataFrame:
        parts = parts_of(self.directory, table)
        rows = read_merged(self.directory, table, parts, columns)
        return self._noting(*read_parts(parts, columns)) if rows is None else rows.to_pandas()

    def _noting(self, rows: pa.Table, problems: list[Problem]) -> pd.DataFrame:
        self.problems.extend(problem for problem in problems if problem not in self.problems)
        return rows.to_pandas()

    def under(self, presets: Collection[str]) -> Run:
        """The run as if these presets alone had demanded it. It shares the list of problems."""
        demands = {name: demand for name, demand in self.config.get("protocols", {}).items() if name in presets}
        return replace(self, config={**self.config, "protocols": demands})

    @property
    def stored_evaluations(self) -> int:
        """The number of stored evaluations: of two copies of a run, the one with more says more."""
        return len(self.evaluations)

    @cached_property
    def tasks(self) -> pd.DataFrame:
        return self._noting(*read_parts(self.directory.glob("tasks.parquet"), schema.TASKS))

    @cached_property
    def predictions(self) -> pd.DataFrame:
        """One row per (after_task, task, sample, attack), with the columns of `schema.PREDICTIONS`."""
        frame = _with_names_of(self.evaluations, self._read("predictions", schema.PREDICTIONS))
        # Rows of an attack's older versions stay stored. Only the newest version counts, also in cells that it has not attacked.
        rows = self.evaluations
        newest = rows.groupby("attack")["attack_version"].transform("max")
        old = rows.loc[rows["attack_version"] < newest, "evaluation_id"].unique()
        if len(old):
            frame = frame[~frame["evaluation_id"].isin(old)]
        # The same rows stand twice where directories were merged.
        again = _stand_twice(frame)
        return frame[~again].reset_index(drop=True) if again.any() else frame.reset_index(drop=True)

    @cached_property
    def evaluations(self) -> pd.DataFrame:
        """One row per evaluation, with the columns of `schema.EVALUATIONS` and the names that attacks have now."""
        frame = self._read("evaluations", schema.EVALUATIONS)
        older = _older(frame)
        for column in ("attack", "trajectory") if older.any() else ():
            stored = frame.loc[older, column].dropna()
            frame.loc[stored.index, column] = [name_of_older(name) for name in stored]
        return frame

    @cached_property
    def facts(self) -> pd.DataFrame:
        return self._read("facts", schema.FACTS)

    @cached_property
    def training(self) -> pd.DataFrame:
        return self._read("training", schema.TRAINING)

    @cached_property
    def failures(self) -> list[dict[str, Any]]:
        """The failures, oldest first; a line that a kill cut short is kept as text. An unreadable file is one more failure."""
        path = self.directory / "failures.jsonl"
        if not path.exists():
            return []
        try:
            lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
        except OSError as error:
            return [{"message": f"{path.name} is not readable ({error.strerror})"}]
        entries = []
        for line in lines:
            try:
                entry = json.loads(line)
            except (ValueError, RecursionError):
                entry = line
            entries.append(entry if isinstance(entry, dict) else {"message": str(entry)})
        return entries


@dataclass(frozen=True)
class Results:
    """All stored runs.

    runs: local ones first.
    unreadable: directories that are no readable run.
    """

    runs: list[Run]
    unreadable: list[Problem]

    @property
    def problems(self) -> list[Problem]:
        """Unreadable directories, and unreadable parts of the runs that were met so far."""
        return self.unreadable + [problem for run in self.runs for problem in run.problems]

    def under(self, presets: Collection[str]) -> Results:
        """The runs that one of these presets demanded, as if no other had demanded them."""
        kept = [run.under(presets) for run in self.runs if not run.protocols.keys().isdisjoint(presets)]
        return Results(kept, self.unreadable)


_OLDER_NAME = re.compile(
    rf"(?<!\S)(?P<kind>{'|'.join(kind for kind, _ in schema.OLDER_VERSIONS)}) (?:linf|l2) [^ ]+(?= (?!schedule=)|$)"
)


def name_of_older(stored: str) -> str:
    """The name that an attack of an older version has now, from its stored one: with the setting that makes it.

    A name that says it already, or is of another attack, stays.
    """
    return _OLDER_NAME.sub(_with_setting, stored)


def _with_setting(found: re.Match[str]) -> str:
    settings = schema.OLDER_VERSIONS[found["kind"], 1]
    return " ".join([found[0], *(f"{name}={value}" for name, value in settings.items())])


def _older(evaluations: pd.DataFrame) -> pd.Series:
    """True for each evaluation whose attack, or the one that made its transfer, is of such an older version: bool (n,)."""

    def is_older(specification: Any) -> bool:
        try:
            fields = json.loads(specification)
            made = [each for each in (fields, fields.get("made_with")) if isinstance(each, dict)]
            return any((each.get("attack"), each.get("version")) in schema.OLDER_VERSIONS for each in made)
        except (AttributeError, TypeError, ValueError, RecursionError):
            return False

    specifications = evaluations["specification"]
    return specifications.isin([each for each in specifications.unique() if is_older(each)])


def _renamed(demand: Mapping[str, Any]) -> dict[str, Any]:
    """A demand with the names of older attacks as they are now, wherever it names attacks."""

    def now(value: Any) -> Any:
        if isinstance(value, list):
            return [name_of_older(name) if isinstance(name, str) else name for name in value]
        if isinstance(value, dict):
            return {name_of_older(name): count for name, count in value.items()}
        return value

    naming = ("matrix", "matrix_samples", "final", "samples", "transfers", "checks")
    return {name: now(value) if name in naming else value for name, value in demand.items()}


def _with_names_of(evaluations: pd.DataFrame, predictions: pd.DataFrame) -> pd.DataFrame:
    """Predictions with the attacks' names as their evaluations have them, where an older version has another one now."""
    older = _older(evaluations)
    if not older.any():
        return predictions
    mine = predictions["evaluation_id"].isin(evaluations.loc[older, "evaluation_id"].unique())
    for stored in predictions.loc[mine, "attack"].unique():
        name = name_of_older(str(stored))
        if name != stored:
            attack = predictions["attack"]
            known = attack if name in attack.cat.categories else attack.cat.add_categories(name)
            predictions["attack"] = known.where(~(mine & (attack == stored)), name).cat.remove_unused_categories()
    return predictions


def _stand_twice(predictions: pd.DataFrame) -> np.ndarray:
    """True for each row that repeats the (after_task, task, sample, attack) of an earlier one: bool (n,)."""
    # One number per row: four times as fast as asking pandas about four columns, on tens of millions of rows.
    key = predictions["attack"].cat.codes.to_numpy().astype(np.int64)
    for column in ("after_task", "task", "sample"):
        values = predictions[column].to_numpy().astype(np.int64)
        values = values - values.min(initial=0)
        key = key * (values.max(initial=0) + 1) + values
    return pd.Series(key).duplicated().to_numpy()


def read_run(directory: Path, published: bool = False, *, edited: bool = False) -> Run:
    """The run stored in `directory`.

    edited: True to read it although its identity was changed after it was stored.
    Raises StoreError if its config.json is missing, broken, of another version or edited.
    """
    path = directory / "config.json"
    if not path.exists():
        raise StoreError(f"{directory}: no config.json, so this is no finished run directory")
    config = read_json(path)
    identity = config.get("identity") if isinstance(config, dict) else None
    if not isinstance(identity, dict) or not isinstance(config.get("protocols", {}), dict):
        raise StoreError(f"{path}: not the configuration of a run")
    lacking = {"hash", "row", "method", "label", "seed", "schema"} - set(identity)
    if lacking:
        raise StoreError(f"{path}: identity lacks {', '.join(sorted(lacking))}")
    if not all(isinstance(identity[name], str) for name in ("hash", "row", "method", "label")):
        raise StoreError(f"{path}: hash, row, method and label of the identity are text")
    if identity["schema"] != schema.VERSION:
        raise StoreError(f"{path}: written in record format {identity['schema']}, this version reads {schema.VERSION}")
    if not edited and (changed := _changed(identity)):
        raise StoreError(
            f"{path}: changed after it was stored: {changed}; write the fields back as they were, or let `run` learn it anew"
        )
    return Run(directory, config, published)


def _changed(identity: Mapping[str, Any]) -> str:
    """The reason why an identity is not the one that was stored; empty if it is, as far as it tells by itself.

    The row of a run that needs others is hashed from the rows of those, and in older records from their hashes.
    """
    try:
        found, row = identity_hash(identity), row_hash(identity)
    except ValueError:
        return "a number of its identity is not finite"
    if found != identity["hash"]:
        return f"its identity hashes to {found[:DIRECTORY_DIGITS]}, not to {identity['hash'][:DIRECTORY_DIGITS]}"
    if not identity.get("prerequisites") and row != identity["row"]:
        return f"its row hashes to {row[:DIRECTORY_DIGITS]}, not to {identity['row'][:DIRECTORY_DIGITS]}"
    return ""


def load(
    runs: Path | str = "results/runs", published: Path | str | None = "results/published", *, edited: bool = False
) -> Results:
    """Every run under `runs`, and every published one that is not there too.

    runs: a folder with one directory per run.
    published: a folder with one folder per preset, each with such directories; None: none.
    edited: True to read runs too whose identity was changed after they were stored.

    A missing folder counts as empty. A run that is in both places is one run: the copy that holds more.
    """
    found: dict[str, Run] = {}
    unreadable = []
    places = [(path, False) for path in _directories(Path(runs))]
    if published is not None:
        places += [(path, True) for preset in _directories(Path(published)) for path in _directories(preset)]
    for directory, is_published in places:
        try:
            run = read_run(directory, is_published, edited=edited)
        except StoreError as error:
            # The directory is named once, also where the error is about a file in it.
            unreadable.append(Problem(directory, str(error).replace(str(directory), "", 1).lstrip(":/ ")))
            continue
        known = found.get(run.hash)
        if known is None:
            found[run.hash] = run
            continue
        # Two copies: the one that holds more, with what was demanded of either.
        keep = max((known, run), key=lambda each: each.stored_evaluations)
        keep.config["protocols"] = {**run.protocols, **known.protocols}
        found[run.hash] = keep
    for run in found.values():
        path = demands_path(Path(runs), run.hash)
        if path.exists():
            try:
                noted = read_json(path)
                if not isinstance(noted, dict):
                    raise StoreError(f"{path}: not the demands on a run")
                run.config["protocols"] = {**run.protocols, **noted}
            except StoreError as error:
                unreadable.append(Problem(path, str(error).removeprefix(f"{path}: ")))
    return Results(list(found.values()), unreadable)


def demands_path(runs: Path, run_hash: str) -> Path:
    """The file in which demands on a published run are noted, so that tracked records stay as they are."""
    return runs / ".demands" / f"{run_hash[:DIRECTORY_DIGITS]}.json"


def _directories(folder: Path) -> list[Path]:
    if not folder.is_dir():
        return []
    return sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))
