"""Runs the attacks of an audit on worker processes. Each outcome is stored as soon as it is there."""

from __future__ import annotations

import multiprocessing
import signal
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

import torch
from torch import nn

from benchmark.commands.audit.attacking.cell_store import CellOutcome, CellStore
from benchmark.commands.audit.attacking.cells import AuditCell
from benchmark.commands.audit.attacking.predicting import chosen_images, predictions_under
from benchmark.evaluating.determinism import full_precision, repeatable
from benchmark.learning.restoring import Classifiers
from benchmark.planning.jobs import Job
from benchmark.planning.machine import Machine, use_device
from benchmark.planning.presets import Preset
from benchmark.planning.tasks import load_tasks
from benchmark.processes import end_with_parent
from benchmark.running.failures import GOES_ON
from benchmark.running.gpu import share_card
from results.files import StoreError

CellsOfOne = list[AuditCell]
"""Cells of the same classifier."""


def by_classifier(cells: Sequence[AuditCell]) -> list[CellsOfOne]:
    """The cells of each classifier together, those with the most steps first: no worker is left alone with them at the end."""
    groups: dict[tuple[str, int, int], CellsOfOne] = {}
    for cell in cells:
        groups.setdefault((cell.job.hash, cell.turn, cell.task), []).append(cell)
    return sorted(groups.values(), key=lambda group: -sum(cell.attack.steps + 1 for cell in group))


def attack_cells(
    cells: Sequence[AuditCell], store: CellStore, preset: Preset, machine: Machine, done: Callable[[int], None]
) -> None:
    """Run the attack of every cell and store its outcome, on the machine's workers.

    done: called with the number of cells of each classifier that is finished.
    Raises StoreError if a worker was killed, and whatever an attack raises.
    """
    groups = by_classifier(cells)
    if machine.workers == 1 or len(groups) < 2:
        torch.set_num_threads(machine.threads)
        attacker = Attacker(store, preset.evaluation.batch_size)
        for group in groups:
            attacker.attack(group)
            done(len(group))
        return
    context = multiprocessing.get_context("spawn")
    where = (store.folder, store.samples, store.machines)
    with ProcessPoolExecutor(min(machine.workers, len(groups)), context, _start, (preset, machine, *where)) as pool:
        futures = {pool.submit(_attack, group): len(group) for group in groups}
        try:
            for future in as_completed(futures):
                future.result()
                done(futures[future])
        except BaseException as error:
            pool.shutdown(wait=False, cancel_futures=True)
            # Files are whole or not there: nobody needs to wait for what is being made.
            for child in multiprocessing.active_children():
                child.terminate()
            if isinstance(error, BrokenProcessPool):
                raise StoreError(
                    f"{store.folder}: a process that attacked was killed (out of memory?){GOES_ON}"
                ) from error
            raise


class Attacker:
    """One worker: it restores classifiers, attacks them and stores the outcomes. batch: images at once."""

    def __init__(self, store: CellStore, batch: int) -> None:
        self.store, self.batch = store, batch
        self._classifiers: dict[Path, Classifiers] = {}

    def attack(self, cells: CellsOfOne) -> None:
        """Run the attacks of all cells of one classifier."""
        first = cells[0]
        task = self.store.tasks[first.task]
        classifier = self._classifier(first.job, first.turn, task.id)
        with repeatable(), full_precision():
            for cell in cells:
                test = chosen_images(task.test, self.store.images(cell))
                source = None if cell.attack.source is None else self._classifier(cell.attack.source, None, task.id)
                seed, key = self.store.seed, task.test_fingerprint
                predicted = predictions_under(cell.attack, classifier, test, seed, key, self.batch, source)
                self.store.store(cell, CellOutcome(test.samples.cpu().numpy(), test.labels.cpu().numpy(), predicted))

    def _classifier(self, job: Job, turn: int | None, task: int) -> nn.Module:
        """The classifier of a task after a turn; None: after the last. A run's method is restored once for each turn."""
        machine = self.store.machines[job.hash]
        return self._classifiers.setdefault(machine.runs, Classifiers(machine)).of(job, turn, task)


_attacker: Attacker | Exception | None = None
"""The worker that this process is, or why it is none: an error while a pool's process starts would hide what went wrong."""


def _start(preset: Preset, machine: Machine, folder: Path, samples: int, machines: Mapping[str, Machine]) -> None:
    """Make this process a worker."""
    global _attacker
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    end_with_parent()
    torch.set_num_threads(machine.threads)
    use_device(machine.device)
    share_card(torch.device(machine.device), machine.workers)
    try:
        store = CellStore(folder, load_tasks(preset, machine), samples, preset.evaluation.seed, machines)
        _attacker = Attacker(store, preset.evaluation.batch_size)
    except Exception as error:
        _attacker = error


def _attack(cells: CellsOfOne) -> None:
    if isinstance(_attacker, Exception):
        raise _attacker
    assert _attacker is not None
    _attacker.attack(cells)
