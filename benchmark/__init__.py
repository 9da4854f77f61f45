"""The harness: presets, plans, runs, evaluation and the command line.

`from benchmark import evaluate_module, run_preset, load` gives Python what the command line does (docs/from-python.md). Importing
the package imports nothing else: each name is imported when it is asked for.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from benchmark.api import evaluate_module as evaluate_module
    from benchmark.api import list_attacks as list_attacks
    from benchmark.api import list_methods as list_methods
    from benchmark.api import list_presets as list_presets
    from benchmark.api import list_scenarios as list_scenarios
    from benchmark.api import run_preset as run_preset
    from benchmark.commands.verify.submit import open_target as open_target
    from benchmark.errors import ConfigError as ConfigError
    from benchmark.planning.options import RunOptions as RunOptions
    from methods.base import MethodError as MethodError
    from reports.frames import Tables as Tables
    from reports.write import write_report as write_report
    from results import load as load
    from scenarios.base import DataError as DataError

_HOMES = {
    "ConfigError": "benchmark.errors",
    "DataError": "scenarios.base",
    "MethodError": "methods.base",
    "Tables": "reports.frames",
    "evaluate_module": "benchmark.api",
    "list_attacks": "benchmark.api",
    "list_methods": "benchmark.api",
    "list_presets": "benchmark.api",
    "list_scenarios": "benchmark.api",
    "load": "results",
    "open_target": "benchmark.commands.verify.submit",
    "RunOptions": "benchmark.planning.options",
    "run_preset": "benchmark.api",
    "write_report": "reports.write",
}
"""The module that each name is imported from."""


def __dir__() -> list[str]:
    return [*globals(), *_HOMES]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)
