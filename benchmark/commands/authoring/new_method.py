"""`new-method`: a method that works, to be changed, and its test."""

from __future__ import annotations

import argparse
import keyword
import re
from pathlib import Path
from typing import TYPE_CHECKING

from benchmark.commands.parsing.choices import plugin_names
from benchmark.commands.parsing.options import add_command
from benchmark.errors import ConfigError
from benchmark.planning.options import ROOT

if TYPE_CHECKING:
    from rich.console import Console

    from benchmark.commands.parsing.options import Commands

TEMPLATES = Path(__file__).parent / "templates"
METHOD, TEST = TEMPLATES / "skeleton.py", TEMPLATES / "test_skeleton.py"
BESIDE = 'Path(__file__).with_name("skeleton.py")'
"""The words by which the test's template finds the method's file."""


def add_parser(commands: Commands) -> None:
    parser = add_command(
        commands,
        "new-method",
        execute,
        summary="write a working method, to be changed, and its test",
        description="Write NAME.py, a method that works and is meant to be changed, and its test. Nothing is overwritten.",
        examples={"new-method my_method": "my_method.py and test_my_method.py in this folder"},
    )
    parser.add_argument("name", metavar="NAME", help="name of the method and of its file, such as my_method")
    parser.add_argument(
        "--folder", type=Path, default=Path(), metavar="DIR", help="where to write (default: this folder)"
    )


def execute(options: argparse.Namespace, console: Console) -> int:
    return new_method(options.name, options.folder, console)


def new_method(name: str, folder: Path, console: Console) -> int:
    """Write NAME.py and test_NAME.py, and print what to do next. Nothing is overwritten. Returns 0. Raises ConfigError.

    The test of a method in the repository's own methods/ is written to tests/methods/.
    """
    check_name(name)
    built_in = folder.resolve() == ROOT / "methods"
    tests = ROOT / "tests" / "methods" if built_in else folder
    where = f'Path(__file__).parents[2] / "methods" / "{name}.py"' if built_in else BESIDE
    texts = {
        folder / f"{name}.py": renamed(METHOD.read_text(encoding="utf-8"), name),
        tests / f"test_{name}.py": renamed(TEST.read_text(encoding="utf-8").replace(BESIDE, where), name),
    }
    if not folder.is_dir():
        raise ConfigError(f"--folder {folder}: no such folder")
    for path in texts:
        if path.exists():
            raise ConfigError(f"{path}: exists already; nothing was written")
    # Not above: the store brings pandas along, and help and mistakes are to be answered at once.
    from results.files import write_text

    for path, text in texts.items():
        write_text(path, text)
    file, test = (str(path) for path in texts)
    run = name if built_in else file
    for line in (
        f"wrote {file} and {test}; next, after every change:",
        f"  python run_benchmark.py check {run}",
        f"  python -m pytest {test}",
        f"  python run_benchmark.py run --preset digits --methods {run}",
    ):
        console.print(line, highlight=False, markup=False, soft_wrap=True)
    return 0


def check_name(name: str) -> None:
    """Raise ConfigError unless a new method can have this name."""
    if not re.fullmatch(r"[a-z][a-z0-9]*(_[a-z0-9]+)*", name) or keyword.iskeyword(name):
        raise ConfigError(f"{name!r}: a method's name is a Python module's, in snake case, such as my_method")
    if name in plugin_names("methods"):
        raise ConfigError(f"a method called {name!r} exists already; choose another name")
    words = set(re.findall(r"\w+", METHOD.read_text(encoding="utf-8")))
    if camel(name) in words:
        raise ConfigError(
            f"{name!r}: its class would be called {camel(name)}, which the template uses already; choose another name"
        )


def camel(name: str) -> str:
    """my_method → MyMethod."""
    return "".join(word.capitalize() for word in name.split("_"))


def renamed(text: str, name: str) -> str:
    """A template's text with `name` in place of the template's own."""
    return text.replace("Skeleton", camel(name)).replace("skeleton", name)
