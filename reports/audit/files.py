"""The files of an audit, tables and a figure, and its summary in the terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pandas as pd
from rich.console import Console
from rich.table import Table

from reports.audit.audited_row import CANONICAL, AuditedRow
from reports.audit.columns import (
    AUTOATTACK,
    COPIED,
    EPS_OF_COLUMN,
    PGD,
    ColumnOutcomes,
    columns_in_words,
    columns_table,
    copied_table,
    published_columns,
)
from reports.audit.columns_figure import columns_panel
from reports.audit.effects import INTERACTION, SUM, Effect, effects_of, effects_table
from reports.audit.figure import Printed, audit_figure, signature_panel
from reports.audit.signature import Signature, in_words, logged, signature_table, signatures
from reports.audit.small_tables import (
    SMALL_TABLES,
    Predicted,
    batches_table,
    comparator_table,
    f1_in_words,
    f1_table,
    geometry_table,
    seeds_table,
)
from reports.figures.style import paper_style, save
from reports.numbers.published_values import LOGS_FILE, REFERENCE, read_published, thesis_f1_table
from reports.numbers.statistics.contrasts import SeedOutcomes
from reports.numbers.statistics.intervals import interval_kind
from reports.numbers.wording import counted
from reports.tables.words import percent, points, to_csv
from results.file_names import file_name
from results.files import write_text

FOLDER = "audit"
"""The folder below the output. `report` replaces only its own files."""


@dataclass(frozen=True)
class AuditReport:
    """The outcomes of an audit, from which its files are made.

    board: the name of the preset.
    eps: that of the attacks, as text.
    tasks: their names.
    chance: accuracy of guessing, in [0, 1], mean over tasks.
    classes: the number of classes of each task.
    black_box: outcomes on images that were made on an undefended network; None if there are none.
    predicted: by `method, protocol` the predictions of the first seed on whole test sets under the training attack, per task.
    geometry: a record per task of the changes that the thesis' space and box make to its images.
    columns: the outcomes in the columns of SHIELD's table.
    tables: the small tables to write, of `SMALL_TABLES` or `COLUMN_TABLES`.
    of: the evaluation that is audited, `thesis` or `shield`.
    """

    board: str
    eps: str
    rows: Sequence[AuditedRow]
    tasks: Sequence[str]
    chance: float
    classes: Sequence[int]
    black_box: SeedOutcomes | None
    predicted: Mapping[str, Sequence[Predicted]]
    geometry: Sequence[Mapping[str, object]] = ()
    columns: Sequence[ColumnOutcomes] = ()
    tables: Sequence[str] = SMALL_TABLES
    of: str = "thesis"

    @property
    def name(self) -> str:
        """The word in the names of its files, so that two audits of one preset stand beside each other."""
        return "audit" if self.of == "thesis" else f"audit_{self.of}"


@dataclass(frozen=True)
class Written:
    """The written files, and the numbers of them that the terminal shows."""

    report: AuditReport
    effects: Sequence[Effect]
    signatures: Sequence[Signature]
    paths: Sequence[Path]


def write(report: AuditReport, output: Path, reference: Path = REFERENCE) -> Written:
    """Write `audit/` in `output`: a CSV per table, and the figure as .png, .svg and .pdf. Equal outcomes give equal bytes.

    reference: the folder of published numbers.
    """
    folder, stem = output / FOLDER, file_name(report.board)
    found = signatures(report.rows, report.tasks)
    logs = [logged(pd.read_csv(reference / LOGS_FILE))] if report.of == "thesis" else []
    published = read_published(reference).shield_til
    frames = {
        "": effects_table(report.rows, report.of),
        "_signature": signature_table([*found, *logs]),
        **({"_geometry": geometry_table(report.geometry)} if report.geometry else {}),
        **_small_tables(report, reference, published),
    }
    paths = []
    for name, frame in frames.items():
        paths.append(folder / "tables" / f"{stem}__{report.name}{name}.csv")
        write_text(paths[-1], to_csv(frame))
    effects = effects_of(report.rows)
    if report.of == "thesis":
        panel, levels = partial(signature_panel, found=found, thesis=logs[0]), printed(reference)
    else:
        panel, levels = partial(columns_panel, found=report.columns, published=published), printed_by_shield(published)
    with paper_style():
        paths += save(audit_figure(effects, panel, levels, report.eps), folder / "figures" / f"{stem}__{report.name}")
    return Written(report, effects, found, paths)


def printed(reference: Path = REFERENCE) -> list[Printed]:
    """The robust accuracies that the thesis prints for its two methods, and the mean of its single-task log."""
    methods = pd.read_csv(reference / "cifar100_methods.csv").set_index("method")["accuracy"]
    logs = pd.read_csv(reference / LOGS_FILE)["pgd_train_pgd_eval"]
    return [
        Printed("thesis: PackNet, 8/255", float(methods["packnet"])),
        Printed("thesis: CMAT, 8/255", float(methods["cmat"])),
        Printed("thesis: log of single tasks", float(logs.mean())),
    ]


def printed_by_shield(published: pd.DataFrame) -> list[Printed]:
    """The two columns of SHIELD's best row that its bundles are about. published: the table of `shield_til.csv`."""
    rows = published.to_dict("records")
    best = next(row for row in rows if (row["benchmark"], row["label"]) == ("split_cifar100", "SHIELD-IM"))
    titles = {PGD: "PGD", AUTOATTACK: "AA"}
    return [Printed(f"SHIELD-IM: {title}", float(best[column]) / 100) for column, title in titles.items()]


def lowest_f1(reference: Path = REFERENCE) -> float:
    """The lowest F1 that the thesis prints."""
    return float(pd.read_csv(reference / "fine_grained.csv")["f1"].min())


def _small_tables(report: AuditReport, reference: Path, shield: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """The small tables by the ends of their files' names. shield: the table of `shield_til.csv`."""
    frames: dict[str, pd.DataFrame] = {}
    if "f1" in report.tables:
        thesis, lowest = thesis_f1_table(pd.read_csv(reference / "fine_grained.csv")), lowest_f1(reference)
        parts = [f1_table(tasks).assign(protocol=protocol) for protocol, tasks in report.predicted.items()]
        batches = [
            batches_table(tasks, lowest).assign(protocol=protocol) for protocol, tasks in report.predicted.items()
        ]
        frames["_f1"] = pd.concat(parts, ignore_index=True)
        frames["_f1_batches"] = pd.concat(batches, ignore_index=True)
        frames["_f1_thesis"] = thesis
    canonical = [row for row in report.rows if (row.method, row.switch) == ("madry_at", CANONICAL)]
    if "comparator" in report.tables and canonical:
        published = (
            pd.read_csv(reference / name) for name in ("cifar100_methods.csv", "anp_vs_paper_cifar100_vgg16.csv")
        )
        frames["_comparator"] = comparator_table(
            canonical[0], report.black_box, report.chance, report.classes, *published
        )
    if EPS_OF_COLUMN in report.tables:
        frames["_columns"] = columns_table(report.columns, report.tasks)
        frames["_columns_published"] = published_columns(shield)
    if COPIED in report.tables:
        frames["_copied"] = copied_table(report.columns, shield)
    if "seeds" in report.tables:
        frames["_seeds"] = seeds_table(report.rows)
    return frames


def show(written: Written, console: Console) -> None:
    """Print the effects, the signature in words, and the paths of the files."""
    samples = written.effects[0].samples if written.effects else 0
    table = Table(
        title=f"{written.report.board}: change of the reported robust accuracy, in points, against the canonical protocol",
        title_justify="left", box=None, pad_edge=False, header_style="dim",
    )  # fmt: skip
    table.add_column("method")
    table.add_column("switch")
    for name in ("reported %", "effect", "95 %", "clean %", "same network\ncanonically %"):
        table.add_column(name, justify="right", no_wrap=True)
    for effect in written.effects:
        first = effect.switch == CANONICAL
        bounds = f"[{points(effect.bounds.low)}, {points(effect.bounds.high)}]"
        if first:
            bounds = f"{percent(effect.bounds.low)} to {percent(effect.bounds.high)}"
        table.add_row(
            effect.method if first else "",
            effect.switch,
            "" if effect.switch in (SUM, INTERACTION) else percent(effect.reported),
            "" if first else points(effect.effect),
            bounds,
            "" if effect.clean != effect.clean else percent(effect.clean),
            "" if effect.same_network != effect.same_network else percent(effect.same_network),
            style="bold" if effect.bundle and effect.switch not in (SUM, INTERACTION) else None,
        )
    console.print(table)
    seeds = max((effect.seeds for effect in written.effects), default=0)
    about = f"{counted(samples, 'test image')} in all, {counted(seeds, 'seed')}; intervals: {interval_kind(seeds)}"
    console.print(about, style="dim", highlight=False)
    for sentence in (*in_words(written.signatures), *columns_in_words(written.report.columns)):
        console.print(sentence, highlight=False, markup=False)
    if "f1" in written.report.tables:
        for protocol, tasks in written.report.predicted.items():
            for sentence in f1_in_words(protocol, tasks, lowest_f1()):
                console.print(sentence, highlight=False, markup=False)
    for path in written.paths:
        if path.suffix in (".csv", ".png"):
            console.print(str(path), highlight=False, markup=False, soft_wrap=True)
