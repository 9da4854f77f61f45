"""Attacks of torchattacks that cannot run on the images of a task, or attack nothing, are told before anything is trained."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import pytest
import torch
from torch import nn

from attacks.apgd import APGD
from attacks.base import AttackError
from attacks.fab import FAB
from attacks.pgd import PGD
from attacks.starts import Starts
from attacks.torchattacks import Torchattacks
from attacks.transfer import Transfer
from benchmark.errors import ConfigError
from benchmark.planning.demands import check_attacks, demands, warnings_of_attacks
from scenarios.base import Stream
from tests.attacks.attack_cases import EIGHT
from tests.attacks.torchattacks_cases import HALF, every_attack, make, small

GREY, COLOUR, LARGE, TINY = (1, 8, 8), (3, 8, 8), (3, 32, 32), (3, 4, 4)


def stream(shape: tuple[int, int, int], *counts: int) -> Stream:
    return Stream(tuple(f"t{i}" for i in range(len(counts))), counts, shape, (0.0,), (1.0,))


def fails(attack: Torchattacks, shape: tuple[int, int, int], classes: int) -> bool:
    """True if the attack cannot be run on four images of this shape, on a linear classifier."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = nn.Sequential(nn.Flatten(), nn.Linear(torch.Size(shape).numel(), classes)).requires_grad_(False)
        images = torch.rand(4, *shape)
    try:
        attack.run(network, images, network(images).argmax(1), Starts(0, "k", torch.arange(4)))
    except AttackError:
        return True
    return False


def refused(attack: Torchattacks, shape: tuple[int, int, int], classes: int) -> bool:
    try:
        attack.check_images(shape, classes)
    except AttackError as error:
        return "\n" not in str(error)
    return False


@every_attack
def test_what_fails_on_images_is_refused_and_nothing_else(algorithm: str) -> None:
    models = [EIGHT, HALF] if algorithm == "Square" else [None]
    cases = [(GREY, 2), (COLOUR, 5), (TINY, 5)]
    if algorithm not in ("JSMA", "AutoAttack", "Pixle"):  # minutes on larger images
        cases.append((LARGE, 5))
    for model in models:
        attack = small(algorithm, model)
        for shape, classes in cases:
            try:
                attack.check_classes(classes)
            except AttackError:
                assert refused(attack, shape, classes)
            else:
                assert refused(attack, shape, classes) == fails(attack, shape, classes), (attack.name, shape, classes)


@pytest.mark.parametrize(
    ("algorithm", "model", "fields", "shape", "message"),
    [
        ("TIFGSM", EIGHT, {}, GREY, "TIFGSM filters images of 3 channels, these are 1x8x8: use MIFGSM or NIFGSM"),
        ("PIFGSM", EIGHT, {}, GREY, "filters images of 3 channels"),
        ("PIFGSMPP", EIGHT, {}, (4, 8, 8), "filters images of 3 channels, these are 4x8x8"),
        ("Square", HALF, {}, TINY, "needs images of 5 pixels a side under l2, these are 3x4x4: use square"),
        ("AutoAttack", HALF, {}, TINY, "needs images of 5 pixels a side under l2, these are 3x4x4: use autoattack"),
        ("DIFGSM", EIGHT, {"resize_rate": 1.0}, COLOUR, "images of 3x8x8: torchattacks fails here with RuntimeError"),
        ("SPSA", EIGHT, {"nb_sample": 0}, COLOUR, "images of 3x8x8: .*more than eps"),
    ],
)
def test_what_cannot_run_is_one_line_that_says_why(algorithm, model, fields: dict[str, Any], shape, message) -> None:
    attack = make(algorithm, model, **fields)
    with pytest.raises(AttackError, match=message):
        attack.check_images(shape, 5)
    with pytest.raises(AttackError, match=message):
        Transfer(threat_model=model, source="earlier", made_with=attack).check_images(shape, 5)


def test_too_few_steps_of_an_attack_that_looks_at_every_tenth_are_refused() -> None:
    with pytest.raises(AttackError, match="max_iterations = 9: expected a whole number of 10 or more"):
        make("EADL1", max_iterations=9)
    assert not fails(make("EADEN", max_iterations=10, binary_search_steps=1), GREY, 2)


def test_a_preset_is_refused_before_anything_is_trained() -> None:
    wanted = demands([{"attack": "torchattacks:TIFGSM"}], Fraction(8, 255), "here")
    with pytest.raises(ConfigError, match=r"^here: torchattacks:TIFGSM linf 8/255 on task 0: .*3 channels"):
        check_attacks(wanted, stream(GREY, 2), "here")
    check_attacks(wanted, stream(COLOUR, 2), "here")
    wanted = demands([{"attack": "apgd", "loss": "dlr", "targets": 9}], Fraction(8, 255), "here")
    with pytest.raises(
        ConfigError, match=r"on task 1: targeted loss dlr needs 4 classes, the classifier has 2; use ce"
    ):
        check_attacks(wanted, stream(GREY, 4, 2), "here")


@pytest.mark.parametrize(
    ("algorithm", "classes", "instead"),
    [
        ("AutoAttack", 2, "autoattack-c2"),
        ("AutoAttack", 3, "autoattack-c3"),
        ("APGDT", 2, "apgd with targets, whose loss is ce"),
    ],
)
def test_too_few_classes_say_what_to_use(algorithm: str, classes: int, instead: str) -> None:
    with pytest.raises(AttackError, match=f"the classifier has {classes}: use {instead}$"):
        make(algorithm).check_images(COLOUR, classes)


def test_what_attacks_nothing_warns_and_so_does_its_preset() -> None:
    assert "attacks nothing" in make("VANILA").warnings()[0]
    assert "without a look at eps" in make("GN").warnings()[0]
    assert make("PGD", steps=0).warnings() == ("steps = 0: torchattacks:PGD stays where it starts",)
    assert make("MIFGSM", steps=1).warnings() == ()
    wanted = demands([{"attack": "torchattacks:VANILA"}, {"attack": "fgsm"}], Fraction(8, 255), "here")
    (line,) = warnings_of_attacks(wanted, stream(GREY, 2))
    assert line.startswith("torchattacks:VANILA linf 8/255: torchattacks:VANILA attacks nothing")


@pytest.mark.parametrize(
    ("attack", "classes", "said"),
    [
        (PGD(threat_model=EIGHT, steps=1, step_size="eps", targets=1), 2, "of 2 classes one is aimed at"),
        (APGD(threat_model=EIGHT, steps=1, targets=9), 5, "targets = 9: of 5 classes 4 can be aimed at"),
        (FAB(threat_model=EIGHT, steps=1, targets=3), 2, "targets = 3: of 2 classes 1 can be aimed at"),
        (APGD(threat_model=EIGHT, steps=1, targets=4), 5, ""),
        (APGD(threat_model=EIGHT, steps=1), 2, ""),
        (FAB(threat_model=EIGHT, steps=1), 2, ""),  # "at most 9" is what it does unless it is told
    ],
)
def test_more_targets_than_other_classes_are_told(attack, classes: int, said: str) -> None:
    for each in (attack, Transfer(threat_model=EIGHT, source="earlier", made_with=attack)):
        lines = each.warnings_of_classes(classes)
        assert len(lines) == (1 if said else 0)
        assert said in " ".join(lines)
