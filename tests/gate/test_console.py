import io

import pytest
from rich.console import Console

from harness.gate.comparison import Comparison
from harness.gate.console import (
    format_change,
    format_change_interval,
    format_headroom,
    format_interval,
    format_value,
    outcome_sentence,
    print_report,
)
from harness.gate.report import GateReport, GateRow

ROWS = (
    GateRow("ttft_p95_ms", 712.34, 800.0, "passed", "close", interval=(640.2, 820.46)),
    GateRow("duration_p99_ms", 17234.5, 20000.0, "passed", interval=(15001.4, 19500.2)),
    GateRow("resume.resume_p99_ms", None, 1500.0, "not measured", "no journey 'resume' was travelled"),
    GateRow("fresh.error_rate", 0.012, 0.01, "failed", interval=(0.008, 0.017)),
    GateRow("goodput", 0.9, 0.99, "failed", at_least=True),
    GateRow("stall_p50_ms", 0.123, 10.0, "inconclusive", "the harness was saturated"),
    GateRow("violations", 12.0, 0.0, "failed"),
    GateRow("repeat 1: fresh.error_rate", 0.5, 0.01, "failed"),
)
COMPARISONS = (
    Comparison("ttft_p95_ms", 220.0, 200.0, 0.1, 0.08, 0.123, "worse", "", 0.05, (2, 10)),
    Comparison("stall_p50_ms", None, 5.0, None, None, None, "inconclusive", "not measured here"),
    Comparison(
        "fresh.error_rate", 0.012, 0.01, 0.002, -0.004, 0.008, "same", "", 0.005, (2, 10), relative=False
    ),
)


def printed(report, width=120):
    console = Console(file=io.StringIO(), width=width, color_system=None)
    print_report(report, console)
    return console.file.getvalue()


def line(text, name):
    """The cells of a row, which are separated by two or more spaces."""
    (found,) = (line for line in text.splitlines() if f"  {name}  " in line)
    return [cell for cell in found.rstrip().split("  ") if cell.strip()]


def test_rows_show_value_limit_interval_headroom_and_verdict():
    text = printed(GateReport(ROWS, (), tested=True))
    cells = {row.name: [cell.strip() for cell in line(text, row.name)] for row in ROWS}
    assert cells == {
        "ttft_p95_ms": ["passed", "ttft_p95_ms", "712.3", "≤ 800", "640.2 to 820.5"],
        "duration_p99_ms": ["passed", "duration_p99_ms", "17,234", "≤ 20,000", "15,001 to 19,500", "14%"],
        "resume.resume_p99_ms": ["not measured", "resume.resume_p99_ms", "-", "≤ 1,500"],
        "fresh.error_rate": ["failed", "fresh.error_rate", "1.2%", "≤ 1%", "0.8 to 1.7%"],
        "goodput": ["failed", "goodput", "90%", "≥ 99%", "-9%"],
        "stall_p50_ms": ["inconclusive", "stall_p50_ms", "0.12", "≤ 10"],
        "violations": ["failed", "violations", "12", "≤ 0"],
        "repeat 1: fresh.error_rate": [
            "failed",
            "repeat 1: fresh.error_rate",
            "50%",
            "≤ 1%",
            "50x the limit",
        ],
    }
    for detail in ("ttft_p95_ms: close", "stall_p50_ms: the harness was saturated"):
        assert f"\n{detail}\n" in text
    assert "Against the baseline" not in text
    assert text.endswith("Gate: failed.\n")


def test_comparisons_show_before_after_change_interval_and_smallest_effect():
    text = printed(GateReport((), COMPARISONS, tested=True, confidence=0.9875))
    assert "Against the baseline (10 tests before, 2 now)" in text
    assert "98.8% interval" in text
    cells = {one.key: [cell.strip() for cell in line(text, one.key)] for one in COMPARISONS}
    assert cells == {
        "ttft_p95_ms": ["worse", "ttft_p95_ms", "200", "220", "+10.0%", "+8.0 to +12.3%", "5.0%"],
        "stall_p50_ms": ["inconclusive", "stall_p50_ms", "5", "-"],
        "fresh.error_rate": [
            "same",
            "fresh.error_rate",
            "1%",
            "1.2%",
            "+0.20 pp",
            "-0.40 to +0.80 pp",
            "0.50 pp",
        ],
    }
    assert "\nstall_p50_ms: not measured here\n" in text


@pytest.mark.parametrize("width", [80, 100, 160])
def test_no_number_is_cut_off_at_any_usual_width(width):
    text = printed(GateReport(ROWS, COMPARISONS, tested=True), width)
    assert max(map(len, text.splitlines())) <= width
    for number in ("15,001 to 19,500", "≤ 20,000", "0.8 to 1.7%", "-0.40 to +0.80 pp", "0.50 pp", "headroom"):
        assert number in text
    assert "…" not in text


def test_a_single_test_is_singular():
    one = Comparison("ttft_p50_ms", 2.0, 1.0, 1.0, 0.9, 1.1, "worse", runs=(1, 1))
    assert "(1 test before, 1 now)" in printed(GateReport((), (one,), tested=True))


def test_notes_stand_below_the_tables():
    text = printed(GateReport(ROWS[:2], COMPARISONS[:1], True, notes=("it is of another target",)))
    assert "\nNote: it is of another target.\n" in text


@pytest.mark.parametrize(
    ("verdicts", "fails", "sentence"),
    [
        (["same", "same"], False, "Gate: passed. Against the baseline: same in a, b."),
        (["same", "better"], False, "Gate: passed. Against the baseline: better in b (+0.0%); same in a."),
        (
            ["same", "inconclusive"],
            False,
            "Gate: passed. Against the baseline: same in a; inconclusive in b.",
        ),
        (["same", "inconclusive"], True, "too little data to compare with the baseline."),
        (["same", "worse"], False, "Gate: failed. Against the baseline: worse in b (+0.0%); same in a."),
    ],
)
def test_the_outcome_says_what_the_comparison_found_the_worst_first(verdicts, fails, sentence):
    comparisons = tuple(
        Comparison(name, 1.0, 1.0, 0.0, -0.1, 0.1, verdict)
        for name, verdict in zip("ab", verdicts, strict=True)
    )
    report = GateReport(ROWS[:1], comparisons, True, inconclusive_fails=fails)
    assert outcome_sentence(report).endswith(sentence)


def test_numbers_for_other_readers():
    assert format_interval(ROWS[0]) == "640.2 to 820.5"
    assert format_interval(ROWS[2]) == ""
    assert format_change(COMPARISONS[0], -0.0321) == "-3.2%"
    assert format_change(COMPARISONS[2], 0.0321) == "+3.21 pp"
    assert format_change(COMPARISONS[1], None) == ""
    assert format_value("repeat 1: fresh.error_rate", 0.5) == "50.000%"
    assert format_value("resume.resume_p99_ms", 1500) == "1,500.00 ms"
    assert format_value("my.violations", 3) == "3"
    assert format_value("violations", None) == "-"


@pytest.mark.parametrize(
    ("row", "tested", "sentence"),
    [
        (GateRow("violations", 0.0, 0.0, "passed"), True, "Gate: passed."),
        (GateRow("violations", 1.0, 0.0, "failed"), True, "Gate: failed."),
        (
            GateRow("ttft_p50_ms", None, 1.0, "not measured"),
            True,
            "not passed (exit 1): an objective was not measured",
        ),
        (GateRow("ttft_p50_ms", 1.0, 2.0, "inconclusive"), True, "Gate: inconclusive (exit 1)"),
        (GateRow("violations", 0.0, 0.0, "passed"), False, "nothing was tested (exit 2)"),
    ],
)
def test_the_outcome_is_a_sentence(row, tested, sentence):
    assert sentence in printed(GateReport((row,), (), tested))


def test_markup_in_a_detail_is_shown_as_it_is():
    row = GateRow("conformance", 1.0, 0.0, "failed", "[link=http://x]a[/link] [/red]")
    assert "[link=http://x]a[/link] [/red]" in printed(GateReport((row,), (), tested=True))


def test_the_reason_for_saturation_is_printed_once():
    row = GateRow("ttft_p50_ms", 1.0, 2.0, "inconclusive", "the harness was saturated")
    text = printed(GateReport((row, row), (), True, ("it was busy", "it was late")))
    assert text.count("The harness was saturated: it was busy; it was late.") == 1
    assert "The harness was saturated" not in printed(GateReport((row,), (), True))


@pytest.mark.parametrize(
    ("value", "shown"),
    [(50.0, "50%"), (100.0, "0%"), (450.0, "-350%"), (500.0, "5x the limit"), (94_300.0, "943x the limit")],
)
def test_a_value_far_beyond_its_limit_is_shown_as_a_multiple(value: float, shown: str) -> None:
    assert format_headroom(GateRow("ttft_p50_ms", value, 100.0, "failed")) == shown


def test_equal_error_rates_do_not_stand_in_for_latencies() -> None:
    same = Comparison("error_rate", 0.0, 0.0, 0.0, -0.01, 0.01, "same", "", 0.005, (1, 1), relative=False)
    unknown = Comparison(
        "ttft_p50_ms", 90.0, 3.0, None, None, None, "inconclusive", "too few seconds of data"
    )
    assert GateReport(ROWS[:2], (same, unknown), tested=True).outcome == "inconclusive"
    assert GateReport(ROWS[:2], (same,), tested=True).outcome == "passed"


@pytest.mark.parametrize(
    ("low", "high", "shown"),
    [
        (-0.05, 0.1, "-5.0% to +10.0%"),
        (-0.5, 25.0, "-50.0% to more than +1,000%"),
        (12.0, 13322912379.9, "more than +1,000% to more than +1,000%"),
        (None, None, "unknown"),
    ],
)
def test_an_end_of_an_interval_has_no_digits_without_meaning(low, high, shown):
    assert format_change_interval(Comparison("stall_p50_ms", 1, 2, -0.5, low, high, "inconclusive")) == shown


def test_what_was_not_compared_has_no_interval():
    assert format_change_interval(COMPARISONS[1]) == ""
