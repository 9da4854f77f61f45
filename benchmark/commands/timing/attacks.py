"""Times of our attacks beside those of torchattacks, on the same network, images, eps, steps, threads and precision.

torchattacks is called as a user would call it: the network has the default memory format, and a prediction follows each attack.
Broken images are dropped between the attacks of an ensemble, as we do. The network is trained adversarially first (a minute, on
scikit-learn's digits, resized), because the time of an ensemble depends on the number of images that stand.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from attacks.base import AttackResult, SharedResult
from attacks.ensemble import Ensemble
from attacks.memory import PROBE_ROWS, rows_that_fit
from attacks.parts.ascent import ascend
from attacks.parts.sharing import share_runs
from attacks.parts.two_precisions import walking
from attacks.pgd import PGD
from attacks.starts import Starts
from attacks.threat_model import ThreatModel
from benchmark.commands.timing.clock import FEWEST, Clock, NoTime
from benchmark.commands.timing.peaks import operations_of_forward
from benchmark.evaluating.determinism import full_precision
from benchmark.evaluating.precision import Precision, arithmetic_for
from benchmark.planning.machine import use_device
from benchmark.processes import in_fresh_process
from methods.backbones import TaskNetwork
from reports.numbers.wording import counted

STEPS = (7, 10, 20, 40)
STEP_SIZES = (Fraction(1, 8), Fraction(1, 4), Fraction(1, 2))
"""In units of eps."""

IMAGES = {"cpu": 16, "cuda": 500}
"""Images for the PGD table, at most. The ensembles get twice as many, because their later attacks see only those that stand."""
FEWEST_IMAGES = {"cpu": 4, "cuda": 100}
"""Images for the PGD table of all step sizes, at least: if time is short for these it has one step size."""

WITH_OURS = 1.75
"""A turn of the PGD table, in units of torchattacks' part of it."""

FEWEST_RIGHT = 2
"""Images that the network must get right before ensembles are compared on them."""

ENSEMBLE_STEPS = {"cpu": 10, "cuda": 20}
"""Steps of the ensemble's attacks, at most."""
QUERIES_PER_STEP = 50
"""The ensemble's queries, in the proportion of AutoAttack."""

PRECISION: Precision = "bf16"
"""The precision that attacks are timed in beside float32."""

CLASSES = 5
HARDENING, HARDENED = 40, 16
"""Adversarial training steps of a network before it is attacked, at most, and images in each."""

HARDER = 3
"""The ensemble's eps in units of the training eps: some images fall to its first attack, some to a later one, some stand."""

MEMORY_ROWS = 64
"""Images that are attacked at once when the peak is measured, where memory allows."""


@dataclass(frozen=True)
class Victims:
    """A network that some attacks break and some do not, as each side attacks it.

    ours: in the memory format of the harness.
    fast: the same with a copy in bfloat16; None where that precision is of no use.
    why_not: the reason for which it is of no use, or empty.
    theirs: in the default memory format.
    images, labels: float (N, C, H, W) in [0, 1] and int64 (N,).
    eps: of the PGD table, and in the training of the network.
    peaks: operations per second of matrix products, by precision.
    """

    ours: nn.Module
    fast: nn.Module | None
    why_not: str
    theirs: nn.Module
    images: Tensor
    labels: Tensor
    eps: Fraction
    peaks: dict[str, float]

    @property
    def classifiers(self) -> dict[str, nn.Module]:
        """Our classifiers, by a prefix for the precision in which attacks walk on them."""
        return {"": self.ours} | ({} if self.fast is None else {f"{PRECISION}_": self.fast})


def make_victims(
    network: TaskNetwork, shape: tuple[int, int, int], eps: Fraction, clock: Clock, peaks: dict[str, float]
) -> Victims:
    """Train a network adversarially for a moment, and make it ready to be attacked.

    network: from images of `shape` to 5 logits; it is trained, for at most as long as the clock has.
    shape: (C, H, W).
    peaks: operations per second of matrix products, by precision.
    """
    images, labels = digits_of(shape, clock.device)
    harden(network, images, labels, eps, clock)
    ours = network.to(memory_format=torch.channels_last).materialise()
    with full_precision():
        fast = arithmetic_for(ours, shape, clock.device, PRECISION)
    return Victims(
        ours=ours,
        fast=None if fast.classifier is ours else fast.classifier,
        why_not=fast.reason,
        theirs=network.materialise().to(memory_format=torch.contiguous_format),
        images=images,
        labels=labels,
        eps=eps,
        peaks=peaks,
    )


def digits_of(shape: tuple[int, int, int], device: torch.device) -> tuple[Tensor, Tensor]:
    """Digits 0 to 4 in random order: images, float (N, *shape) in [0, 1], and labels, int64 (N,)."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    few = digits.target < CLASSES
    order = torch.randperm(int(few.sum()), generator=torch.Generator().manual_seed(0))
    small = torch.from_numpy(digits.images[few])[order].float().div(16).to(device)
    labels = torch.from_numpy(digits.target[few])[order].to(device, torch.int64)
    images = F.interpolate(small[:, None], shape[1:], mode="bilinear").clamp(0, 1)
    return images.expand(-1, shape[0], -1, -1).contiguous(), labels


def _kind(device: torch.device) -> str:
    """`cpu`, or `cuda` for any GPU."""
    return "cpu" if device.type == "cpu" else "cuda"


def harden(network: TaskNetwork, images: Tensor, labels: Tensor, eps: Fraction, clock: Clock) -> None:
    """Train a network with PGD-2 for a few dozen steps: afterwards an attack breaks some images and not all."""
    optimizer = torch.optim.SGD(network.parameters(), lr=0.02, momentum=0.9, weight_decay=5e-4)
    lower, upper = ThreatModel(eps).bounds(images)
    began, others = time.perf_counter(), max(HARDENED, len(images) - 2 * IMAGES[_kind(clock.device)])
    for step in range(HARDENING):
        index = torch.arange(step * HARDENED, (step + 1) * HARDENED, device=clock.device) % others
        x, y, low, high = images[index], labels[index], lower[index], upper[index]
        network.eval()
        adversarial = ascend(_loss(network, y), x, low, high, float(eps) / 2, 2)
        network.train()
        optimizer.zero_grad(set_to_none=True)
        F.cross_entropy(network(adversarial), y).backward()
        optimizer.step()
        if time.perf_counter() - began > clock.seconds:
            break
    network.eval()


def _loss(network: nn.Module, labels: Tensor) -> Callable[[Tensor], Tensor]:
    return lambda images: F.cross_entropy(network(images), labels, reduction="sum")


def time_attack_steps(victims: Victims, clock: Clock) -> dict[str, Any]:
    """Time an image gradient in float32 and in bfloat16: how much faster attacks walk there, before the judge is asked."""
    count = IMAGES[_kind(clock.device)]
    images, labels = victims.images[:count], victims.labels[:count]

    def step_on(classifier: nn.Module) -> Callable[[], None]:
        def step() -> None:
            with walking(classifier) as (walked, _):
                ascend(_loss(walked, labels), images, images, images, 0.0, 1)

        return step

    if victims.fast is None:
        return {f"{PRECISION}_attack": f"no: {victims.why_not}"}
    with full_precision():
        exact, fast = clock.medians(step_on(victims.ours), step_on(victims.fast))
    return {
        f"{PRECISION}_attack_step_images_per_second": len(images) / fast,
        f"{PRECISION}_attack_step_vs_float32": exact / fast,
    }


def time_sweep(victims: Victims, clock: Clock) -> dict[str, Any]:
    """Time a table of PGD attacks, 4 numbers of steps x 3 step sizes, with their predictions.

    The number of images is what the clock's seconds are enough for. If they are not enough for a few, there is one step size:
    what sharing saves is the same.
    """
    import torchattacks

    model = ThreatModel(victims.eps)
    wanted = [PGD(threat_model=model, steps=k, step_size=size * victims.eps) for k in STEPS for size in STEP_SIZES]

    def theirs(attacks: Sequence[PGD], images: Tensor, labels: Tensor) -> None:
        for attack in attacks:
            alpha = float(attack.step_size)
            other = torchattacks.PGD(
                victims.theirs, eps=float(victims.eps), alpha=alpha, steps=attack.steps, random_start=True
            )
            _predict(victims.theirs, other(images, labels))

    few = FEWEST_IMAGES[_kind(clock.device)] // 2
    with full_precision():
        clock.once(lambda: theirs(wanted[:1], victims.images[:few], victims.labels[:few]))
        probe = clock.once(lambda: theirs(wanted[:1], victims.images[:few], victims.labels[:few]))
        count, sizes = _fitting_table(probe / few / (STEPS[0] + 1), clock)
        wanted = [attack for attack in wanted if attack.step_size in [size * victims.eps for size in sizes]]
        images, labels = victims.images[-count:], victims.labels[-count:]
        start, ours = Starts(0, "throughput", torch.arange(count, device=images.device)), _Ours()

        def table_of(classifier: nn.Module) -> Callable[[], list[SharedResult]]:
            return lambda: [run.run(classifier, images, labels, start) for run in share_runs(wanted)]

        for name, classifier in victims.classifiers.items():
            ours.add(name, table_of(classifier))
        others, *mine = clock.medians(lambda: theirs(wanted, images, labels), *ours.works)
    return {
        "sweep": f"PGD {', '.join(map(str, STEPS))} steps x {counted(len(sizes), 'step size')}",
        "attacked_images": count,
        "sweep_seconds_torchattacks": others,
    } | ours.figures("sweep", mine, others, victims)


def _fitting_table(per_gradient: float, clock: Clock) -> tuple[int, Sequence[Fraction]]:
    """The number of images and the step sizes of a PGD table that the clock's seconds are enough for.

    per_gradient: seconds of torchattacks for an image and step.
    """
    kind = _kind(clock.device)
    # Ours takes less than a half of theirs, and in the other precision less than a third.
    per_image = WITH_OURS * per_gradient * sum(STEPS)
    turns = FEWEST + (kind != "cpu")
    images = int(clock.seconds / turns / per_image / len(STEP_SIZES))
    if images >= FEWEST_IMAGES[kind]:
        return min(images, IMAGES[kind]), STEP_SIZES
    # Two turns, of one step size: less says nothing.
    images = int(clock.seconds / (turns - 1) / per_image)
    if not images:
        raise NoTime
    return min(images, FEWEST_IMAGES[kind]), STEP_SIZES[1:2]


def time_ensemble(victims: Victims, clock: Clock) -> dict[str, Any]:
    """Time an ensemble of APGD-CE, targeted APGD, targeted FAB and Square, with equal iterations on both sides.

    Its images, steps and queries are what the clock's seconds are enough for.
    """
    import torchattacks

    kind, radius = _kind(clock.device), HARDER * victims.eps
    with full_precision():
        pass_ = clock.once(lambda: _predict(victims.theirs, victims.images[:8])) / 8
    # A quarter of the time for one step of each side, in which most passes are the queries of half the images.
    count = min(2 * IMAGES[kind], int(clock.seconds / 4 / (pass_ * 3 * QUERIES_PER_STEP / 2)))
    images, labels = victims.images[-count:], victims.labels[-count:]
    # Where hardly an image is right there is nothing to attack: no time was left to train the network.
    if not count or int((_predict(victims.theirs, images) == labels).sum()) < FEWEST_RIGHT:
        raise NoTime
    start = Starts(0, "throughput", torch.arange(len(images), device=images.device))
    standing: dict[str, int] = {}

    def work_of(classifier: nn.Module, steps: int) -> Callable[[], list[AttackResult]]:
        attack = Ensemble(threat_model=ThreatModel(radius), steps=steps, queries=QUERIES_PER_STEP * steps)

        def work() -> list[AttackResult]:
            result = attack.run(classifier, images, labels, start)
            standing["ours"] = int((result.final[steps].predicted == labels).sum())
            return [result]

        return work

    def theirs(steps: int) -> None:
        size, plain = float(radius), victims.theirs
        right = _predict(plain, images) == labels
        left, y = images[right], labels[right]
        for other in (
            torchattacks.APGD(plain, norm="Linf", eps=size, steps=steps, loss="ce"),
            torchattacks.APGDT(plain, norm="Linf", eps=size, steps=steps, n_classes=CLASSES),
            torchattacks.FAB(plain, norm="Linf", eps=size, steps=steps, multi_targeted=True, n_classes=CLASSES),
            torchattacks.Square(plain, norm="Linf", eps=size, n_queries=QUERIES_PER_STEP * steps),
        ):
            if len(left):
                adversarial = other(left, y)
                inside = (adversarial - left).abs().flatten(1).amax(1) <= size + 1e-6
                stands = ~(inside & (_predict(plain, adversarial) != y))
                left, y = left[stands], y[stands]
        standing["theirs"] = len(left)

    with full_precision(), torch.random.fork_rng(devices=[images.device] if images.is_cuda else []):
        # One step and fifty queries of each side; all grows with their number.
        per_step = clock.once(lambda: theirs(1)) + sum(
            clock.once(work_of(each, 1)) for each in victims.classifiers.values()
        )
        steps = max(1, min(ENSEMBLE_STEPS[kind], int(clock.seconds / per_step / FEWEST)))
        ours = _Ours()
        for name, classifier in victims.classifiers.items():
            ours.add(name, work_of(classifier, steps))
        others, *mine = clock.medians(lambda: theirs(steps), *ours.works)
    return {
        "autoattack": f"its four attacks with {steps} steps and {QUERIES_PER_STEP * steps} queries",
        "autoattack_standing": f"{standing['ours']} of {len(images)}, torchattacks {standing['theirs']}",
        "autoattack_seconds_torchattacks": others,
    } | ours.figures("autoattack", mine, others, victims)


class _Ours:
    """Our side of a comparison, by the precision in which attacks walk, with the passes that it took."""

    def __init__(self) -> None:
        self._names: list[str] = []
        self.works: list[Callable[[], None]] = []
        self._passes: dict[str, int] = {}

    def add(self, name: str, attack: Callable[[], Sequence[AttackResult | SharedResult]]) -> None:
        """Add a work. name: a prefix of figures."""

        def work() -> None:
            # A gradient is a forward pass, which is counted among those, and one that goes back.
            self._passes[name] = sum(each.gradient_evaluations + each.forward_passes for each in attack())

        self._names.append(name)
        self.works.append(work)

    def figures(self, of: str, seconds: Sequence[float], others: float, victims: Victims) -> dict[str, Any]:
        """Seconds, ratio to torchattacks, and share of the measured peak: in float32 of float32's, else of bfloat16's."""
        operations = operations_of_forward(victims.ours, victims.images)
        found: dict[str, Any] = {}
        for name, took in zip(self._names, seconds, strict=True):
            found |= {f"{name}{of}_seconds": took, f"{name}{of}_vs_torchattacks": others / took}
            done = operations * self._passes[name] / took
            for precision, peak in victims.peaks.items():
                found[f"{name}{of}_share_of_{precision}_peak"] = done / peak
        return found


def peak_memory(network: TaskNetwork, shape: tuple[int, int, int], device: torch.device) -> dict[str, Any]:
    """The peak memory of PGD-2 with equal batches, in MB above the network's. Each runs in a process of its own.

    shape: of the images, (C, H, W).
    """
    rows = rows_that_fit(network.eval(), torch.rand(PROBE_ROWS, *shape, device=device), MEMORY_ROWS)
    # A tensor on a GPU that goes to another process is shared, and would count there.
    network.cpu()
    return {
        "attack_rows": rows,
        "attack_peak_mb": in_fresh_process(_peak, network, shape, str(device), True, rows),
        "attack_peak_mb_torchattacks": in_fresh_process(_peak, network, shape, str(device), False, rows),
    }


def _peak(network: TaskNetwork, shape: tuple[int, int, int], device_name: str, ours: bool, rows: int) -> float | None:
    import torchattacks

    use_device(device_name)
    device = torch.device(device_name)
    images = torch.rand(rows, *shape, device=device)
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
