"""Events: tiny ones in number, huge ones, odd lines, ids."""

from __future__ import annotations

from collections.abc import Iterator

from harness.contract.exchange import Ending

from .behaviour import CLOSED, Behaviour, End, Group, Piece, done, event, for_ever, times, token

group = Group("events")
LIMIT, COMPLETE, TIMED_OUT = Ending.LIMIT, Ending.COMPLETE, Ending.TIMED_OUT


@group.does("five million tiny events", LIMIT)
def _() -> Iterator[Piece]:
    yield CLOSED
    yield from times(b"data\n\n", 5_000_000)


@group.does("events of one type without end", LIMIT)
def _() -> Iterator[Piece]:
    yield CLOSED
    yield from for_ever(b'data: {"type":"x"}\n\n')


@group.does("terminal events without end", LIMIT)
def _() -> Iterator[Piece]:
    yield CLOSED
    yield from for_ever(b'data: {"type":"done","runId":"r"}\n\n')


@group.does("events after the terminal event without end", LIMIT, TIMED_OUT)
def _() -> Iterator[Piece]:
    yield CLOSED + token(0) + done(1)
    yield from for_ever(b'data: {"type":"token","content":"x"}\n\n')


@group.does("comments after the terminal event, slowly", TIMED_OUT, detail="after its terminal event")
def _() -> Iterator[Piece]:
    yield CLOSED + token(0) + done(1)
    while True:
        yield b":\n\n"
        yield 0.05


@group.does("50,000 event types", COMPLETE, LIMIT)
def _() -> Iterator[Piece]:
    yield CLOSED
    for start in range(0, 40_000, 1000):
        yield b"".join(b'data: {"type":"t%d"}\n\n' % number for number in range(start, start + 1000))
    yield done(1)


@group.does("one event with a million data lines", LIMIT, detail="lines")
def _() -> Iterator[Piece]:
    yield CLOSED
    yield from times(b"data: x\n", 1_000_000)
    yield b"\n"


@group.does("one event with 40,000 lines", COMPLETE)
def _() -> Iterator[Piece]:
    yield CLOSED
    yield from times(b"data: 1\n", 40_000)
    yield b"\n" + done(1)


@group.does("an event of 60 MB", LIMIT, detail="8 MiB")
def _() -> Iterator[Piece]:
    yield CLOSED + b'data: {"type":"token","content":"'
    yield from times(b"x" * 1000, 60_000)
    yield b'"}\n\n' + done(1)


@group.does("events of 7 MB", COMPLETE, LIMIT)
def _() -> Iterator[Piece]:
    yield CLOSED
    for number in range(4):
        yield token(number, "x" * 7_000_000)
    yield done(9)


@group.does("an event of 2 MB of emoji", COMPLETE)
def _() -> Iterator[Piece]:
    yield (
        CLOSED + event(0, b'{"type":"token","content":"' + "\U0001f600".encode() * 500_000 + b'"}') + done(1)
    )


@group.does("ids of 1 MB", COMPLETE, LIMIT)
def _() -> Iterator[Piece]:
    yield CLOSED
    for _number in range(5):
        yield b"id: " + b"9" * 1_000_000 + b'-0\ndata: {"type":"token","content":"x"}\n\n'
    yield done(1)


@group.does("10,000 ids of 500 digits", COMPLETE)
def _() -> Iterator[Piece]:
    yield CLOSED
    for number in range(0, 10_000, 100):
        yield b"".join(
            b'id: %s%d-0\ndata: {"type":"token","content":"x"}\n\n' % (b"1" * 500, 10**6 + number + step)
            for step in range(100)
        )
    yield done(1)


@group.does("30,000 events with the same id", COMPLETE)
def _() -> Iterator[Piece]:
    yield CLOSED
    yield from times(b'id: 1-1\ndata: {"type":"token","content":"x"}\n\n', 30_000)
    yield done(1)


@group.does("retry of 10,000 digits", COMPLETE)
def _() -> Iterator[Piece]:
    yield CLOSED + b"retry: " + b"9" * 10_000 + b"\n\n" + token(0) + done(1)


@group.does("an event that never ends, byte by byte", TIMED_OUT)
def _() -> Iterator[Piece]:
    yield CLOSED + token(0) + b"data: "
    while True:
        yield b"x"
        yield 0.02


group.sends("ids with NUL", (CLOSED + b"id: a\0b\ndata: {}\n\n" * 100 + done(1),), COMPLETE)
group.sends(
    "ids with escape sequences", (CLOSED + b"id: \x1b[31m\ndata: \x1b[2J\n\n" * 100 + done(1),), COMPLETE
)
group.sends("invalid UTF-8", (CLOSED + b"data: \xff\xfe\x80\n\n" * 1000 + done(1),), COMPLETE)
group.sends("half an event, open", (CLOSED + token(0) + b"data: {", End.HANG), TIMED_OUT)
group.sends(
    "CR, LF and CRLF mixed", (CLOSED + b"data: x\r\rdata: y\n\r\ndata: z\r\n\n" * 500 + done(1),), COMPLETE
)

BEHAVIOURS: list[Behaviour] = group.behaviours
