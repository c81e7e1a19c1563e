from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from rich.console import Console

from harness.cli import main
from harness.reports.comparison_console import print_comparison
from harness.reports.comparison_page import (
    ComparisonPage,
    ComparisonView,
    compare_files,
    compare_results,
    unique_names,
)
from harness.reports.html import render_comparison
from harness.results.histogram import Histogram
from harness.results.reader import Results
from harness.results.records import CheckRecord
from harness.results.schema import ResultsError
from harness.results.writer import ResultsWriter

from . import samples
from .pagecheck import checked
from .samples import HOSTILE, MANIFEST, START


def _check(name: str, verdict: str, detail: str = "", level: str = "MUST") -> CheckRecord:
    return CheckRecord(id=name, level=level, verdict=verdict, detail=detail)


def _file(
    folder: Path, *checks: CheckRecord, ttft_ms: float | None = None, failed: int = 0, **manifest: Any
) -> Path:
    """A minute of load with about that TTFT, slightly different in each second."""
    path = folder / "results.sqlite"
    with ResultsWriter(path) as writer:
        writer.set_manifest(**{**MANIFEST, **manifest})
        writer.add_checks(checks)
        for second in range(60 if ttft_ms else 0):
            histogram = Histogram()
            wave = 1 + 0.01 * ((second * 7) % 5)
            histogram.record_many([(ttft_ms or 0.0) * wave * (1 + 0.004 * n) for n in range(50)])
            writer.add_histogram("ttft_ms", "fresh", START + second, "w0", histogram)
            writer.add_ledger("w0", START + second, "fresh", "scheduled", 50)
            writer.add_ledger("w0", START + second, "fresh", "done", 50)
            writer.add_rate_counts("w0", START + second, "fresh", "judged", 50)
            writer.add_rate_counts("w0", START + second, "fresh", "failed", failed)
    return path


def _compared(*paths: Path) -> ComparisonPage:
    return compare_files(paths)


def _rows(comparison: ComparisonView) -> dict[tuple[str, str], str]:
    return {(row.label, row.percentile): row.verdict for row in comparison.rows}


TTFT = "Time to first token (TTFT)"


@pytest.mark.usefixtures("without_charts")
def test_a_slower_test_is_worse_and_a_faster_one_better(tmp_path: Path) -> None:
    usual, slow, fast = (
        _file(tmp_path / name, ttft_ms=ms) for name, ms in (("a", 100), ("b", 140), ("c", 70))
    )
    page = _compared(usual, slow, fast)
    worse, better = page.comparisons
    assert (worse.name, worse.verdict, worse.tone) == ("b", "worse", "bad")
    assert (better.name, better.verdict, better.tone) == ("c", "better", "good")
    assert _rows(worse)[TTFT, "p95"] == "worse"
    assert _rows(better)[TTFT, "p50"] == "better"
    p50 = worse.rows[0]
    assert (p50.label, p50.percentile, p50.before, p50.after, p50.difference) == (
        TTFT,
        "p50",
        "112.0 ms",
        "156.7 ms",
        "+39.9%",
    )
    assert p50.detail
    assert page.headline.title == "1 of 2 worse: TTFT p50 +39.9%"
    assert page.headline.tone == "bad"
    assert page.headline.summary.startswith("b: worse: TTFT p50 112.0 ms to 156.7 ms (+39.9%), TTFT p9")
    assert "c: better: " in page.headline.summary
    assert page.headline.summary.endswith(
        "; 1 metric same; no conformance verdicts to compare. Baseline: `a`."
    )


@pytest.mark.usefixtures("without_charts")
def test_what_got_worse_comes_first_and_the_rest_is_folded(tmp_path: Path) -> None:
    usual, slow = _file(tmp_path / "a", ttft_ms=100), _file(tmp_path / "b", ttft_ms=100, failed=10)
    for path, pause in ((usual, 1.0), (slow, 40.0)):  # four seconds of sixty decide a p95: it says nothing
        with ResultsWriter(path) as writer:
            for second in range(60):
                histogram = Histogram()
                histogram.record_many([1000.0 * (pause if second < 4 else 1.0)] * 5)
                writer.add_histogram("duration_ms", "fresh", START + second, "w0", histogram)
    page = _compared(usual, slow)
    (comparison,) = page.comparisons
    assert [row.key for row in comparison.changed] == ["error_rate"]
    assert comparison.rows[0].key == "error_rate"
    assert page.headline.title == "Worse: error rate +20.00 pp"
    (median, *_) = [row for row in comparison.unchanged if row.key == "duration_p95_ms"]
    assert (median.verdict, median.difference) == ("inconclusive", "unclear")  # not +3,900%
    assert median.interval == "unknown"
    html = checked(render_comparison(page)).text
    assert html.index("Error rate") < html.index(f"{len(comparison.unchanged)} metrics without a sure change")


@pytest.mark.usefixtures("without_charts")
def test_what_the_terminal_folds_is_still_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    page = _compared(_file(tmp_path / "a", ttft_ms=100), _file(tmp_path / "b", ttft_ms=100, failed=10))
    print_comparison(page, Console(width=160, highlight=False))
    output = capsys.readouterr().out
    assert "same: ttft_p50_ms, ttft_p95_ms, ttft_p99_ms" in output
    assert output.rstrip().endswith("Worse: error rate +20.00 pp.")


@pytest.mark.usefixtures("without_charts")
def test_equal_tests_are_the_same_and_never_better_or_worse(tmp_path: Path) -> None:
    page = _compared(_file(tmp_path / "a", ttft_ms=100), _file(tmp_path / "b", ttft_ms=100))
    assert set(_rows(page.comparisons[0]).values()) <= {"same", "inconclusive"}
    assert page.headline.title in ("No difference", "Inconclusive")
    assert page.headline.tone == ("good" if page.headline.title == "No difference" else "warn")


def test_a_metric_of_one_test_alone_is_inconclusive(tmp_path: Path) -> None:
    page = _compared(_file(tmp_path / "a", ttft_ms=100), _file(tmp_path / "b"))
    (comparison,) = page.comparisons
    assert comparison.verdict == "inconclusive"
    assert {row.verdict for row in comparison.rows} == {"inconclusive"}
    assert {(row.after, row.difference, row.interval) for row in comparison.rows} == {
        ("\u2013", "\u2013", "\u2013")
    }
    assert all("not measured" in row.detail for row in comparison.rows)
    (footnote,) = comparison.footnotes
    assert {(row.detail, row.footnote) for row in comparison.rows} == {(footnote, 1)}
    assert checked(render_comparison(page)).text.count(footnote) == 2  # once in the headline
    assert len(page.charts) == 3


def test_two_empty_tests_are_not_the_same(tmp_path: Path) -> None:
    page = _compared(_file(tmp_path / "a"), _file(tmp_path / "b"))
    assert (page.headline.title, page.headline.tone) == ("Inconclusive", "warn")
    assert (page.charts, page.changes, page.comparisons[0].rows) == ((), (), ())


@pytest.mark.usefixtures("without_charts")
def test_a_saturated_harness_makes_every_metric_inconclusive(tmp_path: Path) -> None:
    usual, slow = _file(tmp_path / "a", ttft_ms=100), _file(tmp_path / "b", ttft_ms=200)
    lag = Histogram()
    lag.record(500.0)
    with ResultsWriter(slow) as writer:
        writer.add_histogram("schedule_lag_ms", "fresh", START, "w0", lag)
    page = _compared(usual, slow)
    assert set(_rows(page.comparisons[0]).values()) == {"inconclusive"}
    assert page.headline.notes == ("No metric of b can be compared: the harness was saturated in this test.",)


@pytest.mark.usefixtures("without_charts")
def test_conformance_changes_are_ordered_by_importance(tmp_path: Path) -> None:
    before = [
        _check("ids.unique", "pass"),
        _check("terminal.last", "fail", "2 events follow"),
        _check("ids.present", "pass"),
        _check("framing.utf8", "inconclusive"),
        _check("resume.start", "info", "replay", "INFO"),
        _check("conflict.form", "info", "http-409", "INFO"),
    ]
    after = [
        _check("ids.unique", "fail", "id 7 came twice"),
        _check("terminal.last", "pass"),
        _check("framing.utf8", "fail", "byte 0xff"),
        _check("resume.start", "info", "tail", "INFO"),
        _check("conflict.form", "info", "http-409", "INFO"),
    ]
    page = _compared(_file(tmp_path / "a", *before), _file(tmp_path / "b", *after))
    assert [(change.id, change.kind, change.results) for change in page.changes] == [
        ("framing.utf8", "broke", (("inconclusive", ""), ("fail", "byte 0xff"))),
        ("ids.unique", "broke", (("pass", ""), ("fail", "id 7 came twice"))),
        ("terminal.last", "fixed", (("fail", "2 events follow"), ("pass", ""))),
        ("ids.present", "changed", (("pass", ""), ("", "not tested"))),
        ("resume.start", "changed", (("info", "replay"), ("info", "tail"))),
    ]
    assert page.unchanged == 1
    assert page.headline.title == "Worse: 2 requirements broke (framing.utf8, ids.unique)"
    assert page.comparisons[0].sentence == (
        "b: 2 requirements broke (framing.utf8, ids.unique); 1 requirement was fixed (terminal.last)."
    )


@pytest.mark.usefixtures("without_charts")
def test_a_test_without_a_suite_changes_nothing(tmp_path: Path) -> None:
    checks = [_check("ids.unique", "pass"), _check("ids.present", "fail")]
    page = _compared(
        _file(tmp_path / "a", *checks),
        _file(tmp_path / "load", ttft_ms=100),
        _file(tmp_path / "b", _check("ids.unique", "pass"), _check("ids.present", "pass")),
    )
    assert [
        (change.id, change.kind, [verdict for verdict, _ in change.results]) for change in page.changes
    ] == [("ids.present", "fixed", ["fail", "", "pass"])]
    assert page.unchanged == 1
    assert page.comparisons[0].sentence == "load: 4 metrics inconclusive; no conformance verdicts to compare."


@pytest.mark.parametrize("verdict", ["not applicable", "inconclusive"])
@pytest.mark.usefixtures("without_charts")
def test_a_failure_that_was_not_checked_again_is_not_fixed(tmp_path: Path, verdict: str) -> None:
    page = _compared(
        _file(tmp_path / "a", _check("ids.unique", "fail")),
        _file(tmp_path / "b", _check("ids.unique", verdict)),
    )
    assert [change.kind for change in page.changes] == ["changed"]
    assert page.headline.title != "Better"


@pytest.mark.usefixtures("without_charts")
def test_equal_verdicts_are_the_same(tmp_path: Path) -> None:
    page = _compared(*(_file(tmp_path / name, _check("ids.unique", "pass")) for name in "ab"))
    assert (page.headline.title, page.headline.tone, page.unchanged) == ("No difference", "good", 1)


def _violating(path: Path, **counts: int) -> Path:
    with ResultsWriter(path) as writer:
        for name, times in counts.items():
            writer.count_violation(name.replace("_", ".", 1).replace("_", "-"), "fresh", "w0", times)
    return path


@pytest.mark.usefixtures("without_charts")
def test_a_new_violation_under_load_is_worse(tmp_path: Path) -> None:
    usual = _violating(_file(tmp_path / "a", ttft_ms=100), terminal_last=3, headers_no_cache=1)
    broken = _violating(_file(tmp_path / "b", ttft_ms=100), ids_unique=1200, terminal_exactly_one=1)
    page = _compared(usual, broken)
    assert page.violations == (
        ("headers.no-cache", ("1", "0")),
        ("ids.unique", ("0", "1,200")),
        ("terminal.exactly-one", ("0", "1")),
        ("terminal.last", ("3", "0")),
    )
    assert (page.headline.title, page.headline.tone) == ("Worse", "bad")
    assert "2 requirements newly violated under load; 1 requirement no longer violated under load;" in (
        page.comparisons[0].sentence
    )
    assert _compared(broken, usual).headline.title == "Worse"  # it violates a different requirement


@pytest.mark.usefixtures("without_charts")
def test_without_a_load_no_violation_is_fixed(tmp_path: Path) -> None:
    page = _compared(_violating(_file(tmp_path / "a", ttft_ms=100), ids_unique=3), _file(tmp_path / "b"))
    assert page.headline.title == "Inconclusive"
    assert "violated" not in page.headline.summary


@pytest.mark.usefixtures("without_charts")
def test_setup_differences_are_listed(tmp_path: Path) -> None:
    other = {**MANIFEST["machine"], "cores": 2}
    page = _compared(_file(tmp_path / "a"), _file(tmp_path / "b", machine=other, versions={}))
    assert ("machine.cores", ("8", "2")) in page.differing
    assert ("versions.python", ("3.11.9", "\u2013")) in page.differing
    assert not any(name == "machine.os" for name, _ in page.differing)


def test_names_are_the_folders_and_unique() -> None:
    main, branch = Path("/x/main/results.sqlite"), Path("/x/branch/results.sqlite")
    assert unique_names([main, branch]) == ("main", "branch")
    again = [Path("/x/1/run/results.sqlite"), Path("/x/2/run/results.sqlite"), Path("/x/2/other.sqlite")]
    assert unique_names(again) == ("1/run", "2/run", "other")
    assert unique_names([main, main, branch]) == ("main", "main (2)", "branch")


def test_the_page_is_valid_for_any_files(tmp_path: Path) -> None:
    paths = [
        samples.full(tmp_path / "full" / "results.sqlite"),
        samples.failing(tmp_path / "hostile" / "results.sqlite", HOSTILE),
        samples.empty(tmp_path / "empty" / "results.sqlite"),
    ]
    page = compare_files(paths)
    html = render_comparison(page)
    parsed = checked(html)
    assert "<script" not in html
    sections = ["verdict", "conformance", "metrics", "charts", "tests", "setup"]
    assert [name for name in parsed.ids if name in sections] == sections
    assert [chart.title for chart in page.charts] == [
        TTFT,
        "Inter-token latency (ITL)",
        "Stall",
        "Run duration",
        f"{TTFT}, median over time",
        f"{TTFT}, p95 over time",
    ]
    assert [entry.label for entry in page.charts[0].legend] == ["full", "hostile"]
    assert len(html) < 1_000_000


@pytest.mark.usefixtures("without_charts")
def test_the_console_prints_what_the_page_shows(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    usual = _file(tmp_path / "usual", _check("ids.unique", "pass"), ttft_ms=100)
    slow = _file(tmp_path / "[red]slow", _check("ids.unique", "fail", HOSTILE), ttft_ms=150)
    print_comparison(_compared(usual, slow), Console(width=160, highlight=False))
    output = capsys.readouterr().out
    assert output.index("ids.unique") < output.index("ttft_p95_ms")
    assert "\x1b" not in output
    assert "\u202e" not in output
    assert "[red]slow: 1 requirement broke (ids.unique); worse: TTFT p50 112.0 ms to " in output
    assert output.rstrip().endswith("Worse: 1 requirement broke (ids.unique).")


def test_one_file_or_a_missing_file_raises_an_error(tmp_path: Path) -> None:
    path = _file(tmp_path / "a")
    with Results(path) as results, pytest.raises(ValueError, match="needs at least two results files"):
        compare_results([results], ["a"])
    with pytest.raises(ResultsError, match="no such results file"):
        compare_files([path, tmp_path / "gone.sqlite"])


def test_the_verb_prints_the_comparison_and_writes_the_page(tmp_path: Path) -> None:
    before = _file(tmp_path / "before", _check("ids.unique", "pass"), ttft_ms=100)
    after = _file(tmp_path / "after", _check("ids.unique", "fail", "twice"), ttft_ms=100)
    out = tmp_path / "deep" / "compare.html"
    done = CliRunner().invoke(main, ["compare", str(before.parent), str(after), "--out", str(out)])
    assert (done.exit_code, done.exception) == (0, None)
    assert "after: 1 requirement broke (ids.unique); 4 metrics same." in " ".join(done.output.split())
    assert done.output.endswith(f"comparison: {out}\n")
    assert checked(out.read_text(encoding="utf-8")).text.startswith(
        "Worse: 1 requirement broke (ids.unique): comparison of agent-run tests before, after"
    )


def test_the_page_is_written_before_the_table_is_printed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The pipe may be closed early: `harness compare ... | head`."""

    def pipe_is_closed(*_: object) -> None:
        raise BrokenPipeError

    monkeypatch.setattr("harness.reports.comparison_console.print_comparison", pipe_is_closed)
    out = tmp_path / "compare.html"
    files = [str(_file(tmp_path / name)) for name in ("before", "after")]
    CliRunner().invoke(main, ["compare", *files, "--out", str(out)])
    assert out.read_text(encoding="utf-8").startswith("<!doctype html>")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["a"], "compare takes 2 to 8 results files or folders, not 1"),
        (["a"] * 9, "compare takes 2 to 8 results files or folders, not 9"),
        (["a", "gone"], "gone: no such results file"),
    ],
)
def test_invalid_arguments_give_one_error_message(tmp_path: Path, arguments: list[str], message: str) -> None:
    _file(tmp_path / "a")
    done = CliRunner().invoke(main, ["compare", *(str(tmp_path / name) for name in arguments)])
    assert done.exit_code == 2
    assert message in done.output
    assert "Traceback" not in done.output


@pytest.mark.usefixtures("without_charts")
def test_no_text_of_a_file_controls_the_terminal(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Each place alone: the console that the verbs use would hide a place that escapes nothing."""
    usual = _file(tmp_path / "usual", _check("ids.unique", "pass"), ttft_ms=100)
    slow = _file(tmp_path / "slow", _check("ids.unique", "fail"), ttft_ms=150)
    page = _compared(usual, slow)

    def evil(place: str) -> str:
        return f"{place}\x1b[31m\u202e"

    change, comparison = page.changes[0], page.comparisons[0]
    hostile = replace(
        page,
        tests=tuple(replace(test, name=evil("test")) for test in page.tests),
        headline=replace(page.headline, notes=(evil("note"),)),
        changes=(replace(change, id=evil("id"), results=((evil("verdict"), evil("cell")),) * 2),),
        comparisons=(
            replace(
                comparison,
                name=evil("name"),
                sentence=evil("sentence"),
                rows=tuple(replace(row, detail=evil("detail")) for row in comparison.rows),
            ),
        ),
    )
    print_comparison(hostile, Console(width=160, highlight=False))
    output = capsys.readouterr().out
    for place in ("test", "note", "id", "verdict", "cell", "name", "sentence", "detail"):
        assert f"{place}\\x1b[31m\\u202e" in output, place
    assert "\x1b" not in output
    assert "\u202e" not in output
