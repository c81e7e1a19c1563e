from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from harness.capacity.record import Record
from harness.capacity.search import CapacityResult, SearchOutcome, Trial

from .samples import record, step


def test_it_comes_back_from_its_document() -> None:
    made = record()
    document = json.loads(json.dumps(made.document(), allow_nan=False))
    assert Record.of(document) == made
    assert document["answer"]["limit"] == pytest.approx(10.488, abs=1e-3)
    assert document["answer"]["confidence"] == 0.75
    assert document["steps"][0]["values"] == {"ttft_p95_ms": 90.0, "error_rate": 0.0}


def test_a_record_without_an_answer_round_trips() -> None:
    made = record(steps=[])
    made.answer = None
    assert Record.of(json.loads(json.dumps(made.document()))) == made
    assert made.sentences() == ("The search is still running or was killed; this is its record so far.",)


@pytest.mark.parametrize(
    "document", [{}, {"steps": 3}, [], "capacity", {**record().document(), "step_s": "long"}]
)
def test_anything_else_is_refused(document: Any) -> None:
    with pytest.raises(ValueError, match="not the record of a capacity search: "):
        Record.of(document)


def test_the_search_goes_on_from_its_steps() -> None:
    made = record()
    assert made.trials[:2] == [Trial(8, "passed"), Trial(16, "failed")]
    assert len(made.at(10)) == 3
    assert made.at(None) == []


def test_a_found_limit_in_words() -> None:
    assert record().sentences() == (
        "The limit is 10.5 arrivals/s, between 10 and 11/s (confidence at least 75%).",
        "All objectives were met in 3 of 3 runs at 10/s.",
        "Not all objectives were met in 3 of 3 runs at 11/s: ttft_p95_ms 1,200.00 ms, over 800 ms.",
        "Arrivals were evenly spaced; random arrivals (--arrivals poisson) are harder on a server.",
    )


def test_growing_open_streams_are_a_caveat() -> None:
    made = record(arrivals="poisson")
    made.steps[2] = step(3, 10, "passed", 120.0, open_before=3, open_after=23, flow_s=16)
    assert made.sentences()[-1] == (
        "At 10/s the number of open streams still grew, by up to 1.2 per second: with longer steps the limit would "
        "be lower."
    )


@pytest.mark.parametrize(
    ("outcome", "first"),
    [
        ("above", "The limit was not reached: because."),
        ("below", "The limit is lower: because."),
        ("noise", "No limit found because of noise: because."),
        ("harness", "The server's limit was not reached: because."),
        ("invalid", "No limit found: because."),
        ("time", "No limit found yet: because."),
        ("interrupted", "Interrupted: because."),
        ("stopped", "The search was stopped: because."),
    ],
)
def test_every_other_answer_in_words(outcome: SearchOutcome, first: str) -> None:
    sentences = record(CapacityResult(outcome, "because", 10, 3, None, 0)).sentences()
    assert sentences[:2] == (first, "All objectives were met in 3 of 3 runs at 10/s.")
    assert "arrivals/s" not in " ".join(sentences)


def test_the_reason_is_of_a_run_that_counts() -> None:
    """A run at the same rate without a verdict, or with the other one, explains nothing."""
    saturated = "the p99 of schedule lag is 30.0 ms"
    steps = [
        replace(step(1, 11, "invalid", None), why="interrupted"),
        replace(step(2, 11, "saturated", 1200.0), why=saturated),
        *(step(number, 11, "failed", 1200.0) for number in (3, 4, 5)),
    ]
    by_server = record(CapacityResult("found", "", None, 0, 11, 3), steps=steps).sentences()
    assert (
        "Not all objectives were met in 3 of 5 runs at 11/s: ttft_p95_ms 1,200.00 ms, over 800 ms."
        in by_server
    )
    by_harness = CapacityResult("harness", "", None, 0, 11, 1, by_harness=True)
    assert (
        f"The harness was saturated in 1 of 5 runs at 11/s: {saturated}."
        in record(by_harness, steps=steps).sentences()
    )


def test_an_upper_end_that_is_the_harness_s_says_so() -> None:
    sentences = record(CapacityResult("harness", "because", 10, 3, 11, 3, by_harness=True)).sentences()
    assert sentences[2].startswith("The harness was saturated in 3 of 3 runs at 11/s")


@pytest.mark.parametrize(
    ("before", "after", "settled"),
    [
        (0, 0, True),
        (40, 5, True),
        (0, 7, True),  # 0.5 a second, which is 5% of the arrivals
        (0, 9, True),  # more, but no more than three deviations of chance
        (0, 10, False),
        (100, 130, True),  # 2.1 a second, and two deviations
        (100, 150, False),
    ],
)
def test_open_streams_settle_unless_they_grow_by_more_than_chance(
    before: int, after: int, settled: bool
) -> None:
    assert step(1, 10, "passed", 90.0, open_before=before, open_after=after, flow_s=14).settled is settled
