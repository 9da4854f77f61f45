"""Data sets of photographs, one task each."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

import pytest

from scenarios.base import DataError, SourceOptions
from scenarios.fine_grained import DataSet, FineGrained
from scenarios.image_folder import ImageFolder
from scenarios.parts.images.formats import AUTO, FORMATS
from tests.scenarios.pictures import write_parquet_set, write_tree


def make(root: Path, *data_sets: object, **settings: object) -> FineGrained:
    given = {"data_sets": list(data_sets), "image_size": 8, **settings}
    return FineGrained(FineGrained.Settings(**given), SourceOptions(root))


def message_of(scenario: FineGrained) -> str:
    with pytest.raises(DataError) as error:
        scenario.load()
    assert "\n" not in str(error.value)
    return str(error.value)


def test_each_data_set_is_a_task_with_classes_of_its_own_whatever_its_layout(tmp_path: Path) -> None:
    write_tree(tmp_path / "birds", test="val", classes=[f"b{i}" for i in range(9)])
    write_parquet_set(tmp_path / "cars", 3)
    scenario = make(tmp_path, {"folder": "cars", "name": "Cars"}, "birds")
    assert scenario.stream().class_counts == (3, 9)
    cars, birds = scenario.load()
    assert (cars.name, birds.name) == ("Cars", "birds")
    assert cars.classes == ("0", "1", "2")
    for task in (cars, birds):
        assert task.train.images.shape[1:] == scenario.training_shape == (3, 9, 9)  # 8 · 8/7, rounded
        assert task.validation.images.shape[1:] == task.test.images.shape[1:] == scenario.image_shape == (3, 8, 8)


def test_sizes_are_those_of_torchvision_if_only_one_is_given() -> None:
    def side(**settings: object) -> int:
        return FineGrained.Settings(data_sets=["a"], **settings).side_to_learn

    assert (side(), side(image_size=64), side(image_size=64, train_size=64)) == (256, 73, 64)


def test_images_of_one_size_are_those_of_a_folder_scenario(picture_folders: Path) -> None:
    mine = make(picture_folders, "birds", train_size=8).load()[0]
    theirs = ImageFolder(ImageFolder.Settings(folders=["birds"], image_size=8), SourceOptions(picture_folders)).load()[
        0
    ]
    assert mine.fingerprint == theirs.fingerprint


def test_a_test_image_is_the_middle_of_its_resized_square(tmp_path: Path) -> None:
    write_tree(tmp_path / "t")
    large = make(tmp_path, "t", train_size=12).load()[0]
    square = make(tmp_path, "t", image_size=12, train_size=12).load()[0]
    expected = {image[:, 2:10, 2:10].numpy().tobytes() for image in square.test.images}
    assert {image.numpy().tobytes() for image in large.test.images} == expected


def test_where_data_lies_is_no_identity_and_the_default_size_is_that_size_given() -> None:
    def identity(**settings: object) -> dict[str, object]:
        return FineGrained.identity_settings(FineGrained.Settings(**{"data_sets": ["a"], **settings}))

    assert identity() == identity(data_sets=[{"folder": "b", "name": "c"}]) == identity(train_size=256)
    assert identity() != identity(train_size=224)
    assert identity() != identity(crop_to_box=True)


def test_decoded_images_are_kept_by_both_sizes(tmp_path: Path) -> None:
    write_tree(tmp_path / "t")

    def decoded(**settings: object) -> int:
        done = [0]
        make(tmp_path, "t", **settings).load(progress=lambda what, n, total: done.append(n))
        return done[-1]

    assert [decoded(), decoded(), decoded(train_size=10), decoded(), decoded(image_size=7, train_size=9)] == [
        12,
        0,
        12,
        0,
        12,
    ]


def test_the_layouts_of_the_settings_are_those_that_there_are() -> None:
    assert set(get_args(DataSet.model_fields["format"].annotation)) == {AUTO, *FORMATS}


def test_a_folder_of_no_layout_of_two_or_of_several_data_sets_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "odd").mkdir()
    (tmp_path / "odd" / "pictures.zip").touch()
    found = message_of(make(tmp_path, "odd"))
    assert "odd: holds pictures.zip; expected one of: " in found
    assert all(f"{name}: {each.holds}" in found for name, each in FORMATS.items())
    write_tree(tmp_path / "both")
    write_parquet_set(tmp_path / "both", 3)
    assert "both: could be read as tree or as parquet; say which" in message_of(make(tmp_path, "both"))
    assert make(tmp_path, {"folder": "both", "format": "parquet"}).stream().class_counts == (3,)
    write_parquet_set(tmp_path / "several" / "one")
    write_parquet_set(tmp_path / "several" / "two")
    assert "holds several data sets (one, two)" in message_of(make(tmp_path, "several"))
    assert f"{tmp_path / 'none'}: does not exist" in message_of(make(tmp_path, "none"))


def test_cropping_to_boxes_is_refused_where_there_are_none(tmp_path: Path) -> None:
    write_tree(tmp_path / "t")
    assert "task t: the layout tree has no boxes to crop to" in message_of(make(tmp_path, "t", crop_to_box=True))


@pytest.mark.parametrize(
    ("settings", "wrong"),
    [
        ({"data_sets": []}, "data_sets"),
        ({"data_sets": "cars"}, "data_sets"),
        ({"data_sets": ["x/cars", "y/cars"]}, "two data sets are named `cars`"),
        ({"data_sets": ["."]}, "has no name that a task could take"),
        ({"data_sets": [{"folder": "a", "format": "zip"}]}, "format"),
        ({"data_sets": [{"folder": "a", "columns": 3}]}, "columns"),
        ({"train_size": 100, "image_size": 128}, "train_size = 100 is smaller than image_size = 128"),
    ],
)
def test_bad_settings_are_refused(settings: dict[str, object], wrong: str) -> None:
    with pytest.raises(ValueError, match=wrong):
        FineGrained.Settings(**{"data_sets": ["a"], **settings})
