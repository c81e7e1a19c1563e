"""Runs and their registry."""

from __future__ import annotations

import asyncio
from itertools import pairwise

import pytest

from harness.profiles.workflow_actions.event_id import StreamId
from harness.reference.runs import Event, RegistryFullError, Run, RunRegistry, next_id


def make_run(name: str = "r", organization: str = "org-1", keyed: bool = True) -> Run:
    return Run(organization, name, b"", (organization, "key", name) if keyed else None)


def event(ms: int, seq: int = 0) -> Event:
    return Event(StreamId(ms, seq), "token", "{}")


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.mark.parametrize(
    ("last", "now_ms", "expected"),
    [
        (None, 5, (5, 0)),
        (StreamId(5, 0), 6, (6, 0)),
        (StreamId(5, 9), 5, (5, 10)),
        (StreamId(5, 0), 4, (5, 1)),  # the clock went back
    ],
)
def test_next_id(last, now_ms, expected):
    assert next_id(last, now_ms) == StreamId(*expected)


def test_ids_increase_even_if_the_clock_goes_back():
    ids = [next_id(None, 10)]
    for now_ms in (10, 9, 11, 11, 3, 12):
        ids.append(next_id(ids[-1], now_ms))
    assert all(before < after for before, after in pairwise(ids))


def test_index_after_compares_numbers():
    run = make_run()
    for seq in range(12):
        run.append(event(7, seq))
    assert run.index_after(StreamId(7, 9)) == 10
    assert run.index_after(StreamId(7, 11)) == 12
    assert run.index_after(StreamId(7, 12)) is None
    assert run.index_after(StreamId(6, 3)) is None
    assert make_run().index_after(StreamId(1, 1)) is None


def test_no_event_after_the_end():
    run = make_run()
    run.append(event(1))
    run.end()
    with pytest.raises(RuntimeError, match="'r' has ended"):
        run.append(event(2))
    assert len(run.events) == 1


def test_waiting_readers():
    async def scenario() -> None:
        run = make_run()
        assert await run.more_than(0, 0.01) is False
        readers = [asyncio.create_task(run.more_than(0, 5)) for _ in range(3)]
        await asyncio.sleep(0)
        run.append(event(1))
        assert await asyncio.gather(*readers) == [True] * 3
        assert await run.more_than(0, 0) is True
        last = asyncio.create_task(run.more_than(1, 5))
        disconnected = asyncio.create_task(run.more_than(1, 5))
        await asyncio.sleep(0)
        disconnected.cancel()
        run.end()
        assert await last is True
        assert await run.more_than(99, 0) is True
        assert not run._waiters

    asyncio.run(scenario())


def test_an_event_that_comes_in_the_same_turn_as_the_timeout_is_not_missed():
    async def scenario() -> bool:
        run = make_run()
        reader = asyncio.create_task(run.more_than(0, 0))
        await asyncio.sleep(0)
        asyncio.get_running_loop().call_later(0, run.append, event(1))  # after the timer, before the reader
        return await reader

    assert asyncio.run(scenario()) is True


def test_runs_are_found_by_identity_and_the_newest_by_run_id():
    registry = RunRegistry(ttl_s=10, max_runs=10)
    first, second = make_run("a"), Run("org-1", "a", b"", ("org-1", "key", "b"))
    foreign = make_run("a", "org-2")
    for run in (first, second, foreign):
        registry.add(run)
    assert registry.find(("org-1", "key", "a")) is first
    assert registry.find(("org-1", "key", "c")) is None
    assert registry.find_by_run_id("org-1", "a") is second
    assert registry.find_by_run_id("org-2", "a") is foreign
    registry.forget(first)
    assert registry.find(("org-1", "key", "a")) is None
    assert registry.find_by_run_id("org-1", "a") is second


def test_finished_runs_expire_after_their_time_to_live():
    clock = Clock()
    registry = RunRegistry(ttl_s=10, max_runs=10, clock=clock)
    done, in_flight = make_run("done"), make_run("in flight")
    registry.add(done)
    registry.add(in_flight)
    registry.retire(done)
    clock.now = 9.9
    assert registry.find(("org-1", "key", "done")) is done
    clock.now = 10
    assert registry.find(("org-1", "key", "done")) is None
    assert registry.find_by_run_id("org-1", "done") is None
    assert registry.find(("org-1", "key", "in flight")) is in_flight
    assert len(registry) == 1


def test_at_the_limit_the_oldest_finished_run_is_removed():
    registry = RunRegistry(ttl_s=1000, max_runs=3)
    runs = [make_run(str(number)) for number in range(4)]
    for run in runs[:3]:
        registry.add(run)
    with pytest.raises(RegistryFullError):
        registry.add(runs[3])
    registry.retire(runs[1])
    registry.retire(runs[0])
    registry.add(runs[3])
    assert registry.find(("org-1", "key", "1")) is None
    assert registry.find(("org-1", "key", "0")) is runs[0]
    assert registry.running == {runs[2], runs[3]}
    assert len(registry) == 3


def test_a_run_without_identity():
    registry = RunRegistry(ttl_s=1000, max_runs=1)
    first = make_run("x", keyed=False)
    registry.add(first)
    registry.retire(first)
    assert registry.find_by_run_id("org-1", "x") is first
    registry.add(make_run("y", keyed=False))
    assert registry.find_by_run_id("org-1", "x") is None


def test_a_closed_registry_accepts_no_runs():
    registry = RunRegistry(ttl_s=10, max_runs=10)
    registry.close()
    with pytest.raises(RegistryFullError):
        registry.add(make_run())
