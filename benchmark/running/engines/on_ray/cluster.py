"""The cluster: one that is there, or one of this machine alone that is started here and stopped again."""

from __future__ import annotations

import logging
import shutil
import signal
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import ray

from benchmark.errors import ConfigError
from benchmark.planning.options import ROOT
from benchmark.running.engines.on_ray.environment import must_answer
from benchmark.running.engines.on_ray.folders import CLUSTER, own_folder
from benchmark.version import COMMIT, git_commit

CODE = ("attacks", "benchmark", "methods", "reports", "results", "scenarios")


class Cluster:
    """A Ray cluster that this process is connected to, with the code of this repository. It ends with `stop`.

    address: `HOST:PORT` of its head, `auto` for the one that this machine belongs to, or None to start one of this machine alone.
    cpus: of the one that is started.
    own: True if it was started here.
    Raises ConfigError if it cannot be reached.
    """

    def __init__(self, address: str | None, cpus: int) -> None:
        if ray.is_initialized():
            raise ConfigError("this process is connected to Ray already; call ray.shutdown() before")
        self._address, self.own = address, address is None
        self._held = ExitStack()
        try:
            folder = self._held.enter_context(own_folder(CLUSTER))
            code = _copied_code(folder / "code")
            where: dict[str, Any] = {"address": address}
            if address is None:
                where = {
                    "address": "local",
                    "num_cpus": cpus,
                    "include_dashboard": False,
                    "_temp_dir": str(folder),
                }
            elif address != "auto":
                must_answer(address)
            with _own_handlers():
                ray.init(
                    **where, runtime_env={"working_dir": str(code)}, log_to_driver=False, logging_level=logging.ERROR
                )
            _without_logs_of_nodes()
        except ConfigError:
            self.stop()
            raise
        except (ConnectionError, RuntimeError, ValueError, OSError) as error:
            self.stop()
            reason = next(iter(str(error).splitlines()), type(error).__name__)
            raise ConfigError(f"{self}: Ray cannot be used ({reason})") from error
        except BaseException:
            self.stop()
            raise

    def __str__(self) -> str:
        return f"--address {self._address}" if self._address else "--engine ray"

    def nodes(self) -> list[dict[str, float]]:
        """The resources of the nodes that are alive, by Ray's names."""
        return [node["Resources"] for node in ray.nodes() if node["Alive"]]

    def stop(self) -> None:
        """Leave the cluster, and end it if it was started here. It may be called twice."""
        with suppress(Exception):
            ray.shutdown()
        self._held.close()


def _copied_code(target: Path) -> Path:
    """The packages of this repository, for the nodes; a copy, so that an edit reaches no run that goes on."""

    def no_code(folder: str, names: list[str]) -> list[str]:
        paths = [Path(folder, name) for name in names]
        return [path.name for path in paths if path.suffix != ".py" and not (path / "__init__.py").is_file()]

    for name in CODE:
        shutil.copytree(ROOT / name, target / name, ignore=no_code)
    shutil.copy(ROOT / "pyproject.toml", target)
    (target / COMMIT).write_text(git_commit() or "", encoding="utf-8")
    return target


@contextmanager
def _own_handlers() -> Iterator[None]:
    """Keep the handlers of signals as they are: Ray puts its own in the place of the one for SIGTERM."""
    main = threading.current_thread() is threading.main_thread()
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        if main:
            signal.signal(signal.SIGTERM, before)


def _without_logs_of_nodes() -> None:
    """Let Ray print no pages of a dead node's log: the death is told in one line. There is no option for it."""
    with suppress(AttributeError, ImportError):
        from ray._private import worker

        worker.print_to_stdstream = lambda *arguments, **options: None
