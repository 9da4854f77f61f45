"""The batch adapts to the memory there is, and never to a crash."""

from __future__ import annotations

import gc
import weakref
from fractions import Fraction

import pytest
import torch
from torch import nn

from attacks import memory
from attacks.distilled import Distilled
from attacks.memory import activation_bytes, fastest_rows, fitting_rows, free_bytes, rows_that_fit
from attacks.parts.graphs.capture import out_of_memory
from attacks.parts.sharing import share_runs
from attacks.pgd import PGD
from attacks.threat_model import ThreatModel
from benchmark.evaluating import attacking, kept_images, validation
from benchmark.evaluating.attacking import attack_images
from benchmark.evaluating.precision import Arithmetic
from methods.training import Recipe, Validation
from scenarios.base import ImageSet, LearnTask

TOO_MUCH = "DefaultCPUAllocator: can't allocate memory: you tried to allocate 99 bytes"


class Net(nn.Module):
    def __init__(self, width: int = 4) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv, self.linear = nn.Conv2d(1, width, 3), nn.Linear(width, 2)
        self.largest, self.limit = 0, 10**9

    def forward(self, images):
        self.largest = max(self.largest, len(images))
        if len(images) > self.limit:
            raise RuntimeError(TOO_MUCH)
        return self.linear(torch.relu(self.conv(images)).mean((2, 3)))


def images(count: int = 40) -> ImageSet:
    generator = torch.Generator().manual_seed(1)
    pixels = torch.randint(256, (count, 1, 8, 8), generator=generator, dtype=torch.uint8)
    return ImageSet(pixels, torch.arange(count) % 2, torch.arange(count))


def measured(net: nn.Module, batch_size: int = 500):
    model = ThreatModel("8/255")
    attacks = [PGD(threat_model=model, steps=3, step_size=size) for size in ("eps/4", "eps/2")]
    (run,) = share_runs(attacks)
    arithmetic = Arithmetic(net.eval().requires_grad_(False), "fp32")
    found = attack_images(arithmetic, images(), run, seed=0, key="k", batch_size=batch_size)
    return found, attacks


@pytest.mark.parametrize(
    ("wanted", "per_row", "free", "rows"),
    [(500, 10, None, 500), (500, 10, 20_000, 500), (500, 10, 19_999, 250), (500, 10**9, 1, 1), (1, 10, 0, 1)],
)
def test_rows_are_halved_until_they_fit(wanted, per_row, free, rows):
    assert fitting_rows(wanted, per_row, free) == rows


def test_a_wider_network_needs_more_and_weights_count_for_nothing():
    few, many = (activation_bytes(Net(width), torch.rand(4, 1, 8, 8)) for width in (4, 40))
    # Ten times the channels, less the copies of the images that both keep.
    assert 2 * few < many < 10 * few
    assert activation_bytes(Net(4), torch.rand(2, 1, 8, 8)) == few


def test_nothing_of_the_pass_that_counts_is_kept():
    # On a GPU the gradients' nodes of weights would stay with it, on a stream on which no training step can be recorded.
    net, kept = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(144, 2), nn.Sigmoid()), []
    for layer in net:
        layer.register_forward_hook(lambda layer, given, output: kept.append(weakref.ref(output)))
    activation_bytes(net, torch.rand(2, 1, 8, 8))
    gc.collect()
    assert len(kept) == 5
    assert not any(output() is not None for output in kept)


def test_free_memory_can_be_told_here():
    free = free_bytes(torch.device("cpu"))
    assert free is None or free > 10**6


def test_lanes_are_rows_of_the_batch(monkeypatch):
    net = Net()
    found, _ = measured(net, batch_size=20)
    assert (found.rows, net.largest) == (20, 20)  # ten images with two step sizes each


def test_on_a_gpu_lanes_share_a_batch_as_large_as_is_fastest_with_no_more_images_than_the_preset_says(monkeypatch):
    gpu, cpu = torch.device("cuda"), torch.device("cpu")
    assert fastest_rows("fp32", gpu, 64) < fastest_rows("tf32", gpu, 64) < fastest_rows("bf16", gpu, 64)
    assert fastest_rows("bf16", cpu, 64) == 64
    monkeypatch.setattr(attacking, "fastest_rows", lambda precision, device, batch_size: 50)
    for batch_size, rows in ((20, 40), (25, 50), (64, 50)):
        net = Net()
        found, _ = measured(net, batch_size)
        assert (found.rows, net.largest) == (rows, rows)  # two step sizes of each image


def test_an_attack_that_learns_from_its_batch_has_the_preset_s_on_every_device(monkeypatch):
    monkeypatch.setattr(attacking, "fastest_rows", lambda precision, device, batch_size: 2)
    (run,) = share_runs([Distilled(threat_model=ThreatModel("8/255"))])
    arithmetic = Arithmetic(Net().eval().requires_grad_(False), "fp32")
    assert attack_images(arithmetic, images(), run, seed=0, key="k", batch_size=16).rows == 16


def test_little_memory_gives_smaller_batches_and_the_same_outcome(monkeypatch):
    whole, attacks = measured(Net())
    monkeypatch.setattr(
        attacking, "free_bytes", lambda device: 4 * 20 * activation_bytes(Net(), torch.rand(2, 1, 8, 8))
    )
    net = Net()
    part, _ = measured(net)
    assert part.rows == 15
    assert net.largest <= 15
    for attack in attacks:
        torch.testing.assert_close(part.outcomes[attack].any.margin, whole.outcomes[attack].any.margin)
    assert part.gradient_evaluations == whole.gradient_evaluations


def test_running_out_of_memory_halves_the_batch_and_goes_on():
    whole, attacks = measured(Net())
    net = Net()
    net.limit = 18
    part, _ = measured(net, batch_size=64)
    assert part.rows == 16
    for attack in attacks:
        torch.testing.assert_close(part.outcomes[attack].any.margin, whole.outcomes[attack].any.margin)


def test_an_image_that_does_not_fit_alone_is_an_error_and_other_errors_are_not_swallowed():
    net = Net()
    net.limit = 1
    with pytest.raises(RuntimeError, match="can't allocate memory"):
        measured(net)
    assert out_of_memory(torch.OutOfMemoryError("CUDA out of memory"))
    for words in (
        "CUDA error: out of memory",
        "CUDA driver error: out of memory",
        "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`",
        "cuDNN error: CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED",
        "GET was unable to find an engine to execute this computation",
    ):
        assert out_of_memory(RuntimeError(words))
    assert not out_of_memory(RuntimeError("shape mismatch"))


def test_a_probe_leaves_the_generators_alone_and_asks_for_what_fits(monkeypatch):
    class Drawing(Net):
        def forward(self, images):
            return super().forward(images) + torch.rand(2)

    pixels, net = torch.rand(2, 1, 8, 8), Drawing().eval()
    state = torch.get_rng_state()
    monkeypatch.setattr(memory, "free_bytes", lambda device: 4 * 30 * activation_bytes(Net(), pixels))
    assert rows_that_fit(net, pixels, 100) == 25
    assert torch.equal(torch.get_rng_state(), state)


class Stem(nn.Module):
    """The first layers of a network for photographs, a thousand times as large as a digit's."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.seen, self.limit = nn.Conv2d(3, 16, 7, stride=2, padding=3), [], 10**9

    def forward(self, images):
        self.seen.append(len(images))
        if len(images) > self.limit:
            raise RuntimeError(TOO_MUCH)
        return torch.relu(self.conv(images)).mean((2, 3))[:, :2]


def photographs(count: int) -> ImageSet:
    generator = torch.Generator().manual_seed(1)
    pixels = torch.randint(256, (count, 3, 64, 64), generator=generator, dtype=torch.uint8)
    return ImageSet(pixels, torch.arange(count) % 2, torch.arange(count))


def validated(net: nn.Module) -> Validation:
    """The outcomes of 40 photographs under two steps."""
    task = LearnTask(0, "photographs", ("a", "b"), photographs(4), photographs(40))
    recipe = Recipe.model_validate(
        {"epochs": 1, "batch_size": 8, "learning_rate": 0.1, "selection": {"steps": 2, "step_size": "eps/2"}}
    )
    return validation.validate(net, task, recipe, Fraction(8, 255))


def test_validation_takes_as_many_images_at_once_as_fit_and_answers_the_same(monkeypatch):
    torch.manual_seed(0)
    net, found = Stem(), []
    for rows in (40, 5):
        monkeypatch.setattr(validation, "rows_that_fit", lambda *_, rows=rows: rows)
        net.seen.clear()
        found.append(validated(net))
        assert max(net.seen) == rows
    assert torch.equal(found[0].robust_correct, found[1].robust_correct)
    assert torch.equal(found[0].clean_correct, found[1].clean_correct)


def test_validation_goes_on_with_fewer_images_where_memory_runs_out_all_the_same(monkeypatch):
    monkeypatch.setattr(validation, "rows_that_fit", lambda *_: 40)
    torch.manual_seed(0)
    net = Stem()
    whole = validated(net)
    net.seen.clear()
    net.limit = 7
    found = validated(net)
    assert net.seen[:5] == [40, 20, 10, 5, 5]
    assert torch.equal(found.robust_correct, whole.robust_correct)
    net.limit = 0
    with pytest.raises(RuntimeError, match="can't allocate memory"):
        validated(net)


def test_validation_judges_in_full_precision_although_training_may_multiply_in_tf32():
    switches = torch.backends.cudnn, torch.backends.cuda.matmul
    seen = set()

    class Watching(Stem):
        def forward(self, images):
            seen.add(tuple(switch.allow_tf32 for switch in switches))
            return super().forward(images)

    before = [switch.allow_tf32 for switch in switches]
    try:
        for switch in switches:
            switch.allow_tf32 = True
        validated(Watching())
        assert [switch.allow_tf32 for switch in switches] == [True, True]
    finally:
        for switch, allowed in zip(switches, before, strict=True):
            switch.allow_tf32 = allowed
    assert seen == {(False, False)}


def test_answers_to_kept_images_come_in_batches_that_fit(monkeypatch):
    monkeypatch.setattr(kept_images, "rows_that_fit", lambda *_: 7)
    net, images = Stem().eval(), torch.rand(20, 3, 16, 16)
    found = kept_images.logits_of(net, images)
    assert net.seen == [7, 7, 6]
    net.seen.clear()
    torch.testing.assert_close(kept_images.logits_of(net, images, rows=20), found)
    assert net.seen == [20], "a judge says how many"
