"""What finds the value of an expression without the library finds what the library finds."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import jmespath
import pytest
from pydantic import BaseModel

from harness.profiles import library
from harness.profiles.direct_expressions import direct
from harness.profiles.expressions import Expression
from tests.cases import all_cases
from tests.profiles.test_captures import CAPTURES

DIRECT = [
    "data", "data.a", "data.a.b", "data.a[0].b", "data.a[-1]", "data.a[1].b.c", "data.a || data.b",
    "(data.a || data.b).c",
    "data.a && data.b", "data.a.b == 'x'", "data.a != 'x'", "data.a && 'yes'", "event == 'metadata' && data.run_id",
    "data.a == 'x' || data.b == 'y'", "`0`", 'data."a b"', "data.a.b || `null`", "[0]", "data[0]", "@", "data | a",
]  # fmt: skip
OTHERS = [
    "data.a > `1`",
    "keys(data)",
    "data.a[]",
    "data.a[?b]",
    "!data",
    "data.a == `1`",
    "data.a[0:1]",
    "[data]",
]
VALUES: list[Any] = [
    None, True, False, 0, 1, -1, 1.0, "", "x", "y", [], {}, ["x"], [{"b": "x"}, {"b": {"c": "y"}}], {"b": "x"},
    {"b": {"c": "x"}, "c": "y"}, {"b": []}, [[]], {"b": None},
]  # fmt: skip


def documents() -> Iterator[Any]:
    for first in VALUES:
        yield first
        yield {"data": first, "event": "metadata"}
        for second in VALUES:
            yield {"data": {"a": first, "b": second, "a b": second, "run_id": second}, "event": "x"}


@all_cases("text", DIRECT)
def test_each_finds_what_the_library_finds(text: str) -> None:
    compiled = jmespath.compile(text)
    find = direct(compiled.parsed)
    assert find is not None
    for document in documents():
        found, expected = find(document), compiled.search(document)
        assert (found, type(found)) == (expected, type(expected)), document


@pytest.mark.parametrize("text", OTHERS)
def test_the_rest_is_left_to_the_library(text: str) -> None:
    assert direct(jmespath.compile(text).parsed) is None


def expressions(value: Any) -> Iterator[Expression]:
    if isinstance(value, Expression):
        yield value
    elif isinstance(value, BaseModel):
        for name in type(value).model_fields:
            yield from expressions(getattr(value, name))
    elif isinstance(value, list | tuple):
        for member in value:
            yield from expressions(member)


@pytest.mark.parametrize("name", library.names())
def test_the_rules_of_a_profile_find_what_the_library_finds_in_recorded_events(name: str) -> None:
    texts = {one.text for one in expressions(library.load(name))}
    compiled = [jmespath.compile(text) for text in texts]
    pairs = [(one, find) for one in compiled if (find := direct(one.parsed)) is not None]
    assert pairs
    seen = 0
    for file in sorted(CAPTURES.rglob("success.http")):
        for line in file.read_bytes().splitlines():
            if line.startswith(b"data: {"):
                seen += 1
                document = {"data": json.loads(line[6:]), "event": "message", "id": "1"}
                assert [find(document) for _, find in pairs] == [one.search(document) for one, _ in pairs]
    assert seen > 50
