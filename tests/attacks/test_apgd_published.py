"""APGD is as strong as the published attack: against torchattacks, PGD and the paper's checkpoints."""

from __future__ import annotations

import copy
from fractions import Fraction

import pytest
import torch
import torchattacks

from attacks.apgd import APGD, checkpoints
from attacks.pgd import PGD
from attacks.threat_model import ThreatModel
from tests.attacks.trained import STANDARD_ERROR, accuracy_after, accuracy_on, case

NAMES = {"linf": "Linf", "l2": "L2"}


EPS = {"linf": "0.2", "l2": "0.9"}


@pytest.mark.parametrize("norm", ["linf", "l2"])
@pytest.mark.parametrize(("loss", "targets"), [("ce", 0), ("dlr", 0), ("dlr", 9)])
def test_it_is_as_strong_as_torchattacks(norm, loss, targets):
    differences = []
    for seed in range(3):
        attack = APGD(threat_model=ThreatModel(EPS[norm], norm), steps=20, loss=loss, targets=targets)
        mine = accuracy_after(attack, seed)
        network, images, labels, _ = case(seed)
        given = {"norm": NAMES[norm], "eps": float(attack.threat_model.eps), "steps": 20}
        with torch.random.fork_rng():  # it reseeds the global generator
            other = (
                torchattacks.APGDT(network, n_classes=5, **given)
                if targets
                else torchattacks.APGD(network, loss=loss, **given)
            )
            theirs = accuracy_on(other(images, labels), seed)
        assert 0.1 < mine < 0.6
        differences.append(mine - theirs)
    assert max(map(abs, differences)) < 2 * STANDARD_ERROR
    assert abs(sum(differences) / 3) < STANDARD_ERROR


@pytest.mark.parametrize("norm", ["linf", "l2"])
@pytest.mark.parametrize("loss", ["ce", "dlr"])
def test_from_the_same_starts_it_breaks_what_torchattacks_breaks(norm, loss, monkeypatch):
    """Image by image, in float64. For ce exactly; in dlr torchattacks compares the first loss with 0 and not with the start's."""
    network, images, labels, start = case(0)
    network, images = copy.deepcopy(network).double(), images.double()
    eps = {"linf": "1/4", "l2": "7/8"}[norm]
    result = APGD(threat_model=ThreatModel(eps, norm), steps=20, loss=loss).run(network, images, labels, start)
    attacked = network(images).argmax(1) == labels
    noise = (start.uniform if norm == "linf" else start.inside)(images.shape, 0).double()[attacked]
    with torch.random.fork_rng(), monkeypatch.context() as patch:
        patch.setattr(torch, "rand", lambda shape: (noise + 1) / 2)
        patch.setattr(torch, "randn", lambda shape: noise)
        other = torchattacks.APGD(network, norm=NAMES[norm], eps=float(Fraction(eps)), steps=20, loss=loss)
        theirs = network(other(images, labels)).argmax(1) == labels
    mine = result.final[20].predicted == labels
    assert 30 < mine.sum() < 270
    assert (mine != theirs).sum() <= (0 if loss == "ce" else 3)


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_it_is_no_weaker_than_pgd_of_as_many_steps(norm):
    model = ThreatModel(EPS[norm], norm)
    for seed in range(3):
        plain = accuracy_after(PGD(threat_model=model, steps=20, step_size="eps/4"), seed)
        assert accuracy_after(APGD(threat_model=model, steps=20), seed) <= plain + STANDARD_ERROR / 2


def test_the_checkpoints_are_the_published_ones():
    assert checkpoints(100) == [22, 41, 57, 70, 80, 87, 93, 99]
    assert checkpoints(1) == [1]
    assert all(place <= steps for steps in range(1, 30) for place in checkpoints(steps))
