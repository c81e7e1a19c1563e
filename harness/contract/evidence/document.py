"""Exchanges as JSON documents, for readers and to check them again. Secrets are masked.

A masked secret is as long as before (harness.contract.evidence.redaction), so chunk sizes and offsets stay correct and
a stored Exchange decodes as when it was received.
"""

from __future__ import annotations

import base64
import zlib
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

from harness.booleans import is_whole_number
from harness.contract.decoding.decoded_frame import DecodedFrame
from harness.contract.decoding.offsets import ByteSpan, around, spans
from harness.contract.decoding.read_log import Read, ReadLog
from harness.contract.evidence.curl import curl
from harness.contract.evidence.redaction import Redactor
from harness.contract.exchange import Ending, Exchange, Timing
from harness.errors import SettingsError
from harness.formatting import escaped
from harness.profiles import library
from harness.profiles.profile import Profile
from harness.protocol.request import HttpRequest
from harness.protocol.traceparent import sent_trace_id

_EXCERPT_ROWS = 60  # at the beginning, and as many at the end
_EXCERPT_BYTES = 2_000
_NEIGHBOURS = 2  # rows kept before and after a row that is pointed at
_MAX_POINTED_AT = 8  # events per Exchange
_COMPRESSED_FROM_BYTES = 4096
_UNPACKED_BYTES = 64 * 1024 * 1024  # no request of the suite is longer
_WHOLE_UP_TO_BYTES = 262_144  # of a response whose document shows every read and event
_WHOLE_UP_TO_FRAMES = 2_000
_EXCERPT_TOTAL_BYTES = 131_072  # of the shown reads, and as many of the events
_OUTLINE_BYTES = 200
_HEAD_CHARACTERS = 16_384
_FREQUENT_BELOW = 0x800  # in UTF-8 of one or two bytes


class EvidenceLeftOutError(ValueError):
    """The document has no recorded bytes, because the results file had reached its size limit."""


def printable(data: bytes, limit: int | None = None) -> str:
    """Bytes as text on one line. Line breaks, unprintable characters and bytes that are not UTF-8 are escaped."""
    shown = data if limit is None else data[:limit]
    escaped = shown.decode("utf-8", "surrogateescape").translate(_PRINTABLE)
    left = len(data) - len(shown)
    return f"{escaped}… ({left} more bytes)" if left else escaped


class _Printable(dict[int, str]):
    """For `str.translate`: each character as it is shown. Filled as characters occur, with the frequent ones."""

    def __missing__(self, code: int) -> str:
        shown = _printable(chr(code))
        if code < _FREQUENT_BELOW or 0xDC80 <= code <= 0xDCFF:
            self[code] = shown
        return shown


def _printable(char: str) -> str:
    if "\udc80" <= char <= "\udcff":  # a byte that is not UTF-8
        return f"\\x{ord(char) - 0xDC00:02x}"
    return char if char.isprintable() and char != "\\" else escaped(char)


_PRINTABLE = _Printable()


def document(exchange: Exchange, *, base_url: str, secrets: Iterable[str] = ()) -> dict[str, Any]:
    """The Exchange as a JSON value, for readers (curl, head, wire, events) and for `restore` (recorded)."""
    secrets = tuple(secrets)
    redact = Redactor(secrets)
    return masked_document(redact.exchange(exchange), redact.text(curl(exchange.request, base_url, secrets)))


def masked_document(masked: Exchange, command: str) -> dict[str, Any]:
    """The document of an Exchange from `Redactor.exchange`. command: for a shell, without secrets.

    Of a large response it shows an excerpt; what is recorded is whole.
    """
    if not _is_small(masked):
        return {**_excerpt(masked, command, ()), "recorded": _recorded(masked)}
    return {
        **_description(masked, command),
        "wire": [_wire_row(masked, place, read) for place, read in enumerate(masked.reads)],
        "events": [_event_row(masked, frame) for frame in masked.frames],
        "recorded": _recorded(masked),
    }


def _is_small(exchange: Exchange) -> bool:
    return (
        exchange.size_bytes <= _WHOLE_UP_TO_BYTES
        and len(exchange.reads) <= _WHOLE_UP_TO_FRAMES
        and exchange.summary.events <= _WHOLE_UP_TO_FRAMES  # which needs no frames
        and len(exchange.frames) <= _WHOLE_UP_TO_FRAMES
    )


def outline(masked: Exchange, command: str, left_out: str) -> dict[str, Any]:
    """How an Exchange from `Redactor.exchange` went, with little of its first read. left_out: why, in a sentence."""
    first = next(iter(masked.reads), None)
    return {
        **_description(masked, command),
        "wire": [] if first is None else [_wire_row(masked, 0, first, _OUTLINE_BYTES)],
        "wire_left_out": max(0, len(masked.reads) - 1),
        "events": [],
        "events_left_out": masked.summary.events,
        "left_out": left_out,
    }


def excerpt(
    exchange: Exchange, *, base_url: str, secrets: Iterable[str] = (), pointed_at: Collection[int] = ()
) -> dict[str, Any]:
    """The Exchange for readers only, and bounded: under load the server decides how large a response is.

    It keeps the first and last reads and events, and those around the events that are pointed at (by index).
    ``…_left_out`` counts the others. A read with such an event also has ``parts``, as from `parts_of`.
    """
    secrets = tuple(secrets)
    redact = Redactor(secrets)
    masked = redact.exchange(exchange)  # before cutting: half a secret would not be recognized
    return _excerpt(masked, redact.text(curl(exchange.request, base_url, secrets)), pointed_at)


def _excerpt(masked: Exchange, command: str, pointed_at: Collection[int]) -> dict[str, Any]:
    received = masked.frames if masked.summary.events or pointed_at else ()  # no event: a million comments
    here = _by_read(spans(masked.reads, sorted(pointed_at)[:_MAX_POINTED_AT]))
    wire = _kept(len(masked.reads), here)
    wanted = frozenset(wire)
    reads = {place: read for place, read in enumerate(masked.reads) if place in wanted}
    events = _kept(len(received), sorted(pointed_at)[:_MAX_POINTED_AT])
    wire_bytes = _limits({place: len(reads[place].data) for place in wire})
    event_bytes = _limits({place: len(received[place].frame.raw) for place in events})
    return {
        **_description(masked, command),
        "wire": [
            _wire_row(masked, place, reads[place], wire_bytes[place])
            | ({"parts": _parts(reads[place].data, here[place], _EXCERPT_BYTES)} if place in here else {})
            for place in wire
        ],
        "wire_left_out": len(masked.reads) - len(wire),
        "events": [_event_row(masked, received[place], event_bytes[place]) for place in events],
        "events_left_out": len(received) - len(events),
    }


def parts_of(
    reads: Sequence[Read], pointed_at: Collection[int], limit: int
) -> dict[int, list[dict[str, Any]]]:
    """The parts to show of each read with an event that is pointed at, by the read's number: about `limit` bytes each.

    pointed_at: indexes of events.
    A part is {"text": printable text, "here": whether it belongs to such an event} or {"left_out": number of bytes}.
    """
    reads = tuple(reads)
    here = _by_read(spans(reads, sorted(pointed_at)[:_MAX_POINTED_AT]))
    return {number: _parts(reads[number].data, read_spans, limit) for number, read_spans in here.items()}


def recorded_parts(
    stored: Mapping[str, Any], pointed_at: Collection[int], limit: int
) -> dict[int, list[dict[str, Any]]]:
    """`parts_of` for a document from `document`; empty if `stored` is not one."""
    try:
        reads = _reads(stored["recorded"]["reads"])
    except (KeyError, TypeError, ValueError):
        return {}
    return parts_of(reads, pointed_at, limit)


def _by_read(spans_by_index: Mapping[int, ByteSpan]) -> dict[int, list[ByteSpan]]:
    by_read: dict[int, list[ByteSpan]] = {}
    for span in spans_by_index.values():
        by_read.setdefault(span.read, []).append(span)
    return by_read


def _parts(data: bytes, here: Sequence[ByteSpan], limit: int) -> list[dict[str, Any]]:
    parts: list[dict[str, Any]] = []
    shown_to = 0
    for segment in around(data, here, limit):
        if segment.start > shown_to:
            parts.append({"left_out": segment.start - shown_to})
        parts.append({"text": printable(data[segment.start : segment.end]), "here": segment.here})
        shown_to = segment.end
    return [*parts, {"left_out": len(data) - shown_to}] if shown_to < len(data) else parts


def _description(masked: Exchange, command: str) -> dict[str, Any]:
    wall_ns = masked.timing.sent_wall_ns
    trace_id = sent_trace_id(masked.request)
    return {
        "label": masked.label,
        "curl": command,
        **({} if trace_id is None else {"trace_id": trace_id}),
        "started_at": datetime.fromtimestamp(wall_ns / 1e9, UTC).isoformat() if wall_ns else None,
        "ending": str(masked.ending),
        "ending_detail": masked.ending_detail,
        "status": masked.status,
        "head": _head_text(masked),
    }


def _wire_row(exchange: Exchange, place: int, read: Read, limit: int | None = None) -> dict[str, Any]:
    return {
        "index": place,
        "at_ms": round(exchange.offset_ms(read.arrival_ns), 3),
        "lag_ms": None if read.lag_ns is None else round(read.lag_ns / 1e6, 3),
        "size": len(read.data),
        "bytes": printable(read.data, limit),
    }


def _event_row(exchange: Exchange, frame: DecodedFrame, limit: int | None = None) -> dict[str, Any]:
    return {
        "at_ms": round(exchange.offset_ms(frame.arrival_ns), 3),
        "index": frame.index,
        "id": None if frame.frame.id is None else frame.frame.id[:limit],
        "data": None if frame.frame.data is None else frame.frame.data[:limit],
    }


def _limits(sizes: Mapping[int, int]) -> dict[int, int]:
    """How many bytes to show of each row, by its number: fewer once the rows before it have used up the total."""
    limits, left = {}, _EXCERPT_TOTAL_BYTES
    for row, size in sizes.items():
        limits[row] = _EXCERPT_BYTES if left > 0 else _OUTLINE_BYTES
        left -= min(size, _EXCERPT_BYTES)
    return limits


def _kept(count: int, pointed_at: Iterable[int]) -> list[int]:
    """Numbers of the rows to keep: all, or the first, the last, and those around the ones that are pointed at."""
    if count <= 2 * _EXCERPT_ROWS:
        return list(range(count))
    near = {row for index in pointed_at for row in range(index - _NEIGHBOURS, index + _NEIGHBOURS + 1)}
    ends = {*range(_EXCERPT_ROWS), *range(count - _EXCERPT_ROWS, count)}
    return sorted(ends | {row for row in near if 0 <= row < count})


def _head_text(exchange: Exchange) -> str:
    head = exchange.head
    if head is None:
        return ""
    fields = "\n".join(f"{name}: {value}" for name, value in head.headers)
    text = f"HTTP/{head.version} {head.status} {head.reason}\n{fields}"
    left = len(text) - _HEAD_CHARACTERS
    return text if left <= 0 else f"{text[:_HEAD_CHARACTERS]}… ({left} more characters)"


def _recorded(masked: Exchange) -> dict[str, Any]:
    request = masked.request
    return {
        "request": {
            "method": request.method,
            "target": request.target,
            **({"origin": request.origin} if request.origin is not None else {}),
            "headers": [list(field) for field in request.headers],
            "body": _pack(request.body),
        },
        "begins_run": masked.begins_run,
        **_recorded_profile(masked.profile),
        "timing": asdict(masked.timing),
        "reads": [
            [read.arrival_ns, read.lag_ns, _to_text(read.data), *([read.error_ns] if read.error_ns else [])]
            for read in masked.reads
        ],
    }


def _recorded_profile(profile: Profile) -> dict[str, str]:
    """The text of the profile, so that the Exchange can be checked again without its file."""
    return {} if profile.source == library.default_profile().source else {"profile": profile.source}


@lru_cache(maxsize=16)
def _profile_of(text: str | None) -> Profile:
    """A recorded profile. Raises ValueError if the text is not one."""
    if text is None:
        return library.default_profile()
    try:
        return library.parse(text, "the recorded profile")
    except SettingsError as problem:
        raise ValueError(str(problem)) from None


def restore(stored: Mapping[str, Any]) -> Exchange:
    """The Exchange in a document from `document`, with its secrets masked.

    Raises KeyError, TypeError or ValueError if `stored` is not such a document, and EvidenceLeftOutError if it is one
    from `outline`.
    """
    if "left_out" in stored:
        raise EvidenceLeftOutError(stored["left_out"])
    recorded = stored["recorded"]
    request = recorded["request"]
    return Exchange(
        label=stored["label"],
        request=HttpRequest(
            request["method"],
            request["target"],
            tuple((name, value) for name, value in request["headers"]),
            _unpack(request["body"]),
            origin=request.get("origin"),
        ),
        timing=Timing(**{name: _whole_number(value) for name, value in recorded["timing"].items()}),
        reads=_reads(recorded["reads"]),
        ending=Ending(stored["ending"]),
        ending_detail=stored["ending_detail"],
        begins_run=recorded.get("begins_run", False) is True,
        profile=_profile_of(recorded.get("profile")),
    )


def _reads(stored: Iterable[Sequence[Any]]) -> ReadLog:
    return ReadLog(
        Read(_whole_number(arrival_ns), _whole_number(lag_ns), _to_bytes(data), *map(_whole_number, error_ns))
        for arrival_ns, lag_ns, data, *error_ns in stored
    )


def _whole_number(value: Any) -> Any:
    """A time in nanoseconds, or None. Raises ValueError for anything else."""
    if value is not None and not is_whole_number(value):
        raise ValueError(f"{value!r:.40} is not a time in nanoseconds")
    return value


def _pack(data: bytes) -> dict[str, str]:
    """Long request bodies are deflated: they may be megabytes of one letter."""
    if len(data) < _COMPRESSED_FROM_BYTES:
        return {"base64": _to_text(data)}
    return {"deflated": _to_text(zlib.compress(data))}


def _unpack(packed: Mapping[str, str]) -> bytes:
    if "base64" in packed:
        return _to_bytes(packed["base64"])
    inflater = zlib.decompressobj()
    try:
        data = inflater.decompress(_to_bytes(packed["deflated"]), _UNPACKED_BYTES)
    except zlib.error as problem:
        raise ValueError(f"a request body cannot be unpacked: {problem}") from None
    if not inflater.eof:
        raise ValueError(f"a request body is cut off, or larger than {_UNPACKED_BYTES // 2**20} MiB")
    return data


def _to_text(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")


def _to_bytes(text: str) -> bytes:
    return base64.b64decode(text, validate=True)
