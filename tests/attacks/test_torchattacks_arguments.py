"""Attacks of torchattacks as settings: names, specifications, warnings, and errors of one line."""

import json
import sys

import pytest
import torch

from attacks.base import AttackError
from attacks.parts.foreign.algorithms import CHECKED_VERSION
from attacks.torchattacks import Torchattacks
from tests.attacks.attack_cases import EIGHT
from tests.attacks.torchattacks_cases import (
    HALF,
    easy,
    make,
)


def test_an_attack_has_a_name_a_hash_and_a_specification_that_leads_back_to_it():
    attack = Torchattacks(threat_model=HALF, algorithm="CW", arguments=(("steps", 50), ("lr", 0.01)))
    assert attack.name == "torchattacks:CW l2 128/255 steps=50 lr=0.01"
    assert attack.kind == "torchattacks"
    assert attack.steps == 50
    assert attack.arguments == (("lr", 0.01), ("steps", 50))
    assert attack == make("CW", HALF, lr=0.01, steps=50)
    assert attack == Torchattacks(threat_model=HALF, algorithm="CW", arguments={"steps": 50, "lr": 0.01})
    assert hash(attack) == hash(make("CW", HALF, lr=0.01, steps=50))
    assert attack != make("CW", HALF, lr=0.01, steps=51)
    assert attack != make("DeepFool", HALF, steps=50)
    assert len({attack.family(), make("CW", HALF, lr=0.01, steps=51).family()}) == 2
    stored = json.loads(json.dumps(attack.specification()))
    assert stored == {
        "attack": "torchattacks",
        "version": 1,
        "norm": "l2",
        "eps": "128/255",
        "algorithm": "CW",
        "arguments": [["lr", 0.01], ["steps", 50]],
    }
    assert make(stored["algorithm"], HALF, **dict(stored["arguments"])) == attack


def test_numbers_written_as_text_stay_text_and_lists_come_back_as_they_were():
    attack = make("PGD", alpha="eps/4", steps=4)
    assert ["alpha", "eps/4"] in attack.specification()["arguments"]
    assert attack.name == "torchattacks:PGD linf 8/255 steps=4 alpha=eps/4"
    classifier, images, labels, start = easy()
    results = [each.run(classifier, images, labels, start) for each in (attack, make("PGD", alpha="2/255", steps=4))]
    assert torch.equal(results[0].adversarial, results[1].adversarial)
    pixle = make("Pixle", x_dimensions=[1, 2])
    assert pixle.name == "torchattacks:Pixle linf 8/255 x_dimensions=1,2"
    stored = json.loads(json.dumps(pixle.specification()))
    assert make("Pixle", **dict(stored["arguments"])) == pixle


WRONG = {
    "a slip in the name": ("PDG", EIGHT, {}, "did you mean PGD"),
    "the name in small letters": ("deepfool", HALF, {}, "did you mean DeepFool"),
    "no name": (7, EIGHT, {}, "expected the name"),
    "a wrapper": ("MultiAttack", EIGHT, {}, "cannot be run by name"),
    "a slip in an argument": ("CW", HALF, {"stpes": 5}, "did you mean steps.*valid: c, kappa, steps, lr"),
    "an argument where there is none": ("VANILA", EIGHT, {"steps": 5}, "takes none"),
    "eps": ("PGD", EIGHT, {"eps": 0.1}, "eps is that of the threat model"),
    "norm": ("APGD", EIGHT, {"norm": "L2"}, "norm is that of the threat model"),
    "classes": ("APGDT", EIGHT, {"n_classes": 5}, "read off the classifier"),
    "a seed": ("APGD", EIGHT, {"seed": 5}, "evaluation's seed"),
    "half a step": ("PGD", EIGHT, {"steps": 2.5}, r"steps = 2.5: expected a whole number"),
    "fewer steps than none": ("PGD", EIGHT, {"steps": -1}, "steps = -1: expected a whole number"),
    "steps as a truth": ("PGD", EIGHT, {"steps": True}, "expected a whole number"),
    "no number": ("PGD", EIGHT, {"alpha": "fast"}, "alpha = 'fast': expected a number such as 2/255"),
    "not finite": ("PGD", EIGHT, {"alpha": float("nan")}, "expected a finite number"),
    "nothing": ("PGD", EIGHT, {"alpha": None}, "expected a finite number"),
    "no truth": ("PGD", EIGHT, {"random_start": 1}, "random_start = 1: expected true or false"),
    "another loss": ("APGD", EIGHT, {"loss": "margin"}, "expected one of ce, dlr"),
    "the right spelling": ("PGDRS", EIGHT, {"noise_type": "gaussian"}, "expected one of guassian, uniform"),
    "linf under l2": ("PGD", HALF, {}, "PGD is an attack of linf, not of l2 128/255; of l2 are: CW, DeepFool, PGDL2"),
    "l2 under linf": ("CW", EIGHT, {}, "CW is an attack of l2, not of linf 8/255"),
}


@pytest.mark.parametrize("kind", WRONG)
def test_what_makes_no_sense_is_an_error_of_one_line(kind):
    algorithm, model, fields, message = WRONG[kind]
    with pytest.raises(AttackError, match=message) as caught:
        Torchattacks.from_fields(algorithm, model, fields)
    assert "\n" not in str(caught.value)
    with pytest.raises(AttackError, match=message):  # also where it was made unchecked
        Torchattacks(threat_model=model, algorithm=algorithm, arguments=tuple(fields.items())).run(*easy(2))


def test_whole_defaults_that_need_not_be_whole():
    assert make("CW", HALF, c=0.5, kappa="1/2").constructor_arguments() == {"c": 0.5, "kappa": 0.5}


def test_an_argument_given_twice_is_an_error():
    with pytest.raises(AttackError, match="twice"):
        Torchattacks(threat_model=EIGHT, algorithm="PGD", arguments=(("steps", 1), ("steps", "2")))


def test_without_the_package_there_is_one_clear_line(monkeypatch):
    attack = make("PGD")
    monkeypatch.setitem(sys.modules, "torchattacks", None)
    for ask in (lambda: make("PGD"), lambda: attack.run(*easy()), lambda: attack.check_classes(5)):
        with pytest.raises(AttackError, match=r"pip install torchattacks$"):
            ask()


def test_warnings_say_what_is_hardly_meant(monkeypatch):
    assert make("PGD", alpha="2/255").warnings() == ()
    assert "above 2 eps" in make("PGD", alpha="3 eps").warnings()[0]
    assert "takes 10 steps" in make("AutoAttack").warnings()[0]
    monkeypatch.setattr("importlib.metadata.version", lambda package: "9.9")
    assert make("PGD").warnings() == (f"torchattacks 9.9 is installed; this was checked with {CHECKED_VERSION}",)
