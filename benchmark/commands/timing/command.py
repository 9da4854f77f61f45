"""`time`: throughput on this machine. Each number stands beside one that it is compared with, from the same run (`clock.py`)."""

from __future__ import annotations

import platform
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from statistics import median

import torch
from rich.console import Console

from attacks.memory import rows_that_fit
from benchmark.commands.timing import attacks, training
from benchmark.commands.timing.clock import Clock
from benchmark.commands.timing.figures import Figure, Figures, Found
from benchmark.commands.timing.peaks import measured_peaks, operations_of_forward
from benchmark.learning.provenance import peak_memory_mb
from benchmark.planning.machine import Machine, make_machine
from benchmark.planning.options import RunOptions
from benchmark.planning.presets import Preset, load_preset
from benchmark.planning.tasks import load_tasks
from methods.backbones import MultiHead, TaskNetwork, initialise
from methods.training import Batch, InnerAttack
from reports.numbers.wording import counted
from results.files import require_place, write_json
from scenarios.base import Scenario

SECONDS = {"cpu": 230.0, "cuda": 90.0}
"""Seconds for all figures. With its start, and with what cannot be cut short, the command ends within six minutes on two busy
cores and within two on a GPU."""

PROBE_SECONDS = 3.0
"""Seconds to find the number of threads."""

MOST_ON_CPU, FEWEST_ON_CPU = 32, 8
"""Images per batch on a CPU: larger batches take long and change little."""

STEP_SECONDS = 2.0
"""Seconds of a training step on a CPU beyond which the batch is halved: a busy machine is measured on fewer images."""


def show_times(preset_name: str, data_root: Path | None, device: str, output: Path | None, console: Console) -> int:
    """Time everything and print each figure when it is found.

    data_root: the folder of the images; None leaves out the time of loading them.
    output: a JSON file for the numbers. It holds what was found so far, also if the command is stopped.
    Returns 0, or 1 if a figure was left out. Raises ConfigError, DataError, StoreError, and KeyboardInterrupt if it is stopped.
    """
    if output is not None:
        require_place(output)
    preset = load_preset(preset_name)
    machine = make_machine(RunOptions(preset_name, data_root=data_root, device=device), preset)
    torch.set_num_threads(machine.threads)
    place = torch.device(machine.device)
    found: Found = {}

    def say(text: str) -> None:
        console.print(text, highlight=False, markup=False)

    def keep(more: Found) -> None:
        found.update(more)
        if output is not None:
            write_json(output, found)
        for name, value in more.items():
            say(f"  {name:<40} {f'{value:,.3g}' if isinstance(value, float) else value}")

    measured = _Measured(preset, machine, place)
    if (threads := measured.quickest_threads()) < machine.threads:
        say(f"{counted(threads, 'thread')}: {machine.threads} are slower now, because the machine is busy")
    torch.set_num_threads(threads)
    # Minutes are not spent before it is known that the result can be kept.
    keep(measured.conditions())
    figures = Figures(measured.figures(data_root), place, SECONDS["cpu" if place.type == "cpu" else "cuda"])
    try:
        figures.find(lambda title: say(f"timing {title} ..."), keep)
        keep({"peak_memory_mb": peak_memory_mb(place)})
        if figures.left_out:
            keep({"left_out": figures.left_out})
    except KeyboardInterrupt:
        keep({"stopped": True})
        say(f"stopped; what was found is {'above' if output is None else f'in {output}'}")
        raise
    return 1 if figures.left_out else 0


class _Measured:
    """The figures of a preset's network and recipe on a device.

    Training steps are those of the preset's network, at its batch size (on a CPU at most 32). Attacks are run beside those of
    torchattacks on the preset's backbone with 5 classes and images of the preset's shape: digits, that it learns in a moment.
    """

    def __init__(self, preset: Preset, machine: Machine, device: torch.device) -> None:
        self._preset, self._machine, self._device = preset, machine, device
        self._recipe, self._eps = preset.file.recipe, preset.eps
        self._generator = torch.Generator(device).manual_seed(0)
        self._peaks: dict[str, float] = {}
        self._made: attacks.Victims | None = None
        self._step_seconds = 0.0

    def quickest_threads(self) -> int:
        """The machine's threads, or one if a forward pass takes longer with all of them than with one.

        Where other programs take the cores, threads wait for each other most of the time.
        """
        most = self._machine.threads
        if self._device.type != "cpu" or most == 1:
            return most
        images = self._random_batch(FEWEST_ON_CPU).images

        def forward_with(threads: int) -> Callable[[], None]:
            def forward() -> None:
                torch.set_num_threads(threads)
                with torch.no_grad():
                    self._network(images)

            return forward

        one, all_of_them = Clock(self._device, PROBE_SECONDS).medians(forward_with(1), forward_with(most))
        return 1 if one < all_of_them else most

    def conditions(self) -> Found:
        """The conditions of all figures: device, threads, network."""
        device, backbone = self._device, self._preset.file.backbone
        return {
            "device": torch.cuda.get_device_name(device) if device.type == "cuda" else platform.processor() or "cpu",
            "torch": torch.__version__,
            "threads": torch.get_num_threads(),
            "attack_steps": self._recipe.attack.steps,
            "attacked": f"{backbone.name} at width {backbone.width:g}, {attacks.CLASSES} classes, {_by(self._shape)}",
        }

    def figures(self, data_root: Path | None) -> list[Figure]:
        """The figures, the most important ones first."""
        ends = f"the network of preset {self._preset.name}"
        found = [
            Figure("large matrix products, to compare with", 1, self._find_peaks),
            Figure(f"{ends}: forward, attack step, training step", 4, self._find_steps),
            Figure(f"{ends}: waiting for data in a training step", 2, self._find_waiting),
            Figure("an attack step in bfloat16, after training a network that some attacks break", 3, self._find_fast),
            Figure("PGD tables, ours and torchattacks'", 12, self._find_sweep),
            Figure("AutoAttack's composition, ours and torchattacks'", 9, self._find_ensemble),
            Figure(f"{ends}: training steps of PackNet, CMAT, WSN and GPM", 4, self._find_packed),
            Figure(f"{ends}: training steps of other algorithms", 5, self._find_algorithms),
            Figure("peak memory of an attack, ours and torchattacks'", 1, self._find_memory),
        ]
        return found if data_root is None else [*found, Figure("loading the images", 1, self._find_loading)]

    # -- networks and batches ------------------------------------------------------------------------------------------

    @cached_property
    def _scenario(self) -> Scenario:
        return self._preset.scenario(self._machine.source)

    @cached_property
    def _shape(self) -> tuple[int, int, int]:
        return self._scenario.stream().image_shape

    @cached_property
    def _network(self) -> TaskNetwork:
        stream = self._scenario.stream()
        network = MultiHead(
            self._preset.file.backbone.build(stream.image_shape), stream.class_counts, stream.mean, stream.std
        )
        initialise(network, torch.Generator().manual_seed(0))
        return network.to(self._device, memory_format=torch.channels_last).for_task(0)

    @cached_property
    def _inner(self) -> InnerAttack:
        return InnerAttack.of(self._recipe, self._network, self._eps, self._generator)

    @cached_property
    def _batch(self) -> Batch:
        """The batch of training steps."""
        if self._device.type != "cpu":
            return self._random_batch(self._recipe.batch_size)
        tried = self._random_batch(FEWEST_ON_CPU)
        size = rows_that_fit(self._network.eval(), tried.images, min(self._recipe.batch_size, MOST_ON_CPU))
        clock = Clock(self._device, 0.0)

        def forward() -> None:
            with torch.no_grad():
                self._network(tried.images)

        clock.once(forward)
        step = (2 * self._recipe.attack.steps + 3) * clock.once(forward) / len(tried.images)
        while size > FEWEST_ON_CPU and size * step > STEP_SECONDS:
            size //= 2
        return self._random_batch(size)

    def _random_batch(self, size: int) -> Batch:
        stream = self._scenario.stream()
        images = torch.rand(size, *stream.image_shape, device=self._device, generator=self._generator)
        labels = torch.randint(stream.class_counts[0], (size,), device=self._device, generator=self._generator)
        return Batch(images, labels, torch.zeros_like(labels))

    def _new_attacked(self) -> TaskNetwork:
        channels = self._shape[0]
        backbone = self._preset.file.backbone.build(self._shape)
        network = MultiHead(backbone, [attacks.CLASSES], [0.5] * channels, [0.25] * channels)
        initialise(network, torch.Generator().manual_seed(0))
        return network.to(self._device, memory_format=torch.channels_last).for_task(0)

    def _victims(self, clock: Clock) -> attacks.Victims:
        """The networks under attack, made when they are asked for first: in half of that figure's time at most."""
        if self._made is None:
            half = Clock(clock.device, clock.seconds / 2)
            self._made = attacks.make_victims(self._new_attacked(), self._shape, self._eps, half, self._peaks)
        return self._made

    # -- figures -------------------------------------------------------------------------------------------------------

    def _find_peaks(self, clock: Clock) -> Found:
        self._peaks |= measured_peaks(clock)
        names = {"float32": "peak_gflops", "bf16": "bf16_peak_gflops"}
        return {names[precision]: peak / 1e9 for precision, peak in self._peaks.items()}

    def _find_steps(self, clock: Clock) -> Found:
        found = training.time_adversarial_step(self._network, self._batch, self._inner, self._recipe, clock)
        forward = operations_of_forward(self._network.eval(), self._batch.images)
        # A gradient with respect to images is two forward passes, one with respect to weights too is three.
        gradient, step = 2 * forward, (2 * self._recipe.attack.steps + 3) * forward
        self._step_seconds = len(self._batch.images) / found["train_step_images_per_second"]
        found |= {"batch_size": len(self._batch.images), "forward_gflop_per_image": forward / 1e9}
        if "float32" in self._peaks:
            found["share_of_peak"] = gradient * found["attack_step_images_per_second"] / self._peaks["float32"]
        for precision, peak in self._peaks.items():
            found[f"train_step_share_of_{precision}_peak"] = step * found["train_step_images_per_second"] / peak
        return found

    def _find_waiting(self, clock: Clock) -> Found:
        clock.must_fit(self._step_seconds)
        stored = self._scenario.training_shape
        return training.time_waiting(self._network, self._batch, self._inner, self._recipe, stored, clock)

    def _find_fast(self, clock: Clock) -> Found:
        return attacks.time_attack_steps(self._victims(clock), clock)

    def _find_sweep(self, clock: Clock) -> Found:
        return attacks.time_sweep(self._victims(clock), clock)

    def _find_ensemble(self, clock: Clock) -> Found:
        return attacks.time_ensemble(self._victims(clock), clock)

    def _find_packed(self, clock: Clock) -> Found:
        clock.must_fit(training.PACKED_STEPS * self._step_seconds)
        return training.time_packed_steps(self._network, self._batch, self._inner, self._recipe, clock)

    def _find_algorithms(self, clock: Clock) -> Found:
        clock.must_fit(training.ALGORITHM_STEPS * self._step_seconds)
        return training.time_algorithm_steps(self._network, self._batch, self._inner, self._recipe, clock)

    def _find_memory(self, clock: Clock) -> Found:
        return attacks.peak_memory(self._new_attacked(), self._shape, clock.device)

    def _find_loading(self, clock: Clock) -> Found:
        def load() -> None:
            load_tasks(self._preset, self._machine)

        clock.once(load)  # the first time may decode the images
        return {"load_from_cache_seconds": median(clock.once(load) for _ in range(3))}


def _by(shape: tuple[int, int, int]) -> str:
    return "x".join(map(str, shape))
