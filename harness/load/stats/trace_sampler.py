"""Decides, in the process that has the streams, which journeys' traces are exported.

A journey is chosen when it has ended, by its outcome: those with a failed stream, the slowest ones of each
window, and a share of the others. What is not chosen is forgotten, so that memory has a bound whatever the rate.
"""

from __future__ import annotations

import heapq
import math
import time
from collections import Counter
from collections.abc import Callable
from functools import lru_cache
from itertools import count

from harness.contract.evidence.redaction import Redactor
from harness.export.trace_records import TraceRecord
from harness.load.stats.journey_spans import JourneySpans
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

MOST_REQUESTS = 10_000
"""The most requests of the failed journeys and of the share of a window."""

LEFT_OUT = "traces_left_out"
"""In StatsBatch.totals: the traces that were to be exported, but were too many for their window."""

_RANDOM_DIGITS = 14  # of a trace id, its last: https://www.w3.org/TR/trace-context-2/#randomness-of-trace-id
_SECOND_NS = 1_000_000_000
_ADDRESSES = 100


class _Slowest:
    """The slowest journeys of a window by one measure."""

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, JourneySpans]] = []
        self._numbers = count()

    def offer(self, value_ms: float, spans: JourneySpans) -> None:
        """Keep it if it is one of the slowest so far. value_ms: negative if it was not measured."""
        heap = self._heap
        if value_ms < 0:
            return
        if len(heap) < SLOWEST:
            heapq.heappush(heap, (value_ms, next(self._numbers), spans))
        elif value_ms > heap[0][0]:
            heapq.heappushpop(heap, (value_ms, next(self._numbers), spans))

    def take(self) -> list[JourneySpans]:
        """The slowest first; then it is empty."""
        taken, self._heap = [spans for _, _, spans in sorted(self._heap, reverse=True)], []
        return taken


class TraceSampler:
    """The traces of one process's journeys.

    share: the part of all journeys that is exported whatever their outcome, 0 to 1. measured_from: the first epoch
    second after the warm-up; streams due earlier are never the slowest. address: base URL of the target. redact: masks
    what the requests' addresses may hold.
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
        self._measured_from_ns = measured_from * _SECOND_NS
        self._address = address
        self._shown = lru_cache(_ADDRESSES)((redact or Redactor(())).text)  # masking takes time
        self._clock = clock
        least = round((1 - share) * 16**_RANDOM_DIGITS)
        self._least_random = f"{least:0{_RANDOM_DIGITS}x}" if share > 0 else "none"  # comes after all digits
        self._open: dict[int, JourneySpans] = {}
        self._slowest = self._longest, self._latest, self._oldest = _Slowest(), _Slowest(), _Slowest()
        self._failed: Counter[tuple[str, str | None]] = Counter()  # in this window, by journey and kind
        self._of_share = 0  # in this window
        self._requests = 0  # in this window, of both
        self._window_ends_s = clock() + WINDOW_S
        self._ready: list[TraceRecord] = []
        self._left_out = 0

    def begin(self, trace_id: str) -> JourneySpans:
        """The spans of a journey that begins now. Call its `end`."""
        spans = JourneySpans(trace_id, self._ended, self._measured_from_ns)
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
        chosen = {id(spans): spans for slowest in self._slowest for spans in slowest.take()}
        self._ready += map(self._trace, chosen.values())
        self._failed.clear()
        self._of_share = self._requests = 0
        self._window_ends_s = self._clock() + WINDOW_S

    def _ended(self, spans: JourneySpans) -> None:
        if self._open.pop(id(spans), None) is None or not spans.parts:
            return
        is_of_share = spans.trace_id[-_RANDOM_DIGITS:] >= self._least_random
        if (is_of_share or spans.failure is not None) and self._is_wanted(spans):
            self._ready.append(self._trace(spans))
            return
        self._longest.offer(spans.duration_ms, spans)
        self._latest.offer(spans.ttft_ms, spans)
        if spans.age_ms >= 0:
            self._oldest.offer(spans.age_ms, spans)

    def _trace(self, spans: JourneySpans) -> TraceRecord:
        return spans.trace(self._address, self._shown)

    def _is_wanted(self, spans: JourneySpans) -> bool:
        """Whether one that failed, or is of the share, is exported, slow or not."""
        if self._has_room(spans):
            self._requests += len(spans.parts)
            return True
        self._left_out += 1
        return False

    def _has_room(self, spans: JourneySpans) -> bool:
        """Whether this window has room for it, which it then takes."""
        if self._requests + len(spans.parts) > MOST_REQUESTS:
            return False
        if spans.failure is None:
            self._of_share += 1
            return self._of_share <= MOST_OF_SHARE
        kind = (spans.failure.journey, spans.kind)
        failed = self._failed.total()
        if failed < MOST_FAILED // 2 or (failed < MOST_FAILED and self._failed[kind] < RARE):
            self._failed[kind] += 1
            return True
        return False
