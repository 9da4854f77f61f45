"""`verify` finds checkpoints and stored images that were exchanged, cut short or taken away."""

from __future__ import annotations

from pathlib import Path

from results.adversarial import AdversarialImages, read_images, write_images
from tests.benchmark.commands.verify.edited_records import part
from tests.benchmark.commands.verify.verified import the_run, verify


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
    assert "the checkpoint is not the classifier that was evaluated: task 0 after task 0" in shown
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
