"""Publishing the runs of a preset: where they stand, and that they are read again."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

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
