"""About how many bytes texts take as Python values: their sender decides how many values there are."""

from __future__ import annotations

_OBJECT_BYTES = 1024  # of a frame without data
_EVENT_BYTES = 2048
_LINE_BYTES = 180
_VALUE_BYTES = 72  # of one member of a JSON array or object
_COPIES = 6  # of the text: bytes, decoded lines, data, and the values in it
_CONTAINER_BYTES = 150  # of a JSON array or object, and what it takes to count its levels
_MEMBER_BYTES = 60
_NAME_BYTES = 180


def frame_cost(raw: bytes, *, has_data: bool) -> int:
    """Of a frame with these bytes, once the rules have looked at it."""
    values = raw.count(b",") + raw.count(b"[") + raw.count(b"{") if has_data else 0
    lines = raw.count(b"\n") + raw.count(b"\r")
    base = _EVENT_BYTES if has_data else _OBJECT_BYTES
    return base + _COPIES * len(raw) + _LINE_BYTES * lines + _VALUE_BYTES * values


def document_cost(text: str) -> int:
    """Of a JSON text next to its value."""
    containers = text.count("[") + text.count("{")
    width = 1 if text.isascii() else 4  # bytes of a character, at most
    return (
        2 * width * len(text)
        + _CONTAINER_BYTES * containers
        + _MEMBER_BYTES * text.count(",")
        + _NAME_BYTES * text.count(":")
    )
