from __future__ import annotations

import random
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import gevent
import pytest
import tomlkit

from harness.contract.finding import Finding, Verdict
from harness.load.collector import Collector, CollectorClosedError, Stream
from harness.load.journeys import JOURNEYS, Traveller
from harness.load.measure import RUN
from harness.settings import Settings, load_settings
from harness.target import Target
from harness.transport.gevent_client import GeventClient
from tests.load.run_server import RunServer, config, run_server


class Trip:
    """A traveller with a server of its own, and what it reported."""

    def __init__(self, settings: Settings, server: RunServer | None) -> None:
        self.settled: list[Stream] = []
        self.stopping = False
        self.server = server
        self.target = Target(settings)
        self.collector = Collector("w", on_settled=self.settled.append)
        self.traveller = Traveller(
            GeventClient(self.target.endpoint, settings.expectations.budgets),
            self.target,
            self.collector,
            stopping=lambda: self.stopping,
            rng=random.Random(7),
        )

    def go(self, journey: str, intended_ns: int | None = None) -> list[tuple[str, str, str | None]]:
        """Travel; returns step, outcome and reason of each stream."""
        JOURNEYS[journey](self.traveller, intended_ns)
        return self.told()

    def told(self) -> list[tuple[str, str, str | None]]:
        delta = self.collector.take()
        assert all(row.journey in JOURNEYS for row in delta.rows)
        return [(row.step, row.outcome, row.reason) for row in delta.rows]


def settings_for(base_url: str, tmp_path: Path, **target: Any) -> Settings:
    given = config(base_url)
    given["target"] |= target
    path = tmp_path / "harness.toml"
    path.write_text(tomlkit.dumps(given))
    assert tomllib.loads(path.read_text())
    return load_settings(path)


@contextmanager
def trip(tmp_path: Path, *, target: dict[str, Any] | None = None, **behaviour: Any) -> Iterator[Trip]:
    with run_server(**behaviour) as server:
        yield Trip(settings_for(server.base_url, tmp_path, **(target or {})), server)


def test_fresh(tmp_path: Path) -> None:
    with trip(tmp_path) as one:
        assert one.go("fresh") == [("run", "done", None)]
        assert one.server is not None
        assert one.server.books.counts == {"requests": 1, "runs": 1, "terminals sent": 1}


def test_replay(tmp_path: Path) -> None:
    with trip(tmp_path) as one:
        assert one.go("replay") == [("original", "done", None), ("retry", "done", None)]
        assert one.server is not None
        assert one.server.books.counts == {"requests": 2, "runs": 1, "terminals sent": 2}


@pytest.mark.parametrize("last_event_id", [True, False])
def test_resume(tmp_path: Path, last_event_id: bool) -> None:
    target = {"last_event_id": last_event_id, "resume_start": "replay"}
    with trip(tmp_path, target=target, tokens=8, gap_s=0.01) as one:
        for _ in range(6):
            assert one.go("resume") == [("cut", "abandoned", None), ("resumed", "done", None)]
        first, second = one.settled[-2:]
        assert one.traveller._usual_events == {"long": 9}
        assert (
            second.exchange and second.exchange.request.header("last-event-id") is not None
        ) is last_event_id
        assert first.exchange is not None
        assert 1 <= len(first.exchange.events) < 9
        assert one.server is not None
        assert one.server.books.counts["runs"] == 6


def test_a_stream_that_ends_before_its_cut(tmp_path: Path) -> None:
    with trip(tmp_path, target={"last_event_id": True}, tokens=0) as one:
        one.traveller._usual_events["long"] = 1000
        assert one.go("resume") == [("cut", "done", None), ("resumed", "done", None)]
        assert one.traveller._usual_events == {"long": 1}


def test_conflict(tmp_path: Path) -> None:
    with trip(tmp_path, gap_s=0.02) as one:
        assert one.go("conflict") == [("conflicting", "rejected", None), ("original", "done", None)]
        assert one.server is not None
        assert one.server.books.counts == {"requests": 2, "runs": 1, "conflicts": 1, "terminals sent": 1}
        rejected, original = one.settled
        assert original.exchange is not None
        assert rejected.exchange is not None
        assert rejected.exchange.timing.ended_ns < original.exchange.timing.ended_ns
        assert "conflict_ms" in rejected.measured.per_run_ms


@pytest.mark.parametrize(
    ("fault", "outcome", "reason"),
    [
        ("truncate", "truncated", "truncated: the server closed the connection before the message's end"),
        ("reset", "truncated", "truncated: the connection broke: Connection reset by peer"),
        ("silent", "timed out", "timed out: no event within 2 s"),
        ("busy", "rejected", "rejected with status 503, done was expected"),
        ("error", "error", "ended with error, done was expected"),
    ],
)
def test_streams_that_go_wrong(tmp_path: Path, fault: str, outcome: str, reason: str) -> None:
    with trip(tmp_path, fault=lambda _: fault) as one:
        assert one.go("fresh") == [("run", outcome, reason)]


def test_a_swapped_event_is_a_violation(tmp_path: Path) -> None:
    with trip(tmp_path, fault=lambda _: "swap") as one:
        JOURNEYS["fresh"](one.traveller, None)
        delta = one.collector.take()
    assert delta.violations == {("ids.increasing", "fresh"): 1}
    assert (delta.rows[0].reason or "").startswith("ids.increasing: id ")
    assert sum(delta.failures.values()) == 1


@pytest.mark.parametrize("journey", JOURNEYS)
def test_nobody_listens(tmp_path: Path, journey: str) -> None:
    with run_server() as server:
        base_url = server.base_url
    one = Trip(settings_for(base_url, tmp_path), None)
    ((_, outcome, reason),) = one.go(journey)
    assert (outcome, reason) == ("refused", "refused: Connection refused")
    assert one.traveller.refused


def test_a_run_that_did_not_finish_is_not_retried(tmp_path: Path) -> None:
    with trip(tmp_path, fault=lambda _: "truncate") as one:
        assert [step for step, _, _ in one.go("replay")] == ["original"]


@pytest.mark.parametrize(("stopping", "word"), [(True, "in flight"), (False, "abandoned")])
@pytest.mark.parametrize("journey", JOURNEYS)
def test_a_stopped_user(tmp_path: Path, journey: str, stopping: bool, word: str) -> None:
    with trip(tmp_path, tokens=200, gap_s=0.01) as one:
        one.traveller._usual_events["long"] = 200
        one.traveller.rng = random.Random(3)
        user = gevent.spawn(JOURNEYS[journey], one.traveller, None)
        gevent.sleep(0.15)
        one.stopping = stopping
        user.kill()
        one.collector.close()
        delta = one.collector.take()
    words = [row.outcome for row in delta.rows]
    expected = ["rejected", word] if journey == "conflict" else [word]
    assert sorted(words) == sorted(expected)
    assert {row.reason for row in delta.rows} == {None}
    scheduled = sum(count for (_, _, outcome), count in delta.ledger.items() if outcome == "scheduled")
    assert scheduled == len(words)


def test_a_conflict_killed_before_its_run_began(tmp_path: Path) -> None:
    with trip(tmp_path) as one:

        def and_stop(*_: Any) -> bool:
            raise gevent.GreenletExit

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("harness.transport.gevent_client.LiveExchange.wait_for_events", and_stop)
            with pytest.raises(gevent.GreenletExit):
                one.go("conflict")
        assert one.told() == [("original", "abandoned", None)]
        assert one.collector.open_streams == 0


def test_a_judge_that_breaks_is_no_success(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any, **__: Any) -> Finding:
        raise ZeroDivisionError

    monkeypatch.setattr("harness.load.journeys.STREAM_JUDGES", (broken,))
    with trip(tmp_path) as one:
        with pytest.raises(ZeroDivisionError):
            one.go("fresh")
        assert one.told() == [("run", "done", "the harness failed to judge it")]


def test_a_client_that_breaks_is_no_success(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any) -> None:
        raise ZeroDivisionError("x")

    monkeypatch.setattr("harness.transport.receiver.Receiver.on_readable", broken)
    with trip(tmp_path) as one:
        with pytest.raises(ZeroDivisionError):
            one.go("fresh")
        assert one.told() == [("run", "abandoned", "the harness broke: ZeroDivisionError('x')")]


def test_what_the_judges_of_two_streams_say_is_entered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def judge(*_: Any) -> list[Finding]:
        return [Finding("resume.replay", Verdict.FAIL, "other events")]

    monkeypatch.setattr("harness.load.journeys.judge_retry", judge)
    with trip(tmp_path) as one:
        assert one.go("replay") == [
            ("original", "done", None),
            ("retry", "done", "resume.replay: other events"),
        ]


def test_after_the_end_nothing_is_sent(tmp_path: Path) -> None:
    with trip(tmp_path) as one:
        one.collector.close()
        with pytest.raises(CollectorClosedError):
            one.go("fresh")
        with pytest.raises(CollectorClosedError):
            one.traveller.begin("fresh", RUN, one.target.run("success"))
        assert one.server is not None
        assert one.server.books.counts["requests"] == 0
