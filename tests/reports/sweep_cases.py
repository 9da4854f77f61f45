"""Made-up sweeps, and boards of them: what the tests of sweeps and of the checks on attacks share."""

from fractions import Fraction

from reports.numbers.attack_facts import AttackFacts
from tests.reports.synthetic_runs import FakeRun, board_of, pgd

EIGHT = Fraction(8, 255)
QUARTERS = ("1/20", "1/10", "1/5", "2/5")
"""A quarter, a half, one and two of the eps of the made-up runs, 1/5."""


def facts(steps=40, size="1/4", eps=EIGHT, kind="pgd", norm="linf", restarts=1, loss="ce", **rest):
    step = None if size is None else eps * Fraction(size)
    name = f"{kind}-{steps} {norm} {eps} {step} {restarts} {loss} {rest}"
    return AttackFacts(name, kind, norm, eps, steps, step, restarts, loss, tuple(sorted(rest.items())))


def grid(epss=(EIGHT,), steps=(7, 10, 20, 40), sizes=("1/8", "1/4", "1/2"), **more):
    return [facts(k, size, eps, **more) for eps in epss for k in steps for size in sizes]


def evidence_of(tmp_path, **fields):
    return board_of(tmp_path, FakeRun(**fields)).rows[0].seeds[0].evidence


def full_sweep(**more):
    return [pgd(k, eps, size=size, **more) for eps in QUARTERS for k in (10, 40) for size in ("1/8", "1/4", "1/2")]
