"""Decides, in the process that has the streams, which journeys' traces are exported.

A journey is chosen when it has ended, by its outcome: those with a failed stream, the slowest ones of each
window, and a share of the others. What is not chosen is forgotten, so that memory has a bound whatever the rate.
"""

from __future__ import annotations

import heapq
import math
import time
from collections import Counter
from collections.abc import Callable, Iterator
from functools import lru_cache
from itertools import count

from harness.contract.evidence.redaction import Redactor
from harness.export.trace_records import TraceRecord
from harness.load.stats.journey_spans import JourneySpans, RequestPart
from harness.load.stats.stats_batch import StatsBatch

WINDOW_S = 10.0
"""How often the slowest journeys are chosen."""

SLOWEST = 10
"""Of each window, by duration, by TTFT and by age at the end of the test: as many as the report's slowest runs."""

MOST_FAILED = 500
"""The most failed journeys of a window. Half of it is left to kinds of failure that are rare in the window."""

RARE = 20
"""A kind of failure is rare until the window has this many of it."""

MOST_OF_SHARE = 2_000
"""The most journeys of a window that are exported as a share of all."""

LEFT_OUT = "traces_left_out"
"""In StatsBatch.totals: the traces that were to be exported, but were too many for their window."""

_RANDOM_BITS = 56  # of a trace id, its last: https://www.w3.org/TR/trace-context-2/#randomness-of-trace-id
_SECOND_NS = 1_000_000_000
_ADDRESSES = 100


class _Slowest:
    """The slowest journeys of a window by one measure, each with its trace."""

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, TraceRecord]] = []
        self._numbers = count()

    def admits(self, value_ms: float) -> bool:
        return len(self._heap) < SLOWEST or value_ms > self._heap[0][0]

    def add(self, value_ms: float, trace: TraceRecord) -> None:
        entry = (value_ms, next(self._numbers), trace)
        if len(self._heap) < SLOWEST:
            heapq.heappush(self._heap, entry)
        else:
            heapq.heappushpop(self._heap, entry)

    def take(self) -> list[TraceRecord]:
        taken, self._heap = [trace for _, _, trace in sorted(self._heap, reverse=True)], []
        return taken


class TraceSampler:
    """The traces of one process's journeys.

    share: the part of all journeys that is exported whatever their outcome, 0 to 1. measured_from: the first epoch
    second after the warm-up, whose streams are never the slowest. address: base URL of the target. redact: masks what
    the requests' addresses may hold.
    """

    def __init__(
        self,
        share: float,
        *,
        measured_from: float = -math.inf,
        address: str = "",
        redact: Redactor | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.share = share
        self.closed = False
        self._measured_from = measured_from
        self._address = address
        self._shown = lru_cache(_ADDRESSES)((redact or Redactor(())).text)  # masking takes time
        self._clock = clock
        self._least_random = round((1 - share) * 2**_RANDOM_BITS)
        self._open: dict[int, JourneySpans] = {}
        self._slowest = {name: _Slowest() for name in ("duration", "ttft", "age")}
        self._failed: Counter[tuple[str, str | None]] = Counter()  # in this window, by journey and kind
        self._of_share = 0  # in this window
        self._window_ends_s = clock() + WINDOW_S
        self._ready: list[TraceRecord] = []
        self._left_out = 0

    def begin(self, trace_id: str) -> JourneySpans:
        """The spans of a journey that begins now. Call its `end`."""
        spans = JourneySpans(trace_id, self._ended)
        self._open[id(spans)] = spans
        return spans

    def report_to(self, batch: StatsBatch) -> None:
        """Add to a batch what was chosen since the last call. The slowest of a window come after its end."""
        if self.closed or self._clock() >= self._window_ends_s:
            self._end_window()
        batch.traces += self._ready
        self._ready = []
        if self._left_out:
            batch.totals[LEFT_OUT] += self._left_out
            self._left_out = 0

    def close(self) -> None:
        """The test has ended: choose among the journeys that were not over. The collector must be closed before."""
        self.closed = True
        for spans in list(self._open.values()):
            self._ended(spans)

    def _end_window(self) -> None:
        chosen = {trace.trace_id: trace for slowest in self._slowest.values() for trace in slowest.take()}
        self._ready += chosen.values()
        self._failed.clear()
        self._of_share = 0
        self._window_ends_s = self._clock() + WINDOW_S

    def _ended(self, spans: JourneySpans) -> None:
        if self._open.pop(id(spans), None) is None or not spans.parts:
            return
        if self._is_wanted(spans):
            self._ready.append(self._trace(spans))
            return
        trace: TraceRecord | None = None
        for name, value_ms in self._measures(spans.parts):
            slowest = self._slowest[name]
            if slowest.admits(value_ms):
                trace = trace or self._trace(spans)
                slowest.add(value_ms, trace)

    def _trace(self, spans: JourneySpans) -> TraceRecord:
        return spans.trace(self._address, self._shown)

    def _is_wanted(self, spans: JourneySpans) -> bool:
        """Whether it is exported, slow or not: it failed, or is one of the share."""
        failure = next((part for part in spans.parts if _failed(part)), None)
        if failure is not None and failure.record is not None:
            kind = (failure.record.journey, failure.kind)
            failed = self._failed.total()
            if failed < MOST_FAILED // 2 or (failed < MOST_FAILED and self._failed[kind] < RARE):
                self._failed[kind] += 1
                return True
            self._left_out += 1
            return False
        if int(spans.trace_id, 16) % 2**_RANDOM_BITS < self._least_random:
            return False
        if self._of_share < MOST_OF_SHARE:
            self._of_share += 1
            return True
        self._left_out += 1
        return False

    def _measures(self, parts: list[RequestPart]) -> Iterator[tuple[str, float]]:
        """By what the journey may be one of the slowest: the longest of its measured streams."""
        rows = [
            (part, part.record)
            for part in parts
            if part.record is not None and part.record.intended_ns >= self._measured_from * _SECOND_NS
        ]
        values = {
            "duration": [row.duration_ms for _, row in rows if row.duration_ms is not None],
            "ttft": [row.ttft_ms for _, row in rows if row.ttft_ms is not None],
            "age": [part.elapsed_ms for part, row in rows if row.outcome == "in flight"],
        }
        for name, found in values.items():
            if found:
                yield name, max(found)


def _failed(part: RequestPart) -> bool:
    return part.record is not None and part.record.reason is not None
