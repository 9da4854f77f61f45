"""Exemplars: herding takes those whose mean is closest, and the nearest mean classifies."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from methods.backbones import MultiHead, SmallConv, initialise
from methods.parts.exemplars import NearestMean, class_means, features_of, herded
from methods.parts.image_memory import KeptImages

CLASSES = 3


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def features(count: int = 30, size: int = 5, seed: int = 0) -> Tensor:
    return F.normalize(torch.randn(count, size, generator=rng(seed)) + 0.5)


def network() -> MultiHead:
    multi = MultiHead(SmallConv((1, 8, 8), 0.25), (CLASSES,), (0.3,), (0.4,))
    initialise(multi, rng())
    return multi.train()


def images(count: int = 12, size: int = 8) -> KeptImages:
    pixels = torch.randint(0, 256, (count, 1, size, size), dtype=torch.uint8, generator=rng(1))
    return KeptImages(pixels, torch.arange(count) % CLASSES, torch.zeros(count, dtype=torch.int64))


def test_each_exemplar_brings_the_mean_of_those_so_far_closest_to_that_of_all() -> None:
    all_of_them = features()
    mean, order = all_of_them.mean(0), herded(all_of_them, 8).tolist()
    for number in range(1, 9):
        others = set(range(30)) - set(order[: number - 1])
        distance = {
            other: float((all_of_them[[*order[: number - 1], other]].mean(0) - mean).norm()) for other in others
        }
        assert distance[order[number - 1]] == pytest.approx(min(distance.values()), abs=1e-6)


def test_the_first_is_nearest_in_direction_to_the_mean_and_no_image_comes_twice() -> None:
    all_of_them = features()
    order = herded(all_of_them, 30).tolist()
    assert order[0] == int((all_of_them @ all_of_them.mean(0)).argmax())
    assert sorted(order) == list(range(30))
    assert len(herded(all_of_them, 99)) == 30


def test_fewer_exemplars_are_the_first_of_more() -> None:
    assert herded(features(), 12)[:4].tolist() == herded(features(), 4).tolist()


def test_the_mean_of_a_few_is_closer_to_that_of_all_than_the_mean_of_as_many_at_random() -> None:
    gaps = []
    for seed in range(20):
        all_of_them = features(seed=seed)
        mean = all_of_them.mean(0)
        chosen, drawn = herded(all_of_them, 5), torch.randperm(30, generator=rng(seed))[:5]
        gaps.append([(all_of_them[places].mean(0) - mean).norm() for places in (chosen, drawn)])
    herding, chance = torch.tensor(gaps).mean(0).tolist()
    assert herding < 0.5 * chance


def test_means_have_length_1_and_the_direction_of_the_mean() -> None:
    labels = torch.arange(30) % CLASSES
    means = class_means(features(), labels, CLASSES)
    assert torch.allclose(means.norm(dim=1), torch.ones(CLASSES))
    assert torch.allclose(means[1], F.normalize(features()[labels == 1].mean(0), dim=0))


def test_features_are_those_in_eval_mode_of_length_1_whatever_the_number_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    net = network()
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    found = features_of(net, images(), (8, 8))
    assert torch.allclose(found.norm(dim=1), torch.ones(12))
    assert all(torch.equal(tensor, before[name]) for name, tensor in net.state_dict().items())
    monkeypatch.setattr("methods.parts.exemplars.BATCH", 5)
    assert torch.allclose(features_of(net, images(), (8, 8)), found, atol=1e-6)


def test_the_classifier_answers_with_minus_the_squared_distance_to_each_mean() -> None:
    net = network()
    known = features_of(net, images(), (8, 8))
    means = class_means(known, images().labels, CLASSES)
    classifier = NearestMean(net, means)
    logits = classifier(images().as_seen((8, 8)))
    assert torch.allclose(logits, -torch.cdist(known, means).square(), atol=1e-5)
    assert torch.equal(logits.argmax(1), torch.cdist(known, means).argmin(1))


def test_turning_the_space_of_features_changes_no_answer() -> None:
    turn, _ = torch.linalg.qr(torch.randn(5, 5, generator=rng(8)))
    labels = torch.arange(30) % CLASSES
    answers = [known @ class_means(known, labels, CLASSES).T for known in (features(), features() @ turn)]
    assert torch.allclose(answers[0], answers[1], atol=1e-5)


def test_gradients_reach_the_images_and_the_network_is_a_copy() -> None:
    net = network()
    classifier = NearestMean(net, class_means(features_of(net, images(), (8, 8)), images().labels, CLASSES))
    seen = images().as_seen((8, 8)).requires_grad_()
    F.cross_entropy(classifier(seen), images().labels).backward()
    assert seen.grad is not None
    assert bool((seen.grad.flatten(1) != 0).any(1).all())
    before = classifier(seen.detach())
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.add_(1)
    assert torch.equal(classifier(seen.detach()), before)
    assert not any(parameter.requires_grad for parameter in classifier.parameters())
