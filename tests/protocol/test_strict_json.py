from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

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


def test_numbers_of_any_length() -> None:
    digits = "1" * 5000
    assert loads(digits) == Decimal(digits)
    assert loads("1" * 4000) == int("1" * 4000)
