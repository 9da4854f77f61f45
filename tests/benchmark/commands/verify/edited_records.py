"""Records as somebody might edit them by hand, and what `verify` says of each."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq


def part(directory: Path, table: str, attack: str = "pgd-2 ", turn: int = 1, task: int = 0) -> Path:
    """The part of an attack whose name begins with `attack`, on a task after a turn."""
    for path in sorted((directory / "evaluations").glob(f"*.{turn:03d}.*.parquet")):
        row = pq.read_table(path, partitioning=None).to_pylist()[0]
        if row["attack"].startswith(attack) and row["task"] == task:
            return directory / table / path.name
    raise AssertionError(attack)


def edit(path: Path, change: Callable[[pd.DataFrame], pd.DataFrame | None]) -> None:
    """Change a table by hand and write it as it was written."""
    table = pq.read_table(path, partitioning=None)
    frame = table.to_pandas()
    names = [name for name in ("attack", "evaluation_id") if name in frame]
    frame[names] = frame[names].astype(str)
    changed = change(frame)
    frame = frame if changed is None else changed
    pq.write_table(pa.Table.from_pandas(frame, schema=table.schema, preserve_index=False), path)


def flip(frame: pd.DataFrame) -> None:
    """Turn one wrong answer into a right one."""
    wrong = frame.index[frame["predicted"] != frame["label"]][0]
    frame.loc[wrong, "predicted"] = frame.loc[wrong, "label"]


def flip_with_its_margin(frame: pd.DataFrame) -> None:
    """The other of two classes, and all that a record can say of it."""
    frame.loc[0, "predicted"] = 1 - frame.loc[0, "predicted"]
    frame.loc[0, "margin"] = -frame.loc[0, "margin"]


def flip_any_alone(frame: pd.DataFrame) -> None:
    any_ = frame["attack"].str.endswith(" any")
    samples = frame.loc[~any_ & (frame["predicted"] != frame["label"]), "sample"]
    index = frame.index[any_ & frame["sample"].isin(samples)][0]
    frame.loc[index, "predicted"] = frame.loc[index, "label"]
    frame.loc[index, "margin"] = 1.0


def relabel(frame: pd.DataFrame) -> None:
    """Call every image of one sample what the classifier says it is."""
    sample = frame.loc[frame["predicted"] != frame["label"], "sample"].iloc[0]
    mine = frame["sample"] == sample
    frame.loc[mine, "label"] = frame.loc[mine, "predicted"]
    frame.loc[mine, "margin"] = frame.loc[mine, "margin"].abs()


def set_to(column: str, value: object) -> Callable[[pd.DataFrame], None]:
    def change(frame: pd.DataFrame) -> None:
        frame.loc[0, column] = value

    return change


def repeat(frame: pd.DataFrame) -> pd.DataFrame:
    return pd.concat([frame, frame.iloc[[0]]], ignore_index=True)


def smaller_eps(frame: pd.DataFrame) -> None:
    frame["eps"] = "1/255"


def other_steps(frame: pd.DataFrame) -> None:
    """PGD-40 sounds better than PGD-2."""
    frame["specification"] = frame["specification"].str.replace('"steps":2', '"steps":40')
    frame["attack"] = frame["attack"].str.replace("pgd-2 ", "pgd-40 ")
    frame["steps"] = 40


def raise_any_margin(frame: pd.DataFrame) -> None:
    right = frame["attack"].str.endswith(" any") & (frame["predicted"] == frame["label"])
    frame.loc[frame.index[right][0], "margin"] += 100


def respell(change: Callable[[str], str]) -> Callable[[pd.DataFrame], None]:
    """Another specification, whatever else says."""

    def edited(frame: pd.DataFrame) -> None:
        frame["specification"] = frame["specification"].map(change)

    return edited


EDITS = {
    "a prediction": ("predictions", "pgd-2 ", flip, "a margin of the other sign than the prediction says: sample"),
    "predictions and margins": ("predictions", "clean", flip_with_its_margin, "a clean prediction that the checkpoint does not"),
    "any-iterate": ("predictions", "pgd-2 ", flip_any_alone, "right at any iterate and wrong at the final one: sample"),
    "a label": ("predictions", "pgd-2 ", relabel, "a label that is not that of the data set: sample"),
    "a margin": ("predictions", "clean", set_to("margin", 5.0), "a clean prediction that the checkpoint does not make"),
    "a margin that is no number": ("predictions", "pgd-2 ", set_to("margin", float("inf")), "a margin that is not finite"),
    "a class": ("predictions", "pgd-2 ", set_to("predicted", 7), "a prediction that is no class: sample"),
    "a sample": ("predictions", "pgd-2 ", set_to("sample", 30_000), "a sample that is not in the task's test set"),
    "a row twice": ("predictions", "pgd-2 ", repeat, "a sample that stands twice: sample"),
    "rows left out": ("predictions", "fgsm", lambda f: f[f["sample"] > 3], "another number of samples than recorded"),
    "final rows left out": (
        "predictions", "pgd-2 ", lambda f: f[f["attack"].str.endswith(" any") | (f["sample"] > 3)],
        "final and any-iterate outcomes of other samples",
    ),
    "an attack's name": ("predictions", "fgsm", set_to("attack", "fgsm linf 90/255"), "an attack's name that its evaluation"),
    "another turn": ("predictions", "fgsm", set_to("after_task", 0), "a part that holds other things than its name says"),
    "eps": ("evaluations", "pgd-2 ", smaller_eps, "eps is not what the specification says"),
    "the largest change": ("evaluations", "pgd-2 ", set_to("largest_change", 0.3), "the largest change is more than eps"),
    "a smaller change": ("evaluations", "pgd-2 ", set_to("largest_change", 0.01), "the largest change is less than that of"),
    "the specification": ("evaluations", "pgd-2 ", other_steps, "an evaluation id that is not that of classifier, task and"),
    "no specification": ("evaluations", "pgd-2 ", set_to("specification", "{"), "a specification that cannot be read"),
    "the classifier": ("evaluations", "pgd-2 ", set_to("classifier", "0" * 64), "more than one classifier of one task and turn"),
    "the test images": ("evaluations", "fgsm", set_to("task_fingerprint", "0" * 64), "evaluated on other test images"),
    "the number of samples": ("evaluations", "fgsm", set_to("samples", 12), "another number of samples than recorded"),
    "a task that is not there": ("evaluations", "fgsm", set_to("task", 5), "a task or turn that this run does not have"),
    "steps": ("evaluations", "pgd-2 ", set_to("steps", 40), "steps are not what the specification says"),
    "a trace": ("evaluations", "fgsm", set_to("trace", "[]"), "an eps, a trace or a largest change that cannot be read"),
    "a missing value": ("evaluations", "fgsm", set_to("steps", None), "a part that lacks what every row has: evaluations/"),
    "no rows": ("predictions", "fgsm", lambda f: f[:0], "a part that lacks what every row has: predictions/"),
    "a margin alone": ("predictions", "pgd-2 ", raise_any_margin, "a larger margin at any iterate than at the final one"),
    "blanks": ("evaluations", "fgsm", respell(lambda s: s.replace(",", ", ")), "a specification that is not in canonical form"),
    "another norm": (
        "evaluations", "fgsm", respell(lambda s: s.replace("linf", "l7")), "a specification that makes no attack",
    ),
    "a list": ("evaluations", "fgsm", respell(lambda s: "[]"), "a specification that makes no attack"),
    "a field left out": (
        "evaluations", "pgd-2 ", respell(lambda s: s.replace('"random_start":true,', "")),
        "a specification that lacks fields of its attack",
    ),
    "the seed": ("evaluations", "fgsm", set_to("seed", 3), "an attack's name that is not that of its specification"),
}  # fmt: skip
