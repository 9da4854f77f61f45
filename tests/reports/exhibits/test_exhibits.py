"""The thesis' exhibits: ours from stored predictions, published values from files, and no number beside another it is not of."""

from __future__ import annotations

import re
import shutil
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from matplotlib.colors import to_rgba
from sklearn.metrics import precision_recall_fscore_support

from reports.boards.building import build_boards
from reports.exhibits import pages as exhibit_pages
from reports.exhibits.claims_figure import CLAIMS_FIGURE
from reports.exhibits.exhibits import SCENARIO, Exhibits, exhibits_of
from reports.exhibits.methods_table import methods_caption, methods_table, methods_table_for_reading
from reports.exhibits.scores_table import logs_table, scores_caption, scores_table, scores_table_for_reading
from reports.exhibits.steps_figure import STEPS_FIGURE, steps_figure
from reports.exhibits.steps_table import steps_caption, steps_table, steps_table_for_reading
from reports.numbers.published_values import REFERENCE, read_published
from reports.numbers.statistics.intervals import t_interval
from reports.write import write_report
from results import load
from tests.reports.synthetic_capacity import capacity_facts, cmat
from tests.reports.synthetic_runs import FakeRun, clean, pgd, write_run

ROOT = Path(__file__).parents[3]
TWO, FOUR, EIGHT, SIXTEEN = "2/255", "4/255", "8/255", "16/255"
MATRIX = [clean(), pgd(10, EIGHT)]
PUBLISHED = read_published()


class Named(str):
    """Names of tasks, one after another, where a made-up run wants a pattern."""

    def format(self, *args: object) -> str:
        return self.split()[int(str(args[0]))]


SUPERCLASSES = Named("aquatic_mammals fish trees")


def sweep():
    """As the presets sweep, on half the images; PGD-10 at 8/255 is the matrix' attack, on all of them."""
    eps = (TWO, FOUR, EIGHT, SIXTEEN)
    powers = dict(zip(eps, (0.6, 0.8, 1.0, 1.6), strict=True))
    grid = [(e, k) for e in eps for k in (7, 10, 20) if (e, k) != (EIGHT, 10)]
    return [*(pgd(k, e, power=powers[e] + k / 100, samples=20) for e, k in grid), *longest()]


def longest():
    return [pgd(40, EIGHT, samples=20)]


def stored(root, *fakes, scenario=SCENARIO, trained=(), recipe=None):
    """Write runs of a scenario; trained: their eps in training, 8/255 where it is not given."""
    for k, fake in enumerate(fakes):
        identity = {"scenario": {"name": scenario, "fingerprint": f"{fake.tasks}x{fake.samples}"}}
        identity |= {"eps": trained[k] if k < len(trained) else EIGHT, "recipe": recipe or {}}
        write_run(root, replace(fake, identity=identity))
    return root


def fake(method, label=None, **fields):
    usual = {
        "preset": "cifar100",
        "eps": EIGHT,
        "classes": 5,
        "matrix": MATRIX,
        "final": longest(),
        "task_name": SUPERCLASSES,
    }
    return FakeRun(method, label, **{**usual, **fields})


def exhibits(root, published=PUBLISHED):
    (found,) = exhibits_of(build_boards(load(root, None), ()), published)
    return found


@pytest.fixture(scope="module")
def usual(tmp_path_factory) -> Exhibits:
    """CMAT, PackNet and two rows of plain adversarial training on superclasses, one seed; TRADES failed."""
    root = tmp_path_factory.mktemp("usual")
    rows = [
        fake("cmat", quality=2.2, final=sweep()),
        fake("packnet", final=sweep()),
        fake("madry_at", "a_variant", settings={"bn": 1}),
        fake("madry_at"),
    ]
    failed = fake("trades", learned=1, failure={"stage": "train", "message": "no"})
    return exhibits(stored(root, *rows, fake("free_at"), failed))


@pytest.fixture(scope="module")
def digits(tmp_path_factory) -> Exhibits:
    root = tmp_path_factory.mktemp("digits")
    return exhibits(stored(root, fake("cmat", preset="digits-full", final=sweep()), scenario="digits"))


# -- published values -------------------------------------------------------------------------------------------------


def test_published_values_are_data(tmp_path, usual):
    folder = shutil.copytree(REFERENCE, tmp_path / "reference")
    for file, old, new in (
        ("cifar100_pgd_steps.csv", "0.4898", "0.1111"),
        ("cifar100_methods.csv", "0.4591", "0.2222"),
    ):
        text = (folder / file).read_text(encoding="utf-8")
        (folder / file).write_text(text.replace(old, new), encoding="utf-8")
    changed = Exhibits(usual.board, read_published(folder))
    assert 0.1111 in steps_table(changed)["published"].tolist()
    assert methods_table(changed).set_index("method").loc["cmat", "published"] == 0.2222


# -- 1: the bar chart -------------------------------------------------------------------------------------------------


def test_published_bars_stand_beside_ours_in_the_order_of_the_thesis(usual):
    found = [(group.method, str(255 * group.eps), group.printed) for group in usual.groups]
    assert found == [
        ("cmat", "2", "CMAT eps=2/255"), ("cmat", "4", ""), ("cmat", "8", ""), ("cmat", "16", ""),
        ("packnet", "2", "PackNet eps=2/255"), ("packnet", "4", "PackNet eps=2/455"), ("packnet", "8", "PackNet eps=8/255"),
        ("packnet", "16", ""),
    ]  # fmt: skip
    table = steps_table(usual).set_index(["method", "eps", "steps"])["published"]
    assert (table["cmat", TWO, 7], table["packnet", FOUR, 10], table["packnet", EIGHT, 20]) == (0.6153, 0.4709, 0.3653)
    assert np.isnan(table["cmat", EIGHT, 7])


def test_bars_are_any_iterate_over_the_images_that_all_of_them_cover(usual):
    run = usual.row_of("packnet").seeds[0].run
    frame = run.predictions
    last = frame[(frame.after_task == 2) & (frame["sample"] < 20)].assign(
        right=lambda rows: rows.label == rows.predicted
    )
    table = steps_table(usual)
    ours = table[table.method == "packnet"].set_index(["eps", "steps"])
    for eps in (TWO, EIGHT):
        for steps in (7, 10, 20):
            name = f"pgd-{steps} linf {eps} a={float(255 * Fraction(eps) / 4):g}/255 any"
            expected = last[last.attack == name].groupby("task").right.mean().mean()
            assert ours.loc[(eps, steps), "accuracy"] == pytest.approx(expected), name
            assert ours.loc[(eps, steps), "low"] < expected < ours.loc[(eps, steps), "high"]
    assert set(ours["samples"]) == {60}
    assert "over the 60 test images" in steps_caption(usual)


def test_the_eps_of_training_is_said_and_the_typo_too(usual):
    assert "trained at eps 8/255 and are attacked at every eps" in steps_caption(usual)
    assert "'PackNet eps=2/455' is a typo for eps=4/255" in steps_caption(usual)
    assert set(steps_table_for_reading(usual)["trained at"]) == {EIGHT}
    titles = [axes.get_title(loc="left") for axes in steps_figure(usual).axes]
    assert titles == ["cmat, trained at ε=8/255", "packnet, trained at ε=8/255"]


def test_a_published_group_stands_beside_the_row_trained_at_its_eps(tmp_path):
    final = [pgd(k, e) for k, e in ((7, TWO), (7, EIGHT))]
    rows = fake("packnet", final=final), fake("packnet", "packnet_small", final=final, settings={"eps": TWO})
    table = steps_table(exhibits(stored(tmp_path, *rows, trained=(EIGHT, TWO))))
    found = table[table.steps == 7].set_index(["label", "eps"])["published"].dropna()
    # CMAT was not run: what was published stands alone.
    assert found.to_dict() == {
        ("", TWO): 0.6153, ("packnet", FOUR): 0.4722, ("packnet", EIGHT): 0.4482, ("packnet_small", TWO): 0.5608,
    }  # fmt: skip


def test_other_data_stand_alone(digits):
    assert steps_table(digits)["published"].isna().all()
    assert methods_table(digits)["published"].isna().all()
    assert not [name for name in scores_table(digits).columns if name.startswith("log_")]
    for table in (steps_table_for_reading(digits), methods_table_for_reading(digits)):
        assert not [name for name in table.columns if name.endswith("published")]
    assert logs_table(digits).empty
    assert "nothing is published to stand beside it" in steps_caption(digits)
    assert "published" not in " ".join(text.get_text() for text in steps_figure(digits).legends[0].get_texts())


def test_the_chart_prints_every_value_from_zero_and_tells_published_bars_apart(usual):
    figure = steps_figure(usual)
    lower = figure.axes[1]
    assert all(axes.get_ylim()[0] == 0 for axes in figure.axes)
    assert (lower.get_xlabel(), figure.get_supylabel()) == ("PGD Difficulty", "Accuracy")
    printed = [text.get_text() for text in lower.texts]
    table = steps_table(usual)
    table = table[table.method == "packnet"]
    values = [*table["accuracy"], *table["published"].dropna()]
    assert sorted(printed) == sorted(f"{100 * value:.1f}%" for value in values)
    hollow = [bar for bar in lower.patches if bar.get_facecolor() == to_rgba("none")]
    assert (len(hollow), len(lower.patches)) == (9, 21)
    assert all(bar.get_hatch() for bar in hollow)
    assert not any(bar.get_hatch() for bar in lower.patches if bar not in hollow)
    assert [tick.get_text() for tick in lower.get_xticklabels()][1] == "PackNet ε=4/255 (in print: 2/455)"


def test_the_line_at_chance_is_in_the_chart_also_above_every_bar(tmp_path):
    weak = fake("cmat", preset="digits-full", classes=2, quality=-2.0, final=sweep())
    found = exhibits(stored(tmp_path, weak, scenario="digits"))
    (axes,) = steps_figure(found).axes
    assert axes.get_ylim()[1] > 100 * found.board.chance == 50


def test_one_number_of_steps_makes_no_chart(tmp_path):
    found = exhibits(stored(tmp_path, fake("cmat")))
    assert steps_figure(found) is None
    assert steps_table(found).empty


# -- 2: the comparison ------------------------------------------------------------------------------------------------


def test_the_comparison_takes_the_row_labelled_as_the_method_and_says_where_there_is_none(usual):
    table, text = methods_table(usual).set_index("method"), methods_table_for_reading(usual).set_index("published as")
    assert table.index.tolist() == PUBLISHED.methods["method"].tolist()
    madry = usual.row_of("madry_at")
    assert (madry.label, table.loc["madry_at", "row"]) == ("madry_at", madry.identity[:8])
    assert table.loc["madry_at", "worst"] == madry.acc
    assert table.loc["madry_at", "worst_difference"] == pytest.approx(madry.acc - 0.3247)
    assert table.loc["madry_at", "PGD-40"] == madry.measures.value("ACC_lopezpaz2017 pgd-40 linf 8/255 a=2/255 any")
    assert text.loc["ANP-VS", ["label", "worst", "worst − published"]].tolist() == ["n/a"] * 3
    # A row below the line has no number, and says why.
    assert text.loc["TRADES", ["label", "worst", "PGD-40"]].tolist() == ["trades: failed", "n/a", "n/a"]
    assert np.isnan(table.loc["trades", "worst"])


def test_a_row_that_failed_a_check_has_no_number_in_any_exhibit(usual):
    rows = [replace(row, rank=None, verdict="fail") if row.label == "packnet" else row for row in usual.board.rows]
    found = Exhibits(replace(usual.board, rows=rows), PUBLISHED)
    line = methods_table_for_reading(found).set_index("published as").loc["PackNet"]
    assert line[["published", "label", "worst", "PGD-40 − published"]].tolist() == [
        "41.1",
        "packnet: fail",
        "n/a",
        "n/a",
    ]
    assert np.isnan(methods_table(found).set_index("method").loc["packnet", "worst"])
    assert steps_table(found).groupby("method")["accuracy"].count().to_dict() == {"cmat": 12, "packnet": 0}
    assert "packnet" not in set(scores_table(found)["label"])


def test_every_row_says_how_its_protocol_differs(usual):
    words = methods_table(usual).set_index("method")["protocols"]
    for method in ("standard", "madry_at", "free_at", "pretrained_at", "trades", "anp_vs"):
        assert words[method].startswith("black-box")
        assert "100 classes at once (chance 1 %) instead of 5 with the task given (chance 20.0 %)" in words[method]
    for method in ("packnet", "cmat"):
        assert "normalised per task" in words[method]
        assert "20 tasks instead of 3" in words[method]
        assert "black-box" not in words[method]
    assert "its source calls the row AT BNN" in words["free_at"]
    assert "AT BNN" not in words["trades"]
    assert methods_table(usual).set_index("method").loc["free_at", "quoted_from"] == "AT BNN, black-box"
    assert "not comparable" in methods_caption(usual)


def test_another_eps_than_the_published_one_is_said(tmp_path):
    found = exhibits(
        stored(tmp_path, fake("cmat", eps=FOUR, matrix=[clean(), pgd(10, FOUR)], final=[]), trained=(FOUR,))
    )
    assert "eps 8/255 instead of 4/255" in methods_table(found).set_index("method").loc["cmat", "protocols"]


# -- 3: precision, recall and F1 --------------------------------------------------------------------------------------


def test_scores_are_those_of_the_whole_test_set(usual):
    frame = usual.row_of("packnet").seeds[0].run.predictions
    cells = frame[(frame.after_task == 2) & (frame.attack == "pgd-10 linf 8/255 a=2/255 any")]
    table = scores_table(usual)
    ours = table[(table.label == "packnet") & (table.attack == "pgd-10 linf 8/255 a=2/255 any")].set_index("task")
    expected = []
    for task, name in enumerate(SUPERCLASSES.split()):
        cell = cells[cells.task == task]
        scores = precision_recall_fscore_support(cell.label, cell.predicted, average="macro", zero_division=0)[:3]
        expected.append([(cell.label == cell.predicted).mean(), *scores])
        assert ours.loc[name, ["accuracy", "precision", "recall", "F1"]].tolist() == pytest.approx(expected[-1])
        assert ours.loc[name, "samples"] == 40
    assert ours.loc["mean", ["accuracy", "precision", "recall", "F1"]].tolist() == pytest.approx(np.mean(expected, 0))
    assert ours["F1_low"].isna().all()
    assert set(table["attack"]) == {"clean", "pgd-10 linf 8/255 a=2/255 any", "worst"}
    assert "clean 40, pgd-10 any 40, worst 20" in scores_caption(usual)


def test_logs_stand_beside_tasks_of_their_name(usual):
    table = scores_table(usual).drop_duplicates("task").set_index("task")
    logs = PUBLISHED.logs.set_index("superclass")["pgd_train_pgd_eval"]
    for name in SUPERCLASSES.split():
        assert table.loc[name, "log_pgd_train_pgd_eval"] == logs[name]
    assert table.loc["mean", "log_pgd_train_pgd_eval"] == pytest.approx(logs[SUPERCLASSES.split()].mean())
    text = scores_table_for_reading(usual, usual.row_of("packnet")).set_index("task")
    assert text.loc["trees", ["log: PGD, clean", "log: PGD, PGD"]].tolist() == ["34.2", "47.8"]
    assert logs_table(usual).set_index("task").loc["mean of all 20", "PGD, PGD"] == "51.4"
    assert "51.4 %, is the bar 'PackNet eps=2/255, PGD(10)'" in scores_caption(usual)


def test_three_seeds_have_a_t_interval_per_cell(tmp_path):
    found = exhibits(stored(tmp_path, *(fake("packnet", seed=seed, task_name="other_{}") for seed in range(3))))
    row = found.row_of("packnet")
    outcomes = [seed.evidence.outcomes for seed in row.seeds]
    values = [float((each.vector("clean", 2, 1) == 1).mean()) for each in outcomes]
    line = scores_table(found).set_index(["attack", "task"]).loc[("clean", "other_1")]
    bounds = t_interval(values)
    assert line[["accuracy", "accuracy_low", "accuracy_high"]].tolist() == pytest.approx(
        [np.mean(values), bounds.low, bounds.high]
    )
    half = 100 * (bounds.high - bounds.low) / 2
    shown = scores_table_for_reading(found, row).set_index("task").loc["other_1", "clean accuracy"]
    assert shown == f"{100 * np.mean(values):.1f} ± {half:.1f}"
    # Of these names the thesis has no log.
    assert logs_table(found).empty


# -- files ------------------------------------------------------------------------------------------------------------


def test_the_report_holds_the_exhibits_and_links_the_structure_only_where_it_was_drawn(tmp_path):
    row = fake("cmat", "cmat_100%", final=[pgd(7, EIGHT)], facts=capacity_facts(cmat()))
    root = stored(tmp_path / "runs", row)
    report = write_report(load(root, None), tmp_path / "out")
    names = {path.name for path in (report.output / "tables").iterdir()}
    made = {f"cifar100__exhibit_{name}.csv" for name in ("claims", "pgd_steps", "methods", "f1")} | {
        "all__exhibit_fine_grained.csv"
    }
    assert made <= names
    for suffix in ("png", "svg", "pdf"):
        assert (report.output / "figures" / f"cifar100__{STEPS_FIGURE}.{suffix}").is_file()
    page = (report.output / "exhibits.md").read_text(encoding="utf-8")
    links = re.findall(r"\]\((figures/[^)]*)\)", page)
    drawn = (CLAIMS_FIGURE, STEPS_FIGURE, "structure")
    assert links == [f"figures/cifar100__{name}.png" for name in drawn]
    assert all((report.output / link).is_file() for link in links)
    assert "4. Structure of CMAT" in page
    assert 'href="exhibits.md"' in report.page.read_text(encoding="utf-8")
    tex = (report.output / "exhibits.tex").read_text(encoding="utf-8")
    # Claims, bars, comparison, scores, CPG's table, logs, and the two high-resolution tables.
    assert tex.count(r"\begin{tabular}") == tex.count(r"\bottomrule") == 8
    assert r"cmat\_100\%" in tex

    none = exhibit_pages.exhibits_page(exhibits_of(report.boards, PUBLISHED), exhibit_pages.in_report({}), "nothing")
    assert "n/a: no ranked row of CMAT with recorded owner maps." in none
    assert "![" not in none


def test_the_documentation_is_what_the_published_records_say():
    page = (ROOT / "docs" / "exhibits.md").read_text(encoding="utf-8")
    published = exhibit_pages.published_exhibits(ROOT / "results" / "published")
    made = exhibit_pages.with_exhibits(page, published, exhibit_pages.in_docs)
    assert made == page, "run `python -m reports.exhibits.pages`"
    for link in re.findall(r"\]\((images/[^)]*)\)", page):
        assert (ROOT / "docs" / link).is_file(), link
    with pytest.raises(ValueError, match="no place for the exhibits"):
        exhibit_pages.with_exhibits("# Exhibits\n", [], exhibit_pages.in_docs)
