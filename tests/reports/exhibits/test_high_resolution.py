"""The high-resolution F1 tables: each row beside its published line, over whole test sets, and said what differs."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import precision_recall_fscore_support

from reports.boards.building import build_boards
from reports.exhibits.exhibits import Exhibits, exhibits_of
from reports.exhibits.high_resolution import columns_of, fine_grained_table
from reports.exhibits.high_resolution_words import (
    fine_grained_caption,
    fine_grained_differences,
    fine_grained_for_reading,
    parts_of,
)
from reports.exhibits.pages import BEGIN, CLAIMS, END, exhibits_latex, in_docs, in_report, on_page, with_exhibits
from reports.numbers.published_values import read_published
from reports.numbers.statistics.intervals import t_interval
from reports.write import write_report
from results import load
from tests.reports.synthetic_runs import FakeRun, clean, pgd, write_run

EPS = "4/255"
CLASSES, IMAGES = [3, 64, 200], [60, 300, 500]
PUBLISHED = read_published()
LINE = ["method", "train_attack", "values"]


class Named(str):
    def format(self, *args: object) -> str:
        return self.split()[int(str(args[0]))]


def fake(method, label=None, *, steps=10, attacked=True, scenario="fine_grained", chosen=None, **fields):
    """A run on a data set of toys, one of cars and one of birds."""
    identity = {
        "scenario": {"name": scenario, "fingerprint": "f", "settings": {"image_size": 48}},
        "recipe": {"attack": {"steps": steps}},
        "eps": EPS,
        "settings": chosen or {},
        "backbone": {"name": "resnet18", "width": 0.25, "pretrained": None},
    }
    epoch = {"task": 0, "phase": "train", "epoch": 0, "loss": 1.0}
    usual = {
        "preset": "fine",
        "eps": EPS,
        "classes": CLASSES,
        "samples": IMAGES,
        "uneven": True,
        "matrix": [clean(), pgd(10, EPS)],
        "final": [pgd(7, EPS), pgd(40, EPS, samples=100)],
        "task_name": Named("toys cars CUB_200_2011"),
        "training": [epoch | ({"robust_train": 0.1} if attacked else {"clean_train": 0.1})],
    }
    return FakeRun(method, label, identity=identity, **{**usual, **fields})


def exhibits(root, *fakes) -> list[Exhibits]:
    for each in fakes:
        write_run(root, each)
    return exhibits_of(build_boards(load(root, None), ()), PUBLISHED)


@pytest.fixture(scope="module")
def fine(tmp_path_factory) -> Exhibits:
    """PackNet trained with ten steps and with seven, CMAT with ten, Madry and an undefended row."""
    rows = [
        fake("packnet"), fake("packnet", "packnet+pgd7", steps=7, quality=1.4), fake("cmat", quality=1.2),
        fake("madry_at"), fake("standard", attacked=False),
    ]  # fmt: skip
    (found,) = exhibits(tmp_path_factory.mktemp("fine"), *rows)
    return found


def lines(table):
    return table.set_index(LINE)


# -- the published lines ----------------------------------------------------------------------------------------------


def test_three_printed_f1_are_what_their_precision_and_recall_say_and_the_fourth_is_not(fine):
    table = fine_grained_table([fine])
    printed = table[table["values"] == "published"]
    expected = 2 * printed.precision * printed.recall / (printed.precision + printed.recall)
    assert printed["f1_of_p_and_r"].tolist() == pytest.approx(expected.tolist(), abs=5e-5)
    assert (printed["f1"] - expected).abs().gt(5e-5).tolist() == [False, True, False, False]
    assert "3 of the 4 printed F1" in fine_grained_caption(table)
    assert "0.8831 should be 0.8931" in fine_grained_caption(table)


def test_without_such_data_the_published_lines_stand_alone(tmp_path):
    # The superclass `flowers` of CIFAR-100 is no collection of flowers.
    other = exhibits(
        tmp_path, fake("packnet", scenario="cifar100_superclasses", task_name=Named("flowers cubs stanford_cars"))
    )
    table = fine_grained_table(other)
    assert set(table["values"]) == {"published", "ours"}
    assert table[table["values"] == "ours"][["cubs", "stanford_cars", "flowers", "f1"]].isna().to_numpy().all()
    (_, shown), _ = parts_of(table)
    text = fine_grained_for_reading(shown)
    assert text.columns[2:8].tolist() == ["CUBS", "Stanford Cars", "Flowers", "Precision", "Recall", "F1-score"]
    assert text["attack"].tolist() == ["PGD(7)/PGD(7)"] * 2 + ["PGD(10)/PGD(10)"] * 2
    assert set(text[text["label"] == "ours"].iloc[0, 2:]) == {"n/a"}
    assert fine_grained_differences(other) == ["Ours: n/a until such data sets are run."]
    ((claims, beside),) = on_page(other).values()
    assert (claims.title, beside.title) == (CLAIMS, "Clean accuracy by superclass, beside CPG's table")


# -- our lines --------------------------------------------------------------------------------------------------------


def test_a_row_stands_at_the_steps_it_was_trained_and_attacked_with(fine):
    table = lines(fine_grained_table([fine]))
    assert table.loc[("packnet", "PGD-10", "packnet"), "attack"] == "pgd-10 linf 4/255 a=1/255 any"
    assert table.loc[("packnet", "PGD-7", "packnet+pgd7"), "attack"] == "pgd-7 linf 4/255 a=1/255 any"
    assert ("packnet", "PGD-7", "packnet") not in table.index
    # CMAT was not trained with seven steps.
    assert np.isnan(table.loc[("cmat", "PGD-7", "ours"), "f1"])
    assert ("cmat", "PGD-10", "ours") not in table.index


def test_scores_are_macro_over_whole_test_sets_then_the_mean_over_the_data_sets(fine):
    run = fine.row_of("packnet").seeds[0].run.predictions
    cells = run[(run.after_task == 2) & (run.attack == "pgd-10 linf 4/255 a=1/255 any")]
    expected = []
    for task in range(3):
        cell = cells[cells.task == task]
        scores = precision_recall_fscore_support(cell.label, cell.predicted, average="macro", zero_division=0)[:3]
        expected.append([(cell.label == cell.predicted).mean(), *scores])
    ours = lines(fine_grained_table([fine])).loc[("packnet", "PGD-10", "packnet")]
    columns = ["accuracy_toys", "stanford_cars", "cubs"]
    assert ours[columns].tolist() == pytest.approx([task[0] for task in expected])
    assert ours[["precision", "recall", "f1"]].tolist() == pytest.approx(np.mean(expected, 0)[1:].tolist())
    assert np.isnan(ours["flowers"])
    assert ours["data_sets"] == 3
    # Classes are of unequal size, so the two are not one number.
    assert abs(np.mean(expected, 0)[0] - np.mean(expected, 0)[2]) > 0.01
    assert (ours["stanford_cars_low"] < ours["stanford_cars"]) & (ours["stanford_cars"] < ours["stanford_cars_high"])


def test_further_rows_have_lines_and_an_undefended_one_is_trained_with_no_attack(fine):
    titles = dict(parts_of(fine_grained_table([fine])))
    assert list(titles) == ["PackNet", "CMAT", "Further rows"]
    text = fine_grained_for_reading(titles["Further rows"])
    found = sorted(zip(text["label"], text["attack"], strict=True))
    assert found == [
        ("madry_at", "PGD(10)/PGD(10)"), ("standard", "none/PGD(10)"), ("standard", "none/PGD(7)"),
    ]  # fmt: skip
    # No line has flowers, and nothing published has toys.
    assert "Flowers" not in text.columns
    packnet = fine_grained_for_reading(titles["PackNet"]).set_index("label")
    assert packnet.loc["published", "toys"].tolist() == ["n/a", "n/a"]
    assert packnet.loc["packnet", "Flowers"] == "n/a"


def test_a_row_with_a_training_attack_of_its_own_is_not_said_to_be_trained_by_that_of_the_recipe(tmp_path):
    rows = [
        fake("fast_at"), fake("free_at", chosen={"replays": 8}),
        fake("single_task_at", chosen={"training": {"name": "fast"}}),
        fake("madry_at", chosen={"training": {"name": "madry"}}),
    ]  # fmt: skip
    titles = dict(parts_of(fine_grained_table(exhibits(tmp_path, *rows))))
    text = fine_grained_for_reading(titles["Further rows"])
    assert sorted(zip(text["label"], text["attack"], strict=True)) == [
        ("fast_at", "FGSM/PGD(10)"), ("fast_at", "FGSM/PGD(7)"), ("free_at", "free(8)/PGD(10)"), ("free_at", "free(8)/PGD(7)"),
        ("madry_at", "PGD(10)/PGD(10)"), ("single_task_at", "FGSM/PGD(10)"), ("single_task_at", "FGSM/PGD(7)"),
    ]  # fmt: skip


def test_a_row_that_is_not_ranked_has_no_number(tmp_path):
    failed = fake("packnet", learned=1, failure={"stage": "train", "message": "no"})
    table = lines(fine_grained_table(exhibits(tmp_path, failed, fake("madry_at"))))
    assert np.isnan(table.loc[("packnet", "PGD-10", "ours"), "f1"])


def test_three_seeds_have_half_an_interval_behind_each_mean(tmp_path):
    found = exhibits(tmp_path, *(fake("packnet", seed=seed) for seed in range(3)))
    line = lines(fine_grained_table(found)).loc[("packnet", "PGD-10", "packnet")]
    single = [
        lines(fine_grained_table(exhibits(tmp_path / str(seed), fake("packnet", seed=seed)))).loc[
            ("packnet", "PGD-10", "packnet"), "f1"
        ]
        for seed in range(3)
    ]
    bounds = t_interval(single)
    assert line[["f1", "f1_low", "f1_high"]].tolist() == pytest.approx([np.mean(single), bounds.low, bounds.high])
    shown = fine_grained_for_reading(next(parts_of(fine_grained_table(found)))[1]).set_index("label")
    assert shown.loc["packnet", "F1-score"] == f"{np.mean(single):.4f} ± {(bounds.high - bounds.low) / 2:.3f}"


def test_two_boards_are_told_apart(tmp_path):
    names = Named("flowers Cars oxford_flowers")
    found = exhibits(
        tmp_path, fake("packnet"), fake("packnet", preset="fine-large", task_name=names, settings={"bn": 1})
    )
    text = fine_grained_for_reading(next(parts_of(fine_grained_table(found)))[1])
    assert {"packnet (fine)", "packnet (fine-large)"} <= set(text["label"])
    # Two collections of flowers: the second has a column of its own.
    assert columns_of(found[1]) == ["flowers", "stanford_cars", "accuracy_oxford_flowers"]
    assert len(fine_grained_differences(found)) == 2


@pytest.mark.parametrize(
    ("name", "column"),
    [
        ("cubs", "cubs"), ("CUB_200_2011", "cubs"), ("stanford_cars", "stanford_cars"), ("cars", "stanford_cars"),
        ("flowers-102", "flowers"), ("Flowers102", "flowers"), ("wildflowers", "accuracy_wildflowers"),
        ("f1", "accuracy_f1"), ("racing_cars", "accuracy_racing_cars"),
    ],
)  # fmt: skip
def test_names_of_data_sets(tmp_path, name, column):
    (found,) = exhibits(tmp_path, fake("packnet", task_name=Named(f"{name} toys birds")))
    assert columns_of(found)[0] == column


# -- words ------------------------------------------------------------------------------------------------------------


def test_the_words_say_what_differs_as_it_is_recorded(tmp_path, fine):
    (text,) = fine_grained_differences([fine])
    assert "toys (3 classes; 100 training, 25 validation and 60 test images)" in text
    assert "cars (64 of 196 classes; 100 training, 25 validation and 300 test images, where the official split" in text
    assert "mean over the 3. Images of 48x48 pixels; resnet18, width 0.25; eps 4/255 of pixels, steps of eps/4" in text
    assert "all test images are attacked" in text
    part = {"pgd-10 linf 2/255 a=0.5/255": 90}
    two = fake(
        "packnet",
        tasks=2,
        classes=[64, 102],
        samples=[300, 200],
        task_name=Named("cars flowers"),
        eps="2/255",
        matrix=[clean(), pgd(10, "2/255", samples=90)],
        final=[],
        protocol={"matrix_samples": part, "samples": part},
    )
    (text,) = fine_grained_differences(exhibits(tmp_path, two))
    assert "then the mean over the 2, where the published one is over 3" in text
    assert "flowers (102 of 102 classes" in text
    assert "eps 2/255 of pixels (in training 4/255)" in text
    assert "attacked: 90 of 300 of cars, 90 of 200 of flowers" in text


# -- files ------------------------------------------------------------------------------------------------------------


def test_every_output_has_the_tables(tmp_path, fine):
    write_run(tmp_path / "runs", fake("packnet"))
    report = write_report(load(tmp_path / "runs", None), tmp_path / "out")
    number = f"{lines(fine_grained_table([fine])).loc[('packnet', 'PGD-10', 'packnet'), 'f1']:.4f}"
    assert not report.problems
    for path in (report.page, report.output / "exhibits.md", report.output / "exhibits.tex"):
        assert number in path.read_text(encoding="utf-8"), path
    assert "fine,packnet," in (report.output / "tables" / "all__exhibit_fine_grained.csv").read_text(encoding="utf-8")
    assert "High-resolution data" in report.page.read_text(encoding="utf-8")
    assert exhibits_latex([fine], "").count("tab:exhibit-fine-grained") == 3


def test_the_documentation_has_the_tables_and_the_scores_by_task(fine):
    page = with_exhibits(f"# Page\n\n{BEGIN}\n\n{END}\n", [fine], in_docs)
    assert "## High-resolution data" in page
    assert "F1 by task: fine" in page
    assert "Accuracy by eps" not in page
    assert "| toys " in page
    assert in_report({})(fine, "structure") is None
