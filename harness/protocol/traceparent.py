"""The traceparent header field of W3C Trace Context, by which a server's traces name the client's request.

Source: https://www.w3.org/TR/trace-context/#traceparent-header
"""

from __future__ import annotations

import os
import random
import re

from harness.protocol.request import HttpRequest

FIELD = "traceparent"

_OURS = f"the harness's {FIELD}"  # no placeholder has such a name
_SAMPLED = "01"
_TRACE_ID = slice(3, 35)  # of a value from here
# A later version may have more after the flags.
_FORM = re.compile(
    r"(?!ff)[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-[0-9a-f]{2}(?:-[\x21-\x7e]*)?"
)


_ids = random.Random()  # noqa: S311 - a load needs many, and nothing depends on their secrecy
os.register_at_fork(after_in_child=_ids.seed)  # no two processes have the same ids


def new_trace_id() -> str:
    """A random trace id: 32 hexadecimal digits."""
    return _ids.randbytes(16).hex()


def new_span_id() -> str:
    """A random id of a span, which a request names as its parent: 16 hexadecimal digits."""
    return _ids.randbytes(8).hex()


def traceparent(trace_id: str) -> str:
    """A value of the field, with a new parent id. It asks the server to record the trace."""
    return f"00-{trace_id}-{new_span_id()}-{_SAMPLED}"


def traced(request: HttpRequest, trace_id: str) -> HttpRequest:
    """The request in that trace, with a new parent id.

    A traceparent from somewhere else, such as target.headers, stays. A request that was sent before, and is sent again,
    has one from here, which is replaced.
    """
    sent = request.header(FIELD)
    if sent is not None and sent != request.values.get(_OURS):
        return request
    value = traceparent(trace_id)
    others = request.headers if sent is None else request.with_header(FIELD, None).headers
    return HttpRequest(
        request.method,
        request.target,
        (*others, (FIELD, value)),
        request.body,
        {**request.values, _OURS: value},
        request.origin,
    )


def sent_trace_id(request: HttpRequest) -> str | None:
    """The trace id in the request's field; None without the field, or if its value has another form."""
    value = request.header(FIELD)
    if value is not None and value == request.values.get(_OURS):
        return value[_TRACE_ID]
    return trace_id_of(value)


def ids_of(value: str | None) -> tuple[str, str] | None:
    """The trace id and the parent id in a value of the field; None without a value, or if it has another form."""
    found = None if value is None else _FORM.fullmatch(value)
    return None if found is None else (found[1], found[2])


def trace_id_of(value: str | None) -> str | None:
    """The trace id in a value of the field; None without a value, or if it has another form."""
    ids = ids_of(value)
    return None if ids is None else ids[0]
