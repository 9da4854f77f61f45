"""The store of what was measured, and published numbers to stand beside it. `load` reads everything into pandas frames."""

from results.records import Problem, Results, Run, load

__all__ = ["Problem", "Results", "Run", "load"]
