"""The gate: what a results file is held to, and whether it holds; what was not measured is never green.

Nor is what a harness measured that was too busy to measure it: there a latency is neither held nor missed.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from difflib import get_close_matches
from typing import Literal, Self

from harness.gate.baseline import Comparison, compare
from harness.results import metrics
from harness.results.ledger import TERMINAL
from harness.results.store import Results, ResultsError

RowVerdict = Literal["held", "missed", "inconclusive", "not measured"]
Outcome = Literal["held", "missed", "inconclusive", "not measured", "nothing tested"]

_PERCENTILE_KEYS = {
    f"{metric.removesuffix('_ms')}_{word}_ms": (metric, word)
    for metric in metrics.METRICS
    if metrics.METRICS[metric].unit == "ms"
    for word in metrics.PERCENTILES
}
GOODPUT = "goodput"
_SHARES = ("error_rate", GOODPUT)
KEYS = (*_PERCENTILE_KEYS, "error_rate", GOODPUT, "violations")
"""Every objective that can be set."""

EVERY_RUN_HAS = ("ttft_ms", "service_ttft_ms", "first_event_ms", "duration_ms")
"""Metrics that every run has which comes to its end, where it is first asked for."""

SOME_RUNS_HAVE = ("stall_ms", "resume_ms")
"""Metrics of a single run that need two tokens, or a cut."""

_FAILING_VERDICTS = ("fail", "error", "stale")


@dataclass(frozen=True, slots=True)
class Objective:
    """A limit: in ms for a percentile of a metric, a share for error_rate and goodput, a count for violations.

    It is an upper one, save for goodput.
    """

    key: str
    limit: float

    @classmethod
    def parse(cls, key: str, limit: float) -> Self:
        """The objective of that key, such as ttft_p95_ms, stall_max_ms, error_rate or violations.

        Raises ValueError for a key that is not of KEYS, naming the nearest, and for a limit that is no
        finite number from 0 up.
        """
        if key not in KEYS:
            near = get_close_matches(key.lower(), KEYS, n=1, cutoff=0)[0]
            raise ValueError(f"objective {key!r} is unknown; did you mean {near!r}?")
        if isinstance(limit, bool) or not isinstance(limit, int | float) or not 0 <= limit < math.inf:
            raise ValueError(f"objective {key}: the limit must be a number from 0 up, not {limit!r}")
        if key in _SHARES and limit > 1:
            whose = "runs" if key == GOODPUT else "streams"
            raise ValueError(
                f"objective {key}: the limit is a share of the {whose}, from 0 to 1, not {limit!r}"
            )
        return cls(key, float(limit))

    @property
    def at_least(self) -> bool:
        """Whether it is a lower limit: the value must reach it."""
        return self.key == GOODPUT

    @property
    def limit_said(self) -> str:
        """The limit with its unit, as `parse_expression` takes it: 800 ms, 0.1%, 0."""
        if self.key in _SHARES:
            return f"{self.limit * 100:.12g}%"
        return f"{self.limit:.12g} ms" if self.percentile is not None else f"{self.limit:.12g}"

    @property
    def expression(self) -> str:
        """The objective as a text that `parse_expression` takes: ttft_p95_ms <= 800 ms."""
        return f"{self.key} {'>=' if self.at_least else '<='} {self.limit_said}"

    @property
    def percentile(self) -> tuple[str, str] | None:
        """Metric and percentile word, ("ttft_ms", "p95"); None for rates and violations."""
        return _PERCENTILE_KEYS.get(self.key)

    def value(self, results: Results) -> float | None:
        """What the results say of it, in the limit's unit; None when it was not measured."""
        if self.percentile is not None:
            metric, word = self.percentile
            return results.histogram(metric).percentile(metrics.PERCENTILES[word])
        if self.key == "error_rate":
            return metrics.error_rate(results)
        if self.key == GOODPUT:
            return metrics.goodput(results)
        return float(sum(metrics.violations(results).values()))


@dataclass(frozen=True, slots=True)
class GateRow:
    """One thing that was held against a limit. detail says in words what the number does not.

    at_least: the limit is a lower one.
    """

    name: str
    value: float | None
    limit: float
    verdict: RowVerdict
    detail: str = ""
    at_least: bool = False

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

    saturation: why the harness was too busy for its latencies to be judged; empty when it was not.
    """

    rows: tuple[GateRow, ...]
    comparisons: tuple[Comparison, ...]
    tested: bool
    saturation: tuple[str, ...] = ()

    @property
    def outcome(self) -> Outcome:
        """The whole in a word: "held" only when something was tested and every row held."""
        verdicts = {row.verdict for row in self.rows}
        if not self.tested:
            return "nothing tested"
        if "missed" in verdicts or any(comparison.verdict == "worse" for comparison in self.comparisons):
            return "missed"
        if "inconclusive" in verdicts:
            return "inconclusive"
        return "not measured" if "not measured" in verdicts else "held"

    @property
    def exit_code(self) -> int:
        """0 held, 2 nothing tested, 1 everything between: missed, inconclusive, an objective not measured."""
        return {"held": 0, "nothing tested": 2}.get(self.outcome, 1)


def parse_objectives(limits: Mapping[str, float]) -> tuple[Objective, ...]:
    """Objectives from keys and limits, as the settings hold them. Raises ValueError as Objective.parse."""
    return tuple(Objective.parse(key, limit) for key, limit in limits.items())


_EXPRESSION = re.compile(
    r"\s*(?P<key>[A-Za-z_]\w*)\s*(?P<sign>[<>=≤≥!]+)\s*(?P<number>[^\s%a-zA-Z]*(e[-+]?[0-9]+)?)\s*(?P<unit>%|\w*)\s*"
)
_AT_MOST, _AT_LEAST = ("<", "<=", "≤"), (">", ">=", "≥")
_MS = {"": 1.0, "ms": 1.0, "s": 1000.0, "m": 60_000.0}
_SHARE = {"": 1.0, "%": 0.01}


def parse_expression(text: str) -> Objective:
    """The objective that "ttft_p95_ms < 800", "error_rate <= 1%" or "goodput >= 99%" says.

    A latency is in ms, or has a unit: 0.8s. A share is from 0 to 1, or in percent. `<` is taken for `<=` and
    `>` for `>=`: of a measured quantity nobody can tell them apart. Violations are counted, so there `< 1` is 0.

    Raises ValueError, one sentence that quotes the text and says what to write.
    """
    wrong = f"objective {text.strip()!r}"
    found = _EXPRESSION.fullmatch(text)
    if found is None:
        raise ValueError(f"{wrong} {_not_an_expression(text)}")
    key, sign, number, unit = found.group("key", "sign", "number", "unit")
    if key not in KEYS:
        Objective.parse(key, 0)  # which says what it is that was meant
    signs = _AT_LEAST if key == GOODPUT else _AT_MOST
    if sign not in signs:
        kind = "a lower limit" if key == GOODPUT else "an upper limit"
        raise ValueError(f"{wrong}: {key} has {kind}; write {key} {signs[1]} {number}{unit}")
    return Objective.parse(key, _limit(wrong, key, sign, number, unit))


def _not_an_expression(text: str) -> str:
    if re.fullmatch(r"\s*[0-9.]+\s*(%|\w*)\s*[<>=≤≥]+\s*\w+\s*", text):
        return "begins with its limit; write the name first, for example ttft_p95_ms < 800"
    name = re.match(r"\s*([A-Za-z_][\w ]*)", text)
    if name is None:
        return "begins with no name; write for example ttft_p95_ms < 800"
    key = get_close_matches("_".join(name[1].lower().split()), KEYS, n=1, cutoff=0)[0]
    example = {"error_rate": "error_rate < 1%", GOODPUT: "goodput >= 99%", "violations": "violations <= 0"}
    return f"is no comparison with one limit; write for example {example.get(key, f'{key} < 800')}"


def _limit(wrong: str, key: str, sign: str, number: str, unit: str) -> float:
    """The limit in the objective's own unit."""
    units = _SHARE if key in _SHARES else {"": 1.0} if key == "violations" else _MS
    if not re.fullmatch(r"([0-9]+(\.[0-9]*)?|\.[0-9]+)(e[-+]?[0-9]+)?", number):
        said = f"{number!r} is no number from 0 up" if number else f"there is no number after {sign}"
        raise ValueError(f"{wrong}: {said}; write digits, with a point for decimals")
    if unit not in units:
        known = ", ".join(filter(None, units))
        raise ValueError(
            f"{wrong}: {key} is not in {unit!r}{f'; write {known}' if known else ', but a count'}"
        )
    value = float(number)
    if key in _SHARES and not unit and value > 1:
        raise ValueError(f"{wrong}: {key} is a share, so {number} is over 100%; write {number}%")
    if sign == "<" and value == 0:
        raise ValueError(f"{wrong}: nothing is below 0; write {key} <= 0")
    if key == "violations":
        if not value.is_integer():
            raise ValueError(f"{wrong}: violations are counted; write a whole number")
        return value - 1 if sign == "<" else value
    return float(f"{value * units[unit]:.12g}")  # 0.1% is 0.001, whatever binary fractions make of it


def run_limits(objectives: Iterable[Objective]) -> dict[str, float]:
    """What a single run has to meet, by metric, in ms: what goodput asks of it.

    Of the percentiles of one metric the highest that is limited counts, as that is the limit nearly every
    run is to meet. A run has many gaps between tokens and no percentile of them that the test's could be
    held against; only their maximum is that of the runs' stalls.
    """
    limits: dict[str, tuple[float, float]] = {}
    for objective in objectives:
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


def judge(results: Results, objectives: Iterable[Objective], baseline: Results | None = None) -> GateReport:
    """Hold a results file against objectives, and against an earlier results file where one is given.

    Besides the objectives it always holds the ledger's equation, that no worker was lost, that a load got
    as far as the end of a run, and the conformance verdicts. Of the objectives, percentiles are compared
    with the baseline. Where the harness was saturated, latencies and what follows from them are inconclusive.
    """
    objectives = tuple(objectives)
    saturation = tuple(metrics.saturation(results))
    rows = [_objective_row(results, one, objectives, saturated=bool(saturation)) for one in objectives]
    rows += [*_load_rows(results), *_conformance_rows(results)]
    comparisons = tuple(_comparisons(results, objectives, baseline))
    return GateReport(tuple(rows), comparisons, results.tested, saturation)


def _comparisons(
    results: Results, objectives: Iterable[Objective], baseline: Results | None
) -> Iterator[Comparison]:
    if baseline is None:
        return
    saturated = [
        where
        for where, file in (("here", results), ("in the baseline", baseline))
        if metrics.saturation(file)
    ]
    for objective in objectives:
        if objective.percentile is not None:
            found = compare(results, baseline, objective.key, *objective.percentile)
            if saturated and found.verdict != "inconclusive":
                detail = f"the harness was saturated {' and '.join(saturated)}"
                found = replace(found, verdict="inconclusive", detail=detail)
            yield found


def _objective_row(
    results: Results, objective: Objective, objectives: Iterable[Objective], *, saturated: bool
) -> GateRow:
    value = objective.value(results)
    if objective.key == GOODPUT and value is not None:
        problem = _counted_otherwise(results, objectives)
        if problem:
            return _row(objective.key, None, objective.limit, problem, at_least=True)
    row = _row(objective.key, value, objective.limit, at_least=objective.at_least)
    if saturated and value is not None and _is_in_doubt(row, objective):
        return replace(row, verdict="inconclusive", detail="the harness was saturated")
    return row


def _is_in_doubt(row: GateRow, objective: Objective) -> bool:
    """Whether a saturated harness may have made this verdict.

    Its own slowness lengthens latencies, and it may have put less load on than it was asked to. It can make
    streams time out, so a missed error rate may be its doing; it cannot make them succeed.
    """
    if objective.key == "error_rate":
        return row.verdict == "missed"
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
        counted_by = run_limits(parse_objectives(at_the_test))
    except ValueError as problem:
        raise ResultsError(f"{results.path}: its objectives are not of this version: {problem}") from None
    if counted_by == run_limits(objectives):
        return ""
    said = ", ".join(f"{name} {limit:g}" for name, limit in counted_by.items()) or "no limit"
    return f"good runs were counted during the test, by {said}; other limits need another test"


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
    if checks:
        failing = [check for check in checks if check.verdict in _FAILING_VERDICTS]
        detail = ", ".join(f"{check.id} ({check.verdict})" for check in failing)
        yield _row("conformance", float(len(failing)), 0.0, detail)
