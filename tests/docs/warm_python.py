"""`python` as a page types it, in a process in which the large libraries are imported already.

A page starts Python a dozen times, and most of its time would be the import of torch. Every command is a process of its own here
too: it is forked from one that has imported other people's libraries and nothing of this repository.
"""

from __future__ import annotations

import atexit
import multiprocessing
import os
import runpy
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import ModuleType

REPOSITORY = Path(__file__).resolve().parents[2]
FORKED = multiprocessing.get_context("forkserver")
FORKED.set_forkserver_preload(
    [
        "torch",
        "pandas",
        "pyarrow.parquet",
        "scipy.stats",
        "sklearn.datasets",
        "pydantic",
        "rich.table",
        "matplotlib.pyplot",
    ]
)


def python(
    arguments: Sequence[str], folder: Path, environment: Mapping[str, str], output: Path, seconds: float
) -> int | None:
    """Run `python ARGUMENTS` in `folder`: a script, -c TEXT or -m MODULE.

    environment: of the process. output: the file that gets what it prints. seconds: the most that it may take.
    Returns the exit code, or None if the process was ended because it took longer.
    """
    given = (list(arguments), str(folder), dict(environment), str(output))
    process = FORKED.Process(target=_become, args=given)
    process.start()
    process.join(seconds)
    if process.exitcode is None:
        process.kill()
        process.join()
        return None
    return process.exitcode


def _become(arguments: list[str], folder: str, environment: dict[str, str], output: str) -> None:
    """Be the process that `python ARGUMENTS` would have started."""
    stream = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(stream, 1)
    os.dup2(stream, 2)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    sys.path[:] = [entry for entry in sys.path if Path(entry or ".").resolve() != REPOSITORY]
    sys.path_importer_cache.clear()
    ours = {folder.name for folder in REPOSITORY.iterdir()}
    for name in [name for name in sys.modules if name.partition(".")[0] in ours]:
        del sys.modules[name]
    try:
        if arguments[0] == "-m":
            sys.path.insert(0, folder)
            sys.argv = ["-m", *arguments[2:]]
            runpy.run_module(arguments[1], run_name="__main__", alter_sys=True)
        elif arguments[0] == "-c":
            sys.path.insert(0, "")
            _execute(arguments[1], "<string>", ["-c", *arguments[2:]])
        else:
            script = Path(folder, arguments[0])
            sys.path.insert(0, str(script.parent))
            _execute(script.read_bytes(), str(script), arguments)
    finally:
        # A forked process leaves these out.
        atexit._run_exitfuncs()


def _execute(source: str | bytes, name: str, arguments: list[str]) -> None:
    """Execute source as the main module. Processes that it starts find the module by its `__file__`."""
    module = ModuleType("__main__")
    if name != "<string>":
        module.__file__ = name
    sys.modules["__main__"], sys.argv = module, arguments
    exec(compile(source, name, "exec"), vars(module))
