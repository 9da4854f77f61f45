"""The rates at which a machine makes the passes of a plan: timed in a moment on the preset's network, each kind by itself.

A recorded training step, an attack in bfloat16 and one in float32 are an order of magnitude apart on a GPU.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from attacks.parts.ascent import ascend
from attacks.parts.two_precisions import walking
from benchmark.commands.timing.clock import Clock
from benchmark.commands.timing.training import madry_step, nothing_to_validate
from benchmark.evaluating.determinism import full_precision, repeatable
from benchmark.evaluating.precision import arithmetic_for
from benchmark.planning.jobs import Job
from benchmark.planning.machine import Machine
from benchmark.planning.plan import Rates
from methods.backbones import MultiHead
from methods.training import Batch, Fit, InnerAttack, make_optimizer
from methods.training.memory import StepMemory, step_memory
from scenarios.base import Scenario

SECONDS = 1.0
"""Seconds that a rate may take to be timed, if two turns are over by then."""

SLOW = 1.0
"""Seconds of one turn beyond which it is timed on half the images: a CPU and a network for a GPU."""

FEWEST_IMAGES = 4


def measure_rates(jobs: Sequence[Job], scenario: Scenario, machine: Machine) -> Rates:
    """Time steps with the network, recipe and precision of the jobs' preset on a machine, for a few seconds."""
    torch.set_num_threads(machine.threads)
    device, preset, stream = torch.device(machine.device), jobs[0].preset, scenario.stream()
    recipe = preset.file.recipe
    generator = torch.Generator(device).manual_seed(0)

    def random_batch(count: int) -> Batch:
        images = torch.rand(count, *stream.image_shape, device=device, generator=generator)
        labels = torch.zeros(count, dtype=torch.int64, device=device)
        return Batch(images, labels, labels)

    backbone = preset.file.backbone.build(stream.image_shape)
    whole = MultiHead(backbone, stream.class_counts, stream.mean, stream.std)
    network = whole.to(device, memory_format=torch.channels_last).for_task(0)

    def training(count: int) -> float:
        inner = InnerAttack.of(recipe, network, preset.eps, generator)
        step = madry_step(network, random_batch(count), inner, recipe)
        return _seconds(step, device) / (2 * recipe.attack.steps + 3) / count

    def step_on(classifier: nn.Module, count: int) -> Callable[[], None]:
        batch = random_batch(count)

        def loss(images: Tensor, of: nn.Module) -> Tensor:
            return F.cross_entropy(of(images), batch.labels, reduction="sum")

        def step() -> None:
            with walking(classifier) as (walked, _):
                ascend(lambda images: loss(images, walked), batch.images, batch.images, batch.images, 0.0, 1)

        return step

    def attack_on(classifier: nn.Module, count: int) -> float:
        return _seconds(step_on(classifier, count), device) / 2 / count

    clock = Clock(device, SECONDS)

    def pass_of(count: int) -> float:
        """Seconds of one pass of so many images: the second of two, because the first makes things ready."""
        step = step_on(network.eval(), count)
        return min(clock.once(step), clock.once(step)) / 2

    steps = training(_fitting(recipe.batch_size, 2 * recipe.attack.steps + 3, pass_of))
    with repeatable(), full_precision():
        classifier = network.materialise()
        fast = arithmetic_for(classifier, stream.image_shape, device, preset.evaluation.precision).classifier
        count = _fitting(preset.evaluation.batch_size, 2, pass_of)
        exact = attack_on(classifier, count)
        return Rates(steps, exact if fast is classifier else attack_on(fast, count), exact)


def measure_step_memory(jobs: Sequence[Job], scenario: Scenario, machine: Machine) -> StepNeed:
    """Count what a step of plain adversarial training takes, by the recipe of the jobs' preset, on steps of a few images."""
    device, preset, stream = torch.device(machine.device), jobs[0].preset, scenario.stream()
    recipe, generator = preset.file.recipe, torch.Generator(device).manual_seed(0)
    whole = MultiHead(preset.file.backbone.build(stream.image_shape), stream.class_counts, stream.mean, stream.std)
    network = whole.to(device, memory_format=torch.channels_last).for_task(0)
    images = torch.rand(FEWEST_IMAGES, *stream.image_shape, device=device, generator=generator)
    labels = torch.zeros(FEWEST_IMAGES, dtype=torch.int64, device=device)
    fit = Fit(network, list(network.parameters()), nothing_to_validate)
    optimizer = make_optimizer(fit.parameters, recipe)
    inner = InnerAttack.of(recipe, network, preset.eps, generator)
    found = step_memory(fit, inner, recipe, optimizer, Batch(images, labels, labels))
    return StepNeed(min(recipe.batch_size, recipe.micro_batch or recipe.batch_size), stream.image_shape, found)


@dataclass(frozen=True, slots=True)
class StepNeed:
    """The memory that a training step is expected to take.

    images: that go through the network at once, of this shape (C, H, W).
    memory: counted, without the work space of kernels and libraries.
    """

    images: int
    shape: tuple[int, int, int]
    memory: StepMemory

    def __str__(self) -> str:
        """For people."""
        megabytes = self.memory.of(self.images) / 1e6
        return (
            f"a training step of madry_at with {self.images} images of {'x'.join(map(str, self.shape))} at once takes about "
            f"{megabytes:,.3g} MB, and what libraries need beside"
        )


def _fitting(most: int, passes: int, pass_of: Callable[[int], float]) -> int:
    """The images of a batch of at most `most`, so few that a turn of so many passes takes no longer than `SLOW`.

    pass_of: seconds of a pass of so many images. Ever more are timed, because on a GPU a few take as long as many.
    """
    count = min(most, FEWEST_IMAGES)
    while count < most and passes * pass_of(more := min(most, 2 * count)) <= SLOW:
        count = more
    return count


def _seconds(step: Callable[[], None], device: torch.device) -> float:
    """Median seconds of a step."""
    (found,) = Clock(device, SECONDS).medians(step)
    return found
