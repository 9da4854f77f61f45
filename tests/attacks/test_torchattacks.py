"""Attacks of torchattacks: they do what the package does, count only inside the ball, and leave nothing behind."""

from fractions import Fraction

import numpy as np
import pytest
import torch
import torchattacks
from torch import nn

from attacks.base import AttackError, margins, outcome_of
from attacks.parts.foreign.algorithms import FLOAT32_ONLY, L2_ONLY
from attacks.parts.foreign.stand_in import StandIn
from attacks.parts.guard import seed_of
from attacks.threat_model import BALL_TOLERANCE, ThreatModel, ThreatModelError
from attacks.torchattacks import Torchattacks
from attacks.victim import Victim
from tests.attacks.attack_cases import EIGHT, batch, small_conv
from tests.attacks.stateful import CLASSES, Stateful, everything
from tests.attacks.torchattacks_cases import HALF, LARGE, SMALL, easy, every_attack, make, parameters, seeded, small


@every_attack
def test_every_attack_runs_inside_the_ball_and_leaves_no_trace(algorithm):
    classifier, attack = Stateful(), small(algorithm)
    images, labels, start = batch(4, CLASSES, 3)
    before, inputs = everything(classifier), (images.clone(), labels.clone())
    result = attack.run(classifier, images, labels, start)
    assert everything(classifier) == before
    assert torch.equal(images, inputs[0])
    assert torch.equal(labels, inputs[1])
    attack.threat_model.check(result.adversarial, images)
    attack.threat_model.check(result.worst, images)
    assert result.adversarial.shape == images.shape
    assert not result.adversarial.requires_grad
    assert list(result.final) == [attack.steps]


@every_attack
def test_every_attack_is_judged_by_a_forward_pass_of_ours(algorithm):
    classifier, images, labels, start = easy()
    attack = small(algorithm)
    result = attack.run(classifier, images, labels, start)
    logits = classifier(result.adversarial)
    assert torch.equal(result.final[attack.steps].predicted, logits.argmax(1))
    torch.testing.assert_close(result.final[attack.steps].margin, margins(logits, labels))
    again = attack.run(classifier, images, labels, start)
    assert torch.equal(again.adversarial, result.adversarial)


@every_attack
def test_a_classifier_that_raises_in_the_middle_is_a_crash_that_leaves_no_trace(algorithm):
    images, labels, start = batch(4, CLASSES, 3)
    classifier = Stateful(fails_at=2)  # after the clean images: within the attack, or when its images are judged
    before = everything(classifier)
    with pytest.raises(RuntimeError, match="the classifier broke"):
        small(algorithm).run(classifier, images, labels, start)
    assert everything(classifier) == before


@pytest.mark.parametrize("algorithm", ["PGD", "CW", "EADL1", "PGDRSL2"])
@pytest.mark.parametrize("fails_at", [3, 4])
def test_a_classifier_that_raises_later_leaves_no_trace_either(algorithm, fails_at):
    classifier = Stateful(fails_at)
    before = everything(classifier)
    with pytest.raises(RuntimeError, match="the classifier broke"):
        small(algorithm).run(classifier, *batch(4, CLASSES, 3))
    assert everything(classifier) == before


@every_attack
@pytest.mark.parametrize("eps", ["0", "8/255"])
def test_float64_images_and_eps_zero(algorithm, eps):
    """An attack that computes in float32 alone gets float32. Its images are in the ball, and at eps 0 unchanged to the bit."""
    classifier, images, labels, start = easy(4, dtype=torch.float64)
    attack = small(algorithm, ThreatModel(Fraction(eps), "l2" if algorithm in L2_ONLY else "linf"))
    result = attack.run(classifier, images, labels, start)
    assert result.adversarial.dtype == torch.float64
    assert result.final[attack.steps].margin.dtype == torch.float32
    attack.threat_model.check(result.adversarial, images)
    if eps == "0":
        assert torch.equal(result.adversarial, images)


def test_what_is_said_to_need_float32_needs_it():
    """Otherwise the others would be computed more coarsely than they could be."""
    classifier, images, labels, _ = easy(4, dtype=torch.float64)
    for algorithm in FLOAT32_ONLY - {"AutoAttack"}:  # it holds FAB
        settings = {key: value for key, value in SMALL.items() if key in parameters(algorithm)}
        with pytest.raises(RuntimeError):
            getattr(torchattacks, algorithm)(classifier, **settings)(images, labels)


PLAIN = {
    "PGD": (EIGHT, {"alpha": "2/255", "steps": 4}, {"eps": 8 / 255, "alpha": 2 / 255, "steps": 4}),
    "CW": (LARGE, {"steps": 8, "lr": 0.05}, {"steps": 8, "lr": 0.05}),
    "PGDL2": (HALF, {"steps": 4, "alpha": "eps/4"}, {"eps": 128 / 255, "alpha": 32 / 255, "steps": 4}),
    "PIFGSM": (EIGHT, {}, {"max_epsilon": 8 / 255}),
    "DeepFool": (LARGE, {"steps": 5}, {"steps": 5}),
    "OnePixel": (LARGE, {"steps": 2}, {"steps": 2}),
    "Pixle": (LARGE, {"restarts": 2}, {"restarts": 2}),
    "SPSA": (EIGHT, {"nb_sample": 8}, {"eps": 8 / 255, "nb_sample": 8}),
    "Square": (HALF, {"n_queries": 20}, {"eps": 128 / 255, "norm": "L2", "n_queries": 20, "seed": None}),
    "APGDT": (EIGHT, {"steps": 5}, {"eps": 8 / 255, "steps": 5, "n_classes": CLASSES, "seed": None}),
}


@pytest.mark.parametrize("algorithm", PLAIN)
def test_an_attack_finds_what_torchattacks_finds_under_the_same_seed(algorithm):
    model, fields, settings = PLAIN[algorithm]
    classifier, images, labels, start = easy()
    result = make(algorithm, model, **fields).run(classifier, images, labels, start)
    settings = {key: seed_of(start) if key == "seed" else value for key, value in settings.items()}
    attack = getattr(torchattacks, algorithm)(classifier, **settings)
    plain = seeded(start, lambda: attack(images, labels))
    torch.testing.assert_close(result.adversarial, plain, rtol=0, atol=1e-6)
    assert not torch.equal(plain, images)
    assert torch.equal(result.final[dict(fields).get("steps", 0)].predicted, classifier(plain).argmax(1))


def test_what_can_compute_in_float64_does():
    classifier, images, labels, start = easy(dtype=torch.float64)
    result = make("PGD", steps=4).run(classifier, images, labels, start)
    plain = seeded(start, lambda: torchattacks.PGD(classifier, steps=4)(images, labels))
    torch.testing.assert_close(result.adversarial, plain, rtol=0, atol=1e-12)


def test_the_number_of_classes_is_that_of_the_classifier():
    classifier, images, labels, start = easy()
    with pytest.raises(IndexError):
        torchattacks.APGDT(classifier, steps=2)(images, labels)  # torchattacks takes ten classes for granted
    make("APGDT", steps=2).run(classifier, images, labels, start)
    images, _, start = batch(8, CLASSES, 3)
    labels = classifier(images).argmax(1)
    classifier.head = nn.Sequential(classifier.head, Roll(int(CLASSES - 1 - labels.mode().values)))
    labels = classifier(images).argmax(1)
    assert (labels == CLASSES - 1).any()
    with pytest.raises(IndexError):
        torchattacks.JSMA(classifier)(images, labels)
    make("JSMA").run(classifier, images, labels, start)


class Roll(nn.Module):
    """Gives the classes other numbers."""

    def __init__(self, by):
        super().__init__()
        self.by = by

    def forward(self, logits):
        return logits.roll(self.by, 1)


@pytest.mark.parametrize(("algorithm", "fields", "fewest"), [("APGDT", {}, 4), ("AutoAttack", {}, 4), ("PGD", {}, 2)])
def test_too_few_classes_are_an_error_before_anything_runs(algorithm, fields, fewest):
    make(algorithm, **fields).check_classes(fewest)
    with pytest.raises(AttackError, match=f"needs {fewest} classes"):
        make(algorithm, **fields).check_classes(fewest - 1)


@pytest.mark.parametrize(("algorithm", "fields"), [("APGD", {"loss": "dlr"}), ("AutoAttack", {"version": "rand"})])
def test_the_loss_dlr_needs_three_classes(algorithm, fields):
    make(algorithm, **fields).check_classes(3)
    with pytest.raises(AttackError, match="needs 3 classes"):
        make(algorithm, **fields).check_classes(2)


def test_what_an_attack_without_eps_finds_outside_the_ball_does_not_count():
    classifier, images, labels, start = easy(10)
    plain = seeded(start, lambda: torchattacks.CW(classifier, steps=20, lr=0.05)(images, labels))
    distances = (plain - images).flatten(1).norm(dim=1)
    broken = (classifier(plain).argmax(1) != labels) & (distances > 0)
    assert broken.sum() >= 3
    limit = distances[broken].median()
    model = ThreatModel(Fraction(float(limit) * 1.0001).limit_denominator(10**6), "l2")
    result = make("CW", model, steps=20, lr=0.05).run(classifier, images, labels, start)
    outside = distances > limit
    assert outside.any()
    assert (broken & ~outside).any()
    assert torch.equal(result.adversarial[outside], images[outside])
    torch.testing.assert_close(result.adversarial[~outside], plain[~outside], rtol=0, atol=1e-6)
    clean = outcome_of(classifier(images), labels)
    final = result.final[20]
    assert torch.equal(final.predicted[outside], clean.predicted[outside])
    torch.testing.assert_close(final.margin[outside], clean.margin[outside])
    assert (final.predicted[broken & ~outside] != labels[broken & ~outside]).all()


def returns(monkeypatch, algorithm, function):
    monkeypatch.setattr(getattr(torchattacks, algorithm), "forward", lambda self, images, labels: function(images))


def towards_grey(images, by):
    return torch.where(images < 0.5, images + by, images - by)


@pytest.mark.parametrize("factor", [1.01, 2.0, -1.01])
def test_an_attack_that_was_given_eps_must_keep_to_it(monkeypatch, factor):
    classifier, images, labels, start = easy()
    returns(monkeypatch, "PGD", lambda x: towards_grey(x, factor * 8 / 255).clamp(0, 1))
    with pytest.raises(ThreatModelError, match="more than eps"):
        make("PGD").run(classifier, images, labels, start)


def test_rounding_that_misses_the_ball_is_projected_away(monkeypatch):
    classifier, images, labels, start = easy()
    returns(monkeypatch, "PGD", lambda x: towards_grey(x, 1.0005 * 8 / 255))
    result = make("PGD").run(classifier, images, labels, start)
    change = (result.adversarial - images).abs()
    assert change.max() <= 8 / 255 + BALL_TOLERANCE
    assert (change > 7.9 / 255).all()


def test_pixels_outside_the_box_are_an_error_or_do_not_count(monkeypatch):
    classifier, images, labels, start = easy()
    images[0, 0, 0, 0] = 1
    for algorithm in ("PGD", "CW"):
        returns(monkeypatch, algorithm, lambda x: x + 0.01)
    with pytest.raises(ThreatModelError, match=r"outside \[0, 1\]"):
        make("PGD").run(classifier, images, labels, start)
    assert torch.equal(make("CW", LARGE).run(classifier, images, labels, start).adversarial[0], images[0])


def test_images_that_are_not_finite_are_an_error_or_do_not_count(monkeypatch):
    classifier, images, labels, start = easy()
    for algorithm in ("PGD", "CW"):
        returns(monkeypatch, algorithm, lambda x: x / 0 * 0)
    with pytest.raises(ThreatModelError, match="nan"):
        make("PGD").run(classifier, images, labels, start)
    assert torch.equal(make("CW", LARGE).run(classifier, images, labels, start).adversarial, images)


class Brightness(nn.Module):
    """Class 0 for bright images, class 1 for dark ones."""

    def forward(self, images):
        bright = images.mean((1, 2, 3))
        return torch.stack([bright, 1 - bright], 1)


def test_any_is_the_worse_of_the_clean_image_and_what_was_found(monkeypatch):
    images = torch.tensor([0.2, 0.8])[:, None, None, None].expand(2, 1, 8, 8)
    labels = torch.tensor([0, 0])  # the first is wrong as it is
    returns(monkeypatch, "PGD", lambda x: 1 - x)
    result = make("PGD", ThreatModel(Fraction(1))).run(Brightness(), images, labels, batch(2)[2])
    assert result.final[0].predicted.tolist() == [0, 1]
    assert torch.equal(result.adversarial, 1 - images)
    assert result.any[0].predicted.tolist() == [1, 1]
    torch.testing.assert_close(result.any[0].margin, torch.tensor([-0.6, -0.6]))
    assert torch.equal(result.worst, torch.stack([images[0], 1 - images[1]]))


def test_passes_are_counted():
    classifier, images, labels, start = easy(6)
    result = make("EOTPGD", steps=3, eot_iter=2).run(classifier, images, labels, start)
    assert result.gradient_evaluations == 6 * 3 * 2
    assert result.forward_passes == 6 * (3 * 2 + 2)
    assert make("EOTPGD", steps=3, eot_iter=2).passes() == 2 * 3 * 2 + 1
    assert Torchattacks.rows_per_image([make("PGDRS", noise_batch_size=7), make("PGD")]) == 7


def test_what_goes_wrong_in_torchattacks_is_an_error_of_one_line():
    classifier = small_conv(CLASSES, 1)
    with pytest.raises(AttackError, match=r"torchattacks:PIFGSM linf 8/255: .*RuntimeError: .*3 channels") as caught:
        make("PIFGSM").run(classifier, *batch(4, CLASSES, 1))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory"),
        RuntimeError("can't allocate memory"),
        torch.AcceleratorError("CUDA error: out of memory"),
        RuntimeError("CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
    ],
)
def test_memory_that_runs_out_is_seen_as_what_it_is(monkeypatch, error):
    def fail(images):
        raise error

    returns(monkeypatch, "PGD", fail)
    with pytest.raises(type(error)) as raised:
        make("PGD").run(*easy())
    assert raised.value is error


def test_a_classifier_whose_answers_are_wrong_only_inside_the_attack_is_an_error():
    classifier, images, labels, start = easy()
    inner = classifier.forward
    classifier.forward = lambda points: inner(points) if torch.equal(points, images) else inner(points) * float("nan")
    for attack in (make("PGD"), make("PGDL2", HALF)):
        with pytest.raises(AttackError, match="not finite"):
            attack.run(classifier, images, labels, start)


def test_a_classifier_that_cuts_gradients_gets_zeros():
    classifier, images, labels, start = easy()
    inner = classifier.forward
    classifier.forward = lambda points: inner(points.detach())
    result = make("PGD", random_start=False).run(classifier, images, labels, start)
    assert torch.equal(result.adversarial, images)


def test_a_question_about_nan_is_not_held_against_the_classifier():
    classifier, images, labels, _ = easy()
    victim = Victim(classifier, images, labels)
    stand_in = StandIn(victim)
    logits = stand_in(torch.full_like(images, float("nan")))
    victim.check_finite()
    assert torch.equal(logits, classifier(torch.zeros_like(images)))
    assert not list(stand_in.children())


@pytest.mark.parametrize("context", [torch.no_grad, torch.inference_mode])
@pytest.mark.parametrize("algorithm", ["PGD", "CW", "FAB", "JSMA"])
def test_attacks_run_in_any_context(algorithm, context):
    classifier, images, labels, start = easy()
    expected = small(algorithm).run(classifier, images, labels, start)
    with context():
        result = small(algorithm).run(classifier, images * 1, labels * 1, start)
    assert torch.equal(result.adversarial, expected.adversarial)


def test_random_numbers_follow_from_the_batch_alone():
    classifier, images, labels, start = easy()
    attack = make("APGD", steps=3)
    torch.manual_seed(1)
    np.random.seed(1)
    first = attack.run(classifier, images, labels, start)
    torch.manual_seed(2)
    np.random.seed(2)
    assert torch.equal(attack.run(classifier, images, labels, start).adversarial, first.adversarial)
    others = start.select(torch.arange(4, -1, -1))
    assert not torch.equal(attack.run(classifier, images, labels, others).adversarial, first.adversarial)
