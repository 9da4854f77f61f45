"""PackNet as independent networks. Audits only."""

from __future__ import annotations

from benchmark.commands.audit.learning.independent import Independent
from methods.packnet import PackNet


class IndependentPackNet(Independent, PackNet):
    """PackNet that starts every task from random weights."""

    version = 1
