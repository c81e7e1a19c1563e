from __future__ import annotations

from typing import Any

import pytest

from harness.profiles.expressions import Expression
from tests.cases import all_cases

EVENT = {
    "data": {"a": {"b": "x"}, "n": 3, "half": 0.5, "yes": True, "no": False, "none": None, "list": ["p", "q"]}
}


@all_cases(
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


@all_cases(
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


@pytest.mark.parametrize("text", ["data.final == `True`", "data.a.b == `x`", "`[`", "data.n == `3` && `yes`"])
@pytest.mark.filterwarnings("ignore")  # as outside pytest
def test_a_literal_that_is_not_json_is_refused(text: str) -> None:
    """jmespath would read a text: `True` would equal no truth value of an event."""
    for _ in range(2):  # the library caches
        with pytest.raises(ValueError, match="`…` is for values in JSON: write a text as '…'"):
            Expression(text)


DOUBLED = " | ".join(["[@, @]"] * 7)
STRANGERS = {
    "long": ("a" * 1001, "has more than 1,000 characters"),
    "a quote that stays open": ("'" + "x" * 900, "is not a JMESPath expression"),
    "parentheses": ("(" * 499 + "a" + ")" * 499, "is nested more than 30 levels deep"),
    "parentheses, few": ("(" * 29 + "!a" + ")" * 29, ""),
    "negations": ("!" * 900 + "a", "is nested more than 30 levels deep"),
    "pipes": ("|".join("a" * 400), "is nested more than 30 levels deep"),
    "a deep literal": ("`" + "[" * 990 + "`", "is nested more than 30 levels deep|is for values in JSON"),
    "lists that stay open": ("[" * 900, "is nested more than 30 levels deep"),
    "a number of 900 digits": (f"a[{'9' * 900}]", ""),
    "lists doubled": (DOUBLED, "more than 100 times as large"),
    "lists doubled in a function": (f"to_string({DOUBLED})", "more than 100 times as large"),
    "objects doubled": (" | ".join(["{a: @, b: @}"] * 7), "more than 100 times as large"),
    "texts doubled": (" | ".join(["join('', [@, @])"] * 7), "more than 100 times as large"),
    "a separator of the server": ("join(data.a, data.list)", "more than 100 times as large"),
    "a long separator": (f"join('{'x' * 101}', data.list)", "more than 100 times as large"),
    "quotes in quotes": ("to_string([to_string([to_string([a])])])", "more than 100 times as large"),
    "loops in loops": (
        "map(&map(&map(&a, `[1,2,3,4,5]`), `[1,2,3,4,5]`), `[1,2,3,4,5]`)",
        "more than 100 times as large",
    ),
    "wide": ("[" + ",".join("a" * 101) + "]", "more than 100 times as large"),
    "not so wide": ("[" + ",".join("a" * 100) + "]", ""),
    "a comparison with a long text": (f"a == '{'x' * 900}'", ""),
}


@all_cases(("text", "problem"), STRANGERS.values(), ids=STRANGERS)
def test_what_would_take_long_or_much_is_refused(text: str, problem: str) -> None:
    if not problem:
        Expression(text).find(EVENT)
        return
    with pytest.raises(ValueError, match=problem) as refused:
        Expression(text)
    assert len(str(refused.value)) < 400


@pytest.mark.parametrize(
    "text",
    [
        "ceil(data.infinite)",
        "avg(data.large)",
        "data.a.b < data.n",
        "contains(data.a.b, data.n)",
        "merge(data, data.list)",
        "data.list[0:1:0]",
        "sum(data.list)",
    ],
)
def test_a_value_that_an_expression_is_not_for_is_none(text: str) -> None:
    """A server decides what is in an event."""
    document = {"data": {**EVENT["data"], "infinite": float("inf"), "large": [10**3999, 10**3999]}}
    assert Expression(text).find(document) is None


@pytest.mark.parametrize("text", ["!data.absent", "data.a && !data.b.c", "join('', !data.x)"])
def test_a_negation_that_is_never_true(text: str) -> None:
    with pytest.raises(ValueError, match=r"write !\(…\)"):
        Expression(text)


def test_equal_by_text() -> None:
    same: set[Any] = {Expression("data.a"), Expression("data.a")}
    assert len(same) == 1
    assert Expression("data.a") != Expression("data.b")
