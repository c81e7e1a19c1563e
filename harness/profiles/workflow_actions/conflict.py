"""What a rejected key looks like in this API: status 409, or an ``error`` event whose documented code is 409."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from harness.booleans import is_number
from harness.protocol.strict_json import loads

CONFLICT_STATUS = 409

_CODE_FIELDS = frozenset(
    {"code", "status", "statusCode", "status_code", "httpStatus", "http_status", "errorCode", "error_code"}
)
_CODE_TEXTS = frozenset({"409", "409 conflict"})
_ERROR_FIELDS = ("error", "errors")  # what may hold the error's own fields
_HTTP_STATUSES = range(100, 600)


def carries_conflict_code(data: str) -> bool:
    """Whether the documented code of an ``error`` event is 409. `data`: the event's data.

    The code is a member named ``code``, ``status`` and the like, of the event itself or of its ``error``: the number
    409, or the text "409". A different HTTP status next to it, or further out, overrides it. A message, an id, or the
    code of a tool inside the event is not the code of the response.
    """
    try:
        event = loads(data)
    except ValueError:
        return False
    level = [event]
    while level:
        codes = [code for item in level for code in _codes(item)]
        if codes:
            return all(code == CONFLICT_STATUS for code in codes)
        level = [error for item in level for error in _errors(item)]
    return False


def _codes(item: Any) -> Iterator[int]:
    """The HTTP statuses among an object's own codes."""
    if not isinstance(item, Mapping):
        return
    for name, value in item.items():
        if name in _CODE_FIELDS or (name == "error" and not isinstance(value, Mapping | list)):
            code = _http_status(value)
            if code is not None:
                yield code


def _http_status(value: Any) -> int | None:
    if isinstance(value, str):
        if value.casefold() in _CODE_TEXTS:
            return CONFLICT_STATUS
        value = int(value) if len(value) == 3 and value.isascii() and value.isdigit() else None
    if not is_number(value) or value not in _HTTP_STATUSES:
        return None
    return int(value)


def _errors(item: Any) -> Iterator[Any]:
    """The objects that hold an object's error."""
    if not isinstance(item, Mapping):
        return
    for name in _ERROR_FIELDS:
        value = item.get(name)
        yield from value if isinstance(value, list) else [value]
