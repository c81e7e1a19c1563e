import io

import pytest
from rich.console import Console

from harness.gate.baseline import Comparison
from harness.gate.console import print_report
from harness.gate.objectives import GateReport, GateRow


def printed(report):
    console = Console(file=io.StringIO(), width=120, color_system=None)
    print_report(report, console)
    return console.file.getvalue()


def line(text, start):
    (found,) = (line for line in text.splitlines() if line.strip("│┃ ").startswith(start))
    return [cell.strip() for cell in found.strip("│").split("│")]


def test_rows_show_value_limit_verdict_and_headroom():
    text = printed(
        GateReport(
            rows=(
                GateRow("ttft_p95_ms", 1600.0, 800.0, "missed"),
                GateRow("error_rate", 0.0005, 0.001, "held"),
                GateRow("resume_p50_ms", None, 10.0, "not measured"),
                GateRow("conformance", 1.0, 0.0, "missed", "ids.unique (fail)"),
                GateRow("goodput", 0.9, 0.99, "missed", at_least=True),
                GateRow("stall_p99_ms", 9.0, 10.0, "inconclusive", "the harness was saturated"),
            ),
            comparisons=(),
            tested=True,
        )
    )
    assert line(text, "ttft_p95_ms") == ["ttft_p95_ms", "1,600.00 ms", "800.00 ms", "missed", "-100%", ""]
    assert line(text, "error_rate") == ["error_rate", "0.050%", "0.100%", "held", "50%", ""]
    assert line(text, "resume_p50_ms") == ["resume_p50_ms", "-", "10.00 ms", "not measured", "", ""]
    assert line(text, "conformance") == ["conformance", "1", "0", "missed", "", "ids.unique (fail)"]
    assert line(text, "goodput") == ["goodput", "90.000%", "at least 99.000%", "missed", "-9%", ""]
    assert line(text, "stall_p99_ms")[3:] == ["inconclusive", "10%", "the harness was saturated"]
    assert "Against the baseline" not in text
    assert text.endswith("Gate: missed.\n")


def test_comparisons_show_difference_and_interval():
    worse = Comparison("ttft_p50_ms", 220.0, 200.0, 0.1, 0.08, 0.123, "worse")
    unknown = Comparison("stall_p50_ms", None, 5.0, None, None, None, "inconclusive", "not measured here")
    text = printed(GateReport((), (worse, unknown), tested=True))
    assert line(text, "ttft_p50_ms") == [
        "ttft_p50_ms",
        "200.00 ms",
        "220.00 ms",
        "+10.0%",
        "+8.0% to +12.3%",
        "worse",
        "",
    ]
    assert line(text, "stall_p50_ms") == [
        "stall_p50_ms",
        "5.00 ms",
        "-",
        "",
        "",
        "inconclusive",
        "not measured here",
    ]


@pytest.mark.parametrize(
    ("row", "tested", "sentence"),
    [
        (GateRow("violations", 0.0, 0.0, "held"), True, "Gate: held."),
        (GateRow("violations", 1.0, 0.0, "missed"), True, "Gate: missed."),
        (
            GateRow("ttft_p50_ms", None, 1.0, "not measured"),
            True,
            "not held, because an objective was not measured",
        ),
        (GateRow("ttft_p50_ms", 1.0, 2.0, "inconclusive"), True, "Gate: inconclusive, which is no pass"),
        (GateRow("violations", 0.0, 0.0, "held"), False, "nothing was tested, so nothing is held"),
    ],
)
def test_the_outcome_is_a_sentence(row, tested, sentence):
    assert sentence in printed(GateReport((row,), (), tested))


def test_markup_in_a_detail_is_shown_as_it_is():
    row = GateRow("conformance", 1.0, 0.0, "missed", "[link=http://x]a[/link] [/red]")
    assert "[link=http://x]a[/link] [/red]" in printed(GateReport((row,), (), tested=True))


def test_why_the_harness_was_saturated_is_said_once():
    row = GateRow("ttft_p50_ms", 1.0, 2.0, "inconclusive", "the harness was saturated")
    text = printed(GateReport((row, row), (), True, ("it was busy", "it was late")))
    assert text.count("The harness was saturated: it was busy; it was late.") == 1
    assert "The harness was saturated" not in printed(GateReport((row,), (), True))
