"""Sharing trajectories and putting batches together change nothing but the cost."""

from dataclasses import dataclass
from fractions import Fraction

import pytest
import torch

from attacks.base import Trace
from attacks.clean import Clean
from attacks.fgsm import FGSM
from attacks.noise import Noise
from attacks.parts.sharing import combine_results, combine_traces, share_runs
from attacks.pgd import PGD
from attacks.threat_model import ThreatModel
from tests.attacks.attack_cases import EIGHT, Counting, batch, small_conv


def pgd(steps: int, **settings: object) -> PGD:
    return PGD(**({"threat_model": EIGHT, "steps": steps, "step_size": Fraction(2, 255)} | settings))


def test_attacks_that_differ_in_steps_step_size_restarts_or_eps_share_one_run():
    others = [
        pgd(40, step_size=Fraction(1, 255)),
        pgd(40, restarts=2),
        pgd(40, threat_model=ThreatModel(Fraction(4, 255))),
    ]
    demanded = [pgd(10), Clean(), pgd(40), *others, FGSM(threat_model=EIGHT), pgd(10)]
    runs = share_runs(demanded)
    assert [run.members for run in runs] == [(pgd(10), pgd(40), *others), (Clean(),), (FGSM(threat_model=EIGHT),)]
    # Lanes: restart 0 of the first two is one, that of the third and the first of the fourth are others, and restart 1.
    assert [run.rows_per_image for run in runs] == [4, 1, 1]


@pytest.mark.parametrize(
    "other",
    [
        pgd(40, loss="dlr"),
        pgd(40, random_start=False),
        pgd(40, targets=2),
        pgd(40, eot=2),
        pgd(40, threat_model=ThreatModel(Fraction(8, 255), "l2")),
    ],
)
def test_attacks_that_differ_in_anything_else_do_not(other):
    assert len(share_runs([pgd(7), other])) == 2


@dataclass(frozen=True, kw_only=True)
class Scheduled(PGD):
    """Its step size is meant to depend on the number of steps: it keeps `steps` in its family."""

    def family(self):
        return (*super().family(), self.steps)


def test_an_attack_may_refuse_to_share():
    attacks = [Scheduled(threat_model=EIGHT, steps=steps, step_size="eps") for steps in (2, 3)]
    assert [run.members for run in share_runs(attacks)] == [(attacks[0],), (attacks[1],)]


def test_attacks_of_two_classes_never_share():
    assert len(share_runs([pgd(3), Scheduled(threat_model=EIGHT, steps=3, step_size="2/255")])) == 2


def test_no_attacks_need_no_runs():
    assert share_runs([]) == []


def gives_what_each_gives_alone(run, classifier, dtype=torch.float32):
    images, labels, start = batch(dtype=dtype)
    shared = run.run(classifier, images, labels, start)
    assert list(shared.results) == list(run.members)
    for attack, result in shared.results.items():
        alone = attack.run(small_conv(dtype=dtype), images, labels, start)
        for kind in ("final", "any"):
            mine, its = getattr(result, kind), getattr(alone, kind)
            assert list(mine) == [attack.steps]
            torch.testing.assert_close(mine[attack.steps].margin, its[attack.steps].margin)
            assert torch.equal(mine[attack.steps].predicted, its[attack.steps].predicted)
        torch.testing.assert_close(result.adversarial, alone.adversarial)
        torch.testing.assert_close(result.worst, alone.worst)
        for name in ("loss", "zero_gradients", "non_finite", "largest_change"):
            assert getattr(result.trace, name) == pytest.approx(getattr(alone.trace, name), rel=1e-5)
    return shared


def test_the_table_of_steps_costs_forty_gradients_and_gives_what_each_attack_gives_alone():
    (run,) = share_runs([pgd(7), pgd(10), pgd(20), pgd(40)])
    classifier = Counting(small_conv())
    shared = gives_what_each_gives_alone(run, classifier)
    assert (classifier.gradients, classifier.forwards) == (40, 41)
    assert (shared.gradient_evaluations, shared.forward_passes) == (12 * 40, 12 * 41)


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_a_whole_sweep_is_one_batch_and_gives_what_each_attack_gives_alone(norm):
    """Lanes of unequal length among them: those that have made their steps leave."""
    demanded = [
        pgd(steps, step_size=step_size, restarts=restarts, threat_model=ThreatModel(eps, norm))
        for eps in ("4/255", "8/255")
        for step_size, steps, restarts in (("eps/4", 3, 1), ("eps/4", 6, 1), ("eps", 2, 1), ("eps/4", 3, 3))
    ]
    (run,) = share_runs(demanded)
    assert run.rows_per_image == 2 * 4
    classifier = Counting(small_conv(dtype=torch.float64))
    shared = gives_what_each_gives_alone(run, classifier, torch.float64)
    assert (classifier.gradients, classifier.forwards) == (6, 7)
    assert shared.gradient_evaluations == 12 * 2 * (6 + 3 + 3 + 2)
    assert shared.forward_passes == 12 * 2 * (7 + 4 + 4 + 3)


def test_a_lane_that_has_made_its_steps_leaves_the_batch():
    sizes = []

    class Sizes(Counting):
        def forward(self, images):
            sizes.append(len(images))
            return super().forward(images)

    (run,) = share_runs([pgd(1, step_size="eps"), pgd(3)])
    run.run(Sizes(small_conv()), *batch())
    assert sizes == [24, 24, 12, 12]


def test_targets_are_lanes_too_and_those_beyond_the_classes_are_left_out():
    images, labels, start = batch(dtype=torch.float64)
    classifier = small_conv(dtype=torch.float64)
    two, nine = (pgd(3, targets=count).run(classifier, images, labels, start) for count in (2, 9))
    assert torch.equal(two.any[3].margin, nine.any[3].margin)
    assert two.gradient_evaluations == nine.gradient_evaluations == 12 * 2 * 3
    (run,) = share_runs([pgd(3, targets=2), pgd(5, targets=2)])
    gives_what_each_gives_alone(run, classifier, torch.float64)


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


def test_a_batch_that_ended_early_counts_as_far_as_it_went():
    short, long = (
        Trace([1.0], [0.5], [], [0.1], {"clean": 3}),
        Trace([4.0, 5.0], [0.0, 1.0], [], [0.3, 0.2], {"clean": 4}),
    )
    assert combine_traces([short, long], [10, 5]) == Trace(
        [2.0, 5.0], [pytest.approx(1 / 3), 1.0], [], [0.3, 0.2], {"clean": 7}
    )
