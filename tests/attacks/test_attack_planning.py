"""Sharing trajectories and putting batches together change nothing but the cost."""

import dataclasses
from dataclasses import dataclass
from fractions import Fraction

import pytest
import torch

from attacks.base import Trace
from attacks.clean import Clean
from attacks.fgsm import FGSM
from attacks.noise import Noise
from attacks.pgd import PGD
from attacks.planning import combine_results, combine_traces, executed_as, share_trajectories
from attacks.threat_model import ThreatModel
from tests.attacks.attack_cases import EIGHT, Counting, batch, small_conv


def pgd(steps: int, **settings: object) -> PGD:
    return PGD(**({"threat_model": EIGHT, "steps": steps, "step_size": Fraction(2, 255)} | settings))


def test_attacks_that_differ_only_in_steps_share_one_run():
    demanded = [pgd(10), Clean(), pgd(40), pgd(7), FGSM(threat_model=EIGHT), pgd(20), pgd(10)]
    runs = share_trajectories(demanded)
    assert [run.attack for run in runs] == [pgd(40), Clean(), FGSM(threat_model=EIGHT)]
    assert [run.checkpoints for run in runs] == [(7, 10, 20, 40), (0,), (1,)]
    assert runs[0].members == (pgd(10), pgd(40), pgd(7), pgd(20))
    plan = executed_as(runs)
    assert set(plan) == set(demanded)
    assert plan[pgd(7)] == (pgd(40), 7)
    assert plan[Clean()] == (Clean(), 0)


@pytest.mark.parametrize(
    "other",
    [
        pgd(40, step_size=Fraction(1, 255)),
        pgd(40, restarts=2),
        pgd(40, loss="dlr"),
        pgd(40, random_start=False),
        pgd(40, threat_model=ThreatModel(Fraction(4, 255))),
    ],
)
def test_attacks_that_differ_in_anything_else_do_not(other):
    assert len(share_trajectories([pgd(7), other])) == 2


@dataclass(frozen=True, kw_only=True)
class Scheduled(PGD):
    """Its step size is meant to depend on the number of steps: it keeps `steps` in its trajectory."""

    def trajectory(self):
        return (*super().trajectory(), self.steps)


def test_an_attack_may_refuse_to_share():
    attacks = [Scheduled(threat_model=EIGHT, steps=steps, step_size="eps") for steps in (2, 3)]
    assert [run.checkpoints for run in share_trajectories(attacks)] == [(2,), (3,)]


def test_no_attacks_need_no_runs():
    assert share_trajectories([]) == []


def test_a_plan_costs_the_longest_run_and_gives_what_each_attack_gives_alone():
    demanded = [pgd(2), pgd(5), pgd(3)]
    (run,) = share_trajectories(demanded)
    images, labels, start = batch()
    classifier = Counting(small_conv())
    shared = run.attack.run(classifier, images, labels, start, run.checkpoints)
    assert (classifier.gradients, classifier.forwards) == (5, 6)
    for attack, (_, checkpoint) in executed_as([run]).items():
        alone = attack.run(small_conv(), images, labels, start)
        assert torch.equal(shared.final[checkpoint].margin, alone.final[attack.steps].margin)
        assert torch.equal(shared.any[checkpoint].predicted, alone.any[attack.steps].predicted)


@pytest.mark.parametrize("attack", [Clean(), Noise(threat_model=EIGHT), pgd(3, restarts=2)], ids=lambda a: a.kind)
def test_batches_of_unequal_size_combine_to_the_result_of_one(attack):
    images, labels, start = batch(dtype=torch.float64)
    classifier = small_conv(dtype=torch.float64)
    whole = attack.run(classifier, images, labels, start)
    parts = [
        attack.run(classifier, images[index], labels[index], start.select(index))
        for index in torch.arange(12).split([7, 1, 4])
    ]
    combined = combine_results(parts)
    torch.testing.assert_close(combined.adversarial, whole.adversarial, rtol=0, atol=1e-12)
    for steps in whole.final:
        assert torch.equal(combined.final[steps].predicted, whole.final[steps].predicted)
        torch.testing.assert_close(combined.any[steps].margin, whole.any[steps].margin)
    for name in ("loss", "zero_gradients", "non_finite", "largest_change"):
        assert getattr(combined.trace, name) == pytest.approx(getattr(whole.trace, name))
    assert combined.gradient_evaluations == whole.gradient_evaluations
    assert combined.forward_passes == whole.forward_passes


def test_traces_are_averaged_by_size_and_changes_maximised():
    first, second = Trace([1.0], [], [], [0.1]), Trace([4.0], [], [], [0.3])
    assert combine_traces([first, second], [10, 5]) == Trace([2.0], [], [], [0.3])


def test_what_does_not_belong_together_is_not_combined():
    images, labels, start = batch()
    results = [attack.run(small_conv(), images, labels, start) for attack in (pgd(1), pgd(2))]
    with pytest.raises(ValueError, match="different attacks"):
        combine_results(results)
    with pytest.raises(ValueError, match="no results"):
        combine_results([])
    with pytest.raises(ValueError, match="2 traces and 1 sizes"):
        combine_traces([results[0].trace] * 2, [12])
    longer = dataclasses.replace(results[0].trace, loss=[0.0] * 5)
    with pytest.raises(ValueError, match="zip"):
        combine_traces([results[0].trace, longer], [12, 12])
