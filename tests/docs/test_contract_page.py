"""docs/contract.md agrees with the models of request and events, and links every MUST."""

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


def test_every_must_is_linked_and_each_link_leads_to_its_requirement() -> None:
    links = re.findall(r"\[([a-z-]+\.[a-z0-9-]+)\]\(requirements\.md#([a-z0-9-]+)\)", PAGE)
    assert all(anchor == name.replace(".", "") for name, anchor in links)
    headings = re.findall(r"^### (\S+)$", (DOCS / "requirements.md").read_text("utf-8"), re.MULTILINE)
    named = {name for name, _ in links}
    assert named <= set(headings)
    assert {name for name, requirement in CATALOGUE.items() if requirement.level is Level.MUST} <= named
