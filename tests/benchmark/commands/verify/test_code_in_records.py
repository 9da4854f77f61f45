"""A record is data: whatever it names, `verify` and `merge` execute no file for it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from results.records import identity_hash, row_hash
from tests.benchmark.commands.verify.edited_records import edit, part
from tests.benchmark.commands.verify.verified import the_run

CODE = """
from pathlib import Path

Path({touched!r}).touch()
"""


def in_demand(change: Callable[[dict[str, dict[str, object]], str], None]) -> Callable[[Path, str], None]:
    """A change of the demands in a run's configuration. change: demands by preset, and the file's path."""

    def spoil(run: Path, file: str) -> None:
        config = json.loads((run / "config.json").read_text())
        change(config["protocols"], file)
        (run / "config.json").write_text(json.dumps(config))

    return spoil


def as_scenario(run: Path, file: str) -> None:
    config = json.loads((run / "config.json").read_text())
    identity = config["identity"]
    identity["scenario"]["name"] = file
    identity["hash"], identity["row"] = identity_hash(identity), row_hash(identity)
    config["protocols"] = {}
    (run / "config.json").write_text(json.dumps(config))


def as_attack(run: Path, file: str) -> None:
    def change(frame):
        frame["specification"] = frame["specification"].map(
            lambda text: json.dumps({**json.loads(text), "attack": file})
        )

    edit(part(run, "evaluations", "clean"), change)


def as_preset(run: Path, file: str) -> None:
    preset = Path(file).with_name("theirs.yaml")
    preset.write_text(json.dumps({"extends": "digits", "description": "x", "methods": [{"method": file}]}))
    in_demand(lambda demands, _: demands.update({str(preset): demands.pop("tiny")}))(run, file)


SPOILED: dict[str, Callable[[Path, str], None]] = {
    "the kind of an attack": as_attack,
    "the name of the scenario": as_scenario,
    "a preset beside the run": as_preset,
    "an attack of --set": in_demand(
        lambda demands, file: demands.update({f"digits evaluation.final=[{{attack: {file}}}]": demands.pop("tiny")})
    ),
    "an attack of a recorded command": in_demand(
        lambda demands, file: demands.update(
            {
                f"digits evaluation.final=[{{attack: {file}}}]": {
                    **demands.pop("tiny"),
                    "command": f"run --set 'evaluation.final=[{{attack: {file}}}]'",
                }
            }
        )
    ),
    "a method": in_demand(lambda demands, file: demands.update(digits={**demands.pop("tiny"), "label": file})),
}
"""The ways in which a record can name a file."""


@pytest.mark.parametrize("preset", [False, True], ids=["", "with --preset"])
@pytest.mark.parametrize("kind", SPOILED)
def test_a_file_that_a_record_names_is_not_executed(
    folder: Path, capsys: pytest.CaptureFixture[str], kind: str, preset: bool
) -> None:
    from benchmark.cli import main

    run = the_run(folder)
    touched = folder / "touched"
    (run / "set-aside").mkdir(exist_ok=True)
    code = run / "set-aside" / "code.py"
    code.write_text(CODE.format(touched=str(touched)))
    SPOILED[kind](run, str(code))
    words = ["verify", "standard", "--results", str(folder / "runs")]
    assert main([*words, *(["--preset", str(folder / "tiny.yaml")] if preset else [])]) in (0, 1)
    assert not touched.exists(), capsys.readouterr()
    assert "Traceback" not in capsys.readouterr().err
