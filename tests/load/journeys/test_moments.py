"""Joins, resumptions, conflicts and races come at moments that are spread over the gap between events."""

from __future__ import annotations

import random
from collections.abc import Sequence
from itertools import accumulate, pairwise

import pytest
from hypothesis import example, given, strategies

from harness.contract.moments import gap_of_s
from harness.load.journeys.moments import RandomMoments, RunTimes
from tests.contract.exchanges import EVERY_MS, cut_run, no_answer, whole_run

MS = 1_000_000
EVERY_100_MS = [number * 100 * MS for number in range(6)]
IN_BURSTS = [start + read * MS // 4 for start in EVERY_100_MS for read in range(4)]


class ScriptedStream:
    """A stream whose events arrive one per read, at given times."""

    def __init__(self, arrivals_ns: Sequence[int]) -> None:
        self._arrivals_ns = arrivals_ns
        self.waited_for = 0

    @property
    def event_arrivals_ns(self) -> Sequence[int]:
        return self._arrivals_ns[: self.waited_for]

    def wait_for_events(self, count: int) -> bool:
        self.waited_for = min(count, len(self._arrivals_ns))
        return count <= len(self._arrivals_ns)


class Waits(list[float]):
    """A clock that only notes how long it was asked to wait."""

    def moments(self, times: dict[str, RunTimes] | None = None) -> RandomMoments:
        return RandomMoments(random.Random(5), times, sleep=self.append)


def assert_uniform(values: Sequence[float], high: float) -> None:
    """Kolmogorov-Smirnov, at a level of 1 in 1,000; the seed is fixed."""
    count = len(values)
    assert 0 <= min(values) <= max(values) <= high
    distance = max(
        max(abs(value / high - number / count), abs(value / high - (number + 1) / count))
        for number, value in enumerate(sorted(values))
    )
    assert distance < 1.95 / count**0.5


@pytest.mark.parametrize("arrivals_ns", [EVERY_100_MS, IN_BURSTS], ids=["single events", "bursts"])
def test_joins_are_spread_over_the_gap(arrivals_ns: list[int]) -> None:
    waits = Waits()
    moments = waits.moments()
    for _ in range(2000):
        assert moments.wait_for_events(ScriptedStream(arrivals_ns), len(arrivals_ns) - 1, "long")
    assert_uniform(waits, 0.1)


def test_resumptions_are_spread_over_the_gap() -> None:
    waits = Waits()
    moments = waits.moments()
    for _ in range(2000):
        moments.wait_after_cut(cut_run(4), "long")
    assert_uniform(waits, EVERY_MS / 1000)


def test_half_of_the_races_are_spread_over_the_time_to_the_first_event() -> None:
    moments = Waits().moments({"success": RunTimes(first_event_s=0.2)})
    races = [moments.waits_before_first_event_s(2, "success") for _ in range(2000)]
    spread = [waits for waits in races if waits != [0.0, 0.0]]
    assert 900 < len(spread) < 1100
    assert_uniform([moment for waits in spread for moment in accumulate(waits)], 0.2)


def test_the_gap_after_the_first_event_is_known_from_earlier_runs() -> None:
    waits = Waits()
    moments = waits.moments()
    moments.record("long", whole_run())
    moments.record("long", no_answer())
    for _ in range(2000):
        stream = ScriptedStream(EVERY_100_MS)
        assert moments.wait_for_events(stream, 1, "long")
        assert stream.waited_for == 1
    assert_uniform(waits, EVERY_MS / 1000)


def test_an_unknown_gap_is_waited_for() -> None:
    waits = Waits()
    stream = ScriptedStream(IN_BURSTS)
    assert waits.moments().wait_for_events(stream, 1, "long")
    assert stream.waited_for == 5, "the first event of the second burst"
    assert 0 <= waits[0] <= 0.1


def test_a_stream_without_a_gap_is_joined_at_once() -> None:
    waits = Waits()
    assert waits.moments().wait_for_events(ScriptedStream([0, 0, 0]), 1, "long")
    waits.moments().wait_after_cut(cut_run(1), "long")
    assert waits.moments().waits_before_first_event_s(2, "success") == [0.0, 0.0]
    assert waits == []


def test_a_stream_that_ended_is_not_joined() -> None:
    waits = Waits()
    assert not waits.moments().wait_for_events(ScriptedStream(EVERY_100_MS), 7, "long")
    assert waits == []


@given(strategies.lists(strategies.integers(0, 10**11), max_size=30).map(sorted))
@example([0, 2_067_436])  # in seconds and back, it is 2,067,436.0000000002 ns
def test_a_gap_lies_between_the_shortest_and_the_longest(arrivals_ns: list[int]) -> None:
    gap_s = gap_of_s(arrivals_ns)
    if gap_s is not None:
        assert 0.002 <= gap_s <= 5.0
        assert round(gap_s * 1e9) <= arrivals_ns[-1] - arrivals_ns[0], "in whole nanoseconds"
    else:
        assert all(after - before < 2 * MS for before, after in pairwise(arrivals_ns))
