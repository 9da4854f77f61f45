"""FAB-T is the published algorithm: against torchattacks, closed forms and scipy, in what it costs and what it leaves alone."""

import functools
from fractions import Fraction

import numpy as np
import pytest
import torch
import torchattacks
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.datasets import load_digits
from torch import nn

from attacks.base import AttackError, margins
from attacks.fab import FAB
from attacks.search import Search
from attacks.starts import Starts
from attacks.threat_model import ThreatModel
from attacks.victim import Victim
from tests.attacks.attack_cases import EIGHT, Counting, batch, small_conv
from tests.attacks.solvers import smallest_linf

both_norms = pytest.mark.parametrize("norm", ["linf", "l2"])


# Against the published attack.


def digits(classes: int) -> tuple[torch.Tensor, torch.Tensor]:
    data = load_digits(n_class=classes)
    return torch.tensor(data.images, dtype=torch.float32)[:, None] / 16, torch.tensor(data.target)


@functools.cache
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


EPS = {("digits", "linf"): "0.16", ("digits", "l2"): "0.9", ("conv", "linf"): "0.15", ("conv", "l2"): "0.6"}
"""Where about half of the images are broken."""


def broken_by_torchattacks(classifier, images, labels, model: ThreatModel, classes: int, **fields) -> torch.Tensor:
    norm = {"linf": "Linf", "l2": "L2"}[model.norm]
    other = torchattacks.FAB(classifier, norm, float(model.eps), multi_targeted=True, n_classes=classes, **fields)
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


class Watching(Counting):
    """Counts, and keeps how many images went through at each call and where the gradients were taken."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__(inner)
        self.sizes: list[int] = []
        self.points: list[torch.Tensor] = []

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        self.sizes.append(len(images))
        if images.requires_grad:
            self.points.append(images.detach().clone())
        return super().forward(images)


STURDY = ThreatModel("0.001/255")
"""Nothing is broken so near."""


@both_norms
@pytest.mark.parametrize("kind", ["digits", "conv"])
def test_it_goes_through_the_points_torchattacks_goes_through(kind, norm):
    classifier, images, labels = case_of(kind, 3, 5)
    index = (classifier(images).argmax(1) == labels).nonzero().squeeze(1)
    ours, theirs = Watching(classifier).eval(), Watching(classifier).eval()
    attack = FAB(threat_model=ThreatModel(STURDY.eps, norm), steps=6, targets=1)
    attack.run(ours, images[index], labels[index], Starts(0, "", index))
    broken_by_torchattacks(theirs, images[index], labels[index], attack.threat_model, 2, steps=6)
    ours, theirs = torch.stack(ours.points), torch.stack(theirs.points)
    assert ours.shape == theirs.shape == (6, len(index), 1, 8, 8)
    # Both round in float32, and where a point is on the edge, the step back is or is not taken.
    close = ((ours - theirs).flatten(2).abs().amax(2) < 1e-5).all(0)
    assert close.float().mean() > 0.9


@both_norms
def test_with_random_restarts_it_is_as_strong_as_torchattacks(norm):
    model = ThreatModel(EPS["digits", norm], norm)
    once, ours, theirs = [], [], []
    for seed in range(3):
        classifier, images, labels = case_of("digits", 3, seed)
        start = Starts(seed, "", torch.arange(30))
        for restarts, broken in ((1, once), (3, ours)):
            result = FAB(threat_model=model, steps=5, restarts=restarts).run(classifier, images, labels, start)
            broken.append(result.final[5].predicted != labels)
        theirs.append(broken_by_torchattacks(classifier, images, labels, model, 3, steps=5, n_restarts=3))
    once, ours, theirs = torch.cat(once), torch.cat(ours), torch.cat(theirs)
    assert (ours | ~once).all(), "what one run breaks stays broken"
    # Other random starts, the same images: few of 90 may differ.
    assert (ours != theirs).sum() <= 4


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
    """Whether each image, of label 0, is broken within eps."""
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


class Says(nn.Module):
    """Logits as a function of the first pixel p, (M,)."""

    def __init__(self, function) -> None:
        super().__init__()
        self.function = function

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return torch.stack([line.expand(len(images)) for line in self.function(images[:, 0, 0, 0])], 1)


def pixels(*values: float) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)[:, None, None, None]


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
@settings(max_examples=60, deadline=None)
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


# Cost.


@pytest.mark.parametrize(("classes", "targets", "restarts"), [(2, 9, 1), (4, 9, 1), (4, 2, 1), (3, 9, 3)])
def test_a_step_costs_one_gradient_and_two_forward_passes_per_image_and_target(classes, targets, restarts):
    images, labels, start = batch(6, classes)
    labels = small_conv(classes)(images).argmax(1)
    watching = Watching(small_conv(classes))
    attack = FAB(threat_model=STURDY, steps=4, targets=targets, restarts=restarts)
    result = attack.run(watching, images, labels, start)
    assert (result.final[4].predicted == labels).all()
    runs = min(targets, classes - 1) * restarts
    assert result.gradient_evaluations == 6 * 4 * runs
    assert result.forward_passes == sum(watching.sizes) == 6 + 2 * 6 * 4 * runs
    assert sum(map(len, watching.points)) == 6 * 4 * runs
    assert watching.gradients == len(watching.points)
    assert max(watching.sizes) == 6, "no more rows at once than there are images"
    assert attack.passes() == 3 * 4 * targets * restarts


def test_targets_after_the_first_share_a_batch():
    """Three images of twelve stand: towards the first of four targets in threes, towards the other three in nines."""
    images, labels, start = batch(12, 5)
    predicted = small_conv(5)(images).argmax(1)
    labels = torch.where(torch.arange(12) < 3, predicted, (predicted + 1) % 5)
    watching = Watching(small_conv(5))
    FAB(threat_model=STURDY, steps=2).run(watching, images, labels, start)
    assert watching.sizes == [12, *[3] * 4, *[9] * 4]


def test_broken_images_leave_at_once():
    # Boundaries at p = 0.1, 0.2 and 0.6, and one image that is wrong from the start.
    classifier = Watching(Says(lambda p: (0 * p, p - 0.6, 0 * p - 9)))
    images = pixels(0.5, 0.4, 0.0, 0.7)
    attack = FAB(threat_model=ThreatModel("0.202"), steps=3)
    result = attack.run(classifier, images, torch.zeros(4, dtype=torch.int64), Starts(0, "", torch.arange(4)))
    assert result.final[3].predicted.tolist() == [1, 1, 0, 1]
    # The first image falls at the first step (0.105), the second at the second (0.20104), the last stands and has another target.
    assert classifier.sizes == [4, 3, 3, 2, 2, 1, 1, *[1] * 6]
    assert len(result.trace.loss) == 4
    assert result.trace.loss[0] == pytest.approx((-0.1 - 0.2 - 0.6) / 3)
    assert len(result.trace.zero_gradients) == len(result.trace.non_finite) == 3


def test_nothing_is_run_when_everything_is_broken():
    images, _, start = batch()
    wrong = (small_conv()(images).argmax(1) + 1) % 3
    classifier = Counting(small_conv())
    result = FAB(threat_model=EIGHT).run(classifier, images, wrong, start)
    assert (classifier.forwards, classifier.gradients) == (1, 0)
    assert result.trace.loss == []


# Starts, targets, batches.


@both_norms
def test_the_first_run_starts_at_the_image_and_later_ones_half_an_eps_away(norm):
    images, labels, start = batch(4, 3, dtype=torch.float64)
    images = 0.4 + 0.2 * images
    labels = small_conv(3, dtype=torch.float64)(images).argmax(1)
    watching = Watching(small_conv(3, dtype=torch.float64))
    eps = 0.001 if norm == "linf" else 0.01
    FAB(threat_model=ThreatModel(Fraction(eps), norm), steps=1, restarts=3).run(watching, images, labels, start)
    points = torch.cat(watching.points).unflatten(0, (3 * 2, 4))  # restarts by targets
    assert torch.equal(points[0], images)
    assert torch.equal(points[1], images)
    changes = (points[2:] - images).flatten(2)
    sizes = changes.norm(dim=2) if norm == "l2" else changes.abs().amax(2)
    torch.testing.assert_close(sizes, torch.full_like(sizes, eps / 2))
    assert len(changes.flatten(0, 1).unique(dim=0)) == 4 * 4, "every restart, target and image has its own"
    # Uniform among the directions of l2: those of points that are uniform in a cube would crowd towards its corners.
    drawn = (start.inside if norm == "l2" else start.uniform)(images.shape, 2).flatten(1).double()
    torch.testing.assert_close(torch.cosine_similarity(drawn, changes[0]), torch.ones(4, dtype=torch.float64))


@both_norms
def test_random_starts_stay_in_the_box(norm):
    images, _, start = batch(4, 3)
    watching = Watching(small_conv(3))
    labels = small_conv(3)(images).argmax(1)
    FAB(threat_model=ThreatModel("0.001", norm), steps=1, restarts=2).run(watching, images, labels, start)
    points = torch.cat(watching.points)
    assert points.min() == 0
    assert points.max() == 1


def test_random_starts_belong_to_the_image_whoever_else_stands():
    images, labels, start = batch(6, 3)
    labels = small_conv(3)(images).argmax(1)
    labels[0] = (labels[0] + 1) % 3
    attack, points = FAB(threat_model=ThreatModel("1/255"), steps=1, restarts=2, targets=1), []
    for index in (torch.arange(6), torch.tensor([3])):
        watching = Watching(small_conv(3))
        attack.run(watching, images[index], labels[index], start.select(index))
        points.append(watching.points[-1])
    assert len(points[0]) == 5
    assert torch.equal(points[0][2], points[1][0])


@both_norms
def test_results_do_not_depend_on_the_batch_with_restarts_and_several_targets(norm):
    images, labels, start = batch(12, 5, dtype=torch.float64)
    classifier = small_conv(5, dtype=torch.float64)
    labels[2:] = classifier(images[2:]).argmax(1)
    attack = FAB(threat_model=ThreatModel(EPS["conv", norm], norm), steps=8, restarts=2)
    whole = attack.run(classifier, images, labels, start)
    assert 2 < (whole.final[8].predicted != labels).sum() < 12
    for index in torch.randperm(12, generator=torch.Generator().manual_seed(0)).split([1, 4, 7]):
        part = attack.run(classifier, images[index], labels[index], start.select(index))
        torch.testing.assert_close(part.worst, whole.worst[index], rtol=0, atol=1e-9)
        assert torch.equal(part.final[8].predicted, whole.final[8].predicted[index])


def test_more_targets_than_there_are_other_classes_are_all_of_them():
    images, labels, start = batch(classes=4)
    labels = small_conv(4)(images).argmax(1)
    model, results, points = ThreatModel("1/255"), [], []
    for targets in (3, 4, 99):
        watching = Watching(small_conv(4))
        attack = FAB(threat_model=model, steps=6, targets=targets, restarts=2)
        results.append(attack.run(watching, images, labels, start))
        points.append(torch.cat(watching.points))
    for result, theirs in zip(results[1:], points[1:], strict=True):
        assert torch.equal(theirs, points[0])
        assert torch.equal(result.worst, results[0].worst)
        assert result.trace == results[0].trace


def test_targets_are_the_likeliest_other_classes_in_order():
    """A trace follows the likeliest target; with `targets` fewer, the others are left alone."""
    images, labels, start = batch(5, 4)
    logits = small_conv(4)(images).detach()
    labels = logits.argmax(1)
    ordered = logits.sort(1, descending=True).values
    result = FAB(threat_model=STURDY, steps=1).run(small_conv(4), images, labels, start)
    assert result.trace.loss[0] == pytest.approx(float((ordered[:, 1] - ordered[:, 0]).mean()))
    # Class 1 is out of reach and likelier at p = 0.5, class 2 is 0.25 away.
    classifier = Says(lambda p: (0 * p, 0 * p - 0.4, 2 * p - 1.5))
    for targets, predicted in ((1, 0), (2, 2)):
        result = FAB(threat_model=ThreatModel("0.3"), targets=targets).run(
            classifier, pixels(0.5), torch.tensor([0]), Starts(0, "", torch.arange(1))
        )
        assert result.final[100].predicted.tolist() == [predicted]


def test_it_goes_on_with_what_others_left_and_shows_only_what_is_in_the_ball():
    images, labels, start = batch(12, 5)
    labels = small_conv(5)(images).argmax(1)
    model = ThreatModel(EPS["conv", "linf"])
    search = Search(model, Victim(small_conv(5), images, labels))
    see, shown = search.see, []

    def watch(points, logits, index):
        assert (model.largest_change(points, images[index]) <= float(model.eps)).all()
        shown.extend(index.tolist())
        see(points, logits, index)

    # The first two are broken already, by whatever ran before.
    search.outcome.predicted[:2] = (labels[:2] + 1) % 5
    search.see = watch  # type: ignore[method-assign]
    FAB(threat_model=model, steps=10).extend(search, start)
    assert shown
    assert not {0, 1} & set(shown)
    assert not search.worst.requires_grad


def test_an_image_broken_towards_two_targets_at_once_is_shown_twice_and_keeps_the_worse_point():
    # Class 1 is out of reach. Overshooting the boundaries with 2 and 3 leads to p = 0.525 and 0.5355.
    classifier = Says(lambda p: (0 * p, 0 * p - 0.1, 2 * p - 1, 2 * p - 1.02))
    search = Search(ThreatModel("0.6"), Victim(classifier, pixels(0.0), torch.tensor([0])))
    see, shown = search.see, []

    def watch(points, logits, index):
        shown.append(index.tolist())
        see(points, logits, index)

    search.see = watch  # type: ignore[method-assign]
    FAB(threat_model=ThreatModel("0.6"), steps=1).extend(search, Starts(0, "", torch.arange(1)))
    assert shown == [[0], [0]]
    assert float(search.worst) == pytest.approx(0.5355)


# Names and settings.


@pytest.mark.parametrize(
    ("fields", "name"),
    [
        ({}, "fab-100 linf 8/255"),
        ({"steps": 20, "restarts": 5, "targets": 3}, "fab-20 linf 8/255 r=5 targets=3"),
        ({"alpha_max": "0.2", "eta": "1.1", "beta": 1}, "fab-100 linf 8/255 alpha_max=1/5 eta=11/10 beta=1"),
        ({"alpha_max": 0.1, "eta": "1.05", "beta": "9/10"}, "fab-100 linf 8/255"),
    ],
)
def test_a_name_shows_what_differs_from_the_default(fields, name):
    assert FAB(threat_model=EIGHT, **fields).name == name


def test_the_specification_is_exact():
    assert FAB(threat_model=EIGHT, eta=1.05).specification() == {
        "attack": "fab", "version": 1, "norm": "linf", "eps": "8/255", "steps": 100, "restarts": 1, "targets": 9,
        "alpha_max": "1/10", "eta": "21/20", "beta": "9/10",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"steps": 0}, "steps = 0: expected a whole number of 1 or more"),
        ({"restarts": 1.5}, "restarts = 1.5"),
        ({"targets": 0}, "targets = 0"),
        ({"alpha_max": "1.1"}, "alpha_max = 11/10: expected a number from 0 to 1, such as 1/10"),
        ({"alpha_max": "-1/10"}, "alpha_max = -1/10"),
        ({"eta": "0.99"}, "eta = 99/100: expected a number of 1 or more, such as 21/20"),
        ({"beta": 2}, "beta = 2: expected a number from 0 to 1, such as 9/10"),
        ({"beta": "most"}, "beta: 'most' is not a number"),
        ({"eta": "2 eps"}, "eta: '2 eps' refers to eps"),
    ],
)
def test_wrong_settings_are_an_error_of_one_line(fields, message):
    with pytest.raises(AttackError, match=message) as caught:
        FAB(threat_model=EIGHT, **fields)
    assert "\n" not in str(caught.value)
