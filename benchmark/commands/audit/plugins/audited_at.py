"""Adversarial training under an audited protocol. Audits only: the protocol may be a wrong one."""

from __future__ import annotations

from benchmark.commands.audit.learning.audited_network import AuditedNetwork


class AuditedAT(AuditedNetwork):
    """`madry_at` with the fields of the audited protocol as settings."""

    version = 1
