"""Augmentation against a slow and obvious reference."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from scenarios.parts import augmentation
from scenarios.parts.augmentation import by_name, to_float

NAMES = ("none", "crop_flip", "shift")


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def random_images(n: int, channels: int, height: int, width: int) -> torch.Tensor:
    return torch.randint(0, 256, (n, channels, height, width), generator=generator(7), dtype=torch.uint8)


@settings(deadline=None, max_examples=60)
@given(
    st.integers(0, 5), st.integers(1, 3), st.integers(1, 9), st.integers(1, 9), st.integers(0, 4), st.integers(0, 2**20)
)
def test_shifted_is_pad_then_crop_then_mirror(n: int, c: int, h: int, w: int, padding: int, seed: int) -> None:
    images = random_images(n, c, h, w)
    offsets = torch.randint(0, 2 * padding + 1, (2, n), generator=generator(seed))
    flips = torch.rand(n, generator=generator(seed)) < 0.5
    got = augmentation._shifted(images, offsets, padding, flips)
    for i in range(n):
        padded = np.pad(images[i].numpy(), ((0, 0), (padding, padding), (padding, padding)))
        top, left = offsets[:, i].tolist()
        crop = padded[:, top : top + h, left : left + w]
        assert np.array_equal(got[i].numpy(), crop[:, :, ::-1] if flips[i] else crop)


@pytest.mark.parametrize(("name", "padding", "mirrors"), [("crop_flip", 4, True), ("shift", 1, False)])
def test_every_result_is_a_crop_of_the_padded_image_and_every_crop_occurs(
    name: str, padding: int, mirrors: bool
) -> None:
    image = random_images(1, 3, 8, 8)
    padded = np.pad(image[0].numpy(), ((0, 0), (padding, padding), (padding, padding)))
    crops = {
        (top, left, mirror): padded[:, top : top + 8, left : left + 8][:, :, :: -1 if mirror else 1].tobytes()
        for top in range(2 * padding + 1)
        for left in range(2 * padding + 1)
        for mirror in ((False, True) if mirrors else (False,))
    }
    n = 60 * len(crops)
    out = (by_name(name)(image.expand(n, -1, -1, -1), generator()) * 255).round().to(torch.uint8)
    counts = dict.fromkeys(crops.values(), 0)
    for result in out:
        counts[result.numpy().tobytes()] += 1  # a KeyError: not a crop
    # 60 expected of each: below 20 or above 120 has a chance under 1e-8 if all are equally likely.
    assert min(counts.values()) > 20
    assert max(counts.values()) < 120


@pytest.mark.parametrize("name", NAMES)
def test_results_are_float_in_the_unit_interval_of_the_same_shape_and_inputs_stay(name: str) -> None:
    images = random_images(5, 3, 8, 10)
    before = images.clone()
    out = by_name(name)(images, generator())
    assert out.dtype == torch.float32
    assert out.shape == images.shape
    assert 0 <= out.min() <= out.max() <= 1
    assert torch.equal(images, before)


@pytest.mark.parametrize("name", ["crop_flip", "shift"])
def test_all_randomness_comes_from_the_generator(name: str) -> None:
    images = random_images(32, 1, 8, 8)
    torch.manual_seed(0)
    a = by_name(name)(images, generator(5))
    torch.manual_seed(1)
    assert torch.equal(a, by_name(name)(images, generator(5)))
    assert not torch.equal(a, by_name(name)(images, generator(6)))


def test_to_float_is_the_correctly_rounded_quotient_for_all_values() -> None:
    values = torch.arange(256, dtype=torch.uint8).view(1, 1, 16, 16)
    expected = np.arange(256, dtype=np.float32) / np.float32(255)
    assert np.array_equal(to_float(values).numpy().ravel(), expected)
    assert torch.equal(by_name("none")(values, generator()), to_float(values))


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
            by_name(name)(images, randomness)
    finally:
        torch.cuda.set_sync_debug_mode("default")


def test_an_unknown_name_lists_the_valid_ones() -> None:
    with pytest.raises(ValueError, match="`mixup` does not exist; valid: crop_flip, none, shift"):
        by_name("mixup")
