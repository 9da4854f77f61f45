"""Folders of pictures as tasks."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from scenarios.base import DataError, SourceOptions, Task
from scenarios.image_folder import ImageFolder


def make(root: Path | None, *folders: str, **settings: object) -> ImageFolder:
    return ImageFolder(ImageFolder.Settings(**{"folders": folders, "image_size": 8, **settings}), SourceOptions(root))


@pytest.fixture
def copy(tmp_path: Path, picture_folders: Path) -> Path:
    return Path(shutil.copytree(picture_folders, tmp_path / "pictures"))


def message_of(scenario: ImageFolder) -> str:
    with pytest.raises(DataError) as error:
        scenario.load()
    assert "\n" not in str(error.value)
    return str(error.value)


def test_tasks_are_the_folders_in_the_order_given_absolute_or_below_the_root(picture_folders: Path) -> None:
    scenario = make(picture_folders, "cars", str(picture_folders / "birds"))
    assert scenario.task_classes() == [("cars", ("bus", "van")), ("birds", ("crow", "finch", "owl"))]
    tasks = scenario.load()
    assert [(len(t.train), len(t.validation), len(t.test)) for t in tasks] == [(16, 4, 6), (24, 6, 9)]


def test_the_working_folders_data_is_searched_without_a_root(picture_folders: Path) -> None:
    shutil.copytree(picture_folders, "data")
    assert make(None, "cars").load()[0].name == "cars"


@pytest.mark.parametrize(("width", "height"), [(40, 20), (20, 40), (16, 16), (8, 8), (9, 31), (5, 6)])
def test_the_shorter_side_is_resized_and_the_centre_is_cut_out(tmp_path: Path, width: int, height: int) -> None:
    rng = np.random.default_rng(0)
    for part in ("train", "test"):
        for name in ("a", "b"):
            folder = tmp_path / "t" / part / name
            folder.mkdir(parents=True)
            for i in range(2):
                Image.fromarray(rng.integers(0, 256, (height, width, 3), dtype=np.uint8)).save(folder / f"{i}.png")
    got = make(tmp_path, "t").load()[0].test.images
    expected = set()
    for file in (tmp_path / "t" / "test").rglob("*.png"):
        pixels = torch.from_numpy(np.array(Image.open(file))).permute(2, 0, 1)[None].float()
        scale = 8 / min(width, height)
        size = (int(height * scale + 1e-9), int(width * scale + 1e-9))
        resized = torch.nn.functional.interpolate(pixels, size, mode="bilinear", antialias=True)[0]
        top, left = (size[0] - 8) // 2, (size[1] - 8) // 2
        expected.add(resized[:, top : top + 8, left : left + 8])
    for image in got:
        # Pillow rounds to bytes after each direction, so a value may differ by one or so.
        assert min((image - e).abs().max().item() for e in expected) <= 1.51


def test_grey_and_palette_pictures_become_rgb(copy: Path) -> None:
    grey = Image.fromarray(np.full((12, 12), 77, np.uint8))
    grey.save(copy / "cars" / "test" / "bus" / "0.png")
    task = make(copy, "cars").load()[0]
    assert any(bool((image == 77).all()) for image in task.test.images)


def test_decoded_pictures_are_kept_and_keyed_by_size(copy: Path) -> None:
    def decoded(**settings: object) -> tuple[int, Task]:
        done = [0]
        task = make(copy, "cars", **settings).load(progress=lambda what, n, total: done.append(n))[0]
        return done[-1], task

    first = decoded()
    assert first[0] == 26
    again = decoded()
    assert again[0] == 0
    assert again[1].fingerprint == first[1].fingerprint
    assert decoded(image_size=9)[0] == 26
    (copy / "cars" / "test" / "bus" / "0.png").write_bytes((copy / "cars" / "test" / "bus" / "1.jpg").read_bytes())
    changed = decoded()
    assert changed[0] == 26
    assert changed[1].fingerprint != first[1].fingerprint


def test_train_and_test_must_have_the_same_classes(copy: Path) -> None:
    shutil.rmtree(copy / "cars" / "test" / "van")
    assert "`van` is in train only" in message_of(make(copy, "cars"))


def test_an_empty_class_a_missing_folder_or_a_damaged_picture_is_named(copy: Path) -> None:
    assert f"{copy / 'boats'}: does not exist" in message_of(make(copy, "boats"))
    picture = copy / "cars" / "train" / "bus" / "1.jpg"
    picture.write_bytes(picture.read_bytes()[:-200])
    assert f"{picture}: not a readable image" in message_of(make(copy, "cars"))
    for file in (copy / "birds" / "test" / "owl").iterdir():
        file.unlink()
    assert f"{copy / 'birds' / 'test' / 'owl'}: is empty; expected" in message_of(make(copy, "birds"))
    shutil.rmtree(copy / "birds" / "train")
    assert "expected train and test" in message_of(make(copy, "birds"))


@pytest.mark.parametrize(
    "settings",
    [{"folders": []}, {"folders": ["a/x", "b/x"]}, {"folders": ["."]}, {"image_size": 0}, {"std": (0.0, 1.0, 1.0)}],
)
def test_bad_settings_are_refused(settings: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=next(iter(settings))):
        ImageFolder.Settings(**{"folders": ["a"], **settings})
