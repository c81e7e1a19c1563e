"""Exchanges as documents: what a reader needs to see, and enough to judge them again. Secrets are masked.

A secret is masked by as many asterisks as it has bytes, so that chunk sizes and offsets stay true and a
stored Exchange decodes as it did when it was received.
"""

from __future__ import annotations

import base64
import zlib
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

from harness.contract.decoding.full_decoder import DecodedFrame, Read
from harness.contract.decoding.offsets import ByteSpan, around, spans
from harness.contract.decoding.read_log import ReadLog
from harness.contract.evidence.curl import curl
from harness.contract.evidence.redaction import Redactor
from harness.contract.exchange import Ending, Exchange, Timing
from harness.protocol.request import HttpRequest

_EXCERPT_ROWS = 60  # of the beginning, and as many of the end
_EXCERPT_BYTES = 2_000
_NEIGHBOURS = 2  # rows that are kept on either side of one that is pointed at
_MOST_POINTED_AT = 8  # events of one Exchange
_COMPRESSED_FROM_BYTES = 4096


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
            "events": [_event_row(exchange, one, redact) for one in exchange.frames],
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
    received = exchange.frames
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


def _by_read(found: Mapping[int, ByteSpan]) -> dict[int, list[ByteSpan]]:
    by_read: dict[int, list[ByteSpan]] = {}
    for span in found.values():
        by_read.setdefault(span.read, []).append(span)
    return by_read


def _parts(data: bytes, here: Sequence[ByteSpan], limit: int) -> list[dict[str, Any]]:
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
    exchange: Exchange, one: DecodedFrame, redact: Redactor, limit: int | None = None
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
