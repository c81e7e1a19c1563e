"""`harness trend`, and the history that `harness gate --update-baseline` writes."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result

from harness.cli import main
from harness.gate.history import read_history
from harness.results.histogram import Histogram
from harness.results.writer import ResultsWriter


@pytest.fixture(autouse=True)
def _alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.upper().startswith(("HARNESS_", "GITHUB_", "CI_"))]:
        monkeypatch.delenv(name)


def run(*arguments: object, expected: int = 0) -> Result:
    done = CliRunner().invoke(main, [str(argument) for argument in arguments])
    assert done.exit_code == expected, done.output
    return done


def write(path: Path, number: int, ttft_ms: float) -> Path:
    """The results of a test of 30 s whose latencies have some noise."""
    rng = np.random.default_rng(number)
    settings: dict[str, Any] = {
        "load": {"rate": 20.0, "duration": 30.0},
        "objectives": {"ttft_p95_ms": 5_000.0},
    }
    with ResultsWriter(path) as writer:
        started_at = f"2026-10-{1 + number // 24:02d}T{number % 24:02d}:00:00+00:00"
        writer.set_manifest(started_at=started_at, settings=settings, load_state="finished")
        level = ttft_ms * np.exp(rng.normal(0, 0.002))
        for second in range(30):
            histogram = Histogram()
            histogram.record_many(rng.normal(level, level / 10, 20))
            writer.add_histogram("ttft_ms", "fresh", second, "w", histogram)
            for counter in ("judged", "runs", "good"):
                writer.add_rate_counts("w", second, "fresh", counter, 20)
            writer.add_ledger("w", second, "fresh", "scheduled", 20)
            writer.add_ledger("w", second, "fresh", "done", 20)
    return path


@pytest.mark.slow
def test_ten_steps_of_4_percent_that_each_pass_are_found(tmp_path: Path) -> None:
    """Each step passes the gate and joins the baseline; the history shows the drift and where it began."""
    levels = [300.0] * 6 + [300 * 1.04**step for step in range(1, 11)]
    output = ""
    for number, level in enumerate(levels):
        file = write(tmp_path / f"{number}.sqlite", number, level)
        done = run(
            "gate", file, "--baseline", "main", "--update-baseline", "--keep", 1, "--commit", f"c{number}"
        )
        assert "added to the baseline" in done.output
        output = done.output
    assert "baseline: ttft_p50_ms is +" in output
    assert len(list((tmp_path / "main").glob("*.sqlite"))) == 1
    shown = run("trend", "main", "--out", "trend.html").output
    assert "Drifted: Time to first token (TTFT) p50 +" in shown
    row = next(line for line in shown.splitlines() if "ttft_p50_ms" in line)
    assert any(f"c{began} " in row for began in (5, 6, 7)), row
    assert "worse" in row
    page = (tmp_path / "trend.html").read_text()
    assert "Drifted: " in page
    assert "trend-ttft-p50-ms" in page
    assert "<script" not in page


def test_a_steady_server_has_no_drift(tmp_path: Path) -> None:
    for number in range(8):
        file = write(tmp_path / f"{number}.sqlite", number, 300.0)
        run("gate", file, "--baseline", "main", "--update-baseline")
    shown = run("trend", "main").output
    assert "No drift." in shown
    assert "8 tests in the history." in shown
    assert (tmp_path / "trend.html").is_file()


def test_a_young_history_says_so(tmp_path: Path) -> None:
    run("gate", write(tmp_path / "1.sqlite", 1, 300.0), "--baseline", "main", "--update-baseline")
    shown = run("trend", "main").output
    assert "Too few tests for a trend (1): at least 8 are needed" in shown
    assert "No trend yet." in shown


def test_the_commit_of_the_ci_system_is_recorded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CI_COMMIT_SHA", "0123abcd")
    run("gate", write(tmp_path / "1.sqlite", 1, 300.0), "--baseline", "main", "--update-baseline")
    assert [entry.commit for entry in read_history(tmp_path / "main")] == ["0123abcd"]


def test_a_file_as_the_baseline_has_no_history(tmp_path: Path) -> None:
    run("gate", write(tmp_path / "1.sqlite", 1, 300.0), "--baseline", "main.sqlite", "--update-baseline")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["1.sqlite", "main.sqlite"]
    shown = run("trend", "main.sqlite", expected=2).output
    assert "no such baseline folder" in shown


def test_a_wrong_commit_is_refused(tmp_path: Path) -> None:
    file = write(tmp_path / "1.sqlite", 1, 300.0)
    done = run("gate", file, "--baseline", "main", "--update-baseline", "--commit", "a b", expected=2)
    assert "is not a commit" in done.output
    assert not (tmp_path / "main").exists()
