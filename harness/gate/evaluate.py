"""The gate: what a results file is held to, and whether it holds; what was not measured is never green.

Nor is what a harness measured that was too busy to measure it: there a latency is neither held nor missed.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from difflib import get_close_matches

from harness.gate.baseline_store import another_load, distinct, is_same_test, notes
from harness.gate.comparison import Comparison, Effects, compare, compare_shares
from harness.gate.goodput import journey_limits, run_limits
from harness.gate.objective import GOODPUT, Objective, parse_objectives
from harness.gate.report import USUAL_TERMS, ComparisonTerms, GateReport, GateRow, is_maximum
from harness.results import metrics
from harness.results.ledger import TERMINAL
from harness.results.reader import Results
from harness.results.schema import ResultsError

DROPPED_AT_MOST = 0.01
"""The share of an open loop's streams that may be dropped before the test is no longer the one that was asked for."""

_FAILING_VERDICTS = ("fail", "error", "stale")


def evaluate(
    results: Results,
    objectives: Iterable[Objective],
    baseline: Results | Sequence[Results] | None = None,
    *,
    repeats: Sequence[Results] = (),
    terms: ComparisonTerms = USUAL_TERMS,
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
        rows += [
            replace(row, name=f"repeat {number}: {row.name}") for row in again if row.verdict != "passed"
        ]
    report = GateReport(tuple(rows), (), results.tested, saturation, (), terms.inconclusive_fails)
    then = [baseline] if isinstance(baseline, Results) else list(baseline or [])
    return _with_baseline(report, objectives, [results, *repeats], then, terms) if then else report


def _with_baseline(
    report: GateReport,
    objectives: tuple[Objective, ...],
    now: Sequence[Results],
    then: Sequence[Results],
    terms: ComparisonTerms,
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
    confidence = terms.confidence(sum(not is_maximum(one.key) for one in comparable))
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
    if row.verdict in ("passed", "failed") and interval[0] <= row.limit <= interval[1]:
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
        ledger, tally = results.ledger(objective.journey), results.rate_counts(objective.journey)
        surely_failed = tally.failed - ledger["timed out"] - ledger["refused"]
        return row.verdict == "failed" and surely_failed <= objective.limit * tally.judged
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
    return GateRow(name, value, limit, "passed" if holds else "failed", detail, at_least)


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
