"""What a test's writer adds up at its end is what a reader would add up."""

from __future__ import annotations

import shutil
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness.gate import confidence_intervals
from harness.gate.confidence_intervals import estimate_of_seconds, percentile_estimate
from harness.reports.html import write_report
from harness.results.histogram import Histogram
from harness.results.reader import Results
from harness.results.schema import WITHOUT_TOTALS
from harness.results.stored_histograms import HistogramPart, StoredHistograms
from harness.results.summary import write_summary
from harness.results.totals import store_totals
from harness.results.writer import ResultsWriter
from tests.results.files import of
from tests.results.large_file import START, write_large_file

PARTS: tuple[HistogramPart, ...] = ("measured", "warm-up", "whole")


@pytest.fixture(scope="module")
def single(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A test with a warm-up, of several journeys and workers, as it is when its writer was killed."""
    path = tmp_path_factory.mktemp("single") / "results.sqlite"
    write_large_file(path, runs=100, seconds=5)
    with ResultsWriter(path) as writer:
        writer.set_manifest(measured_from=START + 1, warmup_s=1.0)
        writer.add_histogram("conflict_ms", "conflict", START + 30, "worker-9", of(1.5, 2.5))
        writer.add_histogram("hub_delay_ms", "", START, "worker-1", of(-0.5, 0.0, 1e9))
    return path


@pytest.fixture(scope="module")
def added_up(single: Path) -> Path:
    path = single.with_name("added-up.sqlite")
    shutil.copy(single, path)
    store_totals(path)
    return path


def numbers(histogram: Histogram) -> tuple[Any, ...]:
    return (
        histogram.buckets()[1].tolist(),
        histogram.count,
        histogram.min,
        histogram.max,
        pytest.approx(histogram.sum),
    )


def answers(path: Path) -> dict[Any, Any]:
    """Every answer that a file gives about its histograms."""
    with Results(path) as results:
        found: dict[Any, Any] = {"metrics": results.metrics(), "journeys": results.journeys()}
        for metric in (*results.metrics(), "unknown"):
            for part in PARTS:
                for journey in (None, "fresh", "conflict", ""):
                    found[metric, part, journey] = numbers(results.histogram(metric, journey, part))
                    by_second = results.histograms_by_second(
                        metric, journey, part, width_s=2, first=START - 1
                    )
                    found[metric, part, journey, "by second"] = {
                        second: numbers(histogram) for second, histogram in by_second.items()
                    }
                by_worker = results.histograms_by_worker(metric, part)
                found[metric, part] = {worker: numbers(histogram) for worker, histogram in by_worker.items()}
        return found


@pytest.fixture(scope="module")
def expected(single: Path) -> dict[Any, Any]:
    return answers(single)


def test_stored_totals_are_the_sums(added_up: Path, expected: dict[Any, Any]) -> None:
    assert expected["ttft_ms", "whole", None][1] == 100
    assert answers(added_up) == expected


def test_a_file_of_the_version_before_is_added_up_when_it_is_read(
    single: Path, expected: dict[Any, Any], tmp_path: Path
) -> None:
    old = tmp_path / "old.sqlite"
    shutil.copy(single, old)
    with closing(sqlite3.connect(old)) as db:
        db.executescript(
            "DROP TABLE histogram_totals; DROP TABLE histogram_seconds; DROP TABLE scrapes; "
            "ALTER TABLE streams DROP COLUMN trace_id; "
            f"PRAGMA user_version = {WITHOUT_TOTALS}"
        )
    assert answers(old) == expected
    with Results(old) as results:
        assert results.schema_version == WITHOUT_TOTALS


def no_sums(*_: object) -> None:
    raise AssertionError("the single histograms were added up")


def test_who_reads_a_finished_test_adds_nothing_up(
    single: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "results.sqlite"
    shutil.copy(single, path)
    write_summary(path)
    monkeypatch.setattr(StoredHistograms, "_all", no_sums)
    write_report(path, tmp_path / "report.html")
    with Results(path) as results:
        assert results.histogram("ttft_ms").count == 80
    with Results(single) as results, pytest.raises(AssertionError, match="added up"):
        results.histogram("ttft_ms")


@pytest.mark.parametrize("change", ["a histogram", "the end of the warm-up"])
def test_a_later_change_removes_them(added_up: Path, tmp_path: Path, change: str) -> None:
    path = tmp_path / "results.sqlite"
    shutil.copy(added_up, path)
    with ResultsWriter(path) as writer:
        if change == "a histogram":
            writer.add_histogram("ttft_ms", "fresh", START + 3, "worker-1", of(7.0))
        else:
            writer.set_manifest(measured_from=START)
    with Results(path) as results:
        assert results.histogram("ttft_ms").count == (81 if change == "a histogram" else 100)
    store_totals(path)
    with Results(path) as results:
        assert results.histogram("ttft_ms").count == (81 if change == "a histogram" else 100)


def test_what_else_is_written_later_does_not_remove_them(added_up: Path, tmp_path: Path) -> None:
    path = tmp_path / "results.sqlite"
    shutil.copy(added_up, path)
    with ResultsWriter(path) as writer:
        writer.set_manifest(state="finished", load_notes=["a note"])
        writer.add_ledger("worker-1", START, "fresh", "done")
    with closing(sqlite3.connect(path)) as db:
        assert db.execute("SELECT count(*) FROM histogram_totals").fetchone()[0] > 0


def test_sums_by_second_are_not_stored_twice(tmp_path: Path) -> None:
    path = tmp_path / "results.sqlite"
    with ResultsWriter(path) as writer:
        for second in range(3):
            writer.add_histogram("ttft_ms", "fresh", START + second, "w", of(1.0))
            writer.add_histogram("duration_ms", "fresh", START + second, "w", of(1.0))
            writer.add_histogram("duration_ms", "replay", START + second, "w", of(2.0))
    store_totals(path)
    with closing(sqlite3.connect(path)) as db:
        assert set(db.execute("SELECT DISTINCT metric FROM histogram_seconds")) == {("duration_ms",)}
    with Results(path) as results:
        assert list(results.histograms_by_second("ttft_ms")) == [START, START + 1, START + 2]


def test_intervals_of_a_long_test_are_those_of_its_single_seconds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A day by the second would take a gigabyte."""
    path, rng = tmp_path / "results.sqlite", np.random.default_rng(3)
    seconds = {START + 5 + second: of(*rng.lognormal(5, 0.5, 30)) for second in range(100) if second % 7}
    with ResultsWriter(path) as writer:
        writer.set_manifest(measured_from=START + 5)
        writer.add_histogram("ttft_ms", "fresh", START, "w", of(1.0))
        for second, histogram in seconds.items():
            writer.add_histogram("ttft_ms", "fresh", second, "w", histogram)
    monkeypatch.setattr(confidence_intervals, "MOST_ROWS", 30)
    with Results(path) as results:
        assert percentile_estimate(results, "ttft_ms", 95.0) == estimate_of_seconds(seconds, 95.0)
