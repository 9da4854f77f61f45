"""`verify --submit`: images of somebody else's attack are refused with one line, or kept, and then they count."""

from __future__ import annotations

import json
import shutil
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import save_file

from benchmark.cli import main
from benchmark.commands.verify.submit import SubmissionTarget, file, open_target
from benchmark.commands.verify.submit.file import read_submission
from benchmark.errors import ConfigError
from benchmark.planning.options import RunOptions
from reports.boards.building import build_boards
from reports.numbers.metrics import CLEAN, WORST
from reports.tables.words import label_of
from reports.write import write_report
from results import load
from tests.tiny import run_tiny

EPS = 51 / 255
WEAK = {
    "checks": "none",
    "matrix": [{"attack": "clean"}, {"attack": "pgd", "steps": 1, "step_size": "eps/100"}],
    "final": [],
}
"""An evaluation that leaves something to find."""


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with two runs of the tiny preset."""
    folder = tmp_path_factory.mktemp("submitted")
    rows = [{"method": "standard"}, {"method": "madry_at"}]
    assert run_tiny(folder, rows=rows, evaluation=WEAK, recipe={"epochs": 6}) == 0
    return folder


def options(folder: Path) -> RunOptions:
    return RunOptions(str(folder / "tiny.yaml"), results=folder / "runs", device="cpu")


def target(folder: Path, task: str = "1", name: str = "standard") -> SubmissionTarget:
    return open_target(name, task, options(folder))


def stronger(at: SubmissionTarget) -> tuple[np.ndarray, np.ndarray]:
    """Thirty of a task's test images after one large step along the gradient's sign, and their ids."""
    test = at.task.test
    images = (test.images[:30].float() / 255).requires_grad_()
    F.cross_entropy(at.classifier(images), test.labels[:30]).backward()
    assert images.grad is not None
    attacked = (images.detach() + EPS * images.grad.sign()).clamp(0, 1)
    return attacked.numpy(), test.samples[:30].numpy()


def command(folder: Path, *words: str, name: str = "standard") -> int:
    places = ["--results", str(folder / "runs"), "--preset", str(folder / "tiny.yaml")]
    return main(["verify", name, *words, *places])


def submit(folder: Path, file: Path, capsys, task: str = "1", name: str = "standard") -> tuple[int, str]:
    code = command(folder, "--submit", str(file), "--task", task, name=name)
    shown = capsys.readouterr()
    return code, shown.out + shown.err


def hashes(folder: Path) -> dict[str, str]:
    files = sorted(path for path in (folder / "runs").rglob("*") if path.is_file() and ".locks" not in path.parts)
    return {str(path.relative_to(folder)): sha256(path.read_bytes()).hexdigest() for path in files}


def worst(folder: Path, label: str = "standard"):
    (board,) = build_boards(load(folder / "runs", None))
    return next(row for row in board.rows if row.label == label)


def test_what_is_newly_broken_is_counted_kept_and_part_of_the_worst_case(folder, capsys, tmp_path):
    at = target(folder)
    images, samples = stronger(at)
    np.savez(tmp_path / "a.npz", images=images, samples=samples, name="one large step", author="A. Reader")
    before = worst(folder)
    with torch.no_grad():
        wrong = at.classifier(torch.from_numpy(images)).argmax(1) != at.task.test.labels[:30]
    newly = {int(s) for s in samples[wrong.numpy()]} & at.standing
    assert newly, "the attack finds nothing: the test says nothing"
    code, shown = submit(folder, tmp_path / "a.npz", capsys)
    assert code == 0, shown
    assert f"{len(newly)} newly broken of 30 images" in shown
    after = worst(folder)
    size = len(at.task.test)
    assert after.acc == pytest.approx(before.acc - len(newly) / size / 2)  # the mean over two tasks
    assert after.measures.value(f"samples {WORST}") == before.measures.value(f"samples {WORST}")
    assert after.measures.value(f"ACC_lopezpaz2017 {CLEAN}") == before.measures.value(f"ACC_lopezpaz2017 {CLEAN}")
    assert label_of(after) == "standard (submitted images)"
    # It is no attack that the other row lacks, and no cell that anybody demanded.
    assert worst(folder, "madry_at").acc == before_of(folder, "madry_at")
    assert "is without" not in worst(folder, "madry_at").reason
    assert after.verdict == before.verdict
    # The stored submission is verified from now on.
    assert command(folder) == 0
    assert "everything holds" in capsys.readouterr().out


def before_of(folder: Path, label: str) -> float:
    from reports.numbers.metrics import accuracy

    row = worst(folder, label)
    outcomes = row.seeds[0].evidence.outcomes
    assert not any("submitted" in name for name in outcomes.correct)
    return float(np.mean([accuracy(outcomes.vector(WORST, outcomes.last, j)) for j in range(outcomes.tasks)]))


def test_the_same_file_again_changes_nothing_and_another_run_of_the_command_keeps_it(folder, capsys, tmp_path):
    images, samples = stronger(target(folder))
    np.savez(tmp_path / "a.npz", images=images, samples=samples)
    assert submit(folder, tmp_path / "a.npz", capsys)[0] == 0
    held, acc = hashes(folder), worst(folder).acc
    code, shown = submit(folder, tmp_path / "a.npz", capsys)
    assert code == 0
    assert "was submitted before" in shown
    assert "title=a" in shown
    assert hashes(folder) == held
    # `run` finds everything done, and a longer protocol leaves the submission where it is.
    rows = [{"method": "standard"}, {"method": "madry_at"}]
    assert run_tiny(folder, rows=rows, evaluation=WEAK, recipe={"epochs": 6}) == 0
    more = {**WEAK, "final": [{"attack": "fgsm"}]}
    assert run_tiny(folder, rows=rows, evaluation=more, recipe={"epochs": 6}) == 0
    now = hashes(folder)
    measured = ("predictions", "evaluations", "adversarial", "checkpoints")
    before = {name: held[name] for name in held if Path(name).parts[2] in measured}
    assert any("adversarial" in name for name in before)
    assert before.items() <= now.items()
    assert worst(folder).acc <= acc
    assert any(a.kind == "submitted" for a in worst(folder).seeds[0].evidence.attacks.values())


def test_submissions_of_two_tasks_and_of_other_formats_add_up(folder, capsys, tmp_path):
    before = worst(folder).acc
    for task in ("0", "1"):
        at = target(folder, task)
        images, samples = stronger(at)
        whole = np.clip(
            at.task.test.images[:30].numpy() + np.sign(images - at.task.test.images[:30].numpy() / 255) * 51, 0, 255
        )
        tensors = {"images": torch.from_numpy(whole.astype(np.uint8)), "samples": torch.from_numpy(samples)}
        notes = {"name": "whole pixels", "classifier": at.fingerprint}
        save_file(tensors, tmp_path / f"{task}.safetensors", notes)
        assert submit(folder, tmp_path / f"{task}.safetensors", capsys, task)[0] == 0
    assert worst(folder).acc < before
    write_report(load(folder / "runs", None), tmp_path / "report")
    table = (tmp_path / "report" / "tables" / "tiny__sweep.csv").read_text()
    assert table.count("submitted linf 51/255 title=whole-pixels file=") == 2
    assert "submitted images" in (tmp_path / "report" / "index.html").read_text()
    assert command(folder) == 0


def test_a_submission_never_makes_anything_better(folder, capsys, tmp_path):
    """Images that turn wrong answers into right ones: the unchanged image is in the ball too."""
    at = target(folder, "0")
    images = at.task.test.images.float().div(255).requires_grad_()
    F.cross_entropy(at.classifier(images), at.task.test.labels).backward()
    assert images.grad is not None
    kind = (images.detach() - EPS * images.grad.sign()).clamp(0, 1).numpy()
    np.savez(tmp_path / "kind.npz", images=kind, samples=at.task.test.samples.numpy())
    before = worst(folder).acc
    code, shown = submit(folder, tmp_path / "kind.npz", capsys, "0")
    assert code == 0
    assert "0 newly broken" in shown
    assert worst(folder).acc == before


def bad(what: str, at: SubmissionTarget) -> dict[str, np.ndarray]:
    images, samples = stronger(at)
    given: dict[str, np.ndarray] = {"images": images, "samples": samples}
    if what == "outside":
        given["images"] = np.clip(images + np.float32(0.01) * np.sign(images - 0.5), 0, 1)
    elif what == "no box":
        given["images"] = images * 255
    elif what == "nan":
        given["images"][3, 0, 0, 0] = np.nan
    elif what == "repeated":
        given["samples"] = np.concatenate([samples[:-1], samples[:1]])
    elif what == "stranger":
        given["samples"] = samples + 10_000
    elif what == "fewer":
        given["samples"] = samples[:-1]
    elif what == "shape":
        given["images"] = images[:, :, :4]
    elif what == "flat":
        given["images"] = images.reshape(30, -1)
    elif what == "none":
        given = {"images": images[:0], "samples": samples[:0]}
    elif what == "no pixels":
        given["images"] = images[:, :, :, :0]
    elif what == "whole":
        given["images"] = (images * 255).astype(np.int64)
    elif what == "float samples":
        given["samples"] = samples.astype(np.float32)
    elif what == "unnamed":
        del given["samples"]
    elif what == "other classifier":
        given["classifier"] = np.array("0" * 64)
    elif what == "objects":
        given["images"] = np.array([{"a": 1}], dtype=object)
    return given


REFUSED = {
    "outside": "images are outside the ball of the ranking (linf 51/255); sample",
    "no box": "floats are in [0, 1], whole numbers of 0..255 are uint8",
    "nan": "images hold NaN or infinity (1 of 30)",
    "repeated": "samples: 0 stands 2 times",
    "stranger": "sample 10000 is not in the test set of task 1",
    "fewer": "30 images and 29 samples",
    "shape": "images of shape (1, 4, 8); those of task 1 are (1, 8, 8)",
    "flat": "images of shape (30, 64); expected (N, C, H, W)",
    "none": "expected (N, C, H, W) with N of 1 or more",
    "no pixels": "images of shape (30, 1, 8, 0); expected (N, C, H, W)",
    "whole": "images are int64; expected uint8, or float in [0, 1]",
    "float samples": "samples are float32 of shape (30,); expected whole numbers (N,)",
    "unnamed": "holds no samples (it holds images)",
    "other classifier": "made for the classifier 000000000000; that of task 1 after the last task is",
    "objects": "not readable (Object arrays cannot be loaded when allow_pickle=False)",
}


@pytest.mark.parametrize("what", REFUSED)
def test_a_file_that_is_wrong_is_refused_in_one_line_and_nothing_is_changed(original, capsys, tmp_path, what):
    np.savez(tmp_path / "a.npz", **bad(what, target(original)))
    before = hashes(original)
    code, shown = submit(original, tmp_path / "a.npz", capsys)
    assert code == 2
    assert REFUSED[what] in shown
    assert shown.startswith("error: --submit ")
    assert shown.count("\n") == 1
    assert hashes(original) == before


def test_images_of_eight_bits_of_floating_point_are_refused(original, capsys, tmp_path):
    images, samples = stronger(target(original))
    eight = torch.from_numpy(images).to(torch.float8_e4m3fn)
    save_file({"images": eight, "samples": torch.from_numpy(samples)}, tmp_path / "a.safetensors")
    code, shown = submit(original, tmp_path / "a.safetensors", capsys)
    assert code == 2
    assert "images are float8_e4m3fn; expected uint8, or float in [0, 1]" in shown


def test_an_archive_that_stands_for_more_than_is_read_is_refused_unread(tmp_path, monkeypatch):
    np.savez_compressed(tmp_path / "a.npz", images=np.zeros((4, 1, 50, 50), np.float32), samples=np.arange(4))
    assert len(read_submission(tmp_path / "a.npz").images) == 4
    monkeypatch.setattr(file, "MOST_BYTES", 1000)
    with pytest.raises(
        ConfigError, match="an array of 40,128 bytes, more than the 1,000 that are read; submit it in parts"
    ):
        read_submission(tmp_path / "a.npz")


@pytest.mark.parametrize("name", ["a.npz", "a.safetensors"])
def test_truncated_and_missing_files_are_refused(original, capsys, tmp_path, name):
    images, samples = stronger(target(original))
    path = tmp_path / name
    if path.suffix == ".npz":
        np.savez(path, images=images, samples=samples)
    else:
        save_file({"images": torch.from_numpy(images), "samples": torch.from_numpy(samples)}, path)
    path.write_bytes(path.read_bytes()[:-200])
    before = hashes(original)
    code, shown = submit(original, path, capsys)
    assert code == 2
    assert f"--submit {path}: not readable" in shown
    assert submit(original, tmp_path / f"b{path.suffix}", capsys)[0] == 2
    assert "a .npz or a .safetensors file is read" in submit(original, tmp_path / "a.pt", capsys)[1]
    assert hashes(original) == before


def test_tasks_runs_and_checkpoints_that_are_not_there_are_refused(folder, capsys, tmp_path):
    images, samples = stronger(target(folder))
    file = tmp_path / "a.npz"
    np.savez(file, images=images, samples=samples)
    assert "--task 7: no such task; valid: 0 (" in submit(folder, file, capsys, "7")[1]
    assert "no such run" in submit(folder, file, capsys, name="nobody")[1]
    assert command(folder, "--task", "1") == 2
    assert "--submit FILE and --task T go together" in capsys.readouterr().err
    run = next(run for run in load(folder / "runs", None).runs if run.label == "standard")
    first, last = (run.directory / "checkpoints" / f"task-00{turn}.json" for turn in (0, 1))
    whole = last.read_bytes()
    last.write_bytes(first.read_bytes())
    before = hashes(folder)
    code, shown = submit(folder, file, capsys)
    assert code == 2
    assert "the checkpoint is not the classifier that was evaluated" in shown
    manifest = json.loads(whole)
    names = list(manifest["tensors"])
    renamed = {f"{name}x": key for name, key in manifest["tensors"].items()}
    for change, says in (
        ({"values": {**manifest["values"], "method": 3}}, "task-001.json: holds no state of a method"),
        ({"tensors": renamed}, "task-001.json: not a state of this method ("),
        (
            {"tensors": dict.fromkeys(names, manifest["tensors"][names[0]])},
            "task-001.json: not a state of this method (",
        ),
    ):
        last.write_text(json.dumps({**manifest, **change}))
        code, shown = submit(folder, file, capsys)
        assert code == 2
        assert says in shown
    last.write_bytes(whole)
    other = next(run for run in load(folder / "runs", None).runs if run.label == "madry_at")
    shutil.rmtree(other.directory / "checkpoints")
    before = hashes(folder)
    code, shown = submit(folder, file, capsys, name="madry_at")
    assert code == 2
    assert "holds no checkpoints, so nothing can be scored; make it here first with `run --preset tiny" in shown
    assert hashes(folder) == before


def test_a_published_record_is_refused_with_the_command_that_makes_it(original, capsys, tmp_path):
    images, samples = stronger(target(original))
    np.savez(tmp_path / "a.npz", images=images, samples=samples)
    (tmp_path / "runs").mkdir()
    # By its hash: another published preset has a row of this label too.
    code = main(
        ["verify", "009a585a", "--submit", str(tmp_path / "a.npz"), "--task", "0", "--results", str(tmp_path / "runs")]
    )
    assert code == 2
    said = "`run --preset cifar100-cpu --methods packnet --seeds 0 --force`"
    assert said in capsys.readouterr().err
