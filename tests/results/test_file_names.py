"""Names of files: readable, short, and different for different texts."""

from __future__ import annotations

import re

import pytest

from results.file_names import LONGEST, file_name, file_names

OVERRIDES = " ".join(
    ["cifar100", "recipe.epochs=20", "recipe.batch_size=256", "recipe.learning_rate=0.05", "recipe.weight_decay=0.0005",
     "evaluation.batch_size=1024", "backbone.width=0.25", "methods.cmat.settings.first_task_epochs=40"]
)  # fmt: skip
"""A preset with seven overrides, as a board is named."""


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("digits", "digits"),
        ("cifar100-cpu", "cifar100-cpu"),
        ("digits recipe.epochs=5", "digits_recipe.epochs=5"),
        ("single_task_at", "single_task_at"),
        ("pgd-10 linf 51/255 a=12.75/255 any", "pgd-10_linf_51-255_a=12.75-255_any"),
        ("worst l2 0.5", "worst_l2_0.5"),
        (
            "transfer from=single_task_standard pgd-40 linf 8/255 a=2/255",
            "transfer_from=single_task_standard_pgd-40_linf_8-255_a=2-255",
        ),
        ("../..", "-"),
        ("名前", "_"),
        ("", "_"),
    ],
)
def test_ordinary_names_are_the_text_without_what_file_systems_refuse(text, name):
    assert file_name(text) == name


def test_a_long_name_keeps_its_first_words_and_ends_with_a_digest():
    name = file_name(OVERRIDES)
    assert len(name) <= LONGEST
    kept, _, digits = name.rpartition("_")
    assert kept == "cifar100_recipe.epochs=20_recipe.batch_size=256"
    assert re.fullmatch("[0-9a-f]{8}", digits)


def test_long_names_that_differ_at_the_end_alone_differ():
    names = {file_name(f"{OVERRIDES}{end}") for end in ("", "0", "1", "/", " ")}
    assert len(names) == 5


def test_a_name_of_one_long_word_is_cut():
    name = file_name("x" * 300)
    assert len(name) == LONGEST
    assert name.startswith("x" * 70)


def test_names_side_by_side_differ_where_replaced_characters_or_case_were_all_the_difference():
    texts = ["a/b", "a-b", "A-b", "a b", "a  b", "c", "名前", "名称"]
    names = file_names(texts)
    assert list(names) == texts
    assert len({name.casefold() for name in names.values()}) == len(texts)
    assert names["c"] == "c"
    assert all(re.fullmatch("[A-Za-z0-9._=-]+", name) for name in names.values())


def test_two_underscores_separate_names():
    assert "__" not in file_name("a__b _ c") + file_name(f"__{OVERRIDES}__")
