"""The fast decoder: counts the events of regular streams without making frames, mostly in C.

A stream is *regular* if each event is one `id` and one `data` line (and an `event` line, if any) in the same order, the
data are token objects with the same keys, the ids increase, and only comments follow its one terminal event. Such a
stream meets every rule about the format of a stream. This decoder only ever says "regular so far", with counts, or "not
regular"; then the full decoder takes over, so no shortcut decides about an unusual stream. A property test compares the
results of both decoders (tests/contract/decoding/test_fast_decoder.py).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from types import MappingProxyType

from harness.contract.decoding.frame_template import (
    FastPathError,
    FrameTemplate,
    learn_template,
    strict_object,
)
from harness.contract.decoding.line_checks import (
    check_line_ends,
    check_lines,
    count_tokens,
    ids_increase,
    stream_id_in,
    without_comments,
)
from harness.contract.decoding.read_log import Read, ReadLog, body_of
from harness.contract.decoding.token_layout import IDS_BELOW, NO_READER, TokenReader
from harness.profiles.run_event import RunEvent
from harness.profiles.workflow_actions.event_id import StreamId
from harness.profiles.workflow_actions.events import TERMINAL_TYPES, parse_run_event
from harness.profiles.workflow_actions.identity import EventIdentity
from harness.profiles.workflow_actions.reader import as_run_event
from harness.protocol.http1 import HttpSyntaxError, ResponseHead, ResponseParser
from harness.protocol.sse import DEFAULT_EVENT_NAME

_FEW = 16  # events: one by one takes less time than all at once
_CHUNK_END = b"\n\n\r\n"  # of a chunk that ends with a frame
_MOST_TURNS = 8
_MAX_PENDING_BYTES = 65536  # copied at each read
#: The usual terminal event. Strict JSON without duplicate keys, and of the documented form, so it need not be parsed.
_PLAIN_DONE = re.compile(rb'\{"type": ?"done", ?"runId": ?"([ !#-\[\]-~]{,200}+)"\}')


class FastDecoder:
    """A Decoder for one regular stream. pending: bytes of an incomplete frame. reader: takes tokens where it can."""

    __slots__ = (
        "_events",
        "_http",
        "_last_id",
        "_match_chunk",
        "_newline",
        "_reader",
        "_template",
        "_tokens",
        "extra_lines",
        "first_event_ns",
        "first_id",
        "head_ns",
        "pending",
        "terminal",
        "terminal_ns",
    )

    malformed: str | None = (
        None  # a malformed response is not regular, nor is one with an event beyond a limit
    )
    limit: str | None = None
    coding_fault: str | None = None  # nor one with a coding
    least_bytes = 1024  # left of a read, for the reader of tokens to go on after a chunk that it did not take
    output_tokens: int | None = None  # workflow actions report no usage and no signs of work
    reasoning_tokens: int | None = None
    first_signs_ns: Mapping[str, int] = MappingProxyType({})

    def __init__(self, reader: TokenReader = NO_READER) -> None:
        self._reader = reader
        self._events = 0  # without those that the reader took
        self._tokens = 0
        self.extra_lines = 0
        self.terminal: RunEvent | None = None
        self.first_id: StreamId | None = None
        self.head_ns: int | None = None
        self.first_event_ns: int | None = None
        self.terminal_ns: int | None = None
        self.pending = b""
        self._http = ResponseParser()
        self._last_id: tuple[int, int] = (-1, -1)
        self._match_chunk: Callable[[bytes], re.Match[bytes] | None] | None = None  # after whole chunks
        self._template: FrameTemplate | None = None
        self._newline: bytes | None = None

    @property
    def head(self) -> ResponseHead | None:
        """Status and header fields; None until they are complete."""
        return self._http.head

    @property
    def complete(self) -> bool:
        """Whether the HTTP message is complete."""
        return self._http.complete

    @property
    def can_reuse_connection(self) -> bool:
        """Whether another request may be sent on the same connection (RFC 9112, section 9.3)."""
        http = self._http
        return http.head is not None and http.complete and not http.surplus and http.head.keeps_connection

    @property
    def surplus(self) -> bool:
        """Whether bytes follow the end of the message."""
        return self._http.surplus

    @property
    def events(self) -> int:
        """The number of events so far."""
        return self._events + self._reader.events

    @property
    def tokens(self) -> int:
        """The number of tokens with content so far."""
        return self._tokens + self._reader.tokens

    @property
    def is_regular(self) -> bool:
        """Whether there are events, and no incomplete one."""
        return self.events > 0 and not self.pending

    @property
    def run_events(self) -> int:
        """All events: in a regular stream each is a RunEvent."""
        return self.events

    @property
    def terminals(self) -> int:
        """1 after the terminal event, else 0."""
        return int(self.terminal is not None)

    @property
    def ends(self) -> int:
        """1 after the terminal event, which ends the stream too, else 0."""
        return self.terminals

    @property
    def end_ns(self) -> int | None:
        """Arrival of the terminal event."""
        return self.terminal_ns

    @property
    def run_id(self) -> str | None:
        """The run's id, which the terminal event has."""
        return None if self.terminal is None else self.terminal.run_id

    @property
    def first_id_ns(self) -> int | None:
        """Arrival of the first event: in a regular stream each has an id."""
        return self.first_event_ns

    def take_chunk(self, data: bytes) -> int | None:
        """Decode a read that is exactly one chunk (RFC 9112, section 7.1) with one plain token; see Decoder.

        The HTTP parser never sees such a read, so it must come between two chunks.
        """
        match_chunk = self._match_chunk
        match = None if match_chunk is None else match_chunk(data)
        if match is None:
            return None
        size, ms, seq, content = match.group(1, "ms", "seq", "content")
        own_id = (int(ms), int(seq))
        if int(size, 16) != len(data) - len(size) - 4 or own_id <= self._last_id:
            return None
        self._last_id = own_id
        self._events += 1
        if content:
            self._tokens += 1
            return 1
        return 0

    def feed(self, arrival_ns: int, data: bytes) -> int:
        """Decode one read; returns the number of tokens with content. Raises FastPathError."""
        reader = self._reader
        if not reader.armed and (reader is NO_READER or len(data) < self.least_bytes):
            tokens = self._tokens
            self._feed(arrival_ns, data)
            if self._match_chunk is not None and reader is not NO_READER:
                self._arm(reader)
            return self._tokens - tokens
        tokens = self.tokens
        start, end = reader.count(data, 0), len(data)
        for _ in range(_MOST_TURNS):
            if end - start < self.least_bytes:
                break
            chunk_end = data.find(_CHUNK_END, start) + len(_CHUNK_END)
            if chunk_end < len(_CHUNK_END):
                break
            self._feed_between(arrival_ns, data[start:chunk_end])
            start = reader.count(data, chunk_end)
        if start < end:
            self._feed_between(arrival_ns, data[start:])
        return self.tokens - tokens

    def _feed_between(self, arrival_ns: int, data: bytes) -> None:
        """Decode what the reader left, and tell the reader what may follow."""
        reader = self._reader
        if reader.armed:
            self._take_over(reader.last)
            reader.disarm()
        self._feed(arrival_ns, data)
        if self._match_chunk is not None:
            self._arm(reader)

    def _take_over(self, last: tuple[int, int]) -> None:
        """Go on after the reader, from the id of its last event."""
        self._last_id = last

    def _arm(self, reader: TokenReader) -> None:
        template, last = self._template, self._last_id
        if template is not None and max(last) < IDS_BELOW:
            reader.arm(template.layout, *last)

    def _feed(self, arrival_ns: int, data: bytes) -> None:
        http, events = self._http, self._events
        try:
            body = http.feed(data)
        except HttpSyntaxError:
            raise FastPathError("malformed HTTP") from None
        if body:
            self.feed_body(body)
        if self.head_ns is None and http.head is not None:
            self.head_ns = arrival_ns
            if http.head.status != 200:
                raise FastPathError("the status is not 200")
            if http.head.body_codings or http.head.framing_fault:
                raise FastPathError("the body has a coding")
        between_chunks = not self.pending and _ends_chunk(body, data) and http.is_chunked
        self._match_chunk = self._next_chunk() if between_chunks else None
        if self._events != events:
            if self.first_event_ns is None:
                self.first_event_ns = arrival_ns
            if self.terminal_ns is None and self.terminal is not None:
                self.terminal_ns = arrival_ns

    def _next_chunk(self) -> Callable[[bytes], re.Match[bytes] | None] | None:
        """What matches a chunk with one plain token, if one may follow."""
        return None if self._template is None or self.terminal is not None else self._template.match_chunk

    def end_of_connection(self) -> None:
        """The server closed its side."""
        self._http.end_of_connection()

    def close(self) -> None:
        """No more reads follow."""
        self._http.close()
        self._reader.close()

    def identities(self, log: ReadLog) -> tuple[EventIdentity, ...]:
        """The identity of each event."""
        template = self._template
        if template is None:
            return ()
        body = body_of([Read(0, None, log.data)])  # in one piece: it takes an eighth of the time
        frames = body[: body.rfind(2 * template.newline)]
        if frames.startswith(b":") or template.newline + b":" in frames:
            frames = without_comments(frames, template.newline)
        lines = frames.decode("utf-8").split(template.newline.decode())
        id_starts, data_starts = (
            len(template.prefixes[template.id_at]),
            len(template.prefixes[template.data_at]),
        )
        ids = [line[id_starts:] for line in lines[template.id_at :: template.lines]]
        data = [line[data_starts:] for line in lines[template.data_at :: template.lines]]
        if template.event_at is None:
            return tuple(map(EventIdentity, ids, data))
        name_starts = len(template.prefixes[template.event_at])
        names = [line[name_starts:] for line in lines[template.event_at :: template.lines]]
        return tuple(
            EventIdentity(event_id, text, "" if name == DEFAULT_EVENT_NAME else name)
            for event_id, text, name in zip(ids, data, names, strict=True)
        )

    def feed_body(self, body: bytes) -> None:
        """Decode the next bytes of the body. Raises FastPathError."""
        if self.pending:
            body = self.pending + body
        elif self._template is not None and self.terminal is None:
            match = self._template.match_token(body)
            if match is not None and self._take_match(match) is not None:
                return
        newline = self._line_end(body)
        end = body.rfind(newline + newline)
        if end < 0:
            self._keep(body, newline)
            return
        whole = end + 2 * len(newline)
        self._keep(body[whole:], newline)
        if self._template is None and not body.startswith(b":"):
            self._template = learn_template(body.partition(newline + newline)[0], newline)
        taken = self._take_plain(body)
        if taken == whole:
            return
        frames = body[taken:end]
        check_lines(frames, newline)
        self._take(frames, newline)

    def _line_end(self, body: bytes) -> bytes:
        """The line end of this stream, decided by the first one."""
        if self._newline is not None:
            return self._newline
        newline = b"\r\n" if b"\r" in body else b"\n"
        if b"\n" in body:
            self._newline = newline
        return newline

    def _take_match(self, match: re.Match[bytes]) -> int | None:
        ms, seq, content = match.group("ms", "seq", "content")
        own_id = (int(ms), int(seq))
        if own_id <= self._last_id:
            return None
        self._last_id = own_id
        self._events += 1
        if content:
            self._tokens += 1
            return 1
        return 0

    def _keep(self, rest: bytes, newline: bytes) -> None:
        if len(rest) > _MAX_PENDING_BYTES:
            raise FastPathError("an event is too long")
        # A line end of a different kind could end a frame too, which would wait here unnoticed, and a lone CR ends
        # a line at once. The full decoder handles both.
        check_line_ends(rest, newline)
        self.pending = rest

    def _take_plain(self, body: bytes) -> int:
        """Count the frames with plain tokens at the start of `body`; returns their length in bytes."""
        template = self._template
        if template is None or self.terminal is not None:
            return 0
        match = template.match_tokens(body)
        taken = match.end() if match else 0
        if taken:
            block = body[:taken]
            ids = block.split(template.newline)[template.id_at : -1 : template.lines]
            self._take_ids(ids, template.prefixes[template.id_at], formed=True)
            self._events += len(ids)
            self._tokens += len(ids) - block.count(template.empty)
        return taken

    def _take(self, frames: bytes, newline: bytes) -> None:
        """Count whole frames, separated by blank lines."""
        if frames.startswith(b":") or newline + b":" in frames:
            line_count = frames.count(newline) + 2  # with the blank ones at the end
            frames = without_comments(frames, newline)
            if not frames:
                self.extra_lines += line_count
                return
            self.extra_lines += line_count - frames.count(newline) - 2
        if self._template is None:
            self._template = learn_template(frames.partition(newline + newline)[0], newline)
        template = self._template
        lines = frames.split(newline)
        if len(lines) % template.lines != template.lines - 1 or any(
            lines[template.lines - 1 :: template.lines]
        ):
            raise FastPathError("a frame does not fit the template")
        if self.terminal is not None:
            raise FastPathError("a frame follows the terminal event")
        ids = lines[template.id_at :: template.lines]
        self._take_ids(ids, template.prefixes[template.id_at])
        names = None if template.event_at is None else lines[template.event_at :: template.lines]
        last_id = ids[-1][len(template.prefixes[template.id_at]) :].decode("ascii")
        self._take_data(lines[template.data_at :: template.lines], names, template, last_id)
        self._events += len(ids)

    def _take_ids(self, ids: list[bytes], prefix: bytes, *, formed: bool = False) -> None:
        """Check that ids strictly increase as pairs of numbers. formed: they are known to be pairs of numbers."""
        if formed and len(ids) < _FEW:
            for line in ids:
                ms, _, seq = line[len(prefix) :].partition(b"-")
                own_id = (int(ms), int(seq))
                if own_id <= self._last_id:
                    raise FastPathError("ids do not increase")
                self._last_id = own_id
                if self.first_id is None:
                    self.first_id = StreamId(*own_id)
            return
        first = stream_id_in(ids[0], prefix)
        last = first if len(ids) == 1 else stream_id_in(ids[-1], prefix)
        if first <= self._last_id:
            raise FastPathError("ids do not increase")
        if len(ids) > 1 and not ids_increase(ids, prefix, formed=formed):
            raise FastPathError("ids do not increase")
        if self.first_id is None:
            self.first_id = first
        self._last_id = last

    def _take_data(
        self, data: list[bytes], names: list[bytes] | None, template: FrameTemplate, last_id: str
    ) -> None:
        if count_tokens(data[-1:], template) is None:  # the terminal event, or the stream is not regular
            last = data.pop()
            name = None if names is None else names.pop()
            self._take_terminal(last, name, template, self.events + len(data), last_id)
        tokens = count_tokens(data, template) if data else 0
        if tokens is None:
            raise FastPathError("an event is neither a token like the first nor the last event")
        if names:
            prefix = template.prefixes[template.event_at or 0]
            if set(names) != {prefix + (template.event_name or b"")}:
                raise FastPathError("different event names")
        self._tokens += tokens

    def _take_terminal(
        self, line: bytes, name: bytes | None, template: FrameTemplate, events_before: int, own_id: str
    ) -> None:
        prefix = template.prefixes[template.data_at]
        if not line.startswith(prefix + b"{"):  # a space here would belong to the prefix
            raise FastPathError("a line has a different prefix")
        if name is None and (plain := _PLAIN_DONE.fullmatch(line, len(prefix))) is not None:
            self.terminal = RunEvent("done", outcome="done", is_end=True, run_id=plain[1].decode(), id=own_id)
            return
        data = line[len(prefix) :]
        value = strict_object(data)
        kind = value.get("type")
        if not isinstance(kind, str) or kind not in TERMINAL_TYPES:
            raise FastPathError("an event is neither a token nor terminal")
        if name is not None:
            event = name.removeprefix(template.prefixes[template.event_at or 0])
            if event not in {b"", b"message", kind.encode()}:
                raise FastPathError("a custom event name")
        try:
            terminal = as_run_event(parse_run_event(data.decode("utf-8")), own_id)
        except ValueError:
            raise FastPathError("a terminal event lacks its fields") from None
        if terminal.outcome == "error" and not events_before:
            raise FastPathError("the only event may be a rejection")
        self.terminal = terminal


def _ends_chunk(body: bytes, data: bytes) -> bool:
    """Whether `data`, a read that held `body`, ends with the end of a chunk and of a frame.

    If the body ends with a blank line of LF alone and the data has CRLF behind it, the CRLF is the chunk's.
    """
    return body.endswith(b"\n\n") and data.endswith(b"\n\n\r\n")
