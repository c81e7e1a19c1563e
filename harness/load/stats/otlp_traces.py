"""Sends the chosen traces of a load test to an OpenTelemetry collector, from the process that writes the results.

The workers choose their traces (harness.load.stats.trace_sampler) and report them with their numbers, so that they
need no collector. A slow or unreachable collector must not affect streams or results: a native thread sends, from a
queue of limited length, and what finds no room in it is counted.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Protocol

from harness.export.trace_records import TraceRecord
from harness.formatting import counted
from harness.load.stats.push_thread import PushThread
from harness.load.stats.stats_batch import StatsBatch
from harness.load.stats.trace_sampler import LEFT_OUT, MOST_FAILED, MOST_OF_SHARE, MOST_REQUESTS, WINDOW_S

MOST_WAITING = 50_000
"""The most spans that wait for the collector, about 50 MB."""

AT_ONCE = 2_000
"""The most spans of one push, about a megabyte; a trace that is longer has a push alone."""

_LAST_S = 12.0
"""The SDK allows a push 10 s."""

_GONE_S = 1.0
"""How long to wait at the end for a collector that refused the last push or did not answer it."""

logger = logging.getLogger(__name__)


class TraceSender(Protocol):
    """The destination, for example harness.export.otel_traces.TracePusher."""

    url: str

    @property
    def reason(self) -> str:
        """Why the last push failed; empty if that is not known."""
        ...

    def push(self, traces: Sequence[TraceRecord]) -> bool:
        """Send the traces. Returns whether they arrived. Called in the pushing thread."""
        ...

    def close(self) -> None:
        """Close the connection. Ends a push that waits for its next try."""
        ...


class OtlpTraces:
    """A harness.load.stats.recorder.Listener that sends traces.

    arrived, lost: the traces that the collector accepted, and those that it did not. crowded_out: those that found no
    room in the queue. problem: after `close`, that some did not reach the collector; None if all did.
    """

    def __init__(self, sender: TraceSender) -> None:
        self.arrived = self.lost = self.crowded_out = 0
        self.problem: str | None = None
        self._sender = sender
        self._left_out = 0
        self._new: list[TraceRecord] = []
        # Only this thread writes these, and only the pushing thread `arrived`, `lost` and `_spans_done`.
        self._put = self._spans_put = 0
        self._spans_done = 0
        self._last_arrived = True
        self._is_closing = False
        self._thread: PushThread[list[TraceRecord]] = PushThread(self._push, sender.close)

    def started(self, start_wall_ns: int, measured_from: int | None) -> None:
        """See Listener."""

    def add(self, batch: StatsBatch, worker: str) -> None:  # noqa: ARG002 - Listener
        """See Listener."""
        self._left_out += batch.totals[LEFT_OUT]
        for trace in batch.traces:
            if self._spans_put - self._spans_done >= MOST_WAITING:
                self.crowded_out += 1
                continue
            self._put += 1
            self._spans_put += len(trace.spans)
            self._new.append(trace)

    def flush(self) -> None:
        """Hand what has come to the thread."""
        push: list[TraceRecord] = []
        spans = 0
        for trace in self._new:
            if push and spans + len(trace.spans) > AT_ONCE:
                self._thread.put(push)
                push, spans = [], 0
            push.append(trace)
            spans += len(trace.spans)
        if push:
            self._thread.put(push)
        self._new = []

    def close(self, state: str, lost: Sequence[str]) -> None:  # noqa: ARG002 - Listener
        """Send the last traces and wait for that, at most 12 s; 1 s if the last push failed."""
        self.flush()
        self._is_closing = True
        if not self._thread.finish(_LAST_S if self._last_arrived else _GONE_S):
            self._sender.close()
        self.problem = self._problem()
        if self.problem is None:
            logger.info("%s sent to %s", counted(self.arrived, "trace"), self._sender.url)
        else:
            logger.error("%s", self.problem)

    def _problem(self) -> str | None:
        parts = []
        missing = self._put - self.arrived + self.crowded_out
        if missing:
            reason = f" ({self._sender.reason})" if self._sender.reason else ""
            parts.append(
                f"{missing} of {counted(self._put + self.crowded_out, 'trace')} did not reach "
                f"{self._sender.url}{reason}; check [export] otlp_traces_endpoint"
            )
        if self._left_out:
            parts.append(
                f"{counted(self._left_out, 'trace')} of failed runs or of [export] trace_share were left out: a "
                f"process exports at most {MOST_FAILED} and {MOST_OF_SHARE:,} of them in {WINDOW_S:g} s, with "
                f"{MOST_REQUESTS:,} requests"
            )
        return "; ".join(parts) or None

    def _push(self, traces: list[TraceRecord]) -> None:
        try:
            self._send(traces)
        finally:
            self._spans_done += sum(len(trace.spans) for trace in traces)

    def _send(self, traces: list[TraceRecord]) -> None:
        if self._is_closing and not self._last_arrived:
            self.lost += len(traces)
            return
        try:
            self._last_arrived = self._sender.push(traces)
        except Exception:
            logger.exception("sending traces to %s failed", self._sender.url)
            self._last_arrived = False
        if self._last_arrived:
            self.arrived += len(traces)
            return
        if not self.lost:
            logger.error(
                "traces did not reach %s; the test continues and later ones are still sent", self._sender.url
            )
        self.lost += len(traces)
