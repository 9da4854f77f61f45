"""iCaRL: exemplars are shared out anew after every task, and their means classify."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from attacks.threat_model import ThreatModel
from benchmark.cli import main
from benchmark.learning.context import RunContext
from methods.icarl import ICaRL, SigmoidTargets
from methods.parts.image_memory import KeptImages
from methods.training import AdversarialTraining, Batch, CleanTraining, InnerAttack, Objective
from scenarios.base import Task
from scenarios.parts.augmentation import to_float
from tests.methods.rehearsing import learned
from tests.tiny import write_preset


def icarl(folder: Path, **options: Any) -> tuple[ICaRL, RunContext, list[Task]]:
    method, context, tasks = learned(folder, "icarl", **{"capacity": 10, **options})
    assert isinstance(method, ICaRL)
    return method, context, tasks


def kept_by(method: ICaRL) -> KeptImages:
    assert method.kept is not None
    return method.kept


@pytest.mark.parametrize("protocol", ["task", "class"])
def test_exemplars_are_as_many_of_each_class_and_the_first_of_those_before(tmp_path: Path, protocol: str) -> None:
    one, _, tasks = icarl(tmp_path / "one", tasks=1, protocol=protocol)
    two, context, _ = icarl(tmp_path / "two", protocol=protocol)
    labels = [0, 1] if protocol == "task" else [2, 3]
    assert kept_by(one).labels.tolist() == [0] * 5 + [1] * 5
    assert kept_by(two).labels.tolist() == [0] * 2 + [1] * 2 + [labels[0]] * 2 + [labels[1]] * 2
    assert kept_by(two).tasks.tolist() == [0] * 4 + [1] * 4
    before = kept_by(one).images
    assert torch.equal(kept_by(two).images[:4], torch.cat([before[:2], before[5:7]]))
    for image, task in zip(kept_by(two).images, kept_by(two).tasks, strict=True):
        assert bool((tasks[int(task)].train.images == image).flatten(1).all(1).any())
    facts = {fact["name"]: fact["value"] for fact in context.logs.facts}
    assert (facts["memory_images"], facts["exemplars_per_class"]) == (8, 2)


@pytest.mark.parametrize("protocol", ["task", "class"])
def test_means_are_those_of_all_exemplars_under_the_network_that_is_handed_out(tmp_path: Path, protocol: str) -> None:
    method, _, _ = icarl(tmp_path, protocol=protocol)
    network, kept, means = method.network.eval(), kept_by(method), method.means
    assert means is not None
    with torch.no_grad():
        features = F.normalize(network.backbone((to_float(kept.images) - network.mean) / network.std))
    for number, rows in enumerate(features.split(2)):
        assert torch.allclose(means[number], F.normalize(rows.mean(0), dim=0), atol=1e-5)
    classifier = method.classifier(None if protocol == "class" else 1)
    images = to_float(kept.images)
    expected = -torch.cdist(features, means).square()
    assert torch.allclose(classifier(images), expected if protocol == "class" else expected[:, 2:], atol=1e-5)


def test_the_network_learns_the_same_under_both_protocols(tmp_path: Path) -> None:
    found = [
        icarl(tmp_path / protocol, protocol=protocol, recipe={"selection": {"keep": "last", "steps": 2}})[0]
        for protocol in ("task", "class")
    ]
    first, second = (method.network.state_dict() for method in found)
    assert all(torch.equal(tensor, second[name]) for name, tensor in first.items())


def test_a_task_is_trained_on_all_exemplars_beside_its_images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    method, context, tasks = icarl(tmp_path, tasks=1, recipe={"batch_size": 2, "epochs": 1})
    seen: list[tuple[bytes, int, int]] = []
    whole = SigmoidTargets.loss

    def noted(objective: SigmoidTargets, logits: Any, batch: Batch, attack: InnerAttack) -> tuple[Tensor, Tensor]:
        pixels = (batch.images * 255).round().to(torch.uint8)
        seen.extend(
            (image.numpy().tobytes(), int(task), int(label))
            for image, task, label in zip(pixels, batch.tasks, batch.labels, strict=True)
        )
        return whole(objective, logits, batch, attack)

    monkeypatch.setattr(SigmoidTargets, "loss", noted)
    method.train(method.asked(1), tasks[1].to_learn(), context)
    kept, new = kept_by(method), tasks[1].train
    expected = [
        (image.numpy().tobytes(), task, label)
        for images, labels, task in ((kept.images, kept.labels, 0), (new.images, new.labels, 1))
        for image, label in zip(images, labels.tolist(), strict=True)
    ]
    assert len(seen) >= len(expected) - 1
    assert set(seen) <= set(expected)


def batch(size: int = 6) -> Batch:
    images = torch.rand(size, 1, 4, 4, generator=torch.Generator().manual_seed(0))
    return Batch(images, torch.arange(size) % 2, torch.arange(size) // 3)


def linear(seed: int, classes: int = 4) -> nn.Module:
    network = nn.Sequential(nn.Flatten(), nn.Linear(16, classes))
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=torch.Generator().manual_seed(seed)))
    return network


STARTS, COUNTS = torch.tensor([0, 2]), torch.tensor([2, 2])


def loss(
    network: nn.Module, before: nn.Module | None, inner: Objective | None = None, **options: bool
) -> tuple[Tensor, Tensor]:
    attack = InnerAttack(network, ThreatModel(Fraction(1, 10)), 0.05, 2, "eval", torch.Generator().manual_seed(1))
    return SigmoidTargets(inner or CleanTraining(), STARTS, COUNTS, before, **options).loss(network, batch(), attack)


def test_new_classes_are_held_to_labels_and_old_ones_to_what_the_network_before_said() -> None:
    network, before = linear(1), linear(2, 2)
    classes = batch().labels + 2 * batch().tasks
    targets = F.one_hot(classes, 4).float()
    expected = F.binary_cross_entropy_with_logits(network(batch().images), targets, reduction="none").sum(1).mean()
    assert float(loss(network, None)[0]) == pytest.approx(float(expected))
    targets[:, :2] = before(batch().images).sigmoid()
    expected = F.binary_cross_entropy_with_logits(network(batch().images), targets, reduction="none").sum(1).mean()
    assert float(loss(network, before)[0]) == pytest.approx(float(expected))
    assert float(loss(network, before, averaged=True)[0]) == pytest.approx(float(expected) / 4)


def test_the_setting_says_if_cross_entropies_are_averaged_over_classes(tmp_path: Path) -> None:
    for over_classes, averaged in (("sum", False), ("mean", True)):
        method, context, tasks = icarl(tmp_path, tasks=0, over_classes=over_classes)
        objective = method.fit(method.asked(0), tasks[0].to_learn(), context).objective
        assert objective._averaged is averaged


def test_old_outputs_of_an_unchanged_network_stay_and_the_network_before_takes_no_gradient() -> None:
    network, before = linear(1), linear(2, 2)
    network[1].weight.data[:2], network[1].bias.data[:2] = before[1].weight.data, before[1].bias.data
    loss(network, before)[0].backward()
    assert network[1].weight.grad is not None
    assert torch.allclose(network[1].weight.grad[:2], torch.zeros(2, 16), atol=1e-6)
    assert bool((network[1].weight.grad[2:] != 0).any())
    assert before[1].weight.grad is None


def test_old_outputs_are_not_rounded_where_steps_compute_in_lower_precision() -> None:
    network, before = linear(1), linear(2, 2)
    # A probability of .9985, which bfloat16 rounds to 1.
    before[1].weight.data.zero_()
    before[1].bias.data.fill_(6.5)
    with torch.autocast("cpu", torch.bfloat16):
        found, output = loss(network, before)[0], network(batch().images)
    targets = F.one_hot(batch().labels + 2 * batch().tasks, 4).float()
    targets[:, :2] = torch.tensor(6.5).sigmoid()
    expected = F.binary_cross_entropy_with_logits(output.float(), targets, reduction="none").sum(1).mean()
    assert float(found) == pytest.approx(float(expected), rel=1e-6)


def test_training_accuracy_is_among_the_classes_of_an_images_task() -> None:
    network = linear(1)
    whole = network(batch().images)
    own = loss(network, None)[1]
    assert torch.equal(own[:3, :2], whole[:3, :2])
    assert torch.equal(own[3:, :2], whole[3:, 2:])
    assert bool(own[:, 2:].isneginf().all())


def test_images_are_attacked_where_the_training_attacks() -> None:
    network = linear(1)
    assert float(loss(network, None, AdversarialTraining())[0]) > float(loss(network, None)[0])


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"capacity": 3}, "capacity = 3: there are 4 classes, and each needs an exemplar; keep at least so many"),
        ({"training": "trades"}, "training = trades: iCaRL has a loss of its own; choose clean, madry or fast"),
    ],
)
def test_settings_that_make_no_sense_are_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], settings: dict[str, Any], says: str
) -> None:
    preset = write_preset(tmp_path, methods=[{"method": "icarl", "settings": settings}])
    assert main(["run", "--preset", str(preset), "--results", str(tmp_path / "runs")]) == 2
    error = capsys.readouterr().err
    assert len(error.splitlines()) == 1
    assert says in error
