"""A second, independent implementation of the API, on raw sockets, with control over every byte and packet boundary.

The suite must accept any correct server, not just the embedded one. So this one shares no code with it or with
harness.protocol: no HTTP library, no decoder, no model. Its behaviour follows the API's documentation; how its
responses look on the wire is a `Style`.
"""

from __future__ import annotations

import array
import asyncio
import fcntl
import gzip
import hashlib
import json
import re
import socket
import struct
import termios
import threading
import time
import uuid
import zlib
import zoneinfo
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass, field
from functools import cache
from itertools import count
from multiprocessing.connection import Connection
from typing import Any, Literal, Self

from tests.forked import forked_server, wait_for_close

PATH = "/agent/workflow-actions"
OTHER_PATH = "/agent/runs"
TOKEN = "raw-token-3f1c"
SECOND_TOKEN = "raw-token-of-another-9b2e"
PRINCIPALS = {TOKEN: "org-raw", SECOND_TOKEN: "org-other"}

LONG_TOKENS = 10
LONG_INTERVAL_S = 0.12
QUIET_S = 1.8
HEARTBEAT_S = 0.3
MAX_BODY_BYTES = 1_000_000
#: Bytes sent one per packet, from the end of the head, and only in every fourth response: in all of them, on a busy
#: machine, the server would fall behind its own events.
SINGLE_BYTES = range(154, 280)
SINGLE_EVERY = 4
ODD_BYTES = 11
TINY_CHUNKS = 100  # of one byte each; what follows them in one piece is one chunk
MAX_HEAD_BYTES = 65_536

_UNICODE = ("Voilà: ", "naïve ", "日本語 ", "line\u2028separator ", "\U0001f680 42 °C")
_FIELDS = {
    "organizationId": str,
    "sessionId": str,
    "workflowAction": dict,
    "fileThreadId": str,
    "previousOutputs": list,
    "userTimezone": str,
    "runId": str,
    "source": str,
}
_REQUIRED = ("organizationId", "sessionId", "workflowAction")
_SOURCES = ("automation", "api", "other")
_TOOLS = ("say", "long", "fail", "cancel", "silent", "quiet", "echo", "recall")
_ID = re.compile(r"[0-9]{1,20}-[0-9]{1,20}", re.ASCII)


_BODIES = {
    "409 text": ("text/plain", b"Conflict"),
    "409 html": ("text/html", b"<h1>409 Conflict</h1>"),
    "409 empty": ("text/plain", b""),
}
#: What the failing action says; all but the usual one send nothing before.
_FAILURES: dict[str, dict[str, Any]] = {
    "usual": {"code": "tool_failed", "message": "the tool could not be reached"},
    "mentions 409": {"code": 500, "message": "the calendar service answered 409 at 10:00:12.409"},
    "tool's 409": {"code": "calendar_409", "message": "no free slot", "tool": {"status": 409}},
    "code 409": {"code": 409, "message": "no free slot"},
    "code 409 without runId": {"code": 409, "message": "no free slot"},
}


@dataclass(frozen=True, slots=True)
class Style:
    """How a correct response looks on the wire. Every combination is correct."""

    # The event stream.
    line_end: Literal["\n", "\r\n", "\r"] = "\n"
    bom: bool = False
    space_after_colon: bool = True
    data_before_id: bool = False
    multi_line_data: bool = False
    comments: bool = False
    retry: bool = False
    unknown_fields: bool = False
    id_only_blocks: bool = False
    event_names: Literal["none", "message", "type"] = "none"
    # The content of the events.
    ids: Literal["clock", "gaps", "same-ms", "nine-ten", "64 bits", "counter"] = "clock"
    unicode: Literal["raw", "escaped"] = "raw"
    json_space: bool = False
    no_tokens: bool = False
    extra_types: bool = False
    extra_fields: bool = False
    odd_json: bool = False  # half of a surrogate pair, a long number, deep nesting: RFC 8259 allows them
    heartbeat_lines: bool = False  # a comment without a blank line after it
    # The HTTP message.
    content_type: str = "text/event-stream"
    header_case: Literal["Title", "lower", "UPPER"] = "Title"
    framing: Literal["chunked", "tiny chunks", "HTTP/1.0", "HTTP/1.1 until close"] = "chunked"
    transfer_encoding: str = "chunked"
    gzip: bool = False  # although the request does not accept it
    packets: Literal["event", "byte", "whole"] = "event"
    reset_at_end: bool = False
    # What the documentation leaves open.
    conflict: Literal["409 stream", "409 json", "409 text", "409 html", "409 empty", "200 event"] = (
        "409 stream"
    )
    failure: Literal["usual", "mentions 409", "tool's 409", "code 409", "code 409 without runId"] = "usual"
    run_ids: Literal["uuid", "number"] = "uuid"
    keys: Literal["printable", "any", "uuid"] = "printable"
    resume_start: Literal["replay", "tail"] = "replay"
    last_event_id: bool = True
    after_terminal: Literal["empty", "204", "terminal", "replay", "410"] = "empty"
    unknown_ids: Literal["replay", "400", "ordered", "terminal"] = "replay"
    body_comparison: Literal["bytes", "canonical"] = "canonical"
    store: Literal["bytes", "values", "numbers"] = "bytes"  # what it keeps of an event to replay it
    paced_replay: bool = False
    timed_problems: bool = (
        False  # problem documents tell the time, by a clock that ticks at every second of them
    )

    def __str__(self) -> str:
        """Only the options that differ from the default."""
        usual = Style()
        names = [name for name in Style.__dataclass_fields__ if getattr(self, name) != getattr(usual, name)]
        return ", ".join(f"{name}={getattr(self, name)!r}" for name in names) or "plain"


@dataclass(frozen=True, slots=True)
class Event:
    id: str
    data: str
    type: str


@dataclass(slots=True)
class Run:
    """One execution, with any number of readers."""

    run_id: str
    fingerprint: str
    events: list[Event] = field(default_factory=list)
    ended: bool = False
    last_id: tuple[int, int] | None = None
    was_read: bool = False
    changed: asyncio.Event = field(default_factory=asyncio.Event)

    def wake(self) -> None:
        """Wake the readers that wait for more events."""
        self.changed.set()
        self.changed = asyncio.Event()


@dataclass(frozen=True, slots=True)
class Request:
    method: str
    target: str
    headers: dict[str, list[str]]
    body: bytes | None  # None: larger than the limit

    def header(self, name: str) -> str | None:
        """The single value of a header; None if it is absent or ambiguous."""
        values = self.headers.get(name, [])
        return values[0] if len(values) == 1 else None


class Refused(Exception):  # noqa: N818 - a response
    def __init__(self, status: int, reason: str, detail: str, *headers: tuple[str, str]) -> None:
        super().__init__(detail)
        self.status, self.reason, self.detail, self.headers = status, reason, detail, headers


class Wire:
    """The sending side of one connection. Sends what was put in the packets of the style."""

    def __init__(self, connection: socket.socket, style: Style, number: int = 0) -> None:
        self._connection = connection
        self._style = style
        self._single_bytes = range(0) if number % SINGLE_EVERY else SINGLE_BYTES
        self._pieces: list[bytes] = []
        self._sent = 0

    def put(self, piece: bytes) -> None:
        """Add bytes to the next packet."""
        if piece:
            self._pieces.append(piece)

    async def flush(self) -> None:
        """Send what was put."""
        pieces, self._pieces = self._pieces, []
        loop = asyncio.get_running_loop()
        if self._style.packets == "whole":
            pieces = [b"".join(pieces)] if pieces else []
        for piece in pieces:
            for packet in self._packets(piece):
                await loop.sock_sendall(self._connection, packet)
                await asyncio.sleep(0)

    def _packets(self, piece: bytes) -> Iterator[bytes]:
        """One byte per packet if the style says so, otherwise a few."""
        if self._style.packets != "byte":
            yield piece
            return
        at = 0
        few = ODD_BYTES * (8 if self._style.framing == "tiny chunks" else 1)
        while at < len(piece):
            size = 1 if self._sent in self._single_bytes else max(few, self._sent // 8)
            self._sent += size
            yield piece[at : at + size]
            at += size

    async def reset(self) -> None:
        """Reset the connection once the peer's kernel has acknowledged every byte. Raises ConnectionError."""
        unsent = array.array("i", [1])
        while True:
            fcntl.ioctl(self._connection, termios.TIOCOUTQ, unsent)
            if unsent[0] == 0:
                break
            await asyncio.sleep(0.005)
            with suppress(BlockingIOError):
                self._connection.recv(1, socket.MSG_PEEK)  # raises if the peer has reset it
        self._connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._connection.close()


class StreamWriter:
    """Events as bytes, in the style."""

    def __init__(self, style: Style) -> None:
        self._style = style
        self._last_id: str | None = None
        self._gzip = zlib.compressobj(wbits=31) if style.gzip else None

    def _coded(self, data: bytes) -> bytes:
        if self._gzip is None or not data:
            return data
        return self._gzip.compress(data) + self._gzip.flush(zlib.Z_SYNC_FLUSH)

    def closing(self) -> bytes:
        """The bytes after the last event."""
        return b"" if self._gzip is None else self._gzip.flush()

    def opening(self) -> bytes:
        """The bytes before the first event."""
        opening = b"\xef\xbb\xbf" if self._style.bom else b""
        if self._style.retry:
            opening += self._block([self._field("retry", "2500")])
        if self._style.comments:
            opening += self._block([": the stream begins", ":"])
        return self._coded(opening)

    def heartbeat(self) -> bytes:
        return self._coded(
            self._line(": still here") if self._style.heartbeat_lines else self._block([": still here"])
        )

    def event(self, event: Event, *, terminal: bool) -> bytes:
        """One event, with the style's additions."""
        before = b""
        if self._style.id_only_blocks and self._last_id is not None:
            before = self._block([self._field("id", self._last_id)])
        self._last_id = event.id
        after = self._block([": data: this is a comment", ":id: 1-1"]) if self._style.comments else b""
        if terminal and self._style.comments:
            after += self._line(": bye")  # a comment without a blank line after it, at the end of the stream
        return self._coded(before + self._block(list(self._lines(event))) + after)

    def _lines(self, event: Event) -> Iterator[str]:
        own_id = self._field("id", event.id)
        data = [self._field("data", line) for line in event.data.split("\n")]
        first, *others = [*data, own_id] if self._style.data_before_id else [own_id, *data]
        yield first
        if self._style.comments:
            yield ":in the midst"
        if self._style.unknown_fields:
            yield self._field("x-trace", "4711")
            yield "flag"
        if self._style.event_names != "none":
            name = event.type if self._style.event_names == "type" else "message"
            yield self._field("event", name)
        yield from others
        if self._style.retry:
            yield self._field("retry", "1000")

    def _field(self, name: str, value: str) -> str:
        return f"{name}: {value}" if self._style.space_after_colon else f"{name}:{value}"

    def _line(self, line: str) -> bytes:
        return (line + self._style.line_end).encode()

    def _block(self, lines: list[str]) -> bytes:
        return b"".join(map(self._line, [*lines, ""]))


class RawServer:
    """Serves one style on a free port of 127.0.0.1, in its own thread, until the block ends."""

    long_interval_s = LONG_INTERVAL_S

    def __init__(self, style: Style | None = None) -> None:
        self.style = style or Style()
        self.base_url = ""
        self._runs: dict[tuple[str, str, str], Run] = {}
        self._problems = 0
        self._answers = count()
        self._numbers = count(1)
        self._tasks: set[asyncio.Task[Any]] = set()
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=512)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="raw server", daemon=True)

    @property
    def address(self) -> tuple[str, int]:
        """Host and port."""
        return self._listener.getsockname()[:2]

    def __enter__(self) -> Self:
        self._listener.setblocking(False)
        self.base_url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self._thread.start()
        self._loop.call_soon_threadsafe(self._spawn, self._accept())
        return self

    def __exit__(self, *_: object) -> None:
        async def stop() -> None:
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

        asyncio.run_coroutine_threadsafe(stop(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()
        self._listener.close()

    # Connections.

    def _spawn(self, job: Coroutine[Any, Any, None]) -> None:
        task = self._loop.create_task(job)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _accept(self) -> None:
        while True:
            connection, _ = await self._loop.sock_accept(self._listener)
            connection.setblocking(False)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._spawn(self._serve(connection))

    async def _serve(self, connection: socket.socket) -> None:
        with connection, suppress(ConnectionError):
            await self.converse(connection)

    async def converse(self, connection: socket.socket) -> None:
        """Read one request from `connection` and respond to it."""
        request = await read_request(connection)
        if request is not None:
            await self._answer(request, Wire(connection, self.style, next(self._answers)))

    # Responses.

    async def _answer(self, request: Request, wire: Wire) -> None:
        try:
            run, index = self.run_for(request)
        except Refused as refused:
            await self._refuse(refused, wire)
            return
        await self._stream(run, index, wire)

    async def _refuse(self, refused: Refused, wire: Wire) -> None:
        if refused.status == 204:
            wire.put(self._head(204, refused.reason, []))
            await wire.flush()
            return
        if refused.status == 409 and self.style.conflict in _BODIES:
            content_type, body = _BODIES[self.style.conflict]
            headers = [("Content-Type", content_type), ("Content-Length", str(len(body)))]
            wire.put(self._head(refused.status, refused.reason, headers))
            wire.put(body)
            await wire.flush()
            return
        if refused.status == 409 and self.style.conflict != "409 json":
            document = {"type": "error", "status": 409, "message": refused.detail}
            event = Event(f"{time.time_ns() // 1_000_000}-0", self._json(document), "error")
            run = Run("", "", [event], ended=True)
            await self._stream(run, 0, wire, (200, "OK") if self.style.conflict == "200 event" else None)
            return
        document = {"title": refused.reason, "status": refused.status, "detail": refused.detail}
        if self.style.timed_problems:
            self._problems += 1
            document["timestamp"] = self._problems // 2
        body = json.dumps(document).encode()
        if self.style.gzip:
            body = gzip.compress(body)
        headers = [
            ("Content-Type", "application/problem+json"),
            *([("Content-Encoding", "gzip")] if self.style.gzip else []),
            ("Content-Length", str(len(body))),
            *refused.headers,
        ]
        wire.put(self._head(refused.status, refused.reason, headers))
        wire.put(body)
        await wire.flush()

    def _head(self, status: int, reason: str, headers: list[tuple[str, str]]) -> bytes:
        version = "HTTP/1.0" if self.style.framing == "HTTP/1.0" else "HTTP/1.1"
        always = [
            ("Cache-Control", "no-store"),
            ("X-Content-Type-Options", "nosniff"),
            ("Connection", "close"),
        ]
        spellings: dict[str, Callable[[str], str]] = {"Title": str, "lower": str.lower, "UPPER": str.upper}
        spell = spellings[self.style.header_case]
        lines = [
            f"{version} {status} {reason}",
            *(f"{spell(name)}: {value}" for name, value in headers + always),
        ]
        return "\r\n".join([*lines, "", ""]).encode("latin-1")

    async def _stream(
        self, run: Run, index: int, wire: Wire, status: tuple[int, str] | None = (200, "OK")
    ) -> None:
        headers = [("Content-Type", self.style.content_type)]
        if self.style.framing in {"chunked", "tiny chunks"}:
            headers.append(("Transfer-Encoding", self.style.transfer_encoding))
        if self.style.gzip:
            headers.append(("Content-Encoding", "gzip"))
        wire.put(self._head(*(status or (409, "Conflict")), headers))
        writer = StreamWriter(self.style)
        self._put_body(wire, writer.opening())
        async for event in self._events(run, index, wire, writer):
            self._put_body(wire, writer.event(event, terminal=run.ended and event is run.events[-1]))
        self._put_body(wire, writer.closing())
        if self.style.framing in {"chunked", "tiny chunks"}:
            wire.put(b"0\r\n\r\n")
        await wire.flush()
        if self.style.reset_at_end:
            await wire.reset()

    async def _events(self, run: Run, index: int, wire: Wire, writer: StreamWriter) -> AsyncIterator[Event]:
        """The run's events from `index` on, as they are produced. What was put is sent before each wait."""
        stored = len(run.events) if run.was_read else 0  # a retry reads these from the store
        run.was_read = True
        while True:
            while index < len(run.events):
                index += 1
                event = run.events[index - 1]
                yield event if index > stored else self._replayed(event)
                if self.style.paced_replay:
                    await wire.flush()
                    await asyncio.sleep(0.002)
            if run.ended:
                return
            more = run.changed
            await wire.flush()
            if len(run.events) > index or run.ended:
                continue
            try:
                await asyncio.wait_for(more.wait(), HEARTBEAT_S)
            except TimeoutError:
                self._put_body(wire, writer.heartbeat())

    def _put_body(self, wire: Wire, body: bytes) -> None:
        if self.style.framing == "chunked" and body:
            body = b"%x\r\n%b\r\n" % (len(body), body)
        elif self.style.framing == "tiny chunks":
            tiny, rest = body[:TINY_CHUNKS], body[TINY_CHUNKS:]
            body = b"".join(b"1;n=%d\r\n%c\r\n" % (place % 7, byte) for place, byte in enumerate(tiny))
            body += b"%x\r\n%b\r\n" % (len(rest), rest) if rest else b""
        wire.put(body)

    # Authentication and routing to a run.

    def run_for(self, request: Request) -> tuple[Run, int]:
        """The run that a request is for, and the number of the first event to send."""
        path = request.target.partition("?")[0]
        if path not in {PATH, OTHER_PATH}:
            raise Refused(404, "Not Found", "nothing is here")
        if request.method != "POST":
            raise Refused(405, "Method Not Allowed", "POST is what works here", ("Allow", "POST"))
        organization = _organization_of(request)
        body = _valid_body(request)
        if body["organizationId"] != organization:
            raise Refused(403, "Forbidden", "organizationId is not that of the token")
        if body["workflowAction"].get("toolId") not in _TOOLS:
            raise Refused(422, "Unprocessable Content", "workflowAction.toolId is not known")
        identity = _identity(organization, _key(request, self.style.keys), body)
        fingerprint = self._fingerprint(request.body or b"", body)
        run = self._runs.get(identity) if identity else None
        if run is None:
            run = Run(body.get("runId") or self._run_id(), fingerprint)
            if identity:
                self._runs[identity] = run
            outputs = [entry.get("output", "") for entry in body.get("previousOutputs", [])]
            self._start(run, {**body["workflowAction"], "outputs": outputs})
            return run, 0
        if run.fingerprint != fingerprint:
            raise Refused(409, "Conflict", "the key or runId was used with another body")
        return run, self._resume_at(run, request.header("last-event-id"))

    def _run_id(self) -> str:
        return str(next(self._numbers)) if self.style.run_ids == "number" else str(uuid.uuid4())

    def _fingerprint(self, raw: bytes, body: dict[str, Any]) -> str:
        if self.style.body_comparison == "canonical":
            raw = json.dumps(body, sort_keys=True).encode()
        return hashlib.sha256(raw).hexdigest()

    def _resume_at(self, run: Run, last_event_id: str | None) -> int:
        tail = self.style.resume_start == "tail" and not run.ended
        start = len(run.events) if tail else 0
        if not self.style.last_event_id or not last_event_id:
            return start
        ids = [event.id for event in run.events]
        if last_event_id not in ids:
            return self._unknown_id(run, last_event_id, start)
        place = ids.index(last_event_id) + 1
        return self._after_terminal(place) if run.ended and place == len(ids) else place

    def _unknown_id(self, run: Run, last_event_id: str, start: int) -> int:
        kind = self.style.unknown_ids
        if kind == "400":
            raise Refused(400, "Bad Request", "Last-Event-ID is no id of the run")
        if kind == "ordered" and _ID.fullmatch(last_event_id):
            return sum(_numbers(event.id) <= _numbers(last_event_id) for event in run.events)
        return len(run.events) - 1 if kind == "terminal" and run.ended else start

    def _after_terminal(self, place: int) -> int:
        kind = self.style.after_terminal
        if kind == "204":
            raise Refused(204, "No Content", "")
        if kind == "410":
            raise Refused(410, "Gone", "nothing follows the terminal event")
        return {"terminal": place - 1, "replay": 0}.get(kind, place)

    # Runs.

    def _start(self, run: Run, action: dict[str, Any]) -> None:
        """Produce immediate events at once, so that a short run fits one packet, and the rest in a task."""
        steps = self._steps(run, action)
        for wait_s, payload in steps:
            if wait_s:
                self._spawn(self._go_on(run, wait_s, payload, steps))
                return
            self._publish(run, payload)

    async def _go_on(
        self, run: Run, wait_s: float, payload: dict[str, Any], steps: Iterator[tuple[float, dict[str, Any]]]
    ) -> None:
        due_s = self._loop.time()
        while True:
            due_s += wait_s
            await asyncio.sleep(due_s - self._loop.time())
            self._publish(run, payload)
            following = next(steps, None)
            if following is None:
                return
            wait_s, payload = following

    def _publish(self, run: Run, payload: dict[str, Any]) -> None:
        run.last_id = self._next_id(run)
        kind = payload["type"]
        run.events.append(Event("{}-{}".format(*run.last_id), self._json(payload), kind))
        run.ended = kind in {"done", "error", "cancelled"}
        run.wake()

    def _next_id(self, run: Run) -> tuple[int, int]:
        now_ms = time.time_ns() // 1_000_000
        if run.last_id is None:
            first = {"nine-ten": (now_ms, 8), "64 bits": (now_ms, 2**64 - 100), "counter": (1, 0)}
            return first.get(self.style.ids, (now_ms, 0))
        ms, seq = run.last_id
        if self.style.ids == "gaps":
            return (ms + 13, 0) if now_ms > ms + 13 else (ms, seq + 7)
        if self.style.ids == "clock" and now_ms > ms:
            return now_ms, 0
        return ms, seq + 1

    def _json(self, payload: dict[str, Any]) -> str:
        escaped = self.style.unicode == "escaped" or self.style.odd_json
        if self.style.multi_line_data:
            if self.style.odd_json:  # indented, 150 levels would be 45 KB
                return json.dumps(payload, ensure_ascii=escaped, separators=(",\n  ", ": "))
            return json.dumps(payload, ensure_ascii=escaped, indent=2)
        if self.style.json_space:
            spaced = json.dumps(payload, ensure_ascii=escaped, separators=(" ,  ", " :\t"))
            return f"  {spaced} \t"
        return json.dumps(payload, ensure_ascii=escaped, separators=(",", ":"))

    def _replayed(self, event: Event) -> Event:
        """The event as the store returns it: a store of values (JSONB) writes them in its own way."""
        if self.style.store == "bytes":
            return event
        escaped = (
            self.style.unicode != "escaped" or self.style.odd_json
        )  # half of a pair has no bytes of its own
        value = json.loads(event.data)
        if (
            self.style.store == "numbers"
        ):  # a store with one type of number, which writes keys in reverse order
            value = dict(reversed(_as_floats(value).items()))
        data = json.dumps(value, ensure_ascii=escaped, sort_keys=self.style.store == "values")
        return Event(event.id, data, event.type)

    def _steps(self, run: Run, action: dict[str, Any]) -> Iterator[tuple[float, dict[str, Any]]]:
        """The action's payloads, each with the delay before it in seconds."""
        for number, (wait_s, payload) in enumerate(self._plain_steps(run, action)):
            extras: list[dict[str, Any]] = []
            if self.style.extra_types and payload["type"] != "token":
                extras.append({"type": "usage.reported", "tokens": number, "content": 7})
            if self.style.extra_types and number == 1:
                extras.append({"type": "step", "name": "thinking", "runId": ["not", "a", "text"]})
            if self.style.extra_fields:
                payload |= {"at": None, "meta": {"number": number, "type": "done"}}
            if self.style.odd_json and (number == 0 or payload["type"] != "token"):
                payload |= {"half": "\ud83d", "long": 10**1500, "deep": _nested(150)}
            for place, one in enumerate([*extras, payload]):
                yield (0.0 if place else wait_s), one

    def _plain_steps(self, run: Run, action: dict[str, Any]) -> Iterator[tuple[float, dict[str, Any]]]:
        def token(content: str, wait_s: float = 0.0) -> tuple[float, dict[str, Any]]:
            return wait_s, {"type": "token", "content": content}

        tool = action["toolId"]
        if tool == "say" and not self.style.no_tokens:
            yield from map(token, _UNICODE)
        elif tool == "long":
            for number in range(LONG_TOKENS):
                yield token(f"étape {number} ", self.long_interval_s if number else 0.0)
        elif tool == "quiet":
            yield token("…")
            yield token("done thinking", QUIET_S)
        elif tool == "echo":
            yield from map(token, _pieces(str(action.get("text", ""))))
        elif tool == "recall":
            yield from map(token, _pieces(" and ".join(map(str, action["outputs"]))))
        elif tool == "cancel" or (tool == "fail" and self.style.failure == "usual"):
            yield token("about to end ")
        yield 0.0, self._end(run, tool)

    def _end(self, run: Run, tool: str) -> dict[str, Any]:
        """The payload of the terminal event."""
        if tool == "cancel":
            return {"type": "cancelled"}
        if tool != "fail":
            return {"type": "done", "runId": run.run_id}
        named = {"runId": run.run_id} if self.style.failure == "code 409" else {}
        return {"type": "error", **named, **_FAILURES[self.style.failure]}


def _pieces(text: str) -> list[str]:
    """A text in pieces of 12 characters, of a long one in about 200."""
    size = max(12, len(text) // 200)
    return [text[at : at + size] for at in range(0, len(text), size)]


def serving_apart(style: Style) -> AbstractContextManager[str]:
    """The base URL of a server of the style in its own process, so that a busy client does not slow it down."""
    return forked_server(_serve, style)


def _serve(parent: Connection, style: Style) -> None:
    with RawServer(style) as server:
        parent.send(server.base_url)
        wait_for_close(parent)


# Requests: reading and validation.


async def read_request(connection: socket.socket) -> Request | None:
    """One request; None if the client disconnected before it was complete."""
    loop = asyncio.get_running_loop()
    data = b""
    while b"\r\n\r\n" not in data:
        more = await loop.sock_recv(connection, 65_536)
        if not more or len(data) > MAX_HEAD_BYTES:
            return None
        data += more
    head, _, rest = data.partition(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").split("\r\n")
    method, target, _ = first.split(" ", 2)
    headers: dict[str, list[str]] = {}
    for line in lines:
        name, _, value = line.partition(":")
        headers.setdefault(name.lower(), []).append(value.strip(" \t"))
    length = int(headers.get("content-length", ["0"])[0])
    received = len(rest)
    kept = [rest]
    while received < length:
        more = await loop.sock_recv(connection, 262_144)
        if not more:
            return None
        received += len(more)
        if received <= MAX_BODY_BYTES:
            kept.append(more)
    return Request(method, target, headers, None if length > MAX_BODY_BYTES else b"".join(kept))


def _numbers(event_id: str) -> tuple[int, ...]:
    return tuple(map(int, event_id.split("-")))


def _organization_of(request: Request) -> str:
    scheme, _, token = (request.header("authorization") or "").partition(" ")
    organization = PRINCIPALS.get(token.strip()) if scheme.lower() == "bearer" else None
    if organization is None:
        raise Refused(401, "Unauthorized", "a valid bearer token is needed", ("WWW-Authenticate", "Bearer"))
    return organization


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def _valid_body(request: Request) -> dict[str, Any]:
    if (request.header("content-type") or "").partition(";")[0].strip().lower() != "application/json":
        raise Refused(415, "Unsupported Media Type", "the body must be application/json")
    if request.body is None:
        raise Refused(413, "Content Too Large", f"the body exceeds {MAX_BODY_BYTES} bytes")
    try:
        body = json.loads(request.body.decode("utf-8"), parse_constant=_no_constant)
    except (ValueError, RecursionError):
        raise Refused(400, "Bad Request", "the body is not JSON in UTF-8") from None
    if not isinstance(body, dict):
        raise Refused(400, "Bad Request", "the body is not a JSON object")
    if wrong := _first_wrong(body):
        raise Refused(422, "Unprocessable Content", wrong)
    return body


def _first_wrong(body: dict[str, Any]) -> str | None:
    for name in _REQUIRED:
        if name not in body:
            return f"{name} is missing"
    for name, kind in _FIELDS.items():
        if name in body and not isinstance(body[name], kind):
            return f"{name} has the wrong type"
    if not all(isinstance(one, dict) for one in body.get("previousOutputs", [])):
        return "previousOutputs holds what is no object"
    if body.get("source", "api") not in _SOURCES:
        return f"source must be one of {', '.join(_SOURCES)}"
    if body.get("userTimezone", "UTC") not in _zones():
        return "userTimezone is no IANA time zone"
    return None


@cache
def _zones() -> frozenset[str]:
    return frozenset(zoneinfo.available_timezones())


def _key(request: Request, accepted: Literal["printable", "any", "uuid"]) -> str | None:
    values = request.headers.get("idempotency-key", [])
    if not values:
        return None
    key = values[0]
    printable = not re.search(r"[\x00-\x08\x0a-\x1f\x7f]", key) if accepted == "any" else key.isprintable()
    if len(values) > 1 or not 0 < len(key) <= (4096 if accepted == "any" else 255) or not printable:
        raise Refused(400, "Bad Request", "Idempotency-Key must be one short printable text")
    if accepted != "uuid":
        return key
    try:
        return str(uuid.UUID(key))
    except ValueError:
        raise Refused(400, "Bad Request", "Idempotency-Key must be a UUID") from None


def _nested(levels: int) -> list[Any]:
    value: list[Any] = []
    for _ in range(levels):
        value = [value]
    return value


def _as_floats(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _as_floats(member) for name, member in value.items()}
    if isinstance(value, list):
        return [_as_floats(member) for member in value]
    is_small = isinstance(value, int) and not isinstance(value, bool) and abs(value) < 2**53
    return float(value) if is_small else value


def _identity(organization: str, key: str | None, body: dict[str, Any]) -> tuple[str, str, str] | None:
    if key is not None:
        return organization, "key", key
    return (organization, "runId", body["runId"]) if "runId" in body else None


def settings_values(base_url: str, **target: Any) -> dict[str, Any]:
    """The harness settings that point at a RawServer, with budgets that it meets on a busy machine too."""
    return {
        "target": {
            "base_url": base_url,
            "path": PATH,
            "organization_id": PRINCIPALS[TOKEN],
            "token": TOKEN,
            "actions": {
                name: {
                    "toolId": tool,
                    "toolName": tool.title(),
                    "aiDescription": "of the raw server",
                    "runtimeScope": "test",
                    **({"text": "{text}"} if tool == "echo" else {}),
                }
                for name, tool in (
                    ("success", "say"),
                    ("long", "long"),
                    ("failure", "fail"),
                    ("cancelled", "cancel"),
                    ("silent", "silent"),
                    ("quiet", "quiet"),
                    ("echo", "echo"),
                    ("recall", "recall"),
                )
            },
            "second_principal": {"token": SECOND_TOKEN, "organization_id": PRINCIPALS[SECOND_TOKEN]},
            "other_route": {"path": OTHER_PATH},
            **target,
        },
        "budgets": {"first_event": 20, "terminal_close": 10, "heartbeat": 1, "run": 60},
    }
