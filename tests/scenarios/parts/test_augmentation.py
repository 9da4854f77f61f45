"""Augmentation against a slow and obvious reference."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from scenarios.parts import augmentation
from scenarios.parts.augmentation import by_name, to_float

NAMES = ("none", "crop_flip", "shift", "resized_crop_flip", "gentle_resized_crop_flip")


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def random_images(n: int, channels: int, height: int, width: int) -> torch.Tensor:
    return torch.randint(0, 256, (n, channels, height, width), generator=generator(7), dtype=torch.uint8)


def as_bytes(images: torch.Tensor) -> torch.Tensor:
    return (images * 255).round().to(torch.uint8)


@settings(max_examples=60)
@given(
    st.integers(0, 5), st.integers(1, 3), st.integers(1, 9), st.integers(1, 9), st.integers(0, 4), st.integers(0, 2**20)
)
def test_a_window_is_cut_out_and_mirrored(n: int, c: int, h: int, w: int, room: int, seed: int) -> None:
    images = random_images(n, c, h + room, w + room)
    offsets = torch.randint(0, room + 1, (2, n), generator=generator(seed))
    flips = torch.rand(n, generator=generator(seed)) < 0.5
    got = augmentation._cut(images, offsets, (h, w), flips)
    for i in range(n):
        top, left = offsets[:, i].tolist()
        crop = images[i].numpy()[:, top : top + h, left : left + w]
        assert np.array_equal(got[i].numpy(), crop[:, :, ::-1] if flips[i] else crop)


@pytest.mark.parametrize(
    ("name", "side", "padding", "mirrors"),
    [("crop_flip", 8, 4, True), ("shift", 8, 1, False), ("crop_flip", 11, 0, True), ("shift", 12, 0, False)],
)
def test_every_result_is_a_window_and_every_window_occurs(name: str, side: int, padding: int, mirrors: bool) -> None:
    image = random_images(1, 3, side, side)
    # `shift` moves the centre of a larger image; `crop_flip` cuts anywhere from it, and pads an image that is no larger.
    seen = image[0, :, 2:10, 2:10] if (name, side) == ("shift", 12) else image[0]
    padding = 1 if name == "shift" else padding
    padded = np.pad(seen.numpy(), ((0, 0), (padding, padding), (padding, padding)))
    places = range(padded.shape[-1] - 8 + 1)
    crops = {
        (top, left, mirror): padded[:, top : top + 8, left : left + 8][:, :, :: -1 if mirror else 1].tobytes()
        for top in places
        for left in places
        for mirror in ((False, True) if mirrors else (False,))
    }
    n = 60 * len(crops)
    counts = dict.fromkeys(crops.values(), 0)
    for result in as_bytes(by_name(name)(image.expand(n, -1, -1, -1), generator(), (8, 8))):
        counts[result.numpy().tobytes()] += 1  # a KeyError: not a crop
    # 60 expected of each: below 20 or above 120 has a chance under 1e-8 if all are equally likely.
    assert min(counts.values()) > 20
    assert max(counts.values()) < 120


@pytest.mark.parametrize("name", ["crop_flip", "shift"])
def test_images_that_are_no_larger_are_cut_as_ever(name: str) -> None:
    """The augmentation that published runs were trained with, written out: its draws, their order, and its crops."""
    images, rng = random_images(64, 3, 8, 10), generator(3)
    flips = torch.rand(64, generator=rng) < 0.5 if name == "crop_flip" else torch.zeros(64, dtype=torch.bool)
    padding = 4 if name == "crop_flip" else 1
    offsets = torch.randint(0, 2 * padding + 1, (2, 64), generator=rng)
    padded = F.pad(images, (padding,) * 4)
    expected = torch.stack(
        [
            crop.flip(-1) if flip else crop
            for image, (top, left), flip in zip(padded, offsets.T.tolist(), flips, strict=True)
            for crop in [image[:, top : top + 8, left : left + 10]]
        ]
    )
    assert torch.equal(by_name(name)(images, generator(3), (8, 10)), to_float(expected))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("size", [(8, 10), (8, 8), (5, 7)])
def test_results_are_float_in_the_unit_interval_of_the_asked_size_and_inputs_stay(
    name: str, size: tuple[int, int]
) -> None:
    images = random_images(5, 3, 8, 10)
    images[0] = 255
    before = images.clone()
    out = by_name(name)(images, generator(), size)
    assert out.dtype == torch.float32
    assert out.shape == (5, 3, *size)
    assert 0 <= out.min() <= out.max() <= 1
    assert torch.equal(images, before)


@pytest.mark.parametrize("name", NAMES[1:])
def test_all_randomness_comes_from_the_generator(name: str) -> None:
    images = random_images(32, 1, 8, 8)
    torch.manual_seed(0)
    a = by_name(name)(images, generator(5), (8, 8))
    torch.manual_seed(1)
    assert torch.equal(a, by_name(name)(images, generator(5), (8, 8)))
    assert not torch.equal(a, by_name(name)(images, generator(6), (8, 8)))


def test_without_augmentation_the_centre_stays() -> None:
    images = random_images(3, 3, 9, 12)
    assert torch.equal(by_name("none")(images, generator(), (6, 8)), to_float(images[:, :, 1:7, 2:10]))


def test_to_float_is_the_correctly_rounded_quotient_for_all_values() -> None:
    values = torch.arange(256, dtype=torch.uint8).view(1, 1, 16, 16)
    expected = np.arange(256, dtype=np.float32) / np.float32(255)
    assert np.array_equal(to_float(values).numpy().ravel(), expected)
    assert torch.equal(by_name("none")(values, generator(), (16, 16)), to_float(values))


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA GPU")
def test_on_a_gpu_nothing_waits_and_values_are_those_of_the_cpu() -> None:
    values = torch.arange(256, dtype=torch.uint8).view(1, 1, 16, 16)
    assert torch.equal(to_float(values.cuda()).cpu(), to_float(values))
    images = random_images(16, 3, 32, 32).cuda()
    randomness = torch.Generator("cuda").manual_seed(0)
    torch.cuda.set_sync_debug_mode("error")
    try:
        for name in NAMES:
            for side in (32, 28):
                by_name(name)(images, randomness, (side, side))
    finally:
        torch.cuda.set_sync_debug_mode("default")


def test_an_unknown_name_lists_the_valid_ones() -> None:
    with pytest.raises(ValueError, match=f"`mixup` does not exist; valid: {', '.join(sorted(NAMES))}"):
        by_name("mixup")
