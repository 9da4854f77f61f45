"""The high-resolution F1 tables for reading, and the words over them: what our numbers are of, and the published ones are not."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from math import nan
from typing import Any

import pandas as pd

from reports.boards.board import Row
from reports.exhibits.exhibits import PRINTED_ERROR, Exhibits, trained_eps
from reports.exhibits.high_resolution import (
    CLEAN_TRAINING,
    MEANS,
    OWN,
    PUBLISHED,
    columns_of,
    data_set_columns,
    fine_grained_boards,
    fine_grained_table,
)
from reports.exhibits.scores_table import ENOUGH_SEEDS
from reports.exhibits.steps_figure import THESIS_NAMES
from reports.numbers.published_values import HIGH_RESOLUTION
from reports.numbers.wording import counted, in_eps, over_255
from reports.tables.words import NOT_AVAILABLE

FURTHER = "Further rows"
_MEANS = {"precision": "Precision", "recall": "Recall", "f1": "F1-score", "f1_of_p_and_r": "2PR/(P+R)"}


def parts_of(table: pd.DataFrame) -> Iterator[tuple[str, pd.DataFrame]]:
    """Yield (title, lines) of the tables to show: one per method of the thesis, then one of all further rows."""
    printed = table.loc[table["values"] == PUBLISHED, "method"].unique()
    for method in printed:
        yield THESIS_NAMES.get(method, method), table[table["method"] == method]
    further = table[~table["method"].isin(printed)]
    if len(further):
        yield FURTHER, further


def fine_grained_for_reading(lines: pd.DataFrame) -> pd.DataFrame:
    """Lines of the high-resolution table as the thesis lays it out: fractions with four decimals, 95 % intervals with three.

    lines: as `parts_of` yields them. Data sets of which no line has a number are left out.
    """
    several = lines["preset"].replace("", None).nunique() > 1
    both = zip(lines["train_attack"], lines["eval_attack"], strict=True)
    attacks = [f"{_shown(train)}/{_shown(test)}" for train, test in both]
    labels = [
        f"{label} ({preset})" if several and preset else label
        for label, preset in zip(lines["values"], lines["preset"], strict=True)
    ]
    shown = {"attack": attacks, "label": labels}
    for name in data_set_columns(lines):
        if lines[name].notna().any():
            title = HIGH_RESOLUTION.get(name, name.removeprefix(OWN))
            shown[title] = [_cell(line, name) for line in lines.to_dict("records")]
    for name, title in _MEANS.items():
        shown[title] = [_cell(line, name) for line in lines.to_dict("records")]
    return pd.DataFrame(shown)


def _shown(attack: str) -> str:
    """`PGD-10` as the thesis prints it: `PGD(10)`."""
    kind, _, steps = attack.partition("-")
    return f"{kind}({steps})" if steps else attack


def _cell(line: Mapping[Any, Any], name: str) -> str:
    """A number with four decimals; behind an accuracy its interval, behind a mean ± half its t-interval; `n/a` for NaN."""
    value, low, high = line[name], line.get(f"{name}_low"), line.get(f"{name}_high")
    if value != value:
        return NOT_AVAILABLE
    if low is None or high is None or low != low:
        return f"{value:.4f}"
    return f"{value:.4f} ± {(high - low) / 2:.3f}" if name in MEANS else f"{value:.4f} [{low:.3f}, {high:.3f}]"


# -- words ------------------------------------------------------------------------------------------------------------


def fine_grained_caption(table: pd.DataFrame) -> str:
    """The words on the published lines: printed F1 that follow from their precision and recall, and corrections of the others."""
    printed = table[table["values"] == PUBLISHED]
    wrong = printed[(printed["f1"] - printed["f1_of_p_and_r"]).abs() > PRINTED_ERROR]
    text = (
        f"Attack: in training / at test. Fractions. {len(printed) - len(wrong)} of the {len(printed)} printed F1 equal "
        "2PR/(P+R) of the printed precision and recall"
    )
    text += "".join(f"; {line.f1:.4f} should be {line.f1_of_p_and_r:.4f}" for line in wrong.itertuples())
    accuracies = printed[list(HIGH_RESOLUTION)].to_numpy()
    return (
        f"{text}. The released code takes F1 of a last batch of a few classes: {printed['f1'].min():.2f} and more beside "
        f"accuracies of {accuracies.min():.2f} to {accuracies.max():.2f} is no macro F1 of a data set. The attack of "
        "the thesis' scripts for these data is limited on normalised images, starts from the image itself and leaves batch norm "
        "in train mode, and no released script makes these tables. Published and ours are not comparable: they are shown side by "
        "side."
    )


def fine_grained_differences(exhibits: Sequence[Exhibits]) -> list[str]:
    """The words on our lines, a text per board: data, split, images, backbone and eps, as they are recorded with its runs."""
    boards = fine_grained_boards(exhibits)
    return [_of_board(each) for each in boards] or ["Ours: n/a until such data sets are run."]


def _of_board(exhibits: Exhibits) -> str:
    board = exhibits.board
    if not board.ranked:
        return f"Ours, {board.preset}: n/a, no row is ranked."
    number, printed = len(exhibits.tasks), len(HIGH_RESOLUTION)
    means = "precision, recall and F1: macro over a data set's test images"
    means += f", then the mean over the {number}" if number > 1 else ""
    means += f", where the published one is over {printed}" if number != printed else ""
    texts = [
        f"Ours, {board.preset}: {counted(number, 'data set')}, one task each: {_data(exhibits)}; {means}",
        f"{_networks(board.ranked)}; {_attack(exhibits)}; {_covered(exhibits)}",
        f"Intervals of accuracies: 95 %, {' or '.join(sorted({row.measures.interval for row in board.ranked}))}; ± from "
        f"{ENOUGH_SEEDS} seeds on; {CLEAN_TRAINING}: learned from clean images alone",
    ]
    return ". ".join(texts) + "."


def _data(exhibits: Exhibits) -> str:
    """The data sets in the order of their tasks: `cars (64 of 196 classes; 1,855 training, ... test images, officially ...)`."""
    whole = exhibits.published.data_sets.set_index("column").to_dict("index")
    stored = exhibits.board.ranked[0].used_seeds[0].evidence.tasks.drop_duplicates("task").set_index("task")
    words = []
    for task, (name, column) in enumerate(zip(exhibits.tasks, columns_of(exhibits), strict=True)):
        if task not in stored.index:
            words.append(f"{name} (not recorded)")
            continue
        here, official = stored.loc[task], whole.get(column)
        split = f"{here['train']:,} training, {here['validation']:,} validation and {here['test']:,} test images"
        classes = f"{len(here['classes'])} classes"
        if official:
            classes = f"{len(here['classes'])} of {official['classes']} classes"
            split += f", where the official split has {official['train']:,} and {official['test']:,}"
        words.append(f"{name} ({classes}; {split})")
    return "; ".join(words)


def _networks(rows: Sequence[Row]) -> str:
    """The side of the images and the backbones: `Images of 64x64 pixels; resnet18, width 0.25`."""
    scenario = rows[0].seeds[0].run.identity.get("scenario")
    settings = scenario.get("settings") if isinstance(scenario, dict) else None
    side = (settings or {}).get("image_size")
    found = []
    for row in rows:
        backbone = row.seeds[0].run.identity.get("backbone") or {}
        further = [f"{name} {value}" for name, value in backbone.items() if name != "name" and value is not None]
        found.append(", ".join([str(backbone.get("name", "a network that is not recorded")), *further]))
    return f"{f'Images of {side}x{side} pixels; ' if side else ''}{' or '.join(dict.fromkeys(found))}"


def _attack(exhibits: Exhibits) -> str:
    board = exhibits.board
    usual = board.attacks.get(board.robust_matrix or "")
    size = "" if usual is None or usual.step_in_eps is None else f", steps of {in_eps(usual.step_in_eps)}"
    trained = sorted({eps for eps in map(trained_eps, board.ranked) if eps is not None})
    same = "" if trained in ([], [board.eps]) else f" (in training {' or '.join(map(over_255, trained))})"
    return f"eps {over_255(board.eps)} of pixels{same}{size}, any-iterate, {board.question}, after the last task"


def _covered(exhibits: Exhibits) -> str:
    """The number of test images that were attacked, where it is not all of them."""
    table = fine_grained_table([exhibits])
    ours = table[table["preset"] == exhibits.board.preset]
    stored = exhibits.board.ranked[0].used_seeds[0].evidence.tasks.drop_duplicates("task").set_index("task")["test"]
    parts = []
    for task, (name, column) in enumerate(zip(exhibits.tasks, columns_of(exhibits), strict=True)):
        fewest = ours[f"{column}_images"].min() if len(ours) else nan
        if task in stored.index and fewest < stored[task]:
            parts.append(f"{fewest:,.0f} of {stored[task]:,} of {name}")
    return f"attacked: {', '.join(parts)}" if parts else "all test images are attacked"
