from __future__ import annotations

import json
from decimal import Decimal

from hypothesis import given
from hypothesis import strategies as st

from harness.protocol.json_values import canonical_text, tagged_value
from tests.cases import all_cases

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text() | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=4),
    max_leaves=12,
)


def canonical(text: str) -> str:
    return canonical_text(tagged_value(text))


@all_cases(
    "same",
    [
        ["1", "1.0", "1e0", "1E+0", "10e-1", "0.1e1", "100e-2", "1.000000000000000000000000000000"],
        ["0", "-0", "0.0", "-0e9", "0e-99999999999"],
        ["-1.5", "-15e-1", "-0.15e+1"],
        ["12345678901234567890123", "12345678901234567890123.0", "1.2345678901234567890123e22"],
        ["1e400", "10e399", "1" + "0" * 400],
        ["9" * 5000, "9" * 5000 + ".0", "9" * 5000 + "0e-1"],
        ['"a"', r'"\u0061"'],
        ['"\U0001f600"', r'"\ud83d\ude00"', r'"\uD83D\uDE00"'],
        [r'"\ud83d"', r'"\uD83D"'],
        [r'"\/\n"', r'"/\u000a"', r'"\u002F\u000A"'],
        ['{"a":1,"b":[1,{"c":2}]}', '{ "b" : [1.0, {"\\u0063":2}],\n "a":1e0 }'],
        ['{"a":1,"a":2}', '{"a":2}'],
    ],
    ids=lambda same: same[0][:30],
)
def test_texts_of_one_value(same: list[str]) -> None:
    assert len({canonical(text) for text in same}) == 1


@all_cases(
    ("left", "right"),
    [
        ("1", '"1"'),
        ("1", "true"),
        ("0", "false"),
        ("null", '""'),
        ("1", "1.0000000000000000000000000001"),
        ("9007199254740993", "9007199254740992"),
        ("1e400", "1e401"),
        ("-1", "1"),
        ("1" * 5000, "1" * 5001),
        ("[]", "{}"),
        ("[1,2]", "[2,1]"),
        ('{"a":1}', '{"a":1,"b":null}'),
        ('{"a":1}', '{"A":1}'),
        ('"e\u0301"', '"\u00e9"'),
        ('" a"', '"a"'),
        ('{"1e0":1}', '{"1":1}'),
        ("NaN", "Infinity"),
        ("1e" + "9" * 5000, "1e" + "9" * 5001),
    ],
)
def test_texts_of_two_values(left: str, right: str) -> None:
    assert canonical(left) != canonical(right)


@given(JSON, st.booleans(), st.sampled_from([None, 1, "\t"]))
def test_how_a_value_is_written_makes_no_difference(
    value: object, ascii_only: bool, indent: int | str | None
) -> None:
    written = json.dumps(value, ensure_ascii=ascii_only, indent=indent, sort_keys=True)
    assert canonical(written) == canonical(json.dumps(value))


@given(JSON, JSON)
def test_different_values_differ(left: object, right: object) -> None:
    one, other = json.dumps(left), json.dumps(right)
    exact = [json.loads(text, parse_int=Decimal, parse_float=Decimal) for text in (one, other)]
    same_types = repr(exact[0]) == repr(exact[1])
    if canonical(one) == canonical(other):
        assert exact[0] == exact[1]
    else:
        assert not same_types
