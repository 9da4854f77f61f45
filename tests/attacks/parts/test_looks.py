"""Attacks that look at the host now and then end as if they had looked at every step: results, counts, traces."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from attacks import square
from attacks.apgd import APGD
from attacks.ensemble import Ensemble
from attacks.fab import FAB
from attacks.parts import looks
from attacks.parts.looks import LiveTrace, equal_slices, steps_between_looks
from attacks.parts.two_precisions import TwoPrecisions
from attacks.square import Square
from attacks.starts import Starts
from attacks.threat_model import ThreatModel
from tests.attacks.attack_cases import batch, small_conv

MODELS = {"linf": ThreatModel("0.12"), "l2": ThreatModel("0.5", "l2")}


class RowByRow(nn.Module):
    """Answers each image alone, so that a row's bits do not depend on how many there are.

    asked: how many images it was asked about.
    """

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner, self.asked = inner, 0

    def forward(self, images):
        self.asked += len(images)
        return torch.cat([self.inner(images[i : i + 1]) for i in range(len(images))])


def attacks_on(model):
    return {
        "apgd": APGD(threat_model=model, steps=14, restarts=2),
        "apgd of averaged gradients": APGD(threat_model=model, steps=9, eot=2, loss="margin"),
        "apgd towards targets": APGD(threat_model=model, steps=11, loss="dlr", targets=4),
        "fab": FAB(threat_model=model, steps=10, restarts=2, targets=3),
        "square": Square(threat_model=model, queries=40, restarts=2),
        "ensemble": Ensemble(threat_model=model, steps=8, queries=20),
    }


def case():
    images, _, start = batch(count=24, classes=5, seed=4)
    classifier = small_conv(5)
    with torch.no_grad():
        logits = classifier(images)
    labels = logits.argmax(1)
    labels[:2] = (labels[:2] + 1) % 5  # two are wrong from the start
    return classifier, images, labels, start


def run_with(monkeypatch, attack, between):
    classifier, images, labels, start = case()
    monkeypatch.setitem(looks.STEPS_BETWEEN_LOOKS, "cpu", between)
    asked = RowByRow(classifier)
    return attack.run(asked, images, labels, start), asked.asked, labels


@pytest.mark.parametrize("norm", ["linf", "l2"])
@pytest.mark.parametrize("kind", attacks_on(MODELS["linf"]))
def test_results_counts_and_traces_are_those_of_a_look_at_every_step(kind, norm, monkeypatch):
    # One proposal of Square at a time, because how many go together follows from what was seen at the last look.
    monkeypatch.setitem(square.ROWS, "cpu", 1)
    attack = attacks_on(MODELS[norm])[kind]
    every, asked, labels = run_with(monkeypatch, attack, 1)
    broken = int((every.final[attack.steps].predicted != labels).sum())
    assert 4 < broken < 22
    assert every.forward_passes == asked
    for between in (3, 8, 1000):
        found, more, _ = run_with(monkeypatch, attack, between)
        assert torch.equal(found.final[attack.steps].predicted, every.final[attack.steps].predicted)
        assert torch.equal(found.final[attack.steps].margin, every.final[attack.steps].margin)
        assert torch.equal(found.worst, every.worst)
        assert found.gradient_evaluations == every.gradient_evaluations
        assert found.forward_passes == every.forward_passes
        # Square picks what is asked about row by row on a CPU, the others ask about broken rows until the next look.
        assert more == asked if kind == "square" else more > asked
        assert found.trace.standing == every.trace.standing
        for name in ("loss", "zero_gradients", "non_finite", "largest_change"):
            assert getattr(found.trace, name) == pytest.approx(getattr(every.trace, name), abs=1e-6)


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_square_goes_the_same_way_in_rounds_of_any_size_between_looks(norm, monkeypatch):
    attack = Square(threat_model=MODELS[norm], queries=60)
    monkeypatch.setitem(square.ROWS, "cpu", 1)
    one, _, _ = run_with(monkeypatch, attack, 1)
    monkeypatch.setitem(square.ROWS, "cpu", 200)
    for between in (1, 4):
        many, _, _ = run_with(monkeypatch, attack, between)
        assert torch.equal(many.worst, one.worst)
        assert torch.equal(many.final[0].margin, one.final[0].margin)


@pytest.mark.parametrize("norm", ["linf", "l2"])
@pytest.mark.parametrize("rows", [1, 200])
def test_square_evaluates_all_rows_where_it_may_not_wait_and_counts_those_it_asked_about(norm, rows, monkeypatch):
    attack = Square(threat_model=MODELS[norm], queries=60)
    monkeypatch.setitem(square.ROWS, "cpu", 1)
    one, _, _ = run_with(monkeypatch, attack, 1)
    monkeypatch.setitem(square.ROWS, "cuda", rows)
    monkeypatch.setattr(looks, "FREE", frozenset())
    found, evaluated, _ = run_with(monkeypatch, attack, 8)
    assert torch.equal(found.worst, one.worst)
    assert torch.equal(found.final[0].margin, one.final[0].margin)
    assert evaluated > found.forward_passes
    assert found.forward_passes == one.forward_passes if rows == 1 else found.forward_passes > one.forward_passes


class Waits(TorchDispatchMode):
    """Counts the operations at which a host waits for its device."""

    waiting = (
        torch.ops.aten._local_scalar_dense, torch.ops.aten.nonzero, torch.ops.aten.equal, torch.ops.aten._unique2,
        torch.ops.aten.unique_dim, torch.ops.aten.masked_select,
    )  # fmt: skip

    def __init__(self) -> None:
        super().__init__()
        self.seen = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        by_mask = func.overloadpacket in (
            torch.ops.aten.index,
            torch.ops.aten.index_put,
            torch.ops.aten.index_put_,
        ) and any(each is not None and each.dtype == torch.bool for each in args[1])
        self.seen += func.overloadpacket in self.waiting or by_mask
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("norm", ["linf", "l2"])
@pytest.mark.parametrize("kind", ["apgd", "apgd towards targets", "fab", "square"])
def test_the_host_waits_at_looks_alone(kind, norm, monkeypatch):
    """However many steps there are between two looks, it waits as often."""
    monkeypatch.setattr(looks, "FREE", frozenset())
    monkeypatch.setitem(looks.STEPS_BETWEEN_LOOKS, "cuda", 1000)
    classifier, images, labels, start = case()
    seen = []
    for steps in (6, 24):
        sturdy = ThreatModel("1/1000", norm)
        attack = {
            "apgd": APGD(threat_model=sturdy, steps=steps),
            "apgd towards targets": APGD(threat_model=sturdy, steps=steps, loss="dlr", targets=4),
            "fab": FAB(threat_model=sturdy, steps=steps, targets=2),
            "square": Square(threat_model=sturdy, queries=steps),
        }[kind]
        with Waits() as waits:
            attack.run(classifier, images, labels, start)
        seen.append(waits.seen)
    assert seen[0] == seen[1]


class SpoiltOnceBroken(nn.Module):
    """Classifies one image by its mean, and answers NaN for ever once it was wrong."""

    def __init__(self) -> None:
        super().__init__()
        self.spoilt = False

    def forward(self, images):
        logits = torch.stack([0.5 - images.mean((1, 2, 3)), images.mean((1, 2, 3)) - 0.5], 1)
        answer = logits * torch.nan if self.spoilt else logits
        self.spoilt = self.spoilt or bool(logits[0].argmax() == 1)
        return answer


@pytest.mark.parametrize(
    "attack",
    [
        APGD(threat_model=ThreatModel("0.2"), steps=20),
        FAB(threat_model=ThreatModel("0.2"), steps=20, targets=1),
        Square(threat_model=ThreatModel("0.2"), queries=200),
    ],
    ids=lambda attack: attack.kind,
)
def test_answers_to_rows_that_are_broken_already_are_none(attack, monkeypatch):
    monkeypatch.setitem(looks.STEPS_BETWEEN_LOOKS, "cpu", 8)
    images = torch.full((1, 1, 4, 4), 0.48)
    for sample in range(6):  # of which some are right at the random start, and broken between two looks
        start = Starts(0, "spoilt", torch.tensor([sample]))
        result = attack.run(SpoiltOnceBroken(), images, torch.tensor([0]), start)
        assert result.final[attack.steps].predicted.tolist() == [1]
        assert result.worst.isfinite().all()


@pytest.mark.parametrize("between", [1, 5])
def test_what_only_the_fast_classifier_takes_for_broken_goes_on_to_the_last_step(between, monkeypatch):
    monkeypatch.setitem(looks.STEPS_BETWEEN_LOOKS, "cpu", between)

    class Says(nn.Module):
        def __init__(self, margin):
            super().__init__()
            self.margin = margin

        def forward(self, images):
            lead = images.mean((1, 2, 3)) + self.margin
            return torch.stack([lead, torch.zeros_like(lead)], 1)

    both = TwoPrecisions(Says(1.0), Says(-9.0))
    images, labels, start = torch.rand(3, 1, 4, 4), torch.zeros(3, dtype=torch.int64), Starts(0, "k", torch.arange(3))
    result = APGD(threat_model=ThreatModel("0.1"), steps=12).run(both, images, labels, start)
    assert result.final[12].predicted.tolist() == [0, 0, 0]
    assert result.gradient_evaluations == 3 * 12
    assert len(result.trace.loss) == 13


def test_a_cpu_looks_at_every_step_and_a_gpu_does_not():
    assert steps_between_looks(torch.device("cpu")) == 1
    assert steps_between_looks(torch.device("cuda")) == steps_between_looks(torch.device("mps")) > 1


def test_a_trace_is_of_live_rows_and_ends_with_them():
    trace, live = LiveTrace(), torch.tensor([True, False, True])
    trace.iterate(torch.tensor([1.0, torch.inf, 2.0]), live)
    trace.gradient(torch.tensor([0.5, 1.0, 0.0]), torch.tensor([0.0, 1.0, 1.0]), live)
    trace.iterate(torch.tensor([1.0, 1.0, 2.0]), ~live)
    trace.iterate(torch.tensor([1.0, 1.0, 2.0]), live & False)
    made = trace.trace()
    assert made.loss == [1.5, 1.0]
    assert made.zero_gradients == [0.25]
    assert made.non_finite == [0.5]
    assert LiveTrace().trace().loss == []


def test_equal_slices_are_the_groups_one_after_another():
    assert equal_slices(6, 3) == [slice(0, 2), slice(2, 4), slice(4, 6)]
    assert equal_slices(0, 2) == [slice(0, 0), slice(0, 0)]
