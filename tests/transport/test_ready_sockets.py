from __future__ import annotations

import socket
import time
from collections.abc import Iterator

import pytest

from harness.contract.decoding import token_layout
from harness.contract.decoding.read_log import ReadLog
from harness.transport import ready_sockets
from harness.transport.connecting import prepare_socket
from harness.transport.ready_sockets import NativeReads, PythonReads, ReadySockets
from harness.transport.receiver import CutHow, close_connection
from harness.transport.timestamps import ClockOffset, keep_kernel_timestamps_on
from tests.contract.decoding.token_readers import token_reader_in_use
from tests.contract.exchanges import chunk
from tests.transport.readers import use_reader
from tests.transport.servers import connected

pytestmark = pytest.mark.skipif(ready_sockets.ready_sockets() is None, reason="no epoll on this system")
MIB = 1 << 20
TOKEN = b"data: x\n\n"


@pytest.fixture(params=["native", "python"])
def sockets(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> ReadySockets:
    """An empty set of either kind; both must do the same."""
    use_reader(request.param, monkeypatch)
    found = ready_sockets.ready_sockets()
    assert type(found) is {"native": NativeReads, "python": PythonReads}[request.param]
    assert ready_sockets.reader_in_use() == request.param
    return found


@pytest.fixture
def peers(sockets: ReadySockets) -> Iterator[list[tuple[socket.socket, socket.socket]]]:
    keep_kernel_timestamps_on()
    with connected() as one, connected() as two, connected() as three:
        for ours, _ in (one, two, three):
            prepare_socket(ours)
            sockets.add(ours)
        yield [one, two, three]


@pytest.fixture
def native_token_reader() -> Iterator[None]:
    with token_reader_in_use("native"):
        yield


Peers = list[tuple[socket.socket, socket.socket]]


def read_all(
    sockets: ReadySockets, count: int, limit_bytes: int = MIB
) -> list[tuple[int, int, int | None, bytes]]:
    """Read until so many reads were made."""
    reads: list[tuple[int, int, int | None, bytes]] = []
    deadline = time.monotonic() + 5
    while len(reads) < count:
        assert time.monotonic() < deadline, reads
        reads += sockets.read(limit_bytes)[0]
    return reads


def test_nothing_is_ready(sockets: ReadySockets, peers: Peers) -> None:
    assert sockets.read(MIB) == ([], [], True, 0)


def test_each_ready_socket_is_read_with_its_timestamp(sockets: ReadySockets, peers: Peers) -> None:
    before_ns = time.monotonic_ns()
    for number, (_, peer) in enumerate(peers[:2]):
        peer.sendall(b"%d" % number)
    time.sleep(0.02)
    reads, broken, complete, _ = sockets.read(MIB)
    after_ns = time.monotonic_ns()
    assert {(descriptor, data) for descriptor, _, _, data in reads} == {
        (ours.fileno(), b"%d" % number) for number, (ours, _) in enumerate(peers[:2])
    }
    assert (broken, complete) == ([], True)
    for _, arrival_ns, lag_ns, _ in reads:
        assert before_ns <= arrival_ns <= after_ns
        assert lag_ns is not None
        assert 20_000_000 <= lag_ns <= after_ns - before_ns
        assert arrival_ns + lag_ns <= after_ns


def test_a_closed_and_a_reset_connection(sockets: ReadySockets, peers: Peers) -> None:
    (closed, closing), (reset, resetting), _ = peers
    closing.shutdown(socket.SHUT_WR)
    close_connection(resetting, CutHow.RST)
    time.sleep(0.02)
    reads, broken, complete, _ = sockets.read(MIB)
    assert [(descriptor, data) for descriptor, _, _, data in reads] == [(closed.fileno(), b"")]
    assert broken == [(reset.fileno(), 104)]
    assert complete


def with_token_reader(sockets: ReadySockets, ours: socket.socket) -> tuple[token_layout.TokenReader, ReadLog]:
    """Add the socket again, with a reader of TOKEN and the log to which it adds."""
    log = ReadLog()
    reader = token_layout.token_reader(log)
    reader.limit(1000)
    reader.arm(token_layout.bytes_of(TOKEN), 0, 0)
    sockets.remove(ours.fileno())
    sockets.add(ours, reader)
    return reader, log


@pytest.mark.usefixtures("native_token_reader")
def test_a_reader_of_tokens_takes_what_it_can(sockets: ReadySockets, peers: Peers) -> None:
    (ours, peer), (other, other_peer), _ = peers
    reader, log = with_token_reader(sockets, ours)
    before_ns = time.monotonic_ns()
    for sent in (chunk(TOKEN), chunk(b"data: y\n\n"), chunk(TOKEN)):
        peer.sendall(sent)
        other_peer.sendall(sent)
        time.sleep(0.02)
        reads, broken, complete, taken = sockets.read(MIB)
        handed_over = {descriptor: data for descriptor, _, _, data in reads}
        mine = {} if sent == chunk(TOKEN) else {ours.fileno(): sent}
        assert handed_over == {other.fileno(): sent, **mine}
        assert (broken, complete, taken) == ([], True, 1 - len(mine))
    assert [read.data for read in log] == [chunk(TOKEN)] * 2
    for read in log:
        assert read.lag_ns is not None
        assert before_ns <= read.arrival_ns <= read.arrival_ns + read.lag_ns <= time.monotonic_ns()
        assert read.lag_ns >= 20_000_000
    assert (reader.events, reader.tokens) == (2, 0)
    sockets.hand_over_all(ours.fileno())
    peer.sendall(chunk(TOKEN))
    assert [data for *_, data in read_all(sockets, 1)] == [chunk(TOKEN)]


@pytest.mark.usefixtures("native_token_reader")
def test_the_reader_of_a_removed_socket_takes_nothing_of_the_next(
    sockets: ReadySockets, peers: Peers
) -> None:
    """The next one may have the same descriptor."""
    ours, peer = peers[0]
    _, log = with_token_reader(sockets, ours)
    sockets.remove(ours.fileno())
    sockets.add(ours)
    peer.sendall(chunk(TOKEN))
    assert [data for *_, data in read_all(sockets, 1)] == [chunk(TOKEN)]
    assert len(log) == 0


def test_a_removed_socket_is_not_read(sockets: ReadySockets, peers: Peers) -> None:
    sockets.remove(peers[0][0].fileno())
    for _, peer in peers:
        peer.sendall(b"x")
    reads = read_all(sockets, 2)
    assert {read[0] for read in reads} == {ours.fileno() for ours, _ in peers[1:]}
    assert sockets.read(MIB)[0] == []


@pytest.mark.parametrize("limit_bytes", [2048, 100_000, MIB])
def test_bytes_beyond_the_limit_stay_for_the_next_call(
    sockets: ReadySockets, peers: Peers, limit_bytes: int
) -> None:
    sent = bytes(range(256)) * 600
    for ours, peer in peers:
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, MIB)
        peer.setblocking(True)
        peer.sendall(sent)
    time.sleep(0.02)
    received = dict.fromkeys((ours.fileno() for ours, _ in peers), b"")
    calls_that_left_some = 0
    while any(data != sent for data in received.values()):
        reads, _, complete, _ = sockets.read(limit_bytes)
        assert sum(len(data) for *_, data in reads) <= limit_bytes
        calls_that_left_some += not complete
        assert reads
        for descriptor, _, _, data in reads:
            assert len(data) <= 65536
            received[descriptor] += data
    assert calls_that_left_some >= 2  # of 150 KB each at most 64 KiB are read at once
    assert sockets.read(limit_bytes)[2]


def test_a_timestamp_from_before_a_clock_change_is_ignored(
    sockets: ReadySockets, peers: Peers, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = time.time_ns
    monkeypatch.setattr("harness.transport.timestamps.time.time_ns", lambda: real() - 3_600_000_000_000)
    monkeypatch.setattr("harness.transport.timestamps._clock_offset", ClockOffset())
    before_ns = time.monotonic_ns()
    peers[0][1].sendall(b"x")
    ((_, arrival_ns, lag_ns, _),) = read_all(sockets, 1)
    assert lag_ns is None
    assert arrival_ns >= before_ns


def test_a_wrong_set_is_an_error(sockets: ReadySockets) -> None:
    sockets._epoll.close()
    with pytest.raises((OSError, ValueError)):
        sockets.read(MIB)
