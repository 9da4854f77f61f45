"""The switches: each turns what it is called, the bundles turn what published evaluations had, and nothing leaks."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from benchmark.commands.audit.parser import add_parser
from benchmark.commands.audit.protocols import EVALUATIONS, SHIELD, THESIS
from benchmark.commands.audit.protocols.shield import COLUMNS, SHIELD_AUTOATTACK, SHIELD_PGD
from benchmark.commands.audit.protocols.thesis import ALL, ALL_HIGH_RESOLUTION, ALL_PACKED, SWITCHES
from benchmark.commands.audit.switches import AuditProtocol, TrainingProtocol
from benchmark.commands.parsing.options import OneLineParser
from benchmark.errors import ConfigError
from tests.conftest import REPOSITORY

FIELDS_OF_THE_THESIS = {
    "eps_space", "clamp_box_training", "clamp_box_evaluation", "eps", "step_size", "eval_attack", "eval_loss", "eval_bn",
    "attack_bn_in_training", "selection_split", "eval_time", "sequence", "gate", "normalisation",
}  # fmt: skip


def test_every_shortcut_of_the_thesis_is_a_switch_or_a_table() -> None:
    assert {switch.name for switch in SWITCHES} == FIELDS_OF_THE_THESIS
    assert set(THESIS.tables) == {"f1", "comparator", "seeds"}


@pytest.mark.parametrize("switch", SWITCHES, ids=lambda switch: switch.name)
def test_a_switch_turns_the_field_it_is_called_by_and_no_other(switch) -> None:
    canonical = AuditProtocol()
    turned = canonical.turned(switch.changes)
    changed = {name for name in AuditProtocol.model_fields if getattr(turned, name) != getattr(canonical, name)}
    assert changed == {switch.name}
    assert switch.findings
    assert switch.expected


def test_the_bundle_is_the_sum_of_its_switches_and_lacks_the_other_experiment() -> None:
    parts = THESIS.singles_in(THESIS.by_name[ALL])
    assert {part.name for part in parts} == FIELDS_OF_THE_THESIS - {"eval_bn", "sequence", "gate"}
    united = AuditProtocol()
    for part in parts:
        united = united.turned(part.changes)
    assert united == AuditProtocol().turned(THESIS.by_name[ALL].changes)
    assert {part.name for part in THESIS.singles_in(THESIS.by_name[ALL_PACKED])} == {"sequence", "gate", "eval_time"}


def test_a_bundle_with_other_values_than_its_switches_has_no_sum() -> None:
    assert THESIS.singles_in(THESIS.by_name[ALL_HIGH_RESOLUTION]) == []


def test_switches_of_shield_change_the_evaluation_alone() -> None:
    for switch in (*SHIELD.switches, *SHIELD.bundles):
        canonical = AuditProtocol()
        turned = canonical.turned(switch.changes)
        assert turned != canonical
        assert turned.training() == canonical.training() == TrainingProtocol()
        assert not switch.trains
        assert switch.findings
        assert switch.expected


def test_bundles_of_shield_are_two_columns_of_its_table() -> None:
    parts = {
        name: {part.name for part in SHIELD.singles_in(SHIELD.by_name[name])}
        for name in (SHIELD_PGD, SHIELD_AUTOATTACK)
    }
    assert parts[SHIELD_PGD] == {"swapped_radius", "one_pgd", "eval_bn_batch"}
    assert parts[SHIELD_AUTOATTACK] == {"half_radius", "eval_bn_batch", "reclassified"}
    released = COLUMNS["as released"]
    assert [released["pgd"], released["autoattack"]] == [SHIELD.by_name[name].changes for name in parts]


def test_no_name_means_two_things_in_the_audits() -> None:
    names = [
        name for each in EVALUATIONS.values() for name in (*each.by_name, *(t for t in each.tables if t != "seeds"))
    ]
    assert len(names) == len(set(names))


def test_the_command_line_offers_every_evaluation_and_takes_the_thesis_by_default() -> None:
    parser = OneLineParser()
    add_parser(parser.add_subparsers())
    assert parser.parse_args(["audit", "--preset", "digits"]).protocol == "thesis"
    for name in EVALUATIONS:
        assert parser.parse_args(["audit", "--preset", "digits", "--protocol", name]).protocol == name


def test_switches_are_chosen_by_name_and_by_method() -> None:
    assert [switch.name for switch in THESIS.chosen(["eps", "all"], ["madry_at"])] == ["eps", "all"]
    assert {switch.name for switch in THESIS.chosen(None, ["packnet"])} == {"sequence", "gate", "eval_time", ALL_PACKED}
    with pytest.raises(ConfigError, match="gat: no switch of packnet"):
        THESIS.chosen(["gat"], ["packnet"])
    with pytest.raises(ConfigError, match="gate: no switch of madry_at"):
        THESIS.chosen(["gate"], ["madry_at"])
    assert len(SHIELD.chosen(None, ["packnet"])) == len(SHIELD.by_name)
    with pytest.raises(ConfigError, match="eps_space: no switch of madry_at"):
        SHIELD.chosen(["eps_space"], ["madry_at"])


def imported(path: Path) -> set[str]:
    """Every module that a file imports, wherever in it."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return found


def test_no_canonical_code_imports_the_audit() -> None:
    folders = ("benchmark", "methods", "scenarios", "attacks", "results", "reports")
    files = [path for folder in folders for path in (REPOSITORY / folder).rglob("*.py")] + [
        REPOSITORY / "run_benchmark.py"
    ]
    importers = {
        str(path.relative_to(REPOSITORY))
        for path in files
        if REPOSITORY / "benchmark" / "commands" / "audit" not in path.parents
        and any(
            name == "benchmark.commands.audit" or name.startswith("benchmark.commands.audit.")
            for name in imported(path)
        )
    }
    assert importers == {"benchmark/cli.py"}
    options = REPOSITORY / "benchmark" / "commands" / "audit" / "parser.py"
    assert not [name for name in _at_the_top(options) if name.startswith("benchmark.commands.audit")]


def _at_the_top(path: Path) -> set[str]:
    """The modules that importing the file imports at once."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return {node.module for node in tree.body if isinstance(node, ast.ImportFrom) and node.module}


def test_no_canonical_code_names_the_plugins_of_the_audit() -> None:
    names = {path.stem for path in (REPOSITORY / "benchmark" / "commands" / "audit" / "plugins").glob("*.py")}
    assert names
    for folder in ("benchmark", "methods", "scenarios", "attacks"):
        for path in (REPOSITORY / folder).rglob("*"):
            if path.suffix in (".py", ".yaml") and REPOSITORY / "benchmark" / "commands" / "audit" not in path.parents:
                text = path.read_text(encoding="utf-8")
                assert not [name for name in names if name in text], path
