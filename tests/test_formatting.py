from __future__ import annotations

import pytest

from harness.formatting import PLAIN_BLOCKS, bar, clock, counted, duration, number, percent, share, sparkline


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0:00"), (59.9, "0:59"), (61, "1:01"), (3600, "1:00:00"), (90061, "25:01:01")]
)
def test_clock(seconds: float, text: str) -> None:
    assert clock(seconds) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "-"),
        (0.0, "0.00"),
        (9.994, "9.99"),
        (9.996, "10.0"),
        (99.94, "99.9"),
        (99.96, "100"),
        (1234.6, "1,235"),
    ],
)
def test_number(value: float | None, text: str) -> None:
    assert number(value) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "-"),
        (0.0, "0.00%"),
        (0.00001, "<0.01%"),
        (0.5, "50.00%"),
        (0.99999, ">99.99%"),
        (1.0, "100.00%"),
    ],
)
def test_a_share_is_0_or_100_percent_only_if_exactly_so(value: float | None, text: str) -> None:
    assert share(value) == text


@pytest.mark.parametrize(
    ("value", "text"), [(None, "-"), (0.0, "0%"), (0.0005, "0.05%"), (0.1234, "12.3%"), (12.5, "1,250%")]
)
def test_percent(value: float | None, text: str) -> None:
    assert percent(value) == text


@pytest.mark.parametrize(
    ("value_ms", "text"),
    [
        (None, "-"),
        (0.085, "85 µs"),
        (12.4, "12.4 ms"),
        (-12.4, "-12.4 ms"),
        (1842.0, "1.84 s"),
        (59_960.0, "1 min"),
        (61_000.0, "1 min 1 s"),
        (7_260_000.0, "2 h 1 min"),
    ],
)
def test_duration(value_ms: float | None, text: str) -> None:
    assert duration(value_ms) == text


@pytest.mark.parametrize(("count", "text"), [(0, "0 streams"), (1, "1 stream"), (12345, "12,345 streams")])
def test_counted(count: int, text: str) -> None:
    assert counted(count, "stream") == text


def test_a_noun_with_an_irregular_plural() -> None:
    assert counted(2, "process", "processes") == "2 processes"


def test_sparkline() -> None:
    assert sparkline([0.0, None, 35.0, 70.0, 99.0], 70.0) == "▁ ▄▇▇"
    assert sparkline([0.0, 7.0], 7.0, PLAIN_BLOCKS) == ".@"
    assert sparkline([0.0, None], 0.0) == "▁ "
    assert sparkline([], 1.0) == ""


@pytest.mark.parametrize(
    ("done", "text"),
    [(-1.0, "----"), (0.0, "----"), (0.49, "#---"), (0.99, "###-"), (1.0, "####"), (2.0, "####")],
)
def test_bar(done: float, text: str) -> None:
    assert bar(done, 4, plain=True) == text
