"""The log of a response's reads, which grows while it is looked at."""

from __future__ import annotations

import pytest

from harness.contract.decoding.read_log import Read, ReadLog

READS = [Read(10, 3, b"ab"), Read(12, None, b""), Read(12, 0, b"c" * 70_000, 7), Read(2**62, 2**40, b"d")]


@pytest.mark.parametrize("packed_after", [(), (3,), (2, 3), (0, 1, 2, 3)])
def test_a_log_has_what_was_added(packed_after: tuple[int, ...]) -> None:
    log = ReadLog()
    for number, read in enumerate(READS):
        assert log.append(*read[:3], tokens=number, error_ns=read.error_ns) == log.size_bytes
        if number in packed_after:
            log.pack()
        assert list(log) == READS[: number + 1]  # looking at it does not keep it from growing
    assert (log.memory_bytes < 1000) == bool(packed_after)
    assert log.data == b"".join(read.data for read in READS)
    assert list(log) == READS
    assert [log[2], log[-1]] == [READS[2], READS[3]]
    assert log[1:3] == tuple(READS[1:3])
    assert len(log) == 4
    assert log.size_bytes == 70_003
    assert list(log.arrivals_ns) == [10, 12, 12, 2**62]
    assert list(log.lags_ns) == [3, -1, 0, 2**40]
    assert log.errors_ns == {12: 7}
    assert list(log.token_arrivals_ns()) == [12, 12, 12, 2**62, 2**62, 2**62]


def test_a_log_of_single_tokens_has_an_arrival_for_each() -> None:
    log = ReadLog()
    for at_ns in (5, 6, 9):
        log.append(at_ns, 0, b"x", tokens=1)
    assert list(log.token_arrivals_ns()) == [5, 6, 9]


def test_only_a_log_that_grows_slowly_is_slow() -> None:
    second_ns, event = 10**9, b"x" * 100
    log = ReadLog()
    assert not log.is_slow
    log.append(0, 0, event)
    assert not log.is_slow  # one read takes no time
    for at_ms in (1, 2, 3):
        log.append(at_ms * second_ns // 1000, 0, event)
    assert not log.is_slow
    for at_s in range(1, 20):
        log.append(at_s * second_ns, 0, event)
    assert log.is_slow
    log.pack()
    assert not log.is_slow
    log.append(20 * second_ns, 0, event)
    log.append(20 * second_ns + 1, 0, event)
    assert not log.is_slow  # the pause before what is not packed does not count
    log.append(21 * second_ns, 0, event)
    assert log.is_slow
