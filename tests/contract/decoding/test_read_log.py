"""The log of a response's reads, which grows while it is looked at."""

from __future__ import annotations

import pytest

from harness.contract.decoding.read_log import Read, ReadLog

READS = [Read(10, 3, b"ab"), Read(12, None, b""), Read(12, 0, b"c" * 70_000, 7), Read(2**62, 2**40, b"d")]


@pytest.mark.parametrize("compressed", [False, True])
def test_a_log_has_what_was_added(compressed: bool) -> None:
    log = ReadLog()
    for number, read in enumerate(READS):
        log.append(*read[:3], tokens=number, error_ns=read.error_ns)
        assert list(log) == READS[: number + 1]  # looking at it does not keep it from growing
    if compressed:
        log.compress()
        assert log.memory_bytes < 1000
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
