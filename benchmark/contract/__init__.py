"""The contracts of plug-ins as requirements, which `check` asks of a file and the tests of every plug-in in the folders."""

from benchmark.contract.targets import learned, problems_of

__all__ = ["learned", "problems_of"]
