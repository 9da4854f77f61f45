"""The thesis' exhibits as a page of the report, as LaTeX, and as the generated part of `docs/exhibits.md`.

`python -m reports.exhibits.pages` makes that part and its figures anew.
"""

from __future__ import annotations

import string
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from reports.boards.board import Row
from reports.boards.building import build_boards
from reports.checks.verdicts import CHECKS
from reports.exhibits.claims import claims_caption, claims_table, claims_table_for_reading
from reports.exhibits.claims_figure import CLAIMS_FIGURE
from reports.exhibits.exhibits import SCENARIO, Exhibits, exhibits_of
from reports.exhibits.high_resolution import FINE_GRAINED, fine_grained_boards, fine_grained_table
from reports.exhibits.high_resolution_words import (
    fine_grained_caption,
    fine_grained_differences,
    fine_grained_for_reading,
    parts_of,
)
from reports.exhibits.methods_table import methods_caption, methods_table, methods_table_for_reading
from reports.exhibits.others import SPLIT_CIFAR100, OtherTable, beside
from reports.exhibits.scores_table import logs_table, scores_caption, scores_table, scores_table_for_reading
from reports.exhibits.steps_figure import STEPS_FIGURE, THESIS_NAMES
from reports.exhibits.steps_table import steps_caption, steps_table, steps_table_for_reading
from reports.figures.style import FigureOnPage
from reports.numbers.published_values import read_published
from reports.tables.latex import NEEDS, latex_table, latex_text
from reports.tables.markdown import markdown_table, markdown_text, replaced_between
from results import load
from results.file_names import file_name

STRUCTURE = "structure"
"""The name of the figure of CMAT's structure among those of a board."""
Picture = Callable[[Exhibits, str], str | None]
"""From an exhibit and the name of a figure to its path, as the page links it; None if there is no such figure."""
TITLES = (
    "1. Accuracy by eps and PGD steps",
    "2. Comparison with different methods",
    "3. Precision, recall and F1 by task",
    "4. Structure of CMAT, from the recorded owner map",
    "High-resolution data: the thesis' two F1 tables",
)
CLAIMS = "The thesis' claims, one by one"
BEGIN, END = (
    "<!-- made by `python -m reports.exhibits.pages`; edit the code instead -->",
    "<!-- end of what is made -->",
)
INTRODUCTION = (
    "The tables and figures of the thesis, and tables of other papers on the same streams, made from the records of this report, "
    "each number beside the published one. Published values are references, never targets: they were taken under other "
    "protocols, and no difference to them is an effect of a method. "
    "Percent with one decimal unless said otherwise; numbers in full precision are in tables/."
)


def exhibit_files(exhibits: Sequence[Exhibits]) -> Iterator[tuple[str, pd.DataFrame]]:
    """Yield (file stem, table) for every exhibit of every board, with numbers as fractions."""
    for each in exhibits:
        frames = {"claims": claims_table(each), "pgd_steps": steps_table(each), "methods": methods_table(each)}
        frames |= {"f1": scores_table(each)}
        frames |= {other.name: other.table(each) for other in beside(each)}
        for name, frame in frames.items():
            if len(frame):
                yield f"{each.board.stem}__exhibit_{name}", frame
    if exhibits:
        yield "all__exhibit_fine_grained", fine_grained_table(exhibits)


@dataclass(frozen=True)
class ExhibitOnPage:
    """Tables of an exhibit for the page of the leaderboard.

    words: the texts over them.
    tables: by title.
    """

    title: str
    words: Sequence[str]
    tables: Mapping[str, pd.DataFrame]


def on_page(exhibits: Sequence[Exhibits]) -> dict[str, list[ExhibitOnPage]]:
    """By preset the thesis' claims, the published tables of others, and the high-resolution F1 tables where the data are such."""
    found: dict[str, list[ExhibitOnPage]] = {each.board.preset: [] for each in exhibits}
    for each in exhibits:
        claims = claims_table_for_reading(each)
        if len(claims):
            found[each.board.preset].append(ExhibitOnPage(CLAIMS, [claims_caption(each)], {"Points": claims}))
        for other in beside(each):
            reading = other.reading(each)
            tables = {"Percent": reading} if len(reading) else {}
            found[each.board.preset].append(ExhibitOnPage(other.title, [other.caption(each)], tables))
    for each in fine_grained_boards(exhibits):
        table = fine_grained_table([each])
        words = [fine_grained_caption(table), *fine_grained_differences([each])]
        tables = {title: fine_grained_for_reading(lines) for title, lines in parts_of(table)}
        found[each.board.preset].append(ExhibitOnPage(TITLES[4], words, tables))
    return found


# -- Markdown ---------------------------------------------------------------------------------------------------------


def exhibits_page(exhibits: Sequence[Exhibits], picture: Picture, empty: str) -> str:
    """The page `exhibits.md` of a report; empty: the text if there is no board."""
    parts = ["# The thesis' exhibits", INTRODUCTION if exhibits else empty]
    for each in exhibits:
        parts += [f"## {markdown_text(each.board.preset)}", *_sections(each, picture, _in_order(each))]
        parts += [text for other in beside(each) for text in _other(each, other)]
    return "\n\n".join([*parts, *_fine_grained(exhibits, "## ")]) + "\n"


def _in_order(exhibits: Exhibits) -> list[Row]:
    """The ranked rows: those of the thesis' methods first."""
    return sorted(exhibits.board.ranked, key=lambda row: row.method not in THESIS_NAMES)


def _sections(exhibits: Exhibits, picture: Picture, rows: Sequence[Row]) -> Iterator[str]:
    """The exhibits of one board; rows: those whose scores are shown task by task."""
    yield from _claims(exhibits, picture)
    yield f"### {TITLES[0]}"
    if exhibits.groups:
        yield from _pictured(exhibits, picture, STEPS_FIGURE, TITLES[0])
        yield markdown_text(steps_caption(exhibits))
        yield markdown_table(steps_table_for_reading(exhibits))
    else:
        yield "n/a: no ranked row of CMAT or PackNet was attacked with several of the chart's numbers of PGD steps."
    yield f"### {TITLES[1]}"
    yield markdown_text(methods_caption(exhibits))
    yield markdown_table(methods_table_for_reading(exhibits))
    yield f"### {TITLES[2]}"
    yield from _scores(exhibits, rows)
    logs = logs_table(exhibits)
    if len(logs):
        yield "**The thesis' logs of these tasks** (training attack, test attack)"
        yield markdown_table(logs)
    yield f"### {TITLES[3]}"
    drawn = list(_pictured(exhibits, picture, STRUCTURE, TITLES[3]))
    yield from drawn or ["n/a: no ranked row of CMAT with recorded owner maps."]


def _claims(exhibits: Exhibits, picture: Picture) -> Iterator[str]:
    claims = claims_table_for_reading(exhibits)
    if len(claims):
        yield f"### {CLAIMS}"
        yield from _pictured(exhibits, picture, CLAIMS_FIGURE, CLAIMS)
        yield markdown_text(claims_caption(exhibits))
        yield markdown_table(claims)


def _scores(exhibits: Exhibits, rows: Sequence[Row]) -> Iterator[str]:
    """The scores of rows, task by task."""
    yield markdown_text(scores_caption(exhibits)) if rows else "n/a: no ranked row."
    for row in rows:
        yield f"**{markdown_text(row.label)}**"
        yield markdown_table(scores_table_for_reading(exhibits, row))


def _pictured(exhibits: Exhibits, picture: Picture, name: str, title: str) -> Iterator[str]:
    path = picture(exhibits, name)
    if path is not None:
        yield f"![{title}]({path})"


def _other(exhibits: Exhibits, other: OtherTable) -> Iterator[str]:
    """A published table of others, with ours beside it."""
    yield f"### {other.title}"
    yield markdown_text(other.caption(exhibits))
    reading = other.reading(exhibits)
    if len(reading):
        yield markdown_table(reading)


def _fine_grained(exhibits: Sequence[Exhibits], heading: str) -> Iterator[str]:
    if not exhibits:
        return
    table = fine_grained_table(exhibits)
    yield f"{heading}{TITLES[4]}"
    yield markdown_text(fine_grained_caption(table))
    yield from map(markdown_text, fine_grained_differences(exhibits))
    for title, lines in parts_of(table):
        yield f"**{markdown_text(title)}**"
        yield markdown_table(fine_grained_for_reading(lines))


# -- LaTeX ------------------------------------------------------------------------------------------------------------


def exhibits_latex(exhibits: Sequence[Exhibits], empty: str) -> str:
    """The tables of the page as floating booktabs tables. Captions have notes on the differences between protocols."""
    parts = [f"% needs {NEEDS}"]
    parts += [] if exhibits else [f"% {empty}"]
    for each in exhibits:
        preset, stem = each.board.preset, each.board.stem

        def add(
            frame: pd.DataFrame, title: str, caption: str, name: str, preset: str = preset, stem: str = stem
        ) -> None:
            text = latex_text(f"{title} ({preset}). {caption}")
            parts.append(latex_table(frame, text, f"tab:exhibit-{stem}-{name}"))

        if len(claims := claims_table_for_reading(each)):
            add(claims, CLAIMS, claims_caption(each), "claims")
        if each.groups:
            add(steps_table_for_reading(each), _title(0), steps_caption(each), "steps")
        methods, notes = _with_notes(methods_table_for_reading(each))
        add(methods, _title(1), f"{methods_caption(each)} {notes}", "methods")
        for row in _in_order(each):
            scores = _abbreviated(scores_table_for_reading(each, row))
            caption = f"A, P, R: accuracy, precision and recall. {scores_caption(each)}"
            add(scores, f"{_title(2)}: {row.label}", caption, f"scores-{file_name(row.label)}")
        for other in beside(each):
            if len(reading := other.reading(each)):
                add(reading, other.title, other.caption(each), other.name)
        if len(logs := logs_table(each)):
            add(logs, "The thesis' logs by training attack and test attack", "", "logs")
        # LaTeX can hold back only a few floats.
        parts.append(r"\clearpage")
    if exhibits:
        table = fine_grained_table(exhibits)
        words = " ".join([fine_grained_caption(table), *fine_grained_differences(exhibits)])
        for title, lines in parts_of(table):
            text = latex_text(f"{TITLES[4]}: {title}. {words}")
            parts.append(
                latex_table(fine_grained_for_reading(lines), text, f"tab:exhibit-fine-grained-{file_name(title)}")
            )
    return "\n\n".join(parts) + "\n"


def _title(number: int) -> str:
    return TITLES[number].partition(" ")[2]


def _with_notes(frame: pd.DataFrame) -> tuple[pd.DataFrame, str]:
    """Replace sources and differences between protocols by letters, because these columns are wider than any page.

    Returns the table and the notes that explain the letters.
    """
    columns = ["source", "protocols differ in"]
    if not set(columns) <= set(frame.columns):
        return frame, ""
    words = frame["source"].str.partition(" (")[0] + ": " + frame["protocols differ in"]
    letters = dict(zip(words.unique(), string.ascii_lowercase, strict=False))
    notes = ". ".join(f"({letter}) {text}" for text, letter in letters.items())
    return frame.drop(columns=columns).assign(note=words.map(letters)), f"Notes: {notes}."


def _abbreviated(frame: pd.DataFrame) -> pd.DataFrame:
    """Shorten the headings for a narrow table: `clean accuracy` → `clean A`, and so on."""
    letters = {" accuracy": " A", " precision": " P", " recall": " R"}
    headings = frame.columns.to_series().replace({f"{word}$": letter for word, letter in letters.items()}, regex=True)
    return frame.set_axis(headings, axis="columns")


# -- docs/exhibits.md -------------------------------------------------------------------------------------------------


def with_exhibits(page: str, exhibits: Sequence[Exhibits], picture: Picture) -> str:
    """The page with the exhibits between its two marks made anew. Raises ValueError if it lacks a mark.

    Each CIFAR-100 board has a heading of its own, which links from other pages lead to. Boards of the thesis' CIFAR-100 data have
    all exhibits; those with a data set per task have the high-resolution tables and the scores by task.
    """
    parts: list[str] = []
    for each in exhibits:
        others = beside(each)
        if each.is_of_thesis_data or others:
            parts.append(f"## `{each.board.preset}`")
        if each.is_of_thesis_data:
            parts += _sections(each, picture, _of_thesis(each))
        parts += [text for other in others for text in _other(each, other)]
    parts += _fine_grained(exhibits, "## ")
    for each in fine_grained_boards(exhibits):
        parts += [f"### {_title(2)}: {markdown_text(each.board.preset)}", *_scores(each, _of_thesis(each))]
    return replaced_between(page, BEGIN, END, "\n\n".join(parts), "the exhibits")


def _of_thesis(exhibits: Exhibits) -> list[Row]:
    """The ranked rows of the thesis' methods."""
    return [row for row in _in_order(exhibits) if row.method in THESIS_NAMES]


def published_exhibits(folder: Path) -> list[Exhibits]:
    """The exhibits of the tracked records that the documentation shows, by preset.

    folder: `results/published`.
    """
    presets = sorted(path for path in folder.iterdir() if path.is_dir())
    boards = [board for preset in presets for board in build_boards(load(preset, None), CHECKS)]
    found = exhibits_of(boards, read_published())
    return [each for each in found if each.scenario in (SCENARIO, SPLIT_CIFAR100, FINE_GRAINED)]


def in_report(figures: Mapping[str, Sequence[FigureOnPage]]) -> Picture:
    """The paths of figures in a report; figures: those that were drawn, by preset."""

    def path(exhibits: Exhibits, name: str) -> str | None:
        stems = {figure.stem for figure in figures.get(exhibits.board.preset, ())}
        stem = f"{exhibits.board.stem}__{name}"
        return f"figures/{stem}.png" if stem in stems else None

    return path


def in_docs(exhibits: Exhibits, name: str) -> str:
    """The path of a figure in docs/."""
    if name.startswith("exhibit_"):
        return f"images/exhibit-{exhibits.board.preset}-{name.removeprefix('exhibit_').replace('_', '-')}.png"
    return f"images/{exhibits.board.preset}-{name}.png"


if __name__ == "__main__":
    from reports.exhibits.claims_figure import claims_figure
    from reports.exhibits.steps_figure import steps_figure
    from reports.figures.style import paper_style
    from results.files import write_text

    root = Path(__file__).parents[2]
    made = published_exhibits(root / "results" / "published")
    path = root / "docs" / "exhibits.md"
    text = with_exhibits(path.read_text(encoding="utf-8"), made, in_docs)
    write_text(path, text)
    with paper_style():
        for each in made:
            if not each.is_of_thesis_data:
                continue
            _, claims = claims_figure(each) or ("", None)
            for name, figure in ((CLAIMS_FIGURE, claims), (STEPS_FIGURE, steps_figure(each))):
                if figure is not None:
                    figure.savefig(root / "docs" / in_docs(each, name), metadata={"Software": None})
