"""The store of what was measured, and published numbers to stand beside it. `load` reads everything into pandas frames."""

from results.parts import Problem
from results.records import Results, Run, load

__all__ = ["Problem", "Results", "Run", "load"]
