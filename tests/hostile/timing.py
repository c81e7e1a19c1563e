"""Time: what comes slowly, late or never."""

from __future__ import annotations

from collections.abc import Iterator

from harness.contract.exchange import Ending

from .behaviour import CHUNKED, LAST, Behaviour, End, Group, Piece, chunk, done, slowly, token

group = Group("timing")
TIMED_OUT, COMPLETE = Ending.TIMED_OUT, Ending.COMPLETE
NO_EVENT = "no event within"


@group.does("a head byte by byte", TIMED_OUT, detail=NO_EVENT)
def _() -> Iterator[Piece]:
    yield from slowly(CHUNKED * 10)


@group.does("an event byte by byte", TIMED_OUT)
def _() -> Iterator[Piece]:
    yield CHUNKED
    yield from slowly(chunk(token(0)) * 10)


@group.does("an event every 0.2 s without end", TIMED_OUT, detail="no terminal event within")
def _() -> Iterator[Piece]:
    yield CHUNKED
    number = 0
    while True:
        yield chunk(token(number))
        yield 0.2
        number += 1


@group.does("a comment every 0.2 s without end", TIMED_OUT, detail="no terminal event within")
def _() -> Iterator[Piece]:
    yield CHUNKED + chunk(token(0))
    while True:
        yield chunk(b": x\n\n")
        yield 0.2


group.sends("nothing", (End.HANG,), TIMED_OUT, detail=NO_EVENT)
group.sends("nothing, and the request is not read", (End.HANG,), TIMED_OUT, detail=NO_EVENT, phase="accept")
group.sends("a head only", (CHUNKED, End.HANG), TIMED_OUT, detail=NO_EVENT)
group.sends("one event only", (CHUNKED + chunk(token(0)), End.HANG), TIMED_OUT, detail="silent for")
group.sends(
    "the terminal event after a pause", (CHUNKED + chunk(token(0)), 1.0, chunk(done(1)) + LAST), COMPLETE
)
group.sends(
    "the last chunk never", (CHUNKED + chunk(done(0)), End.HANG), TIMED_OUT, detail="after its terminal event"
)
group.sends("closed at once", (b"",), Ending.TRUNCATED, Ending.RESET, phase="accept")
group.sends(
    "reset at once",  # perhaps before the client has seen that it is connected
    (End.RESET,),
    Ending.RESET,
    Ending.TRUNCATED,
    Ending.REFUSED,
    phase="accept",
)
group.sends("reset after the request", (End.RESET,), Ending.RESET)
group.sends(
    "an answer before the request",
    (CHUNKED + chunk(token(0)) + chunk(done(1)) + LAST, 0.2),
    COMPLETE,
    Ending.RESET,
    phase="accept",
)

BEHAVIOURS: list[Behaviour] = group.behaviours
