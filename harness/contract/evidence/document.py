"""Exchanges as documents: what a reader needs to see, and enough to judge them again. Secrets are masked.

A secret is masked by as many asterisks as it has bytes, so that chunk sizes and offsets stay true and a
stored Exchange decodes as it did when it was received.
"""

from __future__ import annotations

import base64
import html
import json
import re
import shlex
import zlib
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from itertools import accumulate, pairwise
from typing import Any
from urllib.parse import quote, quote_plus

from harness.contract.decoding.full_decoder import Read, Received
from harness.contract.decoding.offsets import Span, around, spans
from harness.contract.decoding.response import ReadLog
from harness.contract.exchange import Ending, Exchange, Timing
from harness.protocol.request import HttpRequest

#: Where the harness itself takes the tokens from, in the order of `Settings.secrets`.
TOKEN_VARIABLES = ("HARNESS_TARGET__TOKEN", "HARNESS_TARGET__SECOND_PRINCIPAL__TOKEN")
_BEARER = "Bearer "
_EXCERPT_ROWS = 60  # of the beginning, and as many of the end
_EXCERPT_BYTES = 2_000
_NEIGHBOURS = 2  # rows that are kept on either side of one that is pointed at
_MOST_POINTED_AT = 8  # events of one Exchange
_CURL_BODY_BYTES = 16_384  # a longer body is named, not shown
_COMPRESSED_FROM_BYTES = 4096
_CHUNK_FRAMING = rb"\r\n[0-9A-Fa-f]+(?:[ \t;][^\r\n]*)?\r\n"
_PERCENT = re.compile(r"%[0-9A-F]{2}")


class Redactor:
    """Masks secrets in texts and bytes: as they are, and as URLs, JSON and HTML spell them."""

    def __init__(self, secrets: Iterable[str]) -> None:
        spelt = {spelling for secret in secrets if secret for spelling in _spellings(secret)}
        self._spelt = sorted(spelt, key=len, reverse=True)
        cut = b"(?:%s)?" % _CHUNK_FRAMING
        alternatives = (
            cut.join(re.escape(bytes((byte,))) for byte in spelling.encode()) for spelling in self._spelt
        )
        self._torn = re.compile(b"|".join(alternatives)) if self._spelt else None

    def text(self, text: str) -> str:
        """`text` with every secret masked."""
        for secret in self._spelt:
            text = text.replace(secret, "*" * len(secret.encode()))
        return text

    def pieces(self, pieces: Sequence[bytes]) -> list[bytes]:
        """Consecutive `pieces` of one message, each as long as before.

        A secret is masked also where it was cut in two by a read's end or by the framing of a chunk.
        """
        if self._torn is None:
            return list(pieces)
        whole = self._torn.sub(_mask, b"".join(pieces))
        ends = list(accumulate(map(len, pieces), initial=0))
        return [whole[start:end] for start, end in pairwise(ends)]

    def bytes(self, data: bytes) -> bytes:
        """`data` with every secret masked, as long as before."""
        return self.pieces([data])[0]

    def value(self, value: Any) -> Any:
        """A JSON value with every secret in its texts masked."""
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, Mapping):
            return {self.text(key): self.value(one) for key, one in value.items()}
        if isinstance(value, list | tuple):
            return [self.value(one) for one in value]
        return value


def _spellings(secret: str) -> set[str]:
    quoted = {quote(secret, safe=""), quote(secret), quote_plus(secret)}
    in_json = {json.dumps(secret)[1:-1], json.dumps(secret, ensure_ascii=False)[1:-1]}
    return {
        secret,
        *quoted,
        *(_PERCENT.sub(lambda escape: escape[0].lower(), one) for one in quoted),
        *in_json,
        *(one.replace("/", "\\/") for one in in_json),
        html.escape(secret),
    }


def _mask(found: re.Match[bytes]) -> bytes:
    parts = re.split(b"(%s)" % _CHUNK_FRAMING, found[0])
    return b"".join(part if place % 2 else b"*" * len(part) for place, part in enumerate(parts))


def curl(request: HttpRequest, base_url: str, secrets: Iterable[str] = ()) -> str:
    """The request as a command for a POSIX shell.

    A configured token is taken from the environment, as the harness takes it: `secrets` are in the order
    of TOKEN_VARIABLES.
    """
    known = {
        f"{_BEARER}{secret}": name for secret, name in zip(secrets, TOKEN_VARIABLES, strict=False) if secret
    }
    words = ["curl", "-sNg", "-X", request.method, shlex.quote(base_url.rstrip("/") + request.target)]
    for name, value in request.headers:
        if value in known:
            words += ["-H", f'"{name}: {_BEARER}${known[value]}"']
        else:  # curl leaves a field out that has nothing after its colon
            words += ["-H", shlex.quote(f"{name}: {value}" if value else f"{name};")]
    if request.header("content-type") is None and request.method != "GET":
        words += ["-H", "Content-Type:"]  # curl would call it a form
    if len(request.body) > _CURL_BODY_BYTES:
        return " ".join([*words, f"--data-binary @body.json  # {len(request.body)} bytes, too many to show"])
    if request.body and not _is_plain(request.body):
        return " ".join([f"printf -- '{_octal(request.body)}' |", *words, "--data-binary @-"])
    if request.body or request.method != "GET":
        words += ["--data-raw", shlex.quote(request.body.decode("utf-8"))]
    return " ".join(words)


def _is_plain(data: bytes) -> bool:
    """Whether `data` is text on one line, which a quoted shell word can hold."""
    try:
        return data.decode("utf-8").isprintable()
    except UnicodeDecodeError:
        return False


def _octal(data: bytes) -> str:
    """A format of printf that prints `data`, whatever it is, NUL too."""
    return "".join(
        "%%" if byte == 0x25 else chr(byte) if 32 <= byte < 127 and byte not in b"'\\" else f"\\{byte:03o}"
        for byte in data
    )


def printable(data: bytes, limit: int | None = None) -> str:
    """Bytes as readable text on one line: line breaks, and what is not printable or not UTF-8, are escaped."""
    shown = data if limit is None else data[:limit]
    escaped = "".join(map(_printable, shown.decode("utf-8", "surrogateescape")))
    left = len(data) - len(shown)
    return f"{escaped}… ({left} bytes more)" if left else escaped


def _printable(char: str) -> str:
    if "\udc80" <= char <= "\udcff":  # a byte that is not UTF-8
        return f"\\x{ord(char) - 0xDC00:02x}"
    return char if char.isprintable() and char != "\\" else char.encode("unicode_escape").decode()


def document(exchange: Exchange, *, base_url: str, secrets: Iterable[str] = ()) -> dict[str, Any]:
    """The Exchange as a JSON value: for readers (curl, head, wire, events) and for `restore` (recorded)."""
    secrets = tuple(secrets)
    redact = Redactor(secrets)
    reads = redact.pieces([read.data for read in exchange.reads])
    shown: dict[str, Any] = redact.value(
        {
            **_around(exchange, base_url, secrets),
            "wire": [
                _wire_row(exchange, place, read, shown)
                for place, (read, shown) in enumerate(zip(exchange.reads, reads, strict=True))
            ],
            "events": [_event_row(exchange, one, redact) for one in exchange.received],
        }
    )
    return {**shown, "recorded": _recorded(exchange, redact, reads)}


def excerpt(
    exchange: Exchange, *, base_url: str, secrets: Iterable[str] = (), pointed_at: Collection[int] = ()
) -> dict[str, Any]:
    """The Exchange for readers alone, and bounded: under load a server decides how much there is.

    Of reads and events the first and the last ones are kept, and those around the events that are pointed at (by
    index); ``…_left_out`` says how many are not, and ``index`` which ones are. A read that holds such an event
    has ``parts`` too, as `parts_of`.
    """
    secrets = tuple(secrets)
    redact = Redactor(secrets)
    raw = tuple(exchange.reads)
    reads = redact.pieces([read.data for read in raw])
    received = exchange.received
    here = _by_read(spans(raw, sorted(pointed_at)[:_MOST_POINTED_AT]))
    wire = _kept(len(reads), here)
    events = _kept(len(received), sorted(pointed_at)[:_MOST_POINTED_AT])
    shown: dict[str, Any] = redact.value(
        {
            **_around(exchange, base_url, secrets),
            "wire": [
                _wire_row(exchange, place, raw[place], reads[place], _EXCERPT_BYTES)
                | ({"parts": _parts(reads[place], here[place], _EXCERPT_BYTES)} if place in here else {})
                for place in wire
            ],
            "wire_left_out": len(reads) - len(wire),
            "events": [_event_row(exchange, received[place], redact, _EXCERPT_BYTES) for place in events],
            "events_left_out": len(received) - len(events),
        }
    )
    return shown


def parts_of(
    reads: Sequence[Read], pointed_at: Collection[int], limit: int, shown: Sequence[bytes] | None = None
) -> dict[int, list[dict[str, Any]]]:
    """The reads in which events lie that are pointed at, by number, each around these: about `limit` bytes.

    pointed_at: indexes of events. shown: the reads' bytes with secrets masked, where `reads` are not. A part is
    {"text": printable text, "here": whether it is such an event's} or {"left_out": how many bytes}.
    """
    reads = tuple(reads)
    here = _by_read(spans(reads, sorted(pointed_at)[:_MOST_POINTED_AT]))
    return {
        number: _parts(reads[number].data if shown is None else shown[number], found, limit)
        for number, found in here.items()
    }


def recorded_parts(
    stored: Mapping[str, Any], pointed_at: Collection[int], limit: int
) -> dict[int, list[dict[str, Any]]]:
    """`parts_of` the Exchange that `document` made `stored` of; nothing of what is no such document."""
    try:
        reads = _reads(stored["recorded"]["reads"])
    except (KeyError, TypeError, ValueError):
        return {}
    return parts_of(reads, pointed_at, limit)


def _by_read(found: Mapping[int, Span]) -> dict[int, list[Span]]:
    by_read: dict[int, list[Span]] = {}
    for span in found.values():
        by_read.setdefault(span.read, []).append(span)
    return by_read


def _parts(data: bytes, here: Sequence[Span], limit: int) -> list[dict[str, Any]]:
    parts: list[dict[str, Any]] = []
    told = 0
    for piece in around(data, here, limit):
        if piece.start > told:
            parts.append({"left_out": piece.start - told})
        parts.append({"text": printable(data[piece.start : piece.end]), "here": piece.here})
        told = piece.end
    return [*parts, {"left_out": len(data) - told}] if told < len(data) else parts


def _around(exchange: Exchange, base_url: str, secrets: tuple[str, ...]) -> dict[str, Any]:
    wall_ns = exchange.timing.sent_wall_ns
    return {
        "label": exchange.label,
        "curl": curl(exchange.request, base_url, secrets),
        "started_at": datetime.fromtimestamp(wall_ns / 1e9, UTC).isoformat() if wall_ns else None,
        "ending": str(exchange.ending),
        "ending_detail": exchange.ending_detail,
        "status": exchange.status,
        "head": _head_text(exchange),
    }


def _wire_row(
    exchange: Exchange, place: int, read: Read, shown: bytes, limit: int | None = None
) -> dict[str, Any]:
    return {
        "index": place,
        "at_ms": round(exchange.offset_ms(read.arrival_ns), 3),
        "lag_ms": None if read.lag_ns is None else round(read.lag_ns / 1e6, 3),
        "size": len(read.data),
        "bytes": printable(shown, limit),
    }


def _event_row(
    exchange: Exchange, one: Received, redact: Redactor, limit: int | None = None
) -> dict[str, Any]:
    # Masked before it is cut: half a secret would not be known as one.
    return {
        "at_ms": round(exchange.offset_ms(one.arrival_ns), 3),
        "index": one.index,
        "id": None if one.frame.id is None else redact.text(one.frame.id)[:limit],
        "data": None if one.frame.data is None else redact.text(one.frame.data)[:limit],
    }


def _kept(count: int, pointed_at: Iterable[int]) -> list[int]:
    """Which of so many rows are kept: all, or the first, the last, and those around what is pointed at."""
    if count <= 2 * _EXCERPT_ROWS:
        return list(range(count))
    near = {row for one in pointed_at for row in range(one - _NEIGHBOURS, one + _NEIGHBOURS + 1)}
    ends = {*range(_EXCERPT_ROWS), *range(count - _EXCERPT_ROWS, count)}
    return sorted(ends | {row for row in near if 0 <= row < count})


def _head_text(exchange: Exchange) -> str:
    head = exchange.head
    if head is None:
        return ""
    fields = "\n".join(f"{name}: {value}" for name, value in head.headers)
    return f"HTTP/{head.version} {head.status} {head.reason}\n{fields}"


def _recorded(exchange: Exchange, redact: Redactor, reads: Sequence[bytes]) -> dict[str, Any]:
    request = exchange.request
    return {
        "request": {
            "method": request.method,
            "target": redact.text(request.target),
            "headers": redact.value(request.headers),
            "body": _pack(redact.bytes(request.body)),
        },
        "timing": asdict(exchange.timing),
        "reads": [
            [read.arrival_ns, read.lag_ns, _to_text(data)]
            for read, data in zip(exchange.reads, reads, strict=True)
        ],
    }


def restore(stored: Mapping[str, Any]) -> Exchange:
    """The Exchange that `document` made `stored` of, but for masked secrets.

    Raises KeyError, TypeError or ValueError when it is not such a document.
    """
    recorded = stored["recorded"]
    request = recorded["request"]
    return Exchange(
        label=stored["label"],
        request=HttpRequest(
            request["method"],
            request["target"],
            tuple((name, value) for name, value in request["headers"]),
            _unpack(request["body"]),
        ),
        timing=Timing(**recorded["timing"]),
        reads=_reads(recorded["reads"]),
        ending=Ending(stored["ending"]),
        ending_detail=stored["ending_detail"],
    )


def _reads(stored: Iterable[tuple[int, int | None, str]]) -> ReadLog:
    return ReadLog(Read(arrival_ns, lag_ns, _to_bytes(data)) for arrival_ns, lag_ns, data in stored)


def _pack(data: bytes) -> dict[str, str]:
    """Request bodies may be megabytes of one letter: the long ones are deflated."""
    if len(data) < _COMPRESSED_FROM_BYTES:
        return {"base64": _to_text(data)}
    return {"deflated": _to_text(zlib.compress(data))}


def _unpack(packed: Mapping[str, str]) -> bytes:
    if "base64" in packed:
        return _to_bytes(packed["base64"])
    return zlib.decompress(_to_bytes(packed["deflated"]))


def _to_text(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")


def _to_bytes(text: str) -> bytes:
    return base64.b64decode(text, validate=True)
