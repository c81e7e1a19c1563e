"""Sample outcomes, made from results files and evaluated by the gate."""

from __future__ import annotations

import functools
import xml.etree.ElementTree as ET
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.ci.outcome import Outcome, outcome_of
from harness.contract.requirements import find
from harness.gate.evaluate import evaluate
from harness.gate.objective import parse_objectives
from harness.results.histogram import Histogram
from harness.results.reader import Results
from harness.results.records import CheckRecord
from harness.results.writer import ResultsWriter

if TYPE_CHECKING:
    import xmlschema

SCHEMAS = Path(__file__).parent / "schemas"


@functools.cache
def junit_schema() -> xmlschema.XMLSchema:
    import xmlschema

    return xmlschema.XMLSchema(SCHEMAS / "junit.xsd")


START_S = 1_790_000_000
HOSTILE = (
    "]]></failure>\n::error::mine\r|`<script>alert(1)</script>`|\x00\x1b[31m\ud800%0A @you "
    "https://x.example ![i](j)"
)
"""Text of a server that tries to break out of a report."""

MANIFEST: dict[str, Any] = {
    "started_at": "2026-09-21T14:13:20+00:00",
    "state": "finished",
    "target": {"base_url": "https://agent.example.com", "path": "/agent/workflow-actions"},
}


def check(name: str, verdict: str, detail: str = "as it should be", **more: Any) -> CheckRecord:
    return CheckRecord(
        id=name,
        level=find(name).level.value,
        verdict=verdict,
        detail=detail,
        **{"duration_s": 0.25, **more},
    )


def sample_outcome(
    folder: Path,
    *,
    checks: Sequence[CheckRecord] = (),
    ttft_ms: Sequence[float] = (),
    failed: int = 0,
    violated: Mapping[str, Sequence[str]] = {},
    objectives: Mapping[str, Any] = {},
    manifest: Mapping[str, Any] = {},
    lag_ms: float | None = None,
    exit_code: int | None = None,
    **more: Any,
) -> Outcome:
    """The outcome of a test with these results. exit_code: None is that of the gate."""
    path = folder / "results.sqlite"
    path.unlink(missing_ok=True)
    with ResultsWriter(path) as writer:
        writer.set_manifest(**{**MANIFEST, **manifest})
        if ttft_ms:
            _write_load(writer, ttft_ms, failed)
        if lag_ms is not None:
            lag = Histogram()
            lag.record_many([lag_ms] * max(1, len(ttft_ms)))
            writer.add_histogram("schedule_lag_ms", "fresh", START_S, "local", lag)
        for name, details in violated.items():
            for detail in details:
                writer.count_violation(name, "fresh", "local")
                writer.add_violation(name, "fresh", START_S * 10**9, detail)
        writer.add_exchange("cut/run", "cut", "run", EXCHANGE)
        writer.add_checks(checks)
    with Results(path) as results:
        gate = evaluate(results, parse_objectives(objectives))
        code = gate.exit_code if exit_code is None else exit_code
        return outcome_of(results, gate, code, **more)


EXCHANGE = {
    "status": 200,
    "ending": "complete",
    "curl": "curl -N https://agent.example.com/agent/workflow-actions",
    "events": [{"index": 2, "at_ms": 81.25, "id": "1-2", "data": '{"type": "done"}'}],
}


def _write_load(writer: ResultsWriter, ttft_ms: Sequence[float], failed: int) -> None:
    histogram = Histogram()
    histogram.record_many(ttft_ms)
    writer.add_histogram("ttft_ms", "fresh", START_S, "local", histogram)
    for number in range(len(ttft_ms)):
        writer.add_ledger("local", START_S, "fresh", "scheduled")
        writer.add_ledger("local", START_S, "fresh", "truncated" if number < failed else "done")
        writer.add_rate_counts("local", START_S, "fresh", "judged")
        if number < failed:
            writer.add_rate_counts("local", START_S, "fresh", "failed")


def cases_of(document: str) -> dict[tuple[str, str], ET.Element]:
    """The cases of a valid JUnit document, by suite and name."""
    junit_schema().validate(document)
    root = ET.fromstring(document)
    found = {}
    for suite in root.iter("testsuite"):
        cases = list(suite.iter("testcase"))
        assert suite.get("tests") == str(len(cases))
        for element, counter in (("failure", "failures"), ("error", "errors"), ("skipped", "skipped")):
            assert suite.get(counter) == str(sum(case.find(element) is not None for case in cases)), counter
        found.update({(str(suite.get("name")), str(case.get("name"))): case for case in cases})
    assert root.get("tests") == str(len(found))
    return found
