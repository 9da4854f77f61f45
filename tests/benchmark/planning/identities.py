"""Identities as this code computes them: of the runs that built-in presets demand, and of classifiers with fixed weights.

`python -m tests.benchmark.planning.identities` prints them as JSON. What changes them is argued, and the board gets a version.
"""

from __future__ import annotations

import json
import sys
from typing import Any

import torch
from torch import Tensor, nn

from benchmark.evaluating.fingerprints import classifier_fingerprint
from benchmark.planning.jobs import make_jobs
from benchmark.planning.presets import MethodEntry, load_preset
from methods.backbones import BackboneChoice, MultiHead
from scenarios.base import SourceOptions


def of_runs() -> dict[str, dict[str, str]]:
    """By preset and label: the hash of the run with seed 0, for every row of `digits` and `digits-full`, optional ones too."""
    found = {}
    for name in ("digits", "digits-full"):
        preset = load_preset(name, seeds=[0])
        tasks = preset.scenario(SourceOptions()).load()
        entries: list[MethodEntry] = [*preset.file.methods, *preset.file.optional]
        jobs = make_jobs(preset, [preset.row(entry) for entry in entries], tasks, SourceOptions())
        found[name] = {job.label: job.hash for job in jobs if job.of_preset}
    return found


def of_classifiers() -> dict[str, str]:
    """By what they are: fingerprints of classifiers whose weights are a ramp, so that no random state decides them."""
    found = {}
    for name, shape, width in (("small_conv", (1, 8, 8), 1.0), ("vgg16_bn", (3, 32, 32), 0.0625)):
        backbone = BackboneChoice.model_validate({"name": name, "width": width}).build(shape)
        network = MultiHead(backbone, [2, 5], [0.5] * shape[0], [0.25] * shape[0])
        _ramp(network)
        for task in (0, 1):
            found[f"{name}, task {task}"] = classifier_fingerprint(network.for_task(task).materialise())
    for kind in (_Own(), _Own(scale=2.0), nn.Sequential(nn.Flatten(), nn.Linear(4, 2))):
        _ramp(kind)
        found[f"{type(kind).__name__}, scale {getattr(kind, 'scale', None)}"] = classifier_fingerprint(kind.eval())
    return found


class _Own(nn.Module):
    """Somebody's module: a plain number decides what it answers."""

    def __init__(self, scale: float = 1.0) -> None:
        super().__init__()
        self.scale, self.offset, self.layer = scale, torch.zeros(2), nn.Linear(4, 2)

    def forward(self, images: Tensor) -> Tensor:
        return self.scale * self.layer(images.flatten(1)) + self.offset


@torch.no_grad()
def _ramp(network: nn.Module) -> None:
    for tensor in network.state_dict().values():
        tensor.copy_((torch.arange(tensor.numel()) % 7).reshape(tensor.shape))


def identities() -> dict[str, Any]:
    return {"runs": of_runs(), "classifiers": of_classifiers()}


if __name__ == "__main__":
    json.dump(identities(), sys.stdout, indent=1)
