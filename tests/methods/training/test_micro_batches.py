"""A step that goes through the network in parts is the step on the whole batch, in less memory."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from attacks.threat_model import ThreatModel
from methods.anp_vs import AnpVsSettings, NeuralPruning
from methods.backbones import MultiHead, SmallConv, initialise
from methods.parts.stochastic_masks import MaskedNetwork, Masks
from methods.training import Batch, CleanTraining, CollapseWatch, Fit, InnerAttack, Logits, Recipe, Validation, train
from methods.training.fit import make_optimizer
from scenarios.base import LearnTask
from tests.benchmark.running.stored import runs
from tests.methods.training.recording import StandIn
from tests.methods.training.test_captured import METHODS, OBJECTIVES, trained
from tests.methods.training.training_cases import EPS, digits_task, network, recipe, same
from tests.tiny import run_tiny


@pytest.fixture(scope="module")
def task() -> LearnTask:
    return digits_task(0.5)


def batch(size: int = 13, first: int = 0) -> Batch:
    generator = torch.Generator().manual_seed(1)
    return Batch(torch.rand(size, 1, 8, 8, generator=generator), torch.arange(size) % 2, torch.arange(size) // 7, first)


def moved(fit: Fit, micro_batch: int | None, steps: int = 1) -> tuple[Tensor, Tensor]:
    """Loss and logits of the last of some steps on a batch, with batch norm in eval mode."""
    chosen = recipe(micro_batch=micro_batch)
    # Of a size at which no gradient's sign decides by rounding alone.
    attack = InnerAttack(fit.network, ThreatModel(EPS), 0.05, 2, "eval", torch.Generator().manual_seed(2))
    optimizer = make_optimizer(fit.parameters, chosen)
    fit.network.eval()
    for _ in range(steps):
        found = fit.move(batch(), attack, chosen, optimizer)
    return found


def unused() -> Validation:
    raise AssertionError("a single step validates nothing")


@pytest.mark.parametrize(
    ("size", "most", "sizes"),
    [(13, None, [13]), (13, 13, [13]), (13, 100, [13]), (13, 6, [5, 4, 4]), (13, 12, [7, 6]), (4, 1, [1, 1, 1, 1])],
)
def test_parts_are_as_equal_as_can_be_and_know_their_place(size: int, most: int | None, sizes: list[int]) -> None:
    whole = batch(size, first=3)
    parts = whole.parts(most)
    assert [len(part.labels) for part in parts] == sizes
    assert [part.first for part in parts] == [3 + sum(sizes[:k]) for k in range(len(sizes))]
    for name in ("images", "labels", "tasks"):
        assert torch.equal(torch.cat([getattr(part, name) for part in parts]), getattr(whole, name))


@pytest.mark.parametrize("name", OBJECTIVES)
def test_without_batch_statistics_a_step_in_parts_is_the_whole_step_but_for_rounding(name: str) -> None:
    found = []
    for micro_batch in (None, 5):
        net = network()
        told = moved(Fit(net, list(net.parameters()), unused, OBJECTIVES[name]()), micro_batch, steps=2)
        found.append((net.state_dict(), *told))
    (whole, loss, logits), (parts, loss_of_parts, logits_of_parts) = found
    assert not same(network(), parts), "it moved"
    torch.testing.assert_close(parts, whole, rtol=1e-4, atol=1e-6)
    torch.testing.assert_close((loss_of_parts, logits_of_parts), (loss, logits), rtol=1e-4, atol=1e-5)


def test_images_of_several_tasks_go_to_their_own_heads() -> None:
    found = []
    for micro_batch in (None, 5):
        multi = MultiHead(SmallConv((1, 8, 8), 0.25), (2, 2), (0.3,), (0.4,))
        initialise(multi, torch.Generator().manual_seed(0))

        def logits(part: Batch, multi: MultiHead = multi) -> Logits:
            return lambda images: multi(images, part.tasks)

        moved(Fit(multi, list(multi.parameters()), unused, logits=logits), micro_batch)
        found.append(multi.state_dict())
    torch.testing.assert_close(found[1], found[0], rtol=1e-4, atol=1e-6)


def test_terms_that_know_no_image_count_once_and_both_optimisers_step_once() -> None:
    found = []
    for micro_batch in (None, 5):
        net, generator = network(), torch.Generator().manual_seed(3)
        masked = MaskedNetwork(net, Masks(net, 2.0, 2.0), (), generator)
        # So large a beta that the masks' gradient is that of the divergence.
        objective = NeuralPruning(masked, AnpVsSettings(beta=1e9), 1)
        fit = Fit(masked, list(net.parameters()), unused, objective, generators=[generator])
        moved(fit, micro_batch)
        found.append([mask.grad for mask in masked.masks.parameters()])
    for parts, whole in zip(found[1], found[0], strict=True):
        torch.testing.assert_close(parts, whole, rtol=1e-3, atol=0.0)


class _Watching(CleanTraining):
    """Notes what reaches the network."""

    def __init__(self) -> None:
        self.sizes: list[int] = []

    def loss(self, logits: Logits, batch: Batch, attack: InnerAttack) -> tuple[Tensor, Tensor]:
        self.sizes.append(len(batch.labels))
        return super().loss(logits, batch, attack)


def test_callables_run_once_per_step_on_the_gradient_of_all_parts() -> None:
    net, objective, gradients = network(), _Watching(), []

    def note() -> None:
        gradients.append(net.head.weight.grad.clone())

    moved(Fit(net, list(net.parameters()), unused, objective, after_backward=note), 5)
    assert objective.sizes == [5, 4, 4]
    assert len(gradients) == 1
    whole = network().eval()
    torch.nn.functional.cross_entropy(whole(batch().images), batch().labels).backward()
    torch.testing.assert_close(gradients[0], whole.head.weight.grad, rtol=1e-4, atol=1e-6)


def test_batch_norm_sees_each_part_by_itself(task: LearnTask) -> None:
    counts = {}
    for micro_batch in (None, 8, 4):
        chosen = recipe(micro_batch=micro_batch, selection={"keep": "last"})
        net, _ = trained(task, None, CleanTraining(), chosen)
        counts[micro_batch] = int(next(t for name, t in net.state_dict().items() if name.endswith("tracked")))
    assert counts[8] == 2 * counts[None]
    assert counts[4] == 4 * counts[None]


def test_no_more_images_than_that_go_through_the_network_at_once_and_the_log_is_of_all(task: LearnTask) -> None:
    net, seen = network(), []
    net.register_forward_pre_hook(lambda module, inputs: seen.append(len(inputs[0])))
    right = torch.ones(4, dtype=torch.bool)
    objective = OBJECTIVES["fast"]()
    fit = Fit(net, list(net.parameters()), lambda: Validation(right, right), objective)
    rng = lambda purpose: torch.Generator().manual_seed(len(purpose))  # noqa: E731
    told = train(fit, [task], recipe(micro_batch=6, epochs=3), EPS, rng)
    assert max(seen) <= 6, "of the watch over a collapse too"
    assert told.image_gradients == (3 * (len(task.train) // 16) + 3 * 5) * 16
    accuracy = told.epochs[-1].robust_train
    assert accuracy is not None
    assert 0.5 < accuracy <= 1


def test_the_watch_over_a_collapse_measures_the_whole_batch(monkeypatch: pytest.MonkeyPatch, task: LearnTask) -> None:
    accuracies = iter([1.0, 1.0, 1.0, 1.0, 0.4, 0.6])
    monkeypatch.setattr(CollapseWatch, "accuracy", lambda *_: next(accuracies))
    _, told = trained(task, None, OBJECTIVES["fast"](), recipe(micro_batch=8, epochs=5))
    assert told.collapsed == 2, "half of the images are as good as the other half"


@pytest.mark.parametrize("name", OBJECTIVES)
def test_steps_in_parts_can_be_recorded(task: LearnTask, name: str) -> None:
    chosen = recipe(micro_batch=6)
    plain, _ = trained(task, None, OBJECTIVES[name](), chosen)
    recorder = StandIn()
    recorded, told = trained(task, recorder, OBJECTIVES[name](), chosen)
    assert same(recorded, plain.state_dict())
    assert (told.recordings, told.why_plain) == (1, "")
    assert recorder.repeated > 0


def test_every_method_trains_in_parts(tmp_path: Path) -> None:
    assert run_tiny(tmp_path, METHODS, recipe={"micro_batch": 5}) == 0
    assert {run.label for run in runs(tmp_path, "runs")} >= {*METHODS}


def test_the_setting_names_a_run_only_where_it_is_used() -> None:
    plain: Recipe = recipe()
    assert "micro_batch" not in plain.identity()
    assert recipe(micro_batch=4).identity()["micro_batch"] == 4


@pytest.mark.parametrize("value", [0, -1, 2.5])
def test_a_part_without_images_is_refused(value: Any) -> None:
    with pytest.raises(ValueError, match="micro_batch"):
        recipe(micro_batch=value)


def test_one_image_is_a_part_where_nothing_normalises_over_the_batch() -> None:
    net = nn.Sequential(nn.Flatten(), nn.Linear(64, 2))
    loss, logits = moved(Fit(net, list(net.parameters()), unused), 1)
    assert (loss.shape, logits.shape) == ((), (13, 2))
