"""Readers are told in which precision attacks walked, and where they did not."""

import json

from reports.tables.precisions import precision_words
from tests.reports.sweep_cases import evidence_of


def walked(**told):
    def edit(record):
        record["precision"] = "bf16"
        record["trace"] = json.dumps({**json.loads(record["trace"]), "precision": told}) if record["trace"] else None

    return edit


def test_of_walks_in_float32_nothing_is_said(tmp_path):
    assert precision_words([evidence_of(tmp_path)]) == ""


def test_the_precision_of_walks_is_named_with_who_judges(tmp_path):
    found = precision_words([evidence_of(tmp_path, edit_evaluation=walked(walked="bf16"))])
    assert found == "Attacks walk in bfloat16; float32 says what is broken."


def test_a_machine_without_the_precision_is_told(tmp_path):
    slow = walked(walked="fp32", because="this processor has no bfloat16")
    found = precision_words([evidence_of(tmp_path, edit_evaluation=slow)])
    assert found.startswith("Attacks may walk in bfloat16; float32 says what is broken. ")
    assert found.endswith(" evaluations walked in float32 too: this processor has no bfloat16.")
