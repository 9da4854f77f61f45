"""`time`: figures one after another within a budget, and nothing lost when it is stopped."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from rich.console import Console

from benchmark.commands.timing import attacks, clock, command, figures
from benchmark.commands.timing.clock import Clock
from benchmark.commands.timing.command import show_times
from benchmark.commands.timing.figures import Figure, Figures
from benchmark.planning.machine import Machine
from benchmark.planning.presets import load_preset
from scenarios.base import SourceOptions
from tests.tiny import write_preset

CPU = torch.device("cpu")


class Watch:
    """A clock that works move forward by the seconds that they say."""

    def __init__(self) -> None:
        self.now = 0.0

    def perf_counter(self) -> float:
        return self.now

    def work(self, *seconds: float) -> Any:
        """A work that takes these seconds, call after call; then the last again and again."""
        taken = list(seconds)

        def work() -> None:
            self.now += taken.pop(0) if len(taken) > 1 else taken[0]

        return work


@pytest.fixture
def watch(monkeypatch: pytest.MonkeyPatch) -> Watch:
    made = Watch()
    for module in (clock, figures):
        monkeypatch.setattr(module, "time", SimpleNamespace(perf_counter=made.perf_counter))
    return made


def test_a_median_is_of_the_turns_that_fit_after_one_to_warm_up(watch: Watch) -> None:
    first, second = watch.work(1, 0.25, 0.75, 0.5, 9), watch.work(0.5)
    assert Clock(CPU, 4.0).medians(first, second) == [0.5, 0.5]
    assert watch.now == 1.5 + 3 * 0.5 + 1.5, "a warm-up and three turns"


def test_a_first_turn_of_many_seconds_counts_on_a_cpu_and_there_are_three(watch: Watch) -> None:
    assert Clock(CPU, 9.0).medians(watch.work(3, 5, 4, 100)) == [4]
    assert watch.now == 12


def test_there_is_never_a_single_shot_and_no_third_where_it_would_take_twice_what_is_allowed(watch: Watch) -> None:
    assert Clock(CPU, 1.0).medians(watch.work(30, 40)) == [35]
    assert watch.now == 70


def test_what_two_turns_are_too_long_for_is_not_begun() -> None:
    Clock(CPU, 10.0).must_fit(10.0)
    with pytest.raises(clock.NoTime, match="no time was left"):
        Clock(CPU, 10.0).must_fit(10.5)


def test_quick_works_are_repeated_no_more_than_is_of_use(watch: Watch) -> None:
    Clock(CPU, 1000.0).medians(watch.work(0.125))
    assert watch.now == 0.125 * (1 + clock.MOST)


def _found(made: list[Figure], seconds: float) -> tuple[Figures, list[dict[str, Any]]]:
    told: list[dict[str, Any]] = []
    asked = Figures(made, CPU, seconds)
    asked.find(lambda title: None, told.append)
    return asked, told


def test_figures_share_the_seconds_that_are_left_by_weight(watch: Watch) -> None:
    allowed: list[float] = []

    def taking(seconds: float) -> Any:
        def find(given: Clock) -> dict[str, Any]:
            allowed.append(given.seconds)
            watch.now += seconds
            return {}

        return find

    _found([Figure("quick", 1, taking(1)), Figure("slow", 3, taking(7)), Figure("last", 1, taking(1))], 10)
    assert allowed == [2, 9 * 3 / 4, 2], "what the quick one left over is shared, and what the slow one took is gone"


def test_a_figure_without_time_or_that_fails_is_named_and_the_others_are_found(watch: Watch) -> None:
    def fails(given: Clock) -> dict[str, Any]:
        raise RuntimeError("out of memory\nand a long explanation")

    def takes_all(given: Clock) -> dict[str, Any]:
        watch.now += 100
        return {"b": 2}

    asked, told = _found(
        [
            Figure("first", 1, lambda given: {"a": 1}),
            Figure("second", 1, fails),
            Figure("third", 1, takes_all),
            Figure("fourth", 1, lambda given: {"c": 3}),
        ],
        10,
    )
    assert told == [{"a": 1}, {"b": 2}]
    assert asked.left_out == ["second: out of memory", "fourth: no time was left"]


TABLE = attacks.WITH_OURS * 77
"""Seconds of a turn of the table of one step size on one image, if a gradient takes a second."""


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [(1e6, (16, 3)), (3 * TABLE * 3 * 5, (5, 3)), (3 * TABLE * 3 * 4 - 1, (4, 1)), (2 * TABLE * 2, (2, 1))],
)
def test_the_sweep_is_as_large_as_the_seconds_allow(seconds: float, expected: tuple[int, int]) -> None:
    count, sizes = attacks._fitting_table(1.0, Clock(CPU, seconds))
    assert (count, len(sizes)) == expected


def test_a_sweep_of_less_than_one_image_is_left_out() -> None:
    with pytest.raises(clock.NoTime):
        attacks._fitting_table(1.0, Clock(CPU, 2 * TABLE - 1))


@pytest.mark.parametrize(("one", "both", "expected"), [(2.0, 1.0, 2), (1.0, 1.5, 1)])
def test_a_machine_on_which_threads_wait_for_each_other_is_measured_with_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, one: float, both: float, expected: int
) -> None:
    before = torch.get_num_threads()
    monkeypatch.setattr(Clock, "once", lambda _, work: (work(), {1: one, 2: both}[torch.get_num_threads()])[1])
    preset = load_preset(str(write_preset(tmp_path)))
    machine = Machine(tmp_path, tmp_path, SourceOptions(), "cpu", 1, 2, "")
    try:
        assert command._Measured(preset, machine, CPU).quickest_threads() == expected
    finally:
        torch.set_num_threads(before)


PROMISED = (
    "sweep_vs_torchattacks", "autoattack_vs_torchattacks", "train_step_vs_parts", "share_of_peak", "forward_images_per_second",
    "attack_step_images_per_second", "train_step_images_per_second", "packnet_step_vs_madry_at", "cmat_step_vs_madry_at",
    "wsn_step_vs_madry_at", "gpm_step_vs_madry_at",
    "trades_step_vs_madry_at", "fast_at_step_vs_madry_at", "free_at_step_vs_madry_at", "anp_vs_step_vs_parts", "peak_gflops",
    "sweep_share_of_float32_peak", "autoattack_share_of_float32_peak", "train_step_share_of_float32_peak", "peak_memory_mb",
    "data_milliseconds_per_step", "data_share_of_train_step",
)  # fmt: skip
OF_BF16 = (
    "bf16_attack_step_vs_float32", "bf16_sweep_vs_torchattacks", "bf16_sweep_share_of_bf16_peak",
    "bf16_autoattack_vs_torchattacks", "bf16_autoattack_share_of_bf16_peak",
)  # fmt: skip


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command, "SECONDS", {"cpu": 120.0})
    monkeypatch.setattr(clock, "MOST", 2)
    values = {
        "IMAGES": {"cpu": 4},
        "FEWEST_IMAGES": {"cpu": 2},
        "HARDENING": 1,
        "FEWEST_RIGHT": 0,
        "STEPS": (1, 2),
        "MEMORY_ROWS": 4,
    }
    for name, value in {**values, "ENSEMBLE_STEPS": {"cpu": 1}, "QUERIES_PER_STEP": 2}.items():
        monkeypatch.setattr(attacks, name, value)


@pytest.mark.usefixtures("small")
def test_time_measures_every_ratio_it_promises(tmp_path: Path) -> None:
    output, console = tmp_path / "time.json", Console(record=True, width=100, quiet=True)
    assert show_times(str(write_preset(tmp_path)), None, "cpu", output, console) == 0
    found = json.loads(output.read_text())
    promised = PROMISED if "bf16_attack" in found else PROMISED + OF_BF16
    assert [name for name in promised if not found[name] > 0] == []
    for name in ("attack_peak_mb", "attack_peak_mb_torchattacks"):
        assert found[name] is None or found[name] > 0


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("kept", [True, False])
def test_what_was_found_is_shown_and_kept_when_the_command_is_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kept: bool
) -> None:
    def stopped(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(attacks, "time_sweep", stopped)
    output, shown = tmp_path / "time.json", (tmp_path / "shown").open("w+")
    with pytest.raises(KeyboardInterrupt):
        show_times(str(write_preset(tmp_path)), None, "cpu", output if kept else None, Console(file=shown, width=100))
    shown.seek(0)
    said = shown.read()
    assert "train_step_vs_parts" in said
    assert f"stopped; what was found is {f'in {output}' if kept else 'above'}" in said.replace("\n", "")
    if kept:
        found = json.loads(output.read_text())
        assert found["stopped"] is True
        assert found["train_step_vs_parts"] > 0
        assert "sweep_vs_torchattacks" not in found
