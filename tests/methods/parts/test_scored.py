"""Weights chosen by scores: what is chosen, what moves, and what comes back with a kept epoch."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from methods.backbones import MultiHead, SmallConv, initialise
from methods.parts.packing.ownership import PackedWeights, owner_of
from methods.parts.packing.scored import ScoredSubnetwork, chosen_of
from methods.training import Step
from methods.training.fit import make_optimizer
from methods.training.selection import snapshot
from tests.methods.training.recording import StandIn
from tests.methods.training.training_cases import recipe


def started(capacity: float = 0.5, task: int = 1, decay: float = 0.0) -> ScoredSubnetwork:
    """A network of a second task; the first one owns every third weight."""
    multi = MultiHead(SmallConv((1, 8, 8), 0.25), (2,), (0.3,), (0.4,))
    generator = torch.Generator().manual_seed(0)
    initialise(multi, generator)
    packed = PackedWeights.fresh(dict(multi.backbone.shared_weights()))
    for owners in packed.owners.values():
        owners.flatten()[::3] = owner_of(0)
    scores = {name: torch.randn(weight.shape, generator=generator) for name, weight in packed.weights.items()}
    return ScoredSubnetwork(multi.for_task(0), packed, task, scores, capacity=capacity, weight_decay=decay)


def images(seed: int = 0) -> Tensor:
    return torch.rand(8, 1, 8, 8, generator=torch.Generator().manual_seed(seed))


def backward(network: ScoredSubnetwork) -> dict[str, Tensor]:
    """Gradients of the effective weights, by name; they are handed on."""
    network.train()
    F.cross_entropy(network(images()), torch.arange(8) % 2).backward()
    found = {name: weight.grad.clone() for name, weight in network.shared.items() if weight.grad is not None}
    network.mask_gradients()
    return found


@pytest.mark.parametrize("capacity", [0.03, 0.3, 0.5, 1.0])
def test_the_highest_scores_of_each_layer_are_chosen_whatever_their_sign(capacity: float) -> None:
    network = started(capacity)
    for (name, chosen), score, latent in zip(network.chosen.items(), network.scores, network.latent, strict=True):
        size, height = chosen.numel(), score.detach().abs()
        assert int(chosen.sum()) == chosen_of(size, capacity)
        assert abs(int(chosen.sum()) - capacity * size) <= 1.5
        if capacity < 1:
            assert height[chosen].min() > height[~chosen].max()
        assert torch.equal(network.shared[name].detach(), torch.where(chosen, latent.detach(), 0.0))


def test_scores_times_a_number_choose_the_same() -> None:
    network = started()
    before = {name: chosen.clone() for name, chosen in network.chosen.items()}
    with torch.no_grad():
        for score in network.scores:
            score.mul_(7)
    network.choose()
    assert all(torch.equal(chosen, before[name]) for name, chosen in network.chosen.items())


def test_equal_scores_are_chosen_together() -> None:
    network = started(0.03)
    with torch.no_grad():
        for score in network.scores:
            score.fill_(-0.5)
    network.choose()
    assert all(bool(chosen.all()) for chosen in network.chosen.values())


def test_gradients_reach_chosen_weights_that_nobody_owns_and_all_scores() -> None:
    network = started()
    found = backward(network)
    for (name, gradient), latent, score in zip(found.items(), network.latent, network.scores, strict=True):
        moves = network.chosen[name] & ~network.earlier[name]
        assert torch.equal(latent.grad, gradient * moves)  # type: ignore[arg-type]
        # The derivative of |s| carries the sign, and owned weights have scores like others.
        assert torch.equal(score.grad, gradient * latent.detach() * score.detach().sign())  # type: ignore[arg-type]
        assert bool((score.grad * network.earlier[name]).any())
        assert network.shared[name].grad is None, "nobody else clears it"


def test_decay_reaches_the_weights_that_move_and_no_other() -> None:
    plain, decayed = started(), started(decay=0.1)
    backward(plain)
    backward(decayed)
    for name, without, latent in zip(plain.shared, plain.latent, decayed.latent, strict=True):
        moves = decayed.chosen[name] & ~decayed.earlier[name]
        assert torch.allclose(latent.grad - without.grad, 0.1 * latent.detach() * moves, atol=1e-7)  # type: ignore[operator]


def test_owned_weights_stay_to_the_bit_while_scores_and_others_move() -> None:
    network = started(decay=0.1)
    chosen = recipe(learning_rate=0.1)
    optimizer = make_optimizer(network.trained(), chosen.model_copy(update={"weight_decay": 0.0}))
    second = network.learn_scores(lambda epoch: 0.05).optimizer
    before = snapshot(network)
    ever = {name: mask.clone() for name, mask in network.chosen.items()}
    for step in range(20):
        backward(network)
        optimizer.step()
        second.step()
        network.after_step(Step(step + 1, 0, 20, optimizer))
        for name, mask in network.chosen.items():
            ever[name] |= mask
    for index, (name, earlier) in enumerate(network.earlier.items()):
        start, now = before[f"latent.{index}"], network.latent[index].detach()
        assert torch.equal(now[earlier], start[earlier]), "owned"
        assert torch.equal(now[~ever[name]], start[~ever[name]]), "never chosen"
        assert not torch.equal(now, start)
        assert not torch.equal(network.scores[index].detach()[earlier], before[f"scores.{index}"][earlier])
    assert any(
        not torch.equal(mask, before[f"choices.{name.replace('.', '-')}"]) for name, mask in network.chosen.items()
    )


def test_weights_scores_and_choice_of_a_kept_epoch_come_back_together() -> None:
    network = started()
    state, answers = snapshot(network), network.eval()(images()).detach()
    with torch.no_grad():
        for score in network.scores:
            score.copy_(score.flip(0))
    network.choose()
    assert not torch.equal(network.eval()(images()), answers)
    network.load_state_dict(state)
    assert torch.equal(network.eval()(images()), answers)
    network.choose()
    assert torch.equal(network.eval()(images()), answers), "the choice is that of the scores"


def test_handing_on_gradients_and_choosing_wait_for_nothing() -> None:
    network = started()
    network.train()
    given = images()

    def work() -> tuple[Tensor, Tensor]:
        loss = F.cross_entropy(network(given), torch.zeros(8, dtype=torch.long))
        loss.backward()
        network.mask_gradients()
        network.choose()
        return loss.detach(), torch.zeros(1)

    StandIn().record(work, ())()
