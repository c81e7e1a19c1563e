from pathlib import Path
from typing import Any

import pytest

from harness.reports.exchange_view import SizeBudget, exchange_view
from harness.reports.page import ReportPage, page
from harness.results.reader import Results
from harness.results.records import CheckRecord
from harness.results.schema import ResultsError
from harness.results.writer import ResultsWriter
from tests.results.test_histogram import of, wide

from . import samples
from .samples import START


def _page(path: Path) -> ReportPage:
    with Results(path) as results:
        return page(results)


def test_a_test_that_meets_its_objectives_passes(path: Path) -> None:
    made = _page(samples.ten_streams(path, {"ttft_p95_ms": 800, "error_rate": 0.1}, failed=1))
    assert (made.headline.title, made.headline.tone, made.headline.notes) == ("Passed", "good", ())
    assert made.headline.summary == "All 3 limits were met. No baseline was compared."
    assert made.headline.tested == ("Load: 10 streams scheduled, 1 failed.",)
    assert [(row.name, row.value, row.limit, row.headroom, row.used) for row in made.objectives] == [
        ("ttft_p95_ms", "100.0 ms", "800 ms", "87.5% to spare", 0.125),
        ("error_rate", "10%", "10%", "0% to spare", 1.0),
        ("ledger", "0", "0", "\u2013", None),
    ]
    assert (made.target, made.started, made.took) == (
        "https://agent.example.com/agent/workflow-actions",
        "21 September 2026, 14:13:20 UTC",
        "1 min",
    )


@pytest.mark.parametrize("limits", [{"ttft_p42_ms": 3}, {"ttft_p95_ms": "fast"}])
def test_objectives_that_this_version_cannot_evaluate_raise_an_error(
    path: Path, limits: dict[str, Any]
) -> None:
    with ResultsWriter(path) as writer:
        writer.set_manifest(settings={"objectives": limits})
    with pytest.raises(
        ResultsError, match=r"results.sqlite: this version cannot evaluate the file's objectives: .*ttft_p"
    ):
        _page(path)


def test_violations_get_space_before_the_list_of_all_exchanges(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recorded = samples.document(6)
    monkeypatch.setattr("harness.reports.page.SizeBudget", lambda: SizeBudget(exchange_view(recorded).weight))
    with ResultsWriter(path) as writer:
        writer.add_exchange("one", "completed_run", "run", recorded)
        writer.count_violation("ids.unique", "fresh", "w0")
        writer.add_violation("ids.unique", "fresh", START * 10**9, "twice", [recorded])
    made = _page(path)
    assert not made.violations[0].examples[0].exchanges[0].withheld
    assert made.exchanges[0].exchanges[0].withheld


def test_policies_are_the_info_checks(path: Path) -> None:
    with ResultsWriter(path) as writer:
        writer.add_checks(
            [
                CheckRecord(id="ids.unique", level="MUST", verdict="pass"),
                CheckRecord(id="resume.start", level="INFO", verdict="info", detail="replay"),
                CheckRecord(
                    id="conflict.form",
                    level="INFO",
                    verdict="inconclusive",
                    detail="no 409 came",
                    duration_s=0.1,
                ),
            ]
        )
    made = _page(path)
    assert [(check.id, check.detail) for check in made.policies] == [
        ("resume.start", "replay"),
        ("conflict.form", "no 409 came"),
    ]


def test_the_page_says_how_accurate_its_percentiles_are(path: Path) -> None:
    accuracies = []
    for histogram in (of([7.0]), wide([7.0])):  # the second as an earlier version stored it
        with ResultsWriter(path) as writer:
            writer.add_histogram("ttft_ms", "fresh", 1, "w", histogram)
        with Results(path) as results:
            accuracies.append(page(results).accuracy)
    assert accuracies == ["within 0.2%", "within 0.5%"]
