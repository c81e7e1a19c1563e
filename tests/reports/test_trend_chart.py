"""The chart of one metric of a history."""

from xml.etree import ElementTree as ET

from harness.gate.history import HistoryEntry, RecordedValue
from harness.gate.trend import trend_of
from harness.reports.trend_chart import trend_chart


def test_any_commit_can_be_drawn() -> None:
    """A history is a file: its commits may have characters that SVG cannot contain, or that mean mathematics."""
    commits = ["a\x00b", "a\ud800b", "$x^$", "\u202egfe", *(f"commit{number}" for number in range(6))]
    entries = [
        HistoryEntry(
            f"2026-10-{number + 1:02d}T00:00:00+00:00", commit, "a machine", "a load",
            {"ttft_p50_ms": RecordedValue(200.0)},
        )
        for number, commit in enumerate(commits)
    ]  # fmt: skip
    (trend,) = trend_of(entries).trends
    svg = trend_chart("TTFT p50", trend, entries).svg
    labels = [element.text or "" for element in ET.fromstring(str(svg)).iter("text")]
    for text in (r"a\x00b", r"a\ud800b", "$x^$", r"\u202egfe"):
        assert text in labels
