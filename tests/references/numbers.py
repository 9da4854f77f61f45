"""Parts of Avalanche's plugins and of ours on the same numbers: the Fisher information, the distillation, the projection.

python -m tests.references.numbers --avalanche DIR

Accuracies of a few runs tell methods apart only roughly; these parts are to agree to rounding. Each line is the largest
difference, beside the largest number.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import warnings
from pathlib import Path
from types import SimpleNamespace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from methods.agem import against, flat
from methods.parts.consolidation.distillation import softened_cross_entropy
from methods.parts.consolidation.fisher import fisher_information
from tests.references import ours
from tests.references.stream import begin


def main(arguments: list[str] | None = None) -> int:
    """Print the comparisons."""
    parser = argparse.ArgumentParser(prog="python -m tests.references.numbers")
    parser.add_argument("--avalanche", type=Path, required=True, metavar="DIR", help="folder with avalanche-lib in it")
    sys.path.append(str(parser.parse_args(arguments).avalanche))
    warnings.simplefilter("ignore")
    torch.manual_seed(0)
    with tempfile.TemporaryDirectory() as folder:
        begun = begin(Path(folder), "task", 0)
        begun.tasks[1:] = []
        ours.run(begun)
    network = begun.method.network.for_task(0).eval()  # type: ignore[attr-defined]
    images, labels, *_ = begun.images[0]
    for name, (mine, theirs) in {
        "EWC, the empirical Fisher information of 192 images": fisher(network, images, labels),
        "LwF, the gradient of the distillation of two heads": distillation(),
        "A-GEM, a projected gradient": projection(),
    }.items():
        print(f"{name}: {float((mine - theirs).abs().max()):.1e} of {float(theirs.abs().max()):.1e}")
    return 0


def fisher(network: nn.Module, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """EWCPlugin.compute_importances, with batches of one image."""
    from avalanche.training.plugins import EWCPlugin
    from torch.utils.data import TensorDataset

    names = [name for name, _ in network.named_parameters()]
    mine = fisher_information(network, names, images, labels, "true", torch.Generator())
    data = TensorDataset(images, labels, torch.zeros_like(labels))
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
    theirs = EWCPlugin(1.0).compute_importances(network, F.cross_entropy, optimizer, data, "cpu", 1)
    return flat(mine[name] for name in names), flat(theirs[name].data for name in names)


def distillation() -> tuple[Tensor, Tensor]:
    """LearningWithoutForgetting on the logits of two old heads."""
    from avalanche.training.regularization import LearningWithoutForgetting

    student, teacher = torch.randn(16, 6, requires_grad=True), torch.randn(16, 6)
    theirs = LearningWithoutForgetting(1.0, 2.0)
    heads = (range(3), range(3, 6))
    total = torch.stack([theirs._distillation_loss(student, teacher, head) for head in heads]).sum()
    mine = [
        softened_cross_entropy(student[:, head.start : head.stop], teacher[:, head.start : head.stop], 2.0)
        for head in heads
    ]
    (left,), (right,) = (torch.autograd.grad(loss, student) for loss in (torch.stack(mine).sum(), total))
    return left, right


def projection() -> tuple[Tensor, Tensor]:
    """AGEMPlugin.after_backward on a gradient that goes against the reference."""
    from avalanche.training.plugins import AGEMPlugin

    layer, plugin = nn.Linear(7, 3), AGEMPlugin(1, 1)
    for parameter in layer.parameters():
        parameter.grad = torch.randn_like(parameter)
    gradient = flat(parameter.grad for parameter in layer.parameters() if parameter.grad is not None)
    reference = torch.randn_like(gradient) - gradient
    plugin.buffers, plugin.reference_gradients = [None], reference  # type: ignore[list-item]
    plugin.after_backward(SimpleNamespace(model=layer, device="cpu"))
    theirs = flat(parameter.grad for parameter in layer.parameters() if parameter.grad is not None)
    return gradient - against(gradient, reference) * reference, theirs


if __name__ == "__main__":
    sys.exit(main())
