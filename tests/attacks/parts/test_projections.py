"""The projection onto a hyperplane inside the box: against linear and quadratic programming, and torchattacks'."""

import numpy as np
import pytest
import torch
import torchattacks
from hypothesis import given, settings
from hypothesis import strategies as st

from attacks.parts import looks, projections
from attacks.parts.projections import level, to_hyperplane
from tests.attacks.solvers import furthest, smallest_l2, smallest_linf

both_norms = pytest.mark.parametrize("norm", ["linf", "l2"])


def numbers(low: float, high: float) -> st.SearchStrategy[float]:
    """Multiples of 1/64: ends of the box, zeros and ties are common, and nothing is so small that a solver rounds it away."""
    return st.integers(round(low * 64), round(high * 64)).map(lambda value: value / 64)


@st.composite
def planes(draw):
    """A point of the box, a normal and a gap, of 1 to 6 pixels; gaps beyond what the box allows among them."""
    count = draw(st.integers(1, 6))
    point = draw(st.lists(numbers(0, 1), min_size=count, max_size=count))
    normal = draw(st.lists(numbers(-3, 3), min_size=count, max_size=count))
    return np.array(point), np.array(normal), draw(numbers(-4, 4))


def project(point: np.ndarray, normal: np.ndarray, gap: float, norm: str) -> np.ndarray:
    tensors = (torch.tensor(value, dtype=torch.float64)[None] for value in (point, normal, gap))
    return to_hyperplane(*tensors, norm)[0].numpy()


@both_norms
@given(case=planes())
@settings(max_examples=150)
def test_the_projection_is_the_smallest_change_onto_the_plane_inside_the_box(norm, case):
    point, normal, gap = case
    change, far = project(*case, norm), furthest(*case)
    assert (point + change >= 0).all()
    assert (point + change <= 1).all()
    assert (change[normal == 0] == 0).all()
    if abs(normal @ far) <= abs(gap) + 1e-9:
        np.testing.assert_allclose(change, far, rtol=0, atol=1e-9)
        return
    assert normal @ change == pytest.approx(gap, abs=1e-9)
    if gap == 0:
        assert (change == 0).all()
    elif norm == "linf":
        assert np.abs(change).max() == pytest.approx(smallest_linf(*case), abs=1e-7)
    else:
        assert np.linalg.norm(change) == pytest.approx(smallest_l2(*case), abs=1e-5)


@both_norms
def test_many_projections_at_once_are_those_of_each_alone_and_of_torchattacks(norm):
    generator = torch.Generator().manual_seed(0)
    points = torch.rand(2, 40, 300, generator=generator, dtype=torch.float64)
    normal = torch.randn(40, 300, generator=generator, dtype=torch.float64) ** 3
    gap = torch.randn(2, 40, generator=generator, dtype=torch.float64) * 50
    changes = to_hyperplane(points, normal, gap, norm)
    for index in range(40):
        alone = to_hyperplane(points[0, index : index + 1], normal[index : index + 1], gap[0, index : index + 1], norm)
        assert torch.equal(changes[0, index], alone[0])
    theirs = {"linf": torchattacks.attacks.fab.projection_linf, "l2": torchattacks.attacks.fab.projection_l2}[norm]
    # Theirs in float32, where they mark what is infinite by 1e12.
    flat, normals = points.flatten(0, 1).float(), normal.repeat(2, 1).float()
    expected = theirs(flat, normals, gap.flatten().float() + (normals * flat).sum(1))
    torch.testing.assert_close(changes.flatten(0, 1).float(), expected, rtol=0, atol=1e-4)


@both_norms
@pytest.mark.parametrize("scale", [1e-20, 1e-6, 1e6, 1e15])
def test_the_projection_does_not_depend_on_the_scale_of_the_logits_even_in_float32(norm, scale):
    generator = torch.Generator().manual_seed(1)
    points, normal = torch.rand(8, 50, generator=generator), torch.randn(8, 50, generator=generator)
    gap = torch.randn(8, generator=generator)
    expected = to_hyperplane(points, normal, gap, norm)
    torch.testing.assert_close(to_hyperplane(points, normal * scale, gap * scale, norm), expected, rtol=1e-4, atol=1e-6)


def test_the_level_is_exact_when_every_pass_puts_one_entry_at_its_cap():
    caps = 4.0 ** -torch.arange(12, dtype=torch.float64)
    weights = caps**-1.5
    for total in (0.0, 1e-3, 1.0, 100.0, float((weights * caps).sum()) * (1 - 1e-12)):
        value = level(weights, caps, torch.tensor(total, dtype=torch.float64))
        assert float((weights * torch.minimum(caps, value)).sum()) == pytest.approx(total, rel=1e-9)


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_a_device_that_is_not_waited_for_finds_the_same_change(norm, monkeypatch):
    generator = torch.Generator().manual_seed(7)
    points, normal = (torch.rand(200, 48, generator=generator) for _ in range(2))
    normal = (normal - 0.5) ** 3
    gap = torch.randn(200, generator=generator) * normal.abs().sum(1) / 4
    waited = to_hyperplane(points, normal, gap, norm)
    monkeypatch.setattr(looks, "FREE", frozenset())
    assert torch.equal(to_hyperplane(points, normal, gap, norm), waited)
    monkeypatch.setattr(projections, "MOST_PASSES", 1)
    assert not torch.equal(to_hyperplane(points, normal, gap, norm), waited)
