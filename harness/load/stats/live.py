"""What a test that is going on has shown so far, in the memory of the process that writes the results.

Web page and terminal read it. It merges the same Deltas as the results file does, by the same classes, and
has no formula of its own, so at the end of a test both say the same.

The document (`Live.snapshot`; the file of ``--harness-live`` holds it as JSON, replaced as a whole about once
a second and a last time at the end) has these keys:

- ``version``: of this shape, 1. ``run``: an id, another one for every test; None before the first.
- ``state``: "ready" (no test yet), "running", "stopping" (the last streams end), then for good "finished" or
  "interrupted". ``results``: path of the results file, None where there is none.
- ``problem``: a sentence, where a test could not start or its results cannot be written; else None.
- ``target``: URL. ``plan``: what drives the load, in words. ``users``: of a closed loop, else None.
- ``started_s``: epoch s, None before. ``elapsed_s``. ``left_s``: until the end is due; None when nobody knows.
- ``warming_up``: whether what begins now is left out of metrics and rates. ``measured_from_s``: the first epoch
  second that counts, None without warm-up.
- ``objectives``: a list of {"key", "name", "expression", "limit", "at_least", "metric", "word", "journey"};
  metric and word are of a percentile, otherwise None; journey None is all of them.
- ``metrics``: {metric: {"label", "unit", "formula", "all": D, "journeys": {journey: D}}}, in the order of
  harness.results.metrics.METRICS and without what was not measured; D is {"count", "p50", "p90", "p95", "p99",
  "p999", "max"}.
- ``rates``: {"all": R, "journeys": {journey: R}}; R is {"judged", "failed", "error_rate", "runs", "good",
  "goodput"}, shares from 0 to 1 or None.
- ``violations``: {requirement: {"count", "journeys": {journey: count}}}, the most frequent first.
  ``warnings``: {requirement: count}.
- ``ledger``: {"counts": {outcome: count}, "adds_up", "missing", "journeys": {journey: {outcome: count}}}. While
  the test goes on, "in flight" are the streams that each process had open when it last told.
- ``in_flight``: those of all journeys. ``workers``: who measures. ``workers_lost``: who died.
- ``harness``: the measurement's own error bar, as "harness" in summary.json: "lag_ms", "schedule_lag_ms",
  "hub_delay_ms", "processes", "saturated" and "why", a list of sentences, and "faults": {"streams", "reasons",
  "sentence"}, of those that the harness itself broke on.
- ``series``: lists of one entry per bin: ``t_s`` (its beginning, seconds since ``from_s``), ``ttft_ms`` and
  ``inter_token_ms`` ({"p50", "p95", "p99"}, None where nothing was measured), ``in_flight`` (at the bin's end),
  ``arrivals``, ``completions``, ``dropped``, ``failed``, ``violations`` (counts). ``bin_s``: how long a bin is;
  ``from_s``: epoch s of the first. A bin is there once every process has told of it.

Of each metric it keeps one histogram a journey; over time, at most MOST_BINS bins. When more would be needed,
bins are merged two by two, each then twice as long (1, 2, 4 … s), so hours of test take what ten minutes do.
"""

from __future__ import annotations

import json
import logging
import math
import os
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from harness.gate.objective import Objective
from harness.load.stats.stats_batch import StatsBatch
from harness.results import metrics
from harness.results.histogram import Histogram
from harness.results.ledger import Ledger
from harness.results.rate_counts import RateCounts

VERSION = 1
MOST_BINS = 480
SERIES_METRICS = ("ttft_ms", "inter_token_ms")
SERIES_WORDS = ("p50", "p95", "p99")

_SILENT_S = 10
"""A process that has told nothing for so much longer than the others is no longer waited for."""

logger = logging.getLogger(__name__)

SnapshotDocument = dict[str, Any]


@dataclass(slots=True)
class _Bin:
    """What happened in one stretch of time. shown: the percentiles, until another value comes."""

    ledger: Ledger = field(default_factory=Ledger)
    failed: int = 0
    violations: int = 0
    histograms: dict[str, Histogram] = field(default_factory=dict)
    shown: dict[str, list[float | None]] = field(default_factory=dict)

    def merge(self, other: _Bin) -> None:
        self.ledger.merge(other.ledger)
        self.failed += other.failed
        self.violations += other.violations
        for metric, histogram in other.histograms.items():
            self.record(metric, histogram)

    def record(self, metric: str, histogram: Histogram) -> None:
        self.histograms.setdefault(metric, Histogram()).merge(histogram)
        self.shown.pop(metric, None)

    def percentiles(self, metric: str) -> list[float | None]:
        known = self.shown.get(metric)
        if known is None:
            histogram = self.histograms.get(metric, Histogram())
            known = [histogram.percentile(metrics.PERCENTILES[word]) for word in SERIES_WORDS]
            self.shown[metric] = known = [None if value is None else round(value, 3) for value in known]
        return known


class TimeBins:
    """A test over time, in at most MOST_BINS bins of equal length from the second in which it began."""

    def __init__(self) -> None:
        self.bin_s = 1
        self._from_s: int | None = None
        self._bins: dict[int, _Bin] = {}

    def begin(self, second: int) -> None:
        """The first bin begins at that epoch second; what is earlier belongs to it as well."""
        self._from_s = second

    def at(self, second: int) -> _Bin:
        """The bin of an epoch second."""
        if self._from_s is None:
            self._from_s = second
        place = max(0, second - self._from_s) // self.bin_s
        while place >= MOST_BINS:
            self._coarsen()
            place //= 2
        return self._bins.setdefault(place, _Bin())

    def _coarsen(self) -> None:
        self.bin_s *= 2
        finer, self._bins = self._bins, {}
        for place, one in finer.items():
            self._bins.setdefault(place // 2, _Bin()).merge(one)

    def document(self, complete_until: float) -> SnapshotDocument:
        """The series, of the bins that end by that epoch second. See the module's docstring."""
        from_s = self._from_s or 0
        last = max(self._bins, default=-1) + 1
        if math.isfinite(complete_until):
            last = max(0, min(last, (int(complete_until) - from_s) // self.bin_s))
        nothing = _Bin()
        bins = [self._bins.get(place, nothing) for place in range(last)]
        open_now, in_flight = 0, []
        for one in bins:
            open_now += one.ledger.opened
            in_flight.append(max(open_now, 0))
        return {
            "from_s": from_s,
            "bin_s": self.bin_s,
            "t_s": [place * self.bin_s for place in range(last)],
            **{metric: _by_word([one.percentiles(metric) for one in bins]) for metric in SERIES_METRICS},
            "in_flight": in_flight,
            "arrivals": [one.ledger.scheduled for one in bins],
            "completions": [one.ledger.ended for one in bins],
            "dropped": [one.ledger["dropped"] for one in bins],
            "failed": [one.failed for one in bins],
            "violations": [one.violations for one in bins],
        }


def _by_word(rows: list[list[float | None]]) -> dict[str, list[float | None]]:
    return {word: [row[place] for row in rows] for place, word in enumerate(SERIES_WORDS)}


class LiveStats:
    """One test. What happens to it is told to it in one thread; `stopping`, `users` and `problem` may be set from any.

    plan: what drives an open loop, in words. users: how many a closed one has. show: given each new document.
    has_warmup: whether a beginning will be left out: until `started` says how long, nothing counts.
    lasts_s: from the load's start to when its end is due; None when nobody knows.
    """

    def __init__(
        self,
        run: str | None,
        show: Callable[[SnapshotDocument], None],
        *,
        target: str = "",
        plan: str = "",
        users: int | None = None,
        results: Path | None = None,
        objectives: Iterable[Objective] = (),
        has_warmup: bool = False,
        lasts_s: float | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.stopping = False
        self.users = users
        self.problem: str | None = None
        self._plan = plan
        self._show = show
        self._clock = clock
        self._head = {
            "version": VERSION,
            "run": run,
            "results": None if results is None else str(results),
            "target": target,
            "objectives": [_objective(one) for one in objectives],
        }
        self._state = "ready" if run is None else "running"
        self._started_s: float | None = None
        self._lasts_s = lasts_s
        self._ended_s: float | None = None
        self._measured_from: float = math.inf if has_warmup else -math.inf
        self._histograms: dict[str, dict[str, Histogram]] = {}  # metric, journey
        self._hub_delays: dict[str, Histogram] = {}  # worker
        self._seconds: dict[str, metrics.ProcessSeconds] = {}  # worker
        self._told_until: dict[str, int] = {}  # worker, epoch s
        self._open: dict[str, Mapping[str, int]] = {}  # worker, journey
        self._ledgers: defaultdict[str, Ledger] = defaultdict(Ledger)
        self._tallies: Counter[tuple[str, str]] = Counter()  # journey, word
        self._violations: Counter[tuple[str, str]] = Counter()  # requirement, journey
        self._warnings: Counter[str] = Counter()
        self._totals: Counter[str] = Counter()
        self._faults: Counter[str] = Counter()
        self._lost: list[str] = []
        self._bins = TimeBins()

    def started(self, start_wall_ns: int, measured_from: int | None) -> None:
        """The load begins at that moment, epoch ns. measured_from: the first epoch second that counts, or None."""
        self._started_s = start_wall_ns / 1e9
        self._measured_from = -math.inf if measured_from is None else measured_from
        self._bins.begin(start_wall_ns // 1_000_000_000)

    def add(self, delta: StatsBatch, worker: str) -> None:
        """Merge what happened in one process."""
        self._count(delta)
        if delta.open is not None:
            self._open[worker] = delta.open
        for (metric, journey, second), histogram in delta.histograms.items():
            self._record(metric, journey, second, worker, histogram)
        for row in delta.processes:
            if row.second >= self._measured_from:
                self._seconds.setdefault(worker, metrics.ProcessSeconds()).add(row)
            if worker != metrics.MASTER:
                self._told_until[worker] = max(self._told_until.get(worker, 0), row.second + 1)

    def _count(self, delta: StatsBatch) -> None:
        for (second, journey, outcome), count in delta.ledger.items():
            self._ledgers[journey].add(outcome, count)
            self._bins.at(second).ledger.add(outcome, count)
        for (second, _), count in delta.failures.items():
            self._bins.at(second).failed += count
        for second, count in delta.violated_at.items():
            self._bins.at(second).violations += count
        for (second, journey, word), count in delta.tallies.items():
            if second >= self._measured_from:
                self._tallies[journey, word] += count
        self._violations.update(delta.violations)
        self._warnings.update(delta.warnings)
        self._totals.update(delta.totals)
        self._faults.update(delta.faults)

    def _record(self, metric: str, journey: str, second: int, worker: str, histogram: Histogram) -> None:
        if metric in SERIES_METRICS:
            self._bins.at(second).record(metric, histogram)
        if second >= self._measured_from:
            self._histograms.setdefault(metric, {}).setdefault(journey, Histogram()).merge(histogram)
            if metric == "hub_delay_ms":
                self._hub_delays.setdefault(worker, Histogram()).merge(histogram)

    def flush(self) -> None:
        """Show what there is now."""
        self._show(self.snapshot())

    def close(self, state: str, lost: Iterable[str]) -> None:
        """Everything has been added, and stands in the results. state: "finished" or "interrupted"."""
        self._state = state
        self._lost = list(lost)
        self._ended_s = self._clock()
        self.flush()

    def histogram(self, metric: str, journey: str | None = None) -> Histogram:
        """One metric without warm-up, of one journey or of all; as of Results."""
        total = Histogram()
        for name, histogram in self._histograms.get(metric, {}).items():
            if journey in (None, name):
                total.merge(histogram)
        return total

    def rate_counts(self, journey: str | None = None) -> RateCounts:
        """What goes into rates without warm-up, of one journey or of all; as of Results."""
        words: Counter[str] = Counter()
        for (name, word), count in self._tallies.items():
            if journey in (None, name):
                words[word] += count
        return RateCounts.of(words)

    def ledger(self, journey: str | None = None) -> Ledger:
        """What became of the streams, warm-up too, with those that are open as in flight; as of Results."""
        total = Ledger()
        for name, one in self._ledgers.items():
            if journey in (None, name):
                total.merge(one)
        for counts in self._open.values():
            for name, count in counts.items():
                if journey in (None, name):
                    total.add("in flight", count)
        return total

    def journeys(self) -> list[str]:
        """The journeys that were travelled, sorted; as of Results."""
        measured = {name for journeys in self._histograms.values() for name in journeys if name}
        return sorted(set(self._ledgers) | measured)

    def metrics(self) -> list[str]:
        """The names of the metrics that have data, sorted; as of Results."""
        return sorted(self._histograms)

    def violation_counts(self, journey: str | None = None) -> dict[str, int]:
        """Violations by requirement, of one journey or of all; as of Results."""
        counts: Counter[str] = Counter()
        for (requirement, name), count in sorted(self._violations.items()):
            if journey in (None, name):
                counts[requirement] += count
        return dict(counts)

    def snapshot(self) -> SnapshotDocument:
        """The document that the module's docstring describes."""
        state = "stopping" if self.stopping and self._state == "running" else self._state
        now_s = self._clock() if self._ended_s is None else self._ended_s
        ledger = self.ledger()
        journeys = self.journeys()
        return {
            **self._head,
            "state": state,
            "problem": self.problem,
            "plan": self._plan or ("" if self.users is None else f"{self.users} users"),
            "users": self.users,
            "started_s": self._started_s,
            "elapsed_s": 0.0 if self._started_s is None else max(0.0, now_s - self._started_s),
            "left_s": self._left_s(state, now_s),
            "warming_up": now_s < self._measured_from and state == "running",
            "measured_from_s": int(self._measured_from) if math.isfinite(self._measured_from) else None,
            "metrics": self._distributions(),
            "rates": {"all": self._rates(None), "journeys": {name: self._rates(name) for name in journeys}},
            "violations": self._violations_by_requirement(),
            "warnings": dict(self._warnings.most_common()),
            "ledger": {
                "counts": ledger.as_dict(),
                "adds_up": ledger.adds_up,
                "missing": ledger.missing,
                "journeys": {name: self.ledger(name).as_dict() for name in journeys},
            },
            "in_flight": ledger["in flight"],
            "workers": sorted(self._told_until),
            "workers_lost": self._lost,
            "harness": self._harness(),
            "series": self._bins.document(self._complete_until()),
        }

    def _left_s(self, state: str, now_s: float) -> float | None:
        if state != "running" or self._lasts_s is None or self._started_s is None:
            return None
        return max(0.0, self._started_s + self._lasts_s - now_s)

    def _distributions(self) -> SnapshotDocument:
        return {
            name: {
                "label": metrics.METRICS[name].label,
                "unit": metrics.METRICS[name].unit,
                "formula": metrics.METRICS[name].formula,
                "all": metrics.distribution(self.histogram(name)),
                "journeys": {
                    journey: metrics.distribution(histogram)
                    for journey, histogram in sorted(self._histograms[name].items())
                    if journey
                },
            }
            for name in metrics.METRICS
            if name in self._histograms
        }

    def _rates(self, journey: str | None) -> SnapshotDocument:
        tally = self.rate_counts(journey)
        return {
            "judged": tally.judged,
            "failed": tally.failed,
            "error_rate": metrics.error_rate_of(tally),
            "runs": tally.runs,
            "good": tally.good,
            "goodput": metrics.goodput_of(tally),
        }

    def _violations_by_requirement(self) -> SnapshotDocument:
        found: dict[str, Counter[str]] = {}
        for (requirement, journey), count in sorted(self._violations.items()):
            found.setdefault(requirement, Counter())[journey] += count
        return {
            requirement: {"count": journeys.total(), "journeys": dict(journeys)}
            for requirement, journeys in sorted(found.items(), key=lambda one: -one[1].total())
        }

    def _harness(self) -> SnapshotDocument:
        stamped, unstamped = self._totals["reads_stamped"], self._totals["reads_unstamped"]
        return metrics.error_bar(
            {name: self.histogram(name) for name in metrics.HARNESS_METRICS},
            dict(sorted(self._hub_delays.items())),
            [
                one.fared(worker, self._hub_delays.get(worker, Histogram()))
                for worker, one in sorted(self._seconds.items())
            ],
            receive_stamp(stamped, unstamped),
            self._faults,
        )

    def _complete_until(self) -> float:
        """The epoch second before which every process has told what happened; infinity after the end."""
        if self._ended_s is not None:
            return math.inf
        newest = max(self._told_until.values(), default=0)
        return min((one for one in self._told_until.values() if one > newest - _SILENT_S), default=0)


def receive_stamp(stamped: int, unstamped: int) -> str | None:
    """What arrivals were timed by, from how many reads had a stamp of the kernel's and how many had none."""
    if not stamped and not unstamped:
        return None
    return "mixed" if stamped and unstamped else "kernel" if stamped else "user"


def _objective(objective: Objective) -> SnapshotDocument:
    metric, word = objective.percentile or (None, None)
    return {
        "key": objective.key,
        "name": objective.name,
        "expression": objective.expression,
        "limit": objective.limit,
        "at_least": objective.at_least,
        "metric": metric,
        "word": word,
        "journey": objective.journey,
    }


class SnapshotPublisher:
    """Where the newest document hangs, for whoever wants to read it; and the file that holds it, if any.

    document: the newest one; it is replaced and never changed. text: the same as JSON.
    """

    def __init__(self, file: Path | None = None) -> None:
        self.document: SnapshotDocument = {}
        self.text = b"{}"
        self._file = file
        self._complained = False
        LiveStats(None, self.publish).flush()

    def publish_error(self, problem: str) -> None:
        """A test could not start, and why: nothing of an earlier one stays."""
        nothing = LiveStats(None, self.publish)
        nothing.problem = problem
        nothing.flush()

    def publish(self, document: SnapshotDocument) -> None:
        """Hang up another document, and replace the file. A file that cannot be written is said once."""
        text = json.dumps(document, allow_nan=False, separators=(",", ":")).encode()
        self.document, self.text = document, text
        if self._file is None:
            return
        beside = self._file.with_name(f".{self._file.name}.{os.getpid()}")
        try:
            beside.write_bytes(text)
            beside.replace(self._file)
        except OSError as problem:
            if not self._complained:
                self._complained = True
                logger.error("cannot write the live numbers to %s: %s", self._file, problem)  # noqa: TRY400 - a sentence
