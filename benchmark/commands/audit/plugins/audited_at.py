"""Adversarial training under an audited protocol. Audits only: the protocol may be one that measures wrongly."""

from __future__ import annotations

from benchmark.commands.audit.training import AuditedNetwork


class AuditedAT(AuditedNetwork):
    """`madry_at` with the fields of the audited protocol as settings."""

    version = 1
