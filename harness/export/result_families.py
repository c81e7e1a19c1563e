"""Every metric family of a results file: load, rates, checks, gate, harness and test."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any, get_args

from harness.export.load_families import load_families
from harness.export.metric_families import Family, make_family
from harness.gate.evaluate import evaluate
from harness.gate.objective import parse_objectives
from harness.gate.report import GateOutcome, RowVerdict
from harness.results import metrics
from harness.results.reader import Results
from harness.results.records import VERDICTS
from harness.results.saturation import processes, saturation_reasons
from harness.results.schema import ResultsError

_GATE_OUTCOMES: tuple[str, ...] = get_args(GateOutcome)
_ROW_VERDICTS: tuple[str, ...] = get_args(RowVerdict)


def result_families(results: Results) -> list[Family]:
    """Every family of a results file, without empty ones. Raises ResultsError."""
    target = _target(results.manifest)
    families = [
        *load_families(results, target),
        *_of_rates(results, target),
        *_of_checks(results, target),
        *_of_gate(results, target),
        *_of_harness(results, target),
        *_of_test(results, target),
    ]
    return [family for family in families if family.samples]


def _target(manifest: Mapping[str, Any]) -> str:
    target = manifest.get("target")
    return str(target.get("base_url") or "") if isinstance(target, dict) else ""


def _of_rates(results: Results, target: str) -> Iterator[Family]:
    for name, formula, rate in (
        ("error_rate", metrics.ERROR_RATE_FORMULA, metrics.error_rate),
        ("goodput", metrics.GOODPUT_FORMULA, metrics.goodput),
        ("session_success", metrics.SESSION_SUCCESS_FORMULA, metrics.session_success),
    ):
        yield make_family(
            name,
            "gauge",
            "1",
            f"{formula}. Excludes warm-up. Without a journey label: all journeys.",
            (
                ({"journey": journey or ""}, value)
                for journey in (None, *results.journeys())
                if (value := rate(results, journey)) is not None
            ),
            target,
        )


def _of_checks(results: Results, target: str) -> Iterator[Family]:
    checks = results.checks()
    if not checks:
        return
    yield make_family(
        "checks",
        "gauge",
        "{check}",
        "Requirements by conformance verdict.",
        (({"verdict": verdict}, sum(check.verdict == verdict for check in checks)) for verdict in VERDICTS),
        target,
    )
    yield make_family(
        "check.verdict",
        "gauge",
        "",
        "1 for the conformance verdict on a requirement.",
        (({"requirement": check.id, "level": check.level, "verdict": check.verdict}, 1) for check in checks),
        target,
    )


def _of_gate(results: Results, target: str) -> Iterator[Family]:
    settings = results.manifest.get("settings")
    limits = settings.get("objectives") if isinstance(settings, dict) else None
    try:
        objectives = parse_objectives(limits if isinstance(limits, dict) else {})
    except ValueError as problem:
        raise ResultsError(f"{results.path}: this version cannot read its objectives: {problem}") from None
    report = evaluate(results, objectives)
    unit = "in the unit in its name; shares are 0 to 1"
    yield make_family(
        "objective.value",
        "gauge",
        "",
        f"The value checked against the limit, {unit}.",
        (({"objective": row.name}, row.value) for row in report.rows if row.value is not None),
        target,
    )
    yield make_family(
        "objective.limit",
        "gauge",
        "",
        f"The limit, {unit}. An upper limit, except for goodput and session_success.",
        (({"objective": row.name}, row.limit) for row in report.rows),
        target,
    )
    yield make_family(
        "objective.verdict",
        "gauge",
        "",
        "1 for the verdict on an objective, 0 for the others.",
        (
            ({"objective": row.name, "verdict": verdict}, row.verdict == verdict)
            for row in report.rows
            for verdict in _ROW_VERDICTS
        ),
        target,
    )
    yield make_family(
        "gate.outcome",
        "gauge",
        "",
        "1 for the outcome of the gate, 0 for the others.",
        (({"outcome": outcome}, report.outcome == outcome) for outcome in _GATE_OUTCOMES),
        target,
    )


def _of_harness(results: Results, target: str) -> Iterator[Family]:
    if not results.ledger().scheduled:
        return
    yield make_family(
        "harness.saturated",
        "gauge",
        "",
        "1 if the harness was saturated: the load was lower than requested.",
        [({}, bool(saturation_reasons(results)))],
        target,
    )
    yield make_family(
        "harness.faults",
        "gauge",
        "",
        "Streams not judged because of a harness fault; they are in no rate.",
        [({}, sum(results.harness_faults.values()))],
        target,
    )
    usages = processes(results)
    yield make_family(
        "harness.cpu.max",
        "gauge",
        "1",
        "CPU time / wall time of a harness process in its busiest second; 1 is one core.",
        (({"worker": usage.worker}, usage.cpu_max) for usage in usages),
        target,
    )
    yield make_family(
        "harness.memory.max",
        "gauge",
        "By",
        "Peak resident memory of a harness process.",
        (({"worker": usage.worker}, usage.rss_max_bytes) for usage in usages),
        target,
    )


def _of_test(results: Results, target: str) -> Iterator[Family]:
    manifest = results.manifest
    versions = manifest.get("versions")
    known = versions if isinstance(versions, dict) else {}
    yield make_family(
        "harness.info",
        "gauge",
        "",
        "1; the versions that measured.",
        [
            (
                {
                    "version": str(known.get("agent-run-harness", "")),
                    "locust": str(known.get("locust", "")),
                    "python": str(known.get("python", "")),
                    "schema": str(results.schema_version),
                    "receive_stamp": str(manifest.get("receive_stamp") or ""),
                },
                1,
            )
        ],
        target,
    )
    yield make_family(
        "test.state",
        "gauge",
        "",
        "1 for the state of the test, 0 for the others.",
        (
            ({"state": state}, manifest.get("state") == state)
            for state in ("running", "finished", "interrupted", "aborted")
        ),
        target,
    )
    for event, name in (("started", "Start"), ("ended", "End")):
        yield make_family(
            f"test.{event}.timestamp",
            "gauge",
            "s",
            f"{name} of the test, Unix epoch.",
            (({}, at_s) for at_s in _epoch_s(manifest.get(f"{event}_at"))),
            target,
        )


def _epoch_s(text: Any) -> list[float]:
    try:
        return [datetime.fromisoformat(text).timestamp()]
    except (TypeError, ValueError, OverflowError):  # a killed test has no end
        return []
