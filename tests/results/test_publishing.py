"""Publishing the runs of a preset: where they stand, and that they are read again."""

from __future__ import annotations

from results import load
from results.publishing import main
from tests.reports.synthetic_runs import FakeRun, write_run


def test_a_preset_with_overrides_is_published_into_one_folder(tmp_path):
    preset = "digits " + " ".join(f"recipe.number_{k}=1/255" for k in range(7))
    store = write_run(tmp_path / "runs", FakeRun(preset=preset))
    published = tmp_path / "published"
    assert main([preset, "--results", str(tmp_path / "runs"), "--published", str(published)]) == 0
    (folder,) = published.iterdir()
    assert [path.name for path in folder.iterdir()] == [store.directory.name]
    (run,) = load(tmp_path / "nothing", published).runs
    assert run.published
    assert list(run.protocols) == [preset]


def test_an_ordinary_preset_is_published_under_its_name(tmp_path):
    write_run(tmp_path / "runs", FakeRun(preset="cifar100-cpu"))
    published = tmp_path / "published"
    assert main(["cifar100-cpu", "--results", str(tmp_path / "runs"), "--published", str(published)]) == 0
    assert [path.name for path in published.iterdir()] == ["cifar100-cpu"]
