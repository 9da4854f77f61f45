"""A claim not to forget is proved by a fresh process from the last state alone, and planted ways of forgetting are found."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch
from torch import Tensor

from benchmark.evaluating import attacking
from benchmark.evaluating.attacking import attack_task
from benchmark.learning.confined import process as confined
from benchmark.learning.unforgetting_proof import OldCell, make_again
from benchmark.planning.cells import cells_of, shared_work
from benchmark.planning.presets import load_preset
from benchmark.running import execution
from methods.parts.packing.ownership import PackedWeights
from methods.parts.packing.subnetwork import Subnetwork
from methods.strategies.packed import PackedMethod
from results import Run, load
from results.schema import UNFORGETTING
from scenarios.base import ScenarioSettings
from scenarios.digits import Digits
from tests.benchmark import plugin_methods
from tests.conftest import CONFINED_PROCESS
from tests.tiny import SHORT, run_tiny

PGD = "pgd-2 linf 51/255 a=12.75/255"


@pytest.fixture
def _fresh_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """The real thing: a process is started for every proof."""
    monkeypatch.setattr(confined, "ConfinedProcess", CONFINED_PROCESS)


def run_of(folder: Path, method: str) -> Run:
    (run,) = [run for run in load(folder / "runs", None).runs if run.method == method]
    return run


def proof(folder: Path, method: str) -> dict[tuple[int, str], float]:
    facts = run_of(folder, method).facts
    rows = facts[facts["phase"] == UNFORGETTING]
    return {(int(row["task"]), str(row["name"])): float(row["value"]) for row in rows.to_dict("records")}


def different(folder: Path, method: str = "packnet") -> set[tuple[int, str]]:
    """The facts of the proof that say `not the same`."""
    found = proof(folder, method)
    assert {task for task, _ in found} >= {0, 1}
    return {what for what, same in found.items() if not same}


@pytest.mark.usefixtures("_fresh_process")
@pytest.mark.parametrize("method", ["packnet", "cmat", "single_task_at"])
def test_what_is_not_forgotten_is_proved_in_a_fresh_process(tmp_path: Path, method: str) -> None:
    assert run_tiny(tmp_path, [method]) == 0
    assert proof(tmp_path, method) == {
        (0, "same_classifier"): 1.0,
        (0, "same_logits"): 1.0,
        (1, "same_classifier"): 1.0,
        (1, "same_logits"): 1.0,
        (0, "same_predictions"): 1.0,
    }
    facts = run_of(tmp_path, method).facts
    (said,) = facts.loc[facts["name"] == "same_predictions", "text"]
    assert said == f"{PGD}, after task 0"


def test_one_owned_weight_left_unmasked_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    begin = Subnetwork.__init__

    def leaky(network: Subnetwork, plain: Any, packed: PackedWeights, task: int, **named: Any) -> None:
        begin(network, plain, packed, task, **named)
        # The largest weight of the first task, where no pruning reaches it.
        own, weight = network.own["layers.0.weight"], network.shared["layers.0.weight"].detach()
        if task == 1:
            own.view(-1)[(weight.abs() * packed.earlier("layers.0.weight", 1)).argmax()] = True

    def store(packed: PackedWeights, task: int, weights: Mapping[str, Tensor], owned: Mapping[str, Tensor]) -> None:
        for name, mine in owned.items():
            packed.weights[name] = torch.where(mine, weights[name].detach(), packed.weights[name])

    monkeypatch.setattr(Subnetwork, "__init__", leaky)
    monkeypatch.setattr(PackedWeights, "store", store)
    assert run_tiny(tmp_path, ["packnet"]) == 0
    assert different(tmp_path) >= {(0, "same_classifier"), (0, "same_logits")}
    assert not {what for what in different(tmp_path) if what[0] == 1}


@pytest.mark.parametrize("entry", ["running_mean", "weight", "num_batches_tracked"])
def test_one_batch_norm_of_an_old_task_that_was_updated_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, entry: str
) -> None:
    keep = PackedMethod.keep

    def careless(method: PackedMethod, network: Subnetwork, task: int) -> None:
        keep(method, network, task)
        if task == 1:
            name = f"backbone.layers.1.{entry}"
            method.packed.parts[0].tensors[name] = method.packed.parts[1].tensors[name]

    monkeypatch.setattr(PackedMethod, "keep", careless)
    assert run_tiny(tmp_path, ["packnet"]) == 0
    assert (0, "same_classifier") in different(tmp_path)
    # A count of batches changes no answer; everything else does.
    assert ((0, "same_logits") in different(tmp_path)) is (entry != "num_batches_tracked")


def test_one_bit_of_an_old_picks_that_changed_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    learn, row = PackedMethod.begin_task, {"method": "cmat", "settings": {**SHORT["cmat"], "goals": [0.0] * 3}}

    def careless(method: PackedMethod, task: int) -> None:
        learn(method, task)
        if task == 2:
            picks = method.packed.parts[1].picks
            assert picks is not None
            mask = picks["layers.3.weight"]
            mask[tuple(mask.nonzero()[0])] = False

    monkeypatch.setattr(PackedMethod, "begin_task", careless)
    assert run_tiny(tmp_path, ["cmat"], rows=[row], scenario={"tasks": 3}) == 0
    assert (1, "same_classifier") in different(tmp_path, "cmat")


@pytest.mark.usefixtures("_fresh_process")
def test_a_cached_copy_of_every_old_classifier_does_not_help(tmp_path: Path) -> None:
    mine = plugin_methods.write(tmp_path, plugin_methods.HANDS_OUT_COPIES)
    assert run_tiny(tmp_path, [mine]) == 0
    found = proof(tmp_path, "mine")
    assert found[0, "same_classifier"] == found[0, "same_logits"] == found[0, "same_predictions"] == 0.0
    assert found[1, "same_classifier"] == found[1, "same_logits"] == 1.0


def test_on_another_processor_or_version_bits_are_compared_and_what_is_computed_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("benchmark.learning.learner.arithmetic", lambda device: "another machine")
    assert run_tiny(tmp_path, ["packnet"]) == 0
    assert proof(tmp_path, "packnet") == {(0, "same_classifier"): 1.0, (1, "same_classifier"): 1.0}


def test_a_method_that_claims_nothing_is_asked_nothing(tmp_path: Path) -> None:
    assert run_tiny(tmp_path, ["madry_at"]) == 0
    assert proof(tmp_path, "madry_at") == {}


def test_a_proof_that_crashes_is_a_failure_and_can_be_made_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def crash(*arguments: Any) -> None:
        raise RuntimeError("planted")

    with monkeypatch.context() as patch:
        patch.setattr(confined, "ConfinedProcess", crash)
        assert run_tiny(tmp_path, ["packnet"]) == 1
    assert proof(tmp_path, "packnet") == {}
    assert "planted" in run_of(tmp_path, "packnet").failures[-1]["message"]
    assert run_tiny(tmp_path, ["packnet"]) == 0
    assert set(proof(tmp_path, "packnet").values()) == {1.0}


def test_a_task_that_is_learned_again_is_proved_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert run_tiny(tmp_path, ["packnet"]) == 0
    run = run_of(tmp_path, "packnet")
    (run.directory / "checkpoints" / "task-001.json").write_text("broken")
    (run.directory / "facts" / "cost.parquet").unlink()
    learned: list[int] = []
    learn = PackedMethod.begin_task
    monkeypatch.setattr(PackedMethod, "begin_task", lambda method, task: (learned.append(task), learn(method, task))[1])
    before = (run.directory / "facts" / f"{UNFORGETTING}.parquet").stat().st_mtime_ns
    assert run_tiny(tmp_path, ["packnet"]) == 0
    assert learned
    assert (run.directory / "facts" / f"{UNFORGETTING}.parquet").stat().st_mtime_ns > before
    assert set(proof(tmp_path, "packnet").values()) == {1.0}


def test_tasks_cost_one_evaluation_each_and_the_rest_is_the_same_classifier(tmp_path: Path) -> None:
    assert run_tiny(tmp_path, ["packnet"], scenario={"tasks": 3}) == 0
    rows = run_of(tmp_path, "packnet").evaluations
    matrix = rows[rows["attack"] == PGD]
    assert len(matrix) == 6
    assert int((~matrix["reused"]).sum()) == 3
    assert matrix.groupby("task")["classifier"].nunique().to_dict() == {0: 1, 1: 1, 2: 1}
    assert matrix.groupby("task")["evaluation_id"].nunique().to_dict() == {0: 1, 1: 1, 2: 1}


def test_fewer_samples_than_were_stored_refute_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run that was stopped before its proof goes on under a preset that demands less."""

    def demanding(samples: int) -> dict[str, Any]:
        pgd = {"attack": "pgd", "steps": 2, "step_size": "eps/4", "samples": samples}
        return {"matrix": [{"attack": "clean"}, pgd], "final": [], "checks": "none"}

    def stopped(*arguments: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(execution, "judge_afresh", stopped)
    with pytest.raises(KeyboardInterrupt):
        run_tiny(tmp_path, ["packnet"], evaluation=demanding(40))
    monkeypatch.undo()
    assert run_tiny(tmp_path, ["packnet"], evaluation=demanding(20)) == 0
    found = proof(tmp_path, "packnet")
    assert found[0, "same_classifier"] == found[0, "same_logits"] == 1.0
    assert (0, "same_predictions") not in found


class Asked(torch.nn.Module):
    """Remembers how many images it was asked about at once."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 2))
        self.sizes: list[int] = []

    def forward(self, images: Tensor) -> Tensor:
        self.sizes.append(len(images))
        return cast(Tensor, self.inner(images))


@pytest.mark.parametrize("fastest", [20, 60, 1000], ids=["on a CPU", "two batches of lanes", "on a GPU"])
def test_old_cells_are_attacked_again_in_the_batches_that_they_had(
    monkeypatch: pytest.MonkeyPatch, fastest: int
) -> None:
    monkeypatch.setattr(attacking, "fastest_rows", lambda *_: fastest)
    matrix = "evaluation.matrix=[{attack: pgd, steps: 2, step_size: [eps/4, eps/2]}]"
    preset = load_preset("digits", ["evaluation.batch_size=20", matrix])
    (task,) = Digits(ScenarioSettings(tasks=1)).load()
    (work,) = shared_work(cells_of(preset.matrix, task, 0))
    asked = Asked().eval().requires_grad_(False)
    rows = attack_task(asked, task, work.samples, work.run, preset.evaluation).rows
    first, asked.sizes = asked.sizes, []
    make_again(lambda _: asked, cast(Any, SimpleNamespace(preset=preset)), "cpu", {}, {0: task}, [OldCell(0, 0, rows)])
    assert max(first) == min(fastest, 40)
    assert asked.sizes == first


def test_old_cells_that_were_attacked_in_other_batches_say_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Memory is shorter in the confined process than it was where the cell was attacked."""
    preset = load_preset("digits", ["evaluation.matrix=[{attack: pgd, steps: 2, step_size: eps/4}]"])
    (task,) = Digits(ScenarioSettings(tasks=1)).load()
    (work,) = shared_work(cells_of(preset.matrix, task, 0))
    asked = Asked().eval().requires_grad_(False)
    rows = attack_task(asked, task, work.samples, work.run, preset.evaluation).rows
    cells = [OldCell(0, 0, rows)]
    enough = make_again(lambda _: asked, cast(Any, SimpleNamespace(preset=preset)), "cpu", {}, {0: task}, cells)
    assert [len(outcomes) for outcomes in enough.attacked] == [len(work.samples)]
    monkeypatch.setattr(attacking, "free_bytes", lambda device: 1)
    short = make_again(lambda _: asked, cast(Any, SimpleNamespace(preset=preset)), "cpu", {}, {0: task}, cells)
    assert short.attacked == [{}]
