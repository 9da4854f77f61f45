"""FAB-T in what it costs and what it leaves alone: passes, starts, batches, targets, settings."""

from fractions import Fraction

import pytest
import torch

from attacks.base import AttackError
from attacks.fab import FAB
from attacks.search import Search
from attacks.starts import Starts
from attacks.threat_model import ThreatModel
from attacks.victim import Victim
from tests.attacks.attack_cases import EIGHT, Counting, batch, run_in_parts, small_conv
from tests.attacks.fab_cases import EPS, STURDY, Says, Watching, both_norms, pixels

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
    for index, part in run_in_parts(attack, classifier, (images, labels, start), [1, 4, 7]):
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

    def watch(points, logits, index, among):
        assert (model.largest_change(points[among], images[index[among]]) <= float(model.eps)).all()
        shown.extend(index[among].tolist())
        see(points, logits, index, among)

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

    def watch(points, logits, index, among):
        shown.append(index[among].tolist())
        see(points, logits, index, among)

    search.see = watch  # type: ignore[method-assign]
    FAB(threat_model=ThreatModel("0.6"), steps=1).extend(search, Starts(0, "", torch.arange(1)))
    assert shown == [[0], [0], [0]]
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
