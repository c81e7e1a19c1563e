"""Exchanges as documents: what a reader needs to see, and enough to judge them again. Secrets are masked.

A secret is masked by as many asterisks as it has bytes, so that chunk sizes and offsets stay true and a
stored Exchange decodes as it did when it was received.
"""

from __future__ import annotations

import base64
import shlex
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

from harness.contract.exchange import Ending, Exchange, Read, Timing
from harness.protocol.request import HttpRequest

TOKEN_IN_CURL = "$HARNESS_TARGET__TOKEN"  # noqa: S105 - the variable's name
_BEARER = "Bearer "
_CURL_BODY_BYTES = 16_384  # a longer body is named, not shown
_COMPRESSED_FROM_BYTES = 4096


class Redactor:
    """Masks secrets in texts and bytes."""

    def __init__(self, secrets: Iterable[str]) -> None:
        self._secrets = sorted({secret for secret in secrets if secret}, key=len, reverse=True)

    def text(self, text: str) -> str:
        """`text` with every secret masked."""
        for secret in self._secrets:
            text = text.replace(secret, "*" * len(secret.encode()))
        return text

    def bytes(self, data: bytes) -> bytes:
        """`data` with every secret masked, as long as before."""
        for secret in self._secrets:
            data = data.replace(secret.encode(), b"*" * len(secret.encode()))
        return data

    def value(self, value: Any) -> Any:
        """A JSON value with every secret in its texts masked."""
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, Mapping):
            return {self.text(key): self.value(one) for key, one in value.items()}
        if isinstance(value, list | tuple):
            return [self.value(one) for one in value]
        return value


def curl(request: HttpRequest, base_url: str, secrets: Iterable[str] = ()) -> str:
    """The request as a command that runs in a POSIX shell.

    A configured token is taken from the environment, as the harness takes it.
    """
    known = {f"{_BEARER}{secret}" for secret in secrets if secret}
    words = ["curl", "-sN", "-X", request.method, shlex.quote(base_url.rstrip("/") + request.target)]
    for name, value in request.headers:
        field = f'"{name}: {_BEARER}{TOKEN_IN_CURL}"' if value in known else shlex.quote(f"{name}: {value}")
        words += ["-H", field]
    if len(request.body) > _CURL_BODY_BYTES:
        words += ["--data-binary", f"@body.json  # {len(request.body)} bytes, too many to show"]
    elif request.body:
        words += ["--data-binary", _shell_bytes(request.body)]
    return " ".join(words)


def _shell_bytes(data: bytes) -> str:
    """A shell word for `data`: plainly quoted text, or $'…' with octal escapes for what is none."""
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        text = ""
    if text.isprintable() and text:
        return shlex.quote(text)
    return (
        "$'"
        + "".join(chr(byte) if 32 <= byte < 127 and byte not in b"'\\" else f"\\{byte:03o}" for byte in data)
        + "'"
    )


def printable(data: bytes, limit: int | None = None) -> str:
    """Bytes as readable text on one line: line breaks and what is not printable are escaped."""
    shown = data if limit is None else data[:limit]
    text = shown.decode("utf-8", "backslashreplace")
    escaped = "".join(
        char if char.isprintable() and char != "\\" else char.encode("unicode_escape").decode()
        for char in text
    )
    left = len(data) - len(shown)
    return f"{escaped}… ({left} bytes more)" if left else escaped


def document(exchange: Exchange, *, base_url: str, secrets: Iterable[str] = ()) -> dict[str, Any]:
    """The Exchange as a JSON value: for readers (curl, head, wire, events) and for `restore` (recorded)."""
    secrets = tuple(secrets)
    redact = Redactor(secrets)
    head = exchange.head
    wall_ns = exchange.timing.sent_wall_ns
    return {
        "label": exchange.label,
        "curl": redact.text(curl(exchange.request, base_url, secrets)),
        "started_at": datetime.fromtimestamp(wall_ns / 1e9, UTC).isoformat() if wall_ns else None,
        "ending": str(exchange.ending),
        "ending_detail": exchange.ending_detail,
        "status": exchange.status,
        "head": redact.text(_head_text(exchange)) if head else "",
        "wire": [
            {
                "at_ms": round(exchange.offset_ms(read.arrival_ns), 3),
                "lag_ms": None if read.lag_ns is None else round(read.lag_ns / 1e6, 3),
                "size": len(read.data),
                "bytes": printable(redact.bytes(read.data)),
            }
            for read in exchange.reads
        ],
        "events": [
            {
                "at_ms": round(exchange.offset_ms(one.arrival_ns), 3),
                "id": redact.value(one.frame.id),
                "data": redact.value(one.frame.data),
            }
            for one in exchange.received
        ],
        "recorded": _recorded(exchange, redact),
    }


def _head_text(exchange: Exchange) -> str:
    head = exchange.head
    if head is None:
        return ""
    fields = "\n".join(f"{name}: {value}" for name, value in head.headers)
    return f"HTTP/{head.version} {head.status} {head.reason}\n{fields}"


def _recorded(exchange: Exchange, redact: Redactor) -> dict[str, Any]:
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
            [read.arrival_ns, read.lag_ns, _to_text(redact.bytes(read.data))] for read in exchange.reads
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
        reads=tuple(
            Read(arrival_ns, lag_ns, _to_bytes(data)) for arrival_ns, lag_ns, data in recorded["reads"]
        ),
        ending=Ending(stored["ending"]),
        ending_detail=stored["ending_detail"],
    )


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
