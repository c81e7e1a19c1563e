from __future__ import annotations

import gzip
from typing import Any

from harness.contract.exchange import Ending, Exchange
from harness.contract.rules import headers
from harness.protocol.request import HttpRequest
from tests.cases import all_cases
from tests.contract.exchanges import (
    CUT,
    LAST_CHUNK,
    LIMITED,
    STREAM,
    asking,
    chunk,
    done,
    empty_stream,
    frame,
    head,
    no_answer,
    read_late,
    reply,
    run,
    scripted,
    token,
    whole_run,
)
from tests.contract.rules.case import FAIL, INCONCLUSIVE, PASS, WARN, Case, case, check

BUFFERED = run(*(token(place * 50) for place in range(4)), at=[1500.0, 1500.5, 1501.0, 1501.5])
UNTIMED = [frame({"type": "token", "content": "x"}, f"1-{place}") for place in range(4)]

TWENTY = [token(place * 6) for place in range(20)]  # 60 ms apart
TWENTY_UNTIMED = [frame({"type": "token", "content": "x"}, f"1-{place}") for place in range(20)]
IN_BLOCKS = [place // 5 * 300.0 + 300.0 for place in range(20)]
LIVE = run(*TWENTY, at=[place * 60.0 for place in range(20)])
HELD_BACK = run(*TWENTY, at=IN_BLOCKS)
UNTIMED_LIVE = run(*TWENTY_UNTIMED, at=[place * 60.0 for place in range(20)])
#: A proxy that holds events for 0.3 s: a busy machine wrote the third block late.
UNTIMED_LATE_BLOCK = run(
    *TWENTY_UNTIMED,
    at=[
        start + 0.1 * place
        for start, count in ((0, 6), (300, 4), (680, 8), (900, 2))
        for place in range(count)
    ],
)
#: A model that makes several events at a time, at no regular distance.
UNTIMED_BURSTS = run(
    *(frame({"type": "token", "content": "x"}, f"1-{place}") for place in range(60)),
    at=[
        start * 300.0 + 0.1 * place
        for start, count in zip(
            (0, 1, 3, 4, 7, 8, 10, 11, 14, 15), (6, 9, 3, 7, 5, 8, 2, 9, 6, 5), strict=True
        )
        for place in range(count)
    ],
)
UNTIMED_BLOCKS = run(*TWENTY_UNTIMED, at=IN_BLOCKS)
BUFFERED_READ_LATE = read_late(run(*TWENTY, at=[1150.0] * 20), lag_ms=80)


def with_type(content_type: str | None) -> dict[str, str | None]:
    return {"Content-Type": content_type}


def compressed(coding: str | None, data: bytes = b"", **options: Any) -> Exchange:
    """A run in one chunk of `data`, under a Content-Encoding."""
    fields = {**STREAM, "Transfer-Encoding": "chunked", "Content-Encoding": coding}
    return scripted((0, head(200, fields) + chunk(data or RUN_BYTES) + LAST_CHUNK), **options)


def framed(*fields: str, data: bytes = b"") -> Exchange:
    """A run in one chunk of `data`, under these header fields."""
    start = head(200, STREAM)[:-2] + "\r\n".join([*fields, "", ""]).encode()
    return scripted((0, start + chunk(data or RUN_BYTES) + LAST_CHUNK))


RUN_BYTES = token(0) + token(1) + done(2)
GZIPPED = gzip.compress(RUN_BYTES)
GZIP = compressed("gzip", GZIPPED)
MISLABELLED = compressed("gzip")
UNKNOWN = compressed("exi", bytes(range(256)))


def not_sent(*, late_ms: float) -> Exchange:
    return scripted(
        ending=Ending.TIMED_OUT,
        detail="could not connect and send within 3 s",
        sent_ms=None,
        ended_ms=2_998,
        late_ms=late_ms,
    )


def followed_by(more: bytes, *, later: bool = False) -> Exchange:
    """A whole run, and bytes after its message: in the same read, or in one after it."""
    whole = (
        head(200, {**STREAM, "Transfer-Encoding": "chunked"}) + chunk(token(0)) + chunk(done(1)) + LAST_CHUNK
    )
    parts = [(0.0, whole), (1.0, more)] if later else [(0.0, whole + more)]
    return scripted(*parts, ending=Ending.COMPLETE)


CASES: list[Case] = [
    # transfer-coding
    case(headers.transfer_coding, whole_run(), is_=PASS, says="unambiguous"),
    case(headers.transfer_coding, framed("Transfer-Encoding: chunked\t"), is_=PASS, says="unambiguous"),
    case(headers.transfer_coding, framed("transfer-encoding: , Chunked ,"), is_=PASS, says="unambiguous"),
    case(
        headers.transfer_coding,
        framed("Transfer-Encoding: chunked, chunked"),
        is_=FAIL,
        says="more than once",
    ),
    case(
        headers.transfer_coding,
        framed("Transfer-Encoding: chunked", "Transfer-Encoding: chunked"),
        is_=FAIL,
        says="more than once",
    ),
    case(
        headers.transfer_coding,
        framed("Transfer-Encoding: gzip, chunked", data=GZIPPED),
        is_=FAIL,
        says="gzip was sent, but the request had no TE",
    ),
    case(
        headers.transfer_coding,
        framed("Content-Length: 999", "Transfer-Encoding: chunked"),
        is_=FAIL,
        says="next to Content-Length",
    ),
    case(headers.transfer_coding, empty_stream(), is_=INCONCLUSIVE, says="no run to check"),
    case(headers.transfer_coding, no_answer(), is_=INCONCLUSIVE, says="no run to check"),
    # decodable
    case(headers.decodable, whole_run(), is_=PASS, says="has no coding"),
    case(headers.decodable, compressed(None), is_=PASS, says="has no coding"),
    case(headers.decodable, compressed("identity"), is_=PASS, says="has no coding"),
    case(headers.decodable, GZIP, is_=PASS, says="was decoded (gzip)"),
    case(headers.decodable, compressed("none"), is_=PASS, says="readable as it is: Content-Encoding: none"),
    case(
        headers.decodable, framed("Transfer-Encoding: gzip, chunked", data=GZIPPED), is_=PASS, says="(gzip)"
    ),
    case(
        headers.decodable,
        framed("Transfer-Encoding: gzip, chunked"),
        is_=FAIL,
        says="not in the coding that Transfer-Encoding: gzip",
    ),
    case(headers.decodable, MISLABELLED, is_=FAIL, says="not in the coding that Content-Encoding: gzip"),
    case(headers.decodable, UNKNOWN, is_=FAIL, says="Content-Encoding: exi is a coding that"),
    case(headers.decodable, compressed("gzip", GZIPPED + b"x" * 30), is_=FAIL, says="corrupt"),
    case(headers.decodable, empty_stream(), is_=INCONCLUSIVE, says="no run to check"),
    # content-coding
    case(headers.content_coding, whole_run(), is_=PASS, says="no content coding"),
    case(headers.content_coding, compressed("identity"), is_=PASS, says="no content coding"),
    case(
        headers.content_coding,
        GZIP,
        is_=WARN,
        says="Content-Encoding: gzip was sent, but the request accepts",
    ),
    case(headers.content_coding, MISLABELLED, is_=WARN, says="Content-Encoding: gzip"),
    case(headers.content_coding, compressed("none"), is_=WARN, says="Content-Encoding: none"),
    case(
        headers.content_coding,
        compressed("gzip", GZIPPED, request=asking(Accept_Encoding="br, gzip;q=0.5")),
        is_=PASS,
        says="the request accepts the content coding gzip",
    ),
    case(headers.content_coding, UNKNOWN, is_=INCONCLUSIVE, says="see headers.decodable"),
    case(headers.content_coding, empty_stream(), is_=INCONCLUSIVE, says="no run to check"),
    # complete, at a limit of the harness
    case(headers.complete, LIMITED, is_=INCONCLUSIVE, says="a limit of the harness was reached"),
    # event-stream and method, of a request that could not be sent: whose fault it is
    *(
        case(rule, not_sent(late_ms=late_ms), is_=verdict, says=says)
        for rule, fault in ((headers.event_stream, FAIL), (headers.method, WARN))
        for late_ms, verdict, says in (
            (0, fault, "got no response (could not connect and send within 3 s)"),
            (1_400, fault, "could not connect and send within 3 s"),
            (1_600, INCONCLUSIVE, "the harness itself was late for 1.6 s of the 3.0 s (could not connect"),
        )
    ),
    # a server that does not answer what was sent is not excused by a late harness
    case(
        headers.event_stream,
        scripted(ending=Ending.TIMED_OUT, detail="no event within 3 s", ended_ms=3_000, late_ms=2_900),
        is_=FAIL,
        says="no event within 3 s",
    ),
    case(headers.event_stream, whole_run(), is_=PASS, says="200 with text/event-stream"),
    case(
        headers.event_stream,
        whole_run(headers=with_type("Text/Event-Stream ; charset=utf-8")),
        is_=PASS,
        says="200",
    ),
    case(
        headers.event_stream,
        whole_run(headers=with_type("application/json")),
        is_=FAIL,
        says="application/json",
    ),
    case(headers.event_stream, whole_run(headers=with_type(None)), is_=FAIL, says="no Content-Type"),
    case(headers.event_stream, reply(500), is_=FAIL, says="status 500, not 200"),
    case(headers.event_stream, no_answer(), is_=FAIL, says="no response (no event within 10 s)"),
    case(headers.event_stream, empty_stream(), is_=INCONCLUSIVE, says="no run to check"),
    case(headers.charset, whole_run(), is_=PASS, says="absent"),
    case(
        headers.charset,
        whole_run(headers=with_type('text/event-stream; charset="UTF-8"')),
        is_=PASS,
        says="utf-8",
    ),
    case(
        headers.charset,
        whole_run(headers=with_type("text/event-stream;charset = iso-8859-1")),
        is_=FAIL,
        says="'iso-8859-1'",
    ),
    case(headers.charset, empty_stream(), is_=INCONCLUSIVE, says="no run to check"),
    # nothing-after
    case(headers.nothing_after, whole_run(), is_=PASS, says="nothing follows"),
    case(headers.nothing_after, followed_by(b"\r\n\r\n"), is_=PASS, says="nothing follows"),
    case(
        headers.nothing_after, followed_by(b"HTTP/1.1 500 Oops\r\n\r\n"), is_=FAIL, says="HTTP/1.1 500 Oops"
    ),
    case(headers.nothing_after, followed_by(b"\0"), is_=FAIL, says="bytes follow the end"),
    case(headers.nothing_after, followed_by(b"x", later=True), is_=FAIL, says="'x'"),
    case(headers.nothing_after, whole_run(ending=Ending.TRUNCATED), is_=INCONCLUSIVE, says="was not reached"),
    case(
        headers.nothing_after,
        scripted((0, head(200, STREAM) + done(0)), ending=Ending.RESET),
        is_=PASS,
        says="ends with the connection",
    ),
    case(headers.nothing_after, empty_stream(), is_=INCONCLUSIVE, says="no run to check"),
    # complete
    case(
        headers.complete,
        whole_run(ending=Ending.TRUNCATED, detail="closed the TLS connection without close_notify"),
        is_=FAIL,
        says="without close_notify (chunked)",
    ),
    case(headers.complete, whole_run(), is_=PASS, says="is complete (chunked)"),
    case(
        headers.complete,
        scripted((0, head(200, STREAM) + done(0)), ending=Ending.COMPLETE),
        is_=PASS,
        says="is complete (close)",
    ),
    case(
        headers.complete,
        whole_run(ending=Ending.TRUNCATED),
        is_=FAIL,
        says="closed before the end of the message (chunked)",
    ),
    case(
        headers.complete,
        run(token(0), ending=Ending.RESET, detail="the connection broke: Connection reset by peer"),
        is_=FAIL,
        says="Connection reset by peer mid-message",
    ),
    case(
        headers.complete,
        whole_run(ending=Ending.RESET),
        is_=INCONCLUSIVE,
        says="reset after the terminal event",
    ),
    case(
        headers.complete,
        run(done(0), ending=Ending.MALFORMED, detail="not an HTTP/1.1 response"),
        is_=FAIL,
        says="cannot be parsed: not an HTTP/1.1 response",
    ),
    case(
        headers.complete,
        run(token(0), ending=Ending.CUT, detail=f"{CUT} after 1 event"),
        is_=INCONCLUSIVE,
        says="did not read to the end",
    ),
    case(headers.no_cache, whole_run(), is_=PASS, says="no-store"),
    case(
        headers.no_cache,
        whole_run(headers={"Cache-Control": "private, No-Cache"}),
        is_=PASS,
        says="private, No-Cache",
    ),
    case(headers.no_cache, whole_run(headers={"Cache-Control": None}), is_=WARN, says="absent"),
    case(
        headers.no_cache,
        whole_run(headers={"Cache-Control": "public, max-age=60"}),
        is_=WARN,
        says="'public, max-age=60'",
    ),
    case(headers.no_cache, empty_stream(), is_=INCONCLUSIVE, says="no run to check"),
    case(
        headers.incremental,
        run(*(token(place * 40) for place in range(4)), at=[0, 400, 800, 1200]),
        is_=PASS,
        says="4 events arrived over 1200 ms",
    ),
    case(headers.incremental, BUFFERED, is_=FAIL, says="4 events produced over 1500 ms arrived within", at=0),
    case(
        headers.incremental,
        run(*(token(place * 40) for place in range(4)), at=[1200.0, 1300.0, 1400.0, 1600.0]),
        is_=INCONCLUSIVE,
        says="4 events produced over 1200 ms arrived within 400 ms: the server, the network or this machine delayed",
    ),
    case(
        headers.incremental,
        run(*UNTIMED, at=[1500.0, 1500.5, 1501.0, 1501.5]),
        is_=FAIL,
        says="produced over 1000 ms arrived within 2 ms",
    ),
    case(
        headers.incremental,
        run(*UNTIMED, at=[0, 400, 800, 1200]),
        is_=PASS,
        says="4 events arrived over 1200 ms",
    ),
    case(
        headers.incremental,
        run(*(token(place) for place in range(4))),
        is_=INCONCLUSIVE,
        says="ended within 30 ms",
    ),
    case(
        headers.incremental,
        run(token(0), done(1)),
        is_=INCONCLUSIVE,
        says="only 2 events; configure a longer",
    ),
    case(
        headers.incremental,
        BUFFERED_READ_LATE,
        is_=INCONCLUSIVE,
        says="arrived within 0 ms, but the harness was busy and read them 80 ms late",
    ),
    case(headers.incremental, HELD_BACK, is_=FAIL, says="arrived in 4 blocks, up to 240 ms after", at=0),
    case(headers.flushed, LIVE, is_=PASS, says="they arrived then"),
    case(headers.flushed, HELD_BACK, is_=INCONCLUSIVE, says="see headers.incremental"),
    case(headers.flushed, UNTIMED_LIVE, is_=PASS, says="of no regular size or distance"),
    case(headers.flushed, UNTIMED_BLOCKS, is_=WARN, says="in 4 blocks, 5 events each"),
    case(headers.flushed, UNTIMED_LATE_BLOCK, is_=INCONCLUSIVE, says="in only 4 blocks, of no regular size"),
    case(headers.flushed, UNTIMED_LATE_BLOCK, [UNTIMED_BLOCKS], is_=WARN, says="in 4 blocks, 5 events each"),
    case(
        headers.flushed, UNTIMED_LATE_BLOCK, [UNTIMED_LIVE], is_=PASS, says="in 20 blocks of no regular size"
    ),
    case(headers.flushed, UNTIMED_BURSTS, is_=PASS, says="60 events arrived over 4500 ms in 10 blocks"),
    case(headers.flushed, run(token(0), done(1)), is_=INCONCLUSIVE, says="only 2 events"),
    case(
        headers.method,
        reply(405, headers={"Allow": "POST"}, request=HttpRequest("GET", "/", ())),
        is_=PASS,
        says="GET got 405 with Allow: POST",
    ),
    case(headers.method, reply(405), is_=WARN, says="without an Allow"),
    case(headers.method, reply(404), is_=WARN, says="status 404"),
    case(headers.method, no_answer(), is_=WARN, says="no response"),
]


@all_cases("example", CASES, ids=str)
def test_verdict(example: Case) -> None:
    check(example)


def test_a_stream_in_one_read_is_complete() -> None:
    everything = head(200, {**STREAM, "Transfer-Encoding": "chunked"}) + chunk(done(0)) + LAST_CHUNK
    assert headers.complete(scripted((3, everything))).verdict is PASS
