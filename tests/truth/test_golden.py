"""Golden accuracy: the results of each run against what the server sent, and when.

Counts are exact. Times are compared by their medians, because a busy machine may delay the server between reading the
clock and writing; that affects single runs and is not the harness's error. If several tokens arrive in one read, they
count as one arrival, that of the last.
"""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any

import pytest

from harness.config.load_settings import LoadSettings
from harness.results.reader import Results
from harness.results.records import StreamRecord
from tests.benchmarks.target import ROOT, Rhythm, compiler, running_target
from tests.load.locust_process import Load

pytestmark = pytest.mark.slow

RHYTHM = Rhythm(tokens=25, first_token_us=150_000, gap_us=30_000)
STREAMS = 40
KINDS = ("c", "python") if compiler() else ("python",)
NEAR_MS = 2.0
"""Limit for the error of the median; on an idle machine it is 0.05 ms."""
EARLY_MS = 1.0
"""Tolerance for arrivals before their sending: kernel and process read two clocks, one after the other."""


class Golden:
    """One test, its results, and the true values by run id."""

    def __init__(self, where: Path, kind: str) -> None:
        with running_target(RHYTHM, kind=kind, lifetime_s=120) as target:
            plan = LoadSettings(users=STREAMS, duration=3, processes=2, journeys={"fresh": 1})
            load = Load(where, target.base_url, plan)
            load.command[load.command.index("-f") + 1] = str(Path(__file__).with_name("paced_users.py"))
            load.environment |= {"TRUTH_SENT": str(where), "PYTHONPATH": str(ROOT)}
            load.run()
            self.server: dict[str, Any] = target.report()
        assert load.code == 0, load.printed
        assert "Traceback" not in load.printed
        lines = [line for file in where.glob("*.jsonl") for line in file.read_text().splitlines()]
        self.truth: dict[str, dict[str, Any]] = {}
        for line in map(json.loads, lines):
            (run_id,) = line["runs"]
            assert run_id not in self.truth
            self.truth[run_id] = line
        self.load = load
        self.rows: dict[str, StreamRecord] = {row.run_id or "": row for row in load.rows()}

    @property
    def results(self) -> Results:
        return self.load.results()

    def tokens_ns(self, run_id: str) -> list[int]:
        return list(self.truth[run_id]["tokens_ns"])

    def arrivals_ns(self, run_id: str) -> list[int]:
        """When the last token of each read was sent."""
        return list(dict(zip(self.truth[run_id]["reads"], self.tokens_ns(run_id), strict=True)).values())

    def gaps_ms(self, run_id: str) -> list[float]:
        """Between arrivals."""
        return [(after - before) / 1e6 for before, after in pairwise(self.arrivals_ns(run_id))]


@pytest.fixture(scope="module", params=KINDS)
def golden(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Golden:
    return Golden(tmp_path_factory.mktemp("golden"), request.param)


def test_every_stream_event_and_token_is_counted_once(golden: Golden) -> None:
    server, counts = golden.server, golden.load.counts()
    streams = server["streams"]
    assert streams > STREAMS
    assert (server["requests"], server["open"], server["broken_off"]) == (streams, 0, 0)
    assert counts == {"scheduled": streams, "done": streams}
    assert set(golden.rows) == set(golden.truth)
    assert len(golden.truth) == len(golden.load.rows()) == streams
    assert sum(row.events for row in golden.rows.values()) == server["events"]
    assert {row.events for row in golden.rows.values()} == {RHYTHM.tokens + 1}
    for run_id, row in golden.rows.items():
        assert row.tokens == len(golden.tokens_ns(run_id)) == RHYTHM.tokens
    with golden.results as results:
        manifest = results.manifest
        assert manifest["tokens"] == streams * RHYTHM.tokens
        gaps = results.histogram("inter_token_ms").count
        # The gaps between tokens of one read are unknown.
        assert gaps == sum(len(golden.gaps_ms(run_id)) for run_id in golden.truth) > 0
        assert gaps + manifest["coalesced_tokens"] == streams * (RHYTHM.tokens - 1)
        for metric in ("ttft_ms", "service_ttft_ms", "duration_ms", "stall_ms", "tokens_per_s"):
            assert results.histogram(metric).count == streams, metric


def test_the_first_token_of_each_run_came_when_it_was_sent(golden: Golden) -> None:
    errors_ms = []
    for run_id, row in golden.rows.items():
        truth_ms = (golden.arrivals_ns(run_id)[0] - golden.truth[run_id]["sent_ns"]) / 1e6
        assert row.service_ttft_ms is not None
        assert row.ttft_ms is not None
        errors_ms.append(row.service_ttft_ms - truth_ms)
        assert row.ttft_ms >= row.service_ttft_ms
        assert truth_ms >= RHYTHM.first_token_us / 1000 - EARLY_MS
    assert min(errors_ms) > -EARLY_MS
    assert abs(median(errors_ms)) < NEAR_MS


def test_each_runs_stall_is_the_servers_largest_gap(golden: Golden) -> None:
    errors_ms = []
    for run_id, row in golden.rows.items():
        assert row.stall_ms is not None
        errors_ms.append(abs(row.stall_ms - max(golden.gaps_ms(run_id))))
    assert median(errors_ms) < NEAR_MS


def test_a_run_lasts_until_its_terminal_event(golden: Golden) -> None:
    errors_ms = []
    for run_id, row in golden.rows.items():
        assert row.duration_ms is not None
        assert row.ttft_ms is not None
        assert row.service_ttft_ms is not None
        last_token_ms = (golden.tokens_ns(run_id)[-1] - golden.truth[run_id]["sent_ns"]) / 1e6
        from_send_ms = row.duration_ms - (row.ttft_ms - row.service_ttft_ms)
        assert from_send_ms > last_token_ms - EARLY_MS
        # The terminal event has no time: it is due one gap after the last token.
        errors_ms.append(from_send_ms - last_token_ms - RHYTHM.gap_us / 1000)
    assert abs(median(errors_ms)) < NEAR_MS + golden.server["lateness_us"]["max"] / 1000


def test_the_distributions_are_those_of_what_was_sent(golden: Golden) -> None:
    gaps_ms = [gap_ms for run_id in golden.truth for gap_ms in golden.gaps_ms(run_id)]
    rates = [(RHYTHM.tokens - 1) / (sum(golden.gaps_ms(run_id)) / 1000) for run_id in golden.truth]
    ttfts_ms = [
        (golden.arrivals_ns(run_id)[0] - run["sent_ns"]) / 1e6 for run_id, run in golden.truth.items()
    ]
    with golden.results as results:
        for metric, truth, near in (
            ("inter_token_ms", median(gaps_ms), NEAR_MS),
            ("service_ttft_ms", median(ttfts_ms), NEAR_MS),
            ("tokens_per_s", median(rates), median(rates) * 0.03),
        ):
            measured = results.histogram(metric).percentile(50)
            assert measured is not None
            assert abs(measured - truth) < near, (metric, measured, truth)
