"""How the ladder is climbed, what counts as held, and which arrivals are exact."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from harness.results.records import StreamRecord
from harness.results.writer import ResultsWriter
from tests.benchmarks.clients import Sample
from tests.benchmarks.parts import FIRST_RUNG, RUNGS, arrivals, climb, holds

SAMPLE = Sample(
    client="ours",
    streams=1000,
    events_per_s=20_000,
    cpu_us_per_event=5.0,
    cpu_share=0.1,
    waited_share=0.0,
    open_streams=980.0,
    rss_bytes=1,
    truth={"lateness_us": {"p99": 50_000.0}},
    lag_ms={"p99": 9.0},
    lag_by_send_ms={"p99": 10.0},
)


def holding(limit: int, *, fails_at_first: tuple[int, ...] = ()) -> tuple[list[int], Callable[[int], bool]]:
    """A client that holds `limit`, and fails these rungs the first time."""
    tried: list[int] = []

    def is_held(streams: int) -> bool:
        tried.append(streams)
        return streams <= limit and not (streams in fails_at_first and tried.count(streams) == 1)

    return tried, is_held


def test_it_climbs_to_the_last_rung_that_is_held() -> None:
    tried, is_held = holding(300)
    assert list(climb((100, 200, 300, 400, 500), 200, is_held)) == [200, 300]
    assert tried == [200, 300, 400, 400]


def test_a_rung_is_tried_twice_before_it_is_given_up() -> None:
    tried, is_held = holding(300, fails_at_first=(200, 300))
    assert list(climb((200, 300, 400), 200, is_held)) == [200, 300]
    assert tried == [200, 200, 300, 300, 400, 400]


def test_it_climbs_down_where_the_first_is_too_high() -> None:
    tried, is_held = holding(100)
    assert list(climb((100, 200, 300, 400), 300, is_held)) == [None, 100]
    assert tried == [300, 300, 200, 200, 100]


def test_it_may_hold_none_or_all() -> None:
    assert list(climb((100, 200), 200, holding(0)[1])) == [None]
    assert list(climb((100, 200), 100, holding(999)[1])) == [100, 200]


def test_every_client_begins_on_a_rung() -> None:
    assert set(FIRST_RUNG.values()) <= set(RUNGS)
    assert list(RUNGS) == sorted(set(RUNGS))


@pytest.mark.parametrize(
    ("change", "held"),
    [
        ({}, True),
        ({"lag_ms": {"p99": 10.01}}, False),
        ({"lag_by_send_ms": {"p99": 10.01}}, False),
        ({"lag_by_send_ms": None}, True),
        ({"lag_ms": {"p99": None}}, False),
        ({"open_streams": 949.9}, False),
        ({"problem": "3 streams failed"}, False),
        ({"truth": {"lateness_us": {"p99": 50_010.0}}}, False),
    ],
)
def test_what_counts_as_held(change: dict[str, Any], held: bool) -> None:
    assert holds(replace(SAMPLE, **change)) is held


@pytest.mark.parametrize(
    ("places", "wrong"),
    [
        (range(50), 0),
        ([0, 1, 2, 4], 1),  # 3 is missing
        ([0, 1, 1, 2], 1),  # 1 comes twice
        ([0, 1, 1, 3], 2),
    ],
)
def test_an_arrival_out_of_its_place_is_found(tmp_path: Path, places: Any, wrong: int) -> None:
    with ResultsWriter(tmp_path / "results.sqlite") as writer:
        writer.add_streams(
            StreamRecord(
                journey="fresh",
                step="run",
                worker=f"worker-{place % 2}",
                # Clocks are read a moment apart, so a due time wavers by some microseconds.
                intended_ns=1_700_000_000_000_000_000 + place * 2_000_000 + place % 3 * 20_000,
                outcome="done",
            )
            for place in places
        )
        for place in places:
            writer.add_ledger("worker-0", 1_700_000_000 + place // 500, "fresh", "scheduled")
            writer.add_ledger("worker-0", 1_700_000_000 + place // 500, "fresh", "done")
    found = arrivals(tmp_path / "results.sqlite")
    assert found["missing_or_doubled"] == wrong
    assert found["scheduled"] == found["rows"] == len(list(places))
