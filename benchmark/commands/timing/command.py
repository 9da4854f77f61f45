"""`time`: throughput on this machine. Each number stands beside one that it is compared with, from the same run (`clock.py`)."""

from __future__ import annotations

import platform
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor

from attacks.parts.ascent import ascend
from attacks.threat_model import ThreatModel
from benchmark.commands.timing.attacks import CLASSES, IMAGE_SHAPE, time_attacks
from benchmark.commands.timing.clock import Clock
from benchmark.commands.timing.training import time_training
from benchmark.learning.provenance import peak_memory_mb
from benchmark.planning.machine import make_machine
from benchmark.planning.options import RunOptions
from benchmark.planning.presets import Preset, load_preset
from benchmark.planning.tasks import load_tasks
from methods.backbones import BackboneChoice, MultiHead, TaskNetwork, initialise
from methods.training import Batch, InnerAttack
from results.files import write_json

MOST_ON_CPU = 32
"""Images per batch on a CPU, at most: larger batches take long and change little."""


def show_times(preset_name: str, data_root: Path | None, device: str, output: Path | None, console: Console) -> int:
    """Time everything and print it. Returns 0. Raises ConfigError and DataError.

    data_root: the folder of the images; None leaves out the time of loading them.
    output: a JSON file for the numbers.
    """
    preset = load_preset(preset_name)
    machine = make_machine(RunOptions(preset_name, data_root=data_root, device=device), preset)
    torch.set_num_threads(machine.threads)
    if output is not None:
        # Minutes are not spent before it is known that the result can be kept.
        write_json(output, {})

    def say(what: str) -> None:
        console.print(f"timing {what} ...", highlight=False, markup=False)

    found = time_preset(preset, torch.device(machine.device), say)
    if data_root is not None:
        load_tasks(preset, machine)  # the first time may decode the images
        found["load_from_cache_seconds"] = median(_seconds(lambda: load_tasks(preset, machine)) for _ in range(3))
    found["peak_memory_mb"] = peak_memory_mb(torch.device(machine.device))
    table = Table("name", "value", title=f"network and recipe of preset {preset.name}", title_justify="left")
    table.columns[1].justify = "right"
    for name, value in found.items():
        table.add_row(name, f"{value:,.3g}" if isinstance(value, float) else str(value))
    console.print(table)
    if output is not None:
        write_json(output, found)
    return 0


def _seconds(work: Callable[[], Any]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def time_preset(preset: Preset, device: torch.device, say: Callable[[str], None]) -> dict[str, Any]:
    """Time training steps and attacks. Returns numbers and texts by stable names.

    Training steps are those of the preset's network, at its batch size (on a CPU at most 32). Attacks are run beside those of
    torchattacks on a VGG16-BN of the preset's width, with 32x32 images and 5 classes.
    say: told what is timed next.
    """
    stream = preset.scenario(make_machine(RunOptions(preset.name), preset).source).stream()
    network = MultiHead(preset.file.backbone.build(stream.image_shape), stream.class_counts, stream.mean, stream.std)
    initialise(network, torch.Generator().manual_seed(0))
    task_network = network.to(device, memory_format=torch.channels_last).for_task(0)
    generator = torch.Generator(device).manual_seed(0)
    recipe, eps, clock = preset.file.recipe, preset.eps, Clock(device)
    count = recipe.batch_size if device.type == "cuda" else min(recipe.batch_size, MOST_ON_CPU)
    images = torch.rand(count, *stream.image_shape, device=device, generator=generator)
    labels = torch.randint(stream.class_counts[0], (len(images),), device=device, generator=generator)
    found: dict[str, Any] = {
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else platform.processor() or "cpu",
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
        "batch_size": len(images),
        "attack_steps": recipe.attack.steps,
    }
    inner = InnerAttack(task_network, ThreatModel(eps), float(eps / 4), recipe.attack.steps, "eval", generator)
    batch = Batch(images, labels, torch.zeros_like(labels))
    say(f"the network of preset {preset.name}: forward, attack step, training steps")
    found |= time_training(task_network, batch, inner, recipe, clock)
    found |= _share_of_peak(task_network, images, clock)
    backbone = BackboneChoice(name="vgg16_bn", width=preset.file.backbone.width)
    attacked = MultiHead(backbone.build(IMAGE_SHAPE), [CLASSES], [0.5] * 3, [0.25] * 3)
    initialise(attacked, torch.Generator().manual_seed(0))
    attacked.to(device, memory_format=torch.channels_last)
    found["attacked"] = f"VGG16-BN at width {backbone.width:g}, {CLASSES} classes, 32x32"
    return found | time_attacks(attacked.for_task(0), eps, clock, device, say)


def _share_of_peak(network: TaskNetwork, images: Tensor, clock: Clock) -> dict[str, Any]:
    """Compare the arithmetic of an image gradient, two forward passes, with a large matrix product timed in the same run."""
    from torch.utils.flop_counter import FlopCounterMode

    side = 8192 if images.is_cuda else 2048
    left, right = torch.rand(side, side, device=images.device), torch.rand(side, side, device=images.device)
    network.eval().requires_grad_(False)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network(images[:1])
    per_image = counter.get_total_flops()

    def image_gradient() -> None:
        ascend(lambda x: network(x).sum(), images, images, images, 0.0, 1)

    product, gradient = clock.medians(lambda: left @ right, image_gradient)
    network.requires_grad_(True)
    peak = 2 * side**3 / product
    return {
        "forward_gflop_per_image": per_image / 1e9,
        "peak_gflops": peak / 1e9,
        "share_of_peak": 2 * per_image * len(images) / gradient / peak,
    }
