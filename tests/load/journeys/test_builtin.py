"""Every journey against servers that do it right, that do it wrong in one place, and that are not there."""

from __future__ import annotations

import gc
import random
import re
import time
import tomllib
import weakref
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import gevent
import pytest
import tomlkit

from harness.commands.reference_process import ReferenceServer
from harness.config.settings import Settings
from harness.config.sources import load_settings
from harness.config.target import Target
from harness.contract.finding import Finding, Verdict
from harness.load.journeys.builtin import JOURNEYS
from harness.load.journeys.stream_runner import StreamRunner
from harness.load.stats.collector import Collector, CollectorClosedError, PendingStream
from harness.load.stats.stream_metrics import RUN
from harness.reference.settings import demo_config
from harness.transport.gevent_client import GeventClient, GeventExchange
from tests.load.run_server import Connection, Run, RunServer, config, run_server


class Trip:
    """A traveller with a server of its own, and what it reported."""

    def __init__(self, settings: Settings, server: RunServer | None) -> None:
        self.settled: list[PendingStream] = []
        self.stopping = False
        self.server = server
        self.target = Target(settings)
        self.collector = Collector("w", on_settled=self.settled.append)
        self.traveller = StreamRunner(
            GeventClient(self.target.endpoint, settings.expectations.budgets),
            self.target,
            self.collector,
            stopping=lambda: self.stopping,
            rng=random.Random(7),
        )

    def go(self, journey: str, intended_ns: int | None = None) -> list[tuple[str, str, str | None]]:
        """Travel; returns step, outcome and reason of each stream."""
        JOURNEYS[journey](self.traveller, intended_ns)
        assert self.collector.open_streams == 0
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


def counted(server: RunServer, counts: dict[str, int]) -> None:
    """The server counts a stream a moment after its client has seen the end."""
    give_up_s = time.monotonic() + 5
    while server.books.counts != counts and time.monotonic() < give_up_s:
        time.sleep(0.005)
    assert server.books.counts == counts


def test_fresh(tmp_path: Path) -> None:
    with trip(tmp_path) as one:
        assert one.go("fresh") == [("run", "done", None)]
        assert one.server is not None
        counted(one.server, {"requests": 1, "runs": 1, "terminals sent": 1})


def test_replay(tmp_path: Path) -> None:
    with trip(tmp_path) as one:
        assert one.go("replay") == [("original", "done", None), ("retry", "done", None)]
        assert one.server is not None
        counted(one.server, {"requests": 2, "runs": 1, "terminals sent": 2})


@pytest.mark.parametrize("last_event_id", [True, False])
def test_resume(tmp_path: Path, last_event_id: bool) -> None:
    target = {"last_event_id": last_event_id, "resume_start": "replay"}
    with trip(tmp_path, target=target, tokens=12, gap_s=0.01) as one:
        one.traveller._usual_events["long"] = 13
        lengths = Counter[int]()
        for _ in range(12):
            first, *middle, last = one.go("resume")
            assert first == ("cut", "abandoned", None)
            if last_event_id and last == ("reread", "done", None):
                last = middle.pop()
            assert last == ("resumed", "done", None)
            assert set(middle) <= {("resumed", "abandoned", None)}
            lengths[1 + len(middle)] += 1
        assert set(lengths) == {1, 2, 3}, "one to three cuts"
        assert one.traveller._usual_events == {"long": 13}
        resumed = [stream.exchange for stream in one.settled if stream.step.name == "resumed"]
        assert len(resumed) == lengths.total() + lengths[2] + 2 * lengths[3]
        named = [one for one in resumed if one and one.request.header("last-event-id") is not None]
        assert bool(named) is last_event_id
        rereads = [stream for stream in one.settled if stream.step.name == "reread"]
        assert bool(rereads) is last_event_id
        assert one.server is not None
        assert one.server.books.counts["runs"] == 12


def test_a_tail_without_ids_is_cut_once(tmp_path: Path) -> None:
    target = {"last_event_id": False, "resume_start": "tail"}
    with trip(tmp_path, target=target, tokens=6, gap_s=0.01) as one:
        for _ in range(6):
            steps = [step for step, _, _ in one.go("resume")]
            assert steps == ["cut", "resumed"]


def test_a_stream_that_ends_before_its_cut(tmp_path: Path) -> None:
    with trip(tmp_path, target={"last_event_id": True}, tokens=0) as one:
        one.traveller._usual_events["long"] = 1000
        assert one.go("resume") == [("cut", "done", None), ("resumed", "done", None)]
        assert one.traveller._usual_events == {"long": 1}


def test_a_resumption_that_ends_before_its_cut_is_the_last(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    places = iter([1, 1000])
    monkeypatch.setattr("harness.load.journeys.builtin._more_cuts", lambda _: 2)
    monkeypatch.setattr(StreamRunner, "random_event_index", lambda *_, **__: next(places))
    with trip(tmp_path, tokens=4) as one:
        assert one.go("resume") == [("cut", "abandoned", None), ("resumed", "done", None)]


def test_conflict(tmp_path: Path) -> None:
    with trip(tmp_path, gap_s=0.02) as one:
        assert one.go("conflict") == [("original", "done", None), ("conflicting", "rejected", None)]
        assert one.server is not None
        counted(one.server, {"requests": 2, "runs": 1, "conflicts": 1, "terminals sent": 1})
        original, rejected = one.settled
        assert original.exchange is not None
        assert rejected.exchange is not None
        assert rejected.exchange.timing.ended_ns < original.exchange.timing.ended_ns
        assert "conflict_ms" in rejected.measured.per_run


def test_join(tmp_path: Path) -> None:
    with trip(tmp_path, tokens=8, gap_s=0.01) as one:
        one.traveller._usual_events["long"] = 9
        seen = Counter[tuple[str, str, str | None]]()
        for _ in range(10):
            told = one.go("join")
            assert told[0] == ("original", "done", None)
            assert 2 <= len(told) <= 4
            seen.update(told[1:])
        assert set(seen) == {("joined", "done", None), ("joined", "abandoned", None)}
        assert one.server is not None
        assert one.server.books.counts["runs"] == 10


def test_race(tmp_path: Path) -> None:
    with trip(tmp_path) as one:
        assert one.go("race") == [
            ("original", "done", None),
            ("racing", "done", None),
            ("racing", "done", None),
        ]
        assert one.server is not None
        counted(one.server, {"requests": 3, "runs": 1, "terminals sent": 3})
        keys = {
            stream.exchange.request.header("idempotency-key") for stream in one.settled if stream.exchange
        }
        assert len(keys) == 1


def test_abandon(tmp_path: Path) -> None:
    with trip(tmp_path, tokens=30, gap_s=0.01) as one:
        one.traveller._usual_events["long"] = 5
        for _ in range(6):
            assert one.go("abandon") == [("abandoned", "abandoned", None)]
        ways = {stream.exchange.ending_detail[:15] for stream in one.settled if stream.exchange}
        assert ways == {"cut by us (fin)", "cut by us (rst)"}
        assert all("ttft_ms" in stream.measured.per_run for stream in one.settled)
        assert one.server is not None
        assert one.server.books.counts["requests"] == 6, "nobody comes back"


def test_slow_reader(tmp_path: Path) -> None:
    with trip(tmp_path, tokens=60, gap_s=0.0) as one:
        assert one.go("slow_reader") == [("slow", "done", None), ("retry", "done", None)]
        slow, retry = (stream.exchange for stream in one.settled)
        assert slow is not None
        assert retry is not None
        assert slow.sequence == retry.sequence
        assert len(slow.reads) > len(b"".join(read.data for read in slow.reads)) / 1024
        run_metrics = {"ttft_ms", "service_ttft_ms", "stall_ms", "duration_ms"}
        assert not run_metrics & set(one.settled[0].measured.per_run)
        assert not one.settled[0].measured.gaps_ms
        assert not one.settled[0].measured.lags_ms


@pytest.mark.parametrize("journey", JOURNEYS)
def test_an_arrival_is_due_once(tmp_path: Path, journey: str) -> None:
    """Of several streams of a journey only the first was due at a moment that the schedule set."""
    with trip(tmp_path, gap_s=0.01) as one:
        one.go(journey, intended_ns=1)
        assert [stream.scheduled for stream in one.settled] == [True] + [False] * (len(one.settled) - 1)


SPOILS: dict[str, Callable[[list[bytes]], list[bytes]]] = {
    "none": lambda events: events,
    "dropped": lambda events: [events[0], *events[2:]],
    "doubled": lambda events: [*events[:2], *events[1:]],
    "swapped": lambda events: [events[0], events[2], events[1], *events[3:]],
    "changed": lambda events: [events[0], events[1].replace(b'"content": "t', b'"content": "x'), *events[2:]],
}


def spoil(server: RunServer, connection: int, how: str) -> None:
    """From here on the nth connection to each run, from 1, gets its second event as `how` says."""
    connections = Counter[int]()

    class Spoiling(Connection):
        def play(self, sock: Any, run: Run, fault: str, last_event_id: str | None) -> None:
            with server.lock:
                connections[id(run)] += 1
                number = connections[id(run)]
            events = run.events
            if number == connection:
                known = [one.startswith(f"id: {last_event_id}\n".encode()) for one in events]
                start = known.index(True) + 1 if last_event_id else 0
                events = [*events[:start], *SPOILS[how](events[start:])]
            super().play(sock, Run(run.body, events, run.started, run.gap_s), fault, last_event_id)

    server.RequestHandlerClass = Spoiling


def violations(one: Trip, journey: str, times: int) -> tuple[set[str], list[str]]:
    """Requirements that streams of that journey were found to violate, and in which words."""
    for _ in range(times):
        JOURNEYS[journey](one.traveller, None)
    delta = one.collector.take()
    failed = sum(row.reason is not None for row in delta.rows)
    assert bool(failed) is bool(delta.violations)
    return {requirement for requirement, _ in delta.violations}, [one.detail for one in delta.examples]


@pytest.mark.parametrize("how", SPOILS)
@pytest.mark.parametrize(
    ("journey", "connection", "last_event_id", "requirement"),
    [
        ("replay", 1, False, "resume.replay"),
        ("replay", 2, False, "resume.replay"),
        ("resume", 1, False, "resume.every-cut"),
        ("resume", 2, False, "resume.every-cut"),
        ("resume", 3, False, "resume.every-cut"),
        ("resume", 1, True, "resume.every-cut"),
        ("resume", 2, True, "resume.every-cut"),
        ("resume", 3, True, "resume.every-cut"),
        ("join", 1, False, "resume.first-reader-kept"),
        ("join", 2, False, "resume.joins"),
        ("join", 3, False, "resume.joins"),
        ("race", 1, False, "race.same-body"),
        ("race", 2, False, "race.same-body"),
        ("race", 3, False, "race.same-body"),
        ("slow_reader", 1, False, "resume.replay"),
    ],
)
def test_one_spoilt_event_is_found(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    how: str,
    journey: str,
    connection: int,
    last_event_id: bool,
    requirement: str,
) -> None:
    monkeypatch.setattr("harness.load.journeys.builtin._more_cuts", lambda _: 1)
    monkeypatch.setattr("harness.load.journeys.builtin._MOST_JOINERS", 2)
    monkeypatch.setattr(random.Random, "randint", lambda _, low, high: high)
    monkeypatch.setattr(StreamRunner, "random_event_index", lambda *_, **__: 3)
    with trip(tmp_path, target={"last_event_id": last_event_id}, tokens=12, gap_s=0.005) as one:
        monkeypatch.setattr(one.traveller.rng, "choice", lambda options: options[0])
        assert one.server is not None
        spoil(one.server, connection, how)
        found, details = violations(one, journey, times=1)
    if how == "none":
        assert found == set()
        return
    by_ids = {"doubled": {"ids.unique", "ids.increasing"}, "swapped": {"ids.increasing"}}.get(how, set())
    more = {"resume.last-event-id"} if last_event_id and connection == 3 else set()
    assert requirement in found
    assert found <= {requirement} | by_ids | more
    assert any(re.search(r"event \d+ is id \d+-\d+", detail) for detail in details), details


@pytest.mark.slow
@pytest.mark.parametrize(
    ("journey", "fault", "requirement"),
    [
        ("replay", "replay-drops-last-token", "resume.replay"),
        ("replay", "replay-reexecutes", "resume.no-new-run"),
        ("resume", "off-by-one-gap", "resume.every-cut"),
        ("resume", "off-by-one-duplicate", "resume.every-cut"),
        ("resume", "last-event-id-ignored", "resume.last-event-id"),
        ("resume", "disconnect-cancels", "resume.survives-disconnect"),
        ("join", "late-joiner-misses-prefix", "resume.joins"),
        ("join", "late-joiner-gap", "resume.joins"),
        ("join", "first-reader-robbed", "resume.first-reader-kept"),
        ("join", "run-id-per-connection", "run-id.constant"),
        ("join", "closing-one-closes-all", "terminal.always"),
        ("race", "racing-posts-both-run", "race.same-body"),
        ("conflict", "conflict-missed-in-flight", "conflict.in-flight"),
        ("abandon", "no-ids", "ids.present"),
        ("slow_reader", "replay-drops-last-token", "resume.replay"),
    ],
)
def test_each_journey_finds_the_defects_that_it_is_for(
    tmp_path: Path, journey: str, fault: str, requirement: str
) -> None:
    with ReferenceServer([fault]) as server:
        one = demo_trip(server.base_url, tmp_path)
        at_once(one, [journey] * 8)
        delta = one.collector.take()
    assert (requirement, journey) in delta.violations, delta.violations


@pytest.mark.slow
@pytest.mark.parametrize("declared", [True, False])
def test_no_journey_finds_anything_in_a_correct_server(tmp_path: Path, declared: bool) -> None:
    with ReferenceServer() as server:
        undeclared = {} if declared else {"last_event_id": False, "resume_start": "any"}
        one = demo_trip(server.base_url, tmp_path, **undeclared)
        at_once(one, [*JOURNEYS] * 6)
        delta = one.collector.take()
    assert delta.violations == {}
    assert {row.reason for row in delta.rows} == {None}
    assert {row.journey for row in delta.rows} == set(JOURNEYS)


def demo_trip(base_url: str, tmp_path: Path, **target: Any) -> Trip:
    given = demo_config(base_url)
    given["target"] |= target
    path = tmp_path / "harness.toml"
    path.write_text(tomlkit.dumps(given))
    return Trip(load_settings(path), None)


def at_once(one: Trip, journeys: list[str]) -> None:
    travelling = [gevent.spawn(JOURNEYS[journey], one.traveller, None) for journey in journeys]
    gevent.joinall(travelling, raise_error=True)


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
    told = one.go(journey)
    assert len(told) == (3 if journey == "race" else 1)
    assert {(outcome, reason) for _, outcome, reason in told} == {("refused", "refused: Connection refused")}
    assert not any(stream.findings for stream in one.settled)
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
    expected = {"conflict": ["rejected", word], "race": [word] * 3}.get(journey, [word])
    assert sorted(words) == sorted(expected)
    assert {row.reason for row in delta.rows} == {None}
    scheduled = sum(count for (_, _, outcome), count in delta.ledger.items() if outcome == "scheduled")
    assert scheduled == len(words)


@pytest.mark.parametrize("journey", JOURNEYS)
def test_whenever_a_user_is_stopped_each_stream_is_in_the_books_once(tmp_path: Path, journey: str) -> None:
    with run_server(tokens=5, gap_s=0.01) as server:
        settings = settings_for(server.base_url, tmp_path, last_event_id=True)
        for number in range(14):
            one = Trip(settings, server)
            one.traveller._usual_events["long"] = 6
            user = gevent.spawn(JOURNEYS[journey], one.traveller, None)
            gevent.sleep(number * 0.007)
            one.stopping = number % 2 == 0
            user.kill()
            if not one.stopping:
                assert one.collector.open_streams == 0
            one.collector.close()
            delta = one.collector.take()
            counts = Counter[str]()
            for (_, _, word), count in delta.ledger.items():
                counts[word] += count
            scheduled = counts.pop("scheduled", 0)
            assert scheduled == counts.total() == len(delta.rows)
            assert counts == Counter(row.outcome for row in delta.rows)
            assert {row.reason for row in delta.rows} <= {None}
            assert len(one.settled) == scheduled - counts["in flight"]


def test_a_stream_that_ended_before_its_user_was_stopped_has_ended(tmp_path: Path) -> None:
    """The hub reads the end; the user's greenlet is stopped before it wakes up to hear of it."""
    run = GeventExchange.run

    def and_stop(live: GeventExchange) -> None:
        run(live)
        raise gevent.GreenletExit

    with trip(tmp_path, fault=lambda _: "swap") as one:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(GeventExchange, "run", and_stop)
            with pytest.raises(gevent.GreenletExit):
                one.go("fresh")
        delta = one.collector.take()
    assert [row.outcome for row in delta.rows] == ["done"]
    assert delta.violations == {("ids.increasing", "fresh"): 1}


def test_streams_killed_before_they_began(tmp_path: Path) -> None:
    with trip(tmp_path) as one:

        def and_stop(*_: Any) -> bool:
            raise gevent.GreenletExit

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("harness.transport.gevent_client.LiveExchange.wait_for_events", and_stop)
            for journey in ("conflict", "join"):
                with pytest.raises(gevent.GreenletExit):
                    one.go(journey)
                assert one.told() == [("original", "abandoned", None)]
                assert one.collector.open_streams == 0


@pytest.mark.parametrize("journey", ["fresh", "race"])
def test_who_is_stopped_while_waiting_for_a_turn_has_its_streams_judged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, journey: str
) -> None:
    def stopped(_: Any) -> None:
        raise gevent.GreenletExit

    monkeypatch.setattr("harness.load.journeys.cpu_yield.CpuYield.yield_if_due", stopped)
    with trip(tmp_path, fault=lambda _: "swap") as one:
        with pytest.raises(gevent.GreenletExit):
            JOURNEYS[journey](one.traveller, None)
        delta = one.collector.take()
    count = 3 if journey == "race" else 1
    assert [row.outcome for row in delta.rows] == ["done"] * count
    assert delta.violations == {("ids.increasing", journey): count}


def test_when_the_books_were_closed_nothing_is_judged(tmp_path: Path) -> None:
    with trip(tmp_path, gap_s=0.02) as one:
        gevent.spawn_later(0.03, one.collector.close)
        JOURNEYS["race"](one.traveller, None)
        assert one.told() == [
            ("original", "in flight", None),
            ("racing", "in flight", None),
            ("racing", "in flight", None),
        ]
        assert one.settled == []


@pytest.mark.parametrize("journey", JOURNEYS)
def test_streams_are_gone_when_their_journey_is(tmp_path: Path, journey: str) -> None:
    """In a cycle they would wait for a full garbage collection, which stops every other stream."""
    exchanges: list[weakref.ref[Any]] = []
    with trip(tmp_path, target={"last_event_id": True}, tokens=6, gap_s=0.005) as one:
        one.collector._on_settled = lambda stream: exchanges.append(weakref.ref(stream.exchange))
        gc.collect()
        gc.disable()
        try:
            JOURNEYS[journey](one.traveller, None)
            gevent.sleep(0)
            assert exchanges
            assert [reference() for reference in exchanges] == [None] * len(exchanges)
        finally:
            gc.enable()


def broken_on(one: Trip, journey: str) -> list[tuple[str, str | None]]:
    """The outcomes and reasons of a journey on which the harness breaks: none of them in a rate, all counted."""
    with pytest.raises(ZeroDivisionError):
        one.go(journey)
    assert one.collector.open_streams == 0
    delta = one.collector.take()
    words = [word for (_, _, word), count in delta.ledger.items() for _ in range(count)]
    assert sorted(words) == sorted([*(row.outcome for row in delta.rows), *["scheduled"] * len(delta.rows)])
    assert delta.faults == Counter(row.reason for row in delta.rows)
    assert (delta.failures, delta.tallies, delta.violations) == ({}, {}, {})
    return [(row.outcome, row.reason) for row in delta.rows]


def test_a_judge_that_breaks_is_neither_a_success_nor_a_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any, **__: Any) -> Finding:
        raise ZeroDivisionError

    monkeypatch.setattr("harness.load.journeys.stream_runner.rules_for", lambda _: (broken,))
    said = "the harness broke while judging it: ZeroDivisionError()"
    with trip(tmp_path) as one:
        assert broken_on(one, "fresh") == [("done", said)]
        assert broken_on(one, "race") == [("done", said)] * 3


def test_a_judge_that_breaks_after_another_found_fault_takes_that_with_it(tmp_path: Path) -> None:
    """What was looked at by some of its judges alone was not looked at."""

    def broken(_: Any) -> list[Finding]:
        raise gevent.Timeout

    with trip(tmp_path, fault=lambda _: "swap") as one:
        with pytest.raises(gevent.Timeout):
            one.traveller.run("mine", RUN, one.target.run("success"), judge=broken)
        delta = one.collector.take()
    assert delta.faults.total() == 1
    assert (delta.violations, delta.failures, delta.tallies) == ({}, {}, {})


def test_streams_whose_comparison_breaks_are_not_judged_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr("harness.load.journeys.builtin.canonical_stream", broken)
    with trip(tmp_path) as one:
        said = "the harness broke while comparing it: ZeroDivisionError()"
        assert broken_on(one, "race") == [("done", said)] * 3


def test_a_stream_whose_measuring_breaks_is_in_the_books_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any, **__: Any) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr("harness.load.stats.collector.measure", broken)
    with trip(tmp_path) as one:
        said = "the harness broke while measuring it: ZeroDivisionError()"
        assert broken_on(one, "fresh") == [("done", said)]


@pytest.mark.parametrize("stopping", [False, True])
def test_a_client_that_breaks_is_neither_a_success_nor_a_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stopping: bool
) -> None:
    def broken(*_: Any) -> None:
        raise ZeroDivisionError("x")

    monkeypatch.setattr("harness.transport.receiver.Receiver._drain", broken)
    with trip(tmp_path) as one:
        one.stopping = stopping
        said = "the harness broke while reading it: ZeroDivisionError('x')"
        assert broken_on(one, "fresh") == [("abandoned", said)]


def test_a_client_that_broke_is_known_though_its_user_was_stopped_before_it_heard(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = GeventExchange.run

    def and_stop(live: GeventExchange) -> None:
        with pytest.raises(ZeroDivisionError):
            run(live)
        raise gevent.GreenletExit

    def broken(*_: Any) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr("harness.transport.receiver.Receiver._drain", broken)
    monkeypatch.setattr(GeventExchange, "run", and_stop)
    with trip(tmp_path) as one:
        with pytest.raises(gevent.GreenletExit):
            one.go("fresh")
        assert one.collector.take().faults == {"the harness broke while reading it: ZeroDivisionError()": 1}


def test_what_the_judges_of_two_streams_say_is_entered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def judge(*_: Any) -> list[Finding]:
        return [Finding("resume.replay", Verdict.FAIL, "other events")]

    monkeypatch.setattr("harness.load.journeys.builtin.check_retry", judge)
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
