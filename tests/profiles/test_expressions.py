from __future__ import annotations

from typing import Any

import pytest

from harness.profiles.expressions import Expression

EVENT = {
    "data": {"a": {"b": "x"}, "n": 3, "half": 0.5, "yes": True, "no": False, "none": None, "list": ["p", "q"]}
}


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("data.a.b", "x"),
        ("data.n", "3"),
        ("data.half", "0.5"),
        ("data.yes", "true"),
        ("data.no", "false"),
        ("data.none", None),
        ("data.absent.b", None),
        ("data.a", None),  # an object is no text
        ("join('', data.list)", "pq"),
        ("join('', data.absent)", None),  # a function that does not fit this event
        ("data.list[1]", "q"),
    ],
)
def test_text(text: str, found: str | None) -> None:
    assert Expression(text).text_in(EVENT) == found


@pytest.mark.parametrize(
    ("text", "holds"),
    [
        ("data.a", True),
        ("data.n", True),
        ("data.n == `3`", True),
        ("data.n == '3'", False),
        ("data.no", False),
        ("data.none", False),
        ("data.absent", False),
        ("!(data.absent)", True),
        ("''", False),
        ("`0`", True),  # JMESPath: a number is true
        ("data.a.b == 'x' && data.yes", True),
    ],
)
def test_conditions(text: str, holds: bool) -> None:
    assert Expression(text).holds(EVENT) is holds


@pytest.mark.parametrize("text", ["data.", "a b", "", "data[", "nofunction("])
def test_what_is_no_expression(text: str) -> None:
    with pytest.raises(ValueError, match="is not a JMESPath expression"):
        Expression(text)


@pytest.mark.parametrize("text", ["!data.absent", "data.a && !data.b.c", "join('', !data.x)"])
def test_a_negation_that_is_never_true(text: str) -> None:
    with pytest.raises(ValueError, match=r"write !\(…\)"):
        Expression(text)


def test_equal_by_text() -> None:
    same: set[Any] = {Expression("data.a"), Expression("data.a")}
    assert len(same) == 1
    assert Expression("data.a") != Expression("data.b")
