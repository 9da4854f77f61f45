"""The guard around others' code: whatever happens inside, nothing of it is left."""

import random
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from attacks.parts import guard
from attacks.parts.guard import modes_kept, random_state_kept, untouched
from tests.attacks.attack_cases import batch, small_conv
from tests.attacks.stateful import CLASSES, Stateful, everything


@pytest.fixture(autouse=True, params=["cpu", "another device"])
def _host(request, monkeypatch):
    """Everything here is asked of tensors that lie where the host is, and of such that it would have to wait for."""
    monkeypatch.setattr(guard, "HOST", request.param)


def test_all_generators_are_seeded_by_seed_key_and_samples():
    _, _, start = batch(4)

    def drawn(start):
        with untouched(small_conv(), start):
            return float(torch.rand(())), float(np.random.rand()), random.random()

    first = drawn(start)
    torch.manual_seed(1)
    np.random.seed(1)
    random.seed(1)
    assert drawn(start) == first
    others = [replace(start, seed=1), replace(start, key="digits/1"), start.select(torch.tensor([0, 1, 2]))]
    for other in others:
        assert all(now != then for now, then in zip(drawn(other), first, strict=True))


def test_the_guard_puts_back_whatever_is_done_to_the_classifier():
    classifier = Stateful()
    _, _, start = batch(4)
    before = everything(classifier)

    def vandalise():
        with untouched(classifier, start):
            assert not any(parameter.requires_grad for parameter in classifier.parameters())
            classifier.train()
            classifier.inner.head.train().requires_grad_(True)
            classifier.register_buffer("more", torch.ones(1))
            classifier.inner.head.weight = nn.Parameter(torch.zeros(CLASSES, 6))
            with torch.no_grad():
                for parameter in classifier.parameters():
                    parameter.add_(1)
                    parameter.grad = torch.ones_like(parameter)
                classifier.inner.body[1].running_mean.fill_(7)
            torch.rand(3), np.random.rand(), random.random()
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        vandalise()
    assert everything(classifier) == before


def test_the_guard_puts_back_gradients_that_were_added_to():
    classifier = Stateful()
    before = everything(classifier)
    with untouched(classifier, batch(4)[2]):
        for parameter in classifier.inner.body.parameters():
            parameter.grad.add_(1)
    assert everything(classifier) == before


def test_the_guard_works_on_tensors_made_in_inference_mode():
    with torch.inference_mode():
        classifier = small_conv(CLASSES, 3)
        classifier.inference = nn.Parameter(torch.zeros(2))
    before = everything(classifier)
    with untouched(classifier, batch(4)[2]), torch.inference_mode():
        classifier.body[1].running_mean.fill_(7)
    assert everything(classifier) == before


def test_the_guard_leaves_what_is_unchanged_unwritten():
    """A graph that somebody holds on the parameters stays usable."""
    classifier = small_conv(CLASSES, 3)
    versions = [parameter._version for parameter in classifier.parameters()]
    with untouched(classifier, batch(4)[2]):
        pass
    assert [parameter._version for parameter in classifier.parameters()] == versions


def test_generators_of_gpus_are_put_back(monkeypatch):
    states, seeds = [torch.tensor([3]), torch.tensor([4])], []
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_rng_state_all", lambda: [state.clone() for state in states])
    monkeypatch.setattr(torch.cuda, "set_rng_state_all", lambda now: states.__setitem__(slice(None), now))
    monkeypatch.setattr(torch.cuda, "manual_seed_all", seeds.append)
    with untouched(small_conv(), batch(4)[2]) as seed:
        states[:] = [torch.tensor([7]), torch.tensor([8])]
    assert seeds == [seed]
    assert [state.item() for state in states] == [3, 4]


def test_gpus_that_were_not_used_yet_get_the_seed_that_the_program_set(monkeypatch):
    seeds = []
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: False)
    monkeypatch.setattr(torch.cuda, "manual_seed_all", seeds.append)
    with random_state_kept():
        torch.manual_seed(41)
        with random_state_kept():
            torch.manual_seed(42)
        assert seeds == [41, 42, 41]


@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")
@pytest.mark.parametrize("make", [torch.jit.script, lambda module: torch.jit.trace(module, torch.rand(1, 3, 8, 8))])
def test_the_guard_puts_back_a_scripted_classifier(make):
    classifier = make(nn.Sequential(nn.BatchNorm2d(3), nn.Flatten(), nn.Linear(192, 2)).eval())
    before = {name: value.clone() for name, value in classifier.state_dict().items()}
    with untouched(classifier, batch(4)[2]), torch.no_grad():
        classifier.train()
        for tensor in [*classifier.parameters(), *classifier.buffers()]:
            tensor.add_(1)
        getattr(classifier, "2").weight = nn.Parameter(torch.zeros(2, 192))
    assert not any(module.training for module in classifier.modules())
    assert {name: value.tolist() for name, value in classifier.state_dict().items()} == {
        name: value.tolist() for name, value in before.items()
    }


def test_each_module_gets_its_own_mode_back_after_an_error_too():
    network = small_conv().train()
    held = next(module for module in network.modules() if isinstance(module, nn.Conv2d))
    held.eval()
    before = [module.training for module in network.modules()]
    with pytest.raises(RuntimeError, match="memory"), modes_kept(network):
        network.train()
        raise RuntimeError("can't allocate memory")
    assert [module.training for module in network.modules()] == before
