"""ANP-VS: which loss reaches what, what is recorded, and how it goes from task to task."""

from __future__ import annotations

import copy
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from attacks.threat_model import ThreatModel
from benchmark.evaluating.fingerprints import classifier_fingerprint
from benchmark.planning.jobs import spec_key
from methods.anp_vs import AnpVs, AnpVsSettings, NeuralPruning
from methods.backbones import MultiHead, SmallConv, initialise
from methods.base import RunSpec
from methods.parts.stochastic_masks import MaskedNetwork, Masks
from methods.training import Batch, InnerAttack
from results import load
from tests.tiny import begun, run_tiny


def masked_network() -> MaskedNetwork:
    multi = MultiHead(SmallConv((1, 8, 8), 0.25), (2,), (0.3,), (0.4,))
    initialise(multi, torch.Generator().manual_seed(0))
    network = multi.for_task(0)
    return MaskedNetwork(network, Masks(network, 0.5, 0.5), generator=torch.Generator().manual_seed(1)).train()


def batch() -> Batch:
    generator = torch.Generator().manual_seed(1)
    return Batch(torch.rand(16, 1, 8, 8, generator=generator), torch.arange(16) % 2, torch.zeros(16, dtype=torch.int64))


def attack_on(net: nn.Module) -> InnerAttack:
    return InnerAttack(net, ThreatModel(Fraction(1, 5)), 0.05, 3, "eval", torch.Generator().manual_seed(2))


def gradients(**settings: Any) -> tuple[list[Tensor], list[Tensor]]:
    """Of the weights and of the masks, from one step of the objective; zeros where nothing arrived."""
    masked = masked_network()
    objective = NeuralPruning(masked, AnpVsSettings(**settings), 100)
    loss, _ = objective.loss(masked, batch(), attack_on(masked))
    loss.backward()
    return _grads(masked.network), _grads(masked.masks)


def _grads(module: nn.Module) -> list[Tensor]:
    return [torch.zeros_like(p) if p.grad is None else p.grad for p in module.parameters()]


def by_hand() -> tuple[MaskedNetwork, Tensor, Tensor, Tensor, list[Tensor], list[Tensor]]:
    """The passes of `NeuralPruning.loss` in its order, with the same draws, every one with gradients to everything."""
    masked, given = masked_network(), batch()
    mean = masked.materialise()
    moved = attack_on(masked)(given.images, lambda x: F.cross_entropy(mean(x), given.labels, reduction="sum"))
    clean = F.cross_entropy(masked.sampled(given.images, 1.0)[0], given.labels)
    robust = F.cross_entropy(masked.sampled(moved, 1.0)[0], given.labels)
    f, g = masked.sampled(given.images, 1.0)[1], masked.sampled(moved, 1.0)[1]
    return masked, clean, robust, masked.masks.kl(1e-4) / 100, f, g


def close(found: list[Tensor], expected: tuple[Tensor | None, ...]) -> bool:
    whole = [torch.zeros_like(f) if e is None else e for f, e in zip(found, expected, strict=True)]
    return all(torch.allclose(f, e, atol=1e-5, rtol=1e-3) for f, e in zip(found, whole, strict=True))


def test_weights_follow_both_cross_entropies_and_masks_the_adversarial_one_alone() -> None:
    weights, masks = gradients(beta=0, suppression=0)
    masked, clean, robust, *_ = by_hand()
    both = (clean + 2 * robust) / 3
    of = {"retain_graph": True, "allow_unused": True}
    assert close(weights, torch.autograd.grad(both, list(masked.network.parameters()), **of))
    assert close(masks, torch.autograd.grad(robust, list(masked.masks.parameters()), **of))


def test_the_divergence_reaches_the_masks_with_its_whole_weight() -> None:
    (_, without), (_, with_it) = gradients(beta=0, suppression=0), gradients(beta=2, suppression=0)
    masked, _, _, kl, *_ = by_hand()
    expected = torch.autograd.grad(2 * kl, list(masked.masks.parameters()))
    assert close([b - a for a, b in zip(without, with_it, strict=True)], expected)


def test_suppression_moves_features_of_every_layer_together_and_never_reaches_the_masks() -> None:
    (plain, masks), (suppressed, same_masks) = gradients(beta=0, suppression=0), gradients(beta=0, suppression=5)
    assert all(torch.equal(a, b) for a, b in zip(masks, same_masks, strict=True))
    masked, _, _, _, f, g = by_hand()
    distance = torch.stack([(a - b).abs().mean() for a, b in zip(f, g, strict=True)]).mean()
    expected = torch.autograd.grad(5 * distance, list(masked.network.parameters()), allow_unused=True)
    assert close([b - a for a, b in zip(plain, suppressed, strict=True)], expected)
    assert bool(expected[0].any()), "from the first layer on"  # type: ignore[union-attr]


def test_l2_is_over_all_weights_biases_and_batch_norm() -> None:
    (plain, _), (decayed, _) = gradients(beta=0, suppression=0), gradients(beta=0, suppression=0, l2=0.1)
    weights = [p.detach() for p in masked_network().network.parameters()]
    assert close([b - a for a, b in zip(plain, decayed, strict=True)], tuple(0.1 * w for w in weights))


def test_the_attack_is_on_the_mean_network_in_inference_mode() -> None:
    masked, given = masked_network(), batch()
    seen: list[Tensor] = []
    masked.sampled = lambda images, gain=None, inner=masked.sampled: (seen.append(images), inner(images, gain))[1]  # type: ignore[method-assign]
    plain = copy.deepcopy(masked.materialise())
    NeuralPruning(masked, AnpVsSettings(), 100).loss(masked, given, attack_on(masked))
    expected = attack_on(plain)(given.images, lambda x: F.cross_entropy(plain(x), given.labels, reduction="sum"))
    clean, adversarial, clean_again, adversarial_again = seen
    assert torch.equal(clean, given.images)
    assert torch.equal(clean_again, given.images)
    assert torch.allclose(adversarial, expected)
    assert torch.equal(adversarial, adversarial_again)


def method(folder: Path, **settings: Any) -> tuple[AnpVs, Any, list[Any]]:
    found, context, tasks = begun(
        folder, {"method": "anp_vs", "settings": {"warm_start": False, **settings}}, recipe={"epochs": 1}
    )
    assert isinstance(found, AnpVs)
    return found, context, tasks


@pytest.mark.parametrize("weights", ["shared", "independent"])
def test_what_tasks_share_is_what_the_setting_says(tmp_path: Path, weights: str) -> None:
    found, context, tasks = method(tmp_path, weights=weights)
    found.learn(tasks[0].to_learn(), context)
    before = found.classifier(0)
    masks = {name: mask.mean().clone() for name, mask in found.masks[0].by_layer()}
    found.learn(tasks[1].to_learn(), context)
    independent = weights == "independent"
    after = found.classifier(0)
    assert (classifier_fingerprint(before) == classifier_fingerprint(after)) is independent
    assert len(found.masks) == (2 if independent else 1)
    assert all(torch.equal(mask.mean(), masks[name]) for name, mask in found.masks[0].by_layer()) is independent
    # Batch norm and head are the task's own either way (the mask on the head's input is not).
    assert torch.equal(before.backbone.layers[1].running_mean, after.backbone.layers[1].running_mean)  # type: ignore[union-attr]
    assert torch.equal(before.head.bias, after.head.bias)  # type: ignore[union-attr]
    assert ("unforgetting" in found.claimed()) is independent


def test_its_sparsity_and_latent_vulnerability_are_facts_per_layer_and_in_all(tmp_path: Path) -> None:
    assert run_tiny(tmp_path, rows=[{"method": "anp_vs"}]) == 0
    (run,) = [run for run in load(tmp_path / "runs", None).runs if run.method == "anp_vs"]
    facts = run.facts[run.facts["phase"] == "method"]
    for name, layers in (("sparsity", 5), ("latent_vulnerability", 5)):
        of_task = facts[(facts["name"] == name) & (facts["task"] == 1)]
        assert len(of_task) == layers + 1
        assert of_task["text"].isna().sum() == 1
    moved = facts[(facts["name"] == "latent_vulnerability") & (facts["task"] == 1)]
    whole = moved[moved["text"].isna()]["value"].iloc[0]
    assert whole == pytest.approx(moved.dropna(subset=["text"])["value"].mean())
    assert whole > 0


def test_sparsity_is_the_share_of_channels_without_a_mean(tmp_path: Path) -> None:
    found, context, tasks = method(tmp_path, mask_rate=1e-9)
    found._add(0)
    with torch.no_grad():
        found.masks[0].of("backbone.layers.0").raw_a[:4] = -10.0
    found.learn(tasks[0].to_learn(), context)
    facts = [f for f in context.logs.facts if f["name"] == "sparsity"]
    channels = sum(len(mask.raw_a) for _, mask in found.masks[0].by_layer())
    assert next(f["value"] for f in facts if f["text"] == "backbone.layers.0") == pytest.approx(4 / 8)
    assert facts[-1]["value"] == pytest.approx(4 / channels)


def test_a_warm_start_is_the_cleanly_trained_network_of_the_same_recipe(tmp_path: Path) -> None:
    assert AnpVs.requires(AnpVsSettings()) == [RunSpec("single_task_standard", weights=True)]
    assert AnpVs.requires(AnpVsSettings(warm_start=False)) == []
    found, context, tasks = begun(tmp_path, {"method": "anp_vs"}, recipe={"learning_rate": 1e-12})
    clean = MultiHead(SmallConv((1, 8, 8), 0.25), (2, 2), (0.3,), (0.4,))
    initialise(clean, torch.Generator().manual_seed(7))

    class Finished:
        def classifier(self, task: int) -> nn.Module:
            return clean.for_task(task).materialise()

    context._prerequisites = {spec_key(AnpVs.requires(AnpVsSettings())[0]): Finished}
    assert isinstance(found, AnpVs)
    found.learn(tasks[0].to_learn(), context)
    weights = dict(found.shared.backbone.shared_weights())
    assert all(torch.allclose(weights[name], w, atol=1e-6) for name, w in clean.backbone.shared_weights())
