"""Stored adversarial images are what they say: inside the ball, in the box, and still classified wrong."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from benchmark.cli import main
from benchmark.evaluating.kept_images import verify_images
from benchmark.learning.restoring import restored_method
from benchmark.planning.jobs import make_jobs
from benchmark.planning.machine import Machine
from benchmark.planning.presets import load_preset
from results import load
from results.adversarial import read_images
from results.files import StoreError
from scenarios.base import SourceOptions
from tests.tiny import run_tiny, write_preset

KEPT = {"keep_images": True, "checks": "none", "final": [{"attack": "pgd", "steps": 5, "step_size": "eps/2"}]}


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory):
    """A run with its images: the folder, the classifiers after the last task, the tasks."""
    folder = tmp_path_factory.mktemp("kept")
    # Trained long enough, and not against attacks: unchanged images are right, attacked ones wrong.
    changes = {"evaluation": KEPT, "recipe": {"epochs": 6}}
    assert run_tiny(folder, rows=[{"method": "standard"}], **changes) == 0
    preset = load_preset(str(write_preset(folder, methods=[{"method": "standard"}], **changes)))
    machine = Machine(folder / "runs", folder / "published", SourceOptions(), "cpu", 1, 1, "")
    tasks = preset.scenario(SourceOptions()).load()
    (job,) = make_jobs(preset, preset.rows, tasks, SourceOptions())
    (run,) = load(folder / "runs", None).runs
    return run, restored_method(job, machine, "task-001"), tasks


def parts(run, turn: int = 1):
    return sorted((run.directory / "adversarial").glob(f"*.{turn:03d}.*.safetensors"))


def test_every_broken_image_of_every_evaluation_is_there_and_holds(kept):
    run, method, tasks = kept
    assert len(parts(run)) == 2 * 3  # clean, pgd-2 and pgd-5 on each of two tasks
    for path in parts(run):
        _, notes = read_images(path)
        task = tasks[int(notes["task"])]
        found = verify_images(path, method.classifier(task.id), task)
        assert found.problems == ()
        name = notes["attack"] if notes["attack"] == "clean" else notes["attack"] + " any"
        rows = run.predictions[
            (run.predictions["attack"] == name)
            & (run.predictions["task"] == task.id)
            & (run.predictions["after_task"] == 1)
        ]
        assert found.images == (rows["label"] != rows["predicted"]).sum()


def test_most_images_are_whole_bytes_and_rounding_only_shrinks_the_change(kept):
    run, _, tasks = kept
    shares = []
    for path in parts(run):
        images, notes = read_images(path)
        whole = images.images[images.in_bytes] * 255
        assert torch.equal(whole, whole.round())
        shares += images.in_bytes.tolist()
        if notes["attack"] == "clean":
            order = images.samples.argsort()
            test = tasks[int(notes["task"])].test
            mine = torch.isin(test.samples, images.samples)
            by_sample = test.samples[mine].argsort()
            assert torch.equal((images.images[order] * 255).round().to(torch.uint8), test.images[mine][by_sample])
    assert sum(shares) > 0.9 * len(shares)


def spoil(path: Path, target: Path, change) -> Path:
    tensors = load_file(path)
    from safetensors import safe_open

    with safe_open(path, framework="pt") as file:
        notes = file.metadata()
    change(tensors, notes)
    save_file(tensors, target, notes)
    return target


def test_what_does_not_hold_is_named(kept, tmp_path):
    run, method, tasks = kept
    # The task that was learned last: its unchanged images are mostly right.
    task = tasks[1]
    wanted = {"attack": "pgd-5 linf 51/255 a=25.5/255", "task": "1"}
    path = next(path for path in parts(run) if wanted.items() <= read_images(path)[1].items())
    classifier = method.classifier(task.id)

    def far(tensors, notes):
        tensors["images_uint8"] = 255 - tensors["images_uint8"]

    def harmless(tensors, notes):
        found = {int(s): i for i, s in enumerate(task.test.samples.tolist())}
        for kind in ("uint8", "float32"):
            rows = [found[int(s)] for s in tensors[f"samples_{kind}"]]
            clean = task.test.images[rows]
            tensors[f"images_{kind}"] = clean if kind == "uint8" else clean.float() / 255

    def other(tensors, notes):
        notes["classifier"] = "0" * 64

    def stranger(tensors, notes):
        tensors["samples_uint8"] = tensors["samples_uint8"] + 100_000

    def unnamed(tensors, notes):
        del notes["eps"]

    assert any(
        "more than eps" in text for text in verify_images(spoil(path, tmp_path / "a", far), classifier, task).problems
    )
    problems = verify_images(spoil(path, tmp_path / "b", harmless), classifier, task).problems
    assert any("are classified right" in text for text in problems)
    problems = verify_images(spoil(path, tmp_path / "c", other), classifier, task).problems
    assert problems == ("the classifier is not the one that was attacked",)
    with pytest.raises(StoreError, match="is not in the test set"):
        verify_images(spoil(path, tmp_path / "d", stranger), classifier, task)
    with pytest.raises(StoreError, match="does not name its attack and classifier"):
        verify_images(spoil(path, tmp_path / "e", unnamed), classifier, task)
    (tmp_path / "f").write_bytes(path.read_bytes()[:-10])
    with pytest.raises(StoreError, match="not readable as adversarial images"):
        verify_images(tmp_path / "f", classifier, task)


def verify(run, capsys, *more: str) -> tuple[int, str, str]:
    folder = run.directory.parents[1]
    code = main(["verify", *more, "--results", str(run.directory.parent), "--preset", str(folder / "tiny.yaml")])
    shown = capsys.readouterr()
    return code, shown.out, shown.err


def test_a_run_is_verified_without_an_attack(kept, capsys, monkeypatch):
    run, _, _ = kept
    for attack in ("clean", "fgsm", "noise", "pgd"):
        monkeypatch.setattr(f"attacks.{attack}.walk_lanes", None)
    code, shown, _ = verify(run, capsys, run.hash[:8])
    assert code == 0, shown
    assert f"in {len(parts(run)) + len(parts(run, 0))} parts" in shown
    assert "everything holds" in shown
    assert verify(run, capsys, "standard")[0] == 0


def test_an_exchanged_file_is_found_and_nothing_is_changed(kept, capsys):
    run, _, _ = kept
    first, second = parts(run)[0], next(p for p in parts(run) if read_images(p)[1]["attack"].startswith("pgd-5"))
    whole = second.read_bytes()
    second.write_bytes(whole[:-7])
    try:
        code, shown, _ = verify(run, capsys, "standard")
        assert code == 1
        assert "not readable as adversarial images" in " ".join(shown.split())
        assert "1 thing does not hold" in shown
    finally:
        second.write_bytes(whole)
    assert first.exists()


def test_a_run_that_is_not_there_is_one_line(kept, capsys):
    run, _, _ = kept
    code, _, error = verify(run, capsys, "zzz")
    assert code == 2
    assert "run 'zzz': no such run" in error
    assert error.count("\n") == 1


def held(run) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted((run.directory / "adversarial").glob("*.safetensors"))}


@pytest.mark.parametrize("rows", [[{"method": "standard"}], [{"method": "single_task_standard"}]])
def test_images_can_be_had_of_a_run_that_is_there_without_training_and_are_made_once(tmp_path, rows):
    """`single_task_standard`'s classifiers do not change: what is copied from another turn has its images copied too."""
    without = {**KEPT, "keep_images": False}
    assert run_tiny(tmp_path, rows=rows, evaluation=without) == 0
    (before,) = load(tmp_path / "runs", None).runs
    assert held(before) == {}
    assert run_tiny(tmp_path, rows=rows, evaluation=KEPT) == 0
    (after,) = load(tmp_path / "runs", None).runs
    assert after.training.equals(before.training)
    cell = ["after_task", "task", "attack", "sample"]
    old, new = (
        run.predictions.astype({"attack": str}).sort_values(cell)[[*cell, "predicted"]] for run in (before, after)
    )
    assert old.reset_index(drop=True).equals(new.reset_index(drop=True))
    # Two attacks on task 0 after task 0, three on each of two tasks after task 1.
    assert len(held(after)) == 2 + 2 * 3
    times = {path: path.stat().st_mtime_ns for path in (after.directory / "adversarial").iterdir()}
    assert run_tiny(tmp_path, rows=rows, evaluation=KEPT) == 0
    assert {path: path.stat().st_mtime_ns for path in (after.directory / "adversarial").iterdir()} == times


def parts_of(run, attack: str) -> list[int]:
    """The number of samples in each part of an attack on task 0 after the last task."""
    table = run.evaluations
    rows = table[(table["attack"] == attack) & (table["task"] == 0) & (table["after_task"] == 1)]
    return sorted(rows["samples"])


def test_what_is_measured_again_in_other_parts_stands_once(tmp_path):
    rows, pgd_2 = [{"method": "standard"}], "pgd-2 linf 51/255 a=12.75/255"
    some = {"attack": "pgd", "steps": 5, "step_size": "eps/4", "samples": 20}
    # The first twenty images are attacked together with PGD-5, the others by PGD-2 alone: two parts.
    assert run_tiny(tmp_path, rows=rows, evaluation={"keep_images": True, "checks": "none", "final": [some]}) == 0
    (run,) = load(tmp_path / "runs", None).runs
    size = int(run.tasks["test"][0])
    assert parts_of(run, pgd_2) == [20, size - 20]
    # Without their images they are measured again, PGD-2 alone: one part, in the place of two.
    shutil.rmtree(run.directory / "adversarial")
    assert run_tiny(tmp_path, rows=rows, evaluation={"keep_images": True, "checks": "none", "final": []}) == 0
    (run,) = load(tmp_path / "runs", None).runs
    assert parts_of(run, pgd_2) == [size]
    assert not run.predictions.duplicated(["after_task", "task", "attack", "sample"]).any()


def test_a_smaller_demand_with_images_takes_nothing_from_a_larger_one_without(tmp_path):
    """Samples without their images are measured again; of the others nothing is lost, whatever the parts are called."""
    rows = [{"method": "standard"}]
    many, few = ({"attack": "fgsm", "samples": samples} for samples in (40, 10))
    assert run_tiny(tmp_path, rows=rows, evaluation={"keep_images": False, "checks": "none", "final": [many]}) == 0
    (before,) = load(tmp_path / "runs", None).runs
    fgsm = next(name for name in before.evaluations["attack"] if name.startswith("fgsm"))
    assert parts_of(before, fgsm) == [40]
    assert len(before.predictions), "read now"
    assert run_tiny(tmp_path, rows=rows, evaluation={"keep_images": True, "checks": "none", "final": [few]}) == 0
    (after,) = load(tmp_path / "runs", None).runs
    assert parts_of(after, fgsm) == [10, 30]
    cell = ["after_task", "task", "attack", "sample"]
    old, new = (
        run.predictions.astype({"attack": str, "evaluation_id": str}).sort_values(cell, ignore_index=True)
        for run in (before, after)
    )
    assert old.equals(new)
    # What is demanded once more with all its images is one part again.
    assert run_tiny(tmp_path, rows=rows, evaluation={"keep_images": True, "checks": "none", "final": [many]}) == 0
    (again,) = load(tmp_path / "runs", None).runs
    assert sum(parts_of(again, fgsm)) == 40
    assert not again.predictions.duplicated(cell).any()
