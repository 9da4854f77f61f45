"""Data sets in parquet files as tasks: a task per data set, per group of classes, per value of a column."""

from __future__ import annotations

import errno
import os
import unicodedata
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from scenarios.base import DataError, SourceOptions, Task, fingerprint_of_tasks
from scenarios.parquet import Parquet
from scenarios.parts.images import parquet_table
from tests.scenarios.pictures import encoded, pictures, write_parquet, write_parquet_set


def scenario(root: Path, *folders: str, **settings: object) -> Parquet:
    chosen = Parquet.Settings(**{"folders": folders or ("t",), "image_size": 8, **settings})
    return Parquet(chosen, SourceOptions(root))


def load(root: Path, *folders: str, **settings: object) -> list[Task]:
    return scenario(root, *folders, **settings).load()


def message_of(root: Path, *folders: str, **settings: object) -> str:
    with pytest.raises(DataError) as error:
        load(root, *folders, **settings)
    assert "\n" not in str(error.value)
    return str(error.value)


def counts(task: Task) -> tuple[int, int]:
    return len(task.train) + len(task.validation), len(task.test)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return write_parquet_set(tmp_path / "t")


def test_each_data_set_is_a_task_with_its_own_number_of_classes(parquet_folders: Path) -> None:
    tasks = load(parquet_folders, "cars", "birds")
    assert [(task.name, len(task.classes), *counts(task)) for task in tasks] == [
        ("cars", 6, 36, 12),
        ("birds", 4, 24, 8),
    ]


@pytest.mark.parametrize("rows_per_batch", [3, 1000])
def test_each_image_has_the_label_of_its_row(
    tmp_path: Path, data: Path, rows_per_batch: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parquet_table, "_ROWS_PER_BATCH", rows_per_batch)
    (task,) = load(tmp_path)
    stored = pq.read_table(data / "test-00000-of-00001.parquet").to_pylist()
    expected = set()
    for row in stored:
        with Image.open(BytesIO(row["image"]["bytes"])) as picture:
            array = np.array(picture.resize((10, 8), Image.Resampling.BILINEAR).crop((1, 0, 9, 8))).transpose(2, 0, 1)
        expected.add((row["label"], array.tobytes()))
    assert {(int(label), image.numpy().tobytes()) for image, label in zip(*task_arrays(task), strict=True)} == expected


def task_arrays(task: Task) -> tuple[object, object]:
    return task.test.images, task.test.labels


@pytest.mark.parametrize(
    "files",
    [
        {"train": "train.parquet", "test": "test.parquet"},
        {"train": "data/train-00000-of-00001.parquet", "test": "data/validation-00000-of-00001.parquet"},
        {"train": "default/train/0000.parquet", "test": "default/test/0000.parquet"},
        {"train": "train-0.PARQUET", "test": "val_0.parquet"},
        {"train": "birds_train.parquet", "test": "birds_valid.parquet"},
        {"train": "my.train.parquet", "test": "my.test.parquet"},
    ],
)
def test_parts_are_told_from_the_names_of_files_and_folders(tmp_path: Path, files: dict[str, str]) -> None:
    write_parquet_set(tmp_path / "usual" / "t")
    write_parquet_set(tmp_path / "made" / "t")
    for part, name in files.items():
        target = tmp_path / "made" / "t" / name
        target.parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "made" / "t" / f"{part}-00000-of-00001.parquet").rename(target)
    (tmp_path / "made" / "t" / ".cache").mkdir()
    write_parquet(tmp_path / "made" / "t" / ".cache" / "train.parquet", [0, 1])
    assert fingerprint_of_tasks(load(tmp_path / "made")) == fingerprint_of_tasks(load(tmp_path / "usual"))


def test_shards_of_a_part_are_joined(tmp_path: Path, data: Path) -> None:
    whole = load(tmp_path)
    table = pq.read_table(data / "train-00000-of-00001.parquet")
    (data / "train-00000-of-00001.parquet").unlink()
    for i, start in enumerate((0, 7, 11)):
        pq.write_table(table.slice(start, (7, 4, 99)[i]), data / f"train-{i:05d}-of-00003.parquet")
    assert fingerprint_of_tasks(load(tmp_path)) == fingerprint_of_tasks(whole)
    (data / "train-00001-of-00003.parquet").rename(tmp_path / "away")
    assert "is one of 3 shards, 1 of which are not beside it (-00001-of-00003)" in message_of(tmp_path)
    (tmp_path / "away").rename(data / "train-00001-of-00003.parquet")
    for beyond in ("train-00003-of-00003.parquet", "train-00000-of-00000.parquet"):
        write_parquet(data / beyond, [0])
        assert message_of(tmp_path).count("\n") == 0
        (data / beyond).unlink()
    (data / "train-00002-of-00003.parquet").rename(data / "train-00003-of-00003.parquet")
    assert "shard 3 of 3, which are numbered from 0" in message_of(tmp_path)
    (data / "train-00003-of-00003.parquet").rename(data / "train-00002-of-00003.parquet")
    (data / "train-00001-of-00003.parquet").unlink()
    write_parquet(data / "train-00001-of-00002.parquet", [0])
    assert "both hold the same part; leave the files of one copy" in message_of(tmp_path)


def test_several_data_sets_in_a_folder_are_named_by_their_files_and_folders(tmp_path: Path) -> None:
    write_parquet_set(tmp_path / "t" / "data" / "birds")
    for part in ("train", "test"):
        write_parquet(tmp_path / "t" / f"cars-{part}.parquet", [0, 1, 2] * 4, 5 + len(part))
    assert [task.name for task in load(tmp_path)] == ["cars", "birds"]
    assert [task.name for task in load(tmp_path, order=1)] == ["cars", "birds"]


def test_a_data_set_behind_a_link_is_a_task_like_any_other(tmp_path: Path) -> None:
    write_parquet_set(tmp_path / "t" / "birds")
    (tmp_path / "t" / "cars").symlink_to(write_parquet_set(tmp_path / "elsewhere", seed=1))
    (tmp_path / "t" / "birds" / "again").symlink_to(tmp_path / "t")  # a way round ends
    assert [task.name for task in load(tmp_path)] == ["birds", "cars"]


def test_a_folder_that_cannot_be_read_is_an_error_and_no_task_less(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    locked, listed = write_parquet_set(tmp_path / "t" / "cars"), Path.iterdir
    write_parquet_set(tmp_path / "t" / "birds", seed=1)

    def denied(folder: Path) -> Iterator[Path]:  # rights of folders are nothing to root, who may run this
        if folder == locked:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(folder))
        return listed(folder)

    monkeypatch.setattr(Path, "iterdir", denied)
    assert message_of(tmp_path) == f"{locked}: cannot be read (Permission denied)"


def test_an_unlabelled_test_part_gives_way_to_the_validation_part(tmp_path: Path, data: Path) -> None:
    before = load(tmp_path)
    (data / "test-00000-of-00001.parquet").rename(data / "validation-00000-of-00001.parquet")
    write_parquet(data / "test-00000-of-00001.parquet", [-1] * 6, 8)
    assert fingerprint_of_tasks(load(tmp_path)) == fingerprint_of_tasks(before)
    (data / "validation-00000-of-00001.parquet").unlink()
    assert "test-00000-of-00001.parquet: row 0 has label -1: its label is withheld or missing" in message_of(tmp_path)


class TestNamesOfClasses:
    """Class names are those that the files hold, or the numbers, padded so that their order stays."""

    def test_numbers_are_padded(self, tmp_path: Path) -> None:
        write_parquet_set(tmp_path / "t", 11)
        assert load(tmp_path)[0].classes == tuple(f"{i:02d}" for i in range(11))

    def test_names_that_the_files_hold_are_taken(self, tmp_path: Path) -> None:
        write_parquet_set(tmp_path / "t", names=["owl", "crow", "été", "finch"])
        assert load(tmp_path)[0].classes == ("crow", "finch", "owl", "été")
        write_parquet(
            tmp_path / "t" / "test-00000-of-00001.parquet", [0, 1, 2, 4], names=["owl", "crow", "été", "finch"]
        )
        assert "label 4 has no name; the file names 4 classes" in message_of(tmp_path)
        write_parquet(
            tmp_path / "t" / "test-00000-of-00001.parquet", [0, 1, 2, 3], names=["crow", "owl", "été", "finch"]
        )
        assert "names its classes otherwise than" in message_of(tmp_path)

    @pytest.mark.parametrize("kind", [pa.string(), pa.large_string(), pa.dictionary(pa.int32(), pa.string())])
    def test_text_in_either_form_of_unicode_is_a_name(self, tmp_path: Path, kind: pa.DataType) -> None:
        for part, form in (("train", "NFC"), ("test", "NFD")):
            labels = [unicodedata.normalize(form, name) for name in ("été", "owl")] * 4
            write_parquet(tmp_path / "t" / f"{part}.parquet", pa.array(labels).cast(kind), len(form + part))
        assert load(tmp_path)[0].classes == ("owl", "été")

    def test_whole_numbers_that_were_written_as_fractions_are_read(self, tmp_path: Path, data: Path) -> None:
        whole = load(tmp_path)
        write_parquet(data / "train-00000-of-00001.parquet", [float(i % 4) for i in range(24)])
        assert fingerprint_of_tasks(load(tmp_path)) == fingerprint_of_tasks(whole)
        write_parquet(data / "train-00000-of-00001.parquet", [1.0, float("nan")])
        assert "row 1 has label None: its label is withheld or missing" in message_of(tmp_path)
        write_parquet(data / "train-00000-of-00001.parquet", [0.5, 1.0])
        assert "column label is double, expected whole numbers or text" in message_of(tmp_path)


class TestTasks:
    """Rows become tasks by the settings."""

    def test_groups_of_so_many_classes(self, tmp_path: Path, data: Path) -> None:
        tasks = load(tmp_path, groups=2)
        assert [(task.name, task.classes, *counts(task)) for task in tasks] == [
            ("t_0", ("0", "1"), 12, 4),
            ("t_1", ("2", "3"), 12, 4),
        ]
        assert [len(task.classes) for task in load(write_parquet_set(tmp_path / "u" / "t", 8).parent, groups=3)] == [
            3,
            3,
            2,
        ]
        assert "scenario.groups = 3: t has 4 classes, so the last task would have one" in message_of(tmp_path, groups=3)

    def test_named_groups(self, tmp_path: Path, data: Path) -> None:
        tasks = load(tmp_path, groups={"odd": [1, 3], "some": ["0", "1", "2"]})
        assert [(task.name, task.classes) for task in tasks] == [("odd", ("1", "3")), ("some", ("0", "1", "2"))]
        assert "scenario.groups: odd: t has no class 9; it has 0, 1, 2, 3" in message_of(
            tmp_path, groups={"odd": [1, 9]}
        )

    def test_values_of_a_column(self, tmp_path: Path) -> None:
        for part, count in (("train", 48), ("test", 16)):
            labels = [i % 8 for i in range(count)]
            write_parquet(
                tmp_path / "t" / f"{part}.parquet", labels, count, kind=["ab"[i % 8 // 4] for i in range(count)]
            )
        tasks = load(tmp_path, task_column="kind")
        assert [(task.name, task.classes) for task in tasks] == [
            ("a", ("0", "1", "2", "3")),
            ("b", ("4", "5", "6", "7")),
        ]
        assert fingerprint_of_tasks(tasks) != fingerprint_of_tasks(load(tmp_path, groups=4))
        grouped = load(tmp_path, groups={"a": list(range(4)), "b": list(range(4, 8))})
        assert fingerprint_of_tasks(tasks) == fingerprint_of_tasks(grouped)
        assert "has no column sort; it has image, label, kind; name one with scenario.task_column" in message_of(
            tmp_path, task_column="sort"
        )

    def test_tasks_of_several_data_sets_bear_their_names(self, parquet_folders: Path) -> None:
        tasks = load(parquet_folders, "birds", "cars", groups=2)
        assert [task.name for task in tasks] == ["birds_0", "birds_1", "cars_0", "cars_1", "cars_2"]

    def test_a_row_without_a_task_is_named(self, tmp_path: Path, data: Path) -> None:
        for part, count in (("train", 24), ("test", 8)):
            column = [None if i == 3 else "a" for i in range(count)]
            write_parquet(data / f"{part}-00000-of-00001.parquet", [i % 4 for i in range(count)], kind=pa.array(column))
        assert "train-00000-of-00001.parquet: row 3 has no kind" in message_of(tmp_path, task_column="kind")

    @pytest.mark.parametrize(
        ("settings", "says"),
        [
            ({"groups": 1}, "groups"),
            ({"groups": {"a": [1]}}, "groups"),
            ({"groups": {"a": [1, 1]}}, "class 1 stands twice in `a`"),
            ({"groups": 2, "task_column": "x"}, "give one of them"),
            ({"folders": ["."]}, "has no name"),
        ],
    )
    def test_settings_that_say_nothing_clear_are_refused(self, settings: dict[str, object], says: str) -> None:
        with pytest.raises(ValueError, match=says):
            Parquet.Settings(**{"folders": ["t"], **settings})

    def test_the_identity_holds_what_is_seen_and_no_place(self) -> None:
        settings = Parquet.Settings(folders=["t"], groups=2, label_column="x", image_size=32)
        assert set(Parquet.identity_settings(settings)) == {
            "tasks", "order", "train_fraction", "image_size", "mean", "std"
        }  # fmt: skip


class TestWrongFiles:
    """Every fault is one line that names the file, and the row if there is one."""

    def test_columns_are_named_by_settings(self, tmp_path: Path) -> None:
        write_parquet_set(tmp_path / "t", image="picture", label="kind")
        assert "has no column image or img; it has picture, kind; name one with scenario.image_column" in message_of(
            tmp_path
        )
        assert "has no column label; it has" in message_of(tmp_path, image_column="picture")
        assert len(load(tmp_path, image_column="picture", label_column="kind")) == 1

    def test_other_things_than_encoded_images_are_refused(self, tmp_path: Path, data: Path) -> None:
        file = data / "test-00000-of-00001.parquet"
        for column in (pa.array([[1, 2]] * 4), pa.array(["a.png"] * 4), pa.array([{"path": "a.png"}] * 4)):
            pq.write_table(pa.table({"image": column, "label": [0, 1, 2, 3]}), file)
            message = message_of(tmp_path)
            assert message.startswith(f"{file}: image is {str(column.type)[:4]}")
            assert message.endswith(", expected encoded images: bytes, or a struct with `bytes`")

    def test_an_image_without_bytes_or_damaged_is_named_by_its_row(self, tmp_path: Path, data: Path) -> None:
        file = data / "test-00000-of-00001.parquet"
        images: list[bytes | None] = [encoded(picture) for picture, _ in zip(pictures(9), range(8), strict=False)]
        for content, says in (
            (None, "image holds no bytes but the path 6.png; write the images themselves"),
            (b"", "image holds no bytes"),
            (b"no picture", "not a PNG, JPEG, WEBP"),
            (images[0][:90], "not a readable image"),
        ):
            write_parquet(file, [i % 4 for i in range(8)], images=[*images[:6], content, images[7]])
            assert f"{file}: row 6: {says}" in message_of(tmp_path)

    @pytest.mark.parametrize("keep", [0.0, 0.5, 0.99])
    def test_a_truncated_file_is_named(self, tmp_path: Path, data: Path, keep: float) -> None:
        file = data / "test-00000-of-00001.parquet"
        content = file.read_bytes()
        file.write_bytes(content[: int(keep * len(content))])
        assert f"{file}: not a readable parquet file, truncated or damaged" in message_of(tmp_path)

    def test_labels_that_are_missing_or_of_one_part_alone_are_told(self, tmp_path: Path, data: Path) -> None:
        file = data / "test-00000-of-00001.parquet"
        write_parquet(file, pa.array([0, 1, None, 3]))
        assert f"{file}: row 2 has label None: its label is withheld or missing" in message_of(tmp_path)
        write_parquet(file, [0, 1, 2, 4])
        assert "train and test must have the same classes; `3` is in train only" in message_of(tmp_path)
        write_parquet(file, ["0", "1", "2", "3"])
        assert "label holds numbers in one file and text in another" in message_of(tmp_path)

    @pytest.mark.parametrize("column", ["image", "label"])
    def test_a_column_that_stands_twice_is_told(self, tmp_path: Path, data: Path, column: str) -> None:
        file = data / "train-00000-of-00001.parquet"
        table = pq.read_table(file, partitioning=None)
        pq.write_table(table.append_column(column, table[column]), file)
        assert f"{file}: has two columns {column}; leave one of them" in message_of(tmp_path)

    def test_too_few_classes_are_told(self, tmp_path: Path) -> None:
        write_parquet_set(tmp_path / "t", 1)
        assert "task t has 1 classes, expected at least 2" in message_of(tmp_path)

    def test_folders_without_the_files_are_described(self, tmp_path: Path, data: Path) -> None:
        assert "u: does not exist" in message_of(tmp_path, "u")
        (tmp_path / "u").mkdir()
        assert "u: is empty; no parquet files; expected train-*.parquet" in message_of(tmp_path, "u")
        write_parquet(tmp_path / "u" / "cars.parquet", [0, 1])
        assert "cars.parquet: its name says no part; expected train-*.parquet" in message_of(tmp_path, "u")
        (data / "test-00000-of-00001.parquet").unlink()
        assert "data set t has no test or validation files, only train-00000-of-00001.parquet" in message_of(tmp_path)


def test_images_are_decoded_once(tmp_path: Path, data: Path) -> None:
    def decoded(**settings: object) -> int:
        done = [0]
        scenario(tmp_path, **settings).load(progress=lambda what, n, total: done.append(n))
        return done[-1]

    assert decoded(groups=2, tasks=1) == 16
    assert decoded(groups=2) == 16
    assert decoded(groups=2) == 0
    assert decoded() == 32
