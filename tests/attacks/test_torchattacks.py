"""Attacks of torchattacks: they do what the package does, count only inside the ball, and leave nothing behind."""

import inspect
import json
import random
import sys
from fractions import Fraction

import numpy as np
import pytest
import torch
import torchattacks
from torch import nn

from attacks.base import AttackError, margins, outcome_of
from attacks.parts.guard import StandIn, random_state_kept, seed_of
from attacks.threat_model import BALL_TOLERANCE, ThreatModel, ThreatModelError
from attacks.torchattacks import CHECKED_VERSION, FLOAT32_ONLY, L2_ONLY, Torchattacks
from attacks.victim import Victim
from tests.attacks.attack_cases import EIGHT, batch, small_conv
from tests.attacks.stateful import CLASSES, Stateful, everything

HALF = ThreatModel(Fraction(128, 255), "l2")
LARGE = ThreatModel(Fraction(8), "l2")
SMALL = {
    "steps": 3,
    "num_iter_set": 3,
    "max_iterations": 10,
    "binary_search_steps": 2,
    "n_queries": 10,
    "restarts": 2,
    "nb_sample": 8,
    "max_batch_size": 4,
    "noise_batch_size": 2,
    "x_dimensions": [1, 2],
    "y_dimensions": [1, 2],
}
FEW = {"SparseFool": {"steps": 1}, "AutoAttack": {"version": "rand"}, "Pixle": SMALL | {"max_iterations": 2}}
NAMES = [name for name in torchattacks.__all__ if name not in torchattacks.__wrapper__]
every_attack = pytest.mark.parametrize("algorithm", NAMES)


def parameters(algorithm):
    return inspect.signature(getattr(torchattacks, algorithm)).parameters


def small(algorithm, threat_model=None):
    """The attack with few steps, under a norm that it is for."""
    fields = {key: value for key, value in FEW.get(algorithm, SMALL).items() if key in parameters(algorithm)}
    model = threat_model or (HALF if algorithm in L2_ONLY else EIGHT)
    return Torchattacks.from_fields(algorithm, model, fields)


def make(algorithm, model=EIGHT, **fields):
    return Torchattacks.from_fields(algorithm, model, fields)


def seeded(start, call):
    """What `call` returns with the global generators seeded as the guard does it."""
    with random_state_kept():
        torch.manual_seed(seed_of(start))
        np.random.seed(seed_of(start))
        random.seed(seed_of(start))
        return call().detach()


def easy(count=5, seed=0, dtype=torch.float32):
    """A classifier, images that it classifies right except for the first, their starts."""
    classifier = small_conv(CLASSES, 3, dtype=dtype).requires_grad_(False)
    images, _, start = batch(count, CLASSES, 3, seed, dtype)
    labels = classifier(images).argmax(1)
    labels[0] = (labels[0] + 1) % CLASSES
    return classifier, images, labels, start


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
    """What computes in float32 alone gets float32; whatever comes back is in the ball, at eps 0 the images to the bit."""
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


def test_what_goes_wrong_in_torchattacks_is_an_error_of_one_line():
    classifier = small_conv(CLASSES, 1)
    with pytest.raises(AttackError, match=r"torchattacks:PIFGSM linf 8/255: .*RuntimeError: .*3 channels") as caught:
        make("PIFGSM").run(classifier, *batch(4, CLASSES, 1))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("error", [torch.OutOfMemoryError("CUDA out of memory"), RuntimeError("can't allocate memory")])
def test_memory_that_runs_out_is_seen_as_what_it_is(monkeypatch, error):
    def fail(images):
        raise error

    returns(monkeypatch, "PGD", fail)
    with pytest.raises(type(error), match="memory"):
        make("PGD").run(*easy())


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


def test_warnings_say_what_is_hardly_meant(monkeypatch):
    assert make("PGD", alpha="2/255").warnings() == ()
    assert "above 2 eps" in make("PGD", alpha="3 eps").warnings()[0]
    assert "takes 10 steps" in make("AutoAttack").warnings()[0]
    monkeypatch.setattr("importlib.metadata.version", lambda package: "9.9")
    assert make("PGD").warnings() == (f"torchattacks 9.9 is installed; this was checked with {CHECKED_VERSION}",)
