from __future__ import annotations

from harness.terminal.progress_line import plain_line
from tests.terminal.documents import live, running, told

SUITE = {
    "done": 54,
    "total": 92,
    "verdicts": {"pass": 52, "fail": 2},
    "failed": ["terminal.last", "ids.unique"],
}


def test_before_there_is_anything() -> None:
    assert plain_line(None, None) == "starting"
    assert plain_line(live().snapshot(), None) == "starting"


def test_a_test_on_its_way() -> None:
    document = running(told(live(), failed=3, violations={"terminal.last": 2, "ids.unique": 1}), in_flight=6)
    assert plain_line(document, SUITE) == (
        "0:20, 6 in flight, 10.0/s, TTFT p50 59.9 p95 120 p99 120 ms, ITL p95 50.0 ms, 3 failed, 3 violations, "
        "conformance 54/92, 2 FAILED, 0:40 left"
    )


def test_a_test_that_is_over_says_so_and_has_no_rate() -> None:
    line = plain_line(told(live()).snapshot(), None)
    assert line.startswith("0:20, finished, 0 in flight, TTFT")
    assert "/s" not in line
    assert "left" not in line


def test_a_test_that_could_not_start_says_why() -> None:
    assert (
        plain_line({**live().snapshot(), "problem": "the disk is full"}, None) == "starting, the disk is full"
    )


def test_what_was_not_measured_is_a_dash() -> None:
    line = plain_line(running(told(live(), seconds=0)), None)
    assert "TTFT p50 - p95 - p99 - ms, ITL p95 - ms" in line


def test_a_harness_that_is_the_bottleneck_says_so() -> None:
    document = running(told(live()))
    saturated = {**document, "harness": {**document["harness"], "saturated": True}, "warming_up": True}
    assert "warming up" in plain_line(saturated, None)
    assert plain_line(saturated, None).endswith("HARNESS SATURATED, 0:40 left")


def test_streams_that_the_harness_broke_on_are_told_of() -> None:
    document = running(told(live()))
    faults = {"streams": 2, "reasons": {"the harness broke on X": 2}, "sentence": "the harness itself broke"}
    broken = {**document, "harness": {**document["harness"], "faults": faults}}
    assert "NOT JUDGED" not in plain_line(document, None)
    assert plain_line(broken, None).endswith("2 NOT JUDGED, 0:40 left")
