"""The trace of a journey: all its requests have one trace id, each with its own parent id."""

from __future__ import annotations

from harness.protocol.request import HttpRequest
from harness.protocol.traceparent import FIELD, new_trace_id, traceparent

_OURS = f"the harness's {FIELD}"  # no placeholder has such a name


class JourneyTrace:
    """Adds the trace id of one journey to its requests. trace_id: a new one by default."""

    __slots__ = ("_trace_id",)

    def __init__(self, trace_id: str | None = None) -> None:
        self._trace_id = trace_id or new_trace_id()

    def of(self, request: HttpRequest) -> HttpRequest:
        """The request with a new parent id. A traceparent from somewhere else, such as target.headers, stays.

        A request that was sent before, and is sent again, has one from here, which is replaced.
        """
        sent = request.header(FIELD)
        if sent is not None and sent != request.values.get(_OURS):
            return request
        value = traceparent(self._trace_id)
        others = request.headers if sent is None else request.with_header(FIELD, None).headers
        return HttpRequest(
            request.method,
            request.target,
            (*others, (FIELD, value)),
            request.body,
            {**request.values, _OURS: value},
            request.origin,
        )
