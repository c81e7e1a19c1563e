from __future__ import annotations

import errno
import os
import socket
import ssl
import time
from dataclasses import replace
from typing import Any, cast

import pytest

from harness.contract.decoding.memory import MemoryBudget
from harness.contract.exchange import Ending
from harness.contract.expectations import Budgets, Expectations
from harness.contract.finding import Verdict
from harness.contract.rules.terminal import closes
from harness.errors import LocalResourceError
from harness.transport import receiver as receiver_module
from harness.transport.pulse import Pulse
from harness.transport.receiver import Cut, CutHow, Receiver, close_connection
from harness.transport.tls import TlsSession
from tests.contract.decoding.token_readers import TOKEN_READERS, token_reader_in_use
from tests.contract.exchanges import LAST_CHUNK, POST, STREAM, chunk, done, head, token
from tests.transport.servers import connected, cut_detail

BUDGETS = Budgets(first_event_s=3.0, terminal_close_s=2.0, heartbeat_s=5.0, run_s=60.0)
HEAD = head(200, {**STREAM, "Transfer-Encoding": "chunked"})
S = 1_000_000_000


def drain(receiver: Receiver, *, until: int | None = None) -> None:
    """Read until the end, or until so many events have arrived."""
    deadline = time.monotonic() + 5
    while receiver.ending is None and (until is None or receiver.events_seen < until):
        receiver.on_readable()
        assert time.monotonic() < deadline, "nothing arrived"
        time.sleep(0.001)


def new_receiver(kind: type[Receiver] = Receiver, **options: Any) -> Receiver:
    return kind(label="a run", request=POST, budgets=BUDGETS, **options)


# Ways to close a connection


@pytest.mark.parametrize("how", CutHow)
@pytest.mark.parametrize("unread", [b"", b"unread"])
def test_what_the_peer_sees(how: CutHow, unread: bytes) -> None:
    with connected() as (ours, peer):
        if unread:
            peer.sendall(unread)
            time.sleep(0.05)
        close_connection(ours, how)
        if how is CutHow.RST:
            with pytest.raises(ConnectionResetError):
                peer.recv(1)
        else:
            assert peer.recv(1) == b""
        assert (ours.fileno() >= 0) is (how is CutHow.HALF_CLOSE)


# Arrivals


def test_arrivals_never_fall() -> None:
    """A stamp is converted by two clocks that are read again every 2 ms, so the next one may be 5 us earlier."""
    receiver = new_receiver()
    for arrival_ns, lag_ns, data in (
        (100_000, 40_000, HEAD),
        (95_000, 30_000, chunk(token(0))),
        (95_000, 2_000, chunk(token(1))),
        (95_000, None, chunk(token(2))),
        (130_000, 1_000, chunk(token(3))),
    ):
        receiver._decode(arrival_ns, lag_ns, data)
    reads = [(read.arrival_ns, read.lag_ns) for read in receiver.response.log]
    assert reads == [(100_000, 40_000), (100_000, 25_000), (100_000, 0), (100_000, None), (130_000, 1_000)]
    assert list(receiver.response.summary.token_arrivals_ns) == [100_000, 100_000, 100_000, 130_000]


@pytest.mark.parametrize("reader", TOKEN_READERS)
def test_what_the_reader_of_tokens_took_is_known(reader: str) -> None:
    with token_reader_in_use(reader), connected() as (ours, _):
        receiver = new_receiver()
        receiver.connected(ours, None)
        receiver.sent(0)
        for at_ns, data in ((10, HEAD), (20, chunk(token(0))), (30, chunk(token(1))), (40, chunk(token(2)))):
            receiver.on_read(at_ns * S, 5, data)
        assert receiver.events_seen == 3
        assert receiver.next_deadline()[0] == 40 * S + int(BUDGETS.silence_s * 1e9)
        receiver.on_read(39 * S, 5 * S, chunk(token(3)))  # the clocks were read again
        seen: list[int] = []
        receiver.tell_of_events(lambda: seen.append(receiver.events_seen))
        receiver.on_read(41 * S, None, chunk(token(4)))
        assert seen == [5]
        receiver.on_read(42 * S, 5, chunk(done(5)) + LAST_CHUNK)
        reads = [(read.arrival_ns // S, read.lag_ns) for read in receiver.response.log]
        assert reads == [(10, 5), (20, 5), (30, 5), (40, 5), (40, 4 * S), (41, None), (42, 5)]
        assert (receiver.ending, seen, receiver.events_seen) == (Ending.COMPLETE, [5, 6], 6)
        assert receiver.exchange().is_regular
        receiver.on_read(43 * S, 5, chunk(token(6)))
        assert len(receiver.response.log) == len(reads)


def test_nothing_is_taken_where_something_is_to_be_done_after_an_event() -> None:
    with connected() as (ours, _):
        receiver = new_receiver(cut=Cut(2))
        receiver.connected(ours, None)
        for at_ns, data in enumerate((HEAD, chunk(token(0)), chunk(token(1)), chunk(token(2)))):
            receiver.on_read(at_ns, None, data)
        assert (receiver.ending, receiver.events_seen) == (Ending.CUT, 2)


# Deadlines, on a fake clock


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    now = [100 * S]
    monkeypatch.setattr(time, "monotonic_ns", lambda: now[0])
    return now


def test_deadline_before_the_request_is_sent(clock: list[int]) -> None:
    receiver = new_receiver()
    clock[0] = 101 * S
    assert receiver.next_deadline() == (103 * S, "could not connect and send within 3 s")


def test_deadline_of_the_first_event_and_between_events(clock: list[int]) -> None:
    receiver = new_receiver()
    clock[0] = 101 * S
    receiver.sent()
    assert receiver.next_deadline() == (107 * S, "no event within 6 s")
    receiver.on_read(102 * S, None, HEAD + chunk(b": beat\n\n"))
    assert receiver.next_deadline() == (107 * S, "no event within 6 s")  # a heartbeat is not an event
    receiver.on_read(103 * S, None, chunk(token(0)))
    assert receiver.next_deadline() == (113 * S, "silent for 10 s")
    receiver.on_read(112 * S, None, chunk(b": beat\n\n"))
    assert receiver.next_deadline() == (122 * S, "silent for 10 s")
    receiver.on_read(155 * S, None, chunk(token(1)))
    assert receiver.next_deadline() == (161 * S, "no terminal event within 60 s")


def test_deadline_after_the_terminal_event(clock: list[int]) -> None:
    receiver = new_receiver()
    receiver.sent()
    receiver.on_read(105 * S, None, HEAD + chunk(done(0)))
    receiver.on_read(106 * S, None, chunk(b": bye\n\n"))  # does not extend the deadline
    assert receiver.next_deadline() == (107 * S, "the stream was still open 2 s after its terminal event")


def test_silence_counts_from_the_request_if_the_response_came_first(clock: list[int]) -> None:
    receiver = new_receiver()
    receiver.on_read(104 * S, None, HEAD + chunk(token(0)))
    clock[0] = 102 * S
    receiver.sent()
    assert receiver.next_deadline() == (114 * S, "silent for 10 s")


def test_sent_takes_an_earlier_time(clock: list[int]) -> None:
    receiver = new_receiver(intended_ns=90 * S)
    clock[0] = 103 * S
    wall_ns = time.time_ns()
    receiver.sent(102 * S)
    receiver.end(Ending.STOPPED, "enough")
    timing = receiver.exchange().timing
    assert (timing.intended_ns, timing.started_ns, timing.sent_ns, timing.ended_ns) == (
        90 * S,
        100 * S,
        102 * S,
        103 * S,
    )
    assert timing.sent_wall_ns is not None
    assert abs(timing.sent_wall_ns - (wall_ns - S)) < 1e9


# One response


def test_callbacks() -> None:
    seen: list[int] = []
    ends: list[str] = []
    with connected() as (ours, peer):
        receiver = new_receiver(
            on_events=lambda: seen.append(receiver.events_seen),
            on_earlier_deadline=lambda: ends.append("earlier deadline"),
            on_end=lambda: ends.append("end"),
        )
        receiver.stop_watching = lambda: ends.append("stop watching")
        receiver.connected(ours, None)
        receiver.sent()
        peer.sendall(HEAD + chunk(token(0)) + chunk(b": beat\n\n"))
        drain(receiver, until=1)
        peer.sendall(chunk(done(1)) + LAST_CHUNK)
        drain(receiver)
    assert seen == [1, 2]
    assert ends == ["earlier deadline", "stop watching", "end"]
    receiver.end(Ending.STOPPED, "too late")
    assert len(ends) == 3
    assert (receiver.exchange().ending, receiver.exchange().ending_detail) == (Ending.COMPLETE, "")


def test_no_exchange_before_the_end() -> None:
    with pytest.raises(RuntimeError, match="the exchange has not ended"):
        new_receiver().exchange()


def test_on_events_may_cut() -> None:
    with connected() as (ours, peer):
        receiver = new_receiver(on_events=lambda: receiver.cut_connection(CutHow.RST))
        receiver.connected(ours, None)
        receiver.sent()
        peer.sendall(HEAD + chunk(token(0)) + chunk(done(1)) + LAST_CHUNK)
        drain(receiver)
        with pytest.raises(ConnectionResetError):
            peer.recv(1)
    assert (receiver.exchange().ending, receiver.exchange().ending_detail) == (
        Ending.CUT,
        cut_detail(CutHow.RST, 2),
    )
    assert receiver.exchange().timing.end_arrival_ns is None  # we read no end, though it had arrived


def test_a_cut_reports_the_events_that_arrived() -> None:
    with connected() as (ours, peer):
        receiver = new_receiver(cut=Cut(1))
        receiver.connected(ours, None)
        receiver.sent()
        peer.sendall(HEAD + chunk(token(0)) + chunk(token(1)) + chunk(token(2)))
        drain(receiver)
    exchange = receiver.exchange()
    assert exchange.ending is Ending.CUT
    assert exchange.ending_detail == cut_detail(CutHow.FIN, len(exchange.events))


def test_cutting_a_connection_that_the_server_has_reset() -> None:
    with connected() as (ours, peer):
        receiver = new_receiver()
        receiver.connected(ours, None)
        receiver.sent()
        close_connection(peer, CutHow.RST)
        time.sleep(0.05)
        receiver.cut_connection(CutHow.FIN)
    assert (receiver.exchange().ending, receiver.exchange().ending_detail) == (
        Ending.CUT,
        cut_detail(CutHow.FIN, 0),
    )


def test_cutting_without_a_connection_does_nothing() -> None:
    receiver = new_receiver()
    receiver.cut_connection(CutHow.FIN)
    assert receiver.ending is None


def test_more_than_one_buffer_is_drained() -> None:
    chunks = [chunk(token(place, "x" * 1000)) for place in range(300)]
    with connected() as (ours, peer):
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
        receiver = new_receiver()
        receiver.connected(ours, None)
        receiver.sent()
        peer.sendall(HEAD + b"".join(chunks) + chunk(done(300)) + LAST_CHUNK)
        drain(receiver)
    assert len(receiver.exchange().tokens) == 300
    assert max(len(read.data) for read in receiver.exchange().reads) <= 65536


# A busy harness


class _Slow(Receiver):
    def _decode(self, *arguments: Any, **options: Any) -> None:
        super()._decode(*arguments, **options)
        time.sleep(0.05)


def test_a_turn_reads_a_part_and_less_if_decoding_takes_long() -> None:
    receiver = new_receiver(_Slow)
    with connected() as (ours, peer):
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
        receiver.connected(ours, None)
        receiver.sent()
        peer.sendall(HEAD + b"".join(chunk(token(place, "x" * 1000)) for place in range(150)))
        time.sleep(0.2)
        assert receiver.on_readable()
        assert receiver.response.log.size_bytes == 65536
        assert receiver.on_readable()
        assert 2048 <= receiver.response.log.size_bytes - 65536 <= 65536 // 10


@pytest.mark.parametrize("late_s", [0.0, 60.0])
def test_an_end_that_a_busy_loop_noticed_late_may_have_come_earlier(late_s: float) -> None:
    pulse = Pulse()
    receiver = new_receiver(pulse=pulse)
    with connected() as (ours, peer):
        receiver.connected(ours, None)
        receiver.sent()
        peer.sendall(head(200, STREAM) + done(0))
        drain(receiver, until=1)
        peer.shutdown(socket.SHUT_WR)
        drain(receiver)
    ended = receiver.exchange().timing
    moved = replace(
        receiver.exchange(),
        timing=replace(ended, ended_ns=ended.ended_ns + int(late_s * 1e9)),
    )
    verdict = closes(moved, expect=Expectations(BUDGETS)).verdict
    assert ended.end_arrival_ns is not None
    assert verdict is (Verdict.INCONCLUSIVE if late_s else Verdict.PASS)


@pytest.mark.parametrize("reads", [True, False])
def test_what_arrived_before_a_deadline_is_read_before_it_counts(reads: bool) -> None:
    """Unless the reader was to read nothing, or slowly."""
    for options in ({},) if reads else ({}, {"read_bytes": 10_000}):
        receiver = new_receiver(**options)
        with connected() as (ours, peer):
            receiver.connected(ours, None)
            receiver.sent()
            peer.sendall(HEAD + chunk(token(0)) + chunk(done(1)) + LAST_CHUNK)
            time.sleep(0.1)
            if not reads and not options:
                receiver.stop_reading()
            receiver.sent_ns = time.monotonic_ns() - 3600 * S  # the loop was busy for an hour
            assert receiver.time_out_if_due() == 0
            receiver.cut_connection()  # it has ended: its connection may serve the next request
            assert ours.fileno() >= 0
        receiver.break_off(LocalResourceError("too late to matter"))
        assert receiver.error is None
        assert receiver.ending is (Ending.COMPLETE if reads else Ending.TIMED_OUT)


class _Endless(Receiver):
    turns = 0

    def on_readable(self) -> bool:
        type(self).turns += 1
        return self.turns < 1000


def test_a_server_that_sends_without_end_does_not_keep_a_deadline_from_ending_the_stream(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(_Endless, "turns", 0)
    receiver = new_receiver(_Endless)
    receiver.sent(0)
    assert receiver.time_out_if_due() == 0
    assert (receiver.ending, _Endless.turns) == (Ending.TIMED_OUT, receiver_module._LATE_READS)


def test_what_a_response_holds_at_its_end_counts_against_the_common_memory() -> None:
    budget = MemoryBudget()
    receiver = new_receiver(memory=budget)
    with connected() as (ours, _):
        receiver.connected(ours, None)
        receiver.sent()
        receiver.on_read(time.monotonic_ns(), None, HEAD + chunk(done(0)) + LAST_CHUNK)
    assert receiver.ending is Ending.COMPLETE
    assert budget.used_bytes >= receiver.response.log.size_bytes


def test_a_pulse_tells_since_when_something_may_have_been_there(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [1000]
    monkeypatch.setattr(time, "monotonic_ns", lambda: now[0])
    pulse = Pulse()
    now[0] += 20_000_000
    pulse.beat()
    assert pulse.earliest_ns(now[0] + 5) == 1000
    now[0] += 20_000_000
    pulse.beat()
    assert now[0] - pulse.earliest_ns(now[0]) <= 20_000_000
    now[0] += 3_000_000_000  # the loop was blocked
    assert now[0] - pulse.earliest_ns(now[0]) >= 3_000_000_000
    pulse.beat()
    assert now[0] - pulse.earliest_ns(now[0]) >= 2_900_000_000


# What goes wrong


class _Broken(Receiver):
    def _decode(self, *_: Any, **__: Any) -> None:
        raise RuntimeError("a defect of the harness")


@pytest.mark.parametrize("polled", [False, True])
def test_an_exception_of_the_harness_ends_the_exchange_and_is_kept(polled: bool) -> None:
    receiver = new_receiver(_Broken)
    with connected() as (ours, peer):
        receiver.connected(ours, None)
        receiver.sent()
        if polled:
            receiver.on_read(time.monotonic_ns(), None, HEAD)
        else:
            peer.sendall(HEAD)
            time.sleep(0.05)
            assert not receiver.on_readable()
    assert (receiver.ending, str(receiver.error)) == (Ending.STOPPED, "a defect of the harness")
    receiver.on_read(time.monotonic_ns(), None, HEAD)  # what the poller has read after that
    assert not receiver.on_readable()


def test_nothing_is_read_before_the_connection() -> None:
    receiver = new_receiver()
    assert not receiver.on_readable()
    assert (receiver.ending, receiver.error) == (None, None)


@pytest.mark.parametrize("number", [errno.EINTR, errno.EAGAIN])
def test_a_read_that_is_to_be_repeated_ends_nothing(monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    assert _failed_read(monkeypatch, number).ending is None


def test_a_read_that_this_machine_had_no_memory_for_says_nothing_about_the_server(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    receiver = _failed_read(monkeypatch, errno.ENOBUFS)
    assert receiver.ending is Ending.STOPPED
    assert isinstance(receiver.error, LocalResourceError)
    assert _failed_read(monkeypatch, errno.ECONNRESET).ending is Ending.RESET


def _failed_read(monkeypatch: pytest.MonkeyPatch, number: int) -> Receiver:
    def fail(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(receiver_module, "read_with_timestamp", fail)
    receiver = new_receiver()
    with connected() as (ours, _):
        receiver.connected(ours, None)
        receiver.sent()
        assert not receiver.on_readable()
    return receiver


def test_surplus_is_looked_for_after_a_complete_message_only() -> None:
    for ending in (Ending.COMPLETE, Ending.LIMIT):
        receiver = new_receiver()
        with connected() as (ours, peer):
            receiver.connected(ours, None)
            receiver.sent()
            receiver.on_read(time.monotonic_ns(), None, HEAD + chunk(done(0)) + LAST_CHUNK[:-2])
            receiver.end(ending)
            size_bytes = receiver.response.log.size_bytes
            peer.sendall(b"more")
            time.sleep(0.05)
            receiver.look_for_surplus()
            grew = receiver.response.log.size_bytes > size_bytes
            assert grew is (ending is Ending.COMPLETE)
        receiver.look_for_surplus()  # the connection is closed


class _PlainTls:
    reads = size_bytes = 0
    closed = False

    def decrypt(self, data: bytes) -> bytes:
        if data == b"noise":
            raise ssl.SSLError(ssl.SSL_ERROR_SSL, "wrong version number")
        self.closed = data == b"close_notify"
        return b"" if self.closed else data


class _ClosingTls(_PlainTls):
    def decrypt(self, data: bytes) -> bytes:
        self.closed = True
        return data


def test_a_close_notify_in_the_read_that_ends_the_message_does_not_move_its_end() -> None:
    receiver = new_receiver()
    with connected() as (ours, _):
        receiver.connected(ours, cast("TlsSession", _ClosingTls()))
        receiver.sent()
        arrival_ns = time.monotonic_ns()
        receiver.on_read(arrival_ns, None, HEAD + chunk(done(0)) + LAST_CHUNK)
    assert receiver.ending is Ending.COMPLETE
    assert receiver.exchange().timing.end_arrival_ns == arrival_ns


@pytest.mark.parametrize(
    ("last", "ending"),
    [(b"", Ending.TRUNCATED), (b"close_notify", Ending.COMPLETE), (b"noise", Ending.RESET)],
)
def test_a_tls_connection_whose_end_is_the_message_s_is_closed_in_order(last: bytes, ending: Ending) -> None:
    receiver = new_receiver()
    with connected() as (ours, _):
        receiver.connected(ours, cast("TlsSession", _PlainTls()))
        receiver.sent()
        for data in (head(200, STREAM) + done(0), last):
            receiver.on_read(time.monotonic_ns(), None, data)
    assert receiver.ending is ending
