"""CMAT as independent networks. Audits only."""

from __future__ import annotations

from benchmark.commands.audit.learning.independent import Independent
from methods.cmat import CMAT


class IndependentCMAT(Independent, CMAT):
    """CMAT that starts every task from random weights."""

    version = 1
