from __future__ import annotations

import asyncio
import socket
import time
from dataclasses import replace
from pathlib import Path

import pytest

from harness.contract.exchange import Ending, Exchange
from harness.contract.expectations import Budgets
from harness.protocol.request import HttpRequest
from harness.transport.asyncio_client import AsyncClient
from harness.transport.endpoint import Endpoint
from harness.transport.receiver import Cut, CutHow
from harness.transport.timestamps import KERNEL_STAMPS
from tests.contract.exchanges import LAST_CHUNK, STREAM, chunk, done, head, token
from tests.transport.servers import (
    Authority,
    Connection,
    Script,
    Server,
    bounded,
    listening,
    make_authority,
    saying,
    saying_and_waiting,
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
    """What the client makes of a server that follows `script`."""
    found: list[tuple[Exchange, Server]] = []

    async def job() -> None:
        async with listening(script, read=read) as server:
            client = AsyncClient(server.endpoint, budgets)
            found.append((await client.exchange(request, "a run", cut=cut), server))
            await client.close()

    bounded(job())
    return found[0]


# How an answer ends


def test_a_whole_stream() -> None:
    one, server = one_exchange(saying_and_waiting(WHOLE))
    assert (one.label, one.ending, one.ending_detail) == ("a run", Ending.COMPLETE, "")
    assert (one.status, one.outcome, one.text) == (200, "done", "café")
    assert one.request is REQUEST
    assert one.timing.intended_ns == one.timing.started_ns
    assert one.timing.connected_ns is not None
    assert one.timing.sent_ns is not None
    assert one.timing.started_ns < one.timing.connected_ns <= one.timing.sent_ns < one.timing.ended_ns
    (connection,) = server.connections
    assert connection.body == '{"a": "ü"}'.encode()
    assert connection.head == (
        b"POST /runs HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nAuthorization: Bearer t\r\nX-Odd: \xc3\xa9\r\n"
        b"Content-Length: 11\r\n\r\n" % server.port
    )


def test_one_byte_a_packet() -> None:
    one, _ = one_exchange(saying(*(WHOLE[at : at + 1] for at in range(len(WHOLE)))))
    assert (one.ending, one.text) == (Ending.COMPLETE, "café")
    assert b"".join(read.data for read in one.reads) == WHOLE


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
def test_every_way_for_a_message_to_end_properly(answer: bytes) -> None:
    one, _ = one_exchange(saying(answer))
    assert (one.ending, one.ending_detail) == (Ending.COMPLETE, "")


@pytest.mark.parametrize(
    ("said", "ending", "detail"),
    [
        (b"", Ending.TRUNCATED, "the server closed the connection before an answer"),
        (b"HTTP/1.1 200 OK\r\nConte", Ending.TRUNCATED, "the server closed the connection before an answer"),
        (HEAD, Ending.TRUNCATED, "the server closed the connection before the message's end"),
        (
            HEAD + chunk(token(0)) + b"5\r\nab",
            Ending.TRUNCATED,
            "the server closed the connection before the message's end",
        ),
        (
            WHOLE.removesuffix(LAST_CHUNK),
            Ending.TRUNCATED,
            "the server closed the connection before the message's end",
        ),
        (
            head(200, {**STREAM, "Content-Length": "999"}) + done(0),
            Ending.TRUNCATED,
            "the server closed the connection before the message's end",
        ),
        (b"SSH-2.0-x\r\n", Ending.MALFORMED, "not an HTTP/1.1 response"),
        (HEAD + chunk(token(0)) + b"zz\r\n", Ending.MALFORMED, "not an HTTP/1.1 response"),
    ],
)
def test_every_other_way(said: bytes, ending: Ending, detail: str) -> None:
    one, _ = one_exchange(saying(said))
    assert one.ending is ending
    assert one.ending_detail.startswith(detail)
    assert one.reads == () or b"".join(read.data for read in one.reads) == said


def test_events_before_malformed_bytes_are_kept() -> None:
    one, _ = one_exchange(saying(HEAD + chunk(token(0)) + b"zz\r\n"))
    assert len(one.events) == 1


def test_a_reset_in_mid_stream() -> None:
    async def script(one: Connection) -> None:
        await one.say(HEAD + chunk(token(0)))
        await asyncio.sleep(0.1)
        one.reset()

    one, _ = one_exchange(script)
    assert (one.ending, one.ending_detail) == (
        Ending.RESET,
        "the connection broke: Connection reset by peer",
    )
    assert len(one.events) == 1


def test_a_reset_after_the_whole_message_is_none() -> None:
    async def script(one: Connection) -> None:
        await one.say(WHOLE)
        await asyncio.sleep(0.1)
        one.reset()

    assert one_exchange(script)[0].ending is Ending.COMPLETE


def test_refused() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]

    async def job() -> None:
        one = await AsyncClient(Endpoint("127.0.0.1", port), PATIENT).exchange(REQUEST, "a run")
        assert (one.ending, one.ending_detail) == (Ending.REFUSED, "Connection refused")
        assert (one.timing.connected_ns, one.timing.sent_ns, one.reads) == (None, None, ())

    bounded(job())


def test_a_name_that_does_not_resolve() -> None:
    async def job() -> None:
        one = await AsyncClient(Endpoint("no-such-host.invalid", 80), HASTY).exchange(REQUEST, "a run")
        assert one.ending in {Ending.REFUSED, Ending.TIMED_OUT}
        assert one.timing.connected_ns is None

    bounded(job())


def test_a_name_is_tried_at_all_its_addresses() -> None:
    async def job() -> None:
        async with listening(saying(WHOLE)) as server:  # on 127.0.0.1 alone
            client = AsyncClient(Endpoint("localhost", server.port), PATIENT)
            assert (await client.exchange(REQUEST, "a run")).ending is Ending.COMPLETE

    bounded(job())


# Patience


@pytest.mark.parametrize(
    ("said", "detail"),
    [
        (b"", "no event within 0.6 s"),
        (HEAD + chunk(b": beat\n\n"), "no event within 0.6 s"),
        (head(400, {"Content-Length": "9"}), "no event within 0.6 s"),
        (HEAD + chunk(token(0)), "silent for 0.6 s"),
        (HEAD + chunk(done(0)), "the stream was still open 0.2 s after its terminal event"),
    ],
)
def test_patience_ends(said: bytes, detail: str) -> None:
    begun = time.monotonic()
    one, _ = one_exchange(saying_and_waiting(said), budgets=HASTY)
    assert (one.ending, one.ending_detail) == (Ending.TIMED_OUT, detail)
    assert time.monotonic() - begun >= 0.2
    assert one.timing.sent_ns is not None
    assert one.timing.ended_ns - one.timing.sent_ns >= 0.2e9


def test_a_whole_stream_may_not_take_for_ever() -> None:
    async def script(one: Connection) -> None:
        await one.say(HEAD)
        for place in range(1000):
            await one.say(chunk(token(place)), pause_s=0.02)

    one, _ = one_exchange(script, budgets=replace(PATIENT, run_s=0.5))
    assert (one.ending, one.ending_detail) == (Ending.TIMED_OUT, "no terminal event within 0.5 s")
    assert one.tokens


def test_heartbeats_keep_a_stream_alive() -> None:
    async def script(one: Connection) -> None:
        await one.say(HEAD + chunk(token(0)))
        for _ in range(10):
            await one.say(chunk(b": beat\n\n"), pause_s=0.15)
        await one.say(chunk(done(1)) + LAST_CHUNK)

    one, _ = one_exchange(script, budgets=Budgets(first_event_s=0.5, heartbeat_s=0.5, run_s=20))
    assert (one.ending, one.outcome) == (Ending.COMPLETE, "done")


def test_a_full_backlog_times_out() -> None:
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
            one = await client.exchange(REQUEST, "a run")
            for filler in fillers:
                filler.close()
        assert (one.ending, one.ending_detail) == (
            Ending.TIMED_OUT,
            "could not connect and send within 0.3 s",
        )

    bounded(job())


# Cuts


@pytest.mark.parametrize("how", CutHow)
@pytest.mark.parametrize("after", [1, 2])
def test_a_cut_after_an_event(how: CutHow, after: int) -> None:
    felt: list[str] = []

    async def script(one: Connection) -> None:
        await one.say(HEAD)
        for place in range(after):
            await one.say(chunk(token(place)), pause_s=0.1)
        felt.append(await one.how_it_was_closed())

    one, _ = one_exchange(script, cut=Cut(after, how))
    assert (one.ending, one.ending_detail) == (Ending.CUT, f"cut by us ({how}) after {after} events")
    assert len(one.events) == after
    assert felt == ["rst" if how is CutHow.RST else "fin"]


@pytest.mark.parametrize("how", CutHow)
def test_a_cut_before_the_head_comes_after_the_whole_request(how: CutHow) -> None:
    felt: list[str] = []

    async def script(one: Connection) -> None:
        felt.append(await one.how_it_was_closed())

    one, server = one_exchange(script, cut=Cut(0, how))
    assert (one.ending, one.ending_detail) == (Ending.CUT, f"cut by us ({how}) before the head")
    assert (one.status, one.reads) == (None, ())
    assert one.timing.sent_ns is not None
    # A reset may overtake the request in the server's buffer.
    assert how is CutHow.RST or server.connections[0].body == REQUEST.body
    assert how is CutHow.RST or felt == ["fin"]


def test_after_a_half_close_the_server_can_still_say_something() -> None:
    told: list[bool] = []

    async def script(one: Connection) -> None:
        await one.say(HEAD + chunk(token(0)))
        assert await one.how_it_was_closed() == "fin"
        for place in range(1, 4):  # to a connection that was closed for good the second of these would fail
            await one.say(chunk(token(place)), pause_s=0.01)
        told.append(True)

    one, _ = one_exchange(script, cut=Cut(1, CutHow.HALF_CLOSE))
    assert one.ending is Ending.CUT
    assert len(one.events) == 1
    assert told == [True]


def test_a_cut_that_is_never_reached() -> None:
    one, _ = one_exchange(saying(WHOLE), cut=Cut(9))
    assert one.ending is Ending.COMPLETE


# A server that answers, or hangs up, before it has read the whole request


def test_an_early_answer_while_the_body_is_still_being_sent() -> None:
    async def script(one: Connection) -> None:
        await one.read_head()
        await one.say(head(413, {"Content-Length": "2"}) + b"no")
        await asyncio.sleep(0.3)

    one, _ = one_exchange(script, request=LARGE, read=False)
    assert (one.status, one.ending, one.body) == (413, Ending.COMPLETE, b"no")
    assert one.timing.sent_ns is None


def test_an_early_answer_of_a_server_that_then_resets() -> None:
    async def script(one: Connection) -> None:
        await one.read_head()
        await one.say(head(413, {"Content-Length": "2"}) + b"no")  # closing with unread bytes sends RST

    one, _ = one_exchange(script, request=LARGE, read=False)
    assert (one.status, one.ending) == (413, Ending.COMPLETE)


def test_a_server_that_hangs_up_while_the_body_is_being_sent() -> None:
    async def script(one: Connection) -> None:
        await one.read_head()
        one.reset()

    one, _ = one_exchange(script, request=LARGE, read=False)
    assert one.ending is Ending.RESET
    assert one.status is None
    assert one.timing.connected_ns is not None
    assert one.timing.sent_ns is None


def test_a_large_body_arrives_whole() -> None:
    one, server = one_exchange(saying(WHOLE), request=LARGE)
    assert one.ending is Ending.COMPLETE
    assert server.connections[0].body == LARGE.body


def test_a_server_that_reads_nothing() -> None:
    async def script(one: Connection) -> None:
        await asyncio.sleep(5)

    one, _ = one_exchange(script, request=LARGE, budgets=HASTY, read=False)
    assert (one.ending, one.ending_detail) == (Ending.TIMED_OUT, "could not connect and send within 0.3 s")


# Requests that arrive together


def test_the_last_bytes_go_out_when_all_parties_are_there() -> None:
    incomplete: list[int] = []
    complete: list[int] = []

    async def script(one: Connection) -> None:
        await one.read_head()
        await one.reader.readexactly(len(REQUEST.body) - 1)
        incomplete.append(len(complete))
        await one.reader.readexactly(1)
        complete.append(len(incomplete))
        await one.say(WHOLE)

    async def job() -> None:
        async with listening(script, read=False) as server:
            client = AsyncClient(server.endpoint, PATIENT)
            barrier = asyncio.Barrier(5)
            first = [client.open(REQUEST, f"run {number}", barrier=barrier) for number in range(4)]
            await asyncio.sleep(0.2)
            assert incomplete == [0, 0, 0, 0]
            assert complete == []
            last = client.open(REQUEST, "run 4", barrier=barrier)
            found = await asyncio.gather(*(live.result() for live in [*first, last]))
        assert [one.ending for one in found] == [Ending.COMPLETE] * 5
        sent = [one.timing.sent_ns for one in found]
        assert max(sent) - min(sent) < 0.2e9

    bounded(job())


def test_nobody_waits_for_a_party_that_cannot_come() -> None:
    async def script(one: Connection) -> None:
        if len(server.connections) == 3:
            one.reset()
        else:
            await one.read_head()
            await one.reader.readexactly(len(REQUEST.body) - 1)
            await one.how_it_was_closed()

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
        assert [one.ending for one in found] == [Ending.STOPPED] * 2
        assert {one.timing.sent_ns for one in found} == {None}

    server = Server()
    bounded(job())


# A request that is under way


def test_events_are_waited_for() -> None:
    async def script(one: Connection) -> None:
        await one.say(HEAD, chunk(token(0)), chunk(token(1)), pause_s=0.02)
        await asyncio.sleep(0.1)
        await one.say(chunk(done(2)) + LAST_CHUNK)

    async def job() -> None:
        async with listening(script) as server:
            live = AsyncClient(server.endpoint, PATIENT).open(REQUEST, "a run")
            assert await live.events(2)
            assert not live.finished
            with pytest.raises(RuntimeError, match="still going on"):
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
            saying(HEAD, chunk(token(0)), chunk(done(1)), LAST_CHUNK, pause_s=0.05)
        ) as server:
            live = AsyncClient(server.endpoint, PATIENT).open(REQUEST, "a run")
            assert await asyncio.gather(live.events(1), live.events(2), live.events(3)) == [True, True, False]

    bounded(job())


@pytest.mark.parametrize("how", CutHow)
def test_a_stream_is_cut_now(how: CutHow) -> None:
    async def job() -> None:
        async with listening(saying_and_waiting(HEAD + chunk(token(0)))) as server:
            live = AsyncClient(server.endpoint, PATIENT).open(REQUEST, "a run")
            assert await live.events(1)
            one = await live.cut(how)
        assert (one.ending, one.ending_detail) == (Ending.CUT, f"cut by us ({how}) after 1 events")

    bounded(job())


def test_a_stream_that_has_ended_cannot_be_cut() -> None:
    async def job() -> None:
        async with listening(saying(WHOLE)) as server:
            live = AsyncClient(server.endpoint, PATIENT).open(REQUEST, "a run")
            await live.result()
            assert (await live.cut()).ending is Ending.COMPLETE

    bounded(job())


def test_a_stalled_reader_reads_no_more_and_keeps_the_connection() -> None:
    async def script(one: Connection) -> None:
        await one.say(HEAD + chunk(token(0)))
        await asyncio.sleep(0.1)
        await one.say(chunk(token(1)))
        await one.how_it_was_closed()

    async def job() -> None:
        async with listening(script) as server:
            live = AsyncClient(server.endpoint, PATIENT).open(REQUEST, "a run")
            assert await live.events(1)
            live.stall()
            await asyncio.sleep(0.3)
            assert not live.finished
            one = await live.cut()
        assert len(one.events) == 1
        assert one.ending is Ending.CUT

    bounded(job())


def test_closing_the_client_stops_what_is_under_way() -> None:
    async def job() -> None:
        async with listening(saying_and_waiting(HEAD + chunk(token(0)))) as server:
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
    """How many there are; 0 on systems that do not tell."""
    listing = Path("/proc/self/fd")
    return len(list(listing.iterdir())) if listing.is_dir() else 0


def test_many_streams_at_once_and_no_descriptor_left() -> None:
    async def job() -> None:
        async with listening(
            saying(HEAD, chunk(token(0)), chunk(done(1)), LAST_CHUNK, pause_s=0.01)
        ) as server:
            before = open_descriptors()
            client = AsyncClient(server.endpoint, PATIENT)
            found = await asyncio.gather(
                *(client.exchange(REQUEST, f"run {number}") for number in range(60)),
                *(client.exchange(REQUEST, "a cut run", cut=Cut(1, how)) for how in CutHow),
                client.exchange(REQUEST, "cut before the head", cut=Cut(0)),
            )
            assert [one.label for one in found[:60]] == [f"run {number}" for number in range(60)]
            assert {(one.ending, one.outcome) for one in found[:60]} == {(Ending.COMPLETE, "done")}
            assert {one.ending for one in found[60:]} == {Ending.CUT}
            for _ in range(100):
                if open_descriptors() <= before:
                    break
                await asyncio.sleep(0.02)  # the server's side closes a moment later
            assert open_descriptors() <= before

    bounded(job())


# Arrival times


@pytest.mark.skipif(not KERNEL_STAMPS, reason="the kernel stamps no arrivals on this system")
def test_every_read_has_the_kernels_stamp() -> None:
    one, _ = one_exchange(saying(HEAD, chunk(token(0)), chunk(done(1)), LAST_CHUNK, pause_s=0.02))
    lags = [read.lag_ns for read in one.reads]
    assert None not in lags
    assert all(0 <= lag < 10_000_000_000 for lag in one.stamps_ns()[1])
    arrivals = [read.arrival_ns for read in one.reads]
    assert arrivals == sorted(arrivals)
    assert one.timing.sent_ns is not None
    assert one.timing.sent_ns <= arrivals[0]
    assert arrivals[-1] <= one.timing.ended_ns


@pytest.mark.skipif(not KERNEL_STAMPS, reason="the kernel stamps no arrivals on this system")
def test_arrivals_are_the_kernels_also_when_the_loop_is_busy() -> None:
    async def script(one: Connection) -> None:
        await one.say(WHOLE)
        time.sleep(0.3)  # noqa: ASYNC251 - the loop, which is the client's too, reads nothing meanwhile

    one, _ = one_exchange(script)
    assert max(one.stamps_ns()[1]) >= 0.29e9
    assert one.offset_ms(one.events[0].arrival_ns) < one.offset_ms(one.timing.ended_ns) - 290


def test_the_wall_clock_of_the_sending_is_that_of_the_monotonic_one() -> None:
    one, _ = one_exchange(saying(WHOLE))
    assert one.timing.sent_ns is not None
    assert one.timing.sent_wall_ns is not None
    since_ns = time.monotonic_ns() - one.timing.sent_ns
    assert abs(time.time_ns() - since_ns - one.timing.sent_wall_ns) < 1e9


# TLS


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
    script = saying(HEAD, chunk(token(0, "café")), chunk(done(1)), LAST_CHUNK, pause_s=0.03)
    one, server = tls_exchange(authority, script, host=host, ca_file=str(authority.ca_file))
    assert (one.ending, one.outcome, one.text) == (Ending.COMPLETE, "done", "café")
    assert b"".join(read.data for read in one.reads) == HEAD + chunk(token(0, "café")) + chunk(done(1)) + (
        LAST_CHUNK
    )
    assert server.connections[0].body == REQUEST.body
    if KERNEL_STAMPS:
        assert len(list(one.stamps_ns()[1])) == len(one.reads)


def test_tls_of_a_large_answer(authority: Authority) -> None:
    words = b"".join(chunk(token(place, "x" * 5000)) for place in range(200))
    one, _ = tls_exchange(
        authority, saying(HEAD + words + chunk(done(200)) + LAST_CHUNK), ca_file=str(authority.ca_file)
    )
    assert (one.ending, len(one.tokens)) == (Ending.COMPLETE, 200)


def test_tls_that_ends_with_the_connection(authority: Authority) -> None:
    one, _ = tls_exchange(authority, saying(head(200, STREAM) + done(0)), ca_file=str(authority.ca_file))
    assert (one.ending, one.outcome) == (Ending.COMPLETE, "done")
    cut_short, _ = tls_exchange(authority, saying(HEAD + chunk(token(0))), ca_file=str(authority.ca_file))
    assert cut_short.ending is Ending.TRUNCATED


@pytest.mark.parametrize("how", CutHow)
def test_tls_is_cut(authority: Authority, how: CutHow) -> None:
    one, _ = tls_exchange(
        authority,
        saying_and_waiting(HEAD + chunk(token(0))),
        cut=Cut(1, how),
        ca_file=str(authority.ca_file),
    )
    assert (one.ending, len(one.events)) == (Ending.CUT, 1)


def test_a_certificate_that_nobody_vouches_for(authority: Authority) -> None:
    one, server = tls_exchange(authority, saying(WHOLE))
    assert one.ending is Ending.REFUSED
    assert one.ending_detail.startswith("TLS: ")
    assert "certificate" in one.ending_detail.lower()
    assert one.timing.sent_ns is None
    assert all(connection.head == b"" for connection in server.connections)


def test_a_certificate_that_nobody_vouches_for_may_be_accepted(authority: Authority) -> None:
    assert tls_exchange(authority, saying(WHOLE), verify=False)[0].ending is Ending.COMPLETE


def test_a_certificate_for_another_host(tmp_path: Path) -> None:
    elsewhere = make_authority(tmp_path, "DNS:elsewhere.example")
    one, _ = tls_exchange(elsewhere, saying(WHOLE), ca_file=str(elsewhere.ca_file))
    assert one.ending is Ending.REFUSED
    assert "certificate" in one.ending_detail.lower()
    assert "127.0.0.1" in one.ending_detail


def test_no_tls_where_tls_was_expected() -> None:
    async def job() -> None:
        async with listening(saying(WHOLE), read=False) as server:
            client = AsyncClient(Endpoint.from_url(f"https://127.0.0.1:{server.port}"), PATIENT)
            one = await client.exchange(REQUEST, "a run")
        assert one.ending is Ending.REFUSED
        assert one.ending_detail.startswith("TLS: ")

    bounded(job())


def test_tls_where_none_was_expected(authority: Authority) -> None:
    async def job() -> None:
        async with listening(saying(WHOLE), authority.context) as server:
            one = await AsyncClient(server.endpoint, PATIENT).exchange(REQUEST, "a run")
        assert one.ending in {Ending.TRUNCATED, Ending.RESET, Ending.MALFORMED}
        assert one.status is None

    bounded(job())
