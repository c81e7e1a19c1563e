"""docs/contract.md agrees with the models of request and events, and states every requirement at its level."""

from __future__ import annotations

import re
from pathlib import Path
from typing import get_args

from harness.contract.requirements import CATALOGUE, Level
from harness.profiles.workflow_actions.events import KNOWN_TYPES
from harness.profiles.workflow_actions.request import WorkflowAction, WorkflowActionRequest

DOCS = Path(__file__).resolve().parents[2] / "docs"
PAGE = (DOCS / "contract.md").read_text(encoding="utf-8")


def _rows(head: str) -> dict[str, str]:
    table = PAGE.split(f"| {head} |", 1)[1].split("\n\n", 1)[0]
    return dict(re.findall(r"^\| `(\w+)` \| (.*) \|$", table, re.MULTILINE))


def test_the_fields_of_the_body_are_those_of_the_model() -> None:
    rows = _rows("body field")
    assert list(rows) == list(WorkflowActionRequest.model_fields)
    for name, field in WorkflowActionRequest.model_fields.items():
        assert ("required |" in rows[name]) == field.is_required(), name
    for name in WorkflowAction.model_fields:
        assert f"`{name}`" in rows["workflowAction"]


def test_the_values_of_source_are_those_of_the_model() -> None:
    literal, _none = get_args(WorkflowActionRequest.model_fields["source"].annotation)
    documented = re.findall(r"`(\w+)`", _rows("body field")["source"])
    assert sorted(documented) == sorted(get_args(literal))


def test_the_types_of_events_are_those_of_the_model() -> None:
    assert set(_rows("`type`")) == KNOWN_TYPES


LINK = re.compile(r"\[([a-z-]+\.[a-z0-9-]+)\]\(requirements\.md#([a-z0-9-]+)\)")
#: A statement ends with a sentence, a part of one before a semicolon, an item of a list, or a cell of a table.
STATEMENT_ENDS = re.compile(r"[.;]\s|\n-\s|\n\s*\n|\|")
LEVEL_WORDS = re.compile(r"\b(must|should|reported)\b", re.IGNORECASE)
LEVELS = {"should": Level.SHOULD, "reported": Level.INFO, "must": Level.MUST}


def test_every_requirement_is_linked_and_each_link_leads_to_its_requirement() -> None:
    links = LINK.findall(PAGE)
    assert all(anchor == name.replace(".", "") for name, anchor in links)
    assert {name for name, _ in links} == set(CATALOGUE)
    headings = re.findall(r"^### (\S+)$", (DOCS / "requirements.md").read_text("utf-8"), re.MULTILINE)
    assert headings == list(CATALOGUE)


def _wrong_levels(page: str) -> list[str]:
    """The requirements that a statement of `page` links at a wrong level."""
    return [
        f"{name} is {CATALOGUE[name].level}: {' '.join(statement.split())}"
        for statement in STATEMENT_ENDS.split(page)
        for name, _ in LINK.findall(statement)
        if _level(statement) is not CATALOGUE[name].level
    ]


def test_each_statement_has_the_level_of_its_requirements() -> None:
    assert _wrong_levels(PAGE) == []


def test_a_statement_at_a_wrong_level_is_found() -> None:
    for name, requirement in CATALOGUE.items():
        link = f"[{name}](requirements.md#{name.replace('.', '')})"
        for level, words in (
            (Level.MUST, "It is so"),
            (Level.SHOULD, "It should be so"),
            (Level.INFO, "Reported"),
        ):
            wrong = _wrong_levels(
                f"- It should be. {words}: {link}, {link}.\n- It must be.\n| should | 1.0 |"
            )
            assert bool(wrong) == (level is not requirement.level), (name, level)
    assert _wrong_levels("It must and should: [ids.clock](requirements.md#idsclock).")


def _level(statement: str) -> Level | None:
    """The level that the words of a statement say; None if they contradict each other."""
    levels = {LEVELS[word.lower()] for word in LEVEL_WORDS.findall(statement)} or {Level.MUST}
    return levels.pop() if len(levels) == 1 else None
