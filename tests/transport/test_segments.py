from __future__ import annotations

import socket
import time
from collections.abc import Iterator

import pytest

from harness.transport.segments import SegmentCount
from harness.transport.timestamps import HAS_KERNEL_TIMESTAMPS
from tests.transport.servers import connected

pytestmark = pytest.mark.skipif(not HAS_KERNEL_TIMESTAMPS, reason="Linux only")

Pair = tuple[socket.socket, socket.socket]


@pytest.fixture
def pair() -> Iterator[Pair]:
    with connected() as (ours, peer):
        peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        ours.setblocking(True)
        yield ours, peer


def send(pair: Pair, *segments: bytes) -> None:
    """Send each in its own segment, and wait until the kernel has received all."""
    before = received(pair[0])
    for segment in segments:
        pair[1].sendall(segment)
    deadline = time.monotonic() + 5
    while received(pair[0]) < before + sum(map(len, segments)):
        assert time.monotonic() < deadline


def received(sock: socket.socket) -> int:
    return int.from_bytes(sock.getsockopt(socket.IPPROTO_TCP, 11, 256)[128:136], "little")


def test_reads_of_one_segment_each(pair: Pair) -> None:
    count, size = SegmentCount(pair[0]), 0
    for number in range(1, 4):
        send(pair, b"x" * number)
        size += len(pair[0].recv(100))
        assert not count.may_be_several(number, size)


def test_a_read_of_two_segments_counts_once(pair: Pair) -> None:
    count = SegmentCount(pair[0])
    send(pair, b"a", b"b")
    assert pair[0].recv(100) == b"ab"
    assert count.may_be_several(1, 2)
    send(pair, b"c")
    assert pair[0].recv(100) == b"c"
    assert not count.may_be_several(2, 3)


def test_reads_in_between_need_no_call(pair: Pair) -> None:
    count = SegmentCount(pair[0])
    for _ in range(5):
        send(pair, b"x")
        pair[0].recv(100)
    assert not count.may_be_several(5, 5)


def test_what_is_unread_or_came_since_makes_it_uncertain(pair: Pair) -> None:
    count = SegmentCount(pair[0])
    send(pair, b"ab")
    assert pair[0].recv(1) == b"a"
    assert count.may_be_several(1, 1)
    assert pair[0].recv(1) == b"b"
    assert not count.may_be_several(2, 2)  # a part of one segment
    send(pair, b"c")
    pair[0].recv(100)
    send(pair, b"d")
    assert count.may_be_several(3, 3)  # whether "d" had come with "c" is unknown
    send(pair, b"e")
    assert pair[0].recv(100) == b"de"
    assert count.may_be_several(4, 5)


def test_what_came_before_does_not_count(pair: Pair) -> None:
    send(pair, b"a", b"b")
    pair[0].recv(100)
    tls, reused = SegmentCount(pair[0]), SegmentCount(pair[0])
    tls.begin_after(1, 2)
    reused.begin_anew()
    send(pair, b"c")
    pair[0].recv(100)
    assert not tls.may_be_several(2, 3)
    assert not reused.may_be_several(1, 1)


def test_where_the_kernel_does_not_count_it_is_uncertain() -> None:
    ours, peer = socket.socketpair()
    with ours, peer:
        count = SegmentCount(ours)
        count.begin_anew()
        count.begin_after(1, 1)
        assert count.may_be_several(1, 1)
