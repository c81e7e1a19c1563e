"""Synthetic Exchanges for tests of rules: from a script of (at_ms, bytes), or from events.

Times are milliseconds since the request was sent. Event ids follow the wall clock at which it was sent, so that a run
meets every rule by default.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from harness.contract.decoding.read_log import Read
from harness.contract.exchange import Ending, Exchange, Timing
from harness.formatting import counted
from harness.profiles.library import default_profile
from harness.profiles.profile import Profile
from harness.protocol.request import HttpRequest

EPOCH_MS = 1_717_000_000_000  # the wall clock, and the ids' first part, when a request is sent
SENT_NS = 50_000_000_000  # the monotonic clock then
EVERY_MS = 10.0  # between two events, by default

BODY = {
    "organizationId": "org-1",
    "sessionId": "s-1",
    "workflowAction": {"toolId": "t", "toolName": "T", "aiDescription": "…", "runtimeScope": "test"},
}
POST = HttpRequest.post_json(
    "/agent/workflow-actions",
    (("Authorization", "Bearer token-1"), ("Content-Type", "application/json"), ("Idempotency-Key", "key-1")),
    BODY,
)
STREAM = {
    "Content-Type": "text/event-stream",
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
}
LAST_CHUNK = b"0\r\n\r\n"


def scripted(
    *parts: tuple[float, bytes],
    ending: Ending = Ending.COMPLETE,
    detail: str = "",
    label: str = "a run",
    request: HttpRequest = POST,
    sent_ms: float | None = 0.0,
    ended_ms: float | None = None,
    late_ms: float = 0.0,
    profile: Profile | None = None,
) -> Exchange:
    """The Exchange of these reads. sent_ms: shifts all of it on the clock; None if it was never sent completely.

    late_ms: for how long the harness itself was late.
    """
    base_ns = SENT_NS + int((sent_ms or 0.0) * 1e6)
    last_ms = parts[-1][0] if parts else 0.0
    return Exchange(
        label=label,
        request=request,
        timing=Timing(
            intended_ns=base_ns - 2_000_000,
            started_ns=base_ns - 2_000_000,
            connected_ns=base_ns - 1_000_000,
            sent_ns=None if sent_ms is None else base_ns,
            sent_wall_ns=None if sent_ms is None else int((EPOCH_MS + sent_ms) * 1e6),
            ended_ns=base_ns + int((last_ms if ended_ms is None else ended_ms) * 1e6),
            late_ns=int(late_ms * 1e6),
        ),
        reads=tuple(Read(base_ns + int(at_ms * 1e6), 1000, data) for at_ms, data in parts),
        ending=ending,
        ending_detail=detail,
        profile=profile or default_profile(),
    )


def head(status: int = 200, headers: Mapping[str, str | None] | None = None) -> bytes:
    """A response head, without the fields whose value is None."""
    lines = [f"HTTP/1.1 {status} Because"]
    lines += [f"{name}: {value}" for name, value in (headers or {}).items() if value is not None]
    return "\r\n".join([*lines, "", ""]).encode("latin-1")


def chunk(data: bytes) -> bytes:
    """One chunk of a chunked message."""
    return b"%x\r\n%s\r\n" % (len(data), data)


def frame(data: Any, event_id: str | None = None, extra: str = "") -> bytes:
    """One event. data: text, or a value to encode as JSON. extra: lines to put first, with their line ends."""
    text = data if isinstance(data, str) else json.dumps(data, ensure_ascii=False)
    own_id = f"id: {event_id}\n" if event_id is not None else ""
    return f"{extra}{own_id}data: {text}\n\n".encode()


def id_at(place: int, base_ms: int = EPOCH_MS) -> str:
    """The id of event number `place` of a run, from 0."""
    return f"{base_ms + int(place * EVERY_MS)}-0"


def token(place: int, text: str | None = None, base_ms: int = EPOCH_MS) -> bytes:
    """A token event."""
    content = f"word{place} " if text is None else text
    return frame({"type": "token", "content": content}, id_at(place, base_ms))


def done(place: int, run_id: str = "run-1", base_ms: int = EPOCH_MS) -> bytes:
    """A done event."""
    return frame({"type": "done", "runId": run_id}, id_at(place, base_ms))


def error(place: int, base_ms: int = EPOCH_MS, **fields: Any) -> bytes:
    """An error event."""
    return frame({"type": "error", **(fields or {"code": "boom"})}, id_at(place, base_ms))


def cancelled(place: int, run_id: str = "run-1") -> bytes:
    """A cancelled event."""
    return frame({"type": "cancelled", "runId": run_id}, id_at(place))


def run(
    *frames: bytes,
    at: Sequence[float] | None = None,
    headers: Mapping[str, str | None] | None = None,
    status: int = 200,
    ending: Ending = Ending.COMPLETE,
    **options: Any,
) -> Exchange:
    """A chunked stream of these frames, one per read, every 10 ms or `at` these milliseconds."""
    times = [EVERY_MS * place for place in range(len(frames))] if at is None else list(at)
    parts = [(0.0, head(status, {**STREAM, **(headers or {}), "Transfer-Encoding": "chunked"}))]
    parts += [(at_ms, chunk(data)) for at_ms, data in zip(times, frames, strict=True)]
    if ending is Ending.COMPLETE:
        parts.append((times[-1] if times else 0.0, LAST_CHUNK))
    return scripted(*parts, ending=ending, **options)


def whole_run(tokens: int = 3, run_id: str = "run-1", base_ms: int = EPOCH_MS, **options: Any) -> Exchange:
    """A run of some tokens and done. A different `base_ms` makes it a different run."""
    frames = [token(place, base_ms=base_ms) for place in range(tokens)]
    return run(*frames, done(tokens, run_id, base_ms), **options)


def in_one_read(events: int, reads: int = 1) -> Exchange:
    """A run of `events` events, the last one done, in `reads` reads of whole events."""
    frames = [chunk(token(place)) for place in range(events - 1)] + [chunk(done(events - 1)) + LAST_CHUNK]
    frames[0] = head(200, {**STREAM, "Transfer-Encoding": "chunked"}) + frames[0]
    each = events // reads
    parts = [b"".join(frames[first : first + each]) for first in range(0, events, each)]
    return scripted(*((EVERY_MS * place, data) for place, data in enumerate(parts)))


def read_late(exchange: Exchange, lag_ms: float | None) -> Exchange:
    """The same reads, each that much later than its kernel timestamp; None: without one."""
    lag_ns = None if lag_ms is None else int(lag_ms * 1e6)
    return replace(exchange, reads=tuple(Read(read.arrival_ns, lag_ns, read.data) for read in exchange.reads))


def another_run(**options: Any) -> Exchange:
    """A different run than `whole_run`, by its ids and its runId."""
    return whole_run(run_id="run-2", base_ms=EPOCH_MS + 1000, **options)


def tail(after: int, tokens: int = 3, **options: Any) -> Exchange:
    """The events of `whole_run` after its first `after` events."""
    frames = [*(token(place) for place in range(tokens)), done(tokens)]
    return run(*frames[after:], **options)


CUT = "the harness cut the connection (FIN)"


def cut_run(after: int, **options: Any) -> Exchange:
    """The first `after` events of `whole_run`, then a cut of ours; a cut at 0 is before the head."""
    detail = f"{CUT} after {counted(after, 'event')}" if after else f"{CUT} before the response head"
    options = {"ending": Ending.CUT, "detail": detail, "label": "a cut run", **options}
    return run(*(token(place) for place in range(after)), **options) if after else scripted(**options)


def reply(
    status: int,
    body: Any = None,
    headers: Mapping[str, str | None] | None = None,
    **options: Any,
) -> Exchange:
    """A response that is not a stream. body: bytes, or a value to encode as JSON."""
    content = body if isinstance(body, bytes) else json.dumps(body or {"title": "no"}).encode()
    fields = {
        "Content-Type": "application/json",
        "X-Content-Type-Options": "nosniff",
        "Content-Length": str(len(content)),
    }
    return scripted((0.0, head(status, {**fields, **(headers or {})}) + content), **options)


def rejected_event(status: int = 409, **fields: Any) -> Exchange:
    """A rejection with `status`, in the form of a stream of one error event."""
    return run(error(0, **(fields or {"code": 409})), status=status)


def no_answer(
    ending: Ending = Ending.TIMED_OUT, detail: str = "no event within 10 s", **options: Any
) -> Exchange:
    """No response."""
    return scripted(ending=ending, detail=detail, **options)


#: A run that the harness did not read to its end, because it reached a limit of its own.
LIMITED = run(
    token(0),
    ending=Ending.LIMIT,
    detail="a limit of the harness was reached: the response is larger than 128 MiB",
)


def empty_stream(**options: Any) -> Exchange:
    """A 200 without any event."""
    return run(**options)


def asking(request: HttpRequest = POST, **headers: str | None) -> HttpRequest:
    """The request with these headers set; `_` in a name is a hyphen."""
    for name, value in headers.items():
        request = request.with_header(name.replace("_", "-"), value)
    return request
