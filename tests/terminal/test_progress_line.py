from __future__ import annotations

from harness.terminal.progress_line import progress_line
from tests.terminal.documents import live, running, with_streams

SUITE = {
    "done": 54,
    "total": 92,
    "verdicts": {"pass": 52, "fail": 2},
    "failed": ["terminal.last", "ids.unique"],
}


def test_before_there_is_anything() -> None:
    assert progress_line(None, None) == "starting"
    assert progress_line(live().snapshot(), None) == "starting"


def test_a_running_test() -> None:
    document = running(
        with_streams(live(), failed=3, violations={"terminal.last": 2, "ids.unique": 1}), in_flight=6
    )
    assert progress_line(document, SUITE) == (
        "0:20, 6 in flight, 10.0/s, TTFT p50 60.0 p95 120 p99 120 ms, ITL p95 50.0 ms, 3 failed, 3 violations, "
        "conformance 54/92 tests, 2 requirements FAILED, 0:40 left"
    )


def test_a_finished_test_has_no_rate() -> None:
    line = progress_line(with_streams(live()).snapshot(), None)
    assert line.startswith("0:20, finished, 0 in flight, TTFT")
    assert "/s" not in line
    assert "left" not in line


def test_a_test_that_could_not_start_says_why() -> None:
    assert (
        progress_line({**live().snapshot(), "problem": "the disk is full"}, None)
        == "starting, the disk is full"
    )


def test_an_unmeasured_value_is_a_dash() -> None:
    line = progress_line(running(with_streams(live(), seconds=0)), None)
    assert "TTFT p50 - p95 - p99 - ms, ITL p95 - ms" in line


def test_a_saturated_harness_is_reported() -> None:
    document = running(with_streams(live()))
    saturated = {**document, "harness": {**document["harness"], "saturated": True}, "warming_up": True}
    assert "warming up" in progress_line(saturated, None)
    assert progress_line(saturated, None).endswith("HARNESS SATURATED, 0:40 left")


def test_streams_with_a_harness_fault_are_reported() -> None:
    document = running(with_streams(live()))
    faults = {"streams": 2, "reasons": {"harness fault on X": 2}, "sentence": "the harness itself broke"}
    broken = {**document, "harness": {**document["harness"], "faults": faults}}
    assert "NOT CHECKED" not in progress_line(document, None)
    assert progress_line(broken, None).endswith("2 NOT CHECKED, 0:40 left")
