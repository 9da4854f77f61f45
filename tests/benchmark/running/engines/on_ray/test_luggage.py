"""A job travels with the files that it names, and its tasks with their images; the other machine has none of them."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file

from benchmark.planning.jobs import Job, make_jobs
from benchmark.planning.presets import load_preset
from benchmark.running.engines.on_ray.luggage import PackedTask, Packer, tasks_from, unpacked
from scenarios.base import SourceOptions, Task
from tests.benchmark import plugin_methods
from tests.tiny import write_preset


def jobs_of(path: Path, methods: list[str]) -> tuple[list[Job], list[Task]]:
    preset = load_preset(str(path), methods=methods)
    tasks = preset.scenario(SourceOptions()).load()
    return make_jobs(preset, preset.choose(methods), tasks, SourceOptions()), tasks


def test_a_plug_in_file_is_found_where_the_job_arrives(tmp_path: Path) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    here.mkdir()
    file = plugin_methods.write(here, plugin_methods.NEEDS_GOALS)
    job = jobs_of(write_preset(here), [file])[0][-1]
    away: list[bytes] = []
    packed = Packer(lambda content: away.append(content) or len(away) - 1).pack(job)  # type: ignore[func-returns-value]
    assert str(here).encode() not in packed.pickled
    Path(file).unlink()
    found = unpacked(packed, there, away.__getitem__)
    assert found.plugin.path.is_relative_to(there)
    assert found.plugin.path.read_text() == plugin_methods.NEEDS_GOALS
    assert (found.hash, found.label, found.stream) == (job.hash, job.label, job.stream)
    # It goes on from there to other processes.
    assert pickle.loads(pickle.dumps(found)).plugin.path == found.plugin.path
    assert len(away) == 1


def test_a_file_of_several_jobs_is_put_away_once(tmp_path: Path) -> None:
    file = plugin_methods.write(tmp_path, plugin_methods.NEEDS_GOALS)
    job = jobs_of(write_preset(tmp_path), [file])[0][-1]
    away: list[bytes] = []
    packer = Packer(lambda content: away.append(content) or len(away) - 1)  # type: ignore[func-returns-value]
    assert packer.pack(job).files == packer.pack(job).files
    assert len(away) == 1


def test_pre_trained_weights_travel(tmp_path: Path) -> None:
    first = load_preset(str(write_preset(tmp_path)))
    weights = tmp_path / "weights.safetensors"
    shape = first.scenario(SourceOptions()).image_shape
    save_file(first.file.backbone.build(shape).state_dict(), weights)
    path = write_preset(tmp_path, "pretrained", backbone={"pretrained": str(weights)})
    job = jobs_of(path, ["madry_at"])[0][-1]
    away: list[bytes] = []
    packed = Packer(lambda content: away.append(content) or len(away) - 1).pack(job)  # type: ignore[func-returns-value]
    content = weights.read_bytes()
    weights.unlink()
    found = unpacked(packed, tmp_path / "there", away.__getitem__)
    assert Path(found.preset.file.backbone.pretrained).read_bytes() == content


def test_tasks_arrive_with_their_images_and_can_be_written_to(tmp_path: Path) -> None:
    tasks = jobs_of(write_preset(tmp_path), ["madry_at"])[1]
    packed = [PackedTask.of(task) for task in tasks]
    for task in packed:
        for arrays in task.parts.values():
            for array in arrays:
                # As Ray hands them out.
                array.flags.writeable = False
    for before, after in zip(tasks, tasks_from(packed, "cpu"), strict=True):
        assert (after.id, after.name, after.classes, after.fingerprint) == (
            before.id,
            before.name,
            before.classes,
            before.fingerprint,
        )
        for name in ("train", "validation", "test"):
            one, other = getattr(before, name), getattr(after, name)
            assert torch.equal(one.images, other.images)
            assert torch.equal(one.labels, other.labels)
            assert torch.equal(one.samples, other.samples)
            kept = packed[before.id].parts[name][0].copy()
            other.images.add_(1)
            # Other jobs of the node have the same arrays.
            assert np.array_equal(kept, packed[before.id].parts[name][0])
