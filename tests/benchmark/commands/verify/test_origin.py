"""`verify` finds an identity, a demand or a table of tasks that was changed by hand, and a preset that changed since."""

from __future__ import annotations

import json

from benchmark.commands.verify.tasks import tasks_of_identity
from benchmark.planning.options import RunOptions
from results.records import read_run
from tests.benchmark.commands.verify.edited_records import edit, set_to
from tests.benchmark.commands.verify.verified import set_in, the_run, verify
from tests.tiny import run_tiny


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
    assert "verdicts under a preset that the run is no row of: tiny" in verify(folder, capsys)[1]
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


def test_a_run_of_values_with_spaces_is_made_again(tmp_path, capsys):
    values = ["evaluation.final=[{attack: fgsm, samples: 20}, {attack: noise}]", "description=it's two words"]
    rows = [{"method": "standard"}]
    assert run_tiny(tmp_path, rows=rows, evaluation={"checks": "none"}, options={"overrides": values}) == 0
    code, shown = verify(tmp_path, capsys)
    assert "presets: 1 preset made it again: ok" in shown
    assert code == 0, shown


def test_an_identity_that_does_not_say_how_its_tasks_were_chosen_is_compared_with_no_others(folder):
    config = the_run(folder) / "config.json"
    run, options = read_run(the_run(folder)), RunOptions(str(folder / "tiny.yaml"))
    assert [task.name for task in tasks_of_identity(run, options) or []] == run.identity["scenario"]["tasks"]
    whole = config.read_text()
    set_in(config, "identity", "scenario", "tasks", value=["digits 8, 9", "digits 6, 7"])
    assert tasks_of_identity(read_run(the_run(folder), edited=True), options) is None
    config.write_text(whole)
