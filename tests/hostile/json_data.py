"""JSON in events: depth, numbers, names, members."""

from __future__ import annotations

from collections.abc import Iterator

from harness.contract.exchange import Ending

from .behaviour import CLOSED, Behaviour, Group, Piece, done, event

group = Group("json")
LIMIT, COMPLETE = Ending.LIMIT, Ending.COMPLETE


def _with(member: bytes, *, times: int = 1) -> tuple[Piece, ...]:
    value = b'{"type":"token","content":"x","more":' + member + b"}"
    return (CLOSED, *(event(number, value) for number in range(times)), done(times))


group.sends("100,000 levels of arrays", _with(b"[" * 100_000 + b"]" * 100_000), COMPLETE, LIMIT)
group.sends("100,000 levels of objects", _with(b'{"a":' * 100_000 + b"1" + b"}" * 100_000), COMPLETE, LIMIT)
group.sends("100,000 brackets that stay open", _with(b"[" * 100_000), COMPLETE, LIMIT)
group.sends("a number of a million digits", _with(b"1" * 1_000_000), COMPLETE)
group.sends("10,000 numbers of 4,000 digits", _with(b"[" + b",".join([b"7" * 400] * 10_000) + b"]"), COMPLETE)
group.sends("a million empty arrays", _with(b"[" + b"[]" + b",[]" * 999_999 + b"]"), LIMIT, COMPLETE)
group.sends("two million empty objects", _with(b"[" + b"{}" + b",{}" * 1_999_999 + b"]"), LIMIT)


@group.does("100,000 names", COMPLETE)
def _names() -> Iterator[Piece]:
    yield from _with(b"{" + b",".join(b'"n%d":1' % n for n in range(100_000)) + b"}")


group.sends("one name 100,000 times", _with(b"{" + b",".join([b'"n":1'] * 100_000) + b"}"), COMPLETE)
group.sends(
    "NaN and Infinity",
    _with(b"[NaN,Infinity,-Infinity]", times=50),
    COMPLETE,
    breaks="framing.one-json-object",
)
group.sends("1e999999", _with(b"[1e999999,-1e999999]", times=50), COMPLETE)
group.sends("lone surrogates", _with(b'"\\ud800\\udc00\\ud800"', times=500), COMPLETE)
group.sends("escapes only", _with(b'"' + b"\\u0041" * 100_000 + b'"'), COMPLETE)
group.sends(
    "a type of 1 MB", (CLOSED + event(0, b'{"type":"' + b"t" * 1_000_000 + b'"}') + done(1),), COMPLETE
)
group.sends(
    "a runId of 1 MB", (CLOSED + event(0, b'{"type":"done","runId":"' + b"r" * 1_000_000 + b'"}'),), COMPLETE
)
group.sends("not JSON", (CLOSED + b"data: <html>\n\n" * 1000 + done(1),), COMPLETE)
group.sends("an array", (CLOSED + b'data: [{"type":"token"}]\n\n' * 1000 + done(1),), COMPLETE)
group.sends(
    "a stack trace of 1 MB",
    (CLOSED + event(0, b'{"type":"error","message":"' + b"at f (a.js:1:1)\\n" * 60_000 + b'"}'),),
    COMPLETE,
)

BEHAVIOURS: list[Behaviour] = group.behaviours
