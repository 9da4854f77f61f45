"""Attacks walk on the fast classifier, and the exact one alone says what they found."""

import itertools
from fractions import Fraction

import pytest
import torch
from torch import nn

from attacks.apgd import APGD
from attacks.base import outcome_of
from attacks.clean import Clean
from attacks.composition import Official
from attacks.ensemble import Ensemble
from attacks.fab import FAB
from attacks.fgsm import FGSM
from attacks.noise import Noise
from attacks.parts.trajectory.outcomes import is_milestone, milestones
from attacks.parts.two_precisions import TwoPrecisions, in_both, walking
from attacks.pgd import PGD
from attacks.rescaled import Rescaled
from attacks.threat_model import ThreatModel
from tests.attacks.attack_cases import EIGHT, attack_classes, batch, make, small_conv

OURS = [cls for cls in attack_classes() if not issubclass(cls, Official)]
STEP = Fraction(2, 255)
LARGE = ThreatModel(Fraction(1, 4))


class Asked(nn.Module):
    """A classifier that counts the images it is asked about."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner, self.images = inner, 0
        self.training = False

    def forward(self, images):
        self.images += len(images)
        return self.inner(images)


class Shifted(nn.Module):
    """Logits of the small network with numbers added to each class."""

    def __init__(self, *added: float) -> None:
        super().__init__()
        self.inner, self.added = small_conv(), torch.tensor(added)
        self.training = False

    def forward(self, images):
        return self.inner(images) + self.added


def balanced(add: float = 0.0) -> Shifted:
    """The small network with its classes about equally likely on the batch of the tests. add: to the logit of class 2."""
    means = small_conv()(batch()[0]).mean(0).tolist()
    return Shifted(-means[0], -means[1], add - means[2])


def same(first, second):
    return torch.equal(first.predicted, second.predicted) and torch.equal(first.margin, second.margin)


@pytest.mark.parametrize("cls", OURS, ids=lambda cls: cls.__name__)
def test_a_fast_classifier_that_computes_the_same_changes_no_result(cls):
    images, labels, start = batch()
    attack = make(cls)
    plain = attack.run(small_conv(), images, labels, start)
    both = attack.run(TwoPrecisions(small_conv(), small_conv()), images, labels, start)
    assert same(both.final[attack.steps], plain.final[attack.steps])
    assert same(both.any[attack.steps], plain.any[attack.steps])
    assert torch.equal(both.adversarial, plain.adversarial)
    assert torch.equal(both.worst, plain.worst)
    assert both.gradient_evaluations == plain.gradient_evaluations


def test_gradients_are_taken_of_the_fast_classifier_and_the_exact_one_is_asked_rarely():
    images, labels, start = batch()
    exact, fast = Asked(small_conv()), Asked(small_conv())
    result = PGD(threat_model=EIGHT, steps=20, step_size=STEP).run(TwoPrecisions(exact, fast), images, labels, start)
    assert fast.images == 21 * len(images)
    # At iterates 10 and 20, where the walk is and where it was worst.
    assert 2 * len(images) <= exact.images <= 4 * len(images)
    assert result.forward_passes == fast.images + exact.images


@pytest.mark.parametrize("attack", [Clean(), Noise(threat_model=EIGHT)], ids=["clean", "noise"])
def test_who_takes_no_step_asks_the_exact_classifier_alone(attack):
    images, labels, start = batch()
    fast = Asked(small_conv(seed=4))
    both = attack.run(TwoPrecisions(small_conv(), fast), images, labels, start)
    plain = attack.run(small_conv(), images, labels, start)
    assert fast.images == 0
    assert same(both.any[0], plain.any[0])


@pytest.mark.parametrize("cls", [APGD, PGD], ids=lambda cls: cls.__name__)
def test_an_image_that_only_the_fast_classifier_gets_wrong_goes_on_being_attacked(cls):
    images, labels, start = batch()
    labels = balanced()(images).argmax(1)
    attack = make(cls, threat_model=EIGHT, steps=6)
    # The fast one says that every image is of class 2; its gradients are those of the exact one.
    found = attack.run(TwoPrecisions(balanced(), balanced(1e3)), images, labels, start)
    outcome = found.any[attack.steps]
    assert same(outcome, outcome_of(balanced()(found.worst).detach(), labels))
    standing = (outcome.predicted == labels) & (labels != 2)
    assert standing.any()
    assert found.gradient_evaluations >= 6 * int(standing.sum())


@pytest.mark.parametrize("cls", [APGD, PGD], ids=lambda cls: cls.__name__)
def test_an_image_that_only_the_exact_classifier_gets_wrong_is_broken(cls):
    images, labels, start = batch()
    labels = torch.full_like(labels, 2)
    # The fast one says that every image is of class 2, and so does the exact one of unchanged images.
    exact = balanced(5.0)
    assert (exact(images).argmax(1) == 2).all()
    attack = make(cls, threat_model=LARGE, steps=10)
    found = attack.run(TwoPrecisions(exact, balanced(12.0)), images, labels, start).any[attack.steps]
    plain = attack.run(exact, images, labels, start).any[attack.steps]
    assert (plain.predicted != labels).any()
    assert (found.predicted != labels).any()


def test_outcomes_do_not_depend_on_attacks_that_run_beside():
    images, labels, start = batch()
    both = TwoPrecisions(small_conv(), small_conv(seed=5))
    attacks = [PGD(threat_model=EIGHT, steps=steps, step_size=STEP) for steps in (7, 10, 20, 25)]
    shared = PGD.run_together(attacks, both, images, labels, start)
    for attack in attacks:
        alone = attack.run(both, images, labels, start)
        mine = shared.results[attack]
        assert same(mine.final[attack.steps], alone.final[attack.steps])
        assert same(mine.any[attack.steps], alone.any[attack.steps])


def test_longer_attacks_find_what_shorter_ones_found_at_milestones():
    images, labels, start = batch()
    both = TwoPrecisions(small_conv(), small_conv(seed=5))
    attacks = [PGD(threat_model=EIGHT, steps=steps, step_size=STEP) for steps in (10, 20, 40)]
    shared = PGD.run_together(attacks, both, images, labels, start).results
    for shorter, longer in itertools.pairwise(attacks):
        assert (shared[longer].any[longer.steps].margin <= shared[shorter].any[shorter.steps].margin).all()


def test_milestones_are_the_iterates_at_which_a_walk_is_judged():
    for steps in (0, 7, 10, 39, 40, 700):
        assert milestones(steps) == [number for number in range(steps + 1) if is_milestone(number)]


def test_rescaled_logits_are_rescaled_in_both_precisions():
    images, labels, start = batch()
    attack = Rescaled(threat_model=EIGHT, steps=4, step_size=STEP)
    fast = Asked(small_conv())
    both = attack.run(TwoPrecisions(small_conv(), fast), images, labels, start)
    assert same(both.any[4], attack.run(small_conv(), images, labels, start).any[4])
    assert fast.images == 5 * len(images)


def test_the_fast_classifier_is_no_part_of_the_state():
    both = TwoPrecisions(small_conv(), small_conv(seed=5))
    assert list(both.state_dict()) == [f"exact.{name}" for name in small_conv().state_dict()]
    assert in_both(both, nn.Sequential).fast[0] is both.fast
    assert torch.equal(both(batch()[0]), small_conv()(batch()[0]))


def test_tf32_is_allowed_on_the_walk_alone():
    images, labels, start = batch()
    seen = {"exact": set(), "fast": set()}

    class Watching(nn.Module):
        def __init__(self, name):
            super().__init__()
            self.name, self.inner = name, small_conv()

        def forward(self, images):
            seen[self.name].add(torch.backends.cudnn.allow_tf32)
            return self.inner(images)

    before = torch.backends.cudnn.allow_tf32
    both = TwoPrecisions(Watching("exact"), Watching("fast"), tf32=True)
    for attack in (FGSM(threat_model=EIGHT), APGD(threat_model=EIGHT, steps=2)):
        attack.run(both, images, labels, start)
    assert seen == {"exact": {False}, "fast": {True}}
    assert torch.backends.cudnn.allow_tf32 == before
    with walking(small_conv()) as (walked, judge):
        assert judge is None
        assert isinstance(walked, nn.Module)


def test_fab_walks_in_float32_alone_and_as_the_others_do_within_a_composition():
    images, labels, start = batch()
    fast = Asked(small_conv())
    make(FAB).run(TwoPrecisions(small_conv(), fast), images, labels, start)
    assert fast.images == 0
    make(Ensemble).run(TwoPrecisions(small_conv(), fast), images, labels, start)
    assert fast.images > 0
