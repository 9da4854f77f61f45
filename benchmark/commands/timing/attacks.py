"""Times of our attacks beside those of torchattacks, on the same network, images, eps, steps, threads and precision.

torchattacks is called as a user would call it: the network has the default memory format, and a prediction follows each attack.
Broken images are dropped between the attacks of an ensemble, as we do. The network is trained adversarially first (a minute, on
scikit-learn's digits, enlarged), because the time of an ensemble depends on the number of images that stand.
"""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from attacks.ensemble import Ensemble
from attacks.parts.ascent import ascend
from attacks.parts.sharing import share_runs
from attacks.pgd import PGD
from attacks.starts import Starts
from attacks.threat_model import ThreatModel
from benchmark.commands.timing.clock import Clock
from benchmark.evaluating.determinism import full_precision
from benchmark.planning.machine import use_device
from benchmark.processes import in_fresh_process
from methods.backbones import TaskNetwork

STEPS = (7, 10, 20, 40)
STEP_SIZES = (Fraction(1, 8), Fraction(1, 4), Fraction(1, 2))
"""In units of eps."""

IMAGES = {"cpu": 16, "cuda": 500}
"""Number of images for the PGD table. The ensembles get twice as many, because their later attacks see only those that stand."""

ENSEMBLE = {"cpu": (10, 500), "cuda": (20, 1000)}
"""Steps and queries, in the proportion of AutoAttack."""

CLASSES = 5
IMAGE_SHAPE = (3, 32, 32)
HARDENING = 40
"""Adversarial training steps of a network before it is attacked."""

HARDER = 3
"""The ensemble's eps in units of the training eps: some images fall to its first attack, some to a later one, some stand."""

MEMORY_ROWS = 64


def time_attacks(
    network: TaskNetwork, eps: Fraction, clock: Clock, device: torch.device, say: Callable[[str], None]
) -> dict[str, Any]:
    """Time attacks of ours and of torchattacks. Returns seconds, their ratios and the peak memory of one attack, by stable names.

    network: from images (N, 3, 32, 32) to 5 logits; it is trained.
    """
    say("training a network adversarially, to have one that some attacks break and some do not")
    images, labels = enlarged_digits(device)
    harden(network, images, labels, eps, device)
    classifier = network.to(memory_format=torch.channels_last).materialise()
    plain = network.materialise().to(memory_format=torch.contiguous_format)
    count = IMAGES[device.type]
    images, labels = images[-2 * count :], labels[-2 * count :]
    found: dict[str, Any] = {"attacked_images": count}
    with full_precision():
        say("PGD tables, ours and torchattacks'")
        found |= time_sweep(classifier, plain, images[:count], labels[:count], eps, clock)
        say("AutoAttack's composition, ours and torchattacks'")
        found |= time_ensemble(classifier, plain, images, labels, eps, clock)
    say("peak memory of an attack, ours and torchattacks'")
    return found | peak_memory(network, device)


def enlarged_digits(device: torch.device) -> tuple[Tensor, Tensor]:
    """Digits 0 to 4 in random order: images, float (N, 3, 32, 32) in [0, 1], and labels, int64 (N,)."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    few = digits.target < CLASSES
    order = torch.randperm(int(few.sum()), generator=torch.Generator().manual_seed(0))
    small = torch.from_numpy(digits.images[few])[order].float().div(16).to(device)
    labels = torch.from_numpy(digits.target[few])[order].to(device, torch.int64)
    images = F.interpolate(small[:, None], (32, 32), mode="bilinear").clamp(0, 1)
    return images.expand(-1, 3, -1, -1).contiguous(), labels


def harden(network: TaskNetwork, images: Tensor, labels: Tensor, eps: Fraction, device: torch.device) -> None:
    """Train a network with PGD-2 for a few dozen steps: afterwards an attack breaks some images and not all."""
    optimizer = torch.optim.SGD(network.parameters(), lr=0.02, momentum=0.9, weight_decay=5e-4)
    lower, upper = ThreatModel(eps).bounds(images)
    for step in range(HARDENING):
        index = torch.arange(step * 32, step * 32 + 32, device=device) % max(32, len(images) - 2 * IMAGES[device.type])
        x, y, low, high = images[index], labels[index], lower[index], upper[index]
        network.eval()
        adversarial = ascend(_loss(network, y), x, low, high, float(eps) / 2, 2)
        network.train()
        optimizer.zero_grad(set_to_none=True)
        F.cross_entropy(network(adversarial), y).backward()
        optimizer.step()
    network.eval()


def _loss(network: nn.Module, labels: Tensor) -> Callable[[Tensor], Tensor]:
    return lambda images: F.cross_entropy(network(images), labels, reduction="sum")


def time_sweep(
    classifier: nn.Module, plain: nn.Module, images: Tensor, labels: Tensor, eps: Fraction, clock: Clock
) -> dict[str, Any]:
    """Time a table of PGD attacks, 4 numbers of steps x 3 step sizes, with their predictions."""
    import torchattacks

    model = ThreatModel(eps)
    wanted = [PGD(threat_model=model, steps=k, step_size=size * eps) for k in STEPS for size in STEP_SIZES]
    start = Starts(0, "throughput", torch.arange(len(images), device=images.device))

    def ours() -> None:
        for run in share_runs(wanted):
            run.run(classifier, images, labels, start)

    def theirs() -> None:
        for attack in wanted:
            alpha = float(attack.step_size)
            other = torchattacks.PGD(plain, eps=float(eps), alpha=alpha, steps=attack.steps, random_start=True)
            _predict(plain, other(images, labels))

    mine, others = clock.medians(ours, theirs)
    return {
        "sweep": f"PGD {', '.join(map(str, STEPS))} steps x {len(STEP_SIZES)} step sizes",
        "sweep_seconds": mine,
        "sweep_seconds_torchattacks": others,
        "sweep_vs_torchattacks": others / mine,
    }


def time_ensemble(
    classifier: nn.Module, plain: nn.Module, images: Tensor, labels: Tensor, eps: Fraction, clock: Clock
) -> dict[str, Any]:
    """Time an ensemble of APGD-CE, targeted APGD, targeted FAB and Square, with equal iterations on both sides."""
    import torchattacks

    steps, queries = ENSEMBLE[images.device.type]
    radius = HARDER * eps
    attack = Ensemble(threat_model=ThreatModel(radius), steps=steps, queries=queries)
    start = Starts(0, "throughput", torch.arange(len(images), device=images.device))
    standing: dict[str, int] = {}

    def ours() -> None:
        result = attack.run(classifier, images, labels, start)
        standing["ours"] = int((result.final[steps].predicted == labels).sum())

    def theirs() -> None:
        size = float(radius)
        left, y = images[_predict(plain, images) == labels], labels[_predict(plain, images) == labels]
        for other in (
            torchattacks.APGD(plain, norm="Linf", eps=size, steps=steps, loss="ce"),
            torchattacks.APGDT(plain, norm="Linf", eps=size, steps=steps, n_classes=CLASSES),
            torchattacks.FAB(plain, norm="Linf", eps=size, steps=steps, multi_targeted=True, n_classes=CLASSES),
            torchattacks.Square(plain, norm="Linf", eps=size, n_queries=queries),
        ):
            if len(left):
                adversarial = other(left, y)
                inside = (adversarial - left).abs().flatten(1).amax(1) <= size + 1e-6
                stands = ~(inside & (_predict(plain, adversarial) != y))
                left, y = left[stands], y[stands]
        standing["theirs"] = len(left)

    with torch.random.fork_rng(devices=[images.device] if images.is_cuda else []):
        mine, others = clock.medians(ours, theirs)
    return {
        "autoattack": f"its four attacks with {steps} steps and {queries} queries",
        "autoattack_standing": f"{standing['ours']} of {len(images)}, torchattacks {standing['theirs']}",
        "autoattack_seconds": mine,
        "autoattack_seconds_torchattacks": others,
        "autoattack_vs_torchattacks": others / mine,
    }


def peak_memory(network: TaskNetwork, device: torch.device) -> dict[str, Any]:
    """The peak memory of PGD-2 with equal batches, in MB above the network's. Each runs in a process of its own."""
    return {
        "attack_rows": MEMORY_ROWS,
        "attack_peak_mb": in_fresh_process(_peak, network, str(device), True, MEMORY_ROWS),
        "attack_peak_mb_torchattacks": in_fresh_process(_peak, network, str(device), False, MEMORY_ROWS),
    }


def _peak(network: TaskNetwork, device_name: str, ours: bool, rows: int) -> float | None:
    import torchattacks

    use_device(device_name)
    device = torch.device(device_name)
    images = torch.rand(rows, *IMAGE_SHAPE, device=device)
    labels = torch.zeros(rows, dtype=torch.int64, device=device)
    layout = torch.channels_last if ours else torch.contiguous_format
    classifier = network.materialise().to(device, memory_format=layout)
    _predict(classifier, images[:1])
    before = _peak_from_now(device)
    attack = PGD(threat_model=ThreatModel(Fraction(8, 255)), steps=2, step_size="eps/4")  # type: ignore[arg-type]
    if ours:
        attack.run(classifier, images, labels, Starts(0, "", torch.arange(rows, device=device)))
    else:
        _predict(classifier, torchattacks.PGD(classifier, eps=8 / 255, alpha=2 / 255, steps=2)(images, labels))
    after = _peak_so_far(device)
    return None if before is None or after is None else after - before


def _peak_from_now(device: torch.device) -> float | None:
    """Reset the peak. Returns the megabytes in use now; None if the system cannot do that."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        return torch.cuda.memory_allocated(device) / 1e6
    try:
        # On Linux, 5 sets the peak of the resident set to its present size.
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return None
    return _peak_so_far(device)


def _peak_so_far(device: torch.device) -> float | None:
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 1e6
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
        return next(int(line.split()[1]) / 1e3 for line in lines if line.startswith("VmHWM:"))
    except (OSError, StopIteration, ValueError):
        return None


def _predict(network: nn.Module, images: Tensor) -> Tensor:
    with torch.no_grad():
        return network(images).argmax(1)
