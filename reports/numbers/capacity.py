"""Capacity of methods that share one network's weights: decisions, owners and structure, from the facts of one run.

Facts of task t describe the state after t was learned. Everything here is empty for a run that recorded none of them.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass

import numpy as np
import pandas as pd

from results.schema import METHOD

NOBODY, BASE = "free", "pre-trained"
"""Owners that are no task: of weights that wait for one, and of weights from before the first."""
BASE_NUMBER = 255
"""The base's number in an owner map."""
MOMENTS = ("train", "prune", "retrain")

NUMBERS = (
    "goal", "tolerance", "reached", "goal_met", "prune_ratio", "mu", "shared_weights", "owned_share", "free_share",
    "picked_share",
)  # fmt: skip
DECISIONS = (*NUMBERS, "exhausted")
OWNERS = ("task", "layer", "owner", "weights")
_CONVOLUTIONS = {"vgg16_bn": 13, "small_conv": 3, "resnet18": 20, "cifar_resnet18": 20, "resnet50": 53}
"""The number of convolutions by backbone. They are its first layers; the others are linear."""


def decisions(facts: pd.DataFrame) -> pd.DataFrame:
    """The decisions, a line per learned task and indexed by it, with the columns of `DECISIONS`; NaN and "" if not recorded."""
    of_methods = _of_methods(facts)
    records = {}
    for task in sorted(of_methods.loc[of_methods["name"] == "free_share", "task"].unique()):
        of_task = of_methods[of_methods["task"] == task]
        # The shares of single layers carry the layer's name.
        whole = of_task[of_task["text"].isna()].drop_duplicates("name", keep="last").set_index("name")["value"]
        values: dict[str, object] = {name: whole.get(name, math.nan) for name in NUMBERS}
        values["reached"] = _reached(whole)
        exhausted = of_task.loc[of_task["name"] == "exhausted", "text"].dropna()
        records[int(task)] = values | {"exhausted": exhausted.iloc[-1] if len(exhausted) else ""}
    return pd.DataFrame.from_dict(records, orient="index", columns=list(DECISIONS))


def _reached(whole: pd.Series) -> float:
    """The validation accuracy of the weights that were kept.

    PackNet records it by stage, and `selected_clean` only if it undid the retraining.
    """
    undone = "selected_clean" in whole
    stages = ("reached_prune",) if undone else ("reached_retrain", "reached_prune", "reached_train")
    return next((float(whole[name]) for name in ("reached", *stages) if name in whole), math.nan)


def owners(facts: pd.DataFrame) -> pd.DataFrame:
    """The number of weights by task, layer and owner, with the columns of `OWNERS`; layers in network order.

    owner: `NOBODY`, `BASE`, or the task as text.
    """
    of_methods = _of_methods(facts)
    rows = of_methods[of_methods["name"].str.startswith("weights_")].drop_duplicates(
        ["task", "name", "text"], keep="last"
    )
    owner = rows["name"].str.removeprefix("weights_of_task_").replace({"weights_free": NOBODY, "weights_of_base": BASE})
    values = {
        "task": rows["task"].astype(int),
        "layer": rows["text"],
        "owner": owner,
        "weights": rows["value"].astype(int),
    }
    frame = pd.DataFrame(values, columns=list(OWNERS))
    # Within a task they were recorded in the network's order.
    return frame.sort_values("task", kind="stable", ignore_index=True)


@dataclass(frozen=True)
class Structure:
    """The owner map of one layer at one moment.

    layer: its name.
    mu: the size of the network, in parameters, as a multiple of its first size.
    owners: int (rows, rest), 0 for free, k + 1 for task k, `BASE_NUMBER` for the pre-trained base.
    used: bool (rows, rest), True for weights that the task picked or owns.
    """

    layer: str
    mu: float
    owners: np.ndarray
    used: np.ndarray

    def earlier(self, task: int) -> np.ndarray:
        """Bool (rows, rest), True for weights that a task before this one owns, or the base."""
        return ((self.owners > 0) & (self.owners <= task)) | (self.owners == BASE_NUMBER)

    def owned(self, task: int) -> np.ndarray:
        """Bool (rows, rest), True for weights that this task owns."""
        return self.owners == task + 1


def structures(facts: pd.DataFrame) -> dict[tuple[int, str], Structure]:
    """The owner maps by (task, moment), in their order. Facts that are unreadable as an owner map are left out."""
    of_methods = _of_methods(facts)
    found = {}
    rows = of_methods[of_methods["name"].str.startswith("structure ")]
    columns = (rows[name].tolist() for name in ("task", "name", "value", "text"))
    for task, name, mu, text in zip(*columns, strict=True):
        moment, structure = name.removeprefix("structure "), _structure(mu, text)
        if moment in MOMENTS and structure is not None:
            found[int(task), moment] = structure
    return dict(sorted(found.items(), key=lambda item: (item[0][0], MOMENTS.index(item[0][1]))))


def _structure(mu: float, text: str) -> Structure | None:
    try:
        stored = json.loads(text)
        owned = np.frombuffer(bytes.fromhex(stored["owners"]), np.uint8).astype(int).reshape(int(stored["rows"]), -1)
        used = np.array([digit == "1" for digit in stored["used"]]).reshape(owned.shape)
        return Structure(str(stored["layer"]), mu, owned, used)
    except (ValueError, KeyError, TypeError):
        return None


def _of_methods(facts: pd.DataFrame) -> pd.DataFrame:
    return facts[(facts["phase"] == METHOD) & (facts["task"] >= 0)]


def layer_names(layers: list[str], backbone: object) -> list[str]:
    """Short names in network order: `conv 1` ... `fc 2`, `shortcut 8`, if the backbone is known here, else numbers.

    backbone: the field of the run's identity.
    """
    name = backbone.get("name") if isinstance(backbone, dict) else None
    convolutions = _CONVOLUTIONS.get(str(name))
    if convolutions is None:
        return [str(k + 1) for k in range(len(layers))]
    words = ["shortcut" if ".shortcut." in layer else "conv" for layer in layers]
    return [f"{word} {k + 1}" if k < convolutions else f"fc {k + 1 - convolutions}" for k, word in enumerate(words)]
