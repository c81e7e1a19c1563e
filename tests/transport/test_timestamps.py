from __future__ import annotations

import socket
import time

import pytest

from harness.contract.decoding.read_log import Read
from harness.transport import timestamps
from harness.transport.timestamps import (
    HAS_KERNEL_TIMESTAMPS,
    enable_kernel_timestamps,
    keep_kernel_timestamps_on,
    read_with_timestamp,
)
from tests.transport.servers import connected


def read_within(sock: socket.socket, limit_s: float = 5.0) -> Read:
    deadline = time.monotonic() + limit_s
    while True:
        try:
            return Read(*read_with_timestamp(sock))
        except BlockingIOError:
            assert time.monotonic() < deadline, "nothing arrived"
            time.sleep(0.001)


@pytest.mark.skipif(not HAS_KERNEL_TIMESTAMPS, reason="no kernel timestamps on this system")
def test_arrival_is_the_kernels_timestamp() -> None:
    with connected() as (ours, peer):
        keep_kernel_timestamps_on()
        time.sleep(0.05)  # the kernel turns timestamping on with a delay
        enable_kernel_timestamps(ours)
        before_ns = time.monotonic_ns()
        peer.sendall(b"abc")
        sent_ns = time.monotonic_ns()
        time.sleep(0.2)
        read = read_within(ours)
        read_ns = time.monotonic_ns()
    assert read.data == b"abc"
    assert read.lag_ns is not None
    assert read.lag_ns > 0.19e9
    assert read.arrival_ns + read.lag_ns <= read_ns
    assert before_ns <= read.arrival_ns
    assert read.arrival_ns < max(sent_ns, read_ns - 190_000_000)


def test_without_a_kernel_timestamp_arrival_is_the_time_of_the_read() -> None:
    with connected() as (ours, peer):
        peer.sendall(b"abc")
        before_ns = time.monotonic_ns()
        read = read_within(ours)
    assert (read.data, read.lag_ns) == (b"abc", None)
    assert before_ns <= read.arrival_ns <= time.monotonic_ns()


def test_systems_without_kernel_timestamps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timestamps, "HAS_KERNEL_TIMESTAMPS", False)
    with connected() as (ours, peer):
        enable_kernel_timestamps(ours)
        peer.sendall(b"abc")
        read = read_within(ours)
    assert (read.data, read.lag_ns) == (b"abc", None)


@pytest.mark.skipif(not HAS_KERNEL_TIMESTAMPS, reason="no kernel timestamps on this system")
@pytest.mark.parametrize("wrong_by_ns", [-3_600_000_000_000, 3_600_000_000_000])
def test_a_timestamp_from_before_a_clock_change_is_ignored(
    monkeypatch: pytest.MonkeyPatch, wrong_by_ns: int
) -> None:
    real = time.time_ns
    monkeypatch.setattr(timestamps, "_clock_offset", timestamps.ClockOffset())
    monkeypatch.setattr(timestamps.time, "time_ns", lambda: real() + wrong_by_ns)
    with connected() as (ours, peer):
        enable_kernel_timestamps(ours)
        peer.sendall(b"abc")
        before_ns = time.monotonic_ns()
        read = read_within(ours)
    assert read.lag_ns is None
    assert read.arrival_ns >= before_ns


def test_a_slow_measurement_of_the_clock_offset_is_repeated(monkeypatch: pytest.MonkeyPatch) -> None:
    ticks = iter([0, 5_000_000, 5_000_800])  # 5 ms pass in the first pair, 0.8 us in the second
    walls = iter([100, 5_000_600])
    monkeypatch.setattr(timestamps.time, "monotonic_ns", lambda: next(ticks))
    monkeypatch.setattr(timestamps.time, "time_ns", lambda: next(walls))
    offset = timestamps.ClockOffset()
    assert offset.at_ns(0) == 200
    assert offset.at_ns(7_000_799) == 200  # valid for 2 ms: the clocks are not read again


def test_of_slow_measurements_of_the_clock_offset_the_fastest_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a slow machine each reading takes more than 1 us, and is off by half of its time at most."""
    ticks = iter([0, 9_000, 15_000, 17_000, 25_000, 32_000])
    walls = iter([9_000, 15_000, 16_500, 25_000, 32_000])  # in the third, half a microsecond off the middle
    monkeypatch.setattr(timestamps.time, "monotonic_ns", lambda: next(ticks))
    monkeypatch.setattr(timestamps.time, "time_ns", lambda: next(walls))
    assert timestamps.ClockOffset().at_ns(0) == 500


@pytest.mark.parametrize("at_ns", [7_001_000, 5_000_999, 60_000_000_000])
def test_an_old_clock_offset_is_measured_again(monkeypatch: pytest.MonkeyPatch, at_ns: int) -> None:
    ticks = iter([5_000_200, 5_001_000, at_ns, at_ns])
    walls = iter([5_000_600, 77_000_000_000])
    monkeypatch.setattr(timestamps.time, "monotonic_ns", lambda: next(ticks))
    monkeypatch.setattr(timestamps.time, "time_ns", lambda: next(walls))
    offset = timestamps.ClockOffset()
    assert offset.at_ns(5_001_000) == 0
    assert offset.at_ns(at_ns) == 77_000_000_000 - at_ns


def test_no_timestamp_of_before_the_clock_was_set_is_valid(monkeypatch: pytest.MonkeyPatch) -> None:
    now_ns, wall_ns = [10_000_000_000], [20_000_000_000]
    monkeypatch.setattr(timestamps.time, "monotonic_ns", lambda: now_ns[0])
    monkeypatch.setattr(timestamps.time, "time_ns", lambda: wall_ns[0])
    offset = timestamps.ClockOffset()
    assert offset.lag_ns(now_ns[0], wall_ns[0] - 1_000_000) == 1_000_000
    now_ns[0] += 100_000_000
    wall_ns[0] += 100_000_000 + 50_000_000  # set 50 ms forward
    offset.at_ns(now_ns[0])
    assert offset.earliest_ns(now_ns[0]) == now_ns[0]
    assert offset.lag_ns(now_ns[0], wall_ns[0] - 1_000_000) is None
    now_ns[0] += 1_000_000
    assert offset.lag_ns(now_ns[0], wall_ns[0] + 500_000) == 500_000


def test_nothing_available_and_the_peers_close() -> None:
    with connected() as (ours, peer):
        with pytest.raises(BlockingIOError):
            read_with_timestamp(ours)
        peer.close()
        assert read_within(ours).data == b""
