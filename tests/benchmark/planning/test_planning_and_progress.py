"""Plans and progress are true: cells, passes and shares of work; and nothing is drawn without a terminal."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from rich.console import Console

from attacks.autoattack_c2 import AutoAttackC2
from attacks.fgsm import FGSM
from attacks.parts.sharing import share_runs
from attacks.pgd import PGD
from attacks.threat_model import ThreatModel
from benchmark.learning.events import Event
from benchmark.planning.jobs import make_jobs
from benchmark.planning.machine import Machine
from benchmark.planning.plan import Planned, plan
from benchmark.planning.presets import load_preset
from benchmark.running.progress.display import Display
from benchmark.running.progress.duration import duration
from methods.backbones import BackboneChoice
from scenarios.base import SourceOptions
from tests.tiny import TINY, run_tiny, write_preset


def planned(folder: Path, **changes: object) -> Planned:
    preset = load_preset(str(write_preset(folder, **changes)))
    machine = Machine(folder / "runs", folder / "published", SourceOptions(), "cpu", 1, 1, "")
    tasks = preset.scenario(SourceOptions()).load()
    (item,) = plan(make_jobs(preset, preset.rows, tasks, SourceOptions()), machine, tasks)
    return item


def test_the_passes_of_an_attack() -> None:
    model = ThreatModel(0.2)  # type: ignore[arg-type]
    pgd = PGD(threat_model=model, steps=40, step_size="eps/4", restarts=5)
    assert pgd.passes() == 5 * 81
    assert FGSM(threat_model=model).passes() == 3
    # Together: five restarts of one step size, and one of another, of which ten steps are wanted.
    other = PGD(threat_model=model, steps=10, step_size="eps/2")
    (run,) = share_runs([pgd, other, PGD(threat_model=model, steps=7, step_size="eps/4")])
    assert run.passes() == 5 * 81 + 21
    # No more targets than there are other classes.
    aimed = PGD(threat_model=model, steps=3, step_size="eps/4", targets=9)
    assert (aimed.passes(), aimed.passes(2), aimed.passes(5)) == (9 * 7, 7, 4 * 7)
    assert share_runs([aimed])[0].passes(5) == 4 * 7
    parts = (201, 201, 300, 5001)
    assert AutoAttackC2(threat_model=model).passes(2) == sum(parts)


def test_a_plan_names_what_is_missing_and_nothing_else(tmp_path: Path) -> None:
    fresh = planned(tmp_path)
    assert (fresh.state, fresh.turns) == ("train", 2)
    assert fresh.learning_passes > 0
    run_tiny(tmp_path)
    done = planned(tmp_path)
    assert (done.state, done.turns, done.work, done.passes) == ("complete", 0, (), 0)
    more = {**TINY["evaluation"], "final": [{"attack": "fgsm", "samples": 20}, {"attack": "noise"}]}
    new_attack = planned(tmp_path, evaluation=more)
    assert (new_attack.state, new_attack.turns) == ("evaluate", 0)
    assert [work.run.attack.name for work in new_attack.work] == ["noise linf 51/255"] * 2


def test_one_trajectory_serves_all_numbers_of_steps(tmp_path: Path) -> None:
    sweep = {"attack": "pgd", "steps": [3, 5, 9], "step_size": "eps/4"}
    item = planned(tmp_path, evaluation={"matrix": [sweep]})
    pgd = [work for work in item.work if work.after_task == 0]
    assert [[attack.steps for attack in work.run.members] for work in pgd] == [[3, 5, 9]]
    # Nine gradients and one forward pass: what the longest one costs alone.
    assert [work.run.passes() for work in pgd] == [19]


@pytest.mark.parametrize(("seconds", "text"), [(5, "0:05"), (725.9, "12:05"), (12_000, "3 h 20 min")])
def test_durations_are_written_as_people_do(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def event(item: Planned, kind: str, **fields: object) -> Event:
    return Event(item.job.hash, item.job.label, 0, kind, **fields)  # type: ignore[arg-type]


def test_the_share_of_work_done_rises_from_nothing_to_all(tmp_path: Path) -> None:
    item = planned(tmp_path)
    display = Display([item], 1, Console(file=io.StringIO()))
    line = display.progress.jobs[item.job.hash]
    shares = []
    display(event(item, "start"))
    for turn in range(2):
        for epoch in (1, 2):
            display(event(item, "epoch", task=turn, tasks=2, phase="train", epoch=epoch, epochs=2, loss=0.5))
            shares.append(line.done_passes)
        display(event(item, "task", task=turn, tasks=2))
        shares.append(line.done_passes)
        for _ in range(sum(work.after_task == turn for work in item.work)):
            display(event(item, "evaluation", task=turn, tasks=2, text="clean"))
            shares.append(line.done_passes)
    assert shares == sorted(shares)
    assert shares[-1] == pytest.approx(item.passes)


def test_the_stages_of_a_task_are_shares_of_it(tmp_path: Path) -> None:
    """PackNet's task of two epochs and one of retraining is a third done after each of them."""
    item = planned(tmp_path, methods=[{"method": "packnet", "settings": {"retrain_epochs": 1}}])
    display = Display([item], 1, Console(file=io.StringIO()))
    line, shares = display.progress.jobs[item.job.hash], []
    display(event(item, "start"))
    for phase, epoch, epochs in (("train", 1, 2), ("train", 2, 2), ("retrain", 1, 1)):
        display(event(item, "epoch", task=0, tasks=2, phase=phase, epoch=epoch, epochs=epochs, loss=0.5))
        shares.append(line.epoch_share)
    assert shares == pytest.approx([1 / 3, 2 / 3, 1])


def test_stages_are_counted_in_the_estimate(tmp_path: Path) -> None:
    madry, packnet, cmat = (
        planned(tmp_path, methods=[{"method": method, "settings": settings}]).learning_passes
        for method, settings in (
            ("madry_at", {}),
            ("packnet", {"retrain_epochs": 2}),
            ("cmat", {"goals": [0.5, 0.5], "ratios": [0.3, 0.6], "prune_epochs": 2, "retrain_epochs": 2}),
        )
    )
    assert packnet == pytest.approx(2 * madry), "two epochs, and two of retraining"
    assert cmat == pytest.approx(5 * madry), "two epochs, twice where it grows, two stages of two, two of retraining"


def test_without_a_terminal_there_is_a_line_when_a_run_starts_and_one_when_it_ends(tmp_path: Path) -> None:
    item, out = planned(tmp_path), io.StringIO()
    with Display([item], 1, Console(file=out)) as display:
        display(event(item, "start"))
        for epoch in range(1, 50):
            display(event(item, "epoch", task=0, tasks=2, phase="train", epoch=epoch, epochs=50, loss=0.5))
        display(event(item, "done"))
    assert [line.split(":")[1] for line in out.getvalue().splitlines()] == [" started", " done in 0"]


def test_a_live_line_names_task_epoch_loss_and_robust_validation_accuracy(tmp_path: Path) -> None:
    item = planned(tmp_path)
    console = Console(file=io.StringIO(), force_terminal=True, width=120)
    display = Display([item], 1, console)
    display(event(item, "start"))
    fields = {"task": 0, "tasks": 2, "task_name": "digits_0_1", "phase": "train", "epochs": 2}
    display(event(item, "epoch", epoch=1, loss=0.25, validation=0.5, **fields))
    console.print(display._table())
    text = console.file.getvalue()  # type: ignore[attr-defined]
    for words in ("madry_at", "task 1/2 digits_0_1", "train 1/2", "loss 0.250", "robust val 50.0 %"):
        assert words in text


def test_the_forward_of_the_full_network_is_what_the_papers_count() -> None:
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    with torch.device("meta"), FlopCounterMode(display=False) as counter:
        BackboneChoice(name="vgg16_bn").build((3, 32, 32)).eval()(torch.rand(1, 3, 32, 32))
    assert counter.get_total_flops() / 1e9 == pytest.approx(0.664, abs=0.002)
