import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.profiles.workflow_actions.event_id import StreamId
from tests.cases import all_cases

numbers = st.integers(0, 10**19 - 1)
ids = st.builds(StreamId, numbers, numbers)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1717000000000-0", StreamId(1717000000000, 0)),
        ("0-0", StreamId(0, 0)),
        ("5-10", StreamId(5, 10)),
        ("007-010", StreamId(7, 10)),
        ("9999999999999999999-9999999999999999999", StreamId(10**19 - 1, 10**19 - 1)),
    ],
)
def test_parse(text, expected):
    assert StreamId.parse(text) == expected


@all_cases(
    "text",
    [
        "",
        "-",
        "1",
        "1-",
        "-1",
        "1-2-3",
        "-1-2",
        "1--2",
        "+1-2",
        " 1-2",
        "1-2 ",
        "1 - 2",
        "1-2\n",
        "1_0-2",
        "1.0-2",
        "0x1-2",
        "1-*",
        "$",
        "\u0661-\u0662",
        "1\u20132",
        "\u00b2-1",
        "1" * 301 + "-0",
        "0-" + "1" * 301,
        "9" * 100_000,
    ],
)
def test_what_is_no_id(text):
    with pytest.raises(ValueError, match=r"is not of the form <milliseconds>-<sequence>$") as raised:
        StreamId.parse(text)
    assert repr(text) in str(raised.value)
    assert "\n" not in str(raised.value)


def test_order_is_of_numbers_where_text_has_another():
    texts = ["9-9", "9-10", "10-0", "99-2", "100-1", "100-11", "1000-0"]
    assert texts != sorted(texts)
    assert sorted(sorted(texts), key=StreamId.parse) == texts


@given(ids, ids)
def test_order_is_of_the_pair(one, other):
    by_number = one.ms * 10**19 + one.seq < other.ms * 10**19 + other.seq
    assert (one < other) is by_number
    assert (StreamId.parse(str(one)) < StreamId.parse(str(other))) is by_number


@given(ids)
def test_text_round_trip(one):
    assert StreamId.parse(str(one)) == one
    assert str(one) == f"{one.ms}-{one.seq}"


def test_numbers_of_64_bits_and_more():
    largest = StreamId.parse("18446744073709551615-18446744073709551615")
    assert largest == (2**64 - 1, 2**64 - 1)
    assert StreamId.parse("1-18446744073709551614") < StreamId.parse("1-18446744073709551615") < largest
    assert StreamId.parse("0-" + "9" * 300) > StreamId.parse("0-" + "9" * 299)
