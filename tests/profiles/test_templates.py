from __future__ import annotations

import uuid
from typing import Any

import pytest

from harness.profiles.templates import fill, placeholders, value_in
from tests.cases import all_cases


@pytest.mark.parametrize(
    ("template", "filled"),
    [
        ("${model}", "m"),
        ("a ${model} b ${n}", "a m b 3"),
        ("${n}", 3),  # alone, it keeps its type
        ({"x": ["${object}", "${n}"], "${model}": True}, {"x": [{"k": 1}, 3], "m": True}),
        ({"price": "$5", "none": None}, {"price": "$5", "none": None}),
    ],
)
def test_fill(template: Any, filled: Any) -> None:
    assert fill(template, {"model": "m", "n": 3, "object": {"k": 1}}) == filled


def test_each_uuid_is_new() -> None:
    first, second = fill(["${uuid}", "id-${uuid}"], {})
    assert uuid.UUID(first) != uuid.UUID(second.removeprefix("id-"))


def test_a_placeholder_without_a_value() -> None:
    with pytest.raises(KeyError, match="model"):
        fill({"a": "${model}"}, {})


def test_names_in_any_place() -> None:
    assert set(placeholders({"a${b}": ["${c}", {"d": "${e} ${f}"}], "g": 1, "h": None})) == {
        "b",
        "c",
        "e",
        "f",
    }


@pytest.mark.parametrize("template", ["${}", "${a b}", "${a-b}", "${1}", {"x": ["${ä}"]}])
def test_what_is_no_placeholder(template: Any) -> None:
    with pytest.raises(ValueError, match="is not a placeholder"):
        list(placeholders(template))


@all_cases(
    ("template", "text", "value"),
    [
        ("/runs/${a}/events?after=${id}", "/runs/r/events?after=7", "7"),
        ("/runs/${id}/events", "/runs//events", ""),
        ("/runs/${id}/events", "/runs/events", None),
        ("/runs/${id}/events", "/run/7/events", None),
        ("/runs/${id}/events", "/runs/7/event", None),
        ("${a}:${id}", "x:y:7", "7"),  # the first one takes as much as it can
        ("${id}:${a}", "x:y:7", "x:y"),
        ("${id}-${id}", "7-8", "7"),
        ("${a}${id}", "x", ""),
        ("${a}/b/${id}", "x/c/7", None),
        ("${id}", "7", "7"),
        ("aba${id}ba", "aba", None),  # both ends cannot be the same characters
        ("plain", "plain", None),
    ],
)
def test_what_a_placeholder_was_replaced_with(template: str, text: str, value: str | None) -> None:
    assert value_in(text, template, "id") == value


def test_a_template_of_a_stranger_takes_linear_time() -> None:
    """As regular expressions both would take hours."""
    many = "${a}a" * 5000
    assert value_in("a" * 20_000, many + "${id}b", "id") is None
    assert value_in("a" * 20_000, many + "${id}", "id") == ""
    assert list(placeholders("${" * 400_000)) == []
    with pytest.raises(ValueError, match="is not a placeholder"):
        list(placeholders("${a b}"))
    with pytest.raises(ValueError, match="is not a placeholder"):
        list(placeholders("${${" + "$" * 900_000 + "{}"))
