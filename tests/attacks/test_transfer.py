"""A transfer shows the images made on one classifier to another."""

from __future__ import annotations

import pytest
import torch

from attacks.base import AttackError, margins
from attacks.noise import Noise
from attacks.pgd import PGD
from attacks.threat_model import ThreatModel
from attacks.transfer import Transfer
from tests.attacks.attack_cases import EIGHT, batch, small_conv

MADE_BY = PGD(threat_model=EIGHT, steps=3, step_size="eps/2")


def transfer(**changes: object) -> Transfer:
    return Transfer(**({"threat_model": EIGHT, "source": "standard", "made_with": MADE_BY} | changes))


def test_it_scores_the_surrogates_images_on_the_classifier():
    images, labels, start = batch()
    classifier, surrogate = small_conv(), small_conv(seed=7)
    result = transfer().on(surrogate).run(classifier, images, labels, start)
    made = MADE_BY.run(surrogate, images, labels, start)
    assert torch.equal(result.adversarial, made.adversarial)
    torch.testing.assert_close(result.final[0].margin, margins(classifier(made.adversarial).detach(), labels))
    assert (result.gradient_evaluations, result.forward_passes) == (12 * 3, 12 * 5)
    own = transfer().on(classifier).run(classifier, images, labels, start)
    assert torch.equal(own.final[0].margin, MADE_BY.run(classifier, images, labels, start).final[3].margin)


def test_the_surrogate_is_no_part_of_what_it_is_and_the_origin_is():
    assert transfer().on(small_conv()) == transfer().on(small_conv(seed=1)) == transfer()
    assert transfer().on(small_conv(), "a run") != transfer()
    specification = transfer(origin="abc").specification()
    assert specification["attack"] == "transfer"
    assert specification["made_with"] == MADE_BY.specification()
    assert (specification["source"], specification["origin"]) == ("standard", "abc")
    assert transfer().specification() != transfer(made_with=Noise(threat_model=EIGHT)).specification()
    assert transfer().name == "transfer from=standard pgd-3 linf 8/255 a=4/255"


def test_what_cannot_be_is_one_line():
    with pytest.raises(AttackError, match="no classifier to make the images on"):
        transfer().run(small_conv(), *batch())
    with pytest.raises(AttackError, match="a transfer of a transfer"):
        transfer(made_with=transfer())
    with pytest.raises(AttackError, match="transfer under linf 4/255 of an attack under linf 8/255"):
        transfer(threat_model=ThreatModel("4/255"))
