"""The ladder, sustained samples, and exact arrivals."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from harness.results.records import StreamRecord
from harness.results.writer import ResultsWriter
from tests.benchmarks.clients import Sample
from tests.benchmarks.parts import FIRST_RUNG, RUNGS, arrivals, climb, is_sustained

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


def client(limit: int, *, fails_once: tuple[int, ...] = ()) -> tuple[list[int], Callable[[int], bool]]:
    """A client that sustains `limit` streams, and fails some rungs the first time. Returns also its attempts."""
    tried: list[int] = []

    def attempt(streams: int) -> bool:
        tried.append(streams)
        return streams <= limit and not (streams in fails_once and tried.count(streams) == 1)

    return tried, attempt


def test_it_climbs_to_the_last_sustained_rung() -> None:
    tried, attempt = client(300)
    assert list(climb((100, 200, 300, 400, 500), 200, attempt)) == [200, 300]
    assert tried == [200, 300, 400, 400]


def test_a_failed_rung_is_tried_twice() -> None:
    tried, attempt = client(300, fails_once=(200, 300))
    assert list(climb((200, 300, 400), 200, attempt)) == [200, 300]
    assert tried == [200, 200, 300, 300, 400, 400]


def test_it_climbs_down_if_the_first_rung_is_too_high() -> None:
    tried, attempt = client(100)
    assert list(climb((100, 200, 300, 400), 300, attempt)) == [None, 100]
    assert tried == [300, 300, 200, 200, 100]


def test_no_rung_or_every_rung_is_sustained() -> None:
    assert list(climb((100, 200), 200, client(0)[1])) == [None]
    assert list(climb((100, 200), 100, client(999)[1])) == [100, 200]


def test_every_client_starts_on_a_rung() -> None:
    assert set(FIRST_RUNG.values()) <= set(RUNGS)
    assert list(RUNGS) == sorted(set(RUNGS))


@pytest.mark.parametrize(
    ("change", "sustained"),
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
def test_is_sustained(change: dict[str, Any], sustained: bool) -> None:
    assert is_sustained(replace(SAMPLE, **change)) is sustained


@pytest.mark.parametrize(
    ("places", "wrong"),
    [
        (range(50), 0),
        ([0, 1, 2, 4], 1),  # 3 is missing
        ([0, 1, 1, 2], 1),  # 1 is repeated
        ([0, 1, 1, 3], 2),
    ],
)
def test_missing_and_repeated_arrivals_are_counted(tmp_path: Path, places: Any, wrong: int) -> None:
    with ResultsWriter(tmp_path / "results.sqlite") as writer:
        writer.add_streams(
            StreamRecord(
                journey="fresh",
                step="run",
                worker=f"worker-{place % 2}",
                # Clocks are not read at the same instant, so due times vary by some microseconds.
                intended_ns=1_700_000_000_000_000_000 + place * 2_000_000 + place % 3 * 20_000,
                outcome="done",
            )
            for place in places
        )
        for place in places:
            writer.add_ledger("worker-0", 1_700_000_000 + place // 500, "fresh", "scheduled")
            writer.add_ledger("worker-0", 1_700_000_000 + place // 500, "fresh", "done")
    result = arrivals(tmp_path / "results.sqlite")
    assert result["missing_or_doubled"] == wrong
    assert result["scheduled"] == result["rows"] == len(list(places))
