"""The short form of the long run, and proof that growth is detected."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.load.distributed.delivery import Deduplicator
from harness.load.stats.stats_batch import StatsBatch
from harness.results.records import ProcessRecord
from tests.truth.memory import courses, measure

GENEROUS_KB_PER_MIN = 8_000
"""Within half a minute the steps of the allocator show. Keeping the evidence of each stream would exceed this."""


@pytest.mark.slow
def test_memory_does_not_grow_with_time(tmp_path: Path) -> None:
    (local,) = measure(tmp_path, streams=100, seconds=40)
    assert local.worker == "local"
    assert len(local.measured) >= 16
    assert local.slope_kb_per_min < GENEROUS_KB_PER_MIN, local.by_minute()


def rows(worker: str, sizes_kb: list[int]) -> list[ProcessRecord]:
    return [
        ProcessRecord(worker=worker, second=1000 + number, cpu=0.1, rss_bytes=size * 1024, open_streams=1)
        for number, size in enumerate(sizes_kb)
    ]


def test_growth_is_detected_in_the_process_that_grows() -> None:
    grows = [100_000 + 10 * second for second in range(300)]
    found = courses([*rows("a", [50_000] * 300), *rows("b", grows)], spawn_s=5, seconds=290)
    assert [course.worker for course in found] == ["a", "b"]
    assert [round(course.slope_kb_per_min, 6) for course in found] == [0, 600]
    assert [len(course.rows) for course in found] == [285, 285]
    assert found[1].by_minute()[:2] == [(100_000 + 345) / 1024, (100_000 + 945) / 1024]
    assert len(found[1].by_minute()) == 5


def test_ramp_up_and_ramp_down_do_not_count() -> None:
    sizes = [10_000 * second for second in range(10)] + [100_000] * 80 + [500_000] * 10
    (course,) = courses(rows("a", sizes), spawn_s=10, seconds=90)
    assert {row.rss_bytes for row in course.rows} == {100_000 * 1024}
    assert course.slope_kb_per_min == 0


def test_the_first_fifth_is_warming_up() -> None:
    sizes = list(range(20)) + [20] * 80
    (course,) = courses(rows("a", sizes), spawn_s=0, seconds=100)
    assert course.slope_kb_per_min == 0
    assert len(course.measured) == 80


def test_the_master_keeps_nothing_of_merged_batches() -> None:
    delivered: list[str] = []
    deduplicator = Deduplicator("t", lambda _, worker: delivered.append(worker))
    content = StatsBatch().to_message()
    numbers = [*range(1, 2_000), 0, *range(1_000, 3_000), 3_001, 3_000]
    for number in numbers:
        for client in ("a", "b"):
            message = {"test": "t", "worker": client, "batches": [[number, content]]}
            assert deduplicator.receive(client, message) == [number]
    assert delivered.count("a") == delivered.count("b") == 3_002
    assert dict(deduplicator._received_below) == {"a": 3_002, "b": 3_002}
    assert deduplicator._received_above == {"a": set(), "b": set()}
