"""The promises of every attack of the folder; a new file gets these tests without being named here."""

import dataclasses
import functools
import inspect
import json
import re
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from attacks.base import ADDED_LATER, AttackError
from attacks.clean import Clean
from attacks.composition import Official
from attacks.fgsm import FGSM
from attacks.noise import Noise
from attacks.pgd import PGD
from attacks.search import SearchAttack
from attacks.starts import Starts
from attacks.threat_model import ThreatModel, ThreatModelError
from benchmark.contract.attack_requirements import ATTACK_REQUIREMENTS
from benchmark.contract.attack_trial import CLASSES, AttackTrial
from benchmark.contract.requirement import problem_of
from tests.attacks.attack_cases import EIGHT, attack_classes, attack_classes_by_module, batch, make, small_conv

# The official compositions are for other numbers of classes, or long; `ensemble` is the same code with a short budget.
ATTACKS = [cls for cls in attack_classes() if not issubclass(cls, Official)]
every_attack = pytest.mark.parametrize("cls", ATTACKS, ids=lambda cls: cls.__name__)
TRAJECTORIES = (Clean, Noise, FGSM, PGD)


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


@pytest.fixture(scope="module")
def trial_of():
    """Each attack on trial, once for all tests of this file."""
    return functools.cache(lambda cls: AttackTrial(functools.partial(make, cls), Path(inspect.getfile(cls))))


@every_attack
@pytest.mark.parametrize("check", ATTACK_REQUIREMENTS, ids=str)
def test_contract(trial_of, cls, check):
    """Our attacks meet what `run_benchmark.py check` asks of a stranger's (`benchmark/contract/attack_requirements.py`)."""
    trial = trial_of(cls)
    if not check.applies(trial):
        pytest.skip(f"does not concern {cls.__name__}")
    assert problem_of(check, trial) is None


@pytest.mark.parametrize("classes", CLASSES)
def test_an_attack_is_tried_on_images_of_every_class_that_still_stand(monkeypatch, classes):
    monkeypatch.setattr(AttackTrial, "classes", classes)
    trial = AttackTrial(functools.partial(make, FGSM), Path())
    before = torch.get_rng_state()
    labels, answers = trial.batch().labels, trial.classifier()(trial.batch().images).argmax(1)
    assert set(labels[answers == labels].tolist()) == set(range(classes))
    assert (answers != labels).any()
    assert torch.equal(torch.get_rng_state(), before)


class Strange(SearchAttack):
    """Asks about what a subclass says, and returns it."""

    steps = 1
    name = "strange"

    def extend(self, search, start):
        search.victim.logits_only(self.asked(search.victim.images))


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        (lambda images: images, "returned a NoneType; expected a Trace"),
        (Tensor.numpy, "asks about a ndarray; expected"),
    ],
)
def test_what_a_search_gives_is_of_the_right_kind(monkeypatch, asked, message):
    monkeypatch.setattr(Strange, "asked", staticmethod(asked), raising=False)
    with pytest.raises(AttackError, match=message):
        Strange(threat_model=EIGHT).run(small_conv(), *batch())


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
