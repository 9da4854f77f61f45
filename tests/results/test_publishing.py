"""Publishing the runs of a preset: where they stand, and that they are read again."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from results import load, schema
from results.parts import read_parts, write_rows
from results.publishing import main
from tests.reports.synthetic_runs import FakeRun, write_run


def test_a_preset_with_overrides_is_published_into_one_folder(tmp_path):
    preset = "digits " + " ".join(f"recipe.number_{k}=1/255" for k in range(7))
    store = write_run(tmp_path / "runs", FakeRun(preset=preset))
    published = tmp_path / "published"
    assert main([preset, "--results", str(tmp_path / "runs"), "--published", str(published)]) == 0
    (folder,) = published.iterdir()
    assert [path.name for path in folder.iterdir()] == [store.directory.name]
    (run,) = load(tmp_path / "nothing", published).runs
    assert run.published
    assert list(run.protocols) == [preset]


def test_an_ordinary_preset_is_published_under_its_name(tmp_path):
    write_run(tmp_path / "runs", FakeRun(preset="cifar100-cpu"))
    published = tmp_path / "published"
    assert main(["cifar100-cpu", "--results", str(tmp_path / "runs"), "--published", str(published)]) == 0
    assert [path.name for path in published.iterdir()] == ["cifar100-cpu"]


def test_margins_are_published_in_two_thirds_of_the_bytes_and_with_every_digit(tmp_path):
    margins = np.random.default_rng(0).normal(0, 3, 4000).astype(np.float32)
    rows = {
        "after_task": 0,
        "task": 0,
        "sample": np.arange(len(margins)),
        "attack": "clean",
        "label": 1,
        "predicted": np.where(margins > 0, 1, 2),
        "margin": margins,
        "evaluation_id": "ab" * 32,
    }
    stored, published = tmp_path / "stored.parquet", tmp_path / "published.parquet"
    table = pa.Table.from_pandas(pd.DataFrame(rows)).select(schema.PREDICTIONS.names).cast(schema.PREDICTIONS)
    pq.write_table(table, stored, compression="zstd", compression_level=19)
    write_rows(table, published, level=19)
    before, after = (pq.ParquetFile(path).metadata.row_group(0).column(6) for path in (stored, published))
    assert after.total_compressed_size < 0.7 * before.total_compressed_size
    for path in (stored, published):
        again, problems = read_parts([path], schema.PREDICTIONS)
        assert not problems
        assert again.equals(table)


def test_a_store_writes_margins_in_that_form(tmp_path):
    store = write_run(tmp_path / "runs", FakeRun(preset="digits"))
    paths = [*(store.directory / "predictions").glob("*.parquet")]
    assert paths
    for path in paths:
        assert "BYTE_STREAM_SPLIT" in pq.ParquetFile(path).metadata.row_group(0).column(6).encodings


@pytest.mark.parametrize("how", ["stopped", "with fewer attacks"])
def test_a_record_is_not_replaced_by_a_run_that_says_less(tmp_path, capsys, how):
    published, lesser = tmp_path / "published", tmp_path / "lesser"
    write_run(tmp_path / "runs", FakeRun())
    assert main(["digits", "--results", str(tmp_path / "runs"), "--published", str(published)]) == 0
    before = {path: path.read_bytes() for path in published.rglob("*") if path.is_file()}
    store = write_run(lesser, FakeRun(final=[]) if how == "with fewer attacks" else FakeRun(learned=1))
    if how == "stopped":
        (store.directory / "facts" / "costs.parquet").unlink()
    assert main(["digits", "--results", str(lesser), "--published", str(published)]) == 2
    reason = {
        "stopped": "was stopped before its end",
        "with fewer attacks": "outcomes that the run to publish lacks, such as",
    }
    assert reason[how] in capsys.readouterr().err
    assert {path: path.read_bytes() for path in published.rglob("*") if path.is_file()} == before


def test_a_run_that_says_more_replaces_a_record(tmp_path):
    published = tmp_path / "published"
    for folder, fake in (("first", FakeRun(final=[])), ("second", FakeRun())):
        write_run(tmp_path / folder, fake)
        assert main(["digits", "--results", str(tmp_path / folder), "--published", str(published)]) == 0
    (run,) = load(tmp_path / "nothing", published).runs
    assert "fgsm" in " ".join(run.evaluations["attack"])


def test_no_run_is_left_out_unseen_because_it_is_unreadable(tmp_path, capsys):
    write_run(tmp_path / "runs", FakeRun())
    store = write_run(tmp_path / "runs", FakeRun(seed=1))
    (store.directory / "config.json").write_text("{")
    assert main(["digits", "--results", str(tmp_path / "runs"), "--published", str(tmp_path / "published")]) == 2
    assert store.directory.name in capsys.readouterr().err
    assert not (tmp_path / "published").exists()
