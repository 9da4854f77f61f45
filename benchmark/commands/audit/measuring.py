"""Measuring the cells of an audit on worker processes; each is stored as soon as it is there."""

from __future__ import annotations

import copy
import math
import multiprocessing
import signal
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from attacks.starts import Starts
from benchmark.commands.audit.attack import Walk, walk
from benchmark.commands.audit.cells import CLEAN, AuditCell, AuditLane, Measurements, Reading
from benchmark.commands.audit.training import normalisation_of
from benchmark.evaluating.determinism import full_precision, repeatable
from benchmark.learning.restoring import Classifiers
from benchmark.planning.jobs import Job
from benchmark.planning.machine import Machine
from benchmark.planning.presets import Preset
from benchmark.planning.tasks import load_tasks
from benchmark.processes import end_with_parent
from scenarios.base import ImageSet
from scenarios.parts.augmentation import to_float

SORTED_BATCH = 32
"""Images of a batch of one class, at most: the thesis' batch size."""

CellGroup = list[AuditCell]
"""Cells of one classifier."""


def groups_of(cells: Sequence[AuditCell]) -> list[CellGroup]:
    groups: dict[tuple[str, int, int], CellGroup] = {}
    for cell in cells:
        groups.setdefault((cell.job.hash, cell.turn, cell.task), []).append(cell)
    # Long ones first, so that no worker is left alone at the end.
    return sorted(groups.values(), key=lambda group: -sum(cell.lane.steps + 1 for cell in group))


def measure_all(
    cells: Sequence[AuditCell],
    measurements: Measurements,
    preset: Preset,
    machine: Machine,
    done: Callable[[int], None],
) -> None:
    """Measure and store every cell, on the machine's workers. done: is told how many cells a finished group had."""
    groups = groups_of(cells)
    if machine.workers == 1 or len(groups) < 2:
        torch.set_num_threads(machine.threads)
        worker = Worker(measurements, preset.file.evaluation.batch_size)
        for group in groups:
            worker.measure(group)
            done(len(group))
        return
    context = multiprocessing.get_context("spawn")
    where = (measurements.folder, measurements.samples, measurements.homes)
    with ProcessPoolExecutor(min(machine.workers, len(groups)), context, _start, (preset, machine, *where)) as pool:
        futures = {pool.submit(_measure, group): len(group) for group in groups}
        try:
            for future in as_completed(futures):
                future.result()
                done(futures[future])
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            # Files are whole or not there: nobody needs to wait for what is being measured.
            for child in multiprocessing.active_children():
                child.terminate()
            raise


class Worker:
    """What measures: where outcomes go, and the classifiers that were restored so far, by folder of runs."""

    def __init__(self, measurements: Measurements, batch: int) -> None:
        self.measurements, self.batch = measurements, batch
        self._classifiers: dict[Path, Classifiers] = {}

    def measure(self, group: CellGroup) -> None:
        first = group[0]
        task = self.measurements.tasks[first.task]
        test = chosen_images(task.test, self.measurements.samples)
        classifier = self._classifier(first.job, first.turn, task.id)
        with repeatable(), full_precision():
            for cell in group:
                source = None if cell.lane.source is None else self._classifier(cell.lane.source, None, task.id)
                seed, key = self.measurements.seed, task.test_fingerprint
                predicted = read(cell.lane, classifier, test, seed, key, self.batch, source)
                columns = (test.samples.cpu().numpy(), test.labels.cpu().numpy())
                self.measurements.store(cell, Reading(*columns, predicted))

    def _classifier(self, job: Job, turn: int | None, task: int) -> nn.Module:
        home = self.measurements.homes[job.hash]
        return self._classifiers.setdefault(home.runs, Classifiers(home)).of(job, turn, task)


_worker: Worker | None = None


def _start(preset: Preset, machine: Machine, folder: Path, samples: int, homes: Mapping[str, Machine]) -> None:
    global _worker
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    end_with_parent()
    torch.set_num_threads(machine.threads)
    evaluation = preset.file.evaluation
    measurements = Measurements(folder, load_tasks(preset, machine), samples, evaluation.seed, homes)
    _worker = Worker(measurements, evaluation.batch_size)


def _measure(group: CellGroup) -> None:
    assert _worker is not None
    _worker.measure(group)


def chosen_images(test: ImageSet, samples: int) -> ImageSet:
    """The first `samples` images with the classes in turn, as every attack on a part of a test set has them; sorted by class."""
    return test.select(test.balanced_order()[:samples].sort().values)


def read(
    lane: AuditLane,
    classifier: nn.Module,
    test: ImageSet,
    seed: int,
    key: str,
    batch: int,
    source: nn.Module | None = None,
) -> np.ndarray:
    """The class that the lane's images are taken for: int (N,), in the order of `test`, which is sorted by class.

    In train mode batches are of one class, and every batch leaves its mark on the running statistics of a copy, which the
    attack on the next one (in eval mode) sees: as the published evaluation has it.
    """
    if lane.bn_mode == "eval":
        victim, parts = classifier, list(torch.arange(len(test), device=test.labels.device).split(batch))
    else:
        victim, parts = copy.deepcopy(classifier), list(_of_one_class(test.labels))
    predicted = []
    for index in parts:
        images, labels = to_float(test.images[index]), test.labels[index]
        noise = Starts(seed, key, test.samples[index]).uniform(images.shape).to(images)
        found = None if lane.loss == CLEAN else _walk(lane, source or victim, images, labels, noise)
        if found is not None and source is None and lane.bn_mode == "eval":
            # What the attack itself saw: another pass could differ in the last bit.
            predicted.append((found.any if lane.reads == "any" else found.final).predicted.cpu())
            continue
        shown = images if found is None else found.worst if lane.reads == "any" else found.last
        victim.train(lane.bn_mode == "train")
        with torch.no_grad():
            predicted.append(victim(shown).argmax(1).cpu())
        victim.eval()
    return torch.cat(predicted).numpy()


def _walk(lane: AuditLane, network: nn.Module, images: Tensor, labels: Tensor, noise: Tensor) -> Walk:
    assert lane.geometry is not None
    normalisation = normalisation_of(network)
    return walk(network, images, labels, noise, lane.geometry, normalisation, steps=lane.steps, loss=lane.loss)


def _of_one_class(labels: Tensor) -> Iterator[Tensor]:
    for label in labels.unique().tolist():
        members = (labels == label).nonzero().squeeze(1)
        # Of nearly one size, because batch statistics of a left-over image or two are none.
        yield from members.tensor_split(math.ceil(len(members) / SORTED_BATCH))
