"""The expected cost of a plan, and the seconds that a machine's rates make of it."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from attacks.clean import Clean
from attacks.ensemble import Ensemble
from attacks.parts.sharing import SharedRun, share_runs
from attacks.parts.two_precisions import TwoPrecisions
from attacks.pgd import PGD
from attacks.starts import Starts
from attacks.threat_model import ThreatModel
from benchmark.commands.timing import rates
from benchmark.commands.timing.rates import measure_rates
from benchmark.planning.cells import Work
from benchmark.planning.jobs import Job, make_jobs
from benchmark.planning.machine import Machine
from benchmark.planning.plan import PER_RUN, PER_TURN, STANDING, Cost, Rates, cost_of, plan
from benchmark.planning.presets import load_preset
from scenarios.base import SourceOptions, Task
from tests.tiny import write_preset

MODEL = ThreatModel(Fraction(1, 5))


def _jobs(folder: Path, **changes: Any) -> tuple[list[Job], list[Task]]:
    preset = load_preset(str(write_preset(folder, **changes)))
    tasks = preset.scenario(SourceOptions()).load()
    return make_jobs(preset, preset.rows, tasks, SourceOptions()), tasks


def _machine(folder: Path) -> Machine:
    return Machine(folder / "runs", folder / "published", SourceOptions(), "cpu", 1, 1, "")


def _cost(folder: Path, run: SharedRun, precision: str) -> tuple[Cost, list[Task]]:
    (job,), tasks = _jobs(folder, evaluation={"precision": precision})
    return cost_of(Work(0, 0, run, tuple(range(10))), job, tasks), tasks


def _sweep() -> SharedRun:
    (run,) = share_runs(
        PGD(threat_model=MODEL, steps=steps, step_size=size) for steps in (7, 12) for size in ("eps/4", "eps/2")
    )
    return run


def test_attacks_in_float32_cost_float32_passes_alone(tmp_path: Path) -> None:
    cost, _ = _cost(tmp_path, _sweep(), "fp32")
    assert cost == Cost(exact=10 * 2 * 25)


def test_what_does_not_walk_costs_float32_passes_under_any_precision(tmp_path: Path) -> None:
    cost, _ = _cost(tmp_path, SharedRun((Clean(),)), "bf16")
    assert cost == Cost(exact=10)


def test_attacks_in_another_precision_walk_in_it_and_are_judged_at_their_ends_and_at_milestones(tmp_path: Path) -> None:
    cost, _ = _cost(tmp_path, _sweep(), "bf16")
    # Two step sizes; after 7, 10 and 12 steps, about two points each.
    assert cost == Cost(walking=10 * 2 * 25, exact=10 * 2 * 3 * 2)


def _network(dtype: torch.dtype) -> nn.Module:
    """A linear classifier of 2x2 images, its weights rounded to a precision."""
    torch.manual_seed(0)
    network = nn.Sequential(nn.Flatten(), nn.Linear(12, 5)).requires_grad_(False).eval()
    return network.to(dtype).float()


@pytest.mark.parametrize("run", [_sweep(), SharedRun((Ensemble(threat_model=MODEL, steps=9, queries=90),))], ids=str)
def test_no_attack_asks_the_judge_more_often_than_is_counted(tmp_path: Path, run: SharedRun) -> None:
    images = torch.rand(10, 3, 2, 2, generator=torch.Generator().manual_seed(0))
    exact, fast = _network(torch.float32), _network(torch.bfloat16)
    labels, start = exact(images).argmax(1), Starts(0, "", torch.arange(10))
    judged = run.run(TwoPrecisions(exact, fast), images, labels, start).forward_passes
    judged -= run.run(fast, images, labels, start).forward_passes
    cost, _ = _cost(tmp_path, run, "bf16")
    assert cost.exact / 4 <= judged <= cost.exact


def test_an_attack_that_goes_on_with_standing_images_is_expected_to_cost_a_part(tmp_path: Path) -> None:
    ensemble = SharedRun((Ensemble(threat_model=MODEL, steps=3, queries=10),))
    cost, tasks = _cost(tmp_path, ensemble, "fp32")
    classes = len(tasks[0].classes)
    assert cost.exact == pytest.approx(10 * ensemble.passes(classes) * float(STANDING) / classes)


def test_learning_is_training_and_a_validation_in_float32(tmp_path: Path) -> None:
    (job,), tasks = _jobs(tmp_path)
    (item,) = plan([job], _machine(tmp_path), tasks)
    recipe = job.recipe
    whole = sum(len(task.train) // recipe.batch_size * recipe.batch_size for task in tasks)
    assert whole < sum(len(task.train) for task in tasks), "the ragged last batch of an epoch is dropped"
    assert item.learning.training == recipe.epochs * whole * (2 * recipe.attack.steps + 3)
    times = -(-recipe.epochs // recipe.selection.every)
    assert item.learning.exact == times * sum(len(task.validation) for task in tasks) * (2 * recipe.selection.steps + 1)
    assert item.learning.turns == len(tasks)
    assert item.cost == item.learning + item.evaluation


def test_seconds_are_passes_at_their_own_rates_and_what_a_run_costs_beside_them() -> None:
    machine = Rates(training=2.0, walking=0.5, exact=4.0)
    assert machine.seconds(Cost(3, 8, 2, turns=5)) == 6 + 4 + 8 + PER_RUN + 5 * PER_TURN
    assert machine.seconds(Cost()) == 0, "nothing to do takes no time"
    assert str(machine) == "training 2e+06, attacks 5e+05, float32 4e+06 µs per image and pass"
    assert "float32" not in str(Rates(1.0, 2.0, 2.0))


def test_rates_are_measured_of_the_preset_s_own_precision(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rates, "SECONDS", 0.01)
    jobs, _ = _jobs(tmp_path)
    found = measure_rates(jobs, jobs[0].preset.scenario(SourceOptions()), _machine(tmp_path))
    assert min(found.training, found.walking, found.exact) > 0
    assert found.walking == found.exact


def test_a_plan_says_what_a_training_step_takes_by_the_recipe(tmp_path: Path) -> None:
    found = []
    for micro_batch in (None, 4):
        jobs, _ = _jobs(tmp_path, recipe={"micro_batch": micro_batch})
        need = rates.measure_step_memory(jobs, jobs[0].preset.scenario(SourceOptions()), _machine(tmp_path))
        assert str(need).startswith(
            f"a training step of madry_at with {need.images} images of 1x8x8 at once takes about "
        )
        found.append(need)
    assert (found[0].images, found[1].images) == (jobs[0].preset.file.recipe.batch_size, 4)
    whole, parts = (need.memory.of(need.images) for need in found)
    assert whole - parts == (found[0].images - 4) * found[0].memory.per_image > 0


def test_a_slow_machine_is_measured_on_fewer_images() -> None:
    def fitting(most: int, fixed: float, per_image: float) -> int:
        return rates._fitting(most, 10, lambda images: fixed + per_image * images)

    assert fitting(128, 0, 0.0001) == 128
    assert fitting(100, 0, 0.0001) == 100
    assert fitting(128, 0, 0.002) == 32
    assert fitting(50, 0, 0.002) == 50
    assert fitting(128, 0, 100) == 4
    assert fitting(2, 0, 100) == 2
    # As on a GPU, where a pass of four images takes as long as one of 128.
    assert fitting(128, 0.06, 0) == 128
    assert fitting(128, 0.11, 0) == 4
