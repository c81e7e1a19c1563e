"""Guards the harness's own speed in CI: how many times faster one way is than another, measured in one run.

Never a time: a busy or slow machine slows both alike. Both are measured in turns, on the thread's own processor time,
and of each the quickest round counts, which is the one that was disturbed least.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from tests.benchmarks.test_decode import EVENTS, _counted_in_full, _counted_regular, _harness, _httpx_sse

pytestmark = pytest.mark.benchmarks

ROUNDS = 15
LEAST_REGULAR = 5.0
"""The path that makes no frames carries the load; against the full decoder it was measured at 12."""

LEAST_REGULAR_OUTSIDE = 1.25
"""The same against httpx-sse, a yardstick outside of this project, which does less; measured at 2.5."""

LEAST_DECODER = 0.2
"""The full decoder against httpx-sse; it notices and keeps more of each frame, and was measured at 0.35."""


def _spent_ns(work: Callable[[], int], events: int) -> int:
    start_ns = time.thread_time_ns()
    counted = work()
    spent_ns = time.thread_time_ns() - start_ns
    assert counted == events
    return spent_ns


def _events_of_regular() -> int:
    return _counted_regular() - 1  # its stream has a terminal event besides


class Race:
    """Two ways to do one thing, in turns."""

    def __init__(self, ours: Callable[[], int], other: Callable[[], int], events: int) -> None:
        self._ways = (ours, other)
        self._events = events
        self.least_ns = [0, 0]

    def round(self) -> None:
        for number, way in enumerate(self._ways):
            spent_ns = _spent_ns(way, self._events)
            self.least_ns[number] = min(self.least_ns[number] or spent_ns, spent_ns)

    @property
    def ratio(self) -> float:
        """How many times the other's time is ours."""
        ours_ns, other_ns = self.least_ns
        return other_ns / ours_ns


def _run(benchmark: BenchmarkFixture, race: Race) -> float:
    benchmark.pedantic(race.round, rounds=ROUNDS, warmup_rounds=2)
    benchmark.extra_info["ratio"] = race.ratio
    return race.ratio


@pytest.mark.benchmark(group="guard: reading without frames, and with")
def test_streams_of_the_common_form_are_read_much_faster(benchmark: BenchmarkFixture) -> None:
    ratio = _run(benchmark, Race(_counted_regular, _counted_in_full, EVENTS + 1))
    assert ratio >= LEAST_REGULAR, f"{ratio:.1f} times as fast, and it must be {LEAST_REGULAR:g}"


@pytest.mark.benchmark(group="guard: reading without frames, and httpx-sse")
def test_streams_of_the_common_form_are_read_faster_than_others_read(benchmark: BenchmarkFixture) -> None:
    ratio = _run(benchmark, Race(_events_of_regular, _httpx_sse, EVENTS))
    assert ratio >= LEAST_REGULAR_OUTSIDE, (
        f"{ratio:.2f} times as fast, and it must be {LEAST_REGULAR_OUTSIDE:g}"
    )


@pytest.mark.benchmark(group="guard: the full decoder, and httpx-sse")
def test_the_full_decoder_does_not_fall_behind(benchmark: BenchmarkFixture) -> None:
    ratio = _run(benchmark, Race(_harness, _httpx_sse, EVENTS))
    assert ratio >= LEAST_DECODER, f"{ratio:.2f} times as fast, and it must be {LEAST_DECODER:g}"


def test_a_guard_can_fail() -> None:
    """The full decoder in the place of the fast path is what it is there to notice."""
    race = Race(_counted_in_full, _counted_in_full, EVENTS + 1)
    for _ in range(3):
        race.round()
    assert race.ratio < LEAST_REGULAR / 2
