"""The contracts of plug-ins as checks: what `check` says about a file, and what the tests ask of everything in the folders."""

from benchmark.contract.targets import learned, problems_of

__all__ = ["learned", "problems_of"]
