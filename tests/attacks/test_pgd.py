"""PGD is the published algorithm: against torchattacks, against a closed form, and in what it costs."""

from fractions import Fraction

import pytest
import torch
import torchattacks
from torch import nn

from attacks.base import AttackError, margins
from attacks.fgsm import FGSM
from attacks.noise import Noise
from attacks.parts.ascent import ascend, step
from attacks.parts.trajectory.lanes import starting_point
from attacks.pgd import PGD
from attacks.starts import Starts
from attacks.threat_model import ThreatModel
from tests.attacks.attack_cases import EIGHT, Counting, SmallConv, batch, small_conv


class TorchattacksPGD(torchattacks.PGD):
    """torchattacks' PGD around the same images, but from given starting points: only the random draw is replaced."""

    def forward(self, images, labels):
        noise = self.first - images
        empty_like = torch.empty_like
        torch.empty_like = lambda tensor: Given(noise)
        try:
            return super().forward(images, labels)
        finally:
            torch.empty_like = empty_like


class Given:
    """Stands where torchattacks makes an empty tensor to fill with uniform noise."""

    def __init__(self, noise: torch.Tensor) -> None:
        self.noise = noise

    def uniform_(self, low: float, high: float) -> torch.Tensor:
        assert low <= self.noise.min()
        assert self.noise.max() <= high
        return self.noise


@pytest.mark.parametrize("classes", [2, 3, 5])
@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize(
    ("eps", "step_size", "steps"),
    [("8/255", "2/255", 10), ("0.2", "eps/4", 7), ("4/255", "3 eps", 5), ("0.5", "0.1", 20)],
)
def test_it_equals_torchattacks(classes, seed, eps, step_size, steps):
    # In float64: torchattacks rounds elsewhere, and in float32 that flips the sign of a few gradients next to zero.
    images, labels, start = batch(count=6, classes=classes, seed=seed, dtype=torch.float64)
    classifier = small_conv(classes, seed=seed, dtype=torch.float64)
    attack = PGD(threat_model=ThreatModel(eps), steps=steps, step_size=step_size)
    result = attack.run(classifier, images, labels, start)
    other = TorchattacksPGD(classifier, float(attack.threat_model.eps), float(attack.step_size), steps)
    other.first = starting_point(attack.threat_model, images, start, 0)
    torch.testing.assert_close(result.adversarial, other(images, labels), rtol=0, atol=1e-9)


@pytest.mark.parametrize("steps", [1, 10])
def test_without_a_random_start_it_equals_torchattacks_in_float32(steps):
    images, labels, start = batch()
    classifier = small_conv()
    attack = PGD(threat_model=EIGHT, steps=steps, step_size=Fraction(2, 255), random_start=False)
    result = attack.run(classifier, images, labels, start)
    other = torchattacks.PGD(classifier, eps=8 / 255, alpha=2 / 255, steps=steps, random_start=False)
    close = (result.adversarial - other(images, labels)).abs() < 1e-6
    assert close.float().mean() > 0.995


def test_fgsm_equals_torchattacks_and_one_large_step_of_pgd():
    images, labels, start = batch()
    classifier = small_conv()
    result = FGSM(threat_model=EIGHT).run(classifier, images, labels, start)
    other = torchattacks.FGSM(classifier, eps=8 / 255)(images, labels)
    torch.testing.assert_close(result.adversarial, other, rtol=0, atol=1e-6)
    one = PGD(threat_model=EIGHT, steps=1, step_size="eps", random_start=False).run(classifier, images, labels, start)
    assert torch.equal(result.adversarial, one.adversarial)


class Linear(nn.Module):
    def __init__(self, weight: torch.Tensor, bias: torch.Tensor) -> None:
        super().__init__()
        self.weight, self.bias = weight, bias

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return images.flatten(1) @ self.weight.T + self.bias


def linear_case(seed: int):
    generator = torch.Generator().manual_seed(seed)
    images = torch.rand(10, 1, 4, 4, generator=generator, dtype=torch.float64)
    labels = torch.randint(2, (10,), generator=generator)
    weight = torch.randn(2, 16, generator=generator, dtype=torch.float64)
    return images, labels, weight, torch.randn(2, generator=generator, dtype=torch.float64)


def worst_margin(image: list[float], label: int, weight: list[list[float]], bias: list[float], eps: float) -> float:
    """Pixel by pixel: a linear margin is smallest at the end of a pixel's interval that its weight points away from."""
    total = bias[label] - bias[1 - label]
    for pixel, own, other in zip(image, weight[label], weight[1 - label], strict=True):
        slope = own - other
        total += slope * (max(pixel - eps, 0.0) if slope > 0 else min(pixel + eps, 1.0))
    return total


@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize("loss", ["ce", "margin"])
@pytest.mark.parametrize("restarts", [1, 3])
def test_on_a_linear_classifier_it_finds_the_closed_form_worst_case(seed, loss, restarts):
    images, labels, weight, bias = linear_case(seed)
    # 0.3 / 0.05 and one more: from one side of the ball to the other takes 12 steps.
    attack = PGD(threat_model=ThreatModel("0.3"), steps=12, step_size="0.05", loss=loss, restarts=restarts)
    result = attack.run(Linear(weight, bias), images, labels, Starts(seed, "linear", torch.arange(10)))
    expected = [
        worst_margin(image.flatten().tolist(), label, weight.tolist(), bias.tolist(), 0.3)
        for image, label in zip(images, labels.tolist(), strict=True)
    ]
    assert result.final[12].margin.tolist() == pytest.approx(expected, abs=1e-5)
    assert result.any[12].margin.tolist() == pytest.approx(expected, abs=1e-5)
    assert (result.final[12].predicted == labels).tolist() == [margin > 0 for margin in expected]


def slow_pgd(image, label, weight, bias, first, eps, step_size, steps):
    """Cross-entropy PGD on a two-class linear classifier in plain Python: the gradient's sign is that of -slope."""
    pixels = list(first)
    for _ in range(steps):
        for index, centre in enumerate(image):
            slope = weight[label][index] - weight[1 - label][index]
            moved = pixels[index] + step_size * (-1 if slope > 0 else 1)
            pixels[index] = min(max(moved, centre - eps, 0.0), centre + eps, 1.0)
    return pixels


@pytest.mark.parametrize("steps", [1, 3, 6])
def test_it_equals_a_slow_obvious_loop(steps):
    images, labels, weight, bias = linear_case(5)
    start = Starts(0, "linear", torch.arange(10))
    attack = PGD(threat_model=ThreatModel("0.3"), steps=steps, step_size="0.07")
    result = attack.run(Linear(weight, bias), images, labels, start)
    first = starting_point(attack.threat_model, images, start, 0)
    expected = [
        slow_pgd(image, label, weight.tolist(), bias.tolist(), point, 0.3, 0.07, steps)
        for image, label, point in zip(
            images.flatten(1).tolist(), labels.tolist(), first.flatten(1).tolist(), strict=True
        )
    ]
    torch.testing.assert_close(result.adversarial.flatten(1), torch.tensor(expected, dtype=torch.float64))


def test_a_run_of_40_steps_holds_the_runs_of_7_10_and_20_to_the_bit():
    images, labels, start = batch()
    settings = {"threat_model": EIGHT, "step_size": Fraction(2, 255), "restarts": 2}
    counting = Counting(small_conv())
    shared = PGD(steps=40, **settings).run(counting, images, labels, start, [40, 7, 10, 20])
    assert list(shared.final) == [7, 10, 20, 40]
    # Both restarts are rows of one batch.
    assert (counting.gradients, counting.forwards) == (40, 41)
    assert (shared.gradient_evaluations, shared.forward_passes) == (12 * 2 * 40, 12 * 2 * 41)
    for steps in (7, 10, 20, 40):
        alone = PGD(steps=steps, **settings).run(small_conv(), images, labels, start)
        assert torch.equal(shared.final[steps].margin, alone.final[steps].margin)
        assert torch.equal(shared.final[steps].predicted, alone.final[steps].predicted)
        assert torch.equal(shared.any[steps].margin, alone.any[steps].margin)
        assert torch.equal(shared.any[steps].predicted, alone.any[steps].predicted)
        assert shared.trace.loss[: steps + 1] == pytest.approx(alone.trace.loss)


@pytest.mark.parametrize("steps", [1, 7])
def test_k_steps_cost_k_gradients_and_one_more_forward(steps):
    counting = Counting(small_conv())
    result = PGD(threat_model=EIGHT, steps=steps, step_size="eps/4").run(counting, *batch())
    assert (counting.gradients, counting.forwards) == (steps, steps + 1)
    assert (result.gradient_evaluations, result.forward_passes) == (12 * steps, 12 * (steps + 1))


def test_no_weight_gradient_is_computed():
    classifier = small_conv()
    images, labels, start = batch()
    for parameter in classifier.parameters():
        parameter.register_hook(lambda gradient: pytest.fail("a weight gradient was computed"))
    PGD(threat_model=EIGHT, steps=2, step_size="eps").run(classifier, images, labels, start)
    ascend(lambda x: -margins(classifier(x), labels).sum(), images, *EIGHT.bounds(images), 0.01, 2)


def test_any_iterate_is_the_running_minimum_and_falls_with_steps_and_restarts():
    images, labels, start = batch(count=24)
    classifier = small_conv()
    margin = None
    for restarts in (1, 2, 4):
        attack = PGD(threat_model=EIGHT, steps=8, step_size="3 eps", restarts=restarts)
        result = attack.run(classifier, images, labels, start, range(9))
        curve = torch.stack([result.any[steps].margin for steps in range(9)])
        assert (curve.diff(dim=0) <= 0).all()
        final = torch.stack([result.final[steps].margin for steps in range(9)])
        assert (curve <= final).all()
        if restarts == 1:
            assert torch.equal(curve, final.cummin(0).values)
            assert (
                curve < final
            ).any()  # at this step size the final iterate is not the worst: the test is not vacuous
        else:
            assert (curve <= margin).all()
        margin = curve
        wrong = result.any[8].predicted != labels
        assert (wrong == (curve[-1] < 0)).all()


def test_restarts_report_the_worst_of_them():
    images, labels, start = batch()
    classifier = small_conv()
    attack = PGD(threat_model=EIGHT, steps=3, step_size="2 eps", restarts=3)
    result = attack.run(classifier, images, labels, start)
    lower, upper = EIGHT.bounds(images)
    ends = []
    for first in (starting_point(EIGHT, images, start, restart) for restart in range(3)):
        loss = lambda x: nn.functional.cross_entropy(classifier(x), labels, reduction="sum")  # noqa: E731
        ends.append(ascend(loss, first, lower, upper, float(attack.step_size), 3))
    every = torch.stack([margins(classifier(end).detach(), labels) for end in ends])
    torch.testing.assert_close(result.final[3].margin, every.amin(0))
    expected = torch.stack(ends)[every.argmin(0), torch.arange(12)]
    assert torch.equal(result.adversarial, expected)
    assert len(set(every.argmin(0).tolist())) > 1


def test_noise_reports_the_worst_draw():
    images, labels, start = batch()
    classifier = small_conv()
    draws = [starting_point(EIGHT, images, start, draw) for draw in range(10)]
    every = torch.stack([margins(classifier(draw).detach(), labels) for draw in draws])
    result = Noise(threat_model=EIGHT).run(classifier, images, labels, start)
    torch.testing.assert_close(result.final[0].margin, every.amin(0))
    assert torch.equal(result.final[0].margin, result.any[0].margin)
    assert result.gradient_evaluations == 0
    assert result.forward_passes == 12 * 10


def test_the_attack_is_stronger_than_fgsm_and_noise_and_its_loss_rises():
    images, labels, start = batch(count=64, seed=4)
    classifier = small_conv()
    labels = classifier(images).argmax(1)
    strong = PGD(threat_model=EIGHT, steps=20, step_size="eps/4").run(classifier, images, labels, start)
    for weak in (FGSM(threat_model=EIGHT), Noise(threat_model=EIGHT)):
        outcome = weak.run(classifier, images, labels, start).final[weak.steps]
        assert strong.any[20].margin.mean() < outcome.margin.mean()
    assert strong.trace.loss[0] < strong.trace.loss[5] < strong.trace.loss[20] + 1e-4


def test_the_trace_counts_zero_and_non_finite_gradients():
    class Quarter(nn.Module):
        def forward(self, x):
            return x.flatten(1)[:, :16]  # three quarters of the pixels do not matter

    images, _, start = batch()
    attack = PGD(threat_model=EIGHT, steps=2, step_size="eps", random_start=False)
    trace = attack.run(Quarter(), images, torch.zeros(12, dtype=torch.int64), start).trace
    assert trace.zero_gradients == [0.75, 0.75]

    class Root(nn.Module):
        def forward(self, x):
            return torch.stack([(x - x.detach()).sqrt().sum((1, 2, 3)), x.sum((1, 2, 3))], 1)  # slope 1/0 everywhere

    trace = attack.run(Root(), images, torch.zeros(12, dtype=torch.int64), start).trace
    assert trace.non_finite == [1.0, 1.0]


def test_a_tiny_gradient_does_not_vanish_in_a_large_batch():
    class Tiny(nn.Module):
        def forward(self, x):
            return torch.stack([x.sum((1, 2, 3)) * 1e-44, x.new_zeros(len(x))], 1)  # a mean over 12 would round to zero

    images, _, start = batch()
    result = FGSM(threat_model=EIGHT).run(Tiny(), images, torch.zeros(12, dtype=torch.int64), start)
    assert result.trace.zero_gradients == [0.0]


@pytest.mark.parametrize("cut", [lambda x: x.detach(), lambda x: (x * 255).round() / 255], ids=["detached", "rounded"])
def test_a_classifier_that_cuts_the_gradient_shows_in_the_trace(cut):
    class Cut(SmallConv):
        def forward(self, images):
            return super().forward(cut(images))

    for frozen in (True, False):
        classifier = Cut().eval().requires_grad_(not frozen)
        result = PGD(threat_model=EIGHT, steps=2, step_size="eps").run(classifier, *batch())
        assert result.trace.zero_gradients == [1.0, 1.0]


def test_logits_that_are_not_finite_are_counted_and_placed():
    class NaNForOne(nn.Module):
        def forward(self, x):
            logits = x.flatten(1)[:, :3].clone()
            logits[1] = float("nan")
            return logits

    with pytest.raises(AttackError, match=r"not finite.* for 1 of 12 images at iterate 0"):
        PGD(threat_model=EIGHT, steps=2, step_size="eps", restarts=2).run(NaNForOne(), *batch())


def test_a_loss_that_needs_more_classes_says_so():
    images, labels, start = batch(classes=2)
    attack = PGD(threat_model=EIGHT, steps=1, step_size="eps", loss="dlr")
    with pytest.raises(AttackError, match="dlr needs 3 classes, the classifier has 2"):
        attack.run(small_conv(2), images, labels, start)


class TestAscend:
    """The loop that training shares."""

    def ascend(self, step_size, images, labels, classifier, steps=5):
        lower, upper = EIGHT.bounds(images)
        loss = lambda x: nn.functional.cross_entropy(classifier(x), labels, reduction="sum")  # noqa: E731
        return ascend(loss, images, lower, upper, step_size, steps)

    def test_it_walks_where_the_attack_walks(self):
        images, labels, start = batch()
        attack = PGD(threat_model=EIGHT, steps=5, step_size=Fraction(2, 255), random_start=False)
        result = attack.run(small_conv(), images, labels, start)
        with torch.no_grad():
            mine = self.ascend(2 / 255, images, labels, small_conv())
        assert torch.equal(mine, result.adversarial)
        assert not mine.requires_grad

    def test_a_step_size_per_sample_gives_what_each_gives_alone(self):
        images, labels, _ = batch(dtype=torch.float64)
        classifier = small_conv(dtype=torch.float64)
        sizes = torch.linspace(0.001, 0.05, 12, dtype=torch.float64)
        together = self.ascend(sizes[:, None, None, None], images, labels, classifier)
        for index, size in enumerate(sizes.tolist()):
            part = slice(index, index + 1)
            alone = self.ascend(size, images[part], labels[part], classifier)
            torch.testing.assert_close(together[part], alone, rtol=0, atol=1e-12)

    def test_it_leaves_weights_gradients_and_images_alone(self):
        images, labels, _ = batch()
        classifier = small_conv()
        next(classifier.parameters()).grad = torch.ones_like(next(classifier.parameters()))
        before = images.clone()
        self.ascend(0.01, images, labels, classifier)
        assert torch.equal(images, before)
        first, *others = classifier.parameters()
        assert (first.grad == 1).all()
        assert all(parameter.grad is None for parameter in others)

    def test_no_steps_give_the_start_and_a_constant_loss_is_an_error(self):
        images, labels, _ = batch()
        assert torch.equal(self.ascend(0.01, images, labels, small_conv(), steps=0), images)
        lower, upper = EIGHT.bounds(images)
        with pytest.raises(RuntimeError):
            ascend(lambda x: torch.tensor(1.0), images, lower, upper, 0.01, 1)

    def test_a_step_moves_by_the_sign_and_is_projected(self):
        images = torch.tensor([0.5, 0.5, 0.5, 0.98]).reshape(1, 1, 2, 2)
        gradient = torch.tensor([3.0, -1e-30, 0.0, 1.0]).reshape(1, 1, 2, 2)
        lower, upper = ThreatModel("0.1").bounds(images)
        moved = step(images, gradient, lower, upper, 0.3)
        torch.testing.assert_close(moved.flatten(), torch.tensor([0.6, 0.4, 0.5, 1.0]))
        assert images.flatten()[0] == 0.5
