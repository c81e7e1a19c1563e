"""Ends: what comes after a message, and messages of other protocols."""

from __future__ import annotations

from collections.abc import Iterator

from harness.contract.exchange import Ending

from .behaviour import CHUNKED, CLOSED, LAST, Behaviour, End, Group, Piece, chunk, done, for_ever, head, token

group = Group("endings")
COMPLETE, MALFORMED, TIMED_OUT, TRUNCATED = (
    Ending.COMPLETE,
    Ending.MALFORMED,
    Ending.TIMED_OUT,
    Ending.TRUNCATED,
)
_BODY = chunk(token(0)) + chunk(done(1)) + LAST
_RUN = CHUNKED + _BODY
_AFTER = "headers.nothing-after"

group.sends("a whole second answer", (_RUN + _RUN,), COMPLETE, breaks=_AFTER)
group.sends("noise after the message", (_RUN + b"\x00\xff" * 1000,), COMPLETE, breaks=_AFTER)
group.sends("a second answer later", (_RUN, 0.3, _RUN), COMPLETE)
group.sends("line ends after the message", (_RUN + b"\r\n\r\n",), COMPLETE)
group.sends("no terminal event, closed", (CLOSED + token(0),), COMPLETE)
group.sends("no event, closed", (CLOSED,), COMPLETE)
group.sends("an empty chunked body", (CHUNKED + LAST,), COMPLETE)
group.sends("two terminal events", (CLOSED + token(0) + done(1) + done(2),), COMPLETE)
group.sends("reset after the terminal event", (CHUNKED + chunk(done(1)), 0.05, End.RESET), Ending.RESET)
group.sends("open after a complete message", (_RUN, End.HANG), COMPLETE)
group.sends(
    "close-delimited, open",
    (CLOSED + token(0) + done(1), End.HANG),
    TIMED_OUT,
    detail="after its terminal event",
)
group.sends(
    "HTTP/1.0 with chunks",
    (CHUNKED.replace(b"HTTP/1.1", b"HTTP/1.0") + _BODY,),
    COMPLETE,
    breaks="headers.transfer-coding",
)
for _protocol in ("HTTP/2.0", "HTTP/0.9", "HTTP/1.2", "RTSP/1.0", "ICE/1.0", "http/1.1"):
    group.sends(
        f"status line of {_protocol}",
        (CHUNKED.replace(b"HTTP/1.1", _protocol.encode()) + _BODY,),
        MALFORMED,
        detail="not an HTTP/1.1 response",
    )
group.sends(
    "status line of ICY",
    (CHUNKED.replace(b"HTTP/1.1", b"ICY") + _BODY,),
    MALFORMED,
    detail="not an HTTP/1.1 response",
)
group.sends("204 with a body", (head("204 No Content") + token(0) + done(1),), COMPLETE)
group.sends(
    "chunks and a length",
    (head("200 OK", "Transfer-Encoding: chunked", "Content-Length: 3") + _BODY,),
    COMPLETE,
    MALFORMED,
)


@group.does("answers without end", COMPLETE)
def _() -> Iterator[Piece]:
    yield from for_ever(_RUN)


BEHAVIOURS: list[Behaviour] = group.behaviours
