"""What every attack of the folder promises; a new file gets these tests without being named here."""

import copy
import dataclasses
import json
import re
from fractions import Fraction

import pytest
import torch
from torch import nn

from attacks.base import ADDED_LATER, AttackError, margins
from attacks.clean import Clean
from attacks.composition import Official
from attacks.fgsm import FGSM
from attacks.noise import Noise
from attacks.pgd import PGD
from attacks.search import SearchAttack
from attacks.starts import Starts
from attacks.threat_model import BALL_TOLERANCE, ThreatModel, ThreatModelError
from tests.attacks.attack_cases import EIGHT, attack_classes, attack_classes_by_module, batch, make, small_conv

# The official compositions are for other numbers of classes, or long; `ensemble` is the same code with a short budget.
ATTACKS = [cls for cls in attack_classes() if not issubclass(cls, Official)]
every_attack = pytest.mark.parametrize("cls", ATTACKS, ids=lambda cls: cls.__name__)
FIELDS = ("predicted", "margin")
TRAJECTORIES = (Clean, Noise, FGSM, PGD)


def same(first, second) -> bool:
    return all(torch.equal(getattr(first, name), getattr(second, name)) for name in FIELDS)


def test_a_file_holds_at_most_one_attack_and_the_known_ones_are_found():
    found = attack_classes_by_module()
    assert {"clean", "noise", "fgsm", "pgd"} <= {name for name, classes in found.items() if classes}
    assert all(len(classes) <= 1 for classes in found.values())


@every_attack
def test_an_attack_is_a_hashable_value_with_a_json_specification(cls):
    attack = make(cls)
    assert attack == make(cls)
    assert hash(attack) == hash(make(cls))
    with pytest.raises(dataclasses.FrozenInstanceError):
        attack.threat_model = EIGHT
    specification = attack.specification()
    assert json.loads(json.dumps(specification)) == specification
    assert specification["attack"] == cls.__module__.split(".")[-1].replace("_", "-") == attack.kind
    assert specification["version"] >= 1
    assert set(specification) == {"attack", "version", "norm", "eps"} | {
        field.name
        for field in dataclasses.fields(cls)
        if field.name != "threat_model" and field.compare and not field.metadata.get(ADDED_LATER)
    }
    assert attack.name.startswith(attack.kind)
    assert "\n" not in attack.name


@every_attack
def test_adversarial_images_stay_in_the_ball_and_the_box(cls):
    images, labels, start = batch()
    attack = make(cls)
    result = attack.run(small_conv(), images, labels, start)
    assert result.adversarial.shape == images.shape
    assert result.adversarial.dtype == images.dtype
    for found in (result.adversarial, result.worst):
        assert (found - images).abs().max() <= float(attack.threat_model.eps) + BALL_TOLERANCE
        assert found.min() >= 0
        assert found.max() <= 1
    assert max(result.trace.largest_change) <= float(attack.threat_model.eps) + BALL_TOLERANCE


@every_attack
def test_the_final_outcome_is_the_classifier_on_the_adversarial_images(cls):
    images, labels, start = batch()
    attack, classifier = make(cls), small_conv()
    result = attack.run(classifier, images, labels, start)
    logits = classifier(result.adversarial).detach()
    assert torch.equal(result.final[attack.steps].predicted, logits.argmax(1))
    torch.testing.assert_close(result.final[attack.steps].margin, margins(logits, labels))
    assert result.final[attack.steps].margin.dtype == torch.float32
    assert result.final[attack.steps].predicted.dtype == torch.int64
    at_worst = classifier(result.worst).detach()
    assert torch.equal(result.any[attack.steps].predicted, at_worst.argmax(1))
    torch.testing.assert_close(result.any[attack.steps].margin, margins(at_worst, labels))
    assert not result.adversarial.requires_grad
    assert not result.worst.requires_grad
    assert not result.final[attack.steps].margin.requires_grad


@every_attack
def test_any_iterate_is_never_above_the_final_one(cls):
    images, labels, start = batch()
    attack = make(cls)
    result = attack.run(small_conv(), images, labels, start)
    assert (result.any[attack.steps].margin <= result.final[attack.steps].margin).all()


@every_attack
@pytest.mark.parametrize("frozen", [True, False])
def test_an_attack_leaves_everything_as_it_was(cls, frozen):
    images, labels, start = batch()
    classifier = small_conv().requires_grad_(not frozen)
    for parameter in classifier.parameters():
        parameter.grad = None if frozen else torch.full_like(parameter, 0.25)
    state = copy.deepcopy(classifier.state_dict())
    modes = [module.training for module in classifier.modules()]
    needs = [parameter.requires_grad for parameter in classifier.parameters()]
    inputs = images.clone(), labels.clone(), start.samples.clone()
    torch.manual_seed(5)
    random_state = torch.get_rng_state()
    make(cls).run(classifier, images, labels, start)
    assert torch.equal(torch.get_rng_state(), random_state)
    assert all(torch.equal(value, state[name]) for name, value in classifier.state_dict().items())
    assert [module.training for module in classifier.modules()] == modes
    assert [parameter.requires_grad for parameter in classifier.parameters()] == needs
    for parameter in classifier.parameters():
        assert parameter.grad is None if frozen else bool((parameter.grad == 0.25).all())
    assert all(torch.equal(now, then) for now, then in zip((images, labels, start.samples), inputs, strict=True))
    assert not images.requires_grad
    assert torch.is_grad_enabled()


@every_attack
def test_an_attack_is_deterministic(cls):
    images, labels, start = batch()
    torch.manual_seed(0)
    first = make(cls).run(small_conv(), images, labels, start)
    torch.manual_seed(1)
    second = make(cls).run(small_conv(), images, labels, start)
    assert torch.equal(first.adversarial, second.adversarial)
    assert first.trace == second.trace
    assert all(same(first.any[steps], second.any[steps]) for steps in first.any)


@every_attack
@pytest.mark.parametrize("context", [torch.no_grad, torch.inference_mode])
def test_an_attack_runs_under_no_grad(cls, context):
    images, labels, start = batch()
    expected = make(cls).run(small_conv(), images, labels, start)
    classifier = small_conv()
    with context():
        images, labels = images * 1, labels * 1  # in inference mode: inference tensors, which autograd refuses
        result = make(cls).run(classifier, images, labels, start)
    assert torch.equal(result.adversarial, expected.adversarial)
    assert same(result.final[make(cls).steps], expected.final[make(cls).steps])


@every_attack
@pytest.mark.parametrize("sizes", [[1] * 12, [5, 7], [11, 1]])
def test_results_do_not_depend_on_the_batch(cls, sizes):
    if not cls.batch_free:
        pytest.skip("it draws its random numbers for the batch as a whole")
    images, labels, start = batch(dtype=torch.float64)
    attack, classifier = make(cls), small_conv(dtype=torch.float64)
    whole = attack.run(classifier, images, labels, start)
    order = torch.randperm(12, generator=torch.Generator().manual_seed(3))
    for index in order.split(sizes):
        part = attack.run(classifier, images[index], labels[index], start.select(index))
        torch.testing.assert_close(part.adversarial, whole.adversarial[index], rtol=0, atol=1e-12)
        assert torch.equal(part.any[attack.steps].predicted, whole.any[attack.steps].predicted[index])
        torch.testing.assert_close(part.any[attack.steps].margin, whole.any[attack.steps].margin[index])


@every_attack
def test_checkpoints_are_prefixes_of_the_trajectory(cls):
    if "steps" not in {field.name for field in dataclasses.fields(cls)} or issubclass(cls, SearchAttack):
        pytest.skip("its number of steps is fixed, or its iterates depend on it")
    images, labels, start = batch()
    longest = make(cls, steps=6)
    checkpoints = [s for s in (1, 3, 6) if make(cls, steps=s).family() == longest.family()]
    result = longest.run(small_conv(), images, labels, start, checkpoints)
    assert list(result.final) == list(result.any) == checkpoints
    for steps in checkpoints:
        alone = make(cls, steps=steps).run(small_conv(), images, labels, start)
        assert same(result.final[steps], alone.final[steps])
        assert same(result.any[steps], alone.any[steps])


@every_attack
def test_the_trace_has_one_entry_per_iterate_and_per_gradient(cls):
    images, labels, start = batch()
    attack = make(cls)
    trace = attack.run(small_conv(), images, labels, start).trace
    if isinstance(attack, TRAJECTORIES):
        assert len(trace.loss) == len(trace.largest_change) == attack.steps + 1
        assert len(trace.zero_gradients) == len(trace.non_finite) == attack.steps
    else:
        # It may end early, when every image is broken, or see nothing of its gradients.
        assert len(trace.loss) <= attack.steps + 1 or not attack.steps
        assert len(trace.zero_gradients) == len(trace.non_finite) <= attack.steps
    values = [*trace.loss, *trace.largest_change, *trace.zero_gradients, *trace.non_finite]
    assert all(isinstance(value, float) for value in values)
    assert not any(trace.non_finite)


@every_attack
def test_eps_zero_gives_the_clean_predictions(cls):
    if cls is Clean:
        pytest.skip("it has eps 0 by definition")
    images, labels, start = batch()
    settings = {"step_size": "eps/4"} if "step_size" in {field.name for field in dataclasses.fields(cls)} else {}
    attack = make(cls, threat_model=ThreatModel(Fraction(0)), **settings)
    result = attack.run(small_conv(), images, labels, start)
    clean = Clean().run(small_conv(), images, labels, start)
    assert torch.equal(result.adversarial, images)
    assert same(result.final[attack.steps], clean.final[0])
    assert same(result.any[attack.steps], clean.final[0])


class Says(nn.Module):
    """Returns whatever the function makes of the images."""

    def __init__(self, function) -> None:
        super().__init__()
        self.function = function

    def forward(self, images):
        return self.function(images)


def nan_for_one(images):
    logits = images.flatten(1)[:, :3].clone()
    logits[1] = float("nan")
    return logits


BROKEN = {
    "nan": (nan_for_one, "not finite"),
    "infinite": (lambda images: images.flatten(1)[:, :3] / 0.0, "not finite"),
    "one column": (lambda images: images.flatten(1)[:, :1], r"\(\d+, 1\).*expected float logits \(\d+, C\)"),
    "three dimensions": (lambda images: images[:, 0], r"\(\d+, 8, 8\)"),
    "wrong count": (lambda images: images.flatten(1)[:5], r"\(5, 64\)"),
    "predictions": (lambda images: images.flatten(1).argmax(1), "int64"),
    "a tuple": (lambda images: (images.flatten(1), None), "tuple"),
    "too few classes": (lambda images: images.flatten(1)[:, :2], r"label 2 is outside 0\.\.1"),
}


@every_attack
@pytest.mark.parametrize("kind", BROKEN)
def test_a_broken_classifier_is_an_error_of_one_line(cls, kind):
    function, message = BROKEN[kind]
    images, labels, start = batch()
    with pytest.raises(AttackError, match=message) as caught:
        make(cls).run(Says(function), images, labels, start)
    assert "\n" not in str(caught.value)


BAD_INPUTS = {
    "pixels to 255": (lambda x, y: (x * 255, y), r"expected pixels in \[0, 1\]"),
    "normalised": (lambda x, y: (x - 0.5, y), r"expected pixels in \[0, 1\]"),
    "nan pixel": (lambda x, y: (x / x, y), "nan"),
    "uint8": (lambda x, y: ((x * 255).byte(), y), "uint8"),
    "half": (lambda x, y: (x.half(), y), "float16"),
    "one image": (lambda x, y: (x[0], y[:1]), "N, C, H, W"),
    "nothing": (lambda x, y: (x[:0], y[:0]), "N above 0"),
    "negative label": (lambda x, y: (x, y - 9), "negative"),
    "labels as floats": (lambda x, y: (x, y.float()), "int64"),
    "fewer labels": (lambda x, y: (x, y[:3]), r"expected int64 \(12,\)"),
}


@every_attack
@pytest.mark.parametrize("kind", BAD_INPUTS)
def test_bad_inputs_are_an_error_of_one_line(cls, kind):
    change, message = BAD_INPUTS[kind]
    images, labels, start = batch()
    with pytest.raises(AttackError, match=message) as caught:
        make(cls).run(small_conv(), *change(images, labels), start)
    assert "\n" not in str(caught.value)


@every_attack
@pytest.mark.parametrize("checkpoints", [[], [-1], [99]])
def test_impossible_checkpoints_are_an_error(cls, checkpoints):
    with pytest.raises(AttackError, match=re.escape(make(cls).name)):
        make(cls).run(small_conv(), *batch(), checkpoints)


@every_attack
def test_a_classifier_that_raises_is_a_crash_and_no_result(cls):
    def crash(images):
        raise RuntimeError("out of memory")

    with pytest.raises(RuntimeError, match="out of memory"):
        make(cls).run(Says(crash), *batch())


@every_attack
def test_an_adversarial_image_outside_the_ball_is_noticed(cls, monkeypatch):
    """The check at the end is not fooled by bounds that are too wide."""
    wide = 3 * float(make(cls).threat_model.eps) + 0.1
    monkeypatch.setattr(ThreatModel, "bounds", lambda self, images: (images - wide, images + wide))
    monkeypatch.setattr(Starts, "uniform", lambda self, shape, restart=0: torch.full(shape, 3.0))
    images, labels, start = batch()
    attack = make(cls, **({"step_size": 1} if "step_size" in {f.name for f in dataclasses.fields(cls)} else {}))
    if cls not in (Noise, PGD):
        pytest.skip("it cannot leave the ball, or does not use these bounds")
    with pytest.raises(ThreatModelError, match="more than eps"):
        attack.run(small_conv(), images, labels, start)
