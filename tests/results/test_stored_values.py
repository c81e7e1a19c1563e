"""JSON cells of a results file that a stranger wrote."""

from __future__ import annotations

import json

import pytest

from harness.results.stored_values import JSON_DIGITS, bounded_json, without_escaped_surrogates


def test_a_number_has_as_many_digits_as_any_clock_or_counter_has() -> None:
    """Python refuses 4,300 by itself; fewer are still too large for a float."""
    assert bounded_json("9" * JSON_DIGITS) == int("9" * JSON_DIGITS)
    with pytest.raises(ValueError, match=rf"a number of more than {JSON_DIGITS} digits"):
        bounded_json("9" * (JSON_DIGITS + 1))


@pytest.mark.parametrize(
    ("cell", "value"),
    [
        (r'"\ud800"', r"\ud800"),
        (r'"a\udfff\ud83d\ude00"', r"a\udfff" + "\U0001f600"),
        (r'"\\ud800"', r"\ud800"),
        (r'"\u0041"', "A"),
    ],
)
def test_half_a_character_stands_for_itself(cell: str, value: str) -> None:
    assert json.loads(without_escaped_surrogates(cell)) == value
