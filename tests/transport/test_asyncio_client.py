from __future__ import annotations

import asyncio
import errno
import os
import select
import socket
import time
from collections.abc import Generator
from dataclasses import replace
from pathlib import Path
from typing import cast

import pytest

from harness.contract.exchange import Ending, Exchange
from harness.contract.expectations import Budgets
from harness.contract.finding import Verdict
from harness.contract.rules import headers
from harness.protocol.request import HttpRequest
from harness.transport.asyncio_client import AsyncClient
from harness.transport.endpoint import Endpoint
from harness.transport.receiver import Cut, CutHow
from harness.transport.timestamps import HAS_KERNEL_TIMESTAMPS
from harness.transport.tls import TlsSession
from tests.contract.exchanges import LAST_CHUNK, STREAM, chunk, done, head, token
from tests.transport.servers import (
    Authority,
    Connection,
    Script,
    Server,
    bounded,
    connected,
    cut_detail,
    listening,
    make_authority,
    sending,
    sending_and_waiting,
)

PATIENT = Budgets(first_event_s=8, terminal_close_s=8, heartbeat_s=8, run_s=20)
HASTY = Budgets(first_event_s=0.3, terminal_close_s=0.2, heartbeat_s=0.3, run_s=20)
REQUEST = HttpRequest.post_json("/runs", (("Authorization", "Bearer t"), ("X-Odd", "é")), {"a": "ü"})
LARGE = HttpRequest("POST", "/runs", (), b"x" * 20_000_000)
HEAD = head(200, {**STREAM, "Transfer-Encoding": "chunked"})
WHOLE = HEAD + chunk(token(0, "café")) + chunk(done(1)) + LAST_CHUNK


def one_exchange(
    script: Script,
    *,
    request: HttpRequest = REQUEST,
    budgets: Budgets = PATIENT,
    cut: Cut | None = None,
    read: bool = True,
) -> tuple[Exchange, Server]:
    """One request to a server that runs `script`."""
    found: list[tuple[Exchange, Server]] = []

    async def job() -> None:
        async with listening(script, read=read) as server:
            client = AsyncClient(server.endpoint, budgets)
            found.append((await client.exchange(request, "a run", cut=cut), server))
            await client.close()

    bounded(job())
    return found[0]


# How a response ends


def test_a_whole_stream() -> None:
    exchange, server = one_exchange(sending_and_waiting(WHOLE))
    assert (exchange.label, exchange.ending, exchange.ending_detail) == ("a run", Ending.COMPLETE, "")
    assert (exchange.status, exchange.outcome, exchange.text) == (200, "done", "café")
    assert exchange.request is REQUEST
    assert exchange.timing.intended_ns == exchange.timing.started_ns
    assert exchange.timing.connected_ns is not None
    assert exchange.timing.sent_ns is not None
    assert (
        exchange.timing.started_ns
        < exchange.timing.connected_ns
        <= exchange.timing.sent_ns
        < exchange.timing.ended_ns
    )
    (connection,) = server.connections
    assert connection.body == '{"a": "ü"}'.encode()
    assert connection.head == (
        b"POST /runs HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nAuthorization: Bearer t\r\nX-Odd: \xc3\xa9\r\n"
        b"Content-Length: 11\r\n\r\n" % server.port
    )


def test_one_byte_a_packet() -> None:
    exchange, _ = one_exchange(sending(*(WHOLE[at : at + 1] for at in range(len(WHOLE)))))
    assert (exchange.ending, exchange.text) == (Ending.COMPLETE, "café")
    assert b"".join(read.data for read in exchange.reads) == WHOLE


@pytest.mark.parametrize(
    "answer",
    [
        head(200, {**STREAM, "Content-Length": str(len(done(0)))}) + done(0),
        head(200, STREAM) + done(0),
        head(200, STREAM).replace(b"HTTP/1.1", b"HTTP/1.0") + done(0),
        b"HTTP/1.1 100 Continue\r\n\r\n" + head(200, STREAM) + done(0),
        head(204),
        head(404, {"Content-Length": "0"}),
    ],
)
def test_every_proper_end(answer: bytes) -> None:
    exchange, _ = one_exchange(sending(answer))
    assert (exchange.ending, exchange.ending_detail) == (Ending.COMPLETE, "")


@pytest.mark.parametrize("surplus", [b"HTTP/1.1 500 Oops\r\n\r\n", b"\r\n"])
def test_what_follows_the_message_in_a_later_packet_is_seen(
    monkeypatch: pytest.MonkeyPatch, surplus: bytes
) -> None:
    monkeypatch.setattr("harness.transport.asyncio_client._SURPLUS_S", 0.5)

    async def script(connection: Connection) -> None:
        await connection.send(WHOLE, surplus, pause_s=0.05)
        await connection.wait_for_close()

    exchange, _ = one_exchange(script)
    assert exchange.ending is Ending.COMPLETE
    assert exchange.has_surplus is (surplus != b"\r\n")


@pytest.mark.parametrize(
    ("sent", "ending", "detail"),
    [
        (b"", Ending.TRUNCATED, "the server closed the connection before a response"),
        (b"HTTP/1.1 200 OK\r\nConte", Ending.TRUNCATED, "the server closed the connection before a response"),
        (HEAD, Ending.TRUNCATED, "the server closed the connection before the end of the response"),
        (
            HEAD + chunk(token(0)) + b"5\r\nab",
            Ending.TRUNCATED,
            "the server closed the connection before the end of the response",
        ),
        (
            WHOLE.removesuffix(LAST_CHUNK),
            Ending.TRUNCATED,
            "the server closed the connection before the end of the response",
        ),
        (
            head(200, {**STREAM, "Content-Length": "999"}) + done(0),
            Ending.TRUNCATED,
            "the server closed the connection before the end of the response",
        ),
        (b"SSH-2.0-x\r\n", Ending.MALFORMED, "not an HTTP/1.1 response"),
        (HEAD + chunk(token(0)) + b"zz\r\n", Ending.MALFORMED, "not an HTTP/1.1 response"),
    ],
)
def test_every_improper_end(sent: bytes, ending: Ending, detail: str) -> None:
    exchange, _ = one_exchange(sending(sent))
    assert exchange.ending is ending
    assert exchange.ending_detail.startswith(detail)
    assert exchange.reads == () or b"".join(read.data for read in exchange.reads) == sent


def test_a_limit_of_the_harness_is_an_ending_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("harness.contract.decoding.memory.DEFAULT_BUDGET.response_bytes", 300_000)
    exchange, _ = one_exchange(sending(HEAD + chunk(token(0, "x" * 400_000)) + LAST_CHUNK))
    assert exchange.ending is Ending.LIMIT
    assert (
        exchange.ending_detail
        == "a limit of the harness was reached: the response is larger than 0 MiB (limits.response)"
    )
    assert exchange.obstacle == exchange.ending_detail


def test_events_before_malformed_bytes_are_kept() -> None:
    exchange, _ = one_exchange(sending(HEAD + chunk(token(0)) + b"zz\r\n"))
    assert len(exchange.events) == 1


def test_a_reset_during_the_stream() -> None:
    async def script(connection: Connection) -> None:
        await connection.send(HEAD + chunk(token(0)))
        await asyncio.sleep(0.1)
        connection.reset()

    exchange, _ = one_exchange(script)
    assert (exchange.ending, exchange.ending_detail) == (
        Ending.RESET,
        "the connection broke: Connection reset by peer",
    )
    assert len(exchange.events) == 1


def test_a_reset_after_the_whole_message_is_complete() -> None:
    async def script(connection: Connection) -> None:
        await connection.send(WHOLE)
        await asyncio.sleep(0.1)
        connection.reset()

    assert one_exchange(script)[0].ending is Ending.COMPLETE


def test_refused() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]

    async def job() -> None:
        exchange = await AsyncClient(Endpoint("127.0.0.1", port), PATIENT).exchange(REQUEST, "a run")
        assert (exchange.ending, exchange.ending_detail) == (Ending.REFUSED, "Connection refused")
        assert (exchange.timing.connected_ns, exchange.timing.sent_ns, exchange.reads) == (None, None, ())

    bounded(job())


def test_a_name_that_does_not_resolve() -> None:
    async def job() -> None:
        exchange = await AsyncClient(Endpoint("no-such-host.invalid", 80), HASTY).exchange(REQUEST, "a run")
        assert exchange.ending in {Ending.REFUSED, Ending.TIMED_OUT}
        assert exchange.timing.connected_ns is None

    bounded(job())


def test_every_address_of_a_name_is_tried() -> None:
    async def job() -> None:
        async with listening(sending(WHOLE)) as server:  # on 127.0.0.1 only
            client = AsyncClient(Endpoint("localhost", server.port), PATIENT)
            assert (await client.exchange(REQUEST, "a run")).ending is Ending.COMPLETE

    bounded(job())


# Deadlines


@pytest.mark.parametrize(
    ("sent", "detail"),
    [
        (b"", "no event within 0.6 s"),
        (HEAD + chunk(b": beat\n\n"), "no event within 0.6 s"),
        (head(400, {"Content-Length": "9"}), "no event within 0.6 s"),
        (HEAD + chunk(token(0)), "silent for 0.6 s"),
        (HEAD + chunk(done(0)), "the stream was still open 0.2 s after its terminal event"),
    ],
)
def test_deadlines(sent: bytes, detail: str) -> None:
    begun = time.monotonic()
    exchange, _ = one_exchange(sending_and_waiting(sent), budgets=HASTY)
    assert (exchange.ending, exchange.ending_detail) == (Ending.TIMED_OUT, detail)
    assert time.monotonic() - begun >= 0.2
    assert exchange.timing.sent_ns is not None
    assert exchange.timing.ended_ns - exchange.timing.sent_ns >= 0.2e9


def test_the_run_budget() -> None:
    async def script(connection: Connection) -> None:
        await connection.send(HEAD)
        for place in range(1000):
            await connection.send(chunk(token(place)), pause_s=0.02)

    exchange, _ = one_exchange(script, budgets=replace(PATIENT, run_s=0.5))
    assert (exchange.ending, exchange.ending_detail) == (Ending.TIMED_OUT, "no terminal event within 0.5 s")
    assert exchange.tokens


def test_heartbeats_keep_a_stream_alive() -> None:
    async def script(connection: Connection) -> None:
        await connection.send(HEAD + chunk(token(0)))
        for _ in range(10):
            await connection.send(chunk(b": beat\n\n"), pause_s=0.15)
        await connection.send(chunk(done(1)) + LAST_CHUNK)

    exchange, _ = one_exchange(script, budgets=Budgets(first_event_s=0.5, heartbeat_s=0.5, run_s=20))
    assert (exchange.ending, exchange.outcome) == (Ending.COMPLETE, "done")


@pytest.mark.parametrize("is_starved", [False, True])
def test_a_full_backlog_times_out_and_a_late_harness_is_no_excuse(is_starved: bool) -> None:
    async def job() -> None:
        with socket.socket() as listener:
            listener.bind(("127.0.0.1", 0))
            listener.listen(0)
            fillers = [socket.socket() for _ in range(4)]
            for filler in fillers:
                filler.setblocking(False)
                filler.connect_ex(listener.getsockname())
            await asyncio.sleep(0.05)
            client = AsyncClient(Endpoint("127.0.0.1", listener.getsockname()[1]), HASTY)
            waiting = client.open(REQUEST, "a run")
            await asyncio.sleep(0)  # it begins to connect
            if is_starved:
                time.sleep(2 * HASTY.first_event_s)  # noqa: ASYNC251 - the loop does nothing meanwhile
            exchange = await waiting.result()
            for filler in fillers:
                filler.close()
        assert (exchange.ending, exchange.ending_detail) == (
            Ending.TIMED_OUT,
            "could not connect and send within 0.3 s",
        )
        assert exchange.own_delay is None

    bounded(job())


def test_a_harness_without_cpu_time_shows_its_own_delay() -> None:
    """The server accepts at once, but this process does not come to send."""

    async def job() -> None:
        async with listening(sending(WHOLE)) as server:
            client = AsyncClient(Endpoint("127.0.0.1", server.port), HASTY)
            late = client.open(REQUEST, "a run")
            time.sleep(2 * HASTY.first_event_s)  # noqa: ASYNC251 - the loop does nothing meanwhile
            exchange = await late.result()
            assert (exchange.ending, exchange.timing.sent_ns) == (Ending.TIMED_OUT, None)
            assert "the harness itself was late for 0." in (exchange.own_delay or "")
            assert exchange.obstacle == exchange.own_delay
            assert headers.event_stream(exchange).verdict is Verdict.INCONCLUSIVE

    bounded(job())


# Cuts


@pytest.mark.parametrize("how", CutHow)
@pytest.mark.parametrize("after", [1, 2])
def test_a_cut_after_an_event(how: CutHow, after: int) -> None:
    closes: list[str] = []

    async def script(connection: Connection) -> None:
        await connection.send(HEAD)
        for place in range(after):
            await connection.send(chunk(token(place)), pause_s=0.1)
        closes.append(await connection.wait_for_close())

    exchange, _ = one_exchange(script, cut=Cut(after, how))
    assert (exchange.ending, exchange.ending_detail) == (
        Ending.CUT,
        cut_detail(how, after),
    )
    assert len(exchange.events) == after
    assert closes == ["rst" if how is CutHow.RST else "fin"]


@pytest.mark.parametrize("how", CutHow)
def test_a_cut_before_the_head_comes_after_the_whole_request(how: CutHow) -> None:
    closes: list[str] = []

    async def script(connection: Connection) -> None:
        closes.append(await connection.wait_for_close())

    exchange, server = one_exchange(script, cut=Cut(0, how))
    assert (exchange.ending, exchange.ending_detail) == (
        Ending.CUT,
        cut_detail(how, 0),
    )
    assert (exchange.status, exchange.reads) == (None, ())
    assert exchange.timing.sent_ns is not None
    # A reset may discard the request in the server's buffer.
    assert how is CutHow.RST or server.connections[0].body == REQUEST.body
    assert how is CutHow.RST or closes == ["fin"]


def test_the_server_can_still_send_after_a_half_close() -> None:
    sent: list[bool] = []

    async def script(connection: Connection) -> None:
        await connection.send(HEAD + chunk(token(0)))
        assert await connection.wait_for_close() == "fin"
        for place in range(1, 4):  # on a fully closed connection the second write would fail
            await connection.send(chunk(token(place)), pause_s=0.01)
        sent.append(True)

    exchange, _ = one_exchange(script, cut=Cut(1, CutHow.HALF_CLOSE))
    assert exchange.ending is Ending.CUT
    assert len(exchange.events) == 1
    assert sent == [True]


def test_a_cut_that_is_never_reached() -> None:
    exchange, _ = one_exchange(sending(WHOLE), cut=Cut(9))
    assert exchange.ending is Ending.COMPLETE


# Servers that respond, or close, before they have read the whole request


def test_an_early_response_while_the_body_is_being_sent() -> None:
    async def script(connection: Connection) -> None:
        await connection.read_head()
        await connection.send(head(413, {"Content-Length": "2"}) + b"no")
        await asyncio.sleep(0.3)

    exchange, _ = one_exchange(script, request=LARGE, read=False)
    assert (exchange.status, exchange.ending, exchange.body) == (413, Ending.COMPLETE, b"no")
    assert exchange.timing.sent_ns is None


def test_an_early_response_followed_by_a_reset() -> None:
    async def script(connection: Connection) -> None:
        await connection.read_head()
        await connection.send(
            head(413, {"Content-Length": "2"}) + b"no"
        )  # closing with unread bytes sends RST

    exchange, _ = one_exchange(script, request=LARGE, read=False)
    assert (exchange.status, exchange.ending) == (413, Ending.COMPLETE)


def test_a_reset_while_the_body_is_being_sent() -> None:
    async def script(connection: Connection) -> None:
        await connection.read_head()
        connection.reset()

    exchange, _ = one_exchange(script, request=LARGE, read=False)
    assert exchange.ending is Ending.RESET
    assert exchange.status is None
    assert exchange.timing.connected_ns is not None
    assert exchange.timing.sent_ns is None


@pytest.mark.parametrize(("wait_s", "responds"), [(20.0, True), (0.01, False)])
def test_a_response_that_comes_after_sending_failed_is_waited_for(
    monkeypatch: pytest.MonkeyPatch, wait_s: float, responds: bool
) -> None:
    """The server's reset may be seen before the response that it sent."""
    failed = asyncio.Event()

    async def fail(*_: object) -> None:
        failed.set()
        raise BrokenPipeError(errno.EPIPE, os.strerror(errno.EPIPE))

    async def script(connection: Connection) -> None:
        await failed.wait()
        for _ in range(50):  # by then the client has noticed
            await asyncio.sleep(0)
        if responds:
            await connection.send(head(413, {"Content-Length": "0"}))
        await connection.wait_for_close()

    monkeypatch.setattr(AsyncClient, "_send", fail)
    monkeypatch.setattr("harness.transport.asyncio_client.EARLY_RESPONSE_S", wait_s)
    exchange, _ = one_exchange(script, read=False)
    expected = (Ending.COMPLETE, 413) if responds else (Ending.RESET, None)
    assert (exchange.ending, exchange.status) == expected


def test_a_large_body_arrives_whole() -> None:
    exchange, server = one_exchange(sending(WHOLE), request=LARGE)
    assert exchange.ending is Ending.COMPLETE
    assert server.connections[0].body == LARGE.body


def test_a_server_that_reads_nothing() -> None:
    async def script(connection: Connection) -> None:
        await asyncio.sleep(5)

    exchange, _ = one_exchange(script, request=LARGE, budgets=HASTY, read=False)
    assert (exchange.ending, exchange.ending_detail) == (
        Ending.TIMED_OUT,
        "could not connect and send within 0.3 s",
    )


# Requests sent together


def test_a_barrier_releases_the_last_bytes_together() -> None:
    incomplete: list[int] = []
    complete: list[int] = []

    async def script(connection: Connection) -> None:
        await connection.read_head()
        await connection.reader.readexactly(len(REQUEST.body) - 1)
        incomplete.append(len(complete))
        await connection.reader.readexactly(1)
        complete.append(len(incomplete))
        await connection.send(WHOLE)

    async def job() -> None:
        async with listening(script, read=False) as server:
            client = AsyncClient(server.endpoint, PATIENT)
            barrier = asyncio.Barrier(5)
            first = [client.open(REQUEST, f"run {number}", barrier=barrier) for number in range(4)]
            await asyncio.sleep(0.2)
            assert incomplete == [0, 0, 0, 0]
            assert complete == []
            last_opened_ns = time.monotonic_ns()
            last = client.open(REQUEST, "run 4", barrier=barrier)
            found = await asyncio.gather(*(live.result() for live in [*first, last]))
        assert [exchange.ending for exchange in found] == [Ending.COMPLETE] * 5
        assert min(exchange.timing.sent_ns for exchange in found) > last_opened_ns

    bounded(job())


def test_a_failed_party_releases_the_barrier() -> None:
    async def script(connection: Connection) -> None:
        if len(server.connections) == 3:
            connection.reset()
        else:
            await connection.read_head()
            await connection.reader.readexactly(len(REQUEST.body) - 1)
            await connection.wait_for_close()

    async def job() -> None:
        nonlocal server
        async with listening(script, read=False) as server:
            client = AsyncClient(server.endpoint, PATIENT)
            barrier = asyncio.Barrier(3)
            large = replace(LARGE, headers=(("X-Large", "1"),))
            requests = [REQUEST, REQUEST]
            waiting = [client.open(request, "one of three", barrier=barrier) for request in requests]
            await asyncio.sleep(0.1)
            lost = await client.exchange(large, "the third", barrier=barrier)
            found = await asyncio.gather(*(live.result() for live in waiting))
        assert lost.ending is Ending.RESET
        assert [exchange.ending for exchange in found] == [Ending.STOPPED] * 2
        assert {exchange.timing.sent_ns for exchange in found} == {None}

    server = Server()
    bounded(job())


# Requests in flight


def test_events_are_waited_for() -> None:
    async def script(connection: Connection) -> None:
        await connection.send(HEAD, chunk(token(0)), chunk(token(1)), pause_s=0.02)
        await asyncio.sleep(0.1)
        await connection.send(chunk(done(2)) + LAST_CHUNK)

    async def job() -> None:
        async with listening(script) as server:
            live = AsyncClient(server.endpoint, PATIENT).open(REQUEST, "a run")
            assert await live.events(2)
            assert not live.finished
            with pytest.raises(RuntimeError, match="has not ended"):
                _ = live.exchange
            assert await live.events(3)
            assert not await live.events(4)
            assert live.finished
            assert (await live.result()) is live.exchange
            assert len(live.exchange.events) == 3

    bounded(job())


def test_several_may_wait_for_the_same_events() -> None:
    async def job() -> None:
        async with listening(
            sending(HEAD, chunk(token(0)), chunk(done(1)), LAST_CHUNK, pause_s=0.05)
        ) as server:
            live = AsyncClient(server.endpoint, PATIENT).open(REQUEST, "a run")
            assert await asyncio.gather(live.events(1), live.events(2), live.events(3)) == [True, True, False]

    bounded(job())


@pytest.mark.parametrize("how", CutHow)
def test_a_stream_is_cut_now(how: CutHow) -> None:
    async def job() -> None:
        async with listening(sending_and_waiting(HEAD + chunk(token(0)))) as server:
            live = AsyncClient(server.endpoint, PATIENT).open(REQUEST, "a run")
            assert await live.events(1)
            exchange = await live.cut(how)
        assert (exchange.ending, exchange.ending_detail) == (
            Ending.CUT,
            cut_detail(how, 1),
        )

    bounded(job())


def test_a_stream_that_has_ended_cannot_be_cut() -> None:
    async def job() -> None:
        async with listening(sending(WHOLE)) as server:
            live = AsyncClient(server.endpoint, PATIENT).open(REQUEST, "a run")
            await live.result()
            assert (await live.cut()).ending is Ending.COMPLETE

    bounded(job())


def test_stop_reading_keeps_the_connection() -> None:
    async def script(connection: Connection) -> None:
        await connection.send(HEAD + chunk(token(0)))
        await asyncio.sleep(0.1)
        await connection.send(chunk(token(1)))
        await connection.wait_for_close()

    async def job() -> None:
        async with listening(script) as server:
            live = AsyncClient(server.endpoint, PATIENT).open(REQUEST, "a run")
            assert await live.events(1)
            live.stop_reading()
            await asyncio.sleep(0.3)
            assert not live.finished
            exchange = await live.cut()
        assert len(exchange.events) == 1
        assert exchange.ending is Ending.CUT

    bounded(job())


def test_a_small_receive_buffer_takes_little_of_what_is_not_read() -> None:
    async def job() -> None:
        async with listening(sending_and_waiting(HEAD + chunk(token(0)))) as server:
            client = AsyncClient(server.endpoint, PATIENT)
            for receive_buffer_bytes in (4096, None):
                live = client.open(REQUEST, "a run", receive_buffer_bytes=receive_buffer_bytes)
                assert await live.events(1)
                live.stop_reading()
            small, usual = (connection.writer for connection in server.connections)
            for writer in (small, usual):
                sock = writer.get_extra_info("socket")
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
                writer.transport.set_write_buffer_limits(0)
                writer.write(b":" * 30_000)
            await usual.drain()
            assert small.transport.get_write_buffer_size() > 0
            await client.close()

    bounded(job())


def test_closing_the_client_stops_requests_in_flight() -> None:
    async def job() -> None:
        async with listening(sending_and_waiting(HEAD + chunk(token(0)))) as server:
            client = AsyncClient(server.endpoint, PATIENT)
            lives = [client.open(REQUEST, "a run") for _ in range(3)]
            assert await lives[0].events(1)
            await client.close()
            assert [live.finished for live in lives] == [True] * 3
            assert {live.exchange.ending for live in lives} == {Ending.STOPPED}
            assert len(lives[0].exchange.events) == 1
            await client.close()

    bounded(job())


def open_descriptors() -> int:
    """Number of open file descriptors; 0 on systems without /proc."""
    listing = Path("/proc/self/fd")
    return len(list(listing.iterdir())) if listing.is_dir() else 0


def test_many_streams_leak_no_descriptor() -> None:
    async def job() -> None:
        async with listening(
            sending(HEAD, chunk(token(0)), chunk(done(1)), LAST_CHUNK, pause_s=0.01)
        ) as server:
            before = open_descriptors()
            client = AsyncClient(server.endpoint, PATIENT)
            found = await asyncio.gather(
                *(client.exchange(REQUEST, f"run {number}") for number in range(60)),
                *(client.exchange(REQUEST, "a cut run", cut=Cut(1, how)) for how in CutHow),
                client.exchange(REQUEST, "cut before the head", cut=Cut(0)),
            )
            assert [exchange.label for exchange in found[:60]] == [f"run {number}" for number in range(60)]
            assert {(exchange.ending, exchange.outcome) for exchange in found[:60]} == {
                (Ending.COMPLETE, "done")
            }
            assert {exchange.ending for exchange in found[60:]} == {Ending.CUT}
            for _ in range(100):
                if open_descriptors() <= before:
                    break
                await asyncio.sleep(0.02)  # the server closes its side a little later
            assert open_descriptors() <= before

    bounded(job())


# Arrival times


@pytest.mark.skipif(not HAS_KERNEL_TIMESTAMPS, reason="no kernel timestamps on this system")
def test_every_read_has_a_kernel_timestamp() -> None:
    exchange, _ = one_exchange(sending(HEAD, chunk(token(0)), chunk(done(1)), LAST_CHUNK, pause_s=0.02))
    lags = [read.lag_ns for read in exchange.reads]
    assert None not in lags
    assert all(0 <= lag < 10_000_000_000 for lag in exchange.stamps_ns()[1])
    arrivals = [read.arrival_ns for read in exchange.reads]
    assert arrivals == sorted(arrivals)
    assert exchange.timing.sent_ns is not None
    assert exchange.timing.sent_ns <= arrivals[0]
    assert arrivals[-1] <= exchange.timing.ended_ns


@pytest.mark.skipif(not HAS_KERNEL_TIMESTAMPS, reason="no kernel timestamps on this system")
def test_a_busy_event_loop_does_not_delay_arrivals() -> None:
    async def script(connection: Connection) -> None:
        await connection.send(WHOLE)
        time.sleep(0.3)  # noqa: ASYNC251 - blocks the client's event loop too

    exchange, _ = one_exchange(script)
    assert max(exchange.stamps_ns()[1]) >= 0.29e9
    assert (
        exchange.offset_ms(exchange.events[0].arrival_ns) < exchange.offset_ms(exchange.timing.ended_ns) - 290
    )


def test_wall_clock_and_monotonic_send_time_agree() -> None:
    exchange, _ = one_exchange(sending(WHOLE))
    assert exchange.timing.sent_ns is not None
    assert exchange.timing.sent_wall_ns is not None
    since_ns = time.monotonic_ns() - exchange.timing.sent_ns
    assert abs(time.time_ns() - since_ns - exchange.timing.sent_wall_ns) < 1e9


# TLS


def test_a_handshake_whose_bytes_are_always_there_leaves_turns_to_other_tasks() -> None:
    steps, turns = 50, 0

    async def other() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    async def job() -> None:
        with connected() as (ours, peer):

            class Endless:
                def handshake(self) -> Generator[bytes, bytes, bytes]:
                    for _ in range(steps):
                        peer.sendall(b"x")
                        assert select.select([ours], [], [], 10)[0]
                        yield b""
                    return b""

            task = asyncio.create_task(other())
            await AsyncClient._shake_hands(ours, cast("TlsSession", Endless()))
            task.cancel()

    bounded(job())
    assert turns >= steps


def tls_exchange(
    server_side: Authority,
    script: Script,
    *,
    host: str = "127.0.0.1",
    cut: Cut | None = None,
    **trust: object,
) -> tuple[Exchange, Server]:
    found: list[tuple[Exchange, Server]] = []

    async def job() -> None:
        async with listening(script, server_side.context) as server:
            endpoint = Endpoint.from_url(f"https://{host}:{server.port}", **trust)
            client = AsyncClient(endpoint, PATIENT)
            found.append((await client.exchange(REQUEST, "a run", cut=cut), server))

    bounded(job())
    return found[0]


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_tls(authority: Authority, host: str) -> None:
    script = sending(HEAD, chunk(token(0, "café")), chunk(done(1)), LAST_CHUNK, pause_s=0.03)
    exchange, server = tls_exchange(authority, script, host=host, ca_file=str(authority.ca_file))
    assert (exchange.ending, exchange.outcome, exchange.text) == (Ending.COMPLETE, "done", "café")
    assert b"".join(read.data for read in exchange.reads) == HEAD + chunk(token(0, "café")) + chunk(
        done(1)
    ) + (LAST_CHUNK)
    assert server.connections[0].body == REQUEST.body
    if HAS_KERNEL_TIMESTAMPS:
        assert len(list(exchange.stamps_ns()[1])) == len(exchange.reads)


def test_tls_with_a_large_response(authority: Authority) -> None:
    chunks = b"".join(chunk(token(place, "x" * 5000)) for place in range(200))
    exchange, _ = tls_exchange(
        authority, sending(HEAD + chunks + chunk(done(200)) + LAST_CHUNK), ca_file=str(authority.ca_file)
    )
    assert (exchange.ending, len(exchange.tokens)) == (Ending.COMPLETE, 200)


def test_tls_that_ends_with_the_connection(authority: Authority) -> None:
    exchange, _ = tls_exchange(
        authority, sending(head(200, STREAM) + done(0)), ca_file=str(authority.ca_file)
    )
    assert (exchange.ending, exchange.outcome) == (Ending.COMPLETE, "done")
    cut_short, _ = tls_exchange(authority, sending(HEAD + chunk(token(0))), ca_file=str(authority.ca_file))
    assert cut_short.ending is Ending.TRUNCATED


@pytest.mark.parametrize("how", CutHow)
def test_cutting_tls(authority: Authority, how: CutHow) -> None:
    exchange, _ = tls_exchange(
        authority,
        sending_and_waiting(HEAD + chunk(token(0))),
        cut=Cut(1, how),
        ca_file=str(authority.ca_file),
    )
    assert (exchange.ending, len(exchange.events)) == (Ending.CUT, 1)


def test_an_unknown_ca(authority: Authority) -> None:
    exchange, server = tls_exchange(authority, sending(WHOLE))
    assert exchange.ending is Ending.REFUSED
    assert exchange.ending_detail.startswith("TLS: ")
    assert "certificate" in exchange.ending_detail.lower()
    assert exchange.timing.sent_ns is None
    assert all(connection.head == b"" for connection in server.connections)


def test_an_unknown_ca_without_verification(authority: Authority) -> None:
    assert tls_exchange(authority, sending(WHOLE), verify=False)[0].ending is Ending.COMPLETE


def test_a_certificate_for_a_different_host(tmp_path: Path) -> None:
    elsewhere = make_authority(tmp_path, "DNS:elsewhere.example")
    exchange, _ = tls_exchange(elsewhere, sending(WHOLE), ca_file=str(elsewhere.ca_file))
    assert exchange.ending is Ending.REFUSED
    assert "certificate" in exchange.ending_detail.lower()
    assert "127.0.0.1" in exchange.ending_detail


def test_https_to_a_plain_http_server() -> None:
    async def job() -> None:
        async with listening(sending(WHOLE), read=False) as server:
            client = AsyncClient(Endpoint.from_url(f"https://127.0.0.1:{server.port}"), PATIENT)
            exchange = await client.exchange(REQUEST, "a run")
        assert exchange.ending is Ending.REFUSED
        assert exchange.ending_detail.startswith("TLS: ")

    bounded(job())


def test_http_to_a_tls_server(authority: Authority) -> None:
    async def job() -> None:
        async with listening(sending(WHOLE), authority.context) as server:
            exchange = await AsyncClient(server.endpoint, PATIENT).exchange(REQUEST, "a run")
        assert exchange.ending in {Ending.TRUNCATED, Ending.RESET, Ending.MALFORMED}
        assert exchange.status is None

    bounded(job())
