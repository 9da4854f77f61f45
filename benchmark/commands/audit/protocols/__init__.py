"""Evaluations of other people as switches, one module each."""

from benchmark.commands.audit.protocols.shield import SHIELD
from benchmark.commands.audit.protocols.thesis import THESIS
from benchmark.commands.audit.switches import AuditedEvaluation

EVALUATIONS: dict[str, AuditedEvaluation] = {each.name: each for each in (THESIS, SHIELD)}
"""By the name that `--protocol` takes."""

__all__ = ["EVALUATIONS", "SHIELD", "THESIS"]
