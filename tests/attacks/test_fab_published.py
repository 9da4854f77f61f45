"""FAB-T against the published attack, as torchattacks has it."""

import pytest
import torch
import torchattacks

from attacks.fab import FAB
from attacks.starts import Starts
from attacks.threat_model import ThreatModel
from tests.attacks.fab_cases import EPS, STURDY, Watching, both_norms, case_of


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
