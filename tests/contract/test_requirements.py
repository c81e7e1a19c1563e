"""The catalogue, and that the shipped suite tests all of it with the judges that decide it."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import harness.conformance
from harness.contract import rules
from harness.contract.requirements import CATALOGUE, Level, areas, find
from harness.contract.rules.rule import Rule

SUITE = Path(harness.conformance.__file__).parent
ID = re.compile(r"[a-z]+(-[a-z]+)*\.[a-z0-9]+(-[a-z0-9]+)*")


def suite_tests() -> Iterator[tuple[str, ast.FunctionDef]]:
    for path in sorted(SUITE.glob("test_*.py")):
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
                yield path.stem, node


def cited(test: ast.FunctionDef) -> list[str]:
    calls = [one for one in test.decorator_list if isinstance(one, ast.Call)]
    names = [one for one in calls if isinstance(one.func, ast.Name) and one.func.id == "requirement"]
    return [ast.literal_eval(argument) for one in names for argument in one.args]


def judge_used(test: ast.FunctionDef) -> list[Rule]:
    """The judges in `check(area.rule, …)`."""
    found = []
    for node in ast.walk(test):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "check":
            rule = node.args[0]
            assert isinstance(rule, ast.Attribute)
            assert isinstance(rule.value, ast.Name)
            found.append(getattr(getattr(rules, rule.value.id), rule.attr))
    return found


TESTS = list(suite_tests())


def test_the_suite_was_found() -> None:
    assert len(TESTS) >= len(CATALOGUE)


@pytest.mark.parametrize(("module", "test"), TESTS, ids=[f"{module}-{test.name}" for module, test in TESTS])
def test_a_test_of_the_suite_cites_one_requirement_and_uses_its_judge(
    module: str, test: ast.FunctionDef
) -> None:
    (requirement_id,) = cited(test)
    assert requirement_id in CATALOGUE
    assert module == f"test_{CATALOGUE[requirement_id].area.replace('-', '_')}"
    (judge,) = judge_used(test)
    assert judge.requirement.id == requirement_id


def test_every_requirement_is_cited_by_a_test_of_the_suite() -> None:
    assert {requirement_id for _, test in TESTS for requirement_id in cited(test)} == set(CATALOGUE)


@pytest.mark.parametrize("row", CATALOGUE.values(), ids=CATALOGUE)
def test_a_row_is_complete(row: object) -> None:
    assert ID.fullmatch(row.id)
    assert row.area == row.id.split(".")[0]
    assert isinstance(row.level, Level)
    assert row.text
    assert row.text == row.text.strip()
    assert not row.text.endswith(".")
    assert row.source


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
    )


def test_a_row_is_found_by_its_id() -> None:
    assert find("terminal.last").level is Level.MUST
    with pytest.raises(
        KeyError, match=r"no requirement 'terminal\.lost' in the catalogue; did you mean 'term"
    ):
        find("terminal.lost")
    with pytest.raises(KeyError, match=r"no requirement 'xyzzy' in the catalogue\"$"):
        find("xyzzy")
