"""FAB-T against closed forms and scipy: steps to planes, inside the box, and back."""

from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from attacks.base import margins
from attacks.fab import FAB
from attacks.starts import Starts
from attacks.threat_model import ThreatModel
from tests.attacks.attack_cases import EIGHT
from tests.attacks.fab_cases import Says, Watching, both_norms, pixels
from tests.attacks.solvers import smallest_linf

# Closed forms.


class Linear(nn.Module):
    """Logits (0, w·x + b): the boundary is a plane."""

    def __init__(self, weight: torch.Tensor, bias: torch.Tensor) -> None:
        super().__init__()
        self.weight, self.bias = weight, bias

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return torch.stack([torch.zeros_like(images[:, 0, 0, 0]), images.flatten(1) @ self.weight + self.bias], 1)


def planes_apart(norm: str, seed: int) -> tuple[nn.Module, torch.Tensor, torch.Tensor]:
    """A linear classifier, one image well inside the box, float64, and how far the boundary is from it: below 0.1."""
    generator = torch.Generator().manual_seed(seed)
    image = 0.3 + 0.4 * torch.rand(1, 1, 4, 4, generator=generator, dtype=torch.float64)
    weight = torch.randn(16, generator=generator, dtype=torch.float64)
    size = weight.norm() if norm == "l2" else weight.abs().sum()
    distance = 0.02 + 0.05 * torch.rand((), generator=generator, dtype=torch.float64)
    return Linear(weight, -(image.flatten() @ weight) - distance * size), image, distance


def is_broken(classifier: nn.Module, images: torch.Tensor, eps: float, norm: str, **fields) -> torch.Tensor:
    """True for each image, of label 0, that is broken within eps: bool (N,)."""
    count = len(images)
    attack = FAB(threat_model=ThreatModel(Fraction(eps), norm), **fields)
    labels = torch.zeros(count, dtype=torch.int64)
    return attack.run(classifier, images, labels, Starts(0, "", torch.arange(count))).final[attack.steps].predicted != 0


@both_norms
@pytest.mark.parametrize("seed", range(5))
def test_on_a_linear_classifier_it_finds_the_smallest_change(norm, seed):
    classifier, image, distance = planes_apart(norm, seed)
    assert is_broken(classifier, image, float(distance) * 1.006, norm)
    assert not is_broken(classifier, image, float(distance) * 0.9999, norm)


def along_the_plane(steps: int, alpha_max: float, eta: float, beta: float) -> float:
    """The nearest misclassified point of the first `steps`, in units of the boundary's distance, worked out by hand.

    All points lie on the line from the image to the boundary: at `at`, the way to it is |1 − at|, the image's is 1.
    """
    at, nearest = 0.0, float("inf")
    for _ in range(steps):
        alpha = min(abs(1 - at) / (abs(1 - at) + 1), alpha_max)
        at = (1 - alpha) * (at + eta * (1 - at)) + alpha * eta
        if at > 1:
            nearest = min(nearest, at)
            at *= beta
    return nearest


@both_norms
@pytest.mark.parametrize("steps", [1, 2, 3, 6])
@pytest.mark.parametrize(
    ("alpha_max", "eta", "beta"), [("1/10", "1.05", "0.9"), ("1/50", "1.05", "0.9"), ("1/4", "1.2", "1/2"), (0, 2, 1)]
)
def test_overshoot_bias_and_backward_step_are_as_published(norm, steps, alpha_max, eta, beta):
    classifier, image, distance = planes_apart(norm, 7)
    fields = {"steps": steps, "alpha_max": alpha_max, "eta": eta, "beta": beta}
    nearest = along_the_plane(steps, float(Fraction(alpha_max)), float(Fraction(eta)), float(Fraction(beta)))
    assert is_broken(classifier, image, float(distance) * nearest * (1 + 1e-6), norm, **fields)
    assert not is_broken(classifier, image, float(distance) * nearest * (1 - 1e-6), norm, **fields)


def test_where_the_box_is_in_the_way_it_finds_the_smallest_change_too():
    generator = torch.Generator().manual_seed(3)
    for _ in range(5):
        image = (torch.rand(1, 1, 3, 3, generator=generator, dtype=torch.float64) * 1.6 - 0.3).clamp(0, 1)
        weight = torch.randn(9, generator=generator, dtype=torch.float64)
        room = torch.where(weight > 0, 1 - image.flatten(), image.flatten())
        gap = 0.8 * float(weight.abs() @ room)
        distance = smallest_linf(image.flatten().numpy(), weight.numpy(), gap)
        assert distance > gap / float(weight.abs().sum()) * 1.001, "the box is in the way"
        classifier = Linear(weight, -(image.flatten() @ weight) - gap)
        assert is_broken(classifier, image, distance * 1.02, "linf")
        assert not is_broken(classifier, image, distance * 0.9999, "linf")


def test_any_other_class_counts_not_only_the_target():
    # Class 1 is the likeliest other one and reached at p = 0.2; class 2 is ahead of everything from 0.1 on.
    inner = Says(lambda p: (0 * p, 5 * p - 1, 20 * p - 2))
    start = Starts(0, "", torch.arange(1))
    found = FAB(threat_model=ThreatModel("0.3"), targets=1, steps=1).run(inner, pixels(0.0), torch.tensor([0]), start)
    assert found.final[1].predicted.tolist() == [2]
    watching = Watching(inner)
    FAB(threat_model=ThreatModel("0.05"), targets=1, steps=2).run(watching, pixels(0.0), torch.tensor([0]), start)
    assert torch.cat(watching.points).flatten().tolist() == pytest.approx([0, 0.2 * 1.05 * 0.9]), (
        "it is stepped back from"
    )


def test_a_point_beyond_eps_is_stepped_back_from_and_not_recorded():
    # Misclassified from p = 0.5 on, and only overshooting to 0.525 is within reach of the first step.
    classifier = Says(lambda p: (0 * p, 2 * p - 1))
    for eps, broken in (("0.51", [False, True]), ("0.53", [True, True])):
        for steps, expected in zip((1, 4), broken, strict=True):
            result = FAB(threat_model=ThreatModel(eps), steps=steps).run(
                classifier, pixels(0.0), torch.tensor([0]), Starts(0, "", torch.arange(1))
            )
            assert (result.final[steps].predicted.tolist() == [1]) is expected
            assert float(result.worst) <= float(Fraction(eps))


def test_where_gradients_are_zero_nothing_moves_and_the_trace_says_so():
    flat = Says(lambda p: (0 * p, 0 * p - 1))
    attack = FAB(threat_model=EIGHT, steps=3)
    images = pixels(0.25, 0.5)
    result = attack.run(flat, images, torch.tensor([0, 0]), Starts(0, "", torch.arange(2)))
    assert torch.equal(result.worst, images)
    assert result.trace.loss == [-1.0] * 4
    assert result.trace.zero_gradients == [1.0] * 3
    assert result.trace.non_finite == [0.0] * 3


@both_norms
def test_gradients_that_are_not_finite_move_nothing_and_the_trace_says_so(norm):
    # The root of what is negative has no gradient, though nobody looks at it.
    torn = Says(lambda p: (0 * p, torch.where(p > 2, (p - 2).sqrt(), p) - 0.6))
    attack = FAB(threat_model=ThreatModel("8/255", norm), steps=2)
    result = attack.run(torn, pixels(0.5), torch.tensor([0]), Starts(0, "", torch.arange(1)))
    assert torch.equal(result.worst, pixels(0.5))
    assert result.trace.non_finite == [1.0] * 2


# Ball and box.


class Curved(nn.Module):
    """Smooth, for images of any shape."""

    def __init__(self, shape: tuple[int, ...], classes: int, seed: int, dtype: torch.dtype) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        count = int(np.prod(shape))
        self.first = torch.randn(count, 8, generator=generator).to(dtype) * 2
        self.second = torch.randn(8, classes, generator=generator).to(dtype)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return ((images - 0.5).flatten(1) @ self.first).sin() @ self.second


@both_norms
@given(
    shape=st.tuples(*[st.integers(1, 4)] * 3),
    classes=st.integers(2, 4),
    eps=st.sampled_from(["0", "1/255", "8/255", "0.3", "1"]),
    dtype=st.sampled_from([torch.float32, torch.float64]),
    restarts=st.integers(1, 2),
    seed=st.integers(0, 1000),
)
@settings(max_examples=60)
def test_what_is_found_is_in_the_ball_and_the_box_and_what_the_classifier_says(
    norm, shape, classes, eps, dtype, restarts, seed
):
    generator = torch.Generator().manual_seed(seed)
    images = (torch.rand(5, *shape, generator=generator) * 1.4 - 0.2).clamp(0, 1).to(dtype)
    classifier = Curved(shape, classes, seed, dtype)
    labels = classifier(images).argmax(1)
    model = ThreatModel(eps, norm)
    attack = FAB(threat_model=model, steps=6, restarts=restarts)
    result = attack.run(classifier, images, labels, Starts(seed, "", torch.arange(5)))
    assert result.worst.dtype == dtype
    assert result.worst.min() >= 0
    assert result.worst.max() <= 1
    assert (model.largest_change(result.worst, images) <= float(model.eps)).all()
    torch.testing.assert_close(result.final[6].margin, margins(classifier(result.worst), labels))
    broken = result.final[6].predicted != labels
    assert (result.final[6].margin[broken] <= 0).all()
    if model.eps == 0:
        assert torch.equal(result.worst, images)
        assert result.gradient_evaluations == 0
