"""Options that several commands have, each defined once. Nothing here imports torch, so that help and mistakes are quick."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from benchmark.commands.parsing import choices
from benchmark.errors import ConfigError, nearest
from benchmark.planning.options import ROOT, RUNS, RunOptions, device_name
from benchmark.planning.preset_files import labels, preset_file

if TYPE_CHECKING:
    from rich.console import Console

OUTPUT = ROOT / "reports" / "output"

Execute = Callable[[argparse.Namespace, "Console"], int]
"""Does what a command's options ask for; returns the exit code. Raises ConfigError, DataError, StoreError and MethodError."""


class OneLineParser(argparse.ArgumentParser):
    """Says in one line what is wrong, as every other mistake is told. An option is given by its whole name."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **{"allow_abbrev": False, **options})

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"error: {message} (see {self.prog} --help)\n")


if TYPE_CHECKING:
    Commands = argparse._SubParsersAction[OneLineParser]


def examples_text(examples: Mapping[str, str]) -> str:
    """The end of a help text. examples: what each does, by what follows `run_benchmark.py`."""
    lines = [f"  python run_benchmark.py {words}\n      {meaning}" for words, meaning in examples.items()]
    return "\n".join(["examples:", *lines])


def add_command(
    commands: Commands, name: str, execute: Execute, *, summary: str, description: str, examples: Mapping[str, str]
) -> OneLineParser:
    """Add a command without options.

    summary: its line in the list of commands.
    description: what its own help begins with.
    examples: what each does, by what follows `run_benchmark.py`.
    """
    parser = commands.add_parser(
        name,
        help=summary,
        description=description,
        epilog=examples_text(examples),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.set_defaults(execute=execute)
    return parser


def add_preset(parser: OneLineParser, meaning: str, *, required: bool = True, default: str | None = None) -> None:
    action = parser.add_argument(
        "--preset", required=required, default=default, type=_preset, metavar="NAME|FILE", help=meaning
    )
    choices.completed(action, choices.presets)


def _preset(name: str) -> str:
    """The name as it was given, if there is such a preset: a mistyped one is told before anything large is imported."""
    preset_file(name)
    return name


def add_methods(parser: OneLineParser, meaning: str) -> None:
    action = parser.add_argument("--methods", nargs="+", action="extend", metavar="M", help=meaning)
    choices.completed(action, choices.methods)


def add_seeds(parser: OneLineParser) -> None:
    parser.add_argument(
        "--seeds", nargs="+", action="extend", type=int, metavar="N", help="seeds of the runs, instead of the preset's"
    )


def add_overrides(parser: OneLineParser, meaning: str = "change the preset, such as recipe.epochs=5") -> None:
    parser.add_argument(
        "--set",
        dest="overrides",
        nargs="+",
        action="extend",
        default=[],
        type=_override,
        metavar="KEY=VALUE",
        help=meaning,
    )


def _override(text: str) -> str:
    """The text as it was given, if it sets a key."""
    key, equals, _ = text.partition("=")
    if not equals or not all(key.split(".")):
        raise ConfigError(f"--set {text!r}: expected key.path=value, such as recipe.epochs=5")
    return text


def add_results(parser: OneLineParser, meaning: str = "the folder of stored runs") -> None:
    parser.add_argument("--results", type=Path, default=RUNS, metavar="DIR", help=f"{meaning} (default: results/runs)")


def add_output(parser: OneLineParser, meaning: str) -> None:
    parser.add_argument(
        "--output", type=Path, default=OUTPUT, metavar="DIR", help=f"{meaning} (default: reports/output)"
    )


def add_data(parser: OneLineParser, meaning: str = "the folder of the images", *, download: bool = True) -> None:
    parser.add_argument("--data-root", type=Path, metavar="DIR", help=meaning)
    if download:
        parser.add_argument("--download", action="store_true", help="fetch the data set if it is not there")


def add_device(parser: OneLineParser) -> None:
    action = parser.add_argument(
        "--device",
        default="auto",
        type=device_name,
        metavar="auto|cpu|cuda|cuda:N|mps",
        help="auto: a GPU if there is one (default: auto)",
    )
    choices.completed(action, choices.devices)


def add_workers(parser: OneLineParser) -> None:
    parser.add_argument("--workers", type=int, metavar="N", help="runs side by side (default: as many as cores allow)")


def add_learning(parser: OneLineParser) -> None:
    """Add the options of a command that learns runs of its own."""
    add_data(parser)
    add_device(parser)
    add_workers(parser)
    parser.add_argument("--dry-run", action="store_true", help="say what there is to do; start nothing")


def add_strict(parser: OneLineParser) -> None:
    parser.add_argument("--strict", action="store_true", help="exit code 1 too if a check fails (verdict `fail`)")


def run_options(options: argparse.Namespace) -> RunOptions:
    """The options of a run among those of a command; what the command does not have keeps its default.

    Raises ConfigError, for methods that neither the preset nor the folder of methods holds too: a mistyped one is told before
    anything large is imported.
    """
    names = {field.name for field in fields(RunOptions)}
    found = RunOptions(**{name: value for name, value in vars(options).items() if name in names})
    for name in (name for name in found.methods or () if not name.endswith(".py")):
        valid = labels(found.preset) | set(choices.plugin_names("methods"))
        if name not in valid:
            raise ConfigError(
                f"--methods: {name!r} is neither a label of this preset nor a method{nearest(name, valid)}"
            )
    return found


def must_be_there(results: Path) -> None:
    """Raise ConfigError if somebody named a folder of runs that is not there. The default one may be missing still."""
    if results != RUNS and not results.is_dir():
        raise ConfigError(f"--results {results}: no such folder")
