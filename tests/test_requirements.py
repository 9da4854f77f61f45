"""Installed versions: tested ones within the ranges, from nowhere in particular; and the exceptions of the audit are argued."""

from __future__ import annotations

import re

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from tests.conftest import REPOSITORY

PINNED = re.compile(r"(?P<name>[A-Za-z0-9][A-Za-z0-9._-]*)==(?P<version>[0-9][0-9A-Za-z.]*)")
EXCEPTION = re.compile(r"(CVE|GHSA|PYSEC)-[\w-]+: (?P<name>[\w.-]+) (?P<version>[0-9][\w.]*): (?P<reason>.{20,})")


def lines(name: str) -> list[str]:
    found = (REPOSITORY / name).read_text(encoding="utf-8").splitlines()
    return [line for line in found if line.strip() and not line.startswith("#")]


@pytest.fixture(scope="module")
def tested() -> dict[str, Version]:
    """The tested version of each package."""
    found = [PINNED.fullmatch(line) for line in lines("requirements.lock")]
    assert None not in found, (
        "a line of requirements.lock is NAME==VERSION and nothing else, no address of a registry least of all"
    )
    return {canonicalize_name(each["name"]): Version(each["version"]) for each in found if each}


@pytest.mark.parametrize("name", ["requirements.txt", "requirements-dev.txt"])
def test_every_requirement_has_a_tested_version_within_its_range(name: str, tested: dict[str, Version]) -> None:
    for requirement in map(Requirement, lines(name)):
        version = tested[canonicalize_name(requirement.name)]
        assert requirement.specifier.contains(version), f"{requirement}: tested with {version}; `make lock`"


def test_every_requirement_says_its_oldest_version() -> None:
    """`make test-oldest` makes one version of each range, and installs it."""
    for line in lines("requirements.txt"):
        assert re.fullmatch(r"[A-Za-z0-9_-]+>=[0-9][0-9.]*", line), line


def test_every_exception_of_the_audit_is_of_a_tested_version_and_says_why(tested: dict[str, Version]) -> None:
    for line in lines("audit-exceptions.txt"):
        found = EXCEPTION.fullmatch(line)
        assert found, f"{line}: expected ADVISORY: PACKAGE VERSION: REASON"
        version = tested.get(canonicalize_name(found["name"]))
        assert version == Version(found["version"]), (
            f"{line}: {version} is installed; argue it again, or take the line out"
        )


def test_the_makefile_passes_every_exception_to_the_audit() -> None:
    makefile = (REPOSITORY / "Makefile").read_text(encoding="utf-8")
    (pattern,) = re.findall(r"sed -n 's/(\^\\\(.*?)/--ignore-vuln", makefile)
    python = pattern.replace(r"\(", "(").replace(r"\)", ")")
    assert all(re.match(python, line) for line in lines("audit-exceptions.txt"))
