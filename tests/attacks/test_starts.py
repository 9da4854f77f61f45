"""Starts are a pure function of who is attacked, the same to the bit on every machine."""

import dataclasses
import hashlib

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from attacks.base import AttackError
from attacks.noise import Noise
from attacks.parts.trajectory.lanes import starting_point
from attacks.pgd import PGD
from attacks.starts import Starts
from tests.attacks.attack_cases import EIGHT, SmallConv, batch

MASK = (1 << 64) - 1


def split_mix(value: int) -> int:
    """The finalizer of SplitMix64 in Python's unbounded integers."""
    value = ((value ^ (value >> 30)) * 0xBF58476D1CE4E5B9) & MASK
    value = ((value ^ (value >> 27)) * 0x94D049BB133111EB) & MASK
    return value ^ (value >> 31)


def obvious(seed: int, key: str, sample: int, restart: int, elements: int) -> list[float]:
    golden = 0x9E3779B97F4A7C15
    digest = hashlib.sha256(f"start {seed} {key} {restart}".encode()).digest()
    per_sample = split_mix((sample * golden + int.from_bytes(digest[:8], "little")) & MASK)
    bits = [split_mix((per_sample + (index + 1) * golden) & MASK) >> 40 for index in range(elements)]
    return [value / 2**23 - 1 for value in bits]


def test_golden_values():
    """Hard-coded: a change here changes every stored evaluation and must raise every attack's version."""
    values = Starts(0, "digits/0", torch.tensor([0, 1, 7])).uniform((3, 1, 1, 3))
    assert values.dtype == torch.float32
    assert values.flatten().tolist() == [
        -0.2123110294342041,
        0.9851289987564087,
        -0.2408907413482666,
        -0.11114621162414551,
        0.2618401050567627,
        -0.6606721878051758,
        0.6603543758392334,
        0.44591522216796875,
        -0.7483760118484497,
    ]
    assert Starts(3, "digits/0", torch.tensor([7])).uniform((1, 4), restart=2).flatten().tolist() == [
        -0.0022352933883666992,
        0.013807296752929688,
        -0.0010139942169189453,
        0.3278844356536865,
    ]


@given(
    seed=st.integers(0, 2**31),
    key=st.text(max_size=8),
    sample=st.integers(0, 2**31 - 1),
    restart=st.integers(0, 99),
    elements=st.integers(1, 7),
)
@settings(max_examples=50)
def test_it_is_the_published_hash(seed, key, sample, restart, elements):
    values = Starts(seed, key, torch.tensor([sample])).uniform((1, elements), restart)
    assert values[0].tolist() == obvious(seed, key, sample, restart, elements)


def test_it_is_uniform_and_uncorrelated():
    values = Starts(1, "k", torch.arange(2000)).uniform((2000, 3, 8, 8)).double().flatten(1).numpy()
    assert values.min() >= -1
    assert values.max() < 1
    counts, _ = np.histogram(values, bins=64, range=(-1, 1))
    expected = values.size / 64
    assert ((counts - expected) ** 2 / expected).sum() < 63 + 5 * np.sqrt(
        2 * 63
    )  # chi-squared, five standard deviations
    bound = 5 / np.sqrt(values.size)
    unit = values * np.sqrt(3)
    assert abs(unit.mean()) < bound
    assert abs((unit[:-1] * unit[1:]).mean()) < bound  # successive samples
    assert abs((unit[:, :-1] * unit[:, 1:]).mean()) < bound  # successive pixels


@pytest.mark.parametrize(
    ("other", "restart"),
    [
        (Starts(1, "a", torch.arange(50)), 0),
        (Starts(0, "b", torch.arange(50)), 0),
        (Starts(0, "a", torch.arange(50)), 1),
    ],
)
def test_seed_task_and_restart_each_give_unrelated_starts(other, restart):
    first = Starts(0, "a", torch.arange(50)).uniform((50, 200)).flatten()
    second = other.uniform((50, 200), restart).flatten()
    assert abs((first * second).mean().item() * 3) < 5 / 100


@given(st.permutations(range(10)), st.integers(1, 10))
@settings(max_examples=25)
def test_a_sample_starts_alike_in_every_batch_and_order(order, size):
    starts = Starts(4, "task", torch.arange(10) * 977)
    whole = starts.uniform((10, 1, 2, 3))
    index = torch.tensor(order)[:size]
    assert torch.equal(starts.select(index).uniform((size, 1, 2, 3)), whole[index])


@pytest.mark.parametrize("steps", [1, 3])
@pytest.mark.parametrize("step_size", ["eps/4", "eps"])
@pytest.mark.parametrize("loss", ["ce", "margin"])
def test_the_start_does_not_depend_on_steps_step_size_or_loss(steps, step_size, loss):
    images, labels, start = batch()
    noise = Noise(threat_model=EIGHT, restarts=1).run(SmallConv().eval(), images, labels, start)
    attack = PGD(threat_model=EIGHT, steps=steps, step_size=step_size, loss=loss)
    result = attack.run(SmallConv().eval(), images, labels, start, [0, steps])
    assert torch.equal(result.final[0].margin, noise.final[0].margin)


def test_restarts_start_elsewhere():
    images, _, start = batch()
    first, again, second = (starting_point(EIGHT, images, start, restart) for restart in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, second)


def test_a_start_is_the_image_plus_eps_times_the_noise_inside_the_box():
    images, _, start = batch()
    first = starting_point(EIGHT, images, start, 0)
    expected = (images.numpy() + np.float32(8 / 255) * start.uniform(images.shape).numpy()).clip(0, 1)
    assert np.array_equal(first.numpy(), expected)


def test_sample_ids_must_be_as_many_as_images():
    images, labels, start = batch()
    attack = PGD(threat_model=EIGHT, steps=1, step_size="eps")
    with pytest.raises(AttackError, match="2 sample ids were given for 12 images"):
        attack.run(SmallConv().eval(), images, labels, start.select(torch.tensor([0, 1])))


def test_l2_starts_are_the_same_everywhere():
    """Hard-coded: integers, and roots and quotients that round correctly."""
    values = Starts(0, "digits/0", torch.tensor([0, 7])).inside((2, 1, 1, 3))
    assert values.dtype == torch.float32
    assert values.flatten().tolist() == [
        -0.08782192319631577,
        -0.45366060733795166,
        0.26249656081199646,
        0.8361299633979797,
        -0.3723481595516205,
        -0.3213537633419037,
    ]


def test_l2_starts_have_uniform_radius_and_direction():
    values = Starts(1, "k", torch.arange(4000)).inside((4000, 1, 3, 4)).double().flatten(1)
    radius = values.norm(dim=1)
    assert radius.max() <= 1 + 1e-6
    counts, _ = np.histogram(radius.numpy(), bins=20, range=(0, 1))
    assert ((counts - 200) ** 2 / 200).sum() < 19 + 5 * np.sqrt(2 * 19)
    unit = values / radius[:, None]
    covariance = unit.T @ unit / len(unit)
    bound = 5 * np.sqrt(2 / 12**2 / 4000)
    assert (covariance - torch.eye(12, dtype=torch.float64) / 12).abs().max() < bound
    assert unit.mean(0).abs().max() < 5 / np.sqrt(12 * 4000)
    assert abs(torch.corrcoef(torch.stack([radius[:-1], radius[1:]]))[0, 1]) < 5 / np.sqrt(4000)


def test_fractions_are_uniform_and_purposes_unrelated():
    starts = Starts(0, "a", torch.arange(500))
    first, second = starts.fractions("one", 100), starts.fractions("two", 100)
    assert first.min() >= 0
    assert first.max() < 1
    assert abs(first.mean() - 0.5) < 5 * np.sqrt(1 / 12 / 50_000)
    assert abs(torch.corrcoef(torch.stack([first.flatten(), second.flatten()]))[0, 1]) < 5 / np.sqrt(50_000)
    assert torch.equal(starts.select(torch.tensor([7])).fractions("one", 100), first[7:8])


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")
@pytest.mark.cuda
def test_starts_are_the_same_on_a_gpu():
    _, _, start = batch()
    moved = dataclasses.replace(start, samples=start.samples.cuda())
    for draw in ("uniform", "inside"):
        assert torch.equal(getattr(start, draw)((12, 3, 8, 8)), getattr(moved, draw)((12, 3, 8, 8)).cpu())
