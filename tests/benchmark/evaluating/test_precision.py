"""Fast copies of classifiers: when one is taken, and why it is not."""

import copy
from fractions import Fraction
from types import SimpleNamespace

import pytest
import torch
from pydantic import ValidationError
from torch import nn

from attacks.apgd import APGD
from attacks.clean import Clean
from attacks.float32 import Float32
from attacks.noise import Noise
from attacks.parts.sharing import SharedRun
from attacks.parts.two_precisions import TwoPrecisions
from attacks.pgd import PGD
from attacks.threat_model import ThreatModel
from benchmark.evaluating import precision
from benchmark.evaluating.attacking import attack_images
from benchmark.evaluating.determinism import full_precision
from benchmark.evaluating.precision import Arithmetic, arithmetic_for
from benchmark.evaluating.settings import Evaluation
from benchmark.evaluating.validation import validate
from benchmark.planning.presets import load_preset
from methods.backbones import BackboneChoice, MultiHead, TaskNetwork, initialise
from methods.parts.stochastic_masks import MaskedNetwork, Masks
from methods.training.folded import FoldedLayers
from methods.training.recipe import Recipe
from scenarios.base import ImageSet, ScenarioSettings
from scenarios.digits import Digits

SHAPE = (1, 8, 8)
CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def _processor_with_bf16(monkeypatch: pytest.MonkeyPatch) -> None:
    """Emulated where there is none: what is tested are decisions, not speed."""
    monkeypatch.setattr(precision, "_processor_has_bf16", lambda: True)


def network() -> TaskNetwork:
    """An untrained network for digits whose batch norm is not the identity."""
    multi = MultiHead(BackboneChoice(name="small_conv", width=0.5).build(SHAPE), [3], [0.3], [0.3])
    initialise(multi, torch.Generator().manual_seed(0))
    generator = torch.Generator().manual_seed(1)
    for name, buffer in multi.named_buffers():
        if name.endswith(("running_mean", "running_var")):
            buffer.add_(0.1 * torch.rand(buffer.shape, generator=generator))
    return multi.for_task(0).materialise()


class Plain(nn.Module):
    """A stranger's network, of layers that nobody folds."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layers = nn.Sequential(nn.Conv2d(1, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(288, 3))

    def forward(self, images):
        return self.layers(images)


class WithoutAutocast(Plain):
    """It computes in the precision that it likes."""

    def forward(self, images):
        with torch.autocast("cpu", enabled=False):
            return self.layers(images.float())


class FailsWhenLow(Plain):
    """It asks for float32 inside."""

    def forward(self, images):
        features = self.layers[0](images)
        assert features.dtype == torch.float32
        return self.layers[1:](features)


class ManyBits(Plain):
    """Its answers hang on bits that low precision drops."""

    def forward(self, images):
        features = self.layers[0](images).float()
        return self.layers[1:](torch.sin(features * 1e5))


class OwnGradient(Plain):
    """Under autocast its gradient points the other way."""

    def forward(self, images):
        logits = self.layers(images)
        return 2 * logits.detach() - logits if torch.is_autocast_enabled("cpu") else logits


def taken(classifier: nn.Module, allowed: precision.Precision = "bf16") -> Arithmetic:
    return arithmetic_for(classifier.eval(), SHAPE, CPU, allowed)


def test_a_network_of_ours_gets_a_folded_copy_in_low_precision():
    classifier = network()
    before = copy.deepcopy(classifier.state_dict())
    found = taken(classifier)
    assert found.said() == {"walked": "bf16"}
    assert isinstance(found.classifier, TwoPrecisions)
    assert found.exact is classifier
    assert isinstance(found.classifier.fast.backbone.layers, FoldedLayers)
    assert isinstance(classifier.backbone.layers, nn.Sequential)
    images = torch.rand(50, *SHAPE)
    exact, fast = classifier(images), found.classifier.fast(images)
    assert fast.dtype == torch.float32
    assert not torch.equal(exact, fast)
    torch.testing.assert_close(exact, fast, rtol=0.05, atol=0.05 * float(exact.abs().max()))
    assert all(torch.equal(value, before[name]) for name, value in classifier.state_dict().items())


@pytest.mark.parametrize(
    "make", [Plain, lambda: MaskedNetwork(network(), Masks(network(), 1.0, 1.0))], ids=["plain", "masked"]
)
def test_other_networks_are_asked_under_autocast(make):
    found = taken(make())
    assert found.said() == {"walked": "bf16"}
    assert isinstance(found.classifier, TwoPrecisions)
    assert isinstance(found.classifier.fast, precision._Autocast)


@pytest.mark.parametrize(
    ("make", "because"),
    [
        (WithoutAutocast, "it computes in a precision of its own"),
        (lambda: Plain().double(), "fails"),
        (FailsWhenLow, "its copy in bf16 fails: AssertionError"),
        (ManyBits, "by more than rounding"),
        (OwnGradient, "its gradient points elsewhere"),
    ],
    ids=["own precision", "float64", "fails", "bits", "gradient"],
)
def test_who_computes_otherwise_in_low_precision_is_attacked_in_float32(make, because):
    classifier = make()
    found = taken(classifier)
    assert found.classifier is classifier
    assert found.said()["walked"] == "fp32"
    assert because in found.said()["because"]


def test_no_image_of_a_data_set_is_shown_to_a_classifier_before_it_is_attacked():
    seen = []

    class Remembering(Plain):
        def forward(self, images):
            seen.append(images)
            return super().forward(images)

    taken(Remembering())
    assert seen
    assert all(torch.equal(images, precision._smooth_images(SHAPE, CPU)) for images in seen)


class AsOnAGpu(Plain):
    """It rounds where TF32 is allowed, as a GPU does."""

    def forward(self, images):
        logits = self.layers(images)
        return logits.bfloat16().float() if torch.backends.cudnn.allow_tf32 else logits


def test_a_copy_in_tf32_is_compared_where_tf32_is_allowed_and_taken(monkeypatch):
    monkeypatch.setattr(precision, "_lacks", lambda *_: "")
    with full_precision():
        found = taken(AsOnAGpu(), "tf32")
        assert not torch.backends.cudnn.allow_tf32
    assert found.said() == {"walked": "tf32"}
    assert isinstance(found.classifier, TwoPrecisions)
    assert found.classifier.tf32


def test_a_machine_without_the_precision_attacks_in_float32(monkeypatch):
    monkeypatch.setattr(precision, "_processor_has_bf16", lambda: False)
    assert taken(network()).said() == {"walked": "fp32", "because": "this processor has no bfloat16"}
    assert taken(network(), "tf32").said() == {"walked": "fp32", "because": "no tf32 on cpu"}
    assert taken(network(), "fp16").said()["because"] == "no fp16 on cpu"


def test_float32_alone_says_nothing_and_copies_nothing():
    classifier = network()
    assert taken(classifier, "fp32") == Arithmetic(classifier, "fp32")
    assert taken(classifier, "fp32").said() == {}


def test_precisions_have_long_names_and_others_are_refused():
    matrix = [{"attack": "clean"}]
    assert Evaluation(matrix=matrix).precision == "fp32"
    for name, short in (("float32", "fp32"), ("bfloat16", "bf16"), ("float16", "fp16"), ("tf32", "tf32")):
        assert Evaluation(matrix=matrix, precision=name).precision == short
    with pytest.raises(ValidationError, match="fp8"):
        Evaluation(matrix=matrix, precision="fp8")


class FailsOnTheWay(nn.Module):
    """A fast copy that fails where an attack goes: its logits are not finite, or it raises an error."""

    def __init__(self, classifier: nn.Module, error: Exception | None) -> None:
        super().__init__()
        self.classifier, self.error, self.calls = classifier, error, 0

    def forward(self, images):
        self.calls += 1
        if self.error is not None and self.calls > 2:
            raise self.error
        return self.classifier(images) * (torch.nan if self.calls > 2 else 1.0)


@pytest.mark.parametrize("error", [None, ValueError("too rough")], ids=["not finite", "raises"])
@pytest.mark.parametrize("kind", [PGD, APGD], ids=lambda cls: cls.__name__)
def test_a_copy_that_fails_under_attack_is_left_and_the_classifier_attacked_as_it_is(kind, error):
    model = ThreatModel(Fraction(1, 100))
    attack = kind(threat_model=model, steps=3, **({"step_size": "eps/4"} if kind is PGD else {}))
    classifier = network()
    images = (torch.rand(8, *SHAPE, generator=torch.Generator().manual_seed(2)) * 255).to(torch.uint8)
    test = ImageSet(images, classifier(images / 255).argmax(1), torch.arange(8))

    def run(arithmetic: Arithmetic):
        found = attack_images(arithmetic, test, SharedRun((attack,)), seed=0, key="k", batch_size=8)
        return found.outcomes[attack]

    plain = run(Arithmetic(classifier, "fp32"))
    failing = run(Arithmetic(TwoPrecisions(classifier, FailsOnTheWay(classifier, error)), "bf16"))
    assert torch.equal(plain.any.margin, failing.any.margin)
    assert "its copy fails under attack" in failing.trace
    assert "precision" not in plain.trace


def test_attacks_that_do_not_walk_are_the_same_evaluation_in_any_precision():
    exact, fast = (load_preset("digits", overrides) for overrides in ([], ["evaluation.precision=bf16"]))
    task = SimpleNamespace(test_fingerprint="f")
    walk = PGD(threat_model=ThreatModel(Fraction(1, 5)), steps=10, step_size="eps/4")
    assert fast.attack_name(walk) == f"{exact.attack_name(walk)} in=bf16"
    assert fast.evaluation_fields(walk, task) != exact.evaluation_fields(walk, task)
    still = [Clean(), Noise(threat_model=walk.threat_model), Float32(threat_model=walk.threat_model, made_with=walk)]
    for attack in still:
        assert fast.attack_name(attack) == exact.attack_name(attack)
        assert fast.evaluation_fields(attack, task) == exact.evaluation_fields(attack, task)


def test_clean_accuracy_has_one_name_and_is_one_evaluation_under_any_seed():
    usual, other = (load_preset("digits", overrides) for overrides in ([], ["evaluation.seed=1"]))
    task, walk = (
        SimpleNamespace(test_fingerprint="f"),
        PGD(threat_model=ThreatModel(Fraction(1, 5)), steps=1, step_size="eps"),
    )
    assert other.attack_name(walk) == f"{usual.attack_name(walk)} seed=1"
    assert other.attack_name(Clean()) == usual.attack_name(Clean()) == "clean"
    assert other.evaluation_fields(Clean(), task) == usual.evaluation_fields(Clean(), task)


def test_validation_walks_where_the_recipe_allows_and_judges_in_float32(monkeypatch):
    task = Digits(ScenarioSettings(tasks=1)).load()[0].to_learn()
    multi = MultiHead(BackboneChoice(name="small_conv", width=0.5).build(SHAPE), [2], [0.3], [0.3])
    initialise(multi, torch.Generator().manual_seed(0))
    walked = []
    made = TwoPrecisions.__init__

    def seen(self, exact, fast, tf32=False):
        made(self, exact, fast, tf32)
        fast.register_forward_hook(lambda *_: walked.append(fast))

    monkeypatch.setattr(TwoPrecisions, "__init__", seen)
    found = {}
    for name in ("fp32", "bf16"):
        recipe = Recipe(epochs=1, batch_size=16, learning_rate=0.1, selection={"steps": 5, "precision": name})
        found[name] = validate(multi.for_task(0), task, recipe, Fraction(51, 255))
        assert bool(walked) == (name == "bf16")
    images = task.validation.images.float() / 255
    with torch.no_grad():
        right = multi.for_task(0).eval()(images).argmax(1) == task.validation.labels
    for validation in found.values():
        assert torch.equal(validation.clean_correct, right)
    # The two attacks part by rounding alone.
    assert abs(found["fp32"].robust - found["bf16"].robust) < 0.1


def test_the_precision_of_validation_is_part_of_a_run_only_where_it_is_set():
    assert "precision" not in Recipe(epochs=1, batch_size=16, learning_rate=0.1).identity()["selection"]
    recipe = Recipe(epochs=1, batch_size=16, learning_rate=0.1, selection={"precision": "bf16"})
    assert recipe.identity()["selection"]["precision"] == "bf16"
