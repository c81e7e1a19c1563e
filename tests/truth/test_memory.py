"""The short form of the long run, and proof that growth is seen."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.results.store import ProcessRow
from tests.truth.memory import courses, hold

GENEROUS_KB_PER_MIN = 8_000
"""In a few seconds an allocator's steps weigh. Who kept the bytes that a hundred streams bring would take more."""


@pytest.mark.slow
def test_memory_does_not_grow_with_time(tmp_path: Path) -> None:
    (local,) = hold(tmp_path, streams=100, seconds=20)
    assert local.worker == "local"
    assert len(local.settled) >= 8
    assert local.slope_kb_per_min < GENEROUS_KB_PER_MIN, local.by_minute()


def rows(worker: str, sizes_kb: list[int]) -> list[ProcessRow]:
    return [
        ProcessRow(worker=worker, second=1000 + number, cpu=0.1, rss_bytes=size * 1024, open_streams=1)
        for number, size in enumerate(sizes_kb)
    ]


def test_growth_is_seen_in_the_process_that_grows() -> None:
    grows = [100_000 + 10 * second for second in range(300)]
    found = courses([*rows("a", [50_000] * 300), *rows("b", grows)], spawn_s=5, seconds=290)
    assert [one.worker for one in found] == ["a", "b"]
    assert [round(one.slope_kb_per_min, 6) for one in found] == [0, 600]
    assert [len(one.rows) for one in found] == [285, 285]
    assert found[1].by_minute()[:2] == [(100_000 + 345) / 1024, (100_000 + 945) / 1024]
    assert len(found[1].by_minute()) == 5


def test_what_comes_while_streams_come_up_and_go_does_not_count() -> None:
    sizes = [10_000 * second for second in range(10)] + [100_000] * 80 + [500_000] * 10
    (one,) = courses(rows("a", sizes), spawn_s=10, seconds=90)
    assert {row.rss_bytes for row in one.rows} == {100_000 * 1024}
    assert one.slope_kb_per_min == 0


def test_the_first_fifth_is_warming_up() -> None:
    sizes = list(range(20)) + [20] * 80
    (one,) = courses(rows("a", sizes), spawn_s=0, seconds=100)
    assert one.slope_kb_per_min == 0
    assert len(one.settled) == 80
