"""Processes that start within a tenth of a second: they are forked from one that has imported other people's libraries, and
nothing of this repository.

Most of what a fresh process costs is the import of torch and pandas and, at the first step of an optimiser, of torch's compiler:
five seconds of a core. A forked one imports this repository anew, as a spawned one does, and gets the same arguments. All forked
ones have the same hashes.
"""

from __future__ import annotations

import atexit
import multiprocessing
import os
import runpy
import sys
from collections.abc import Callable, Mapping, Sequence
from multiprocessing import forkserver
from multiprocessing.context import ForkServerContext, ForkServerProcess
from pathlib import Path
from types import ModuleType
from typing import Any

SPAWNING = multiprocessing.get_context
FORKED = multiprocessing.get_context("forkserver")
FORKED.set_forkserver_preload(
    [
        "torch",
        "torch._dynamo",
        "pandas",
        "pyarrow.parquet",
        "scipy.stats",
        "sklearn.datasets",
        "pydantic",
        "rich.table",
        "matplotlib.pyplot",
    ]
)


SOURCE: str = globals().get("SOURCE") or Path(__file__).read_text(encoding="utf-8")
"""This file. A forked process executes it, because it may have other things under the name `tests`."""

# -- in the place of spawned processes -------------------------------------------------------------------------------------


class _Warm(ForkServerContext):
    """Processes get the environment of whoever starts them, as spawned ones do. What they spawn is forked, too."""

    @staticmethod
    def Process(  # type: ignore[override]  # noqa: N802
        target: Callable[..., None], args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None, **options: Any
    ) -> ForkServerProcess:
        given = {"SOURCE": SOURCE, "TO_DO": (dict(os.environ), target, args, dict(kwargs or {}))}
        return ForkServerProcess(target=exec, args=(SOURCE, given), **options)


def get_context(method: str | None = None) -> Any:
    """As `multiprocessing.get_context`, with forked processes in the place of spawned ones."""
    return _Warm() if method == "spawn" else SPAWNING(method)


def _begin(environment: Mapping[str, str]) -> None:
    """Begin a process that was forked from the warm one."""
    os.environ.clear()
    os.environ.update(environment)
    # Only the process that started the warm one knows that it runs; this one would start another.
    forkserver._forkserver.ensure_running = lambda: None  # type: ignore[attr-defined]
    multiprocessing.get_context = get_context  # type: ignore[assignment]


# -- in the place of commands ----------------------------------------------------------------------------------------------


def python(
    arguments: Sequence[str], folder: Path, environment: Mapping[str, str], output: Path, seconds: float
) -> int | None:
    """Run `python ARGUMENTS` in `folder`: a script, -c TEXT or -m MODULE. What it spawns is forked, too.

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
    _begin(environment)
    repository = Path(__file__).resolve().parents[1]
    sys.path[:] = [entry for entry in sys.path if Path(entry or ".").resolve() != repository]
    sys.path_importer_cache.clear()
    ours = {folder.name for folder in repository.iterdir()}
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


if "TO_DO" in globals():
    _environment, _target, _args, _kwargs = globals()["TO_DO"]
    _begin(_environment)
    _target(*_args, **_kwargs)
