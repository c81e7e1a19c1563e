from __future__ import annotations

import json
import re
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.protocol import strict_json
from harness.protocol.strict_json import KEPT_DEPTH, _loads_deep, loads
from tests.protocol.test_json_values import JSON


@given(JSON, st.sampled_from([None, 1]))
def test_without_recursion_the_value_is_the_same(value: Any, indent: int | None) -> None:
    text = json.dumps(value, indent=indent)
    assert _loads_deep(text) == loads(text) == json.loads(text)


@given(st.text(alphabet='[]{}",: 0123.eE-+truefalsn\\u\n', max_size=12))
def test_without_recursion_the_same_texts_are_invalid(text: str) -> None:
    try:
        expected = json.loads(text)
    except ValueError:
        with pytest.raises(json.JSONDecodeError):
            _loads_deep(text)
    else:
        assert _loads_deep(text) == expected


@pytest.mark.parametrize("depth", [1, 150, 300, 900, 100_000])
def test_any_depth(depth: int) -> None:
    value = loads("[" * depth + "]" * depth)
    levels = 0
    while value:
        (value,) = value
        levels += 1
    assert levels == min(depth, KEPT_DEPTH) - 1 or depth > KEPT_DEPTH == levels
    with pytest.raises(json.JSONDecodeError):
        loads("[" * depth + "]" * (depth - 1))
    with pytest.raises(ValueError, match="Extra data"):
        loads("[" * depth + "]" * (depth + 1))


def without_levels_below(value: Any, kept: int) -> Any:
    if not isinstance(value, dict | list):
        return value
    if not kept:
        return None
    if isinstance(value, list):
        return [without_levels_below(member, kept - 1) for member in value]
    return {name: without_levels_below(member, kept - 1) for name, member in value.items()}


@given(JSON, st.sampled_from([None, 1]), st.integers(1, 3))
def test_levels_that_are_left_out_change_nothing_else(value: Any, indent: int | None, kept: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(strict_json, "KEPT_DEPTH", kept)
        assert _loads_deep(json.dumps(value, indent=indent)) == without_levels_below(value, kept)


@given(st.text(alphabet='[]{}",: 1a\\', max_size=14))
def test_levels_that_are_left_out_are_checked(inner: str) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(strict_json, "KEPT_DEPTH", 1)
        for text in (f"[[{inner}]]", f'{{"a":[{inner}]}}', f'[{{"a":{inner}}}]', f"[[[{inner}"):
            try:
                expected = without_levels_below(json.loads(text), 1)
            except ValueError:
                with pytest.raises(json.JSONDecodeError):
                    _loads_deep(text)
            else:
                assert _loads_deep(text) == expected


@pytest.mark.parametrize(
    ("opening", "middle", "closing"),
    [
        ('{"a":', "1", "}"),
        ('{ "[" : [ ', '"]"', " ] }"),
        ('[{"a\\"":', "{}", "}]"),
        ("[", "[]", ",1]"),
        ("[1,", "1", "]"),
    ],
)
def test_deep_levels_of_any_kind(opening: str, middle: str, closing: str) -> None:
    loads(opening * 10_000 + middle + closing * 10_000)
    for wrong in (closing * 9_999, closing * 10_001, closing * 9_999 + ")"):
        with pytest.raises(json.JSONDecodeError):
            loads(opening * 10_000 + middle + wrong)


@pytest.mark.parametrize(
    "text", ["NaN", "Infinity", "-Infinity", '{"a":[NaN]}', "[" * 300 + "NaN" + "]" * 300]
)
def test_what_only_python_takes_for_json(text: str) -> None:
    for read in (loads, strict_json.loads_strict):
        with pytest.raises(ValueError, match=r"is not JSON|nested more"):
            read(text)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ('{"a":1,"b":2,"a":3}', "duplicate key 'a'"),
        ("1" * 1001, "a number of more than 1,000 digits"),
        ("0." + "1" * 1000, "a number of more than 1,000 digits"),
        ('"\\ud800"', "a lone surrogate"),
        ('{"\\uDC00":1}', "a lone surrogate"),
        ("[" * 129 + "]" * 129, "nested more than 128 levels deep"),
        ('{"a":' * 100_000, "nested more than 128 levels deep"),
    ],
)
def test_what_common_parsers_read_differently(text: str, problem: str) -> None:
    with pytest.raises(ValueError, match=re.escape(problem)):
        strict_json.loads_strict(text)
    assert strict_json.loads_strict("[" * 128 + '"\\ud83d\\ude80"' + "]" * 128)


def test_numbers_of_any_length() -> None:
    digits = "1" * 5000
    assert loads(digits) == Decimal(digits)
    assert loads("1" * 4000) == int("1" * 4000)
