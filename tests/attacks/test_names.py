"""Names and settings of the attacks of this folder."""

from fractions import Fraction

import pytest

from attacks.base import AttackError
from attacks.clean import Clean
from attacks.distilled import Distilled
from attacks.fgsm import FGSM
from attacks.inside import Inside
from attacks.noise import Noise
from attacks.pgd import PGD
from attacks.threat_model import ThreatModel
from tests.attacks.attack_cases import EIGHT

TWO = Fraction(2, 255)


@pytest.mark.parametrize(
    ("attack", "name"),
    [
        (Clean(), "clean"),
        (Noise(threat_model=EIGHT), "noise linf 8/255"),
        (Noise(threat_model=EIGHT, restarts=1), "noise linf 8/255 r=1"),
        (FGSM(threat_model=EIGHT), "fgsm linf 8/255"),
        (Inside(threat_model=EIGHT), "inside-6 linf 8/255"),
        (Inside(threat_model=EIGHT, steps=3, random=0), "inside-3 linf 8/255 random=0"),
        (Distilled(threat_model=EIGHT), "distilled-8 linf 8/255"),
        (Distilled(threat_model=EIGHT, draws=2, rounds=1), "distilled-2 linf 8/255 rounds=1"),
        (PGD(threat_model=EIGHT, steps=40, step_size=TWO), "pgd-40 linf 8/255 a=2/255"),
        (PGD(threat_model=EIGHT, steps=40, step_size=TWO, restarts=5), "pgd-40 linf 8/255 a=2/255 r=5"),
        (PGD(threat_model=EIGHT, steps=7, step_size=TWO, loss="dlr"), "pgd-7 linf 8/255 a=2/255 loss=dlr"),
        (PGD(threat_model=EIGHT, steps=7, step_size=TWO, random_start=False), "pgd-7 linf 8/255 a=2/255 start=none"),
        (PGD(threat_model=EIGHT, steps=7, step_size=TWO, targets=3), "pgd-7 linf 8/255 a=2/255 targets=3"),
        (PGD(threat_model=EIGHT, steps=7, step_size=TWO, eot=4), "pgd-7 linf 8/255 a=2/255 eot=4"),
        (PGD(threat_model=ThreatModel("128/255", "l2"), steps=7, step_size="eps/4"), "pgd-7 l2 128/255 a=32/255"),
        (
            PGD(threat_model=ThreatModel(Fraction(51, 255)), steps=10, step_size="eps/4"),
            "pgd-10 linf 51/255 a=12.75/255",
        ),
    ],
)
def test_a_name_shows_what_differs_from_the_default(attack, name):
    assert attack.name == name


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"steps": 0}, "steps = 0: expected a whole number of 1 or more"),
        ({"steps": 2.5}, "steps = 2.5"),
        ({"steps": True}, "steps = True"),
        ({"restarts": 0}, "restarts = 0"),
        ({"targets": -1}, "targets = -1: expected a whole number of 0 or more"),
        ({"eot": 0}, "eot = 0"),
        ({"step_size": Fraction(-1, 255)}, "step_size = -1/255"),
        ({"step_size": "small"}, "step_size: 'small' is not a number"),
        ({"loss": "dlrr"}, "did you mean dlr"),
        ({"loss": "cross"}, "valid: ce, margin, dlr"),
        ({"random_start": "no"}, "random_start = 'no'"),
        ({"random_start": False, "restarts": 2}, "all would be the same"),
    ],
)
def test_wrong_settings_are_an_error_of_one_line(settings, message):
    with pytest.raises(AttackError, match=message) as caught:
        PGD(**({"threat_model": EIGHT, "steps": 10, "step_size": TWO} | settings))
    assert "\n" not in str(caught.value)


def test_clean_has_no_eps_and_noise_needs_a_draw():
    assert Clean().threat_model.eps == 0
    with pytest.raises(AttackError, match="eps = 0"):
        Clean(threat_model=EIGHT)
    with pytest.raises(AttackError, match="restarts = 0"):
        Noise(threat_model=EIGHT, restarts=0)


@pytest.mark.parametrize("step_size", [Fraction(1, 51), "5/255", "0.625 eps", "5 eps/8"])
def test_one_step_size_has_one_identity_however_it_is_written(step_size):
    attack = PGD(threat_model=EIGHT, steps=10, step_size=step_size)
    assert attack == PGD(threat_model=EIGHT, steps=10, step_size=Fraction(5, 255))
    assert attack.specification()["step_size"] == "1/51"


@pytest.mark.parametrize(
    ("eps", "step_size", "warning"),
    [
        ("8/255", "2 eps", None),
        ("8/255", "2.01 eps", "above 2 eps"),
        ("8/255", 0, "stays where it starts"),
        (0, "eps/4", None),
    ],
)
def test_a_step_of_nothing_or_above_the_diameter_is_allowed_and_warned_of(eps, step_size, warning):
    warnings = PGD(threat_model=ThreatModel(eps), steps=1, step_size=step_size).warnings()
    assert len(warnings) == (warning is not None)
    assert warning is None or warning in warnings[0]


def test_a_field_that_came_later_is_no_part_of_the_identity_at_its_default():
    """Records that were stored before there were targets and averaged gradients still name the same attack."""
    assert set(PGD(threat_model=EIGHT, steps=1, step_size=TWO).specification()) == {
        "attack", "version", "norm", "eps", "steps", "step_size", "restarts", "loss", "random_start",
    }  # fmt: skip
    assert PGD(threat_model=EIGHT, steps=1, step_size=TWO, eot=2).specification()["eot"] == 2
