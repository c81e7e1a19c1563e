"""The traceparent header field of W3C Trace Context, by which a server's traces name the client's request.

Source: https://www.w3.org/TR/trace-context/#traceparent-header
"""

from __future__ import annotations

import os
import re

FIELD = "traceparent"

_SAMPLED = "01"
# A later version may have more after the flags.
_FORM = re.compile(
    r"(?!ff)[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-[0-9a-f]{2}(?:-[\x21-\x7e]*)?"
)


def new_trace_id() -> str:
    """A random trace id: 32 hexadecimal digits."""
    return os.urandom(16).hex()


def new_span_id() -> str:
    """A random id of a span, which a request names as its parent: 16 hexadecimal digits."""
    return os.urandom(8).hex()


def traceparent(trace_id: str) -> str:
    """A value of the field, with a new parent id. It asks the server to record the trace."""
    return f"00-{trace_id}-{new_span_id()}-{_SAMPLED}"


def ids_of(value: str | None) -> tuple[str, str] | None:
    """The trace id and the parent id in a value of the field; None without a value, or if it has another form."""
    found = None if value is None else _FORM.fullmatch(value)
    return None if found is None else (found[1], found[2])


def trace_id_of(value: str | None) -> str | None:
    """The trace id in a value of the field; None without a value, or if it has another form."""
    ids = ids_of(value)
    return None if ids is None else ids[0]
