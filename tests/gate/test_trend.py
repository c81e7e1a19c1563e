"""Drift in the history of a baseline."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

import harness.reports
from harness.gate.change_points import PERMUTATIONS
from harness.gate.equivalence import Effects
from harness.gate.history import HistoryEntry, RecordedValue
from harness.gate.trend import LEAST_TESTS, Trend, trend_of
from harness.reports.trend_page import drift_sentences, trend_page
from tests.docs.pages import ROOT

STEADY = ("ttft_p95_ms", "inter_token_p50_ms", "duration_p50_ms", "duration_p95_ms")


def history(
    levels: Sequence[float],
    *,
    key: str = "ttft_p50_ms",
    middle: float = 200.0,
    sd: float = 0.015,
    seed: int = 1,
) -> list[HistoryEntry]:
    """A test per level, of which one metric follows the levels; the noise of a test is a share of its value."""
    rng = np.random.default_rng(seed)
    entries = []
    for number, level in enumerate(levels):
        values = {name: RecordedValue(300 * float(np.exp(rng.normal(0, sd)))) for name in STEADY}
        values[key] = RecordedValue(middle * level * float(np.exp(rng.normal(0, sd))))
        at = f"2026-10-{1 + number // 24:02d}T{number % 24:02d}:00:00+00:00"
        entries.append(HistoryEntry(at, f"commit{number}", "a machine", "a load", values))
    return entries


def only_drift(trend: Trend, key: str = "ttft_p50_ms"):  # type: ignore[no-untyped-def]
    by_name = {one.name: one for one in trend.trends}
    assert all(not one.drifts for name, one in by_name.items() if name != key)
    (drift,) = by_name[key].drifts
    assert by_name[key].latest == (None if drift.verdict == "small" else drift)
    return drift


@pytest.mark.parametrize("each", [1, 3])
@pytest.mark.parametrize("seed", range(5))
def test_ten_steps_of_4_percent_are_one_drift_that_began_with_the_first(each: int, seed: int) -> None:
    steps = [1.04**step for step in range(1, 11) for _ in range(each)]
    drift = only_drift(trend_of(history([1.0] * 10 + steps, seed=seed)))
    assert drift.verdict == "worse"
    assert abs(drift.began - 10) <= 2
    assert drift.after / drift.before > 1.25


@pytest.mark.parametrize(
    ("noise", "each", "off"),
    [(0.01, 1, 1), (0.02, 1, 1), (0.01, 3, 3), (0.02, 3, 3), (0.04, 1, 6), (0.04, 3, 6)],
)
def test_the_begin_is_as_exact_as_page_and_documentation_say(noise: float, each: int, off: int) -> None:
    """off: tests between the true begin and the one found, at most."""
    steps = [1.04**step for step in range(1, 11) for _ in range(each)]
    for seed in range(3):
        trend = trend_of(history([1.0] * 10 + steps, sd=noise, seed=seed))
        began = next(drift.began for one in trend.trends if one.name == "ttft_p50_ms" for drift in one.drifts)
        assert abs(began - 10) <= off
    promise = (
        "With noise of 2% or less from test to test, it is right to within one test, and up to three tests early if "
        "the level changes only every third test; with noise of 4%, it is up to six tests off."
    )
    template = Path(harness.reports.__file__).parent / "templates" / "trend.html.j2"
    for page in (ROOT / "docs" / "gate.md", template):
        assert promise in " ".join(page.read_text(encoding="utf-8").split()), page


def test_a_step_is_found_with_its_commit() -> None:
    entries = history([1.0] * 12 + [1.12] * 6)
    trend = trend_of(entries)
    drift = only_drift(trend)
    assert trend.entries[drift.began].commit == "commit12"
    assert drift.steps == (12,)
    assert (drift.before, drift.after) == (pytest.approx(200, rel=0.02), pytest.approx(224, rel=0.02))


def test_a_steady_server_has_none() -> None:
    assert all(not one.drifts for one in trend_of(history([1.0] * 40)).trends)


def test_what_was_mended_is_two_drifts_and_the_latest_counts() -> None:
    by_name = {one.name: one for one in trend_of(history([1.0] * 12 + [1.2] * 10 + [1.0] * 10)).trends}
    worse, better = by_name["ttft_p50_ms"].drifts
    assert (worse.verdict, worse.began, better.verdict, better.began) == ("worse", 12, "better", 22)
    assert by_name["ttft_p50_ms"].latest == better


def test_a_change_below_the_smallest_effect_is_small() -> None:
    drift = only_drift(trend_of(history([1.0] * 20 + [1.03] * 20, sd=0.005)))
    assert drift.verdict == "small"
    smaller = only_drift(
        trend_of(history([1.0] * 20 + [1.03] * 20, sd=0.005), Effects(relative=0.01, ms=1.0))
    )
    assert smaller.verdict == "worse"


def test_lower_goodput_is_worse() -> None:
    entries = history([1.0] * 12 + [0.95] * 12, key="goodput", middle=0.99, sd=0.001)
    assert only_drift(trend_of(entries), "goodput").verdict == "worse"


def test_tests_with_a_different_load_are_left_out() -> None:
    entries = history([1.0] * 12 + [1.5] * 12)
    other = [
        HistoryEntry(one.started_at, one.commit, one.machine, "other", one.values) for one in entries[:12]
    ]
    trend = trend_of([*other, *entries[12:]])
    assert (len(trend.entries), trend.left_out) == (12, 12)
    assert all(not one.drifts for one in trend.trends)
    assert any("12 older tests with a different load" in note for note in trend.notes)


def test_a_change_of_the_machine_is_named() -> None:
    entries = history([1.0] * 20)
    moved = [HistoryEntry(one.started_at, one.commit, "new", one.load, one.values) for one in entries[10:]]
    (note,) = trend_of([*entries[:10], *moved]).notes
    assert note == "the tests ran on different machines, which may be the reason for a change: a machine, new"


def test_few_tests_are_too_few() -> None:
    trend = trend_of(history([1.0] * (LEAST_TESTS - 1)))
    assert trend.trends == ()
    assert trend.notes == ("too few tests for a trend (7): at least 8 are needed",)


def test_a_metric_that_some_tests_lack_keeps_its_places() -> None:
    entries = history([1.0] * 12 + [1.3] * 6)
    without = {name: value for name, value in entries[3].values.items() if name != "ttft_p50_ms"}
    entries[3] = HistoryEntry(entries[3].started_at, "commit3", "a machine", "a load", without)
    assert only_drift(trend_of(entries)).began == 12


def test_a_metric_that_takes_too_much_work_is_named_and_is_not_called_good() -> None:
    entries = history([1.0] * 10 + [2.0] * 10, sd=0.001)
    trend = trend_of(entries, most_work=PERMUTATIONS * 4_000)
    assert [one.name for one in trend.trends] == list(STEADY)
    assert trend.unfollowed == ("ttft_p50_ms",)
    note = "1 metric not followed, since levels changed too often to look at all: ttft_p50_ms"
    assert trend.notes == (note,)
    assert trend_page(trend, "main").headline.title == "Not every metric followed"
    assert drift_sentences(trend) == ["whether ttft_p50_ms is worse is unknown: levels changed too often"]
    assert trend_of(entries).unfollowed == ()
