"""The outcomes of a method under one protocol of an audit."""

from __future__ import annotations

from dataclasses import dataclass

from reports.numbers.statistics.contrasts import SeedOutcomes

CANONICAL = "canonical"
"""The protocol with all switches off."""


@dataclass(frozen=True)
class AuditedRow:
    """A method under one protocol. All protocols have the same samples.

    switch: `CANONICAL`, or the name of the switch or bundle that is turned.
    reported: outcomes under attack, counted as this protocol counts.
    clean: outcomes on unchanged images, as this protocol classifies them.
    same_network: outcomes under attack of this protocol's network, evaluated canonically.
    bundle: True if several switches are turned.
    parts: the switches whose effects a bundle should be the sum of; empty if there is no such sum.
    canonical, turned: the two values of the switch, in words.
    findings: the numbers of what was found in the released code that it belongs to.
    expected: the expected effect, in words.
    """

    method: str
    switch: str
    reported: SeedOutcomes
    clean: SeedOutcomes
    same_network: SeedOutcomes
    bundle: bool = False
    parts: tuple[str, ...] = ()
    canonical: str = ""
    turned: str = ""
    findings: str = ""
    expected: str = ""
