"""The commands that make a row again, from the commands that are recorded with its runs."""

from __future__ import annotations

import re
import shlex
from collections import defaultdict
from pathlib import Path

from reports.boards.board import Row
from results import Run

_PROGRAM = "run_benchmark.py"
_SET_ASIDE = (
    "--preset",
    "--methods",
    "--seeds",
    "--results",
    "--output",
    "--device",
    "--workers",
    "--force",
    "--strict",
    "--dry-run",
)
"""Options of a recorded command that say for which rows, where and how it ran. The others stay: --set, --pretrain, --checks,
--data-root."""
_OVERRIDES = re.compile(r" (?=[^ =]+=)")
"""The space before each override in a preset's name, `digits recipe.epochs=5`."""


def commands_of(preset: str, row: Row) -> list[str]:
    """The command that trains and attacks the row's seeds under the preset; several if seeds were demanded differently.

    It has the overrides that were given with --set. Paths are recorded as `DIR`, for a reader to fill in.
    """
    seeds: dict[tuple[str, ...], list[int]] = defaultdict(list)
    for seed in row.seeds:
        seeds[tuple(_words(seed.run, preset, row))].append(seed.run.seed)
    return [
        shlex.join(["python", _PROGRAM, "run", *words, "--seeds", *(str(seed) for seed in sorted(of))])
        for words, of in seeds.items()
    ]


def _words(run: Run, preset: str, row: Row) -> list[str]:
    """The options after `run`, without the seeds; from the preset's name alone if no command of it is recorded."""
    name, *overrides = _OVERRIDES.split(preset)
    recorded = (run.protocols[preset].get("command"), run.config.get("provenance", {}).get("command"))
    found = (_options(str(command), name) for command in recorded if command)
    only_known = {"--preset": [name], **({"--set": overrides} if overrides else {})}
    options = next((options for options in found if options is not None), only_known)
    words = ["--preset", *options["--preset"]]
    for option, values in options.items():
        if not any(other.startswith(option) for other in _SET_ASIDE):
            words += [option, *values]
    methods = options.get("--methods", [])
    # A method from a file is named by its file, because its name alone would not be found.
    named = next((method for method in methods if method.endswith(f"{row.method}.py")), row.label)
    speaks_of_rows = "--pretrain" in options or any(value.startswith("methods.") for value in options.get("--set", []))
    # Optional rows must be named, and an override of a row that is not named is an error.
    others = [method for method in methods if method not in (named, row.method)] if speaks_of_rows else []
    return [*words, "--methods", named, *others]


def _options(command: str, preset: str) -> dict[str, list[str]] | None:
    """The options of a recorded `run` with their values; None for another command or another preset.

    Without a command the program runs its default preset, and there are no options.
    """
    try:
        words = shlex.split(command)
    except ValueError:
        return None
    words = words[words.index(_PROGRAM) + 1 :] if _PROGRAM in words else words
    if words[:1] not in ([], ["run"]):
        return None
    options: dict[str, list[str]] = {}
    values: list[str] = []
    for word in words[1:]:
        if word.startswith("--"):
            option, given, value = word.partition("=")
            values = options.setdefault(option, [])
            values += [value] if given else []
        else:
            values.append(word)
    options.setdefault("--preset", [preset])
    return options if [Path(name).stem for name in options["--preset"]] == [preset] else None
