from __future__ import annotations

import pytest

from harness.formatting import PLAIN_BLOCKS, bar, clock, number, share, sparkline


@pytest.mark.parametrize(
    ("seconds", "said"), [(0, "0:00"), (59.9, "0:59"), (61, "1:01"), (3600, "1:00:00"), (90061, "25:01:01")]
)
def test_clock(seconds: float, said: str) -> None:
    assert clock(seconds) == said


@pytest.mark.parametrize(
    ("value", "said"),
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
def test_number(value: float | None, said: str) -> None:
    assert number(value) == said


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (None, "-"),
        (0.0, "0.00%"),
        (0.00001, "<0.01%"),
        (0.5, "50.00%"),
        (0.99999, ">99.99%"),
        (1.0, "100.00%"),
    ],
)
def test_a_share_is_nothing_or_all_only_where_it_is_so(value: float | None, said: str) -> None:
    assert share(value) == said


def test_sparkline() -> None:
    assert sparkline([0.0, None, 35.0, 70.0, 99.0], 70.0) == "▁ ▄▇▇"
    assert sparkline([0.0, 7.0], 7.0, PLAIN_BLOCKS) == ".@"
    assert sparkline([0.0, None], 0.0) == "▁ "
    assert sparkline([], 1.0) == ""


@pytest.mark.parametrize(
    ("done", "said"),
    [(-1.0, "----"), (0.0, "----"), (0.49, "#---"), (0.99, "###-"), (1.0, "####"), (2.0, "####")],
)
def test_bar(done: float, said: str) -> None:
    assert bar(done, 4, plain=True) == said
