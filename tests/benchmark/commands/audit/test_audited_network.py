"""Audited training: the canonical protocol is `madry_at` itself, and every field changes what it says and nothing else."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from attacks.pgd import PGD
from attacks.starts import Starts
from attacks.threat_model import ThreatModel
from benchmark.commands.audit.learning.audited_network import (
    AuditedTraining,
    measured_normalisation,
    normalisation_of,
    validate_under,
)
from benchmark.commands.audit.pgd import Geometry, walk
from benchmark.commands.audit.switches import AuditProtocol, TrainingProtocol
from benchmark.evaluating import validation
from methods.backbones import BackboneChoice, MultiHead, TaskNetwork, initialise
from methods.training import AdversarialTraining, Batch, Fit, InnerAttack, Objective, train
from methods.training.memory import LiveBytes
from methods.training.recipe import Recipe
from scenarios.base import ImageSet, LearnTask
from scenarios.digits import Digits
from tests.methods.training.training_cases import EPS, digits_task

THESIS_BOX = TrainingProtocol(clamp_box_training="normalised", clamp_box_evaluation="normalised")


@pytest.fixture(scope="module")
def task() -> LearnTask:
    return digits_task()


def network_(seed: int = 0) -> TaskNetwork:
    backbone = BackboneChoice(name="small_conv", width=0.25).build((1, 8, 8))
    network = MultiHead(backbone, (2,), Digits.mean, Digits.std)
    initialise(network, torch.Generator().manual_seed(seed))
    return network.for_task(0)


def recipe(**changes: object) -> Recipe:
    return Recipe.model_validate({"epochs": 2, "batch_size": 64, "learning_rate": 0.05, **changes})


def trained(objective: Objective, task: LearnTask, recipe: Recipe) -> TaskNetwork:
    network = network_()
    fit = Fit(network, list(network.parameters()), lambda: validation.validate(network, task, recipe, EPS), objective)
    purposes = {"order": 1, "augmentation": 2, "attack start": 3}
    train(fit, [task], recipe, EPS, lambda purpose: torch.Generator().manual_seed(purposes[purpose]))
    return network


def test_the_canonical_protocol_trains_what_madry_at_trains(task: LearnTask) -> None:
    canonical = trained(AdversarialTraining(), task, recipe())
    audited = trained(AuditedTraining(TrainingProtocol()), task, recipe())
    for name, tensor in canonical.state_dict().items():
        assert torch.equal(tensor, audited.state_dict()[name]), name


@pytest.mark.parametrize(
    "field",
    [
        {"eps_space": "normalised"},
        {"clamp_box_training": "normalised"},
        {"eps": "eps/4"},
        {"step_size": "1.5"},
        {"random_start": False},
        {"attack_bn_in_training": "train"},
    ],
)
def test_every_training_field_trains_another_network(field: dict[str, object], task: LearnTask) -> None:
    weights = [
        trained(AuditedTraining(TrainingProtocol.model_validate(changes)), task, recipe(epochs=1)).head.weight
        for changes in ({}, field)
    ]
    assert not torch.equal(*weights)


def test_the_training_attack_in_train_mode_moves_batch_norm_once_more_per_step(task: LearnTask) -> None:
    counts = []
    for mode in ("eval", "train"):
        protocol = TrainingProtocol.model_validate({"attack_bn_in_training": mode})
        network = trained(AuditedTraining(protocol), task, recipe(epochs=1, attack={"steps": 5}))
        counts.append(int(network.backbone.layers[1].num_batches_tracked))
    assert counts[1] == 6 * counts[0]


def attacked(network: TaskNetwork, task: LearnTask, protocol: TrainingProtocol) -> tuple[Tensor, Tensor]:
    """A batch and what the inner attack of one training step makes of it."""
    seen: list[Tensor] = []
    batch = Batch(task.train.images[:16].float() / 255, task.train.labels[:16], torch.zeros(16, dtype=torch.int64))
    attack = InnerAttack(network, ThreatModel(EPS), float(EPS / 4), 10, "eval", torch.Generator().manual_seed(0))

    def logits(images: Tensor) -> Tensor:
        seen.append(images.detach())
        return network(images)

    AuditedTraining(protocol).loss(logits, batch, attack)
    return batch.images, seen[-1]


def test_eps_in_normalised_space_is_eps_times_the_standard_deviation(task: LearnTask) -> None:
    images, adversarial = attacked(network_().eval(), task, TrainingProtocol(eps_space="normalised"))
    largest = float((adversarial - images).abs().max())
    assert largest == pytest.approx(float(EPS) * Digits.std[0], rel=1e-4)


def test_the_box_of_normalised_space_holds_every_image_wherever_the_ball_is(task: LearnTask) -> None:
    images, adversarial = attacked(network_().eval(), task, THESIS_BOX)
    mean, std = Digits.mean[0], Digits.std[0]
    assert float(adversarial.min()) >= mean - 1e-6
    assert float(adversarial.max()) <= mean + std + 1e-6
    assert float((adversarial - images).abs().max()) > float(EPS)


def test_canonical_validation_is_that_of_the_harness(task: LearnTask) -> None:
    network = trained(AdversarialTraining(), task, recipe())
    theirs = validation.validate(network, task, recipe(), EPS)
    ours = validate_under(TrainingProtocol(), network, task, recipe(), EPS)
    assert torch.equal(ours.clean_correct, theirs.clean_correct)
    assert torch.equal(ours.robust_correct, theirs.robust_correct)


def test_a_canonical_walk_meets_what_the_harness_own_pgd_meets(task: LearnTask) -> None:
    network = trained(AdversarialTraining(), task, recipe()).eval()
    images, labels = task.validation.images.float() / 255, task.validation.labels
    starts = Starts(0, "a task", task.validation.samples)
    for loss in ("ce", "margin"):
        theirs = PGD(threat_model=ThreatModel(EPS), steps=10, step_size=EPS / 4, loss=loss)
        expected = theirs.run(network, images, labels, starts)
        geometry = Geometry.of(AuditProtocol(), EPS, "pixels")
        noise = starts.uniform(images.shape)
        found = walk(network, images, labels, noise, geometry, normalisation_of(network), steps=10, loss=loss)
        assert torch.equal(found.final.predicted, expected.final[10].predicted)
        assert torch.equal(found.any.predicted, expected.any[10].predicted)
        assert torch.allclose(found.last, expected.adversarial, atol=1e-6)
        assert torch.allclose(found.worst, expected.worst, atol=1e-6)


def test_validation_by_the_training_attack_takes_its_final_iterate_alone(task: LearnTask) -> None:
    network = trained(AdversarialTraining(), task, recipe())
    # One step, so large that it overshoots what the start had found.
    short = recipe(selection={"steps": 1})
    protocols = [THESIS_BOX.model_copy(update={"eval_attack": attack}) for attack in ("suite", "training attack")]
    suite, last = (validate_under(protocol, network, task, short, EPS) for protocol in protocols)
    assert bool((suite.robust_correct <= suite.clean_correct).all())
    labels = task.validation.labels
    noise = Starts(validation.SEED, f"validation {task.name}", task.validation.samples).uniform((len(labels), 1, 8, 8))
    geometry = Geometry.of(THESIS_BOX, EPS, "normalised")
    images = task.validation.images.float() / 255
    found = walk(network.eval(), images, labels, noise, geometry, normalisation_of(network), steps=1)
    assert torch.equal(last.robust_correct, found.final.predicted == labels)
    assert torch.equal(suite.robust_correct, (found.any.predicted == labels) & suite.clean_correct)


def test_a_task_is_normalised_by_its_training_images(task: LearnTask) -> None:
    mean, std = measured_normalisation(task)
    normalised = (task.train.images.float() / 255 - mean) / std
    assert float(normalised.mean()) == pytest.approx(0, abs=1e-5)
    assert float(normalised.std(correction=0)) == pytest.approx(1, abs=1e-5)


def test_measuring_it_takes_no_more_memory_than_the_images(task: LearnTask) -> None:
    pixels = torch.randint(256, (50, 3, 64, 64), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    labels = torch.zeros(50, dtype=torch.int64)
    with LiveBytes() as live:
        mean, std = measured_normalisation(replace(task, train=ImageSet(pixels, labels, labels)))
    assert max(live.after) < pixels.nbytes
    exact = (pixels.float() / 255).double()
    assert torch.equal(mean, exact.mean((0, 2, 3), keepdim=True).float())
    assert torch.equal(std, exact.std((0, 2, 3), keepdim=True, correction=0).float())


def test_validation_leaves_the_network_in_its_mode(task: LearnTask) -> None:
    network = network_().train()
    validate_under(TrainingProtocol(), network, task, recipe(), EPS)
    assert network.training


def test_plugins_of_the_audit_are_found_by_path_only() -> None:
    from benchmark.plugins import METHODS, SCENARIOS

    names = {path.stem for path in Path("benchmark/commands/audit/plugins").glob("*.py")}
    assert not names & (set(METHODS.all()) | set(SCENARIOS.all()))
