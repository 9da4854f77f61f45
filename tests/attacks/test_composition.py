"""AutoAttack and its relatives: official settings under the official name only, right for any number of classes."""

from __future__ import annotations

import pytest
import torch

from attacks.autoattack import AutoAttack
from attacks.autoattack_c2 import AutoAttackC2
from attacks.autoattack_c3 import AutoAttackC3
from attacks.base import AttackError
from attacks.ensemble import Ensemble
from attacks.square import Square
from attacks.threat_model import ThreatModel
from tests.attacks.attack_cases import EIGHT, batch, small_conv

FOR = {2: "c2", 3: "c3", 4: "standard", 5: "standard"}


def short(classes: int, **settings: object) -> Ensemble:
    given = {"threat_model": ThreatModel("4/255"), "steps": 5, "queries": 20, "composition": FOR[classes]}
    return Ensemble(**(given | settings))


def test_the_official_settings_are_the_published_ones_and_no_field_changes_them():
    parts = AutoAttack(threat_model=EIGHT).parts()
    assert list(parts) == ["apgd ce", "apgd-t dlr", "fab-t", "square"]
    assert [part.steps for part in parts.values()] == [100, 100, 100, 0]
    assert (parts["apgd ce"].loss, parts["apgd ce"].targets) == ("ce", 0)
    assert (parts["apgd-t dlr"].loss, parts["apgd-t dlr"].targets) == ("dlr", 9)
    assert (parts["fab-t"].targets, parts["square"].queries) == (9, 5000)
    assert (
        parts["square"].schedule == "fixed"
    )  # as in fra31/auto-attack, autoattack.py: SquareAttack(resc_schedule=False)
    assert all(part.restarts == 1 for part in parts.values())
    with pytest.raises(TypeError):
        AutoAttack(threat_model=EIGHT, steps=10)


def test_compositions_for_few_classes_have_other_names_and_no_undefined_loss():
    three, two = AutoAttackC3(threat_model=EIGHT), AutoAttackC2(threat_model=EIGHT)
    assert list(three.parts()) == ["apgd ce", "apgd dlr", "apgd-t ce", "fab-t", "square"]
    assert list(two.parts()) == ["apgd ce", "apgd-t ce", "fab-t", "square"]
    names = [AutoAttack(threat_model=EIGHT).name, three.name, two.name, Ensemble(threat_model=EIGHT).name]
    assert names == [
        "autoattack linf 8/255",
        "autoattack-c3 linf 8/255",
        "autoattack-c2 linf 8/255",
        "ensemble linf 8/255 steps=20 queries=1000",
    ]


@pytest.mark.parametrize("attack", [AutoAttack, AutoAttackC2, AutoAttackC3])
def test_a_stretched_schedule_is_version_1_again_and_its_name_says_so(attack):
    first, official = attack(threat_model=EIGHT, schedule="stretched"), attack(threat_model=EIGHT)
    assert first.specification() == {"attack": first.kind, "version": 1, "norm": "linf", "eps": "8/255"}
    assert official.specification() == {"attack": first.kind, "version": 2, "norm": "linf", "eps": "8/255"}
    assert (first.version, official.version) == (1, 2)
    assert first.name == f"{first.kind} linf 8/255 schedule=stretched"
    assert first.parts()["square"] == Square(threat_model=EIGHT, queries=5000)
    assert first != official
    with pytest.raises(AttackError, match="schedule = 'other': expected one of fixed, stretched"):
        attack(threat_model=EIGHT, schedule="other")


def test_an_ensemble_stretches_unless_it_is_told_otherwise():
    assert "schedule" not in Ensemble(threat_model=EIGHT).specification()
    assert Ensemble(threat_model=EIGHT).parts()["square"].schedule == "stretched"
    fixed = Ensemble(threat_model=EIGHT, steps=100, queries=5000, schedule="fixed")
    assert fixed.parts() == AutoAttack(threat_model=EIGHT).parts()
    assert fixed.name == "ensemble linf 8/255 steps=100 queries=5000 schedule=fixed"


@pytest.mark.parametrize(
    ("attack", "classes", "right"),
    [
        (AutoAttack, 2, "autoattack-c2"),
        (AutoAttack, 3, "autoattack-c3"),
        (AutoAttackC3, 2, "autoattack-c2"),
        (AutoAttackC3, 5, "autoattack"),
        (AutoAttackC2, 3, "autoattack-c3"),
    ],
)
def test_the_wrong_composition_names_the_right_one(attack, classes, right):
    with pytest.raises(AttackError, match=f"the classifier has {classes}: use {right}$"):
        attack(threat_model=EIGHT).check_classes(classes)
    with pytest.raises(AttackError, match=f"use {right}$"):
        attack(threat_model=EIGHT).run(small_conv(classes), *batch(classes=classes))


@pytest.mark.parametrize("classes", [2, 3, 4, 5])
@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_each_part_goes_on_with_what_stands_and_the_worst_of_all_is_reported(classes, norm):
    images, labels, start = batch(count=40, classes=classes, dtype=torch.float64)
    classifier = small_conv(classes, dtype=torch.float64)
    with torch.no_grad():
        labels = torch.where(torch.arange(40) < 30, classifier(images).argmax(1), labels)
    eps = 40 if classes == 3 else 3  # so that some fall, and some stand
    attack = short(classes, threat_model=ThreatModel(f"{eps}/255" if norm == "linf" else f"{8 * eps}/255", norm))
    result = attack.run(classifier, images, labels, start)
    standing = result.trace.standing
    assert list(standing) == ["clean", *attack.parts()]
    counts = list(standing.values())
    assert counts == sorted(counts, reverse=True)
    assert 30 <= counts[0] <= 40
    right = result.final[attack.steps].predicted == labels
    assert counts[-1] == right.sum()
    # Whatever one part alone breaks, the composition breaks, and nothing else.
    alone = [part.run(classifier, images, labels, start).final[part.steps] for part in attack.parts().values()]
    each = torch.stack([outcome.predicted == labels for outcome in alone])
    assert torch.equal(right, each.all(0))
    assert counts[1] == each[0].sum()
    assert 0 < counts[-1] < counts[0]  # or nothing was tested


def test_a_composition_costs_no_more_than_its_parts_and_ends_when_nothing_stands():
    images, _, start = batch(count=20, classes=4)
    classifier = small_conv(4)
    all_wrong = (classifier(images).argmax(1) + 1) % 4
    result = short(4).run(classifier, images, all_wrong, start)
    assert (result.gradient_evaluations, result.forward_passes) == (0, 20)
    assert set(result.trace.standing.values()) == {0}


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"steps": 0}, "steps = 0"),
        ({"queries": 0}, "queries = 0"),
        ({"composition": "c4"}, "composition = 'c4': expected one of standard, c3, c2, any"),
        ({"schedule": "c4"}, "schedule = 'c4': expected one of stretched, fixed"),
    ],
)
def test_wrong_settings_are_one_line(settings, message):
    with pytest.raises(AttackError, match=message):
        short(4, **settings)
