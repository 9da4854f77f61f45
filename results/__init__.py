"""The store of records, and the published numbers beside them. `load` reads everything into pandas frames."""

from results.parts import Problem
from results.records import Results, Run, load

__all__ = ["Problem", "Results", "Run", "load"]
