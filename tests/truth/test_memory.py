"""The short form of the long run, and proof that growth is seen."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.load.distributed.delivery import Deduplicator
from harness.load.stats.stats_batch import StatsBatch
from harness.results.records import ProcessRecord
from tests.truth.memory import courses, hold

GENEROUS_KB_PER_MIN = 8_000
"""In a few seconds an allocator's steps weigh. Who kept the bytes that a hundred streams bring would take more."""


@pytest.mark.slow
def test_memory_does_not_grow_with_time(tmp_path: Path) -> None:
    (local,) = hold(tmp_path, streams=100, seconds=20)
    assert local.worker == "local"
    assert len(local.settled) >= 8
    assert local.slope_kb_per_min < GENEROUS_KB_PER_MIN, local.by_minute()


def rows(worker: str, sizes_kb: list[int]) -> list[ProcessRecord]:
    return [
        ProcessRecord(worker=worker, second=1000 + number, cpu=0.1, rss_bytes=size * 1024, open_streams=1)
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


def test_a_master_keeps_nothing_of_parcels_that_it_has_merged() -> None:
    delivered: list[str] = []
    inbox = Deduplicator("t", lambda _, worker: delivered.append(worker))
    parcel = StatsBatch().to_message()
    numbers = [*range(1, 2_000), 0, *range(1_000, 3_000), 3_001, 3_000]
    for number in numbers:
        for client in ("a", "b"):
            message = {"test": "t", "worker": client, "parcels": [[number, parcel]]}
            assert inbox.take(client, message) == [number]
    assert delivered.count("a") == delivered.count("b") == 3_002
    assert dict(inbox._whole) == {"a": 3_002, "b": 3_002}
    assert inbox._beyond == {"a": set(), "b": set()}
