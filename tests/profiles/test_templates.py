from __future__ import annotations

import uuid
from typing import Any

import pytest

from harness.profiles.templates import fill, placeholders


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
