"""The robustness that a planted defect has in truth, found by somebody who knows the defect: an adaptive attack.

It walks on the honest networks inside, tries points inside the ball and not only on its faces, and walks through a purified input
by what comes out of it. All points are put to a classifier made anew from the stored state. Copies that a method keeps elsewhere
are out of reach. Of methods that know the test images it tells what the same networks have that never saw them.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from attacks.pgd import PGD
from attacks.starts import Starts
from attacks.threat_model import ThreatModel
from benchmark.evaluating.determinism import repeatable
from benchmark.learning.restoring import restored_method
from benchmark.planning.jobs import Job
from benchmark.planning.machine import Machine
from benchmark.planning.stored_runs import task_checkpoints
from methods.backbones import TaskNetwork
from methods.base import Method
from results.checkpoints import Checkpoints
from results.files import whole_file
from results.store import RunStore
from scenarios.base import ImageSet, Task
from scenarios.parts.augmentation import to_float

STORED = "true.json"
STEPS = 40
OPTIONS, RESTARTS = 33, 4
"""Values of a pixel that are tried where the input is purified, and walks."""
WITHIN = (0.5, 0.75, 0.9, 0.97)
"""Shares of the way from an image to what was found, at which points are tried too."""


def true_accuracy(job: Job, machine: Machine, tasks: Sequence[Task]) -> float | None:
    """The mean accuracy over tasks after the last one, 0 to 1, right on the image and on every point that was tried.

    It is stored beside the run's records and read from there next time. None where the run has no checkpoint.
    """
    store = RunStore(machine.runs, job.hash)
    path = store.directory / STORED
    if path.is_file():
        return stored_truth(store.directory)
    names = task_checkpoints(Checkpoints(store.directory / "checkpoints"))
    if not names:
        return None
    torch.set_num_threads(machine.threads)
    with repeatable():
        found = [_of_task(job, machine, names[-1], task) for task in tasks]
    worst = sum(found) / len(found)
    with whole_file(path) as written:
        written.write_text(json.dumps({"worst": worst, "tasks": found}), encoding="utf-8")
    return worst


def stored_truth(run: Path) -> float:
    """The accuracy that `true_accuracy` stored in the folder of a run; NaN without one."""
    path = run / STORED
    return float(json.loads(path.read_text(encoding="utf-8"))["worst"]) if path.is_file() else math.nan


def _of_task(job: Job, machine: Machine, key: str, task: Task) -> float:
    def fresh() -> Method:
        method: Any = restored_method(job, machine, key)
        if hasattr(method, "kept"):
            method.kept = lambda task: None
        return method

    # The images that every attack of the ranking covers.
    covered = min(demand.covers(len(task.test)) for demand in job.preset.final)
    test = task.test.select(task.test.balanced_order()[:covered])
    images, labels = to_float(test.images), test.labels
    classifier = fresh().classifier(task.id)
    inside = _inside(classifier)
    eps = float(job.preset.eps)
    stands = torch.ones(len(labels), dtype=torch.bool)
    for points in [images, *_points(inside, test, job, task), *_through(classifier, images, labels, eps)]:
        valid = torch.minimum(torch.maximum(points, images - eps), images + eps).clamp(0, 1)
        with torch.no_grad():
            # Who asks a classifier that remembers only once hears the network inside.
            answering = inside if hasattr(classifier, "memory") else fresh().classifier(task.id)
            stands &= answering(valid).argmax(1) == labels
    return float(stands.float().mean())


def _inside(classifier: nn.Module) -> nn.Module:
    """The network that gives the value: it has an honest gradient once nothing is in its way."""
    network = classifier.network if isinstance(getattr(classifier, "network", None), TaskNetwork) else classifier
    if isinstance(network, TaskNetwork):
        for index, layer in enumerate(network.backbone.layers):
            if hasattr(layer, "layer"):
                network.backbone.layers[index] = layer.layer
    return network


def _points(network: nn.Module, test: ImageSet, job: Job, task: Task) -> Iterator[Tensor]:
    """The points that PGD finds on a network, and points on the way there."""
    images, labels = to_float(test.images), test.labels
    model = ThreatModel(job.preset.eps, "linf")
    start = Starts(1, task.test_fingerprint, test.samples)
    generator = torch.Generator().manual_seed(task.id)
    for size, loss in (("eps/4", "ce"), ("eps/8", "ce"), ("eps/8", "margin")):
        pgd = PGD(threat_model=model, steps=STEPS, step_size=size, loss=loss)
        found = pgd.run(network, images, labels, start)
        for points in (found.worst, found.adversarial):
            yield points
            for share in WITHIN:
                yield images + share * (points - images)
            yield images + torch.rand(images.shape, generator=generator) * (points - images)
            yield images + (0.5 + torch.rand(images.shape, generator=generator) / 2) * (points - images)


def _through(classifier: Any, images: Tensor, labels: Tensor, eps: float) -> Iterator[Tensor]:
    """Points of a walk through what a purified input becomes: each pixel takes the value that leads uphill after it."""
    if not hasattr(classifier, "purify"):
        return
    if classifier.by == "nearest image":
        for label in labels.unique().tolist():
            others = classifier.known[classifier.network(classifier.known).argmax(1) != label]
            near = torch.cdist(images.flatten(1), others.flatten(1)).topk(min(8, len(others)), largest=False).indices
            for rank in range(near.shape[1]):
                yield images + (others[near[:, rank]] - images).clamp(-eps, eps)
        return
    generator = torch.Generator().manual_seed(0)
    options = (images + eps * torch.linspace(-1, 1, OPTIONS).reshape(-1, 1, 1, 1, 1)).clamp(0, 1)
    become = torch.stack([torch.where(classifier.chosen, classifier.purify(option), option) for option in options])
    for restart in range(RESTARTS):
        at = torch.randint(OPTIONS, images.shape, generator=generator) if restart else OPTIONS // 2 + 0 * images.long()
        worst, lowest = images.clone(), torch.full(labels.shape, torch.inf)
        for step in range(2 * STEPS):
            value = become.gather(0, at[None])[0].requires_grad_()
            logits = classifier.network(value)
            own = logits.gather(1, labels[:, None])[:, 0]
            margin = own - logits.scatter(1, labels[:, None], -torch.inf).amax(1)
            better = margin.detach() < lowest
            worst[better], lowest[better] = options.gather(0, at[None])[0][better], margin.detach()[better]
            gradient = torch.autograd.grad(-margin.sum(), value)[0]
            uphill = (become * gradient).argmax(0)
            moves = torch.rand(images.shape, generator=generator) < (0.5, 0.2, 0.05)[step % 3]
            at = torch.where(moves, uphill, at)
        yield worst
