"""The gate: checks a results file against objectives and a baseline.

What was not measured never passes. A value passes or fails if it does so for every error that the harness's own delays
can have caused; otherwise it is inconclusive.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from difflib import get_close_matches

from harness.formatting import counted
from harness.gate.baseline_store import differences, is_same_test, load_difference, without_copies
from harness.gate.comparison import Comparison, compare, compare_shares
from harness.gate.confidence_intervals import cases_to_decide, rounded_up
from harness.gate.console import format_value
from harness.gate.error_bars import ErrorBars
from harness.gate.goodput import journey_limits, run_limits
from harness.gate.objective import GOODPUT, SESSION_SUCCESS, SHARES, Objective, parse_objectives
from harness.gate.report import SATURATED_ROW, USUAL_TERMS, ComparisonTerms, GateReport, GateRow, is_maximum
from harness.gate.usual_comparisons import usual_comparisons
from harness.results.journeys import is_known, with_parents
from harness.results.ledger import TERMINAL
from harness.results.measurement_error import ErrorBounds
from harness.results.reader import Results
from harness.results.restart_cost import RestartCost
from harness.results.saturation import fault_sentence, saturation_reasons
from harness.results.schema import ResultsError

DROPPED_AT_MOST = 0.01
"""Share of scheduled streams that may be dropped; with more, the load was lower than requested."""

LIMIT_IN_INTERVAL = "the limit is within the interval, so a longer test may have the other verdict"

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
    """Check a results file against objectives, and compare it with a baseline if there is one.

    In addition to the objectives it always checks that the ledger adds up, that no worker was lost, that no harness
    fault left a stream unjudged, that the load completed at least one run, and the conformance verdicts.
    Percentiles and shares are compared with the baseline: those of the objectives and, with terms.usual, those that
    every client notices.

    repeats: results of the same test; they are pooled with it for the comparison, and rows that do not pass in one of
    them are included. intervals: whether rows get a confidence interval. Raises ResultsError.
    """
    objectives, left_out = _applicable(results, tuple(objectives))
    bars = ErrorBars(results, objectives)
    rows = list(_rows(results, objectives, bars))
    if intervals:
        by_name = {objective.name: objective for objective in objectives}
        rows = [_with_interval(row, by_name.get(row.name), results) for row in rows]
    for number, repeat in enumerate(repeats, 1):
        repeat_rows = _rows(repeat, objectives, ErrorBars(repeat, objectives))
        rows += [
            replace(row, name=f"repeat {number}: {row.name}")
            for row in repeat_rows
            if row.verdict != "passed"
        ]
    report = GateReport(tuple(rows), (), results.tested, bars.saturation, left_out, terms.inconclusive_fails)
    then = [baseline] if isinstance(baseline, Results) else list(baseline or [])
    return _with_baseline(report, objectives, [results, *repeats], then, terms) if then else report


def _applicable(
    results: Results, objectives: tuple[Objective, ...]
) -> tuple[tuple[Objective, ...], tuple[str, ...]]:
    """The objectives that apply to the test, and a note about the others.

    Settings are shared by all commands, so a test without a load has the load's limits, too. A limit that its settings
    do not have was given for this test: it stays, and is not measured.
    """
    if results.has_load:
        return objectives, ()
    settings = results.manifest.get("settings")
    limits = settings.get("objectives") if isinstance(settings, dict) else None
    own = limits if isinstance(limits, dict) else {}
    left_out = [
        objective
        for objective in objectives
        if objective.key != "violations" and own.get(objective.name) == objective.limit
    ]
    if not left_out:
        return objectives, ()
    names = ", ".join(objective.name for objective in left_out)
    note = f"not applicable, because this test has no load: {names}"
    return tuple(objective for objective in objectives if objective not in left_out), (note,)


def _with_baseline(
    report: GateReport,
    objectives: tuple[Objective, ...],
    now: Sequence[Results],
    then: Sequence[Results],
    terms: ComparisonTerms,
) -> GateReport:
    files = len(now) + len(then)
    now, then = without_copies(now), without_copies(then)
    notes = report.notes
    if len(now) + len(then) < files:
        notes += ("some of these files are copies of one test and count once",)
    others = [file for file in then if not any(is_same_test(file, current) for current in now)]
    if others and len(others) < len(then):
        notes += ("these results are already in the baseline and are not compared with themselves",)
        then = others
    comparable = [objective for objective in objectives if objective.key != "violations"]
    if terms.usual:
        added, left_out = usual_comparisons(objectives, now, then)
        comparable += added
        notes += tuple(left_out)
    # A maximum never gets an interval, so it does not count for the Bonferroni correction.
    confidence = terms.confidence(sum(not is_maximum(objective.key) for objective in comparable))
    reason = _incomparable(now, then)
    comparisons = [_compared(objective, now, then, terms, confidence) for objective in comparable]
    notes += tuple(dict.fromkeys(note for file in then for note in differences(now[0], file)))
    if not comparable:
        notes += ("nothing can be compared with the baseline: only a load has latencies and rates",)
    return replace(
        report,
        comparisons=tuple(
            _without_verdict(comparison, reason) if reason else comparison for comparison in comparisons
        ),
        notes=notes,
        confidence=confidence,
    )


def _rows(results: Results, objectives: tuple[Objective, ...], bars: ErrorBars) -> Iterator[GateRow]:
    for objective in objectives:
        yield _objective_row(results, objective, objectives, bars)
    yield from _load_rows(results)
    if bars.saturation:
        why = "; ".join(bars.saturation)
        yield GateRow(SATURATED_ROW, float(len(bars.saturation)), 0.0, "inconclusive", why)
    yield from _conformance_rows(results)


def _with_interval(row: GateRow, objective: Objective | None, results: Results) -> GateRow:
    interval = None if objective is None or row.value is None else objective.interval(results)
    if interval is None:
        return row
    row = replace(row, interval=interval)
    if row.verdict in ("passed", "failed") and row.limit_in_interval and not row.detail:
        return replace(row, detail=LIMIT_IN_INTERVAL + _enough_cases(row, objective, results))
    return row


def _enough_cases(row: GateRow, objective: Objective | None, results: Results) -> str:
    """How many streams or runs would decide about a share whose limit is within its interval; empty for the others."""
    if objective is None or objective.key not in SHARES or row.value is None or row.interval is None:
        return ""
    needed = cases_to_decide(row.value, row.limit)
    if needed is None:
        return ""
    counts = results.rate_counts(objective.journey)
    word, cases = {
        GOODPUT: ("run", counts.runs),
        SESSION_SUCCESS: ("session", counts.sessions),
    }.get(objective.key, ("stream", counts.judged))
    if cases >= needed:  # failures came together: the interval narrows with the square root of the number
        margin = row.interval[1] - row.value if row.limit > row.value else row.value - row.interval[0]
        needed = rounded_up(cases * (margin / (row.limit - row.value)) ** 2)
    return f": about {needed:,} {word}s would decide it, and there were {cases:,}"


def _incomparable(now: Sequence[Results], then: Sequence[Results]) -> str:
    """Why a difference could have causes other than the server; empty if comparable."""
    for file in then:
        reason = load_difference(now[0], file)
        if reason:
            return reason
    unsound = (
        ("was saturated", saturation_reasons),
        ("had faults and left streams unjudged", lambda file: file.harness_faults),
    )
    for problem, has_problem in unsound:
        sides = (("in this test", now), ("in the baseline", then))
        where = [side for side, files in sides if any(has_problem(file) for file in files)]
        if where:
            return f"the harness {problem} {' and '.join(where)}"
    return ""


def _without_verdict(comparison: Comparison, reason: str) -> Comparison:
    detail = comparison.detail if comparison.low is None and comparison.detail else reason
    return replace(
        comparison, verdict="inconclusive", detail=detail, low=None, high=None, repeats_may_tell=False
    )


def _compared(
    objective: Objective,
    now: Sequence[Results],
    then: Sequence[Results],
    terms: ComparisonTerms,
    confidence: float,
) -> Comparison:
    if objective.percentile is None:
        return compare_shares(
            now,
            then,
            objective.name,
            objective.share or "error_rate",
            journey=objective.journey,
            effects=terms.effects,
            confidence=confidence,
            looks=terms.looks,
        )
    return compare(
        now,
        then,
        objective.name,
        *objective.percentile,
        journey=objective.journey,
        effects=terms.effects,
        confidence=confidence,
        looks=terms.looks,
    )


def _objective_row(
    results: Results, objective: Objective, objectives: Iterable[Objective], bars: ErrorBars
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
        problem = _goodput_limits_differ(results, objectives)
        if problem:
            return _row(objective.name, None, objective.limit, problem, at_least=True)
    row = _row(objective.name, value, objective.limit, at_least=objective.at_least)
    error = bars.of(objective)
    return row if error is None else _with_error(row, error, saturated=bool(bars.saturation))


def _with_error(row: GateRow, error: ErrorBounds, *, saturated: bool) -> GateRow:
    """The row with the verdict that holds for the whole error bar, if there is one."""
    row = replace(row, error=error)
    ends = (error.low, error.high)
    met = [end >= row.limit if row.at_least else end <= row.limit for end in ends]
    if all(met) or not any(met):
        return row
    if saturated:
        return replace(row, verdict="inconclusive", detail="the harness was saturated")
    low, high = (format_value(row.name, end) for end in ends)
    detail = f"the limit is within the harness's own error: without its delays, the value is between {low} and {high}"
    return replace(row, verdict="inconclusive", detail=detail)


def _no_such_journey(results: Results, objective: Objective) -> str:
    """Error if no stream of the objective's journey was run, with the closest match; otherwise empty."""
    journeys = results.journeys()
    if objective.journey is None or is_known(objective.journey, journeys):
        return ""
    close = get_close_matches(objective.journey, with_parents(journeys), n=1)
    hint = (
        f"did you mean {close[0]!r}?" if close else f"journeys in this test: {', '.join(journeys) or 'none'}"
    )
    return f"no journey {objective.journey!r} in this test; {hint}"


def _goodput_limits_differ(results: Results, objectives: Iterable[Objective]) -> str:
    """Error if good runs were counted with different limits during the test; otherwise empty. Raises ResultsError."""
    settings = results.manifest.get("settings")
    test_limits = settings.get("objectives") if isinstance(settings, dict) else None
    if not isinstance(test_limits, dict):
        return ""
    try:
        counted_by = parse_objectives(test_limits)
    except ValueError as problem:
        raise ResultsError(
            f"{results.path}: this version cannot evaluate the file's objectives: {problem}"
        ) from None
    objectives = tuple(objectives)
    limits = run_limits(counted_by)
    if (limits, journey_limits(counted_by)) == (run_limits(objectives), journey_limits(objectives)):
        return ""
    texts = [f"{name} {limit:g}" for name, limit in limits.items()] or ["no limit"]
    for journey, own in journey_limits(counted_by).items():
        texts += [f"{journey}.{name} {limit:g}" for name, limit in own.items() if limits.get(name) != limit]
    return f"good runs were counted during the test with {', '.join(texts)}; different limits need a new test"


def _row(
    name: str, value: float | None, limit: float, detail: str = "", *, at_least: bool = False
) -> GateRow:
    if value is None:
        return GateRow(name, None, limit, "not measured", detail, at_least)
    passed = value >= limit if at_least else value <= limit
    return GateRow(name, value, limit, "passed" if passed else "failed", detail, at_least)


def _load_rows(results: Results) -> Iterator[GateRow]:
    ledger = results.ledger()
    counts = ledger.as_dict()
    if not any(counts.values()):
        return
    accounted = ledger.scheduled - ledger.missing
    detail = f"{counted(ledger.scheduled, 'stream')} scheduled, {accounted:,} accounted for"
    if ledger["dropped"]:
        detail += f", {ledger['dropped']:,} of them dropped before they started"
    yield _row("ledger", float(abs(ledger.missing)), 0.0, detail)
    if ledger["dropped"] > DROPPED_AT_MOST * ledger.scheduled:
        detail = (
            f"{ledger['dropped']:,} of {counted(ledger.scheduled, 'stream')} never started because max_in_flight "
            "streams were open: the load was lower than requested"
        )
        yield GateRow("dropped", float(ledger["dropped"]), 0.0, "inconclusive", detail)
    faults = results.harness_faults
    if faults:
        detail = fault_sentence(faults)
        yield GateRow("harness", float(sum(faults.values())), 0.0, "inconclusive", detail)
    if ledger["lost"] or results.manifest.get("workers_lost"):
        yield GateRow("lost", float(ledger["lost"]), 0.0, "inconclusive", _lost(results))
    yield from _restart_rows(results)
    if results.manifest.get("load_state") == "running":
        detail = "the load has no end in the results: it was killed or is still running"
        yield GateRow("load", None, 0.0, "inconclusive", detail)
    elif results.manifest.get("load_state") == "interrupted":
        yield GateRow("load", None, 0.0, "inconclusive", "the load was interrupted")
    elif results.load_aborted:
        yield GateRow("load", None, 0.0, "inconclusive", results.load_aborted)
    # Otherwise a load with only refused streams would pass if the conformance suite passed.
    elif not any(counts[outcome] for outcome in TERMINAL):
        yield GateRow("load", None, 0.0, "not measured", "no stream of the load completed a run")


def _restart_rows(results: Results) -> Iterator[GateRow]:
    """A configured restart that failed: what the load was to test was not tested."""
    restart = RestartCost.in_manifest(results.manifest)
    if restart is not None and restart.problem is not None:
        yield GateRow("restart", None, 0.0, "inconclusive", restart.sentences()[0])


def _lost(results: Results) -> str:
    """Which workers were lost, and the time of their last report."""
    manifest = results.manifest
    until = manifest.get("counted_until")
    last_reports = until if isinstance(until, dict) else {}
    names = manifest.get("workers_lost")
    workers = [
        f"{name} (last report {last_reports[name]})" if last_reports.get(name) else str(name)
        for name in (names if isinstance(names, list) else [])
    ]
    verb = "were" if len(workers) > 1 else "was"
    return f"{', '.join(workers) or 'a worker'} {verb} lost; results after the last report are missing"


def _conformance_rows(results: Results) -> Iterator[GateRow]:
    checks = results.checks()
    failing = [check for check in checks if check.verdict in _FAILING_VERDICTS]
    interrupted = results.manifest.get("suite_state", "finished") != "finished"
    if interrupted and not failing:
        detail = "the conformance suite was interrupted"
        yield GateRow("conformance", None, 0.0, "inconclusive", detail)
    elif checks:
        detail = ", ".join(f"{check.id} ({check.verdict})" for check in failing)
        yield _row("conformance", float(len(failing)), 0.0, detail)
