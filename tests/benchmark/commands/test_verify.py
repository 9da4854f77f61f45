"""`verify` finds what was changed by hand, exchanged or truncated, names it, and changes nothing itself."""

from __future__ import annotations

import json
import shutil
from hashlib import sha256
from pathlib import Path

import pandas as pd
import pytest

from benchmark.cli import main
from benchmark.commands.verify.findings import Problems
from results import load
from results.adversarial import AdversarialImages, read_images, write_images
from results.files import canonical_json
from results.store import RunStore
from tests.benchmark.edited_records import EDITS, edit, other_steps, part, relabel, set_to
from tests.conftest import REAL_CIFAR100, REPOSITORY
from tests.tiny import run_tiny

PUBLISHED = REPOSITORY / "results" / "published" / "cifar100-cpu"
KEPT = {"keep_images": True, "checks": "none"}


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a run of the tiny preset that keeps its images."""
    folder = tmp_path_factory.mktemp("verified")
    assert run_tiny(folder, rows=[{"method": "standard"}], evaluation=KEPT, recipe={"epochs": 6}) == 0
    return folder


@pytest.fixture
def folder(original: Path, tmp_path: Path) -> Path:
    """A copy that a test may spoil."""
    shutil.copytree(original, tmp_path / "copy")
    return tmp_path / "copy"


def the_run(folder: Path) -> Path:
    (directory,) = [path for path in (folder / "runs").iterdir() if not path.name.startswith(".")]
    return directory


def hashes(folder: Path) -> dict[str, str]:
    """Every file below `folder` with its content."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): sha256(path.read_bytes()).hexdigest() for path in files}


def verify(folder: Path, capsys: pytest.CaptureFixture[str], name: str = "standard") -> tuple[int, str]:
    """Exit code and all that was shown; the store is what it was before."""
    before = hashes(folder / "runs")
    preset = ["--preset", str(folder / "tiny.yaml")]
    code = main(["verify", name, "--results", str(folder / "runs"), *preset])
    shown = capsys.readouterr()
    assert hashes(folder / "runs") == before
    return code, shown.out + shown.err


def test_an_untouched_run_holds_and_is_verified_in_a_line_per_group(folder, capsys):
    code, shown = verify(folder, capsys)
    assert code == 0, shown
    assert "everything holds" in shown
    for group in (
        "identity",
        "presets",
        "tasks",
        "files",
        "evaluations",
        "predictions",
        "checkpoints",
        "classifiers",
        "images",
        "verdicts",
    ):
        assert f"\n  {group}: " in shown
    assert "not checked" not in shown
    assert "2 checkpoints" in shown
    assert "3 classifiers" in shown


@pytest.mark.parametrize("method", ["packnet", "joint_at", "madry_at"])
def test_runs_of_every_kind_of_method_hold(tmp_path, capsys, method):
    """One that does not forget and keeps its last checkpoint alone, one that learns all at once, one of neither."""
    assert run_tiny(tmp_path, [method], evaluation={"checks": "none"}) == 0
    code, shown = verify(tmp_path, capsys, method)
    assert code == 0, shown


def test_what_checks_and_transfers_add_to_a_run_holds_too(tmp_path, capsys):
    again = {"attack": "pgd", "steps": 2, "step_size": "eps/4", "from": ["earlier"]}
    assert run_tiny(tmp_path, rows=[{"method": "madry_at"}], evaluation={"final": [{"attack": "fgsm"}, again]}) == 0
    code, shown = verify(tmp_path, capsys, "madry_at")
    assert code == 0, shown


@pytest.mark.parametrize("what", EDITS)
def test_a_record_that_was_edited_by_hand_is_found(folder, capsys, what):
    table, attack, change, expected = EDITS[what]
    edit(part(the_run(folder), table, attack), change)
    code, shown = verify(folder, capsys)
    assert code == 1
    assert f"    - {expected}" in shown


def test_an_edit_that_is_undone_holds_again(folder, capsys):
    """Reading and writing a table as these tests do is not what is found."""
    for table in ("predictions", "evaluations"):
        edit(part(the_run(folder), table), lambda frame: None)
    assert verify(folder, capsys)[0] == 0


def test_an_evaluation_that_was_rewritten_whole_names_another_part(folder, capsys):
    """With a new id, spec, name and everything: the part's name is still that of what was measured."""
    from benchmark.evaluating.fingerprints import evaluation_id

    def change(frame: pd.DataFrame) -> None:
        other_steps(frame)
        specification = {**json.loads(frame.loc[0, "specification"])}
        frame["specification"] = canonical_json(specification)
        what = {"attack": specification, "task": frame.loc[0, "task_fingerprint"], "seed": 0, "precision": "fp32"}
        frame["evaluation_id"] = evaluation_id(frame.loc[0, "classifier"], what)

    edit(part(the_run(folder), "evaluations"), change)
    code, shown = verify(folder, capsys)
    assert code == 1
    assert "a part that holds other things than its name says: evaluations/" in shown
    assert "predictions without their evaluation" in shown


@pytest.mark.parametrize("table", ["predictions", "evaluations", "facts", "training"])
def test_truncated_parts_are_named(folder, capsys, table):
    path = sorted((the_run(folder) / table).glob("*.parquet"))[0]
    path.write_bytes(path.read_bytes()[:-30])
    code, shown = verify(folder, capsys)
    assert code == 1
    assert "not readable as parquet" in shown
    assert f"{table}/{path.name}" in shown


def test_parts_without_their_other_half_and_under_other_names_are_named(folder, capsys):
    directory = the_run(folder)
    part(directory, "evaluations", "fgsm").unlink()
    code, shown = verify(folder, capsys)
    assert code == 1
    assert "predictions without their evaluation" in shown
    path = part(directory, "predictions", "clean", task=1)
    path.rename(path.with_name("mine.parquet"))
    assert "a part that is named by no evaluation: predictions/mine.parquet" in verify(folder, capsys)[1]
    path = part(directory, "predictions", "clean")
    path.rename(path.with_name(path.name.replace(".001.", ".000.")))
    code, shown = verify(folder, capsys)
    assert code == 1
    assert "an evaluation without its predictions" in shown
    assert "a part that holds other things than its name says: predictions/" in shown


def set_in(path: Path, *keys: str, value: object) -> None:
    content = json.loads(path.read_text())
    place = content
    for key in keys[:-1]:
        place = place[key]
    place[keys[-1]] = value
    path.write_text(json.dumps(content))


def test_a_configuration_that_was_edited_is_found(folder, capsys):
    config = the_run(folder) / "config.json"
    whole = config.read_text()
    set_in(config, "identity", "recipe", "epochs", value=200)
    code, shown = verify(folder, capsys)
    assert code == 1
    assert "the identity hashes to" in shown
    assert "the row's hash is not that of the identity" in shown
    assert "the identity is not what the preset says: recipe.epochs" in shown
    config.write_text(whole)
    set_in(config, "identity", "row", value="0" * 64)
    assert "the row's hash is not what the preset says" in verify(folder, capsys)[1]
    config.write_text(whole)
    set_in(config, "protocols", "tiny", "ranking_eps", value="1/255")
    code, shown = verify(folder, capsys)
    assert code == 1
    assert "preset tiny demands something else: ranking_eps" in shown
    config.write_text(whole)
    content = json.loads(whole)
    del content["protocols"]["tiny"]["final"]
    config.write_text(json.dumps(content))
    assert "preset tiny demands something else: final" in verify(folder, capsys)[1]
    set_in(config, "protocols", "tiny", value=[])
    code, shown = verify(folder, capsys)
    assert code == 1
    assert "a demand that cannot be read: tiny" in shown
    config.write_text(whole)
    set_in(config, "protocols", "tiny", "samples", "fgsm linf 51/255", value="many")
    assert "verdicts cannot be derived from these records: tiny" in verify(folder, capsys)[1]
    config.write_text(whole)
    set_in(config, "identity", "hash", value=7)
    code, shown = verify(folder, capsys, the_run(folder).name)
    assert code == 2
    assert "hash, row, method and label of the identity are text" in shown
    config.write_text(whole)
    moved = the_run(folder).rename(the_run(folder).with_name("0" * 16))
    code, shown = verify(folder, capsys)
    assert code == 1
    assert "the directory is not named by the identity" in shown
    config = moved / "config.json"
    config.write_text(whole[:-40])
    code, shown = verify(folder, capsys, the_run(folder).name[:8])
    assert code == 2
    assert "config.json: not readable as JSON" in shown


def test_tasks_that_were_edited_and_presets_that_changed_are_found(folder, capsys):
    edit(the_run(folder) / "tasks.parquet", set_to("fingerprint", "0" * 64))
    code, shown = verify(folder, capsys)
    assert code == 1
    assert "fingerprints of tasks that are not those of the identity" in shown
    assert "a task that is not that of the data set: task 0 (fingerprint)" in shown
    edit(the_run(folder) / "tasks.parquet", lambda frame: frame[::-1])
    shown = verify(folder, capsys)[1]
    assert "tasks.parquet does not hold each task once, in order" in shown
    assert "other tasks than the identity says" in shown
    preset = folder / "tiny.yaml"
    preset.write_text(preset.read_text().replace("epochs: 6", "epochs: 7"))
    code, shown = verify(folder, capsys)
    assert code == 1
    assert "preset tiny does not make this run any more: its standard differs in recipe.epochs" in shown


def blobs(directory: Path) -> list[Path]:
    return sorted((directory / "checkpoints" / "blobs").glob("*.safetensors"), key=lambda path: path.stat().st_size)


def test_exchanged_missing_and_truncated_checkpoints_are_found(folder, capsys):
    directory = the_run(folder)
    first, second = directory / "checkpoints" / "task-000.json", directory / "checkpoints" / "task-001.json"
    whole = first.read_text(), second.read_text()
    first.write_text(whole[1])
    second.write_text(whole[0])
    code, shown = verify(folder, capsys)
    assert code == 1
    assert "the checkpoint is not the classifier that was measured: task 0 after task 0" in shown
    assert "a clean prediction that the checkpoint does not make" in shown
    first.unlink()
    second.write_text(whole[1])
    code, shown = verify(folder, capsys)
    assert code == 1
    assert "a checkpoint that is missing: task-000.json" in shown
    first.write_text("[]")
    code, shown = verify(folder, capsys)
    assert code == 1
    assert "a manifest that cannot be read: task-000.json" in shown
    first.write_text(whole[0])
    largest, other = blobs(directory)[-1], blobs(directory)[-2]
    swapped = largest.read_bytes(), other.read_bytes()
    largest.write_bytes(swapped[1])
    other.write_bytes(swapped[0])
    code, shown = verify(folder, capsys)
    assert code == 1
    assert "a blob whose content is not what its name says" in shown
    assert "a checkpoint that makes no classifier" in shown
    largest.write_bytes(swapped[0][:-8])
    other.unlink()
    code, shown = verify(folder, capsys)
    assert code == 1
    assert "a blob that cannot be read" in shown
    assert "a blob that is missing" in shown


def twice(kept: AdversarialImages) -> AdversarialImages:
    again = [*range(len(kept.samples)), 0]
    return AdversarialImages(kept.attacked, kept.samples[again], kept.images[again], kept.in_bytes[again])


def test_images_that_lost_their_evaluation_or_their_samples_are_found(folder, capsys):
    directory = the_run(folder)
    image = directory / "adversarial" / f"{part(directory, 'predictions').stem}.safetensors"
    other = directory / "adversarial" / f"{part(directory, 'predictions', task=1).stem}.safetensors"
    mine = image.read_bytes()
    image.write_bytes(other.read_bytes())
    code, shown = verify(folder, capsys)
    assert code == 1
    assert "images that are not what their evaluation says" in shown
    image.write_bytes(mine)
    for change, expected in (
        (
            lambda kept: kept.among(kept.samples.tolist()[1:]),
            "images of other samples than the predictions say are wrong",
        ),
        (twice, "a sample with two images"),
    ):
        kept, notes = read_images(image)
        write_images(image, change(kept), notes)
        code, shown = verify(folder, capsys)
        assert code == 1
        assert expected in shown
        image.write_bytes(mine)
    for notes, expected in (
        ({"attack": "pgd"}, "images that do not say what they are of"),
        ({"after_task": "1", "task": "9"}, "images of a task that is not there"),
    ):
        write_images(image, kept, notes)
        code, shown = verify(folder, capsys)
        assert code == 1
        assert expected in shown
        image.write_bytes(mine)
    image.rename(image.with_name("0" + image.name[1:]))
    code, shown = verify(folder, capsys)
    assert code == 1
    assert "images of no stored evaluation" in shown


def test_facts_that_are_missing_or_other_than_the_checkpoint_are_found(folder, capsys):
    facts = the_run(folder) / "facts"

    def smaller(frame: pd.DataFrame) -> None:
        frame.loc[frame["name"] == "stored_mb", "value"] = 0.001

    edit(facts / "cost.parquet", smaller)
    code, shown = verify(folder, capsys)
    assert code == 1
    assert "a size that the last checkpoint does not have: stored_mb (0.001, it is" in shown
    edit(facts / "task-000.parquet", set_to("task", 7))
    (the_run(folder) / "training" / "task-001.parquet").unlink()
    code, shown = verify(folder, capsys)
    assert code == 1
    assert "of a task that is not there: facts/task-000.parquet" in shown
    assert "missing: training/task-001.parquet" in shown


def test_a_fingerprint_of_another_classifier_is_found(tmp_path, capsys):
    assert run_tiny(tmp_path, rows=[{"method": "single_task_standard"}], evaluation={"checks": "none"}) == 0

    def other(frame: pd.DataFrame) -> None:
        frame.loc[frame["name"] == "fingerprint_classifier", "text"] = "0" * 64

    edit(the_run(tmp_path) / "facts" / "task-001.parquet", other)
    code, shown = verify(tmp_path, capsys, "single_task_standard")
    assert code == 1
    assert "a fingerprint of another classifier than was measured: task 1" in shown


def test_verdicts_that_the_records_do_not_give_are_found(folder, capsys):
    path = the_run(folder) / "verdicts.json"
    whole = json.loads(path.read_text())
    (check,) = [each for each in whole["tiny"]["checks"] if each["check"] == "complete"]
    was, check["status"] = check["status"], "fail"
    path.write_text(json.dumps(whole))
    code, shown = verify(folder, capsys)
    assert code == 1
    assert f"a verdict that the records do not give: complete (fail, now {was})" in shown
    check["status"], verdict = was, whole["tiny"]["verdict"]
    whole["tiny"]["verdict"] = "excellent"
    path.write_text(json.dumps(whole))
    code, shown = verify(folder, capsys)
    assert code == 1
    assert "an overall verdict that the checks do not give: tiny (excellent)" in shown
    whole["tiny"]["verdict"] = verdict
    path.write_text(json.dumps({**whole, "mine": whole["tiny"]}))
    code, shown = verify(folder, capsys)
    assert code == 1
    assert "verdicts under a preset that did not demand the run: mine" in shown
    path.write_text(json.dumps(whole)[:-9])
    code, shown = verify(folder, capsys)
    assert code == 1
    assert "verdicts.json cannot be read" in shown


def test_images_of_a_classifier_that_is_learned_again_are_set_aside_with_what_was_measured(folder):
    directory = the_run(folder)
    measured = [path for path in directory.rglob("*.001.*") if path.parent.name != "set-aside"]
    assert {path.parent.name for path in measured} == {"predictions", "evaluations", "adversarial"}
    run = load(folder / "runs", None).runs[0]
    RunStore(folder / "runs", run.hash).set_stale_aside(1, {"0": "other", "1": "weights"})
    assert not any(path.exists() for path in measured)
    assert len(list((directory / "set-aside").iterdir())) == len(measured)


def test_without_preset_or_data_the_records_are_still_checked(folder, capsys, monkeypatch):
    code = main(["verify", "standard", "--results", str(folder / "runs")])
    shown = capsys.readouterr().out
    assert code == 0
    assert "  presets: not checked: tiny: preset 'tiny' is neither" in shown
    assert "everything that was checked holds" in shown
    edit(part(the_run(folder), "predictions"), relabel)
    assert main(["verify", "standard", "--results", str(folder / "runs")]) == 1
    assert "a label that is not that of the data set" in capsys.readouterr().out


def test_published_records_hold_without_checkpoints_and_say_what_is_not_checked(capsys):
    data = ["--data-root", str(REAL_CIFAR100)] if REAL_CIFAR100.is_dir() else []
    for run in load(PUBLISHED, None).runs[:3]:
        code = main(["verify", run.label, "--results", str(PUBLISHED), *data])
        shown = capsys.readouterr().out
        assert code == 0, shown
        assert "there are no checkpoints here (published records have none)" in shown


def test_many_cases_of_a_problem_are_one_line_with_the_first_and_a_count():
    problems = Problems()
    problems.add("a thing", [f"case {i}" for i in range(9)])
    problems.add("a thing", ["case 9"])
    problems.add("no such thing", [])
    problems.add("something")
    assert problems.lines() == ("a thing: case 0, case 1, case 2 and 7 more", "something")
