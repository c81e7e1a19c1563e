"""Each stream is counted once, whatever stops its user, its client or its checks."""

from __future__ import annotations

import gc
import random
import weakref
from collections import Counter
from pathlib import Path
from typing import Any

import gevent
import pytest

from harness.contract.finding import Finding, Verdict
from harness.load.journeys.builtin import JOURNEYS
from harness.load.stats.collector import CollectorClosedError
from harness.load.stats.stream_metrics import RUN
from harness.transport.gevent_client import GeventExchange
from tests.load.journeys.rig import OF_RUNS_ALONE, JourneyRig, journey_rig, settings_for
from tests.load.run_server import run_server


@pytest.mark.parametrize(("stopping", "word"), [(True, "in flight"), (False, "abandoned")])
@pytest.mark.parametrize("journey", OF_RUNS_ALONE)
def test_a_stopped_user(tmp_path: Path, journey: str, stopping: bool, word: str) -> None:
    with journey_rig(tmp_path, tokens=200, gap_s=0.01) as rig:
        rig.runner.run_lengths["long"] = 200
        rig.runner.rng = random.Random(3)
        user = gevent.spawn(JOURNEYS[journey], rig.runner, None)
        requests, opened = {"conflict": (2, 1), "race": (3, 3)}.get(journey, (1, 1))
        assert rig.server is not None
        with gevent.Timeout(60):
            while len(rig.server.received) < requests or rig.collector.open_streams != opened:
                gevent.sleep(0.01)
        gevent.sleep(0.1)
        rig.stopping = stopping
        user.kill()
        rig.collector.close()
        batch = rig.collector.take()
    words = [row.outcome for row in batch.rows]
    expected = {"conflict": ["rejected", word], "race": [word] * 3}.get(journey, [word])
    assert sorted(words) == sorted(expected)
    assert {row.reason for row in batch.rows} == {None}
    scheduled = sum(count for (_, _, outcome), count in batch.ledger.items() if outcome == "scheduled")
    assert scheduled == len(words)


@pytest.mark.parametrize("journey", OF_RUNS_ALONE)
def test_whenever_a_user_is_stopped_each_stream_is_counted_once(tmp_path: Path, journey: str) -> None:
    with run_server(tokens=5, gap_s=0.01) as server:
        settings = settings_for(server.base_url, tmp_path, last_event_id=True)
        for number in range(14):
            rig = JourneyRig(settings, server)
            rig.runner.run_lengths["long"] = 6
            user = gevent.spawn(JOURNEYS[journey], rig.runner, None)
            gevent.sleep(number * 0.007)
            rig.stopping = number % 2 == 0
            user.kill()
            if not rig.stopping:
                assert rig.collector.open_streams == 0
            rig.collector.close()
            batch = rig.collector.take()
            counts = Counter[str]()
            for (_, _, word), count in batch.ledger.items():
                counts[word] += count
            scheduled = counts.pop("scheduled", 0)
            assert scheduled == counts.total() == len(batch.rows)
            assert counts == Counter(row.outcome for row in batch.rows)
            assert {row.reason for row in batch.rows} <= {None}
            assert len(rig.finalized) == scheduled - counts["in flight"]


def test_a_stream_that_ended_before_its_user_was_stopped_has_ended(tmp_path: Path) -> None:
    """The event loop reads the end, and the user's greenlet is stopped before it resumes."""
    run = GeventExchange.run

    def and_stop(live: GeventExchange) -> None:
        run(live)
        raise gevent.GreenletExit

    with journey_rig(tmp_path, fault=lambda _: "swap") as rig:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(GeventExchange, "run", and_stop)
            with pytest.raises(gevent.GreenletExit):
                rig.go("fresh")
        batch = rig.collector.take()
    assert [row.outcome for row in batch.rows] == ["done"]
    assert batch.violations == {("ids.increasing", "fresh"): 1}


def test_streams_killed_before_they_started(tmp_path: Path) -> None:
    with journey_rig(tmp_path) as rig:

        def and_stop(*_: Any) -> bool:
            raise gevent.GreenletExit

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("harness.transport.gevent_client.GeventExchange.wait_for_events", and_stop)
            for journey in ("conflict", "join"):
                with pytest.raises(gevent.GreenletExit):
                    rig.go(journey)
                assert rig.results() == [("original", "abandoned", None)]
                assert rig.collector.open_streams == 0


@pytest.mark.parametrize("journey", ["fresh", "race"])
def test_streams_of_a_user_stopped_while_it_yields_are_checked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, journey: str
) -> None:
    def stopped(_: Any) -> None:
        raise gevent.GreenletExit

    monkeypatch.setattr("harness.load.journeys.cpu_yield.CpuYield.yield_if_due", stopped)
    with journey_rig(tmp_path, fault=lambda _: "swap") as rig:
        with pytest.raises(gevent.GreenletExit):
            JOURNEYS[journey](rig.runner, None)
        batch = rig.collector.take()
    count = 3 if journey == "race" else 1
    assert [row.outcome for row in batch.rows] == ["done"] * count
    assert batch.violations == {("ids.increasing", journey): count}


def test_after_close_nothing_is_checked(tmp_path: Path) -> None:
    with journey_rig(tmp_path, gap_s=0.02) as rig:
        gevent.spawn_later(0.03, rig.collector.close)
        JOURNEYS["race"](rig.runner, None)
        assert rig.results() == [
            ("original", "in flight", None),
            ("racing", "in flight", None),
            ("racing", "in flight", None),
        ]
        assert rig.finalized == []


@pytest.mark.parametrize("journey", OF_RUNS_ALONE)
def test_streams_are_freed_with_their_journey(tmp_path: Path, journey: str) -> None:
    """In a reference cycle they would wait for a full garbage collection, which stops every other stream."""
    exchanges: list[weakref.ref[Any]] = []
    with journey_rig(tmp_path, target={"last_event_id": True}, tokens=6, gap_s=0.005) as rig:
        rig.collector._on_finalized = lambda stream: exchanges.append(weakref.ref(stream.exchange))
        gc.collect()
        gc.disable()
        try:
            JOURNEYS[journey](rig.runner, None)
            gevent.sleep(0)
            assert exchanges
            assert [reference() for reference in exchanges] == [None] * len(exchanges)
        finally:
            gc.enable()


def faulty_outcomes(rig: JourneyRig, journey: str) -> list[tuple[str, str | None]]:
    """Outcomes and reasons of a journey that ends in a harness fault: all counted, none in a rate."""
    with pytest.raises(ZeroDivisionError):
        rig.go(journey)
    assert rig.collector.open_streams == 0
    batch = rig.collector.take()
    words = [word for (_, _, word), count in batch.ledger.items() for _ in range(count)]
    assert sorted(words) == sorted([*(row.outcome for row in batch.rows), *["scheduled"] * len(batch.rows)])
    assert batch.faults == Counter(row.reason for row in batch.rows)
    assert (batch.failures, batch.rate_counts, batch.violations) == ({}, {}, {})
    return [(row.outcome, row.reason) for row in batch.rows]


def test_a_stream_whose_check_fails_is_neither_a_success_nor_a_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any, **__: Any) -> Finding:
        raise ZeroDivisionError

    monkeypatch.setattr("harness.load.journeys.stream_runner.rules_for", lambda _: (broken,))
    reason = "harness fault while checking it: ZeroDivisionError()"
    with journey_rig(tmp_path) as rig:
        assert faulty_outcomes(rig, "fresh") == [("done", reason)]
        assert faulty_outcomes(rig, "race") == [("done", reason)] * 3


def test_if_one_check_fails_the_findings_of_the_others_do_not_count(tmp_path: Path) -> None:
    """A stream that was checked by only some of its rules counts as unchecked."""

    def broken(_: Any) -> list[Finding]:
        raise gevent.Timeout

    with journey_rig(tmp_path, fault=lambda _: "swap") as rig:
        with pytest.raises(gevent.Timeout):
            rig.runner.run("mine", RUN, rig.target.run("success"), check=broken)
        batch = rig.collector.take()
    assert batch.faults.total() == 1
    assert (batch.violations, batch.failures, batch.rate_counts) == ({}, {}, {})


def test_streams_whose_comparison_fails_are_not_checked_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any, **__: Any) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr("harness.load.journeys.builtin.canonical_stream", broken)
    with journey_rig(tmp_path) as rig:
        reason = "harness fault while comparing it: ZeroDivisionError()"
        assert faulty_outcomes(rig, "race") == [("done", reason)] * 3


def test_a_stream_whose_measuring_fails_is_counted_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any, **__: Any) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr("harness.load.stats.collector.measure", broken)
    with journey_rig(tmp_path) as rig:
        reason = "harness fault while measuring it: ZeroDivisionError()"
        assert faulty_outcomes(rig, "fresh") == [("done", reason)]


@pytest.mark.parametrize("stopping", [False, True])
def test_a_stream_whose_client_fails_is_neither_a_success_nor_a_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stopping: bool
) -> None:
    def broken(*_: Any, **__: Any) -> None:
        raise ZeroDivisionError("x")

    monkeypatch.setattr("harness.transport.receiver.Receiver._decode", broken)
    with journey_rig(tmp_path) as rig:
        rig.stopping = stopping
        reason = "harness fault while reading it: ZeroDivisionError('x')"
        assert faulty_outcomes(rig, "fresh") == [("abandoned", reason)]


def test_a_client_error_is_reported_even_if_its_user_was_stopped_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    until_ended = GeventExchange._until_ended

    def and_stop(live: GeventExchange) -> None:
        until_ended(live)  # the hub has kept the error, and the greenlet is stopped before it goes on
        raise gevent.GreenletExit

    def broken(*_: Any, **__: Any) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr("harness.transport.receiver.Receiver._decode", broken)
    monkeypatch.setattr(GeventExchange, "_until_ended", and_stop)
    with journey_rig(tmp_path) as rig:
        with pytest.raises(gevent.GreenletExit):
            rig.go("fresh")
        assert rig.collector.take().faults == {"harness fault while reading it: ZeroDivisionError()": 1}


def test_findings_of_a_comparison_are_recorded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def check(*_: Any) -> list[Finding]:
        return [Finding("resume.replay", Verdict.FAIL, "other events")]

    monkeypatch.setattr("harness.load.journeys.builtin.check_retry", check)
    with journey_rig(tmp_path) as rig:
        assert rig.go("replay") == [
            ("original", "done", None),
            ("retry", "done", "resume.replay: other events"),
        ]


def test_after_the_end_nothing_is_sent(tmp_path: Path) -> None:
    with journey_rig(tmp_path) as rig:
        rig.collector.close()
        with pytest.raises(CollectorClosedError):
            rig.go("fresh")
        with pytest.raises(CollectorClosedError):
            rig.runner.begin("fresh", RUN, rig.target.run("success"))
        assert rig.server is not None
        assert rig.server.stats.counts["requests"] == 0


def test_a_limit_of_the_harness_is_its_own_fault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("harness.contract.decoding.response.CHECKED_EVERY_BYTES", 100)
    monkeypatch.setattr("harness.contract.decoding.memory.DEFAULT_BUDGET.response_bytes", 1000)
    with journey_rig(tmp_path, tokens=100) as rig:
        JOURNEYS["fresh"](rig.runner, None)
        batch = rig.collector.take()
    (row,) = batch.rows
    limit = "the response is larger than 0 MiB (limits.response)"
    reason = f"harness fault while reading it: a limit of the harness was reached: {limit}"
    assert (row.outcome, row.reason) == ("abandoned", reason)
    assert batch.faults == {reason: 1}
    assert (batch.failures, batch.violations) == ({}, {})
