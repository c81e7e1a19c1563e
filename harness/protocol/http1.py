"""HTTP/1.1 requests and responses for one stream per request, on top of llhttp.

The parser reports exactly how a message ended: with its last chunk, its full Content-Length, the connection (if it
has neither), or not at all.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from itertools import chain
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
    """Status line and header fields; names keep their case."""

    status: int
    reason: str
    version: str
    headers: tuple[tuple[str, str], ...]

    def values(self, name: str) -> tuple[str, ...]:
        """Every value of header field `name`, case-insensitive."""
        return self._values.get(name.lower(), ())

    @cached_property
    def _values(self) -> dict[str, tuple[str, ...]]:
        values: dict[str, list[str]] = {}
        for name, value in self.headers:
            values.setdefault(name.lower(), []).append(value)
        return {name: tuple(of_name) for name, of_name in values.items()}

    def value(self, name: str) -> str | None:
        """The values of header field `name`, joined with commas (RFC 9110, 5.2); None if absent."""
        values = self.values(name)
        return ", ".join(values) if values else None

    @cached_property
    def delimiter(self) -> Delimiter:
        """How the body's end is marked."""
        if self.status in {204, 304}:
            return Delimiter.NO_BODY
        if self.value("transfer-encoding") is not None:  # chunked delimits the body only as the last coding
            is_chunked = self.transfer_codings[-1:] == ("chunked",)
            return Delimiter.CHUNKED if is_chunked else Delimiter.CLOSE
        return Delimiter.LENGTH if self.values("content-length") else Delimiter.CLOSE

    @cached_property
    def transfer_codings(self) -> tuple[str, ...]:
        """The names in Transfer-Encoding, in lower case, in the order in which they were applied."""
        return _list_of(self.value("transfer-encoding"))

    @cached_property
    def content_codings(self) -> tuple[str, ...]:
        """The names in Content-Encoding, in lower case, in the order in which they were applied, without `identity`."""
        return tuple(name for name in _list_of(self.value("content-encoding")) if name != "identity")

    @cached_property
    def body_codings(self) -> tuple[tuple[str, str], ...]:
        """Every coding of the body except chunked: header field and name, in the order in which they were applied."""
        return (
            *(("Content-Encoding", name) for name in self.content_codings),
            *(
                ("Transfer-Encoding", name)
                for name in self.transfer_codings
                if name not in {"chunked", "identity"}
            ),
        )

    @cached_property
    def framing_fault(self) -> str | None:
        """What is wrong with the header fields that frame the body, as part of a sentence; None if nothing is.

        Such a message is read by other clients in other ways, or refused.
        """
        codings = self.transfer_codings
        if self.value("transfer-encoding") is None:
            return None
        sent = f"Transfer-Encoding: {', '.join(codings)}"
        if codings.count("chunked") > 1:
            return f"{sent} applies chunked more than once (RFC 9112, 6.1)"
        if "chunked" in codings and codings[-1] != "chunked":
            return f"{sent} does not end with chunked (RFC 9112, 6.1)"
        if other := next((name for name in codings if name != "chunked"), None):
            return f"{sent}: {other} was sent, but the request had no TE that accepts it (RFC 9110, 10.1.4)"
        if self.values("content-length"):
            return f"{sent} was sent next to Content-Length (RFC 9112, 6.2)"
        if self.version == "1.0":
            return f"{sent} was sent in an HTTP/1.0 message (RFC 9112, 6.1)"
        return None

    @cached_property
    def keeps_connection(self) -> bool:
        """Whether another request may follow on the connection once the message has ended (RFC 9112, 9.3)."""
        if self.version != "1.1" or self.delimiter is Delimiter.CLOSE:
            return False
        options = (self.value("connection") or "").split(",")
        return "close" not in {option.strip().lower() for option in options}


def _list_of(value: str | None) -> tuple[str, ...]:
    """The elements of a list in a field value, in lower case. A recipient ignores empty ones (RFC 9110, 5.6.1)."""
    elements = (element.strip(" \t").lower() for element in (value or "").split(","))
    return tuple(element for element in elements if element)


_PROTOCOL = b"HTTP/"
_VERSIONS = frozenset({"1.0", "1.1"})
MAX_FIELDS = 2000
"""Header fields of a message: more are malformed. Node.js stops at 2,000, Apache and most proxies at about 100."""
MAX_FRAMING_BYTES = 65_536
"""Chunk extensions or trailer fields without a byte of the body: more are malformed (RFC 9112, 7.1.1)."""
#: A few kilobytes each. With another Date, or an id of the request, a head is another one and is never seen again.
_HEADS_KEPT = 64
_KEPT_FIELDS, _KEPT_HEAD_BYTES = 64, 4096  # a server may send another large head each time
#: Values of Transfer-Encoding for which llhttp decodes chunks: not with a tab or an empty element at the end.
_SEEN_AS_CHUNKED = re.compile(rb"(?:.*,)?[ \t]*chunked *", re.IGNORECASE | re.DOTALL)
_CHUNKED_HEAD = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


def _head(status: int, reason: bytes, version: str, fields: tuple[tuple[bytes, bytes], ...]) -> ResponseHead:
    if len(fields) <= _KEPT_FIELDS and sum(map(len, chain.from_iterable(fields))) <= _KEPT_HEAD_BYTES:
        return _kept_head(status, reason[:_KEPT_HEAD_BYTES], version, fields)
    return _new_head(status, reason, version, fields)


def _new_head(
    status: int, reason: bytes, version: str, fields: tuple[tuple[bytes, bytes], ...]
) -> ResponseHead:
    headers = tuple((name.decode("latin-1"), value.strip(b" \t").decode("latin-1")) for name, value in fields)
    return ResponseHead(status, reason.decode("latin-1"), version, headers)


#: Cached, since under load hundreds of responses of one second have the same head.
_kept_head = lru_cache(maxsize=_HEADS_KEPT)(_new_head)


class HttpSyntaxError(ValueError):
    """The bytes are not an HTTP/1.1 response. body: the valid body bytes before the error."""

    def __init__(self, message: str, body: bytes) -> None:
        super().__init__(message)
        self.body = body


class ResponseParser:
    """Incremental parser of one response: the head, body bytes as they arrive, and the end.

    Skips informational (1xx) responses. Ignores bytes after the end of the message; `surplus` tells whether there
    were any except line ends.
    """

    __slots__ = (
        "_body",
        "_body_ends",
        "_chunks",
        "_error",
        "_fields",
        "_framing_bytes",
        "_parser",
        "_reason",
        "_start",
        "complete",
        "head",
        "on_body",
        "surplus",
    )

    def __init__(self) -> None:
        self.head: ResponseHead | None = None
        self.complete = False
        self.surplus = False
        self._error: str | None = None
        self._start = b""  # of the status line
        self._body: list[bytes] = []
        self._body_ends: int | None = None  # how many of these pieces belong to the message
        self._reason = b""
        self._fields: list[tuple[bytes, bytes]] = []
        self._framing_bytes = 0  # of the body, since its last byte
        self._chunks: ResponseParser | None = None  # decodes the chunks that llhttp does not
        self.on_body = self._body.append  # called once per chunk; a Python method would take twice the time
        self._parser: Any = httptools.HttpResponseParser(self)
        # Transfer-Encoding next to Content-Length is correct syntax; framing_fault reports it.
        self._parser.set_dangerous_leniencies(lenient_chunked_length=True)

    def feed(self, data: bytes) -> bytes:
        """Parse the next bytes of the connection and return the body bytes in them.

        Raises HttpSyntaxError if they are not an HTTP/1.1 response, and on every later call.
        """
        if self.complete:
            self.surplus = self.surplus or bool(data.strip(b"\r\n"))
            return b""
        if self._error is None:
            self._parse(data)
        pieces = self._body if self._body_ends is None else self._body[: self._body_ends]
        body = pieces[0] if len(pieces) == 1 else b"".join(pieces)
        self._body.clear()
        if body or self.head is None:
            self._framing_bytes = 0
        else:
            self._framing_bytes += len(data)
            if self._framing_bytes > MAX_FRAMING_BYTES and not self.complete and self._error is None:
                self._error = (
                    f"not an HTTP/1.1 response: more than {MAX_FRAMING_BYTES // 1024} KiB of chunk extensions or "
                    "trailer fields"
                )
        if self._chunks is not None:
            body = self._unchunked(self._chunks, body)
        if self._error is not None:
            raise HttpSyntaxError(self._error, body)
        return body

    def _unchunked(self, chunks: ResponseParser, body: bytes) -> bytes:
        try:
            body = chunks.feed(body)
        except HttpSyntaxError as problem:
            body, self._error = problem.body, self._error or str(problem)
        self.complete, self.surplus = chunks.complete, chunks.surplus
        return body

    @property
    def is_chunked(self) -> bool:
        """Whether the body is chunked and has not ended."""
        return self.head is not None and not self.complete and self.head.delimiter is Delimiter.CHUNKED

    def _parse(self, data: bytes) -> None:
        if self.head is None and not self._begins_like_http(data):
            return
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as problem:
            if self.complete:  # invalid bytes after the end are surplus
                self.surplus = True
            elif self._parser.get_status_code() == 101:
                self._error = "the server switched protocols (101), which was not requested"
            else:
                self._error = f"not an HTTP/1.1 response: {problem}"

    def _begins_like_http(self, data: bytes) -> bool:
        """Whether the bytes so far may begin a response: llhttp accepts those of RTSP and ICE as well."""
        if len(self._start) < len(_PROTOCOL):
            self._start = (self._start + data[:64]).lstrip(b"\r\n")[: len(_PROTOCOL)]
        if not _PROTOCOL.startswith(self._start):
            self._error = "not an HTTP/1.1 response: Expected HTTP/"
        return self._error is None

    def close(self) -> None:
        """Release the parser. It and its callbacks form a reference cycle, which would need garbage collection."""
        self._parser = None
        if self._chunks is not None:
            self._chunks.close()

    def end_of_connection(self) -> None:
        """The peer sent FIN, which ends a message without chunks and Content-Length."""
        if self.head is not None and self.head.delimiter is Delimiter.CLOSE:
            self.complete = True

    # Callbacks of httptools.

    def on_message_begin(self) -> None:
        self.surplus = self.complete
        self._reason = b""
        self._fields.clear()

    def on_status(self, reason: bytes) -> None:
        self._reason += reason

    def on_header(self, name: bytes, value: bytes) -> None:
        if self.head is not None:  # a trailer, or a field of what follows the message
            return
        if len(self._fields) < MAX_FIELDS:
            self._fields.append((name, value))
        elif self._error is None:
            self._error = f"not an HTTP/1.1 response: more than {MAX_FIELDS:,} header fields"

    def on_headers_complete(self) -> None:
        status = self._parser.get_status_code()
        version = self._parser.get_http_version()
        if version not in _VERSIONS and self._error is None:
            self._error = f"not an HTTP/1.1 response: the version is HTTP/{version}"
        if self.complete or 100 <= status < 200 or self._error is not None:
            return
        self.head = _head(status, self._reason, version, tuple(self._fields))
        if self.head.delimiter is Delimiter.CHUNKED and not self._decodes_chunks():
            self._chunks = ResponseParser()
            self._chunks.feed(_CHUNKED_HEAD)
        self._fields.clear()

    def _decodes_chunks(self) -> bool:
        values = [value for name, value in self._fields if name.lower() == b"transfer-encoding"]
        return _SEEN_AS_CHUNKED.fullmatch(values[-1]) is not None

    def on_message_complete(self) -> None:
        if self.head is not None and not self.complete:
            self.complete = True
            self._body_ends = len(self._body)


def encode_request(request: HttpRequest, *, host: str) -> bytes:
    """The request as bytes. Adds Host, and Content-Length unless there is a Transfer-Encoding, if not set.

    Header names and values are sent unchanged in UTF-8 (WHATWG HTML 9.2.3 requires it for Last-Event-ID), so that a
    scenario can send what client libraries refuse. Raises ValueError for a line break in one.
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
        raise ValueError("a request line or header field contains a line break")
    return head.encode() + request.body
