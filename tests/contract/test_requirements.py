"""The catalogue, and that the shipped suite tests all of it with the rules that decide it."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import pytest

import harness.conformance
from harness.contract.requirements import AREAS, CATALOGUE, RULES, Level, areas, find
from harness.contract.rules.rule import Rule
from tests.cases import all_cases

SUITE = Path(harness.conformance.__file__).parent
ID = re.compile(r"[a-z]+(-[a-z]+)*\.[a-z0-9]+(-[a-z0-9]+)*")


def suite_tests() -> Iterator[tuple[str, ast.FunctionDef]]:
    for path in sorted(SUITE.glob("test_*.py")):
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
                yield path.stem, node


def cited(test: ast.FunctionDef) -> list[Rule]:
    """The rules in `@decides(area.rule)`."""
    calls = [node for node in test.decorator_list if isinstance(node, ast.Call)]
    named = [call.args[0] for call in calls if isinstance(call.func, ast.Name) and call.func.id == "decides"]
    return [getattr(import_module(f"harness.contract.rules.{rule.value.id}"), rule.attr) for rule in named]


TESTS = list(suite_tests())


def test_the_suite_was_found() -> None:
    assert len(TESTS) >= len(CATALOGUE)


@all_cases(("module", "test"), TESTS, ids=[f"{module}-{test.name}" for module, test in TESTS])
def test_a_test_of_the_suite_decides_one_rule_of_its_area(module: str, test: ast.FunctionDef) -> None:
    (rule,) = cited(test)
    assert rule is RULES[rule.requirement.id]
    assert module == f"test_{rule.requirement.area.replace('-', '_')}"


def test_every_requirement_is_decided_by_a_test_of_the_suite() -> None:
    assert {rule.requirement.id for _, test in TESTS for rule in cited(test)} == set(CATALOGUE)


def test_no_two_rules_have_one_id() -> None:
    rules = [member for area in AREAS for member in vars(area).values() if isinstance(member, Rule)]
    assert len({id(rule) for rule in rules}) == len(RULES)


@all_cases("row", CATALOGUE.values(), ids=CATALOGUE)
def test_a_row_is_complete(row: object) -> None:
    assert ID.fullmatch(row.id)
    assert row.area == row.id.split(".")[0]
    assert isinstance(row.level, Level)
    assert row.text
    assert row.text == row.text.strip()
    assert not row.text.endswith(".")
    assert row.source


@all_cases("row", CATALOGUE.values(), ids=CATALOGUE)
def test_a_row_has_one_short_sentence_on_how_to_fix_the_server(row: object) -> None:
    assert re.fullmatch(r"[A-Z][^\n\"]*[^\n\" .]\.", row.fix)
    assert ". " not in row.fix
    assert len(row.fix) <= 200
    assert "  " not in row.fix


def test_no_two_rows_have_one_fix() -> None:
    assert len({row.fix for row in CATALOGUE.values()}) == len(CATALOGUE)


def test_the_order_is_that_of_diagnosis() -> None:
    assert areas() == (
        "headers",
        "framing",
        "events",
        "ids",
        "terminal",
        "liveness",
        "auth",
        "security",
        "input",
        "run-id",
        "key",
        "resume",
        "conflict",
        "race",
        "cancel",
        "workflow",
        "replica",
        "restart",
    )


def test_a_row_is_found_by_its_id() -> None:
    assert find("terminal.last").level is Level.MUST
    with pytest.raises(KeyError, match=r"unknown requirement 'terminal\.lost'; did you mean 'term"):
        find("terminal.lost")
    with pytest.raises(KeyError, match=r"unknown requirement 'xyzzy'\"$"):
        find("xyzzy")
