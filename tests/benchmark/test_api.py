"""The benchmark from Python: what the commands do, as frames and typed values, and nothing on the screen."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
import torch
from torch import Tensor, nn

import benchmark
from benchmark import ConfigError, DataError, evaluate_module, load, run_preset, write_report
from benchmark.planning.preset_files import available
from benchmark.plugins import ATTACKS, METHODS, SCENARIOS
from tests.benchmark import plugin_methods
from tests.conftest import REPOSITORY
from tests.tiny import write_preset

FINAL = {"final": [{"attack": "fgsm"}, {"attack": "pgd", "steps": 3, "step_size": "eps/2"}]}


class Middle(nn.Module):
    """Right on most images of the digits 0 and 1: ones have ink in the middle, zeros have none."""

    def __init__(self, classes: int = 2, noise: float = 0.0) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(classes))
        self.dropout = nn.Dropout(0.5)
        self.noise = noise

    def forward(self, images: Tensor) -> Tensor:
        if self.noise:
            images = images + self.noise * torch.randn_like(images)
        ink = images[:, 0, 3:5, 3:5].mean((1, 2)) - 0.1 * images.mean((1, 2, 3)) - 0.4
        return torch.stack([-ink, *[ink] * (len(self.weight) - 1)], 1) * self.weight


# -- evaluate_module -------------------------------------------------------------------------------------------------------------


def test_a_module_is_attacked_and_judged_as_by_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = evaluate_module(Middle(), write_preset(tmp_path, evaluation=FINAL), 0)
    assert list(found.attacks.columns) == ["attack", "samples", "accuracy", "low", "high"]
    assert set(found.attacks["attack"]) == {
        "clean", "fgsm linf 51/255", "pgd-2 linf 51/255 a=12.75/255", "pgd-2 linf 51/255 a=12.75/255 any",
        "pgd-3 linf 51/255 a=25.5/255", "pgd-3 linf 51/255 a=25.5/255 any",
    }  # fmt: skip
    accuracy = found.attacks.set_index("attack")["accuracy"]
    assert found.worst.accuracy <= accuracy.min() < accuracy["clean"]
    assert (found.attacks["low"] <= found.attacks["accuracy"]).all()
    assert (found.attacks["accuracy"] <= found.attacks["high"]).all()
    assert found.task.name == "digits_0_1"
    assert {verdict.check for verdict in found.verdicts} >= {"repeatable", "outputs_are_logits"}
    assert not found.failures
    assert not found.failed_checks
    assert capsys.readouterr() == ("", "")


def test_a_check_that_fails_is_told(tmp_path: Path) -> None:
    found = evaluate_module(Middle(noise=0.1), write_preset(tmp_path, evaluation={"final": []}), "digits_0_1")
    assert "repeatable" in {verdict.check for verdict in found.failed_checks}


def test_the_module_is_left_as_it_came(tmp_path: Path) -> None:
    model, threads = Middle().train(), torch.get_num_threads()
    model.dropout.eval()
    evaluate_module(model, write_preset(tmp_path, evaluation={"final": []}, threads=2), 0)
    assert model.training
    assert not model.dropout.training
    assert model.weight.requires_grad
    assert model.weight.grad is None
    assert torch.get_num_threads() == threads


@pytest.mark.parametrize(
    ("model", "task", "words"),
    [
        (Middle(classes=3), 0, ["Middle", "3 logits", "2 classes"]),
        (nn.Linear(5, 2), 0, ["Linear", "RuntimeError"]),
        (nn.Linear, 0, ["expected an nn.Module", "Linear"]),
        (lambda images: images, 0, ["expected an nn.Module", "lambda"]),
        (nn.Sequential(nn.Flatten(), nn.LazyLinear(2)), 0, ["no weights yet", "one batch"]),
        (Middle(), 9, ["9", "digits_0_1"]),
    ],
)
def test_a_wrong_call_is_one_clear_line(model: nn.Module, task: int, words: list[str], tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as raised:
        evaluate_module(model, write_preset(tmp_path), task)
    line = str(raised.value)
    assert all(word in line for word in words), line
    assert "\n" not in line


def test_missing_images_are_a_data_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="--download"):
        evaluate_module(Middle(), "cifar100-cpu", 0, data_root=tmp_path)


# -- run_preset ------------------------------------------------------------------------------------------------------------------


def test_a_preset_is_run_and_its_board_comes_as_frames(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    preset, runs = write_preset(tmp_path), tmp_path / "runs"
    options = {"results": runs, "published": tmp_path / "none"}
    first = run_preset(preset, seeds=[0, 1], **options)  # type: ignore[arg-type]
    assert first.preset == "tiny"
    assert list(first.runs["state"]) == ["done", "done"]
    assert list(first.runs["seed"]) == [0, 1]
    assert not first.failures
    assert list(first.leaderboard["label"]) == ["madry_at"]
    assert set(first.tables.tasks("clean")["seed"]) == {0, 1}
    again = run_preset(preset, seeds=[0, 1], **options)  # type: ignore[arg-type]
    assert list(again.runs["state"]) == ["stored", "stored"]
    pd.testing.assert_frame_equal(again.runs.drop(columns="state"), first.runs.drop(columns="state"), check_exact=True)
    stored = load(runs, None)
    assert {run.hash for run in stored.runs} == set(first.runs["run"])
    command = stored.runs[0].protocols["tiny"]["command"]
    assert command == f"python run_benchmark.py run --preset {preset} --seeds 0 1"
    report = write_report(stored, tmp_path / "out")
    assert report.page.exists()
    assert capsys.readouterr() == ("", "")


def test_changed_settings_make_a_board_of_their_own_which_alone_is_returned(tmp_path: Path) -> None:
    preset, options = write_preset(tmp_path), {"results": tmp_path / "runs", "published": tmp_path / "none"}
    run_preset(preset, **options)  # type: ignore[arg-type]
    found = run_preset(preset, overrides=["evaluation.final=[]"], **options)  # type: ignore[arg-type]
    assert found.preset == "tiny evaluation.final=[]"
    assert set(found.leaderboard["preset"]) == {found.preset}
    assert len(load(tmp_path / "runs", None).runs) == 1


def test_a_method_that_fails_is_returned_and_the_others_are_done(tmp_path: Path) -> None:
    path = plugin_methods.write(tmp_path, plugin_methods.RAISES, "failing_here")
    found = run_preset(
        write_preset(tmp_path),
        methods=[path, "madry_at"],
        results=tmp_path / "runs",
        published=tmp_path / "none",
    )
    states = dict(zip(found.runs["label"], found.runs["state"], strict=True))
    assert states == {"failing_here": "failed", "madry_at": "done"}
    assert len(found.failures) == 1
    assert "planted failure" in found.failures[0]


def test_what_does_not_fit_into_the_time_is_left_and_the_next_call_goes_on(tmp_path: Path) -> None:
    preset, options = write_preset(tmp_path), {"results": tmp_path / "runs", "published": tmp_path / "none"}
    first = run_preset(preset, until="1s", **options)  # type: ignore[arg-type]
    assert list(first.runs["state"]) == ["left"]
    assert not first.failures
    then = run_preset(preset, until="1h", **options)  # type: ignore[arg-type]
    assert list(then.runs["state"]) == ["done"]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"preset": "digitz"}, "did you mean 'digits'"),
        ({"methods": ["madri_at"]}, "did you mean 'madry_at'"),
        ({"overrides": ["recipe.epoch=3"]}, "epochs"),
        ({"seeds": []}, "--seeds"),
        ({"seeds": 3}, "--seeds: 3 is one value"),
        ({"methods": []}, "--methods"),
        ({"methods": "madry_at"}, "--methods: 'madry_at' is one value"),
        ({"methods": (name for name in ["madri_at"])}, "did you mean 'madry_at'"),
        ({"methods": [Path("nowhere.py")]}, "nowhere.py: no such file"),
        ({"overrides": "recipe.epochs=1"}, "--set: 'recipe.epochs=1' is one value"),
        ({"device": "gpu"}, "--device gpu"),
        ({"workers": 0}, "--workers 0"),
        ({"retries": -1}, "--retries -1"),
        ({"until": "soon"}, "--until 'soon'"),
        ({"engine": "dask"}, "--engine dask"),
        ({"address": "auto"}, "--address auto: belongs to --engine ray"),
    ],
)
def test_a_wrong_option_is_one_clear_line_and_nothing_is_written(
    changes: dict[str, object], words: str, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=words):
        run_preset(**{"preset": "digits", "results": tmp_path / "runs", **changes})  # type: ignore[arg-type]
    assert not list(tmp_path.rglob("config.json"))


# -- what there is ---------------------------------------------------------------------------------------------------------------


def test_lists_are_frames_of_everything_there_is() -> None:
    methods = benchmark.list_methods().set_index("name")
    assert list(methods.index) == list(METHODS.all())
    assert list(methods.columns) == ["summary", "needs", "claims", "paper"]
    assert "does not forget" in methods.loc["cmat", "claims"]
    assert len(benchmark.list_attacks()) == len(ATTACKS.all())
    assert "autoattack-c2" in set(benchmark.list_attacks()["name"])
    assert list(benchmark.list_scenarios()["name"]) == list(SCENARIOS.all())
    assert list(benchmark.list_presets()["name"]) == list(available())


def test_importing_the_package_imports_nothing_large_and_load_no_torch() -> None:
    script = (
        "import sys, benchmark; assert not {'torch', 'pandas', 'numpy'} & set(sys.modules);"
        "from benchmark import ConfigError, Tables, load, write_report; assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", script], cwd=REPOSITORY, check=True)


def test_every_name_of_the_package_is_there() -> None:
    for name in benchmark._HOMES:
        assert getattr(benchmark, name).__name__ == name
        assert name in dir(benchmark)
    with pytest.raises(AttributeError, match="no attribute 'run_presets'"):
        benchmark.run_presets  # noqa: B018
