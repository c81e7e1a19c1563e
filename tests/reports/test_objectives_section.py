import random
from pathlib import Path
from typing import Any

from harness.gate.confidence_intervals import percentile_interval, share_interval
from harness.gate.report import GateRow
from harness.reports.objectives_section import NOT_CERTAIN, objective_view
from harness.reports.page import ReportPage, page
from harness.reports.text import NOTHING
from harness.results.histogram import Histogram
from harness.results.reader import Results
from harness.results.writer import ResultsWriter

from . import samples
from .samples import MANIFEST, START


def _page(path: Path) -> ReportPage:
    with Results(path) as results:
        return page(results)


def _load(path: Path, objectives: dict[str, Any], **values: Any) -> ReportPage:
    return _page(samples.ten_streams(path, objectives, **values))


def test_objectives_name_their_metric(path: Path) -> None:
    shown = _load(path, {"fresh.ttft_p999_ms": 800, "error_rate": 0.1})
    assert [(row.name, row.label, row.metric) for row in shown.objectives] == [
        ("fresh.ttft_p999_ms", "", "Time to first token (TTFT), p99.9"),
        ("error_rate", "", ""),
        ("ledger", "Streams unaccounted for", ""),
    ]


def test_goodput_has_a_lower_limit(path: Path) -> None:
    with ResultsWriter(path) as writer:
        for counter, count in (("judged", 10), ("runs", 10), ("good", 8)):
            writer.add_rate_counts("w0", START, "fresh", counter, count)
    made = _load(path, {"goodput": 0.75})
    row = made.objectives[0]
    assert (row.value, row.limit, row.headroom, row.verdict) == (
        "80%",
        "at least 75%",
        "6.67% to spare",
        "passed",
    )
    assert row.used is None
    made = _load(path, {"goodput": 1})
    assert made.headline.summary.startswith("`goodput` is 80%, below its limit of 100%.")
    assert made.objectives[0].headroom == "20% short"


def test_a_limit_missed_by_far_is_shown_as_a_multiple(path: Path) -> None:
    made = _load(path, {"ttft_p95_ms": 25, "ttft_p50_ms": 20, "ttft_p99_ms": 0.05})
    assert [row.headroom for row in made.objectives[:3]] == [
        "300% over",
        "5 times the limit",
        "2,000 times the limit",
    ]


def test_each_state_of_a_row_has_one_wording() -> None:
    states = {
        (50.0, 100.0, "passed", (40.0, 60.0)): ("50% to spare", 0.5),
        (0.0, 0.001, "passed", (0.0, 0.032)): (NOT_CERTAIN, None),
        (0.002, 0.001, "failed", (0.0005, 0.01)): (NOT_CERTAIN, None),
        (120.0, 100.0, "failed", (110.0, 130.0)): ("20% over", 1.0),
        (120.0, 100.0, "inconclusive", None): (NOTHING, None),
        (80.0, 100.0, "inconclusive", (60.0, 110.0)): (NOTHING, None),
        (None, 100.0, "not measured", None): (NOTHING, None),
        (0.0, 0.0, "passed", (0.0, 0.0)): (NOT_CERTAIN, None),
    }
    for (value, limit, verdict, interval), expected in states.items():
        row = GateRow("ttft_p95_ms", value, limit, verdict, interval=interval)  # type: ignore[arg-type]
        shown = objective_view(row, "")
        assert (shown.headroom, shown.used) == expected, row


def test_a_share_of_nothing_failed_is_not_100_percent_to_spare(path: Path) -> None:
    """With 135 streams, none of which failed, an error rate below 0.1% is not proven."""
    with ResultsWriter(path) as writer:
        writer.set_manifest(**{**MANIFEST, "settings": {"objectives": {"error_rate": 0.001}}})
        for second in range(START, START + 27):
            writer.add_ledger("w0", second, "fresh", "scheduled", 5)
            writer.add_ledger("w0", second, "fresh", "done", 5)
            writer.add_rate_counts("w0", second, "fresh", "judged", 5)
    row = _page(path).objectives[0]
    assert (row.verdict, row.value, row.headroom) == ("passed", "0%", NOT_CERTAIN)
    assert row.detail == (
        "the limit is within the interval, so a longer test may have the other verdict: about 3,000 streams would "
        "decide it, and there were 135"
    )


def test_objectives_show_the_interval_of_the_gate(path: Path) -> None:
    chance = random.Random(3)
    with ResultsWriter(path) as writer:
        writer.set_manifest(
            **{
                **MANIFEST,
                "settings": {"objectives": {"ttft_p95_ms": 800, "ttft_max_ms": 900, "error_rate": 0.1}},
            }
        )
        for second in range(START, START + 60):
            histogram = Histogram()
            histogram.record_many([chance.lognormvariate(5, 0.2) for _ in range(20)])
            writer.add_histogram("ttft_ms", "fresh", second, "w0", histogram)
            writer.add_ledger("w0", second, "fresh", "scheduled", 20)
            writer.add_ledger("w0", second, "fresh", "done", 20)
            writer.add_rate_counts("w0", second, "fresh", "judged", 20)
    with Results(path) as results:
        low, high = percentile_interval(results, "ttft_ms", 95.0) or (0.0, 0.0)
        share = share_interval(results, "error_rate") or (0.0, 0.0)
        made = page(results)
    assert low < high
    assert [(row.name, row.interval) for row in made.objectives] == [
        ("ttft_p95_ms", f"{low:.1f} ms to {high:.1f} ms"),
        ("ttft_max_ms", "\u2013"),
        ("error_rate", f"0% to {share[1] * 100:.3g}%"),
        ("ledger", "\u2013"),
    ]
