from __future__ import annotations

import socket
import time
from collections.abc import Callable

import gevent
import pytest

from harness.load.journeys.cpu_yield import CpuYield
from harness.transport.pulse import Pulse


def test_sockets_are_read_between_slices() -> None:
    cpu = CpuYield()
    log: list[str] = []
    near, far = socket.socketpair()
    watcher = gevent.get_hub().loop.io(near.fileno(), 1)

    def readable() -> None:
        log.append(f"read {near.recv(10).decode()}")

    def compute(name: str) -> None:
        cpu.acquire()
        log.append(name)
        far.send(name.encode())

    watcher.start(readable)
    gevent.joinall([gevent.spawn(compute, name) for name in "abc"])
    gevent.sleep(0.01)
    watcher.stop()
    watcher.close()
    near.close()
    far.close()
    assert log == ["a", "read a", "b", "read b", "c", "read c"]


def test_a_long_slice_is_interrupted(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter(range(1000))
    monkeypatch.setattr("harness.load.journeys.cpu_yield.time.perf_counter", lambda: next(clock) * tick_s)
    tick_s = 1.0
    cpu = CpuYield()
    log: list[str] = []

    def compute(name: str) -> None:
        cpu.acquire()
        for step in range(2):
            log.append(f"{name}{step}")
            cpu.yield_if_due()

    gevent.joinall([gevent.spawn(compute, "a"), gevent.spawn(compute, "b")])
    assert log == ["a0", "b0", "a1", "b1"]
    log.clear()
    tick_s = 0.0
    gevent.joinall([gevent.spawn(compute, "a"), gevent.spawn(compute, "b")])
    assert log == ["a0", "a1", "b0", "b1"]


@pytest.mark.parametrize("call", [CpuYield.acquire, CpuYield.yield_if_due])
def test_work_yields_once_to_an_arrival_that_is_due(call: Callable[[CpuYield], None]) -> None:
    cpu = CpuYield(longest_slice_s=60.0)
    log: list[str] = []
    loop = gevent.get_hub().loop

    def calls() -> list[str]:
        """Whether the loop went on before the call returned."""
        log.clear()
        loop.run_callback(log.append, "the loop goes on")
        call(cpu)
        found = [*log]
        gevent.sleep(0)
        return found

    cpu.acquire()
    assert calls() == []
    cpu.expect(time.monotonic_ns() + 60_000_000_000)
    assert calls() == []
    cpu.expect(time.monotonic_ns() - 1)
    assert calls() == ["the loop goes on"]
    assert calls() == []
    cpu.expect(time.monotonic_ns() - 1)
    cpu.expect(None)
    assert calls() == []


@pytest.mark.parametrize(("polled_ago_ms", "waits"), [(0, False), (1, False), (2.5, True), (10, True)])
def test_work_waits_for_no_other_poll_if_the_loop_has_just_polled(
    polled_ago_ms: float, waits: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    now_s = 1000.0
    monkeypatch.setattr("harness.load.journeys.cpu_yield.time.monotonic_ns", lambda: int(now_s * 1e9))
    monkeypatch.setattr("harness.load.journeys.cpu_yield.time.perf_counter", lambda: now_s)
    pulse = Pulse()
    pulse.seen(int(now_s * 1e9 - polled_ago_ms * 1e6))
    cpu = CpuYield(pulse=pulse)
    log: list[str] = []
    other = gevent.spawn(log.append, "another greenlet")
    cpu.acquire()
    assert bool(log) is waits
    if not waits:
        now_s += 0.0029 - polled_ago_ms / 1000  # the slice began with the poll
        cpu.yield_if_due()
        assert not log
        now_s += 0.0002
        cpu.yield_if_due()
        assert log
    other.join()


def test_a_greenlet_killed_while_waiting_does_not_block_others() -> None:
    cpu = CpuYield()
    first = gevent.spawn(cpu.acquire)
    second = gevent.spawn(cpu.acquire)
    gevent.sleep(0)
    second.kill()
    first.join()
    third = gevent.spawn(cpu.acquire)
    third.join(timeout=1)
    assert third.ready()
