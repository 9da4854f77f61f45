"""Published numbers are read from files, and a broken file is one clear error."""

from __future__ import annotations

import shutil

import pytest

from reports.numbers.published_values import REFERENCE, read_published
from results.files import StoreError


@pytest.mark.parametrize(
    ("file", "old", "new", "message"),
    [
        ("cifar100_methods.csv", "accuracy", "robustness", r"cifar100_methods\.csv: .* lack the columns accuracy"),
        ("cifar100_pgd_steps.csv", "0.6153", "61.53", r"line 2: accuracy is '61.53', expected a number from 0 to 1"),
        ("cifar100_pgd_steps.csv", ",8/255,20", ",8/0,20", r"line 13: epsilon is '8/0', expected a fraction"),
        ("cifar100_pgd_steps.csv", "4/255,10", "4/255,7", r"two lines say packnet 4/255 7"),
        ("fine_grained.csv", "0.9514", "", r"line 2: precision is '', expected a number"),
        ("shield_til.csv", "-0.49", "-4.9", r"line 22: bwt is '-4.9', expected a number from -1 to 1"),
        ("cpg_cifar100_superclasses.csv", "CPG,fish", "CPG,flowers", r"two lines say CPG flowers"),
        (
            "cifar100_single_task_logs.csv",
            None,
            None,
            r"cifar100_single_task_logs\.csv: published numbers are not readable",
        ),
    ],
)
def test_a_broken_published_file_is_one_clear_line(tmp_path, file, old, new, message):
    folder = shutil.copytree(REFERENCE, tmp_path / "reference")
    text = (folder / file).read_text(encoding="utf-8")
    (folder / file).unlink()
    if old is not None:
        assert old in text
        (folder / file).write_text(text.replace(old, new), encoding="utf-8")
    with pytest.raises(StoreError, match=message) as caught:
        read_published(folder)
    assert "\n" not in str(caught.value)


def test_a_quoted_value_is_found_in_the_table_it_is_quoted_from():
    published = read_published()
    quoted = published.methods[published.methods["source"].str.startswith("quoted")]
    cells = [published.quoted_from(accuracy) for accuracy in quoted["accuracy"]]
    models = ["Standard", "AT", "AT BNN", "Pretrained AT", "TRADES", "ANP-VS"]
    assert cells == [(model, "black_box") for model in models]
    assert published.quoted_from(0.4113) is None


def test_the_tables_of_others_are_whole():
    published = read_published()
    assert dict(published.cpg.groupby("label").size()) == {"PackNet": 21, "PAE": 21, "CPG": 21}
    assert set(published.shield_til.groupby("benchmark").size()) == {10}
    best = published.shield_til.set_index(["benchmark", "label"]).loc[("split_cifar100", "SHIELD-IM")]
    assert best[["autoattack", "pgd", "fgsm", "clean"]].tolist() == [63.08, 62.39, 46.48, 67.45]
