"""A load with Locust's monkey patching pushes the numbers of its results file, and traces, to a collector."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.results.ledger import ENDINGS
from harness.results.reader import Results
from tests.export.receiver import Received, attributes, collector, labels
from tests.forked import embedded_server
from tests.integration.commands import assert_one_sentence, demo_settings, harness
from tests.ports import free_port

pytestmark = pytest.mark.slow

VIOLATIONS = "agent.run.violations"


def load(folder: Path, received: Received, *options: str, **variables: str) -> str:
    with embedded_server() as base_url:
        demo_settings(folder, base_url)
        done = harness(
            *("load", "--rate", "10", "--duration", "3s", "--out", "out"),
            *("--otlp-endpoint", received.url, "--otlp-traces-endpoint", received.url, *options),
            folder=folder,
            variables={"OTEL_METRIC_EXPORT_INTERVAL": "500", "OTEL_EXPORTER_OTLP_TIMEOUT": "2", **variables},
        )
    assert done.returncode in {0, 1}, done.stdout + done.stderr  # a busy machine may have been saturated
    return (folder / "out" / "load.log").read_text()


def final_is_what_the_file_says(received: Received, path: Path) -> None:
    found = received.metrics()
    streams = found["agent.run.streams"].sum.data_points
    with Results(path) as results:
        for journey in results.journeys():
            ledger = results.ledger(journey)
            pushed = {
                labels(one)["outcome"]: one.as_int for one in streams if labels(one)["journey"] == journey
            }
            assert {outcome: pushed[outcome] for outcome in ENDINGS} == {
                outcome: ledger[outcome] for outcome in ENDINGS
            }
            for metric, name in (("ttft_ms", "ttft"), ("inter_token_ms", "inter_token")):
                histogram = results.histogram(metric, journey)
                points = found[f"agent.run.{name}"].histogram.data_points
                counts = [one.count for one in points if labels(one)["journey"] == journey]
                assert sum(counts) == histogram.count
            violations = results.violation_counts(journey)
            assert violations == {
                labels(one)["requirement"]: one.as_int
                for one in (found[VIOLATIONS].sum.data_points if VIOLATIONS in found else ())
                if labels(one)["journey"] == journey
            }
        assert results.ledger().scheduled > 20


def the_slowest_and_the_failed_have_traces(received: Received, path: Path) -> None:
    """Every span of a request has the trace id of a row, and hangs below the span of its journey."""
    spans = received.spans()
    roots = {span.span_id: span for span in spans if not span.parent_span_id}
    requests = [span for span in spans if span.parent_span_id in roots]
    assert {roots[span.parent_span_id].trace_id == span.trace_id for span in requests} == {True}
    sent = {span.trace_id.hex() for span in requests}
    with Results(path) as results:
        rows = list(results.streams())
        wanted = {row.trace_id for row in results.longest_streams(10)}
    wanted |= {row.trace_id for row in rows if row.reason is not None}
    assert wanted <= sent <= {row.trace_id for row in rows}
    assert {attributes(roots[span.parent_span_id])["agent.run.worker"] for span in requests} == {
        row.worker for row in rows
    }


def scheduled(received: Received, number: int) -> int:
    family = received.metrics(number).get("agent.run.streams.scheduled")
    return 0 if family is None else sum(one.as_int for one in family.sum.data_points)


@pytest.mark.parametrize("options", [[], ["--processes", "2"], ["--warmup", "1s"]])
def test_the_last_push_equals_the_results_file(tmp_path: Path, options: list[str]) -> None:
    with collector() as received:
        load(tmp_path, received, *options)
    assert len(received.requests) >= 3  # while it went on, and at its end
    counts = [scheduled(received, number) for number in range(len(received.requests))]
    assert counts == sorted(counts)
    assert counts[0] < counts[-1]
    final_is_what_the_file_says(received, tmp_path / "out" / "results.sqlite")
    the_slowest_and_the_failed_have_traces(received, tmp_path / "out" / "results.sqlite")


def test_a_collector_that_refuses_costs_no_results(tmp_path: Path) -> None:
    with collector() as received:
        received.status = 400
        log = load(tmp_path, received)
    assert "the final metrics did not reach" in log
    assert "traces did not reach" in log
    assert "the test continues" in log
    with Results(tmp_path / "out" / "results.sqlite") as results:
        assert results.ledger().adds_up
        assert results.manifest["load_state"] == "finished"


def test_a_collector_that_nobody_runs_is_told_in_the_terminal(tmp_path: Path) -> None:
    with embedded_server() as base_url:
        demo_settings(tmp_path, base_url)
        done = harness(
            *("load", "--rate", "10", "--duration", "2s", "--out", "out"),
            *("--otlp-endpoint", f"http://127.0.0.1:{free_port()}"),
            folder=tmp_path,
            variables={"OTEL_EXPORTER_OTLP_TIMEOUT": "2"},
        )
    assert "note: the final metrics did not reach http://127.0.0.1:" in " ".join(done.stdout.split())


def test_a_wrong_endpoint_is_one_sentence(tmp_path: Path) -> None:
    done = harness(
        "load", "--target", "http://127.0.0.1:1", "--otlp-endpoint", "collector:4318", folder=tmp_path
    )
    assert_one_sentence(done, "export.otlp_endpoint", "http://localhost:4318")
