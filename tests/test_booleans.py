"""No number of a settings file or profile can be true or false."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Any, get_args, get_origin

import pytest
from pydantic import BaseModel, ValidationError

import harness
from harness.booleans import NumbersAreNotBooleans, is_number, is_whole_number, refuse_booleans
from harness.config.settings import Settings
from harness.config.sources import settings_alone
from harness.errors import SettingsError
from harness.profiles.library import parse
from harness.profiles.profile import Profile
from tests.profiles.test_library import MINIMAL


def _models(kind: Any, known: set[type[BaseModel]]) -> set[type[BaseModel]]:
    """The models that a type contains, at any depth, with those in `known`."""
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        if kind not in known:
            known.add(kind)
            for field in kind.model_fields.values():
                _models(field.annotation, known)
    else:
        for part in get_args(kind):
            _models(part, known)
    return known


MODELS = _models(Settings, set()) | _models(Profile, set())


def test_each_table_refuses_booleans_for_numbers() -> None:
    assert [model.__name__ for model in MODELS if not issubclass(model, NumbersAreNotBooleans)] == []
    numbers = [
        (model, field.alias or name)
        for model in MODELS
        for name, field in model.model_fields.items()
        if get_origin(field.annotation) is not dict
        and (field.annotation in (int, float) or {int, float} & set(get_args(field.annotation)))
    ]
    assert len(numbers) > 35
    for model, name in numbers:
        for value in (True, False):
            with pytest.raises(ValidationError) as refused:
                model.model_validate({name: value})
            messages = [error["msg"] for error in refused.value.errors() if error["loc"] == (name,)]
            assert messages == [f"Value error, {str(value).lower()} is not a number; write one"]


@pytest.mark.parametrize(
    "table",
    [
        {"objectives": {"ttft_p95_ms": True}},
        {"objectives": {"fresh": {"error_rate": False}}},
        {"load": {"journeys": {"fresh": True}}},
    ],
)
def test_a_setting_that_is_not_a_number_gets_a_sentence(table: dict[str, Any]) -> None:
    with pytest.raises(SettingsError, match=r"^setting '[a-z.]+': .*number"):
        settings_alone(table, "harness.toml")


def test_booleans_are_what_they_were_elsewhere() -> None:
    settings = settings_alone(
        {
            "load": {"traceparent": False},
            "target": {"last_event_id": True, "actions": {"success": {"deep": True}}},
        },
        "harness.toml",
    )
    assert (settings.load.traceparent, settings.target.last_event_id) == (False, True)
    assert settings.target.actions.success == {"deep": True}


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("[idempotency]\nheader = 'Key'\nconflict = true", "idempotency.conflict"),
        ("[rejects]\nmalformed = true", "rejects.malformed"),
        ("[rejects]\nmissing = [404, true]", "rejects.missing"),
    ],
)
def test_a_status_of_a_profile_is_a_number(text: str, place: str) -> None:
    with pytest.raises(SettingsError, match=rf"^mine\.toml: {place}: true is not a number; write one$"):
        parse(f"{MINIMAL}\n{text}", "mine.toml")


def test_tables_are_searched() -> None:
    with pytest.raises(ValueError, match=r"^true for b is not a number; write one$"):
        refuse_booleans({"a": 1, "b": True}, dict[str, float] | None)
    refuse_booleans({"a": [True, 1]}, dict[str, list[float | bool]])


BOOLEANS_TOO = {
    ("contract/evidence/serialization.py", "isinstance(evidence, str | int | float)"),
    ("load/bounds/limits.py", "isinstance(value, int)"),  # a setting, which is none
    ("profiles/event_rules.py", "isinstance(value, str | int)"),  # of a profile, the same
    ("profiles/expressions.py", "isinstance(value, int | float)"),  # after a test for booleans
    ("profiles/guess.py", "isinstance(step, int)"),  # a place in a list
    ("profiles/request_parts.py", "isinstance(value, str | int | float)"),  # of a request's body
    ("reference/faults/input.py", "isinstance(body.get(name), int | float)"),
}


def test_no_other_code_asks_for_a_number_by_its_type() -> None:
    folder = Path(harness.__file__).parent
    found = set()
    for file in folder.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.Call) or ast.unparse(node.func) != "isinstance":
                continue
            kinds = {name.id for name in ast.walk(node.args[1]) if isinstance(name, ast.Name)}
            if "int" in kinds:
                found.add((str(file.relative_to(folder)), ast.unparse(node)))
    assert {one for one in found if one[0] != "booleans.py"} == BOOLEANS_TOO


def test_what_a_number_is() -> None:
    assert [is_number(value) for value in (1, 1.5, True, False, "1", None)] == [True, True] + 4 * [False]
    assert [is_whole_number(value) for value in (1, 1.5, True, False, "1")] == [True] + 4 * [False]
