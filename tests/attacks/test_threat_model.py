"""Exact numbers, the ball and the box."""

import re
from fractions import Fraction

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from attacks.fgsm import FGSM
from attacks.noise import Noise
from attacks.pgd import PGD
from attacks.starts import Starts
from attacks.threat_model import BALL_TOLERANCE, Ball, ThreatModel, ThreatModelError, over_255, parse_fraction
from tests.attacks.attack_cases import small_conv
from tests.ending import ending

EPS = Fraction(8, 255)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("8/255", EPS),
        (" 8/255 ", EPS),
        ("8 / 255", EPS),
        ("12.75/255", Fraction(1, 20)),
        ("0.1", Fraction(1, 10)),
        (0.1, Fraction(1, 10)),
        (1, Fraction(1)),
        (0, Fraction(0)),
        (EPS, EPS),
        ("1e-2", Fraction(1, 100)),
        ("eps", EPS),
        ("eps/4", EPS / 4),
        ("eps / 4", EPS / 4),
        ("2 eps", 2 * EPS),
        ("2eps", 2 * EPS),
        ("0.5*eps", EPS / 2),
        ("5 eps/8", EPS * 5 / 8),
        ("1/4 eps", EPS / 4),
    ],
)
def test_numbers_are_read_exactly(text, value):
    assert parse_fraction(text, EPS) == value


@pytest.mark.parametrize(
    "text", ["", "eight", "8//255", "8/", "/255", "1/0", "eps/0", "eps+1", "nan", "inf", None, True]
)
def test_anything_else_is_an_error_of_one_line(text):
    with pytest.raises(ThreatModelError, match="is not a number such as 8/255") as caught:
        parse_fraction(text, EPS)
    assert "\n" not in str(caught.value)


UNUSUAL = {
    "an exponent of millions": ("1e99999999", "more than three digits"),
    "a negative one": ("1e-99999999", "more than three digits"),
    "underflows": ("1e-400", "'1e-400' is too small"),
    "the smallest float": (5e-324, "'5e-324' is too small"),
    "overflows": ("1e400/2", "too large"),
    "a huge divisor": ("1/1e400", "too small"),
    "many digits": ("1" * 5000, "'11111111111111111111'... has 5000 characters"),
    "a ratio of them": (f"{10**4000 + 1}/{10**4001}", "characters"),
    "a huge integer": (10**5000, "a number is too large"),
    "a tiny fraction": (Fraction(1, 10**5000), "a number is too small"),
    "a fraction of huge integers": (Fraction(10**5000 + 1, 3 * 10**5000), "more than 300 digits"),
    "a tiny part of eps": (f"eps/{10**40}", "too small"),
    "a huge multiple of eps": (f"{10**40} eps", "too large"),
    "a list": (["8/255"], "a list is not a number"),
    "keys": ({"eps": 1}, "a dict is not a number"),
}


@pytest.mark.parametrize("kind", UNUSUAL)
def test_a_number_of_any_size_is_refused_at_once_in_one_short_line(kind):
    value, message = UNUSUAL[kind]
    with ending(), pytest.raises(ThreatModelError, match=re.escape(message)) as caught:
        parse_fraction(value, EPS)
    assert len(str(caught.value)) < 250
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "value", ["1e-30", "1e30", Fraction(1, 10**30), f"eps/{10**30}", "1e0008", "1_000", 0.1, "0e999"]
)
def test_numbers_at_the_bounds_are_read(value):
    assert parse_fraction(value, EPS) >= 0


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_an_eps_that_float32_loses_beside_one_is_refused(norm):
    smallest = Fraction(1, 2**24)
    bright = torch.ones(1)
    assert bright - float(smallest) < bright
    assert ThreatModel(smallest, norm).eps == smallest
    assert ThreatModel(0, norm).eps == 0
    with pytest.raises(ThreatModelError, match=r"too small to change a pixel: .* write 0 for no change"):
        ThreatModel(smallest / 2, norm)


def test_a_multiple_of_an_unknown_eps_is_an_error():
    with pytest.raises(ThreatModelError, match="not known here"):
        parse_fraction("eps/4")


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (EPS, "8/255"),
        (Fraction(1, 20), "12.75/255"),
        (Fraction(0), "0/255"),
        (Fraction(1), "255/255"),
        (Fraction(1, 1000), "0.255/255"),
        (EPS / 3, "2.66667/255"),
    ],
)
def test_numbers_are_written_over_255(value, text):
    assert over_255(value) == text


@given(st.integers(0, 4 * 255))
def test_quarters_of_255ths_are_read_back_as_written(quarters):
    value = Fraction(quarters, 4 * 255)
    assert parse_fraction(over_255(value)) == value


@pytest.mark.parametrize(
    ("eps", "norm", "message"),
    [
        (8, "linf", "write 8/255, not 8"),
        (Fraction(-1, 255), "linf", "outside 0..1"),
        (128, "l2", "outside 0..64 for l2"),
        ("8/255", "l1", "valid: linf, l2"),
    ],
)
def test_impossible_threat_models_are_an_error_of_one_line(eps, norm, message):
    with pytest.raises(ThreatModelError, match=message) as caught:
        ThreatModel(eps, norm)
    assert "\n" not in str(caught.value)


def test_a_threat_model_is_exact_however_it_is_written():
    assert ThreatModel("8/255") == ThreatModel(EPS)
    assert str(ThreatModel(0.1)) == "linf 25.5/255"


BAD = {
    "outside the ball": (lambda images: images + 0.04, "more than eps"),
    "barely outside the ball": (lambda images: images + 8 / 255 + 1e-5, "more than eps"),
    "above the box": (lambda images: (images * 0 + 1).add(1e-6), "outside"),
    "below the box": (lambda images: images * 0 - 1e-6, "outside"),
    "nan": (lambda images: images * float("nan"), "nan"),
}


@pytest.mark.parametrize("kind", BAD)
def test_the_check_finds_one_bad_pixel(kind):
    change, message = BAD[kind]
    images = torch.full((3, 1, 4, 4), 0.5)
    if "box" in kind:
        images = images.round() if kind == "below the box" else images * 2
    adversarial = images.clone()
    adversarial[1, 0, 2, 3] = change(images)[1, 0, 2, 3]
    with pytest.raises(ThreatModelError, match=message):
        ThreatModel(EPS).check(adversarial, images)
    ThreatModel(EPS).check(images, images)
    ThreatModel(EPS).check(images[:0], images[:0])


def test_the_l2_check_measures_the_whole_image():
    images = torch.full((2, 1, 4, 4), 0.5)
    adversarial = images.clone()
    adversarial[1] += 0.1  # sixteen pixels: 0.4 in all
    assert ThreatModel("0.4", "l2").largest_change(adversarial, images).tolist() == pytest.approx([0, 0.4])
    ThreatModel("0.4", "l2").check(adversarial, images)
    with pytest.raises(ThreatModelError, match="change an image"):
        ThreatModel("0.39", "l2").check(adversarial, images)


points = st.integers(0, 2**31).map(
    lambda seed: torch.rand(3, 2, 3, 4, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
)


@given(points, points, st.floats(0.01, 3), st.sampled_from(["linf", "l2"]))
@settings(max_examples=50)
def test_a_projection_moves_only_what_is_outside_and_no_further_than_it_must(images, others, eps, norm):
    threat_model = ThreatModel(Fraction(eps if norm == "l2" else min(eps, 1)), norm)
    ball = threat_model.ball(images)
    wild = 4 * others - 1.5
    projected = ball.project(wild)
    threat_model.check(projected, images)
    torch.testing.assert_close(ball.project(projected), projected)
    inside = images + (others - images) * (0.9 * float(threat_model.eps) / threat_model.largest_change(others, images)
                                           .clamp_min(float(threat_model.eps)))[:, None, None, None]  # fmt: skip
    torch.testing.assert_close(ball.project(inside), inside)
    # The ball alone, where the box does not bind: no point of it is nearer.
    if norm == "l2" and (projected > 0).all() and (projected < 1).all():
        change = (wild - images).flatten(1).norm(dim=1)
        gone = (wild - projected).flatten(1).norm(dim=1)
        torch.testing.assert_close(gone, (change - eps).clamp_min(0))


@given(
    points,
    st.floats(0, 2),
    st.sampled_from(["linf", "l2"]),
    st.lists(st.integers(0, 255), min_size=2, max_size=2),
)
@settings(max_examples=30)
def test_a_step_is_as_long_as_its_size_and_balls_of_several_eps_stand_one_after_another(images, size, norm, eps):
    models = [ThreatModel(Fraction(value, 255), norm) for value in eps]
    ball = Ball.around(images, models)
    gradient = torch.randn(6, 2, 3, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    moved = ball.ascend(ball.images, gradient, size)
    for index, model in enumerate(models):
        rows = slice(3 * index, 3 * index + 3)
        torch.testing.assert_close(moved[rows], model.ball(images).ascend(images, gradient[rows], size))
        model.check(moved[rows], images)
        assert (model.largest_change(moved[rows], images) <= size + 1e-9).all()


def test_where_the_gradient_is_zero_nothing_moves():
    images = torch.full((2, 1, 4, 4), 0.5)
    for norm in ("linf", "l2"):
        assert torch.equal(ThreatModel("0.1", norm).ball(images).ascend(images, images * 0, 0.1), images)


@given(
    eps=st.fractions(0, 1, max_denominator=510),
    shape=st.tuples(st.integers(1, 3), st.integers(1, 3), st.integers(3, 7), st.integers(3, 7)),
    dtype=st.sampled_from([torch.float32, torch.float64]),
    step=st.fractions(Fraction(1, 1000), 2),
    seed=st.integers(0, 2**31),
    channels_last=st.booleans(),
    kind=st.sampled_from(["noise", "fgsm", "pgd", "targeted"]),
    norm=st.sampled_from(["linf", "l2"]),
)
@settings(max_examples=60)
def test_no_eps_shape_type_or_step_leaves_the_ball_or_the_box(eps, shape, dtype, step, seed, channels_last, kind, norm):
    generator = torch.Generator().manual_seed(seed)
    images = (torch.rand(shape, generator=generator, dtype=dtype) * 1.5 - 0.25).clamp(0, 1)
    if channels_last:
        images = images.contiguous(memory_format=torch.channels_last)
    threat_model = ThreatModel(3 * eps if norm == "l2" else eps, norm)
    attack = {
        "noise": lambda: Noise(threat_model=threat_model, restarts=2),
        "fgsm": lambda: FGSM(threat_model=threat_model),
        "pgd": lambda: PGD(threat_model=threat_model, steps=3, step_size=step, restarts=2),
        "targeted": lambda: PGD(threat_model=threat_model, steps=2, step_size=step, targets=2),
    }[kind]()
    labels = torch.randint(3, shape[:1], generator=generator)
    classifier = small_conv(channels=shape[1], dtype=dtype)
    result = attack.run(classifier, images, labels, Starts(seed, "k", torch.arange(shape[0])))
    assert result.adversarial.dtype == dtype
    assert result.adversarial.shape == images.shape
    change = (result.adversarial.double() - images.double()).flatten(1)
    size = change.norm(dim=1).max() if norm == "l2" else change.abs().max()
    assert size <= float(threat_model.eps) + 3 * BALL_TOLERANCE
    assert result.adversarial.min() >= 0
    assert result.adversarial.max() <= 1
