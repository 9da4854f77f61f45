"""Exact numbers, the ball and the box."""

from fractions import Fraction

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from attacks.fgsm import FGSM
from attacks.noise import Noise
from attacks.pgd import PGD
from attacks.starts import Starts
from attacks.threat_model import BALL_TOLERANCE, ThreatModel, ThreatModelError, over_255, parse_fraction
from tests.attacks.attack_cases import small_conv

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
    [(8, "linf", "write 8/255, not 8"), (Fraction(-1, 255), "linf", "outside 0..1"), ("8/255", "l2", "valid: linf")],
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


@given(
    eps=st.fractions(0, 1, max_denominator=510),
    shape=st.tuples(st.integers(1, 3), st.integers(1, 3), st.integers(3, 7), st.integers(3, 7)),
    dtype=st.sampled_from([torch.float32, torch.float64]),
    step=st.fractions(Fraction(1, 1000), 2),
    seed=st.integers(0, 2**31),
    channels_last=st.booleans(),
    kind=st.sampled_from(["noise", "fgsm", "pgd"]),
)
@settings(max_examples=60, deadline=None)
def test_no_eps_shape_type_or_step_leaves_the_ball_or_the_box(eps, shape, dtype, step, seed, channels_last, kind):
    generator = torch.Generator().manual_seed(seed)
    images = (torch.rand(shape, generator=generator, dtype=dtype) * 1.5 - 0.25).clamp(0, 1)
    if channels_last:
        images = images.contiguous(memory_format=torch.channels_last)
    threat_model = ThreatModel(eps)
    attack = {
        "noise": lambda: Noise(threat_model=threat_model, restarts=2),
        "fgsm": lambda: FGSM(threat_model=threat_model),
        "pgd": lambda: PGD(threat_model=threat_model, steps=3, step_size=step, restarts=2),
    }[kind]()
    labels = torch.randint(3, shape[:1], generator=generator)
    classifier = small_conv(channels=shape[1], dtype=dtype)
    result = attack.run(classifier, images, labels, Starts(seed, "k", torch.arange(shape[0])))
    assert result.adversarial.dtype == dtype
    assert result.adversarial.shape == images.shape
    assert (result.adversarial.double() - images.double()).abs().max() <= float(eps) + BALL_TOLERANCE
    assert result.adversarial.min() >= 0
    assert result.adversarial.max() <= 1
