"""CMAT's decisions: goals, growth, the choice of a ratio, retraining; and that a kill inside a task costs one stage."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch

from benchmark.evaluating.fingerprints import classifier_fingerprint
from benchmark.learning.context import RunContext
from methods.base import MethodError, RunSpec
from methods.cmat import CMAT, CMATSettings
from methods.cpg import CPG
from methods.parts.packing.subnetwork import PICK_START, PICK_THRESHOLD
from methods.training import Validation
from results import Run, load
from results.checkpoints import Checkpoint, Checkpoints
from scenarios.base import LearnTask, Task
from tests.tiny import SHORT, begun, learn, run_tiny

TASKS = 3


def start(folder: Path, name: str = "cmat", **settings: Any) -> tuple[CMAT, RunContext, list[Task]]:
    row = {"method": name, "settings": {**SHORT["cmat"], "goals": [0.0] * TASKS, **settings}}
    method, context, tasks = begun(folder, row, scenario={"tasks": TASKS})
    assert isinstance(method, CMAT)
    return method, context, tasks


def facts(context: RunContext) -> dict[str, float]:
    return {fact["name"]: fact["value"] for fact in context.logs.facts if fact["text"] is None}


def scripted(monkeypatch: pytest.MonkeyPatch, robust: Callable[[str], float]) -> list[str]:
    """Let every stage of training reach what `robust` says of its phase, of 100 images; the list names the phases that ran."""
    phases: list[str] = []
    train = RunContext.train

    def told(context: RunContext, fit: Any, tasks: Any, *, phase: str = "train", recipe: Any = None) -> Any:
        selected = train(context, fit, tasks, phase=phase, recipe=recipe)
        phases.append(phase)
        right = torch.arange(100) < round(100 * robust(phase))
        object.__setattr__(selected, "validation", Validation(torch.ones(100, dtype=torch.bool), right))
        return selected

    monkeypatch.setattr(RunContext, "train", told)
    return phases


# -- growth --------------------------------------------------------------------------------------------------------------


def test_a_missed_goal_widens_the_network_and_old_logits_stay_as_they_were(tmp_path: Path) -> None:
    method, context, tasks = start(tmp_path, goals=[0.0, 1.0, 1.0], tolerance=0.0)
    images = torch.rand(16, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    learn(method, context, tasks[0], TASKS)
    assert method.packed.mu == 1.0
    before = method.classifier(0)(images)
    old_shapes = {name: weight.shape for name, weight in method.packed.weights.items()}
    learn(method, context, tasks[1], TASKS)
    assert method.packed.mu == facts(context)["mu"] == 1.5
    for name, weight in method.packed.weights.items():
        assert all(new >= old for new, old in zip(weight.shape, old_shapes[name], strict=True))
    assert method.packed.weights["layers.0.weight"].shape[0] == int(8 * 1.5**0.5)
    assert torch.equal(method.classifier(0)(images), before)
    learn(method, context, tasks[2], TASKS)
    assert method.packed.mu == 1.5, "mu stops at its cap and never shrinks"
    assert torch.equal(method.classifier(0)(images), before)


def test_a_goal_that_is_met_grows_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    phases = scripted(monkeypatch, lambda phase: 0.5)
    method, context, tasks = start(tmp_path, goals=[0.5] * 3, tolerance=0.0)
    learn(method, context, tasks[0], TASKS)
    assert [phase for phase in phases if phase.startswith("finetune")] == ["finetune-mu1"]
    assert method.packed.mu == 1.0


def test_growth_goes_by_steps_up_to_the_cap_and_starts_anew_each_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    phases = scripted(monkeypatch, lambda phase: 0.4)
    method, context, tasks = start(tmp_path, goals=[0.5] * 3, tolerance=0.0, mu_step=0.4, mu_max=2.0)
    learn(method, context, tasks[0], TASKS)
    assert [phase for phase in phases if phase.startswith("finetune")] == [
        "finetune-mu1", "finetune-mu1.4", "finetune-mu1.8", "finetune-mu2",
    ]  # fmt: skip
    assert method.packed.weights["layers.0.weight"].shape[0] == int(8 * 2**0.5)


# -- the choice of a ratio -----------------------------------------------------------------------------------------------


def test_the_largest_ratio_that_still_meets_the_goal_is_chosen_and_the_first_miss_ends_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reached = {"prune-0.2": 0.6, "prune-0.4": 0.49, "prune-0.6": 0.48, "prune-0.8": 0.9}
    phases = scripted(monkeypatch, lambda phase: reached.get(phase, 0.5))
    method, context, tasks = start(tmp_path, goals=[0.5] * 3, tolerance=0.011, ratios=[0.2, 0.4, 0.6, 0.8])
    learn(method, context, tasks[0], TASKS)
    assert phases == ["finetune-mu1", "prune-0.2", "prune-0.4", "prune-0.6"]
    found = facts(context)
    assert found["prune_ratio"] == 0.4
    assert found["reached"] == found["selected_robust"] == pytest.approx(0.49)
    assert found["goal_met"] == 1.0
    for counts in method.packed.counts().values():
        assert counts[0] == round(0.4 * sum(counts)), "what is kept is the network of the chosen ratio"


def test_where_no_ratio_is_good_the_unpruned_network_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scripted(monkeypatch, lambda phase: 0.5 if phase.startswith("finetune") else 0.1)
    method, context, tasks = start(tmp_path, goals=[0.5] * 3, tolerance=0.0)
    learn(method, context, tasks[0], TASKS)
    assert facts(context)["prune_ratio"] == 0.0
    assert all(counts[0] == 0 for counts in method.packed.counts().values())


def test_a_goal_missed_at_the_widest_makes_room_for_the_tasks_to_come(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """1 − round(1 / (T − t + 1), 1) of three tasks: .7, .5 and 0; the first ratio that is not below is the last stage."""
    phases = scripted(monkeypatch, lambda phase: 0.1)
    method, context, tasks = start(
        tmp_path, goals=[0.9] * 3, tolerance=0.0, mu_max=1.0, ratios=[0.3, 0.5, 0.75, 0.9], retrain_epochs=1
    )
    chosen = []
    for task in tasks:
        learn(method, context, task, TASKS)
        chosen.append(facts(context)["prune_ratio"])
        assert facts(context)["goal_met"] == 0.0
    assert chosen == [0.75, 0.5, 0.0]
    assert [phase for phase in phases if phase.startswith("prune")] == [
        "prune-0.3", "prune-0.5", "prune-0.75", "prune-0.3", "prune-0.5",
    ]  # fmt: skip


def test_a_ratio_is_the_share_of_what_is_open_to_the_task(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scripted(monkeypatch, lambda phase: 0.5)
    method, context, tasks = start(tmp_path, goals=[0.5] * 3, tolerance=0.0, ratios=[0.25, 0.5])
    for task in tasks[:2]:
        before = {name: counts[0] for name, counts in method.packed.counts().items()}
        learn(method, context, task, TASKS)
        for name, counts in method.packed.counts().items():
            assert counts[0] == round(0.5 * before[name])


# -- picks and retraining ------------------------------------------------------------------------------------------------


def test_picks_choose_among_weights_of_earlier_tasks_by_the_straight_through_gradient(tmp_path: Path) -> None:
    method, context, tasks = start(tmp_path)
    learn(method, context, tasks[0], TASKS)
    method.packed.claim(1)
    network = method.subnetwork(1, context.recipe)
    second = network.learn_picks(lambda epoch: 5e-4)
    assert all(bool((mask == PICK_START).all()) for mask in network.pick_masks)
    images, labels = torch.rand(8, 1, 8, 8), torch.zeros(8, dtype=torch.int64)
    torch.nn.functional.cross_entropy(network(images), labels).backward()
    effective = {name: weight.grad.clone() for name, weight in network.shared.items() if weight.grad is not None}
    network.mask_gradients()
    for mask, (name, weight) in zip(network.pick_masks, network.shared.items(), strict=True):
        earlier = method.packed.earlier(name, 1)
        expected = torch.where(earlier, effective[name] * method.packed.weights[name], 0.0)
        torch.testing.assert_close(mask.grad, expected, rtol=0, atol=0)
        assert not bool(weight.grad[~network.own[name]].any())  # type: ignore[index]
    before = [mask.clone() for mask in network.pick_masks]
    for _ in range(12):
        second.optimizer.step()
    network.apply_picks()
    for mask, old, (name, weight) in zip(network.pick_masks, before, network.shared.items(), strict=True):
        earlier = method.packed.earlier(name, 1)
        assert torch.equal(mask[~earlier], old[~earlier]), "no mask but those of earlier tasks' weights moves"
        dropped = earlier & (mask <= PICK_THRESHOLD)
        assert not bool(weight[dropped].any())
        kept = earlier & (mask > PICK_THRESHOLD)
        assert torch.equal(weight[kept], method.packed.weights[name][kept])
    assert any(bool((mask <= PICK_THRESHOLD).any()) for mask in network.pick_masks)


def test_masks_stand_still_late_in_finetuning_unless_the_task_owns_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rates: list[list[float]] = []
    learn_part = CMAT.learn_part

    def watched(self: CMAT, *args: Any, **named: Any) -> Any:
        if named.get("second") is not None and named["phase"].startswith("finetune"):
            rates.append([named["second"].rate(epoch) for epoch in range(10)])
        return learn_part(self, *args, **named)

    monkeypatch.setattr(CMAT, "learn_part", watched)
    row = {"method": "cmat", "settings": {**SHORT["cmat"], "goals": [0.0] * 3}, "recipe": {"epochs": 10}}
    method, context, tasks = begun(tmp_path, row, scenario={"tasks": TASKS})
    assert isinstance(method, CMAT)
    learn(method, context, tasks[0], TASKS)
    learn(method, context, tasks[1], TASKS)
    for owners in method.packed.owners.values():
        owners[owners == 0] = 1
    learn(method, context, tasks[2], TASKS)
    assert rates[0] == pytest.approx([5e-4] * 5 + [1e-4] * 2 + [0.0] * 3)
    assert rates[1] == pytest.approx([5e-4] * 5 + [1e-4] * 5)


@pytest.mark.parametrize(("retrained", "kept"), [(0.7, True), (0.6, False), (0.5, False)])
def test_retraining_is_kept_only_if_it_beats_the_pruned_network(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, retrained: float, kept: bool
) -> None:
    scripted(monkeypatch, lambda phase: retrained if phase == "retrain" else 0.6)
    pruned: list[str] = []
    retrain = CMAT._retrain

    def watched(method: CMAT, task: LearnTask, *rest: Any) -> Validation:
        pruned.append(classifier_fingerprint(method.classifier(task.id)))
        return retrain(method, task, *rest)

    monkeypatch.setattr(CMAT, "_retrain", watched)
    method, context, tasks = start(tmp_path, goals=[0.5] * 3, tolerance=0.0)
    learn(method, context, tasks[0], TASKS)
    learn(method, context, tasks[1], TASKS)
    assert facts(context)["reached"] == pytest.approx(retrained if kept else 0.6)
    assert (classifier_fingerprint(method.classifier(1)) != pruned[0]) is kept, "the network is the one it says"


def test_the_published_comparison_is_with_the_network_whose_picks_were_reset(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """0.5 is worse than the pruned network's 0.6, but beats what is left of it once its picks are reset."""
    scripted(monkeypatch, lambda phase: 0.5 if phase == "retrain" else 0.6)
    monkeypatch.setattr(
        RunContext, "validate", lambda *_: Validation(torch.ones(100, dtype=torch.bool), torch.arange(100) < 40)
    )
    method, context, tasks = start(tmp_path, goals=[0.5] * 3, tolerance=0.0, retrain_against="reset")
    learn(method, context, tasks[0], TASKS)
    learn(method, context, tasks[1], TASKS)
    assert facts(context)["reached"] == pytest.approx(0.5)


def test_stages_have_the_recipes_that_their_settings_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: dict[str, tuple[Any, Any]] = {}
    train = RunContext.train

    def watched(context: RunContext, fit: Any, tasks: Any, *, phase: str = "train", recipe: Any = None) -> Any:
        seen[phase] = (recipe, fit.patience)
        return train(context, fit, tasks, phase=phase, recipe=recipe)

    monkeypatch.setattr(RunContext, "train", watched)
    method, context, tasks = start(tmp_path, prune_epochs=2, prune_rate=0.5, retrain_epochs=3, retrain_rate=0.2)
    learn(method, context, tasks[0], TASKS)
    learn(method, context, tasks[1], TASKS)
    rate = context.recipe.learning_rate
    prune, patience = seen["prune-0.3"]
    assert (prune.epochs, prune.milestones, prune.selection.keep, patience) == (2, (), "last", None)
    assert prune.rate(1) == pytest.approx(0.5 * rate)
    retrain, patience = seen["retrain"]
    assert (retrain.epochs, retrain.selection.keep, retrain.selection.every, patience) == (3, "best", 1, 5)
    assert retrain.rate(2) == pytest.approx(0.2 * rate)


# -- goals ---------------------------------------------------------------------------------------------------------------


def test_goals_come_from_single_task_networks_that_are_trained_once(tmp_path: Path) -> None:
    assert run_tiny(tmp_path, ["single_task_at", "cmat"]) == 0
    found = {run.method: run for run in load(tmp_path / "runs", None).runs}
    assert set(found) == {"single_task_at", "cmat"}
    assert found["cmat"].identity["prerequisites"] == [found["single_task_at"].hash]
    goal, reached = (
        value(found[name], fact) for name, fact in (("cmat", "goal"), ("single_task_at", "validation_robust"))
    )
    assert goal == reached
    tolerance = value(found["cmat"], "tolerance")
    assert all(0 <= number < 0.5 for number in tolerance.values())


def test_seeds_of_a_method_with_goals_are_one_row_though_their_goals_are_not(tmp_path: Path) -> None:
    assert run_tiny(tmp_path, ["cmat"], seeds=[0, 1]) == 0
    runs = [run for run in load(tmp_path / "runs", None).runs if run.method == "cmat"]
    assert sorted(run.seed for run in runs) == [0, 1]
    assert len({run.row for run in runs}) == 1
    assert len({tuple(run.identity["prerequisites"]) for run in runs}) == 2
    (tmp_path / "other").mkdir()
    assert run_tiny(tmp_path / "other", ["cmat"], recipe={"learning_rate": 0.04}) == 0
    (other,) = [run for run in load(tmp_path / "other" / "runs", None).runs if run.method == "cmat"]
    assert other.row != runs[0].row


def value(run: Run, name: str) -> dict[int, float]:
    rows = run.facts[run.facts["name"] == name]
    return dict(zip(rows["task"], rows["value"], strict=True))


def test_cpg_takes_clean_goals_and_decides_on_clean_images() -> None:
    assert CPG.requires(CPG.Settings()) == [RunSpec("single_task_standard")]
    assert CMAT.requires(CMATSettings()) == [RunSpec("single_task_at")]
    assert CMAT.requires(CMATSettings(goals=(0.5,))) == []
    validation = Validation(torch.tensor([True, True]), torch.tensor([True, False]))
    assert CPG(CPG.Settings()).score(validation) == 1.0
    assert CMAT(CMATSettings()).score(validation) == 0.5


@pytest.mark.parametrize("goals", [[0.0], [0.0] * 4])
def test_goals_that_are_not_one_per_task_are_one_clear_line_before_anything_is_trained(
    tmp_path: Path, goals: list[float]
) -> None:
    with pytest.raises(MethodError, match=f"goals holds {len(goals)} numbers, this stream has 3 tasks; give one for"):
        start(tmp_path, goals=goals)


def test_a_goal_run_without_outcomes_image_by_image_says_what_to_do(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_tiny(tmp_path, ["single_task_at"]) == 0
    (run,) = load(tmp_path / "runs", None).runs
    for path in (run.directory / "facts").glob("task-*.parquet"):
        frame = pd.read_parquet(path)
        frame["text"] = None
        frame.astype({"text": "string"}).to_parquet(path)
    assert run_tiny(tmp_path, ["cmat"]) == 1
    (failed,) = [run for run in load(tmp_path / "runs", None).runs if run.method == "cmat"]
    assert "holds no validation outcomes of task 0, so there is no goal" in failed.failures[-1]["message"]
    assert "run `run --methods single_task_at --force` first" in failed.failures[-1]["message"]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"mu": 0.5}, "greater than or equal to 1"),
        ({"mu_max": 0.9}, "greater than or equal to 1"),
        ({"mu": 2.0, "mu_max": 1.5}, "mu_max = 1.5 is below mu = 2: the network cannot shrink"),
        ({"ratios": [0.5, 1.0]}, "rising numbers between 0 and 1"),
        ({"ratios": [0.5, 0.2]}, "rising numbers between 0 and 1"),
        ({"ratios": [0.5, 0.50000001]}, "rising numbers between 0 and 1"),
        ({"tolerance": -0.1}, "greater than or equal to 0"),
        ({"goals": [90.0]}, "accuracies between 0 and 1, not percent"),
        ({"goals": 0.9}, "one accuracy per task"),
        ({"mu_step": 1e-9}, "greater than or equal to 0.05"),
        ({"mask_rate": float("inf")}, "finite"),
    ],
)
def test_settings_that_make_no_sense_are_one_clear_line(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        CMATSettings.model_validate(settings)


# -- resuming inside a task -------------------------------------------------------------------------------------------------

STAGES = ["finetune-mu1", "finetune-mu1.5", "prune-0.3", "prune-0.6", "retrain"]
ROWS = [{"method": "cmat", "settings": {**SHORT["cmat"], "goals": [0.0, 0.999, 0.0], "tolerance": 0.0}}]
THREE = {"tasks": TASKS}


def predictions(folder: Path) -> tuple[pd.DataFrame, pd.DataFrame]:
    (run,) = load(folder, None).runs
    columns = ["after_task", "task", "sample", "attack", "predicted", "margin"]
    frame = run.predictions[columns].astype({"attack": str}).sort_values(columns[:4], ignore_index=True)
    recorded = run.facts[~run.facts["phase"].isin(["cost", "seconds"])].sort_values(["task", "phase", "name", "text"])
    return frame, recorded.reset_index(drop=True)


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> tuple[pd.DataFrame, pd.DataFrame]:
    folder = tmp_path_factory.mktemp("whole")
    assert run_tiny(folder, ["cmat"], rows=ROWS, scenario=THREE) == 0
    return predictions(folder / "runs")


@pytest.mark.parametrize("stage", STAGES)
def test_a_run_killed_after_a_stage_goes_on_there_and_ends_the_same(
    tmp_path: Path, stage: str, monkeypatch: pytest.MonkeyPatch, uninterrupted: tuple[pd.DataFrame, pd.DataFrame]
) -> None:
    save, saved = Checkpoints.save, list[str]()

    def save_and_die(self: Checkpoints, name: str, checkpoint: Checkpoint) -> None:
        save(self, name, checkpoint)
        if name.startswith("task-001.stage") and name.endswith(f"-{stage}"):
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Checkpoints, "save", save_and_die)
        with pytest.raises(KeyboardInterrupt):
            run_tiny(tmp_path, ["cmat"], rows=ROWS, scenario=THREE)

    def save_and_note(self: Checkpoints, name: str, checkpoint: Checkpoint) -> None:
        save(self, name, checkpoint)
        if name.startswith("task-001.stage-"):
            saved.append(name.removeprefix("task-001.stage-")[4:])

    with monkeypatch.context() as patch:
        patch.setattr(Checkpoints, "save", save_and_note)
        assert run_tiny(tmp_path, ["cmat"], rows=ROWS, scenario=THREE) == 0
    done = STAGES[: STAGES.index(stage) + 1]
    assert saved == STAGES[len(done) :], "no finished stage runs again"
    frame, recorded = predictions(tmp_path / "runs")
    assert frame.equals(uninterrupted[0])
    assert recorded.equals(uninterrupted[1])
