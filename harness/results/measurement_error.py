"""How far a measured percentile can be off because of the harness itself.

The harness measures X = true value + error. Its errors are delays, never negative, and their distributions are
measured with everything else: schedule lag for each stream, hub delay every 20 ms. Which value got which delay is
not known, so the bounds assume the worst case. Let X(r) be the measured value of rank r, and let at most k errors be
above b. A true value below X(r - k) - b either was measured below X(r - k), of which there are fewer than r - k, or has
an error above b, of which there are at most k: fewer than r in all. So

    true value of rank r >= X(r - k) - b

for every pair of k and b, and the best pair counts. (For random variables with known margins this is the bound of
Makarov, Theory of Probability and its Applications 26, 1982.) One arrival that was sent late therefore shifts a median
by one rank, not by its lag.

docs/gate.md, "The harness's own error", lists which delay enters which metric.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from harness.booleans import is_whole_number
from harness.results.histogram import MIDDLES_MS, Histogram, nearest_rank
from harness.results.metrics import HARNESS_METRICS, METRICS, NET_METRICS
from harness.results.reader import Results
from harness.results.saturation import MASTER

_TO_FIRST = ("ttft_ms", "cold_ttft_ms", "warm_ttft_ms", "ttf_reasoning_ms", "ttf_tool_ms", "ttf_progress_ms")
FROM_DUE_TIME = frozenset({*_TO_FIRST, "first_event_ms", "duration_ms"})
"""Metrics that begin when a stream was due, so that a late send is part of them."""

TO_CONNECTION = frozenset({"connect_ms"})
"""Metrics that end when the harness notices a connection, which has no kernel timestamp."""

BY_ONE_ARRIVAL = FROM_DUE_TIME | {
    "service_ttft_ms",
    "head_ms",
    "resume_ms",
    "conflict_ms",
    "cancel_ms",
    "recovery_ms",
}
"""Metrics that end with the arrival of one event, or of the head."""

BETWEEN_ARRIVALS = frozenset({"inter_token_ms", "stall_ms"})
"""Differences of two arrivals: without kernel timestamps, they can be too long and too short."""

MEANS = frozenset({"tpot_ms"})
"""The time between the first token and the end, divided by a number of at least 1: the error of both is in it."""

COALESCED_FROM_MS = 1.0
"""A delay above this lets two tokens wait for one read, so that the gap between them is lost. Tokens that are closer
arrive together for any reader."""

_MOST_CANDIDATES = (
    64  # pairs of `beyond` and `bound` that are tried; more would not tighten the bound visibly
)

_Ranks = npt.NDArray[np.int64]
_Values = npt.NDArray[np.float64]
_AtRanks = Callable[[_Ranks], _Values]


@dataclass(frozen=True, slots=True)
class ErrorBounds:
    """Between which numbers the true value is, as far as the harness's own error is concerned.

    In the unit of the metric; shares are 0 to 1. Random variation of the server is not included.
    """

    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Delays:
    """What is known about one kind of delay: of `beyond` values at most, each is above the `bound_ms` next to it."""

    beyond: _Ranks
    bound_ms: _Values

    @classmethod
    def of(cls, histogram: Histogram) -> Delays:
        """One delay for each measured value."""
        edges_ms, counts = histogram.buckets()
        filled = np.flatnonzero(counts)
        largest_ms = max(0.0, histogram.max or 0.0)
        bound_ms = np.minimum(np.concatenate(([0.0], edges_ms[filled])), largest_ms)
        beyond = int(counts.sum()) - np.concatenate(([0], np.cumsum(counts[filled])))
        return cls(*_thinned(beyond, bound_ms))

    def times(self, waits: int) -> Delays:
        """The sum of several such delays of one value. (If it is above waits · bound, one of them is above bound.)"""
        return Delays(self.beyond * waits, self.bound_ms * waits)

    def among(self, values: int, samples: int) -> Delays:
        """The delays of some values, if these delays are samples over time: the same share is above each bound."""
        return Delays(-(-self.beyond * values // max(1, samples)), self.bound_ms)

    def at_most(self, values: int) -> Delays:
        """The same if only so many values are delayed at all."""
        beyond = np.minimum(self.beyond, values)
        return Delays(np.concatenate((beyond, [values])), np.concatenate((self.bound_ms, [0.0])))


class PercentileError:
    """The error of one metric, of one journey or of all. Raises ResultsError."""

    def __init__(self, results: Results, metric: str, journey: str | None = None) -> None:
        self._results = results
        self._metric = metric
        self._journey = journey
        self._histogram = results.histogram(metric, journey)
        hubs = results.histograms_by_worker("hub_delay_ms") if metric not in HARNESS_METRICS else {}
        self._hub = _merged(histogram for worker, histogram in hubs.items() if worker != MASTER)
        self._unread = _coalesced_by_harness(results, self._hub, self._histogram.count, metric)
        self._at: _AtRanks = _values_at(self._histogram)
        net = results.histogram(NET_METRICS.get(metric, metric), journey)
        self._net = (
            net if net.count == self._histogram.count else None
        )  # results of an earlier version have none
        self._lowest: _AtRanks = self._at if self._net is None else _values_at(self._net)
        if self._net is not None and metric in FROM_DUE_TIME:
            late_at_most = _lowered(self._lowest, Delays.of(results.histogram("connect_ms", journey)))
            if self._hub.count:
                by_loop = _lowered(self._lowest, self._hub_delays().times(self._connects()))
                late_at_most = _higher(late_at_most, by_loop)
            self._lowest = late_at_most
        for delays in self._too_long():
            self._lowest = _lowered(self._lowest, delays)
        self._highest: _AtRanks = self._at
        for delays in self._too_short():
            self._highest = _raised(self._highest, delays)

    def bounds(self, percent: float) -> ErrorBounds | None:
        """Between which values the true percentile is, in the unit of the metric; None if nothing was measured."""
        count = self._histogram.count
        value = self._histogram.percentile(percent)
        if value is None:
            return None
        lost = self._unread if self._metric == "inter_token_ms" else 0  # a run has one stall, of all its gaps
        rank = nearest_rank(percent, count + lost)
        lowest, highest = rank - lost, min(rank, count)  # lost gaps are the shortest of all, or the longest
        low = float(self._lowest(np.array([lowest]))[0])
        high = float(self._highest(np.array([highest]))[0])
        return ErrorBounds(min(value, max(low, self._service(percent))), max(value, high))

    def net_bounds(self, percent: float) -> ErrorBounds | None:
        """The bounds of what the percentile would be without the harness's known delays before each send.

        They are narrower than `bounds`, and need not contain the value that was measured.
        """
        bounds = self.bounds(percent)
        net = None if self._net is None else self._net.percentile(percent)
        if bounds is None or net is None or self._metric not in FROM_DUE_TIME:
            return bounds
        return ErrorBounds(min(bounds.low, net), net)

    def certainly_above(self, limit: float) -> int:
        """How many of the values are above a limit whatever the harness's own delays were."""
        return self._number_above(limit, self._lowest)

    def above(self, limit: float) -> int:
        """How many of the values are measured above a limit, within the resolution of the histogram."""
        return self._number_above(limit, self._at)

    def _number_above(self, limit: float, at: _AtRanks) -> int:
        count = self._histogram.count
        first, after = 1, count + 1  # ranks; values never fall with the rank
        while first < after:
            rank = (first + after) // 2
            if at(np.array([rank]))[0] > limit:
                after = rank
            else:
                first = rank + 1
        return count + 1 - first

    def _too_long(self) -> Iterable[Delays]:
        """The delays that make a value too long."""
        if self._metric in HARNESS_METRICS or METRICS[self._metric].unit != "ms":
            return
        if self._metric in FROM_DUE_TIME and self._net is None:
            lags = self._results.histogram("schedule_lag_ms", self._journey)
            if lags.count:
                yield Delays.of(lags)
        if self._metric in BY_ONE_ARRIVAL | MEANS:
            errors = self._results.histogram("arrival_error_ms", self._journey)
            if errors.count:
                yield Delays.of(errors)
        waits = self._waits()
        if waits and self._hub.count:
            yield self._hub_delays().times(waits)
        elif self._metric in BETWEEN_ARRIVALS and self._unread:
            yield self._hub_delays().at_most(self._unread)

    def _too_short(self) -> Iterable[Delays]:
        if self._metric in MEANS:  # the first token may have come before its stamp
            errors = self._results.histogram("arrival_error_ms", self._journey)
            if errors.count:
                yield Delays.of(errors)
        between = self._metric in BETWEEN_ARRIVALS | MEANS
        if between and self._hub.count and not _has_kernel_stamps(self._results):
            yield self._hub_delays()

    def _hub_delays(self) -> Delays:
        values = self._histogram.count
        if self._metric == "stall_ms":  # the longest of all gaps of a run: any late token can make it
            values = _tokens(self._results, values)
        return Delays.of(self._hub).among(values, self._hub.count)

    def _waits(self) -> int:
        """How often the harness's event loop can delay a value: each time by at most a hub delay."""
        at_the_end = not _has_kernel_stamps(self._results)
        if self._metric in FROM_DUE_TIME and self._net is None:
            return 1 + self._connects() + at_the_end
        return self._connects() if self._metric in TO_CONNECTION else int(at_the_end)

    def _connects(self) -> int:
        """How often the event loop can delay a connection: TLS takes a second round trip."""
        if not self._results.histogram("connect_ms").count:
            return 0
        return 2 if _uses_tls(self._results) else 1

    def _service(self, percent: float) -> float:
        """A floor for TTFT, stream by stream: from the actual send, everything before the send is missing."""
        if self._metric != "ttft_ms":
            return 0.0
        service = self._results.histogram("service_ttft_ms", self._journey)
        if service.count != self._histogram.count:
            return 0.0
        bounds = PercentileError(self._results, "service_ttft_ms", self._journey).bounds(percent)
        return 0.0 if bounds is None else bounds.low


def net_bounds(
    results: Results, metric: str, percent: float, journey: str | None = None
) -> ErrorBounds | None:
    """See PercentileError.net_bounds."""
    return PercentileError(results, metric, journey).net_bounds(percent)


def percentile_bounds(
    results: Results, metric: str, percent: float, journey: str | None = None
) -> ErrorBounds | None:
    """Between which values a percentile is without the harness's own delays; None if it was not measured.

    The percentile that was measured is within the bounds. Raises ResultsError.
    """
    return PercentileError(results, metric, journey).bounds(percent)


def _thinned(beyond: _Ranks, bound_ms: _Values) -> tuple[_Ranks, _Values]:
    """At most _MOST_CANDIDATES pairs, with the whole tail: any subset is valid."""
    if len(beyond) <= _MOST_CANDIDATES:
        return beyond, bound_ms
    tail = len(beyond) - _MOST_CANDIDATES // 2
    steps = np.linspace(0, tail - 1, _MOST_CANDIDATES // 2).astype(np.int64)
    kept = np.concatenate((steps, np.arange(tail, len(beyond))))
    return beyond[kept], bound_ms[kept]


def _higher(one: _AtRanks, other: _AtRanks) -> _AtRanks:
    """The better of two lower bounds."""

    def higher(ranks: _Ranks) -> _Values:
        better: _Values = np.maximum(one(ranks), other(ranks))
        return better

    return higher


def _lowered(at: _AtRanks, delays: Delays) -> _AtRanks:
    """The lowest values that remain without these delays, by rank."""

    def lowered(ranks: _Ranks) -> _Values:
        tried = ranks[:, None] - delays.beyond[None, :]
        values = at(tried.ravel()).reshape(tried.shape) - delays.bound_ms
        best: _Values = np.maximum(values.max(axis=1), 0.0)
        return best

    return lowered


def _raised(at: _AtRanks, delays: Delays) -> _AtRanks:
    """The highest values that are possible if these delays shortened them, by rank."""

    def raised(ranks: _Ranks) -> _Values:
        tried = ranks[:, None] + delays.beyond[None, :]
        values = at(tried.ravel()).reshape(tried.shape) + delays.bound_ms
        best: _Values = values.min(axis=1)
        return best

    return raised


def _values_at(histogram: Histogram) -> _AtRanks:
    """The measured value of each rank, as Histogram.percentile gives it; 0 below the first, infinity above the last."""
    _, counts = histogram.buckets()
    cumulative = np.cumsum(counts)
    count = histogram.count
    smallest, largest = histogram.min or 0.0, histogram.max or 0.0

    def at(ranks: _Ranks) -> _Values:
        buckets = np.minimum(np.searchsorted(cumulative, ranks), len(MIDDLES_MS) - 1)
        values = np.clip(MIDDLES_MS[buckets], smallest, largest)
        values = np.where(ranks == count, largest, np.where(ranks == 1, smallest, values))
        known: _Values = np.where(ranks < 1, 0.0, np.where(ranks > count, np.inf, values))
        return known

    return at


def _merged(histograms: Iterable[Histogram]) -> Histogram:
    total = Histogram()
    for histogram in histograms:
        total.merge(histogram)
    return total


def _coalesced_by_harness(results: Results, hub: Histogram, gaps: int, metric: str) -> int:
    """Most gaps that are missing because the harness read two tokens at once.

    A token waits for the next one only while the event loop is delayed: as many tokens as the share of the time in
    which it was, and no more than were coalesced.
    """
    coalesced = results.manifest.get("coalesced_tokens")
    if metric not in BETWEEN_ARRIVALS or not is_whole_number(coalesced) or not hub.count:
        return 0
    edges_ms, counts = hub.buckets()
    late = int(counts[edges_ms > COALESCED_FROM_MS].sum())
    tokens = _tokens(results, gaps) if metric == "stall_ms" else gaps
    return min(coalesced, -(-late * tokens // hub.count))


def _tokens(results: Results, otherwise: int) -> int:
    tokens = results.manifest.get("tokens")
    return tokens if is_whole_number(tokens) else otherwise


def _has_kernel_stamps(results: Results) -> bool:
    """Whether arrivals are stamped by the kernel; if that is not recorded, whether any read was."""
    stamp = results.manifest.get("receive_stamp")
    return stamp == "kernel" or (stamp is None and results.histogram("receive_lag_ms").count > 0)


def _uses_tls(results: Results) -> bool:
    target = results.manifest.get("target")
    return isinstance(target, dict) and str(target.get("base_url", "")).startswith("https:")
