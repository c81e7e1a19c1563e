from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from harness.contract.decoding.full_decoder import Read
from harness.contract.exchange import Ending
from harness.contract.expectations import Budgets
from harness.transport import timestamps
from harness.transport.receiver import Cut, CutHow, Receiver, break_connection
from harness.transport.timestamps import KERNEL_STAMPS, ask_for_stamps, stamped_read
from tests.contract.exchanges import LAST_CHUNK, POST, STREAM, chunk, done, head, token

BUDGETS = Budgets(first_event_s=3.0, terminal_close_s=2.0, heartbeat_s=5.0, run_s=60.0)
HEAD = head(200, {**STREAM, "Transfer-Encoding": "chunked"})


@contextmanager
def connected() -> Iterator[tuple[socket.socket, socket.socket]]:
    """Our end of a TCP connection, not blocking, and the peer's, blocking for a bounded time."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        ours = socket.create_connection(listener.getsockname())
        peer, _ = listener.accept()
    ours.setblocking(False)
    peer.settimeout(10)
    with ours, peer:
        yield ours, peer


def read_within(sock: socket.socket, limit_s: float = 5.0) -> Read:
    deadline = time.monotonic() + limit_s
    while True:
        try:
            return Read(*stamped_read(sock))
        except BlockingIOError:
            assert time.monotonic() < deadline, "nothing came"
            time.sleep(0.001)


def drain(one: Receiver, *, until: int | None = None) -> None:
    """Let it read until it has ended, or has seen so many events."""
    deadline = time.monotonic() + 5
    while one.ending is None and (until is None or one.events_seen < until):
        one.on_readable()
        assert time.monotonic() < deadline, "nothing came"
        time.sleep(0.001)


def receiver(**said: object) -> Receiver:
    return Receiver(label="a run", request=POST, budgets=BUDGETS, **said)


# Reads


@pytest.mark.skipif(not KERNEL_STAMPS, reason="the kernel stamps no arrivals on this system")
def test_a_read_has_the_time_at_which_it_arrived() -> None:
    with connected() as (ours, peer):
        receiver()  # a kernel that stamps nothing yet begins to
        time.sleep(0.05)
        ask_for_stamps(ours)
        before_ns = time.monotonic_ns()
        peer.sendall(b"abc")
        time.sleep(0.2)
        after_ns = time.monotonic_ns()
        read = read_within(ours)
    assert read.data == b"abc"
    assert read.lag_ns is not None
    assert read.lag_ns > 0.19e9
    assert before_ns <= read.arrival_ns < after_ns - 190_000_000


def test_without_a_stamp_a_read_has_the_time_at_which_it_was_read() -> None:
    with connected() as (ours, peer):
        peer.sendall(b"abc")
        before_ns = time.monotonic_ns()
        read = read_within(ours)
    assert (read.data, read.lag_ns) == (b"abc", None)
    assert before_ns <= read.arrival_ns <= time.monotonic_ns()


def test_systems_without_stamps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timestamps, "KERNEL_STAMPS", False)
    with connected() as (ours, peer):
        ask_for_stamps(ours)
        peer.sendall(b"abc")
        read = read_within(ours)
    assert (read.data, read.lag_ns) == (b"abc", None)


@pytest.mark.skipif(not KERNEL_STAMPS, reason="the kernel stamps no arrivals on this system")
@pytest.mark.parametrize("wrong_by_ns", [-3_600_000_000_000, 3_600_000_000_000])
def test_a_wall_clock_that_was_set_in_between_is_not_believed(
    monkeypatch: pytest.MonkeyPatch, wrong_by_ns: int
) -> None:
    real = time.time_ns
    monkeypatch.setattr(timestamps, "_clocks", timestamps.Clocks())
    monkeypatch.setattr(timestamps.time, "time_ns", lambda: real() + wrong_by_ns)
    with connected() as (ours, peer):
        ask_for_stamps(ours)
        peer.sendall(b"abc")
        before_ns = time.monotonic_ns()
        read = read_within(ours)
    assert read.lag_ns is None
    assert read.arrival_ns >= before_ns


def test_a_process_that_is_held_up_between_two_clocks_reads_them_anew(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ticks = iter([0, 5_000_000, 5_001_000])  # 5 ms go by in the first pair, 1 us in the second
    walls = iter([100, 5_000_600])
    monkeypatch.setattr(timestamps.time, "monotonic_ns", lambda: next(ticks))
    monkeypatch.setattr(timestamps.time, "time_ns", lambda: next(walls))
    clocks = timestamps.Clocks()
    assert clocks.ahead_ns(0) == -400
    assert clocks.ahead_ns(7_000_999) == -400  # known for 2 ms, and nobody looks again


@pytest.mark.parametrize("at_ns", [7_001_000, 5_000_999, 60_000_000_000])
def test_the_distance_of_the_clocks_is_looked_up_anew(monkeypatch: pytest.MonkeyPatch, at_ns: int) -> None:
    ticks = iter([5_000_400, 5_001_000, at_ns, at_ns])
    walls = iter([5_000_600, 77_000_000_000])
    monkeypatch.setattr(timestamps.time, "monotonic_ns", lambda: next(ticks))
    monkeypatch.setattr(timestamps.time, "time_ns", lambda: next(walls))
    clocks = timestamps.Clocks()
    assert clocks.ahead_ns(5_001_000) == -400
    assert clocks.ahead_ns(at_ns) == 77_000_000_000 - at_ns


def test_nothing_there_and_the_peers_end() -> None:
    with connected() as (ours, peer):
        with pytest.raises(BlockingIOError):
            stamped_read(ours)
        peer.close()
        assert read_within(ours).data == b""


# Ways to break a connection


@pytest.mark.parametrize("how", CutHow)
@pytest.mark.parametrize("unread", [b"", b"unread"])
def test_how_the_peer_feels_a_break(how: CutHow, unread: bytes) -> None:
    with connected() as (ours, peer):
        if unread:
            peer.sendall(unread)
            time.sleep(0.05)
        break_connection(ours, how)
        if how is CutHow.RST:
            with pytest.raises(ConnectionResetError):
                peer.recv(1)
        else:
            assert peer.recv(1) == b""
        assert (ours.fileno() >= 0) is (how is CutHow.HALF_CLOSE)


# Patience, on a clock of the test's own

S = 1_000_000_000


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    now = [100 * S]
    monkeypatch.setattr(timestamps.time, "monotonic_ns", lambda: now[0])
    return now


def test_patience_before_the_request_is_sent(clock: list[int]) -> None:
    one = receiver()
    clock[0] = 101 * S
    assert one.next_deadline() == (103 * S, "could not connect and send within 3 s")


def test_patience_for_the_first_event_and_between_events(clock: list[int]) -> None:
    one = receiver()
    clock[0] = 101 * S
    one.sent()
    assert one.next_deadline() == (107 * S, "no event within 6 s")
    one._decode(*Read(102 * S, None, HEAD + chunk(b": beat\n\n")))
    assert one.next_deadline() == (107 * S, "no event within 6 s")  # a heartbeat is no event
    one._decode(*Read(103 * S, None, chunk(token(0))))
    assert one.next_deadline() == (113 * S, "silent for 10 s")
    one._decode(*Read(112 * S, None, chunk(b": beat\n\n")))
    assert one.next_deadline() == (122 * S, "silent for 10 s")
    one._decode(*Read(155 * S, None, chunk(token(1))))
    assert one.next_deadline() == (161 * S, "no terminal event within 60 s")


def test_patience_after_the_terminal_event(clock: list[int]) -> None:
    one = receiver()
    one.sent()
    one._decode(*Read(105 * S, None, HEAD + chunk(done(0))))
    one._decode(*Read(106 * S, None, chunk(b": bye\n\n")))  # does not buy time
    assert one.next_deadline() == (107 * S, "the stream was still open 2 s after its terminal event")


def test_an_answer_that_came_before_the_request_was_sent_counts_from_the_sending(clock: list[int]) -> None:
    one = receiver()
    one._decode(*Read(104 * S, None, HEAD + chunk(token(0))))
    clock[0] = 102 * S
    one.sent()
    assert one.next_deadline() == (114 * S, "silent for 10 s")


def test_the_sending_may_have_been_a_moment_ago(clock: list[int]) -> None:
    one = receiver(intended_ns=90 * S)
    clock[0] = 103 * S
    wall_ns = time.time_ns()
    one.sent(102 * S)
    one.end(Ending.STOPPED, "enough")
    timing = one.exchange().timing
    assert (timing.intended_ns, timing.started_ns, timing.sent_ns, timing.ended_ns) == (
        90 * S,
        100 * S,
        102 * S,
        103 * S,
    )
    assert timing.sent_wall_ns is not None
    assert abs(timing.sent_wall_ns - (wall_ns - S)) < 1e9


# One answer


def test_events_are_told_as_they_come_and_the_end_once() -> None:
    seen: list[int] = []
    ends: list[str] = []
    with connected() as (ours, peer):
        one = receiver(
            on_events=lambda: seen.append(one.events_seen),
            on_sooner=lambda: ends.append("sooner"),
            on_end=lambda: ends.append("end"),
        )
        one.stop_watching = lambda: ends.append("stop watching")
        one.connected(ours, None)
        one.sent()
        peer.sendall(HEAD + chunk(token(0)) + chunk(b": beat\n\n"))
        drain(one, until=1)
        peer.sendall(chunk(done(1)) + LAST_CHUNK)
        drain(one)
    assert seen == [1, 2]
    assert ends == ["sooner", "stop watching", "end"]
    one.end(Ending.STOPPED, "too late")
    assert len(ends) == 3
    assert (one.exchange().ending, one.exchange().ending_detail) == (Ending.COMPLETE, "")


def test_there_is_no_exchange_before_the_end() -> None:
    with pytest.raises(RuntimeError, match="the exchange is still going on"):
        receiver().exchange()


def test_who_is_told_of_events_may_cut() -> None:
    with connected() as (ours, peer):
        one = receiver(on_events=lambda: one.break_off(CutHow.RST))
        one.connected(ours, None)
        one.sent()
        peer.sendall(HEAD + chunk(token(0)) + chunk(done(1)) + LAST_CHUNK)
        drain(one)
        with pytest.raises(ConnectionResetError):
            peer.recv(1)
    assert (one.exchange().ending, one.exchange().ending_detail) == (
        Ending.CUT,
        "cut by us (rst) after 2 events",
    )


def test_a_cut_may_see_more_events_than_it_waits_for() -> None:
    with connected() as (ours, peer):
        one = receiver(cut=Cut(1))
        one.connected(ours, None)
        one.sent()
        peer.sendall(HEAD + chunk(token(0)) + chunk(token(1)) + chunk(token(2)))
        drain(one)
    exchange = one.exchange()
    assert exchange.ending is Ending.CUT
    assert exchange.ending_detail == f"cut by us (fin) after {len(exchange.events)} events"


def test_a_connection_that_the_server_has_broken_can_still_be_cut() -> None:
    with connected() as (ours, peer):
        one = receiver()
        one.connected(ours, None)
        one.sent()
        break_connection(peer, CutHow.RST)
        time.sleep(0.05)
        one.break_off(CutHow.FIN)
    assert (one.exchange().ending, one.exchange().ending_detail) == (
        Ending.CUT,
        "cut by us (fin) before the head",
    )


def test_without_a_connection_there_is_nothing_to_cut() -> None:
    one = receiver()
    one.break_off(CutHow.FIN)
    assert one.ending is None


def test_more_than_one_buffer_full_is_drained_at_once() -> None:
    words = [chunk(token(place, "x" * 1000)) for place in range(300)]
    with connected() as (ours, peer):
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
        one = receiver()
        one.connected(ours, None)
        one.sent()
        peer.sendall(HEAD + b"".join(words) + chunk(done(300)) + LAST_CHUNK)
        drain(one)
    assert len(one.exchange().tokens) == 300
    assert max(len(read.data) for read in one.exchange().reads) <= 65536
