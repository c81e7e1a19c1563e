import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.reports.text import (
    Gap,
    agree,
    bounded,
    counted,
    duration,
    excerpt,
    milliseconds,
    percent,
    visible,
)
from tests.cases import all_cases


@pytest.mark.parametrize(
    ("hostile", "shown"),
    [
        ("plain, größer, 日本語 and 🙂", "plain, größer, 日本語 and 🙂"),
        ("a\x00b", "a\\x00b"),
        ("\x1b[31mred", "\\x1b[31mred"),
        ("fail\u202essap", "fail\\u202essap"),
        ("\u200b\u2066\ufeff\u2028", "\\u200b\\u2066\\ufeff\\u2028"),
        ("\ud800", "\\ud800"),
        ("\U000e0001", "\\U000e0001"),
        ("line\n\ttab", "line\n\ttab"),
        ("cr\r\n", "cr\\r\n"),
    ],
)
def test_unprintable_characters_are_escaped(hostile: str, shown: str) -> None:
    assert visible(hostile) == shown


@given(st.text())
def test_visible_text_is_valid_utf8_and_stays_unchanged(text: str) -> None:
    shown = visible(text)
    assert visible(shown) == shown
    assert shown.encode().decode() == shown


def test_a_text_at_the_limit_stays_whole() -> None:
    assert bounded("x" * 10, 10) == "x" * 10


def test_a_longer_text_says_how_much_is_omitted() -> None:
    assert bounded("x" * 1244, 10) == "xxxxxxxxxx… (1,234 more characters omitted)"


@pytest.mark.parametrize(
    ("value", "shown"),
    [(None, "\u2013"), (0.0, "0.0"), (0.2134, "0.213"), (1.239, "1.24"), (12.34, "12.3"), (999.94, "999.9"),
     (999.96, "1,000"), (1842.4, "1,842"), (-0.5, "-0.500")],
)  # fmt: skip
def test_milliseconds(value: float | None, shown: str) -> None:
    assert milliseconds(value) == shown


@all_cases(
    ("value", "shown"),
    [(None, "\u2013"), (0.085, "85 µs"), (0.9999, "1 ms"), (12.44, "12.4 ms"), (999.4, "999 ms"), (999.6, "1 s"),
     (1842, "1.84 s"), (59_949, "59.9 s"), (59_960, "1 min"), (90_000, "1 min 30 s"), (3_600_000, "1 h"),
     (5_400_000, "1 h 30 min"), (-12.4, "-12.4 ms")],
)  # fmt: skip
def test_duration(value: float | None, shown: str) -> None:
    assert duration(value) == shown


@pytest.mark.parametrize(
    ("share", "shown"),
    [(None, "\u2013"), (0.0, "0%"), (0.0005, "0.05%"), (0.1234, "12.3%"), (1.0, "100%"), (12.5, "1,250%")],
)
def test_percent(share: float | None, shown: str) -> None:
    assert percent(share) == shown


def test_a_verb_agrees_with_its_count() -> None:
    assert [agree(number, "was", "were") for number in (0, 1, 2)] == ["were", "was", "were"]


def test_counted() -> None:
    assert (counted(1, "stream"), counted(0, "stream"), counted(2000, "stream")) == (
        "1 stream",
        "0 streams",
        "2,000 streams",
    )


def _letters(numbers: range) -> list[tuple[int, str]]:
    return [(number, chr(97 + number)) for number in numbers]


def test_a_short_list_is_shown_whole() -> None:
    assert excerpt(_letters(range(5)), 5, 3, 2) == ["a", "b", "c", "d", "e"]


def test_a_long_list_has_a_gap_in_the_middle() -> None:
    assert excerpt(_letters(range(9)), 9, 2, 1) == ["a", "b", Gap(6), "i"]


def test_kept_items_stay() -> None:
    assert excerpt(_letters(range(9)), 9, 2, 1, frozenset({4, 99, -1})) == [
        "a",
        "b",
        Gap(2),
        "e",
        Gap(3),
        "i",
    ]


def test_existing_holes_are_counted_once() -> None:
    kept = [(0, "a"), (1, "b"), (100, "c"), (101, "d")]
    assert excerpt(kept, 102, 40, 20) == ["a", "b", Gap(98), "c", "d"]
    assert excerpt(kept, 103, 1, 1) == ["a", Gap(100), "d", Gap(1)]


def test_an_empty_list() -> None:
    assert excerpt([], 0, 2, 2) == []
