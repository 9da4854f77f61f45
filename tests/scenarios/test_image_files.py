"""Image files of every kind: brought to pixels, or named in one line with their path."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from scenarios.base import DataError, SourceOptions
from scenarios.fine_grained import FineGrained
from scenarios.image_folder import ImageFolder
from tests.scenarios.pictures import write_tree

ORIENTATION = 0x0112


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """The folder of the only test pictures of class `a`, empty."""
    folder = write_tree(tmp_path / "t") / "test" / "a"
    for file in folder.iterdir():
        file.unlink()
    return folder


def load(place: Path) -> torch.Tensor:
    """The pixels of the first test picture: uint8 (3, 8, 8)."""
    settings = FineGrained.Settings(data_sets=["t"], image_size=8, train_size=8)
    (task,) = FineGrained(settings, SourceOptions(place.parents[2])).load()
    return task.test.images[0]


def message_of(place: Path) -> str:
    with pytest.raises(DataError) as error:
        load(place)
    assert "\n" not in str(error.value)
    return str(error.value)


def pixels(*shape: int, kind: type = np.uint8) -> np.ndarray:
    return np.random.default_rng(0).integers(0, np.iinfo(kind).max, shape, dtype=kind, endpoint=True)


def rgb(image: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(image.copy()).permute(2, 0, 1)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", [".png", ".webp", ".tif"])
def test_an_image_is_turned_as_its_exif_says(place: Path, orientation: int, suffix: str) -> None:
    upright = pixels(8, 8, 3)
    # The EXIF standard: where the first row and the first column of the stored image belong.
    stored = {
        1: upright,
        2: upright[:, ::-1],
        3: upright[::-1, ::-1],
        4: upright[::-1],
        5: upright.transpose(1, 0, 2),
        6: np.rot90(upright),
        7: upright[::-1, ::-1].transpose(1, 0, 2),
        8: np.rot90(upright, -1),
    }[orientation]
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    lossless = {"lossless": True} if suffix == ".webp" else {}
    Image.fromarray(np.ascontiguousarray(stored)).save(place / f"it{suffix}", exif=exif, **lossless)
    assert torch.equal(load(place), rgb(upright))


def test_other_scenarios_leave_an_image_as_it_is_stored_and_share_no_decoded_images(place: Path) -> None:
    stored, exif = pixels(8, 8, 3), Image.Exif()
    exif[ORIENTATION] = 3
    Image.fromarray(stored).save(place / "it.png", exif=exif)
    assert torch.equal(load(place), rgb(stored[::-1, ::-1]))
    settings = ImageFolder.Settings(folders=["t"], image_size=8)
    assert torch.equal(ImageFolder(settings, SourceOptions(place.parents[2])).load()[0].test.images[0], rgb(stored))


def test_exif_that_cannot_be_read_turns_nothing(place: Path) -> None:
    image = pixels(8, 8, 3)
    Image.fromarray(image).save(place / "it.png", exif=b"Exif\0\0MM\0*\0\0\0\xff")
    assert torch.equal(load(place), rgb(image))


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_a_grey_image_of_16_bits_is_brought_to_8(place: Path, suffix: str) -> None:
    image = pixels(8, 8, kind=np.uint16)
    image[0, :2] = 0, 2**16 - 1
    Image.fromarray(image).save(place / f"it{suffix}")
    assert torch.equal(load(place), torch.from_numpy((image >> 8).astype(np.uint8)).expand(3, 8, 8))


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGBA", "CMYK"])
def test_modes_of_8_bits_become_rgb(place: Path, mode: str) -> None:
    image = Image.fromarray(pixels(8, 8, 3)).convert(mode)
    image.save(place / ("it.tif" if mode == "CMYK" else "it.png"))
    assert torch.equal(load(place), rgb(np.asarray(image.convert("RGB"))))


def test_an_image_of_one_pixel_fills_the_square(place: Path) -> None:
    Image.fromarray(pixels(1, 1, 3)).save(place / "it.png")
    assert torch.equal(load(place), rgb(pixels(1, 1, 3)).expand(3, 8, 8))


def test_an_image_of_many_pixels_is_made_small(place: Path) -> None:
    Image.new("RGB", (3000, 4000), (10, 20, 30)).save(place / "it.png")
    assert load(place)[:, 4, 4].tolist() == [10, 20, 30]


def test_files_that_are_no_images_of_a_known_depth_are_named(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = place / "it.tif"
    Image.fromarray(pixels(8, 8, kind=np.int32)).save(file)
    assert f"{file}: an image of mode I; expected 8 or 16 bits per channel" in message_of(place)
    Image.fromarray(pixels(8, 8).astype(np.float32)).save(file)
    assert f"{file}: an image of mode F; expected 8 or 16 bits per channel" in message_of(place)
    file.unlink()
    file = place / "it.jpg"
    Image.fromarray(pixels(64, 64, 3)).save(file)
    file.write_bytes(file.read_bytes()[:-100])
    assert f"{file}: not a readable image" in message_of(place)
    file.write_bytes(b"nothing")
    assert f"{file}: not a PNG, JPEG" in message_of(place)
    Image.fromarray(pixels(64, 64, 3)).save(file)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    assert f"{file}: not a readable image (Image size (4096 pixels) exceeds limit" in message_of(place)
