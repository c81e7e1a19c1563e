from pathlib import Path

from tests.reports.million import Bar, make_results, measure


def test_a_bar_is_met_up_to_its_limit() -> None:
    assert Bar("size", 3.0, 3.0, "MB").is_met
    assert not Bar("size", 3.01, 3.0, "MB").is_met
    assert str(Bar("size", 3.01, 3.0, "MB")) == "MISSED: size 3.01 MB, at most 3 MB"


def test_it_measures_a_page_with_everything_on_it(tmp_path: Path) -> None:
    make_results(tmp_path / "results.sqlite", runs=200, seconds=4)
    bars = measure(tmp_path / "results.sqlite", tmp_path / "report.html")
    assert [bar.unit for bar in bars] == ["MB", "s", "MB"]
    assert all(bar.value > 0 for bar in bars)
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    for part in (
        "heat map",
        "The 10 slowest runs",
        "terminal.last: fail",
        "Discovered policies",
        "stall_p99_ms",
    ):
        assert part in page
