"""A JSON text in pieces is the text as a whole."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.results.json_text import json_pieces, json_text

VALUES: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=100) | st.dictionaries(st.text(), inner),
)


@given(VALUES)
def test_the_pieces_together_are_the_text(value: Any) -> None:
    assert "".join(json_pieces(value)) == json_text(value)


def test_half_a_character_and_other_text_is_ascii() -> None:
    assert json_text({"ä\ud800": "\u202e"}) == r'{"\u00e4\ud800":"\u202e"}'
    with pytest.raises(ValueError, match="not JSON compliant"):
        list(json_pieces({"a": [1.0] * 100 + [float("nan")]}))


def test_a_piece_has_a_few_values_of_a_long_list() -> None:
    value = {"recorded": {"reads": [[1, 2, "x" * 1000]] * 1000}}
    assert max(map(len, json_pieces(value))) < 40_000
