"""Whole files that hold other things than they should, as fuzzing found them: named, and the other parts are read."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import save_file

from benchmark.commands.verify.findings import Problems
from benchmark.commands.verify.records.evaluations import _specification
from results import Run, schema
from results.adversarial import FOLDER, attacked_samples, read_images
from results.checkpoints import Checkpoint, Checkpoints
from results.files import StoreError, write_json
from results.merged import KEY, read_merged
from results.merged import _key as key_of
from results.parts import read_parts

FACT = {"task": 0, "phase": "method", "name": "width", "value": 1.0, "text": None}
FACTS = pa.Table.from_pylist([FACT], schema=schema.FACTS)
NO_TEXT = pa.StringArray.from_buffers(1, *pa.array([b"\xff\xfe"], pa.binary()).buffers()[1:])
"""One value that claims to be text. Whoever makes a frame of it meets an error of Python."""


def with_facts(folder: Path, table: pa.Table) -> list[Path]:
    """Two parts of facts, the second a usual one."""
    for name, each in (("a", table), ("b", FACTS)):
        pq.write_table(each, folder / f"{name}.parquet", use_dictionary=False)
    return sorted(folder.glob("*.parquet"))


@pytest.mark.parametrize(
    ("table", "says"),
    [
        (FACTS.append_column("name", FACTS["name"]), "holds two columns name"),
        (FACTS.set_column(2, "name", NO_TEXT), "Invalid UTF8 sequence"),
        (FACTS.remove_column(1), "lacks the columns phase"),
    ],
)
def test_a_part_of_other_columns_or_of_no_text_is_named_and_the_others_are_read(
    tmp_path: Path, table: pa.Table, says: str
) -> None:
    paths = with_facts(tmp_path, table)
    rows, (problem,) = read_parts(paths, schema.FACTS)
    assert problem.path == paths[0]
    assert says in problem.reason
    assert rows.to_pylist() == [FACT]


def test_brackets_in_brackets_are_no_json_and_cost_themselves_alone(tmp_path: Path) -> None:
    """A few thousand are deeper than Python reads, which it says in an error of its own."""
    deep = "[" * 5000
    (tmp_path / "config.json").write_text('{"identity": {}}')
    (tmp_path / "failures.jsonl").write_text(f'{{"message": "words"}}\n{deep}\n')
    row = dict.fromkeys(schema.EVALUATIONS.names) | {"attack": "clean", "specification": deep}
    (tmp_path / "evaluations").mkdir()
    pq.write_table(pa.Table.from_pylist([row], schema=schema.EVALUATIONS), tmp_path / "evaluations" / "a.parquet")
    run = Run(tmp_path, {"identity": {}})
    assert [failure["message"] for failure in run.failures] == ["words", deep]
    assert run.evaluations["specification"].tolist() == [deep]
    problems = Problems()
    assert _specification({**row, "task": 0, "after_task": 0}, problems) is None
    assert problems.lines() == ("a specification that cannot be read: clean on task 0 after task 0",)


def test_a_merged_table_of_no_text_is_not_used(tmp_path: Path) -> None:
    (tmp_path / "merged").mkdir()
    for name, found in ((FACTS["name"], True), (NO_TEXT, False)):
        table = FACTS.set_column(2, "name", name).replace_schema_metadata({KEY: key_of([])})
        pq.write_table(table, tmp_path / "merged" / "facts.parquet", use_dictionary=False)
        assert (read_merged(tmp_path, "facts", [], schema.FACTS) is not None) == found


@pytest.mark.parametrize("key", ["../../outside", "/tmp/outside", "0" * 63, "A" * 64, ""])
def test_a_blob_goes_by_a_hash_and_by_nothing_that_leads_elsewhere(tmp_path: Path, key: str) -> None:
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save("task-000", Checkpoint({"a": torch.zeros(2)}))
    write_json(tmp_path / "task-000.json", {"tensors": {"a": key}, "values": {}, "result": None})
    for read in (checkpoints.load, checkpoints.values):
        with pytest.raises(StoreError, match=r"task-000\.json: not the manifest of a checkpoint"):
            read("task-000")


@pytest.mark.parametrize(
    ("name", "shape"), [("attacked", ()), ("attacked", (2, 1)), ("samples_uint8", (1, 1)), ("images_uint8", (1, 4))]
)
def test_adversarial_images_of_other_shapes_are_named(tmp_path: Path, name: str, shape: tuple[int, ...]) -> None:
    tensors = {
        "attacked": torch.zeros(1, dtype=torch.int64),
        "samples_uint8": torch.zeros(1, dtype=torch.int64),
        "images_uint8": torch.zeros(1, 1, 2, 2, dtype=torch.uint8),
        "samples_float32": torch.zeros(0, dtype=torch.int64),
        "images_float32": torch.zeros(0, 1, 2, 2),
    }
    path = tmp_path / FOLDER / f"{'0' * 64}.001.00000.safetensors"
    path.parent.mkdir()
    save_file(tensors, path)
    assert len(read_images(path)[0].images) == 1
    save_file({**tensors, name: torch.zeros(shape, dtype=tensors[name].dtype)}, path)
    with pytest.raises(StoreError, match=r"not readable as adversarial images \(.+\)"):
        read_images(path)
    assert set(attacked_samples(tmp_path)) == {("0" * 64, 1)}
