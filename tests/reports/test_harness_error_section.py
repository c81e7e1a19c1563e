from pathlib import Path
from typing import Any

from harness.reports.harness_error_section import PROCESS_COLUMNS, HarnessErrorView, harness_error_view
from harness.results.histogram import Histogram
from harness.results.metrics import METRICS
from harness.results.reader import Results
from harness.results.records import ProcessRecord
from harness.results.summary import summarize
from harness.results.writer import ResultsWriter

from .samples import START


def _histogram(value: float) -> Histogram:
    histogram = Histogram()
    histogram.record(value)
    return histogram


def _lag(path: Path, lag_ms: float | None, cpu: float | None = None, **manifest: Any) -> HarnessErrorView:
    with ResultsWriter(path) as writer:
        writer.set_manifest(**manifest)
        if lag_ms is not None:
            writer.add_histogram("receive_lag_ms", "fresh", START, "w0", _histogram(lag_ms))
        if cpu is not None:
            row = ProcessRecord(worker="w0", second=START, cpu=cpu, rss_bytes=300 * 2**20, open_streams=1234)
            writer.add_processes([row])
            writer.add_histogram("hub_delay_ms", "", START, "w0", _histogram(0.75))
    with Results(path) as results:
        return harness_error_view(results, summarize(results))


def test_a_harness_that_kept_up(path: Path) -> None:
    lag = _lag(path, 0.5, receive_stamp="kernel", tokens=1000, coalesced_tokens=12)
    assert (lag.saturated, lag.measured) == (False, True)
    assert lag.sentence == "The harness kept up: the load was as requested."
    assert lag.stamps.startswith("Arrival times are the kernel's receive timestamps")
    assert "schedule lag" not in lag.stamps
    assert lag.coalesced.startswith("12 of 1,000 tokens arrived in the same read as the token before")
    assert lag.lags == (("Receive lag", METRICS["receive_lag_ms"].formula, "1", *["0.500"] * 6),)
    assert lag.processes == ()


def test_how_busy_each_process_was(path: Path) -> None:
    lag = _lag(path, 0.5, cpu=0.42)
    assert lag.processes == (("w0", "1", "42%", "42%", "0%", "0.750 ms", "300 MiB", "1,234"),)
    assert len(lag.processes[0]) == 1 + len(PROCESS_COLUMNS)
    assert [row[0] for row in lag.lags] == ["Receive lag", "Hub delay"]
    assert lag.sentence == "The harness kept up: the load was as requested."
    assert _lag(path, 0.5, cpu=1.0).saturated is False


def test_how_much_of_a_latency_may_be_its_own_delay(path: Path) -> None:
    for metric, value in (("ttft_ms", 100.0), ("duration_ms", 900.0), ("schedule_lag_ms", 10.0)):
        with ResultsWriter(path) as writer:
            writer.add_histogram(metric, "fresh", START, "w0", _histogram(value))
    lag = _lag(path, 0.5, receive_stamp="kernel")
    assert lag.stamps.endswith("include how late the harness sent it (schedule lag).")
    assert lag.sentence == (
        "The harness kept up: the load was as requested. Its own delays are at most 10.0 ms of the median and 10.0 ms "
        "of the p99 of TTFT, and 10.0 ms of the median and 10.0 ms of the p99 of duration."
    )


def test_a_saturated_harness_says_why(path: Path) -> None:
    with ResultsWriter(path) as writer:
        writer.add_histogram("schedule_lag_ms", "fresh", START, "w0", _histogram(500.0))
    lag = _lag(path, 10.5, cpu=1.0, receive_stamp="user")
    assert lag.saturated
    assert lag.sentence.startswith(
        "The harness was saturated: the load fell behind its schedule: 10% of the arrivals were sent at least 500 ms "
        "late (limit 100 ms). The load was lower than requested. "
    )
    assert "harness's own clock" in lag.stamps
    assert lag.coalesced == ""


def test_without_a_measured_lag(path: Path) -> None:
    lag = _lag(path, None)
    assert (lag.saturated, lag.measured, lag.lags) == (False, False, ())
    assert lag.sentence == "The harness's own lag was not measured."


def test_harness_faults_are_reported(path: Path) -> None:
    assert _lag(path, 0.5).faults == ""
    reasons = {"harness fault while judging it: <b>X</b>": 2}
    assert _lag(path, 0.5, harness_faults=reasons).faults == (
        "2 streams were not judged because of a harness fault: "
        "while judging it: <b>X</b> (2). The cause is a bug in the harness, or in a rule that your locustfile adds."
    )
