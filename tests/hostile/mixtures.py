"""Mixtures: what is dear to decode or to judge between events that look sound, and in each answer anew."""

from __future__ import annotations

import itertools
import json
import os
import random
from collections.abc import Iterator

from harness.contract.exchange import Ending

from .behaviour import (
    CHUNKED,
    CLOSED,
    LAST,
    Behaviour,
    End,
    Group,
    Piece,
    chunk,
    done,
    event,
    for_ever,
    head,
    times,
    token,
)

group = Group("mixtures")
COMPLETE, LIMIT, MALFORMED, TIMED_OUT = Ending.COMPLETE, Ending.LIMIT, Ending.MALFORMED, Ending.TIMED_OUT
_RUN = token(0) + done(1)

# A first token, then lines that bring no event.
for _name, _block in {
    "comments": b":\n\n",
    "comments with CRLF": b":\r\n\r\n",
    "retry fields": b"retry: 1000\n\n",
    "ids": b"id: 1717000000009-0\n\n",
    "event names": b"event: token\n\n",
    "fields that are ignored": b"x: y\n\n",
    "blank lines": b"\n",
    "half a frame": b"id: 1717000000009-0\n",
}.items():

    @group.does(f"a token, then {_name} without end", LIMIT, TIMED_OUT)
    def _(block: bytes = _block) -> Iterator[Piece]:
        crlf = b"\r" in block
        yield CLOSED + (token(0).replace(b"\n", b"\r\n") if crlf else token(0))
        yield from for_ever(block)


@group.does("1,000 comments before each token", LIMIT, TIMED_OUT)
def _() -> Iterator[Piece]:
    yield CLOSED
    for number in itertools.count():
        yield b":\n\n" * 1000 + token(number)


@group.does("200,000 comments, and a sound run", COMPLETE, LIMIT, TIMED_OUT)
def _() -> Iterator[Piece]:
    yield CLOSED
    yield from times(b":\n\n", 200_000)
    yield _RUN


@group.does("a sound run, and comments without end", LIMIT, TIMED_OUT)
def _() -> Iterator[Piece]:
    yield CLOSED + _RUN
    yield from for_ever(b": done\n\n")


@group.does("40,000 empty lines of data in each token", LIMIT, TIMED_OUT)
def _() -> Iterator[Piece]:
    yield CLOSED
    for number in itertools.count():
        value = b'{"type":"token",\n' + b"data:\n" * 40_000 + b'data: "content":"x"}'
        yield event(number, value)


@group.does("10,000 more members in each token", COMPLETE, LIMIT, TIMED_OUT)
def _() -> Iterator[Piece]:
    members = b",".join(b'"k%d":%d' % (number, number) for number in range(10_000))
    yield CLOSED
    for number in range(300):
        yield event(number, b'{"type":"token","content":"x",' + members + b"}")
    yield done(300)


@group.does("tokens whose keys change their order each time", LIMIT, TIMED_OUT)
def _() -> Iterator[Piece]:
    order = random.Random(1)
    yield CLOSED
    for start in itertools.count(0, 500):
        block = b""
        for number in range(start, start + 500):
            members = [("type", "token"), ("content", "x"), *((f"m{place}", place) for place in range(6))]
            order.shuffle(members)
            block += event(number, dict(members))
        yield block


@group.does("a comment inside of every frame", LIMIT, TIMED_OUT)
def _() -> Iterator[Piece]:
    yield CLOSED
    for start in itertools.count(0, 1000):
        numbers = range(start, start + 1000)
        yield b"".join(token(number).replace(b"\ndata", b"\n: x\ndata") for number in numbers)


@group.does("20,000 tokens of noise, others in each answer", COMPLETE, LIMIT, TIMED_OUT)
def _() -> Iterator[Piece]:
    yield CLOSED
    for start in range(0, 20_000, 500):
        yield b"".join(token(number, os.urandom(8).hex()) for number in range(start, start + 500))
    yield done(20_000)


@group.does("4,000 events, in another order in each answer", COMPLETE, LIMIT, TIMED_OUT)
def _() -> Iterator[Piece]:
    numbers = list(range(4000))
    random.SystemRandom().shuffle(numbers)
    yield CLOSED + b"".join(token(number, f"word {number} ") for number in numbers) + done(4000)


@group.does("4,000 events, from another one on in each answer", COMPLETE, LIMIT, TIMED_OUT)
def _() -> Iterator[Piece]:
    first = int.from_bytes(os.urandom(2)) % 4000
    yield CLOSED + b"".join(token(number % 4000) for number in range(first, first + 4000)) + done(4000)


@group.does("4,000 equal events", COMPLETE, LIMIT, TIMED_OUT)
def _() -> Iterator[Piece]:
    yield CLOSED + b'data: {"type":"token","content":"a"}\n\n' * 4000 + done(1)


@group.does("another id of the run in each event", COMPLETE, LIMIT, TIMED_OUT)
def _() -> Iterator[Piece]:
    yield CLOSED
    for number in range(8000):
        yield event(number, {"type": "done", "runId": f"run-{number}"})


@group.does("ids of 290 digits", COMPLETE)
def _() -> Iterator[Piece]:
    yield CLOSED
    for number in range(3000):
        ms = b"9" * 280 + b"%010d" % number
        yield b'id: %s-%s\ndata: {"type":"token","content":"x"}\n\n' % (ms, ms)
    yield b'id: %s-0\ndata: {"type":"done","runId":"r"}\n\n' % (b"9" * 291)


_NEARLY = {
    "frames of Python": 'File "' + "a" * 399,
    "frames of JavaScript": "at " + "a.b " * 49 + "(",
    "frames of .NET": "at " + "a.b" * 130 + "(" + "x" * 390 + ") in ",
    "frames of Ruby": "a/b.rb:1:in `" + "x" * 199,
    "frames of Elixir": "(ab 1.0) " + "x" * 390,
}
for _name, _text in _NEARLY.items():

    @group.does(f"nearly {_name} in an error of 2 MB", COMPLETE)
    def _(text: str = _text) -> Iterator[Piece]:
        yield CLOSED + event(0, {"type": "error", "message": text * (2_000_000 // len(text))})


@group.does("an error page of JSON in JSON in JSON", COMPLETE)
def _() -> Iterator[Piece]:
    text = "x"
    for _level in range(14):
        text = json.dumps({"error": text})
    body = text.encode()[:4_000_000]
    yield head("409 Conflict", f"Content-Length: {len(body)}", media="application/json") + body


@group.does("30 MB of blanks in a 409", COMPLETE, LIMIT, TIMED_OUT)
def _() -> Iterator[Piece]:
    yield head("409 Conflict", "Content-Length: 30000000", media="application/json")
    yield from times(b" " * 1000, 30_000)


group.sends(
    "503 and Retry-After: 0 without end",
    (head("503 Busy", "Retry-After: 0", "Content-Length: 0", media="text/plain"),),
    COMPLETE,
)


@group.does("500 heads with 1xx, and a sound run", COMPLETE, sound=True)
def _() -> Iterator[Piece]:
    yield b"HTTP/1.1 102 Processing\r\nX: y\r\n\r\n" * 500
    yield CHUNKED + chunk(token(0)) + chunk(done(1)) + LAST


@group.does("1,900 cookies of 100 bytes, and a sound run", COMPLETE)
def _() -> Iterator[Piece]:
    cookies = (f"Set-Cookie: c{number}={'x' * 100}" for number in range(1900))
    yield head("200 OK", "Transfer-Encoding: chunked", *cookies)
    yield chunk(token(0)) + chunk(done(1)) + LAST


@group.does("1,000 trailer fields after a sound run", COMPLETE)
def _() -> Iterator[Piece]:
    yield CHUNKED + chunk(token(0)) + chunk(done(1)) + b"0\r\n"
    yield b"".join(b"T%d: x\r\n" % number for number in range(1000)) + b"\r\n"


@group.does("folded lines of a field without end", MALFORMED)
def _() -> Iterator[Piece]:
    yield b"HTTP/1.1 200 OK\r\nX: y"
    yield from for_ever(b"\r\n y")


@group.does("tokens, each as slow as the heartbeat allows", TIMED_OUT)
def _() -> Iterator[Piece]:
    yield CHUNKED
    for number in itertools.count():
        yield chunk(token(number))
        yield 0.5


@group.does("a token of 60,000 bytes in reads of 7 bytes", COMPLETE, sound=True)
def _() -> Iterator[Piece]:
    data = token(0, "y" * 60_000) + done(1)
    yield CLOSED
    for start in range(0, len(data), 7):
        yield data[start : start + 7]


@group.does("half of the tokens, then nothing", TIMED_OUT)
def _() -> Iterator[Piece]:
    yield CLOSED + b"".join(token(number) for number in range(20_000))
    yield End.HANG


BEHAVIOURS: list[Behaviour] = group.behaviours
