"""The trace of a journey: all its requests have one trace id, each with its own parent id."""

from __future__ import annotations

from harness.contract.exchange import Exchange
from harness.load.stats.collector import PendingStream
from harness.load.stats.trace_sampler import TraceSampler
from harness.protocol.request import HttpRequest
from harness.protocol.traceparent import new_trace_id, traced


class JourneyTrace:
    """Adds the trace id of one journey to its requests. is_sent: false to leave them as they are.

    sampler: gets the journey's spans; then call `end`.
    """

    __slots__ = ("_is_sent", "_spans", "_trace_id")

    def __init__(self, *, is_sent: bool = True, sampler: TraceSampler | None = None) -> None:
        self._trace_id = new_trace_id()
        self._is_sent = is_sent
        self._spans = None if sampler is None else sampler.begin(self._trace_id)

    def scheduled(self, stream: PendingStream) -> None:
        """A stream of the journey is due: its spans are the journey's."""
        if self._spans is not None:
            self._spans.scheduled += 1
            stream.spans = self._spans

    def add_request(self, answered: Exchange) -> None:
        """Add the request that some APIs need before a run."""
        if self._spans is not None:
            self._spans.add_request(answered)

    def end(self) -> None:
        """The journey is over: nothing of it is sent any more."""
        if self._spans is not None:
            self._spans.end()

    def of(self, request: HttpRequest) -> HttpRequest:
        """The request with a new parent id (harness.protocol.traceparent.traced)."""
        return traced(request, self._trace_id) if self._is_sent else request
