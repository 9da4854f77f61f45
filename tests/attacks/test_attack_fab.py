"""FAB-T is the published algorithm: against torchattacks, closed forms and scipy, in what it costs and what it leaves alone."""


import numpy as np
import pytest
import torch
import torchattacks
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linprog, minimize
from sklearn.datasets import load_digits
from torch import nn

from attacks.fab import FAB
from attacks.projections import level, to_hyperplane
from attacks.starts import Starts
from attacks.threat_model import ThreatModel
from tests.attacks.attack_cases import batch, small_conv

both_norms = pytest.mark.parametrize("norm", ["linf", "l2"])


# The projection.


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


def furthest(point: np.ndarray, normal: np.ndarray, gap: float) -> np.ndarray:
    """The change inside the box that leads as far towards the plane as the box allows."""
    towards = normal * (1 if gap >= 0 else -1)
    return np.where(towards > 0, 1 - point, np.where(towards < 0, -point, 0))


def smallest_linf(point: np.ndarray, normal: np.ndarray, gap: float) -> float:
    """By linear programming over (d, t): the least t with −t ≤ d ≤ t, normal·d = gap, 0 ≤ point + d ≤ 1."""
    count = len(point)
    eye, ones = np.eye(count), np.ones((count, 1))
    found = linprog(
        np.append(np.zeros(count), 1.0),
        A_ub=np.block([[eye, -ones], [-eye, -ones]]),
        b_ub=np.zeros(2 * count),
        A_eq=np.append(normal, 0.0)[None],
        b_eq=[gap],
        bounds=[*((-p, 1 - p) for p in point), (0, None)],
    )
    assert found.success
    return found.fun


def smallest_l2(point: np.ndarray, normal: np.ndarray, gap: float) -> float:
    """By sequential quadratic programming."""
    far = furthest(point, normal, gap)
    found = minimize(
        lambda d: d @ d,
        far * (gap / (normal @ far)),
        jac=lambda d: 2 * d,
        bounds=[(-p, 1 - p) for p in point],
        constraints={"type": "eq", "fun": lambda d: normal @ d - gap, "jac": lambda d: normal},
        method="SLSQP",
        options={"ftol": 1e-14, "maxiter": 500},
    )
    assert found.success
    return float(np.sqrt(found.fun))


def project(point: np.ndarray, normal: np.ndarray, gap: float, norm: str) -> np.ndarray:
    tensors = (torch.tensor(value, dtype=torch.float64)[None] for value in (point, normal, gap))
    return to_hyperplane(*tensors, norm)[0].numpy()


@both_norms
@given(case=planes())
@settings(max_examples=150, deadline=None)
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


# Against the published attack.


def digits(classes: int) -> tuple[torch.Tensor, torch.Tensor]:
    data = load_digits(n_class=classes)
    return torch.tensor(data.images, dtype=torch.float32)[:, None] / 16, torch.tensor(data.target)


def trained(classes: int, seed: int) -> nn.Module:
    """A small network with kinks, trained for a moment on noisy digits."""
    generator = torch.Generator().manual_seed(seed)
    classifier = nn.Sequential(
        nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(128, classes)
    )
    with torch.no_grad():
        for parameter in classifier.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.1)
    optimizer = torch.optim.Adam(classifier.parameters(), 0.01)
    images, labels = digits(classes)
    for _ in range(80):
        index = torch.randint(len(images), (64,), generator=generator)
        noise = torch.rand(64, 1, 8, 8, generator=generator) * 0.4 - 0.2
        optimizer.zero_grad()
        nn.functional.cross_entropy(classifier(images[index] + noise), labels[index]).backward()
        optimizer.step()
    return classifier.eval()


def case_of(kind: str, classes: int, seed: int) -> tuple[nn.Module, torch.Tensor, torch.Tensor]:
    """A classifier with images and labels of which it gets nearly all right."""
    if kind == "digits":
        images, labels = digits(classes)
        index = torch.randperm(len(images), generator=torch.Generator().manual_seed(seed + 50))[:30]
        return trained(classes, seed), images[index], labels[index]
    classifier = small_conv(classes, seed=seed)
    images, labels, _ = batch(30, classes, seed=seed)
    labels[3:] = classifier(images[3:]).argmax(1)
    return classifier, images, labels


EPS = {("digits", "linf"): "0.2", ("digits", "l2"): "0.9", ("conv", "linf"): "0.15", ("conv", "l2"): "0.6"}
"""Where about half of the images are broken."""


def broken_by_torchattacks(classifier, images, labels, model: ThreatModel, classes: int, **fields) -> torch.Tensor:
    norm = {"linf": "Linf", "l2": "L2"}[model.norm]
    other = torchattacks.FAB(
        classifier, norm, float(model.eps), multi_targeted=True, n_classes=classes, **fields
    )
    adversarial = other(images, labels)
    change = model.largest_change(adversarial, images)
    return (classifier(adversarial).argmax(1) != labels) & (change <= float(model.eps))


@both_norms
@pytest.mark.parametrize("kind", ["digits", "conv"])
@pytest.mark.parametrize("classes", [2, 3, 4, 5])
def test_it_breaks_what_torchattacks_breaks(kind, norm, classes):
    model = ThreatModel(EPS[kind, norm], norm)
    ours, theirs = [], []
    for seed in range(3):
        classifier, images, labels = case_of(kind, classes, seed)
        result = FAB(threat_model=model, steps=20).run(classifier, images, labels, Starts(seed, "", torch.arange(30)))
        ours.append(result.final[20].predicted != labels)
        theirs.append(broken_by_torchattacks(classifier, images, labels, model, classes, steps=20))
    ours, theirs = torch.cat(ours), torch.cat(theirs)
    assert 0.1 < ours.float().mean() < 0.95
    # Without a random number in it, the attack is the same one: what may differ is a point on the very edge.
    assert (ours != theirs).sum() <= 1
