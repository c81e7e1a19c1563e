"""Results files for report pages, with data like that of a real test."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any

from harness.contract.requirements import CATALOGUE
from harness.results.histogram import Histogram
from harness.results.records import CheckRecord, StreamRecord
from harness.results.writer import ResultsWriter

START = 1_790_000_000
"""Epoch second of the start of every sample."""

MANIFEST: dict[str, Any] = {
    "started_at": "2026-09-21T14:13:20+00:00",
    "ended_at": "2026-09-21T14:14:20+00:00",
    "state": "finished",
    "command": ["harness", "check", "--target", "https://agent.example.com"],
    "receive_stamp": "kernel",
    "versions": {"harness": "0.1.0", "python": "3.11.9", "locust": "2.47.0"},
    "machine": {"os": "Linux 6.1", "cpu": "AMD EPYC", "cores": 8},
    "target": {
        "base_url": "https://agent.example.com",
        "path": "/agent/workflow-actions",
        "organization_id": "org-1",
    },
    "settings": {
        "target": {"token": "**********"},
        "load": {"rate": 12.0, "journeys": {"fresh": 60, "replay": 10, "resume": 20, "conflict": 10}},
        "objectives": {"ttft_p95_ms": 800, "duration_p99_ms": 20000, "error_rate": 0.05, "violations": 0},
    },
}

HOSTILE = (
    "</pre></script><script>alert(1)</script><img src=x onerror=alert(2)>\"'&{{7*7}}\x00\x1b[31m\u202egnp.exe"
)
"""Text of a server that tries to break the page."""


def document(events: int = 6, *, text: str = "Result: 42", note: str = "") -> dict[str, Any]:
    """A recorded exchange of that many events, the last one terminal."""
    wire, decoded = [], []
    for index in range(events):
        last = index == events - 1
        data = json.dumps(
            {"type": "done", "runId": "run-7"} if last else {"type": "token", "content": f"{text} {index}"}
        )
        frame = f"id: 1790000000000-{index}\ndata: {data}\n\n"
        wire.append({"at_ms": 41.25 + 20 * index, "bytes": frame.replace("\n", "\\n"), "size": len(frame)})
        decoded.append(
            {"at_ms": 41.25 + 20 * index, "index": index, "id": f"1790000000000-{index}", "data": data}
        )
    return {
        "label": "run",
        "curl": "curl -N -X POST -H 'Authorization: Bearer •••' --data-raw '{}' \"$BASE_URL/agent/workflow-actions\"",
        "started_at": "2026-09-21T14:13:21.004000+00:00",
        "ending": "complete",
        "ending_detail": "",
        "status": 200,
        "head": "HTTP/1.1 200 OK\nContent-Type: text/event-stream\nCache-Control: no-store",
        "wire": wire,
        "events": decoded,
        "pointed_at": [{"event": 2, "frame": 2, "note": note}] if note else [],
    }


def write_conformance(
    writer: ResultsWriter, failing: dict[str, str] | None = None, text: str = "Result: 42"
) -> None:
    """Verdicts for most of the catalogue. failing: details of the unmet requirements, by id."""
    failing = failing or {}
    writer.add_exchange("completed_run/run", "completed_run", "run", document(text=text))
    writer.add_exchange("replayed_run/original", "replayed_run", "original", document(12, text=text))
    writer.add_exchange("replayed_run/retry", "replayed_run", "retry", document(11, text=text))
    rows = []
    for name, requirement in CATALOGUE.items():
        if requirement.area in {"security", "liveness"}:
            continue
        verdict, detail = "pass", "met in every exchange"
        if name in failing:
            verdict, detail = "fail" if requirement.level == "MUST" else "warn", failing[name]
        elif requirement.level == "INFO":
            verdict, detail = "info", "replay: the first event is sent again"
        elif requirement.needs in {"echo action", "second principal"}:
            verdict, detail = "not applicable", f"configure what it needs: {requirement.needs}"
        names = (
            ["replayed_run/original", "replayed_run/retry"]
            if requirement.area == "resume"
            else ["completed_run/run"]
        )
        rows.append(
            CheckRecord(
                id=name,
                level=requirement.level.value,
                verdict=verdict,
                detail=detail,
                duration_s=0.012,
                evidence=[]
                if verdict == "not applicable"
                else [
                    {"exchange": exchange, "event": 2 if name in failing else None, "note": "seen here"}
                    for exchange in names
                ],
            )
        )
    writer.add_checks(rows)


def write_load(
    writer: ResultsWriter,
    seconds: int = 60,
    rate: int = 12,
    *,
    fail_every: int = 0,
    reason: str = "",
    seed: int = 7,
) -> None:
    """Streams at about that rate; every `fail_every`-th one is truncated."""
    chance = random.Random(seed)
    histograms: dict[tuple[str, str, int], Histogram] = {}
    journeys = ("fresh", "fresh", "fresh", "replay", "resume", "conflict")
    number = 0
    for second in range(START, START + seconds):
        slow = 1 + 1.5 * (seconds // 2 <= second - START < seconds // 2 + 6)
        for _ in range(max(1, rate + chance.randint(-3, 3))):
            number += 1
            journey = journeys[number % len(journeys)]
            failed = bool(fail_every) and number % fail_every == 0
            values = _write_stream(writer, chance, second, journey, slow, failed=failed, reason=reason)
            for metric, measured in values.items():
                histograms.setdefault((metric, journey, second), Histogram()).record_many(measured)
    for (metric, journey, second), histogram in histograms.items():
        writer.add_histogram(metric, journey, second, "w0", histogram)


def _write_stream(
    writer: ResultsWriter,
    chance: random.Random,
    second: int,
    journey: str,
    slow: float,
    *,
    failed: bool,
    reason: str,
) -> dict[str, list[float]]:
    ttft_ms = chance.lognormvariate(5.0, 0.35) * slow
    gaps_ms = [chance.lognormvariate(3.0, 0.5) * slow for _ in range(40)]
    duration_ms = ttft_ms + sum(gaps_ms) + 8
    outcome = "truncated" if failed else "rejected" if journey == "conflict" else "done"
    ended = second + int(duration_ms / 1000)
    writer.add_ledger("w0", second, journey, "scheduled")
    writer.add_ledger("w0", ended, journey, outcome)
    writer.add_rate_counts("w0", second, journey, "judged")
    if journey != "conflict":
        writer.add_rate_counts("w0", second, journey, "runs")
    if outcome == "done":
        writer.add_rate_counts("w0", second, journey, "good")
    values: dict[str, list[float]] = {
        "head_ms": [ttft_ms * 0.6],
        "connect_ms": [chance.uniform(0.2, 0.9)],
        "schedule_lag_ms": [chance.uniform(0.02, 0.6)],
        "receive_lag_ms": [chance.uniform(0.03, 0.9) for _ in range(6)],
    }
    if outcome == "rejected":
        values["conflict_ms"] = [chance.lognormvariate(2.5, 0.4)]
    else:
        values |= {"ttft_ms": [ttft_ms], "service_ttft_ms": [ttft_ms - 0.2], "inter_token_ms": gaps_ms}
        values |= {"first_event_ms": [ttft_ms * 0.9], "stall_ms": [max(gaps_ms)]}
    if outcome == "done":
        values["duration_ms"] = [duration_ms]
    if journey == "resume":
        values["resume_ms"] = [chance.lognormvariate(3.4, 0.3)]
    if failed:
        writer.add_failures("w0", ended, journey)
        writer.add_rate_counts("w0", second, journey, "failed")
    writer.add_streams(
        [
            StreamRecord(
                journey=journey,
                step="run",
                worker="w0",
                intended_ns=second * 10**9,
                sent_ns=second * 10**9 + 1_200_000,
                outcome=outcome,
                status=200,
                reason=(
                    reason or "truncated: the server closed the connection before the end of the response"
                )
                if failed
                else None,
                connect_ms=0.8,
                head_ms=ttft_ms * 0.6,
                first_event_ms=ttft_ms * 0.9,
                ttft_ms=ttft_ms,
                duration_ms=duration_ms if outcome == "done" else None,
                stall_ms=max(gaps_ms),
                events=41,
                tokens=40,
                run_id=f"run-{second}",
            )
        ]
    )
    return values


def write_violations(writer: ResultsWriter, text: str = "Result: 42") -> None:
    """Violations under load: 36 of one requirement, 2 of another."""
    for number in range(12):
        writer.count_violation("resume.every-cut", "resume", "w0", 3)
        writer.add_violation(
            "resume.every-cut",
            "resume",
            (START + number) * 10**9 + 250_000_000,
            f"event 4 of the original is missing after the cut: {text}",
            [document(5, text=text, note="the last event seen before the cut"), document(3, text=text)],
        )
    writer.count_violation("ids.increasing", "fresh", "w0", 2)
    writer.add_violation(
        "ids.increasing", "fresh", START * 10**9, "9 comes after 10", {"ids": ["1-10", "1-9"], "text": text}
    )


def made_once(make: Callable[..., Path]) -> Callable[..., Path]:
    """Copy the file that it made for the same arguments before."""
    made: dict[str, bytes] = {}

    @wraps(make)
    def copied(path: Path, *arguments: Any, **named: Any) -> Path:
        key = repr((arguments, named))
        if path.exists():
            return make(path, *arguments, **named)
        if key in made:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(made[key])
        else:
            make(path, *arguments, **named)
            made[key] = path.read_bytes()
        return path

    return copied


@made_once
def full(path: Path, **manifest: Any) -> Path:
    """A load and a conformance suite without any failure."""
    with ResultsWriter(path) as writer:
        writer.set_manifest(**{**MANIFEST, **manifest})
        write_load(writer)
        write_conformance(writer)
    return path


@made_once
def failing(path: Path, text: str = "Result: 42") -> Path:
    """An interrupted load and a suite with failures of all kinds. text: what the server sends wherever it can."""
    with ResultsWriter(path) as writer:
        writer.set_manifest(**{**MANIFEST, "state": "interrupted"})
        write_load(writer, fail_every=17, reason=f"truncated: {text}" if text == HOSTILE else "")
        write_conformance(
            writer,
            {
                "resume.every-cut": f"cut after event 4 and resumed, event 5 never came: {text}",
                "terminal.last": f"2 events follow the terminal event: {text}",
                "headers.no-cache": f"Cache-Control is {text!r}",
            },
            text,
        )
        write_violations(writer, text)
    return path


@made_once
def load_only(path: Path) -> Path:
    """A load without a conformance suite."""
    with ResultsWriter(path) as writer:
        writer.set_manifest(**MANIFEST)
        write_load(writer, seconds=20)
    return path


@made_once
def conformance_only(path: Path) -> Path:
    """A conformance suite without a load, and without objectives."""
    with ResultsWriter(path) as writer:
        writer.set_manifest(**{**MANIFEST, "settings": {}})
        write_conformance(writer)
    return path


def empty(path: Path) -> Path:
    """A results file of a test that was killed at once: nothing was tested."""
    with ResultsWriter(path) as writer:
        writer.set_manifest(state="running", started_at=MANIFEST["started_at"], target=MANIFEST["target"])
    return path


def ten_streams(
    path: Path, objectives: dict[str, Any], *, failed: int = 0, lag_ms: float = 0.1, **manifest: Any
) -> Path:
    """Ten streams with a TTFT of 100 ms each."""
    with ResultsWriter(path) as writer:
        writer.set_manifest(**{**MANIFEST, "settings": {"objectives": objectives}, **manifest})
        ttft, lag = Histogram(), Histogram()
        ttft.record_many([100.0] * 10)
        lag.record_many([lag_ms] * 10)
        writer.add_histogram("ttft_ms", "fresh", START, "w0", ttft)
        writer.add_histogram("schedule_lag_ms", "fresh", START, "w0", lag)
        writer.add_ledger("w0", START, "fresh", "scheduled", 10)
        writer.add_ledger("w0", START, "fresh", "done", 10)
        writer.add_rate_counts("w0", START, "fresh", "judged", 10)
        if failed:
            writer.add_failures("w0", START, "fresh", failed)
            writer.add_rate_counts("w0", START, "fresh", "failed", failed)
    return path
