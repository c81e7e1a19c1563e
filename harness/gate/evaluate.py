"""The gate: what a results file is held to, and whether it holds; what was not measured is never green.

Nor is what a harness measured that was too busy to measure it: there a latency is neither held nor missed.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from typing import Literal, Self

from harness.gate.baseline_store import another_load, distinct, is_same_test, notes
from harness.gate.comparison import Comparison, Effects, compare, compare_shares
from harness.gate.confidence_intervals import CONFIDENCE, percentile_interval, share_interval
from harness.results import metrics
from harness.results.ledger import TERMINAL
from harness.results.reader import Results
from harness.results.schema import ResultsError

RowVerdict = Literal["held", "missed", "inconclusive", "not measured"]
Outcome = Literal["held", "missed", "inconclusive", "not measured", "nothing tested"]

_PERCENTILE_KEYS = {
    f"{metric.removesuffix('_ms')}_{word}_ms": (metric, word)
    for metric in metrics.METRICS
    if metrics.METRICS[metric].unit == "ms"
    for word in metrics.PERCENTILES
}
GOODPUT = "goodput"
SHARES = ("error_rate", GOODPUT)
KEYS = (*_PERCENTILE_KEYS, "error_rate", GOODPUT, "violations")
"""Every objective that can be set, for all journeys or for one."""

EVERY_RUN_HAS = ("ttft_ms", "service_ttft_ms", "first_event_ms", "duration_ms")
"""Metrics that every run has which comes to its end, where it is first asked for."""

SOME_RUNS_HAVE = ("stall_ms", "resume_ms")
"""Metrics of a single run that need two tokens, or a cut."""

DROPPED_AT_MOST = 0.01
"""The share of an open loop's streams that may be dropped before the test is no longer the one that was asked for."""

_FAILING_VERDICTS = ("fail", "error", "stale")


@dataclass(frozen=True, slots=True)
class Objective:
    """A limit: in ms for a percentile of a metric, a share for error_rate and goodput, a count for violations.

    It is an upper one, save for goodput. journey: whose streams it is about; None for all.
    """

    key: str
    limit: float
    journey: str | None = None

    @classmethod
    def parse(cls, name: str, limit: float) -> Self:
        """The objective of that name: a key such as ttft_p95_ms, stall_max_ms, error_rate or violations, or one
        of one journey's, such as resume.resume_p99_ms.

        Raises ValueError for a key that is not of KEYS, naming the nearest, and for a limit that is no
        finite number from 0 up.
        """
        journey, _, key = name.rpartition(".")
        if "." in journey:
            raise ValueError(f"objective {name}: a journey's name has no point; write resume.resume_p99_ms")
        if key not in KEYS:
            near = get_close_matches(key.lower(), KEYS, n=1, cutoff=0)[0]
            raise ValueError(f"objective {key!r} is unknown; did you mean {near!r}?")
        if isinstance(limit, bool) or not isinstance(limit, int | float) or not 0 <= limit < math.inf:
            raise ValueError(f"objective {key}: the limit must be a number from 0 up, not {limit!r}")
        if key in SHARES and limit > 1:
            whose = "runs" if key == GOODPUT else "streams"
            raise ValueError(
                f"objective {key}: the limit is a share of the {whose}, from 0 to 1, not {limit!r}"
            )
        return cls(key, float(limit), journey or None)

    @property
    def name(self) -> str:
        """The key, after its journey where it has one: resume.resume_p99_ms."""
        return f"{self.journey}.{self.key}" if self.journey else self.key

    @property
    def at_least(self) -> bool:
        """Whether it is a lower limit: the value must reach it."""
        return self.key == GOODPUT

    @property
    def limit_said(self) -> str:
        """The limit with its unit, as an expression has it: 800 ms, 0.1%, 0."""
        if self.key in SHARES:
            return f"{self.limit * 100:.12g}%"
        return f"{self.limit:.12g} ms" if self.percentile is not None else f"{self.limit:.12g}"

    @property
    def expression(self) -> str:
        """The objective as harness.gate.expressions reads it: ttft_p95_ms <= 800 ms."""
        return f"{self.name} {'>=' if self.at_least else '<='} {self.limit_said}"

    @property
    def percentile(self) -> tuple[str, str] | None:
        """Metric and percentile word, ("ttft_ms", "p95"); None for rates and violations."""
        return _PERCENTILE_KEYS.get(self.key)

    def value(self, results: Results) -> float | None:
        """What the results say of it, in the limit's unit; None when it was not measured."""
        if self.percentile is not None:
            metric, word = self.percentile
            return results.histogram(metric, self.journey).percentile(metrics.PERCENTILES[word])
        if self.key == "error_rate":
            return metrics.error_rate(results, self.journey)
        if self.key == GOODPUT:
            return metrics.goodput(results, self.journey)
        if self.journey is not None and self.journey not in results.journeys():
            return None
        return float(sum(metrics.violations(results, self.journey).values()))

    def interval(self, results: Results) -> tuple[float, float] | None:
        """The confidence interval of that value from harness.gate.confidence_intervals, in the limit's unit; None where
        there is too little for one, and of violations, which are counted and not estimated.
        """
        if self.percentile is not None:
            metric, word = self.percentile
            return percentile_interval(results, metric, metrics.PERCENTILES[word], self.journey)
        if self.key == "error_rate":
            return share_interval(results, "error_rate", self.journey)
        return share_interval(results, "goodput", self.journey) if self.key == GOODPUT else None


@dataclass(frozen=True, slots=True)
class GateRow:
    """One thing that was held against a limit. detail says in words what the number does not.

    at_least: the limit is a lower one. interval: the value's confidence interval, in its unit; None where it
    was not asked for, and where there is none.
    """

    name: str
    value: float | None
    limit: float
    verdict: RowVerdict
    detail: str = ""
    at_least: bool = False
    interval: tuple[float, float] | None = None

    @property
    def headroom(self) -> float | None:
        """How far the value is on the right side of its limit, as a share of the limit: 0.25 is a quarter to
        spare, below 0 is missed. None when nothing was measured or the limit is 0.
        """
        if self.value is None or self.limit == 0:
            return None
        below = 1 - self.value / self.limit
        return -below if self.at_least else below


@dataclass(frozen=True, slots=True)
class GateReport:
    """The gate's rows, the comparisons with a baseline where there was one, and what follows from them.

    saturation: why the harness was too busy for its latencies to be judged; empty when it was not. notes: what
    else a reader of the comparisons has to know. inconclusive_fails: whether a single comparison that is
    inconclusive is one too many. confidence: of each comparison's interval.
    """

    rows: tuple[GateRow, ...]
    comparisons: tuple[Comparison, ...]
    tested: bool
    saturation: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    inconclusive_fails: bool = False
    confidence: float = CONFIDENCE

    @property
    def outcome(self) -> Outcome:
        """The whole in a word: "held" only when something was tested and every row held."""
        verdicts = {row.verdict for row in self.rows}
        if not self.tested:
            return "nothing tested"
        if "missed" in verdicts or any(comparison.verdict == "worse" for comparison in self.comparisons):
            return "missed"
        if "inconclusive" in verdicts or self.unsure:
            return "inconclusive"
        return "not measured" if "not measured" in verdicts else "held"

    @property
    def unsure(self) -> bool:
        """Whether the comparisons say too little: none of them has an interval, so that none could ever have
        been worse; or a single one is inconclusive where none may be.
        """
        if self.inconclusive_fails:
            return any(one.verdict == "inconclusive" for one in self.comparisons)
        return bool(self.comparisons) and all(one.low is None for one in self.comparisons)

    @property
    def may_join_baseline(self) -> bool:
        """Whether these results are fit for a baseline: the gate held, or nothing stands in its way but that the
        baseline is still too small to tell, which only grows by such results.
        """
        if self.outcome != "inconclusive":
            return self.outcome == "held"
        rows_held = all(row.verdict == "held" for row in self.rows)
        unknown = [one for one in self.comparisons if one.verdict == "inconclusive"]
        return rows_held and all(one.repeats_may_tell or _is_maximum(one.key) for one in unknown)

    @property
    def undecided(self) -> bool:
        """Whether repeating the test may decide something: nothing is missed, and something is unknown."""
        return self.outcome in ("held", "inconclusive") and any(
            one.repeats_may_tell for one in self.comparisons
        )

    @property
    def exit_code(self) -> int:
        """0 held, 2 nothing tested, 1 everything between: missed, inconclusive, an objective not measured."""
        return {"held": 0, "nothing tested": 2}.get(self.outcome, 1)


@dataclass(frozen=True, slots=True)
class Terms:
    """How a gate compares with a baseline.

    effects: what is worth failing for. looks: how often it may look while repeats come in, the last one
    included. inconclusive_fails: see GateReport.
    """

    effects: Effects = field(default_factory=Effects)
    looks: int = 1
    inconclusive_fails: bool = False

    def confidence(self, comparisons: int) -> float:
        """The confidence of each interval: so high that all those comparisons, at all looks, call no equal
        servers worse with more than 1 - CONFIDENCE (Bonferroni: one end of each interval counts for that).
        """
        return max(CONFIDENCE, 1 - 2 * (1 - CONFIDENCE) / max(1, comparisons * self.looks))


USUAL_TERMS = Terms()


def parse_objectives(limits: Mapping[str, float]) -> tuple[Objective, ...]:
    """Objectives from keys and limits, as the settings hold them. Raises ValueError as Objective.parse."""
    return tuple(Objective.parse(key, limit) for key, limit in limits.items())


def limits_with(limits: Mapping[str, float], given: Iterable[Objective]) -> dict[str, float]:
    """Limits by name, as the settings hold them, with those given besides in the place of any of their names."""
    return {**limits, **{one.name: one.limit for one in given}}


def run_limits(objectives: Iterable[Objective], journey: str | None = None) -> dict[str, float]:
    """What a single run has to meet, by metric, in ms: what goodput asks of it.

    journey: the run's; objectives of another do not count for it.

    Of the percentiles of one metric the highest that is limited counts, as that is the limit nearly every
    run is to meet. A run has many gaps between tokens and no percentile of them that the test's could be
    held against; only their maximum is that of the runs' stalls.
    """
    limits: dict[str, tuple[float, float]] = {}
    for objective in objectives:
        if objective.journey not in (None, journey):
            continue
        metric, word = objective.percentile or ("", "max")
        if (metric, word) == ("inter_token_ms", "max"):
            metric = "stall_ms"
        if metric in EVERY_RUN_HAS or metric in SOME_RUNS_HAVE:
            percent = metrics.PERCENTILES[word]
            highest, limit = limits.get(metric, (-1.0, 0.0))
            if percent == highest:  # inter_token_max_ms beside stall_max_ms
                limits[metric] = percent, min(limit, objective.limit)
            elif percent > highest:
                limits[metric] = percent, objective.limit
    return {metric: limit for metric, (_, limit) in limits.items()}


def journey_limits(objectives: Iterable[Objective]) -> dict[str, dict[str, float]]:
    """The `run_limits` of every journey that has objectives of its own."""
    objectives = tuple(objectives)
    named = dict.fromkeys(one.journey for one in objectives if one.journey is not None)
    return {journey: run_limits(objectives, journey) for journey in named}


def is_good(values_ms: Mapping[str, float], limits: Mapping[str, float], *, begins_run: bool) -> bool:
    """Whether a run that was done and not violating counts for goodput: it meets every limit of `run_limits`.

    values_ms: its stream's metrics. begins_run: whether the run was first asked for by it; then a limited
    metric of EVERY_RUN_HAS that is missing is not met, as nobody saw it met.
    """
    for metric, limit_ms in limits.items():
        value_ms = values_ms.get(metric)
        if value_ms is None and begins_run and metric in EVERY_RUN_HAS:
            return False
        if value_ms is not None and value_ms > limit_ms:
            return False
    return True


def judge(
    results: Results,
    objectives: Iterable[Objective],
    baseline: Results | Sequence[Results] | None = None,
    *,
    repeats: Sequence[Results] = (),
    terms: Terms = USUAL_TERMS,
    intervals: bool = False,
) -> GateReport:
    """Hold a results file against objectives, and against earlier results files where there are any.

    Besides the objectives it always holds the ledger's equation, that no worker was lost and no stream left
    unjudged by a fault of the harness, that a load got as far as the end of a run, and the conformance
    verdicts. Percentiles and shares are compared with the baseline. Where the harness was saturated, latencies
    and what follows from them are inconclusive.

    repeats: of the same test; they are compared together with it, and what does not hold in one of them is a
    row as well. intervals: whether rows have their confidence interval. Raises ResultsError.
    """
    objectives = tuple(objectives)
    saturation = tuple(metrics.saturation(results))
    rows = list(_rows(results, objectives, saturated=bool(saturation)))
    if intervals:
        named = {one.name: one for one in objectives}
        rows = [_with_interval(row, named.get(row.name), results) for row in rows]
    for number, repeat in enumerate(repeats, 1):
        again = _rows(repeat, objectives, saturated=bool(metrics.saturation(repeat)))
        rows += [replace(row, name=f"repeat {number}: {row.name}") for row in again if row.verdict != "held"]
    report = GateReport(tuple(rows), (), results.tested, saturation, (), terms.inconclusive_fails)
    then = [baseline] if isinstance(baseline, Results) else list(baseline or [])
    return _with_baseline(report, objectives, [results, *repeats], then, terms) if then else report


def _with_baseline(
    report: GateReport,
    objectives: tuple[Objective, ...],
    now: Sequence[Results],
    then: Sequence[Results],
    terms: Terms,
) -> GateReport:
    given = len(now) + len(then)
    now, then = distinct(now), distinct(then)
    said: tuple[str, ...] = ()
    if len(now) + len(then) < given:
        said += ("some of these files are copies of one test, and count once",)
    others = [file for file in then if not any(is_same_test(file, one) for one in now)]
    if others and len(others) < len(then):
        said += ("these results are in the baseline already; they are not compared with themselves",)
        then = others
    comparable = [one for one in objectives if one.key != "violations"]
    # A maximum never gets an interval, and so costs the others nothing of their confidence.
    confidence = terms.confidence(sum(not _is_maximum(one.key) for one in comparable))
    why = _incomparable(now, then)
    compared = [_compared(one, now, then, terms.effects, confidence) for one in comparable]
    said += tuple(dict.fromkeys(note for file in then for note in notes(now[0], file)))
    if not comparable:
        said += ("no objective can be compared with the baseline: give one of a latency or a rate",)
    return replace(
        report,
        comparisons=tuple(_doubted(one, why) for one in compared) if why else tuple(compared),
        notes=said,
        confidence=confidence,
    )


def _is_maximum(key: str) -> bool:
    return key.endswith("_max_ms")


def _rows(results: Results, objectives: tuple[Objective, ...], *, saturated: bool) -> Iterator[GateRow]:
    for one in objectives:
        yield _objective_row(results, one, objectives, saturated=saturated)
    yield from _load_rows(results)
    yield from _conformance_rows(results)


def _with_interval(row: GateRow, objective: Objective | None, results: Results) -> GateRow:
    interval = None if objective is None or row.value is None else objective.interval(results)
    if interval is None:
        return row
    detail = row.detail
    if row.verdict in ("held", "missed") and interval[0] <= row.limit <= interval[1]:
        detail = detail or "close: the limit lies within the interval"
    return replace(row, interval=interval, detail=detail)


def _incomparable(now: Sequence[Results], then: Sequence[Results]) -> str:
    """Why no difference between these would be the server's; empty where it would be."""
    for file in then:
        why = another_load(now[0], file)
        if why:
            return why
    unsound = (
        ("was saturated", metrics.saturation),
        ("broke on streams that it did not judge", lambda file: file.harness_faults),
    )
    for said, is_so in unsound:
        places = (("here", now), ("in the baseline", then))
        where = [place for place, files in places if any(is_so(file) for file in files)]
        if where:
            return f"the harness {said} {' and '.join(where)}"
    return ""


def _doubted(comparison: Comparison, why: str) -> Comparison:
    detail = comparison.detail if comparison.low is None and comparison.detail else why
    return replace(
        comparison, verdict="inconclusive", detail=detail, low=None, high=None, repeats_may_tell=False
    )


def _compared(
    objective: Objective,
    now: Sequence[Results],
    then: Sequence[Results],
    effects: Effects,
    confidence: float,
) -> Comparison:
    if objective.percentile is None:
        return compare_shares(
            now,
            then,
            objective.name,
            "goodput" if objective.key == GOODPUT else "error_rate",
            journey=objective.journey,
            effects=effects,
            confidence=confidence,
        )
    return compare(
        now,
        then,
        objective.name,
        *objective.percentile,
        journey=objective.journey,
        effects=effects,
        confidence=confidence,
    )


def _objective_row(
    results: Results, objective: Objective, objectives: Iterable[Objective], *, saturated: bool
) -> GateRow:
    value = objective.value(results)
    if value is None:
        return _row(
            objective.name,
            None,
            objective.limit,
            _no_such_journey(results, objective),
            at_least=objective.at_least,
        )
    if objective.key == GOODPUT:
        problem = _counted_otherwise(results, objectives)
        if problem:
            return _row(objective.name, None, objective.limit, problem, at_least=True)
    row = _row(objective.name, value, objective.limit, at_least=objective.at_least)
    if saturated and _is_in_doubt(row, objective, results):
        return replace(row, verdict="inconclusive", detail="the harness was saturated")
    return row


def _no_such_journey(results: Results, objective: Objective) -> str:
    """That the objective's journey was never travelled, and which may be meant; empty when it was."""
    there = results.journeys()
    if objective.journey is None or objective.journey in there:
        return ""
    near = get_close_matches(objective.journey, there, n=1)
    hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(there) or 'none'}"
    return f"no journey {objective.journey!r} was travelled; {hint}"


def _is_in_doubt(row: GateRow, objective: Objective, results: Results) -> bool:
    """Whether a saturated harness may have made this verdict.

    Its own slowness lengthens latencies, and it may have put less load on than it was asked to. It can make
    streams time out, or find no connection, so an error rate that only they made too high may be its doing; it
    can neither make them succeed nor break what the server sends.
    """
    if objective.key == "error_rate":
        ledger, tally = results.ledger(objective.journey), results.tally(objective.journey)
        surely_failed = tally.failed - ledger["timed out"] - ledger["refused"]
        return row.verdict == "missed" and surely_failed <= objective.limit * tally.judged
    if objective.percentile is not None:
        return objective.percentile[0] not in metrics.HARNESS_METRICS
    return objective.key == GOODPUT


def _counted_otherwise(results: Results, objectives: Iterable[Objective]) -> str:
    """Why good runs were not counted by these objectives; empty when they were. Raises ResultsError."""
    settings = results.manifest.get("settings")
    at_the_test = settings.get("objectives") if isinstance(settings, dict) else None
    if not isinstance(at_the_test, dict):
        return ""
    try:
        counted_by = parse_objectives(at_the_test)
    except ValueError as problem:
        raise ResultsError(f"{results.path}: its objectives are not of this version: {problem}") from None
    objectives = tuple(objectives)
    limits = run_limits(counted_by)
    if (limits, journey_limits(counted_by)) == (run_limits(objectives), journey_limits(objectives)):
        return ""
    said = [f"{name} {limit:g}" for name, limit in limits.items()] or ["no limit"]
    for journey, own in journey_limits(counted_by).items():
        said += [f"{journey}.{name} {limit:g}" for name, limit in own.items() if limits.get(name) != limit]
    return f"good runs were counted during the test, by {', '.join(said)}; other limits need another test"


def _row(
    name: str, value: float | None, limit: float, detail: str = "", *, at_least: bool = False
) -> GateRow:
    if value is None:
        return GateRow(name, None, limit, "not measured", detail, at_least)
    holds = value >= limit if at_least else value <= limit
    return GateRow(name, value, limit, "held" if holds else "missed", detail, at_least)


def _load_rows(results: Results) -> Iterator[GateRow]:
    ledger = results.ledger()
    counts = ledger.as_dict()
    if not any(counts.values()):
        return
    accounted = ledger.scheduled - ledger.missing
    detail = f"{ledger.scheduled} streams scheduled, {accounted} accounted for"
    if ledger["dropped"]:
        detail += f", {ledger['dropped']} of them dropped before they began"
    yield _row("ledger", float(abs(ledger.missing)), 0.0, detail)
    if ledger["dropped"] > DROPPED_AT_MOST * ledger.scheduled:
        said = (
            f"{ledger['dropped']} of {ledger.scheduled} streams never began, as max_in_flight were under way"
        )
        yield GateRow(
            "dropped", float(ledger["dropped"]), 0.0, "inconclusive", f"{said}: less load than was asked for"
        )
    faults = results.harness_faults
    if faults:
        detail = metrics.fault_sentence(faults)
        yield GateRow("harness", float(sum(faults.values())), 0.0, "inconclusive", detail)
    if ledger["lost"] or results.manifest.get("workers_lost"):
        yield GateRow("lost", float(ledger["lost"]), 0.0, "inconclusive", _lost(results))
    if results.manifest.get("load_state") == "running":
        detail = "the load never wrote its end: it was killed, or it still goes on"
        yield GateRow("load", None, 0.0, "inconclusive", detail)
    elif results.manifest.get("load_state") == "interrupted":
        yield GateRow("load", None, 0.0, "inconclusive", "the load was broken off before its end")
    # Otherwise a load that was refused throughout would be green beside a conformance suite that passed.
    elif not any(counts[outcome] for outcome in TERMINAL):
        yield GateRow("load", None, 0.0, "not measured", "no stream of the load reached the end of its run")


def _lost(results: Results) -> str:
    """Which workers died, and from when on nothing is known of them."""
    manifest = results.manifest
    until = manifest.get("counted_until")
    told = until if isinstance(until, dict) else {}
    names = manifest.get("workers_lost")
    said = [
        f"{name} (last heard of at {told[name]})" if told.get(name) else str(name)
        for name in (names if isinstance(names, list) else [])
    ]
    return f"{', '.join(said) or 'a worker'} died before the end, with what had not been told yet"


def _conformance_rows(results: Results) -> Iterator[GateRow]:
    checks = results.checks()
    failing = [check for check in checks if check.verdict in _FAILING_VERDICTS]
    broken_off = results.manifest.get("suite_state", "finished") != "finished"
    if broken_off and not failing:
        detail = "the conformance suite was broken off before its end"
        yield GateRow("conformance", None, 0.0, "inconclusive", detail)
    elif checks:
        detail = ", ".join(f"{check.id} ({check.verdict})" for check in failing)
        yield _row("conformance", float(len(failing)), 0.0, detail)
