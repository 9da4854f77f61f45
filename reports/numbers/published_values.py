"""Published numbers that stand beside ours: read from `results/reference/` and validated. They are references, never targets."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import pandas as pd

from results.files import StoreError

REFERENCE = Path(__file__).resolve().parents[2] / "results" / "reference"
LOGS_FILE = "cifar100_single_task_logs.csv"
"""Accuracies under the training attack and on clean images, per superclass."""
HIGH_RESOLUTION = {"cubs": "CUBS", "stanford_cars": "Stanford Cars", "flowers": "Flowers"}
"""The names of the data sets as the thesis prints them, by column of the high-resolution tables."""
PRINTED_AVERAGE = "average as printed"
"""The line of CPG's table, in the place of a superclass, that holds the average in print."""


@dataclass(frozen=True)
class PublishedValues:
    """The tables of the thesis, those that it quotes, and those of others; accuracies in [0, 1] unless said otherwise.

    pgd_steps: the bar chart, a line per bar: group, method, epsilon, pgd_steps, accuracy.
    methods: the comparison: method, label, accuracy, attack, source.
    logs: a line per superclass, a column per log.
    fine_grained: the high-resolution tables.
    data_sets: the whole data sets of these tables: column, data_set, classes, train, test.
    anp_vs: the table from which six rows of the comparison are quoted, in percent.
    cpg: clean accuracy on the superclasses in percent, a line per method and superclass; `method` as below.
    shield_til: SHIELD's table, in percent, a line per benchmark and method; `method` is ours that stands beside it, or `none`.
    """

    pgd_steps: pd.DataFrame
    methods: pd.DataFrame
    logs: pd.DataFrame
    fine_grained: pd.DataFrame
    data_sets: pd.DataFrame
    anp_vs: pd.DataFrame
    cpg: pd.DataFrame
    shield_til: pd.DataFrame

    def quoted_from(self, accuracy: float) -> tuple[str, str] | None:
        """The (row, column) of the ANP-VS paper's table that holds this accuracy; None if no cell does, or several."""
        cells = self.anp_vs.melt("model", var_name="column")
        found = cells[(cells["value"] / 100 - accuracy).abs() < 5e-6]
        return (str(found["model"].iloc[0]), str(found["column"].iloc[0])) if len(found) == 1 else None


def _number(text: str, highest: float, lowest: float = 0.0) -> float:
    value = float(text)
    if not lowest <= value <= highest:
        raise ValueError
    return value


def _text(text: str) -> str:
    if not text:
        raise ValueError
    return text


_Kind = tuple[str, Callable[[str], Any]]
TEXT: _Kind = ("text", _text)
FRACTION: _Kind = ("a number from 0 to 1", lambda text: _number(text, 1.0))
PERCENT: _Kind = ("a number from 0 to 100", lambda text: _number(text, 100.0))
CHANGE: _Kind = ("a number from -1 to 1", lambda text: _number(text, 1.0, -1.0))
COUNT: _Kind = ("a whole number", int)
EXACT: _Kind = ("a fraction such as 8/255", Fraction)


@dataclass(frozen=True)
class _Table:
    """A file of published numbers.

    columns: the kind of value by column.
    names: the columns that name a line.
    """

    file: str
    columns: dict[str, _Kind]
    names: tuple[str, ...]


_LOGGED = ("goal_file", "pgd_train_pgd_eval", "fgsm_train_fgsm_eval", "fgsm_train_pgd_eval", "pgd_train_clean_eval")
_TABLES = {
    "pgd_steps": _Table(
        "cifar100_pgd_steps.csv",
        {"group": TEXT, "method": TEXT, "epsilon": EXACT, "pgd_steps": COUNT, "accuracy": FRACTION},
        ("method", "epsilon", "pgd_steps"),
    ),
    "methods": _Table(
        "cifar100_methods.csv",
        {"method": TEXT, "label": TEXT, "accuracy": FRACTION, "attack": TEXT, "source": TEXT},
        ("method",),
    ),
    "logs": _Table(
        LOGS_FILE, {"superclass": TEXT, **dict.fromkeys((*_LOGGED, "pgd_train_fgsm_eval"), FRACTION)}, ("superclass",)
    ),
    "fine_grained": _Table(
        "fine_grained.csv",
        {
            **dict.fromkeys(("method", "train_attack", "eval_attack"), TEXT),
            **dict.fromkeys((*HIGH_RESOLUTION, "precision", "recall", "f1"), FRACTION),
        },
        ("method", "train_attack", "eval_attack"),
    ),
    "data_sets": _Table(
        "fine_grained_data_sets.csv",
        {"column": TEXT, "data_set": TEXT, **dict.fromkeys(("classes", "train", "test"), COUNT)},
        ("column",),
    ),
    "anp_vs": _Table(
        "anp_vs_paper_cifar100_vgg16.csv",
        {"model": TEXT, "clean": PERCENT, "white_box": PERCENT, "black_box": PERCENT},
        ("model",),
    ),
    "cpg": _Table(
        "cpg_cifar100_superclasses.csv",
        {"method": TEXT, "label": TEXT, "superclass": TEXT, "accuracy": PERCENT},
        ("label", "superclass"),
    ),
    "shield_til": _Table(
        "shield_til.csv",
        {
            **dict.fromkeys(("benchmark", "method", "label"), TEXT),
            **dict.fromkeys(("autoattack", "pgd", "fgsm", "clean"), PERCENT),
            **{"bwt": CHANGE, "source": TEXT},
        },
        ("benchmark", "label"),
    ),
}


def read_published(folder: Path = REFERENCE) -> PublishedValues:
    """Read the published tables, with exactly the columns that are used.

    Raises StoreError, one line that names file and column, if a file is unreadable or a value is of another kind.
    """
    return PublishedValues(**{name: _read(folder / table.file, table) for name, table in _TABLES.items()})


def _read(path: Path, table: _Table) -> pd.DataFrame:
    try:
        stored = pd.read_csv(path, dtype=str, keep_default_na=False)
    except (OSError, ValueError) as error:
        raise StoreError(f"{path}: published numbers are not readable as CSV ({error})") from error
    missing = [name for name in table.columns if name not in stored.columns]
    if missing or not len(stored):
        lacks = f"the columns {', '.join(missing)}" if missing else "any line"
        raise StoreError(f"{path}: published numbers lack {lacks}")
    found = pd.DataFrame(
        {name: _values(path, name, kind, stored[name].tolist()) for name, kind in table.columns.items()}
    )
    twice = found.duplicated(list(table.names))
    if twice.any():
        again = " ".join(str(found[name][twice].iloc[0]) for name in table.names)
        raise StoreError(f"{path}: two lines say {again}")
    return found


def _values(path: Path, column: str, kind: _Kind, texts: list[str]) -> list[Any]:
    expected, read = kind
    values = []
    for line, text in enumerate(texts, start=2):
        try:
            values.append(read(text.strip()))
        except (ValueError, ZeroDivisionError):
            raise StoreError(f"{path}: line {line}: {column} is {text!r}, expected {expected}") from None
    return values


BLACK_BOX_100_WAY = ("standard", "madry_at", "free_at", "pretrained_at", "trades", "anp_vs")
"""Rows of the thesis' comparison that it quotes from a black-box column over 100 classes."""


def thesis_f1_table(published: pd.DataFrame) -> pd.DataFrame:
    """The thesis' F1 beside the mean of its accuracies, and beside 2PR/(P+R) of its own precision and recall.

    published: the table of `fine_grained.csv`.
    """
    precision, recall = published["precision"], published["recall"]
    return pd.DataFrame(
        {
            "method": published["method"],
            "attack": published["train_attack"],
            "mean_accuracy": published[list(HIGH_RESOLUTION)].mean(axis=1).round(4),
            "precision": precision,
            "recall": recall,
            "F1": published["f1"],
            "F1_of_its_precision_and_recall": (2 * precision * recall / (precision + recall)).round(4),
        }
    )
