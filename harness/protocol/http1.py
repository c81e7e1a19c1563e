"""HTTP/1.1, as far as one streamed answer needs it: requests out, responses in, on top of llhttp.

The parser's point is to say truly how a message ended: with its last chunk, with its full
Content-Length, with the connection (where the message has no length of its own), or not at all.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from typing import Any

import httptools
from propcache.api import cached_property

from harness.protocol.request import HttpRequest


class Delimiter(StrEnum):
    """What marks the end of a message's body (RFC 9112, section 6.3)."""

    CHUNKED = "chunked"
    LENGTH = "content-length"
    CLOSE = "close"
    NO_BODY = "no body"


@dataclass(frozen=True)
class ResponseHead:
    """Status line and header fields, names as they were spelt."""

    status: int
    reason: str
    version: str
    headers: tuple[tuple[str, str], ...]

    def values(self, name: str) -> tuple[str, ...]:
        """Every value of header field `name`, whatever its case."""
        return self._values.get(name.lower(), ())

    @cached_property
    def _values(self) -> dict[str, tuple[str, ...]]:
        values: dict[str, tuple[str, ...]] = {}
        for name, value in self.headers:
            values[name.lower()] = (*values.get(name.lower(), ()), value)
        return values

    def value(self, name: str) -> str | None:
        """The values of header field `name` joined with commas (RFC 9110, 5.2); None when absent."""
        found = self.values(name)
        return ", ".join(found) if found else None

    @cached_property
    def delimiter(self) -> Delimiter:
        """How the body's end is marked."""
        if self.status in {204, 304}:
            return Delimiter.NO_BODY
        coding = self.value("transfer-encoding")
        if coding is not None:  # only as the last coding does it mark the end
            last = coding.rpartition(",")[2].strip(" \t").lower()
            return Delimiter.CHUNKED if last == "chunked" else Delimiter.CLOSE
        return Delimiter.LENGTH if self.values("content-length") else Delimiter.CLOSE

    @cached_property
    def keeps_connection(self) -> bool:
        """Whether another request may follow on the connection once the message has ended (RFC 9112, 9.3)."""
        if self.version != "1.1" or self.delimiter is Delimiter.CLOSE:
            return False
        return "close" not in {one.strip().lower() for one in (self.value("connection") or "").split(",")}


_HEADS_KEPT = 1024


@lru_cache(maxsize=_HEADS_KEPT)
def _head(status: int, reason: bytes, version: str, fields: tuple[tuple[bytes, bytes], ...]) -> ResponseHead:
    """One object for all answers with the same head: a server that answers a thousand times repeats itself."""
    headers = tuple((name.decode("latin-1"), value.strip(b" \t").decode("latin-1")) for name, value in fields)
    return ResponseHead(status, reason.decode("latin-1"), version, headers)


class HttpSyntaxError(ValueError):
    """The bytes are not an HTTP/1.1 response. `body` is what the same bytes held of the body before that."""

    def __init__(self, message: str, body: bytes) -> None:
        super().__init__(message)
        self.body = body


class ResponseParser:
    """Feed it the connection's bytes; it gives the head once, body bytes as they come, and the end.

    Informational (1xx) responses before the real one are passed over. Bytes after the message's end are
    ignored; `surplus` says whether there were any but line ends.
    """

    __slots__ = (
        "_body",
        "_body_ends",
        "_fault",
        "_fields",
        "_parser",
        "_reason",
        "complete",
        "head",
        "on_body",
        "surplus",
    )

    def __init__(self) -> None:
        self.head: ResponseHead | None = None
        self.complete = False
        self.surplus = False
        self._fault: str | None = None
        self._body: list[bytes] = []
        self._body_ends: int | None = None  # how many of those pieces belong to the message
        self._reason = b""
        self._fields: list[tuple[bytes, bytes]] = []
        self.on_body = self._body.append  # called once a chunk: a method of ours would cost twice the time
        self._parser: Any = httptools.HttpResponseParser(self)

    def feed(self, data: bytes) -> bytes:
        """Take bytes off the connection and return the body bytes in them.

        Raises HttpSyntaxError when they cannot be an HTTP/1.1 response, and from then on.
        """
        if self.complete:
            self.surplus = self.surplus or bool(data.strip(b"\r\n"))
            return b""
        if self._fault is None:
            self._parse(data)
        pieces = self._body if self._body_ends is None else self._body[: self._body_ends]
        body = pieces[0] if len(pieces) == 1 else b"".join(pieces)
        self._body.clear()
        if self._fault is not None:
            raise HttpSyntaxError(self._fault, body)
        return body

    @property
    def is_chunked(self) -> bool:
        """Whether the message's body comes in chunks, and has not ended."""
        return self.head is not None and not self.complete and self.head.delimiter is Delimiter.CHUNKED

    def _parse(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as problem:
            if self.complete:  # after the end, garbage is surplus
                self.surplus = True
            elif self._parser.get_status_code() == 101:
                self._fault = "the server switched protocols, which was not asked for"
            else:
                self._fault = f"not an HTTP/1.1 response: {problem}"

    def close(self) -> None:
        """Nothing more will be fed. Parser and callbacks refer to each other: unparted, each stream would wait
        for a garbage collection.
        """
        self._parser = None

    def end_of_connection(self) -> None:
        """The peer sent FIN: a message without a length of its own ends properly here."""
        if self.head is not None and self.head.delimiter is Delimiter.CLOSE:
            self.complete = True

    # httptools calls these.

    def on_message_begin(self) -> None:
        self.surplus = self.complete
        self._reason = b""
        self._fields.clear()

    def on_status(self, reason: bytes) -> None:
        self._reason += reason

    def on_header(self, name: bytes, value: bytes) -> None:
        self._fields.append((name, value))

    def on_headers_complete(self) -> None:
        status = self._parser.get_status_code()
        if self.complete or 100 <= status < 200:
            return
        self.head = _head(status, self._reason, self._parser.get_http_version(), tuple(self._fields))
        self._fields.clear()

    def on_message_complete(self) -> None:
        if self.head is not None and not self.complete:
            self.complete = True
            self._body_ends = len(self._body)


def encode_request(request: HttpRequest, *, host: str) -> bytes:
    """The request as bytes, with Host and Content-Length added where it does not set them itself.

    Header names and values go out as they are, in UTF-8 as WHATWG HTML 9.2.3 has it for Last-Event-ID, so
    that a scenario may send what no client library would; a line break in one is refused with ValueError
    all the same. No Content-Length is added to a request with a Transfer-Encoding.
    """
    named = {name.lower() for name, _ in request.headers}
    lines = [f"{request.method} {request.target} HTTP/1.1"]
    if "host" not in named:
        lines.append(f"Host: {host}")
    lines += [f"{name}: {value}" for name, value in request.headers]
    framed = "content-length" in named or "transfer-encoding" in named
    if not framed and (request.body or request.method not in {"GET", "HEAD"}):
        lines.append(f"Content-Length: {len(request.body)}")
    head = "\r\n".join([*lines, "", ""])
    if not head.count("\r") == head.count("\n") == len(lines) + 1:
        raise ValueError("a request line or header field holds a line break")
    return head.encode() + request.body
