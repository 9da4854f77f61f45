"""Snapshots of classifiers: they tell any bit that changed, and classifiers that share tensors are hashed once."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from benchmark.evaluating import fingerprints
from benchmark.evaluating.fingerprints import Snapshot, Snapshots, classifier_fingerprint
from benchmark.evaluating.inspection.kept_state import StateWatch


def classifier() -> nn.Sequential:
    torch.manual_seed(0)
    layers = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Flatten(), nn.Linear(72, 2)).eval()
    with torch.no_grad():
        layers[0].bias.zero_()
        layers[3].bias.fill_(torch.nan)
    layers[0].table = torch.arange(3)
    return layers.to(memory_format=torch.channels_last)


def _set(tensor: Tensor, value: float) -> None:
    with torch.no_grad():
        tensor.view(-1)[0] = value


CHANGES: dict[str, Callable[[nn.Sequential], object]] = {
    "a weight by one rounding": lambda layers: _set(
        layers[3].weight, float(torch.nextafter(layers[3].weight.detach()[0, 0], torch.tensor(9.0)))
    ),
    "zero to minus zero": lambda layers: _set(layers[0].bias, -0.0),
    "NaN to a number": lambda layers: _set(layers[3].bias, 0.0),
    "a statistic of a batch norm": lambda layers: _set(layers[1].running_mean, 1.0),
    "a counter": lambda layers: layers[1].num_batches_tracked.add_(1),
    "a plain tensor": lambda layers: layers[0].table.add_(1),
    "a mode": lambda layers: layers[1].train(),
    "another type of the same bits": lambda layers: setattr(layers[0], "table", layers[0].table.view(torch.float64)),
    "another shape": lambda layers: setattr(layers[0], "table", layers[0].table[None]),
    "a weight that may be trained": lambda layers: layers[3].weight.requires_grad_(False),
    "a layer": lambda layers: layers.append(nn.ReLU()),
    "another tensor in place of a weight": lambda layers: setattr(
        layers[3], "weight", nn.Parameter(1 - layers[3].weight)
    ),
}


@pytest.mark.parametrize("host", ["cpu", "another device"])
@pytest.mark.parametrize("change", CHANGES)
def test_a_snapshot_is_of_a_classifier_until_anything_changes(
    change: str, host: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Tensors that are not where the host is are compared all at once.
    monkeypatch.setattr(fingerprints, "HOST", host)
    layers = classifier()
    snapshot = Snapshot(layers)
    assert snapshot.is_of(layers)
    assert snapshot.fingerprint == classifier_fingerprint(layers)
    CHANGES[change](layers)
    assert not snapshot.is_of(layers)
    assert snapshot.fingerprint != classifier_fingerprint(layers) == Snapshot(layers, [snapshot]).fingerprint


def test_a_tensor_that_answers_for_itself_is_seen_through() -> None:
    class Liar(Tensor):
        @classmethod
        def __torch_function__(cls, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
            if func is Tensor.detach:
                return torch.zeros(3)
            return super().__torch_function__(func, types, args, kwargs or {})

    layers = classifier()
    layers[0].table = torch.ones(3).as_subclass(Liar)
    snapshot = Snapshot(layers)
    assert snapshot.is_of(layers)
    with torch._C.DisableTorchFunctionSubclass():
        layers[0].table.add_(1)
    assert not snapshot.is_of(layers)


@pytest.mark.parametrize("host", ["cpu", "another device"])
def test_tensors_that_classifiers_share_are_hashed_once(host: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fingerprints, "HOST", host)
    hashed, waits = list[Tensor](), list[int]()
    of, equal = fingerprints.tensor_hash, fingerprints.equal_in_one_wait
    monkeypatch.setattr(fingerprints, "equal_in_one_wait", lambda pairs: waits.append(len(pairs)) or equal(pairs))  # type: ignore[func-returns-value]
    monkeypatch.setattr(fingerprints, "tensor_hash", lambda tensor: hashed.append(tensor) or of(tensor))  # type: ignore[func-returns-value]
    first, second, snapshots = classifier(), classifier(), Snapshots()
    with torch.no_grad():
        second[3].weight.add_(1)
    alone = snapshots.take(first, 0).fingerprint
    every = len(hashed)
    other = snapshots.take(second, 1).fingerprint
    assert len(hashed) == every + 1
    # A classifier that is met again is not hashed again, whatever came between.
    assert (snapshots.take(first, 0).fingerprint, snapshots.take(second, 1).fingerprint) == (alone, other)
    assert len(hashed) == every + 1
    assert (alone, other) == (classifier_fingerprint(first), classifier_fingerprint(second))
    # Three snapshots were compared with earlier ones. A GPU is waited for once for each.
    assert sum(pairs > 0 for pairs in waits) == (0 if host == "cpu" else 3)


def test_large_tensors_are_hashed_on_several_threads_to_the_same_fingerprint(monkeypatch: pytest.MonkeyPatch) -> None:
    before, one = torch.get_num_threads(), classifier_fingerprint(classifier())
    monkeypatch.setattr(fingerprints, "LARGE", 1)
    torch.set_num_threads(3)
    try:
        assert classifier_fingerprint(classifier()) == Snapshot(classifier()).fingerprint == one
    finally:
        torch.set_num_threads(before)


def test_a_watch_tells_every_attack_that_changed_something_and_none_after_it() -> None:
    layers = classifier()
    watch = StateWatch(layers)

    def attack(change: Callable[[], object]) -> bool:
        watch.begin(lambda: None)
        change()
        return watch.unchanged()

    assert attack(lambda: layers[3](torch.zeros(1, 72)))
    assert not attack(lambda: layers[0].table.add_(1))
    assert attack(lambda: None)
    assert not attack(lambda: setattr(layers[0], "memory", ["seen"]))
    assert not attack(lambda: setattr(layers[0].weight, "grad", torch.ones_like(layers[0].weight)))
    assert not attack(lambda: torch.manual_seed(3))
    assert attack(lambda: None)


def test_a_watch_notices_a_change_between_two_attacks() -> None:
    layers = classifier()
    watch = StateWatch(layers)
    watch.begin(lambda: None)
    assert watch.unchanged()
    layers[0].table.add_(1)
    watch.begin(lambda: None)
    assert not watch.unchanged()


def test_a_watch_begins_anew_after_an_attack_that_failed() -> None:
    layers, settled = classifier(), list[int]()
    watch = StateWatch(layers)
    watch.begin(lambda: settled.append(1))
    assert watch.unchanged()
    watch.begin(lambda: settled.append(2))
    layers[0].table.add_(1)  # and then the attack raises
    watch.begin(lambda: settled.append(3))
    assert watch.unchanged()
    assert settled == [1, 3]
