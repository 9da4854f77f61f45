"""The engine `ray` on a cluster of this machine: what it stores is what the local engine stores."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from benchmark.errors import ConfigError
from benchmark.planning import machine
from benchmark.planning.options import RunOptions
from benchmark.running.engines.base import JobEnd
from benchmark.running.failures import JobResult
from tests.benchmark import plugin_methods
from tests.benchmark.running.stored import runs, table
from tests.tiny import run_tiny, write_preset


def test_a_run_and_the_run_that_it_needs_are_stored_as_the_local_engine_stores_them(tmp_path: Path) -> None:
    pytest.importorskip("ray")
    file = plugin_methods.write(tmp_path, plugin_methods.NEEDS_GOALS)
    here = {"learn_here": True}
    before = signal.getsignal(signal.SIGTERM)
    assert run_tiny(tmp_path, [file], results="ray", options={**here, "engine": "ray", "device": "cpu"}) == 0
    assert signal.getsignal(signal.SIGTERM) == before
    assert run_tiny(tmp_path, [file], options=here) == 0
    local, ray = ({run.hash: run for run in runs(tmp_path, name)} for name in ("runs", "ray"))
    assert len(local) == 2
    assert local.keys() == ray.keys()
    assert all(table(local[key]).equals(table(ray[key])) for key in local)
    for run in ray.values():
        # The copy of the code knows its commit, if there is one.
        commits = [each.config["provenance"]["git"] for each in (run, local[run.hash])]
        assert len({commit is None for commit in commits}) == 1
        assert not (run.directory / "running").exists()
        assert not list(run.directory.rglob("*.partial"))


def test_what_is_missing_is_told_before_anything_is_loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match="Ray is not installed here; `make setup-ray`"):
        run_tiny(tmp_path, options={"engine": "ray"})


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"engine": "slurm"}, "--engine slurm: expected local or ray"),
        ({"address": "auto"}, "--address auto: belongs to --engine ray"),
        ({"gpus_per_run": 0.5}, "--gpus-per-run 0.5: belongs to --engine ray"),
        ({"engine": "ray", "gpus_per_run": 1.5}, "--gpus-per-run 1.5: give a fraction"),
        ({"engine": "ray", "gpus_per_run": 0.0}, "--gpus-per-run 0: give a fraction"),
        ({"engine": "ray", "device": "cuda:1"}, "--device cuda:1: with --engine ray Ray chooses the GPU"),
    ],
)
def test_options_that_do_not_fit_each_other_are_one_line(
    tmp_path: Path, options: dict[str, object], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        RunOptions(str(write_preset(tmp_path)), **options)  # type: ignore[arg-type]


@pytest.mark.parametrize("address", ["127.0.0.1:1", "ray://head:10001", "head", "127.0.0.1:99999"])
def test_an_address_where_no_cluster_is_is_one_line(address: str) -> None:
    pytest.importorskip("ray")
    from benchmark.running.engines.on_ray.cluster import Cluster

    with pytest.raises(ConfigError, match=rf"^--address {address}: [^\n]*$"):
        Cluster(address, 1)


def test_nothing_is_set_aside_for_a_cluster_that_is_not_there(tmp_path: Path) -> None:
    pytest.importorskip("ray")
    assert run_tiny(tmp_path) == 0
    with pytest.raises(ConfigError, match="nothing answers there"):
        run_tiny(tmp_path, options={"engine": "ray", "address": "127.0.0.1:1", "force": True})
    assert len(runs(tmp_path)) == 1
    assert not (tmp_path / "runs" / ".set-aside").exists()


def test_what_has_arrived_when_time_is_up_is_heard(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("ray")
    from benchmark.running.engines.on_ray.workers import RayWorkers

    workers = RayWorkers.__new__(RayWorkers)
    workers._ended = []
    arrived = ["a report", "the end of a job", "a report of another job"]
    end = JobEnd("a", JobResult("a", left=True))

    def hear(task: str) -> None:
        if task == "the end of a job":
            workers._ended.append(end)

    monkeypatch.setattr(workers, "_ready", lambda seconds: [arrived.pop(0)] if arrived else [])
    monkeypatch.setattr(workers, "_hear", hear)
    assert workers.ended(0.0) == [end]
    assert workers.ended(0.0) == []
    assert not arrived
