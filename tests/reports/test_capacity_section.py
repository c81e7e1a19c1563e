from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from harness.capacity.search import CapacityResult
from harness.reports.capacity_section import CapacityView, capacity_view
from harness.reports.html import render
from harness.reports.page import page
from harness.results.reader import Results
from harness.results.schema import ResultsError
from harness.results.writer import ResultsWriter
from tests.capacity.samples import record, step

from .pagecheck import Checked
from .samples import MANIFEST


def view(path: Path, document: Any) -> CapacityView | None:
    with ResultsWriter(path) as writer:
        writer.set_manifest(**MANIFEST, capacity=document)
    with Results(path) as results:
        return capacity_view(results)


def test_a_file_of_no_search_has_no_section(path: Path) -> None:
    with ResultsWriter(path) as writer:
        writer.set_manifest(**MANIFEST)
    with Results(path) as results:
        assert capacity_view(results) is None
        html = render(page(results))
    assert 'href="#capacity"' not in html


def test_a_found_limit(path: Path) -> None:
    made = view(path, record().document())
    assert made is not None
    assert (made.answer, made.tone) == ("10.5 arrivals per second", "good")
    assert made.columns == (
        "ttft_p95_ms",
        "error_rate",
        "goodput",
        "completed/s",
        "streams",
        "took",
        "results",
    )
    assert [(one.number, one.rate, one.verdict) for one in made.steps[:3]] == [
        ("1", "8", "passed"),
        ("2", "16", "failed"),
        ("3", "10", "passed"),
    ]
    assert made.steps[1].cells[:3] == ("1,200 ms", "0%", "90%")
    assert made.steps[1].reason == "ttft_p95_ms 1,200.00 ms, over 800 ms"


def test_the_picture_says_what_it_shows(path: Path) -> None:
    made = view(path, record().document())
    assert made is not None
    (chart,) = made.charts
    assert chart.title == "Time to first token (TTFT) p95 and goodput by arrival rate"
    assert [entry.label for entry in chart.legend] == [
        "latency; a dot is a run that passed",
        "failed run",
        "limit = 800 ms",
        "the capacity is in this range",
        "goodput",
    ]
    assert chart.rows[0] == ("8", "90 ms", "90%", "passed")
    assert chart.rows[-1] == ("16", "1.2 s", "90%", "failed")
    assert 'aria-label="Time to first token (TTFT) p95 by arrival rate. The limit is 10.5' in chart.svg


def test_without_a_latency_the_picture_is_of_goodput(path: Path) -> None:
    made = view(path, record(objectives={"goodput": 0.99}).document())
    assert made is not None
    (chart,) = made.charts
    assert chart.title == "Goodput by arrival rate"
    assert chart.columns == ("arrivals/s", "goodput", "verdict")


@pytest.mark.parametrize(
    ("answer", "tone"),
    [
        (CapacityResult("above", "x", 16, 3, None, 0), "warn"),
        (CapacityResult("below", "x", None, 0, 8, 3), "bad"),
        (CapacityResult("noise", "x", 8, 3, 16, 3), "warn"),
        (CapacityResult("harness", "x", 8, 3, 16, 3, by_harness=True), "warn"),
        (CapacityResult("interrupted", "", None, 0, None, 0), "warn"),
    ],
)
def test_whatever_else_came_of_it_is_not_green(path: Path, answer: CapacityResult, tone: str) -> None:
    made = view(path, record(answer).document())
    assert made is not None
    assert (made.answer, made.tone) == ("No limit found", tone)
    assert len(made.charts) == 1


def test_a_search_that_was_killed_before_its_first_run_gives_a_page(path: Path) -> None:
    begun = record(steps=[])
    begun.answer = None
    made = view(path, begun.document())
    assert made is not None
    assert (made.tone, made.steps, made.charts) == ("none", (), ())
    with Results(path) as results:
        html = render(page(results))
    assert Checked(html).problems == []
    assert "No runs were made." in html


def test_runs_that_measured_nothing_are_drawn_and_listed(path: Path) -> None:
    steps = [step(1, 8, "invalid", None), step(2, 8, "saturated", 90.0)]
    made = view(path, record(CapacityResult("invalid", "x", None, 0, None, 0), steps=steps).document())
    assert made is not None
    assert [one.verdict for one in made.steps] == ["inconclusive", "inconclusive"]
    assert made.steps[0].cells[0] == "\u2013"
    assert [row[-1] for row in made.charts[0].rows] == ["inconclusive", "inconclusive"]


def test_the_page_leads_with_the_answer(path: Path) -> None:
    view(path, record().document())
    with Results(path) as results:
        content = page(results)
        html = render(content)
    assert content.headline.title == "10.5 arrivals per second"
    assert content.headline.summary.startswith("The limit is 10.5 arrivals/s, between 10 and 11/s")
    assert content.objectives == ()
    assert "Nothing tested" not in html
    assert not any(name.startswith("capacity") for table in content.facts for name, _ in table.rows)
    assert Checked(html).problems == []


def test_hostile_text_is_shown_and_not_obeyed(path: Path) -> None:
    steps = [step(1, 8, "invalid", None, folder="<script>alert(1)</script>")]
    view(path, record(CapacityResult("invalid", "<b>x</b>", None, 0, None, 0), steps=steps).document())
    with Results(path) as results:
        html = render(page(results))
    assert "<script>alert" not in html
    assert "<b>x</b>" not in html


def test_a_record_that_cannot_be_read_raises_an_error(path: Path) -> None:
    with pytest.raises(ResultsError, match=r"results\.sqlite: its capacity search cannot be read: "):
        view(path, {"steps": "many"})
    with pytest.raises(ResultsError, match=r"cannot be read: .*'ttft_p42_ms'"):
        view(path, record(objectives={"ttft_p42_ms": 1.0}).document())
