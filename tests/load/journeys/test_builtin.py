"""Every journey against correct, faulty and unreachable servers."""

from __future__ import annotations

import random
import re
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gevent
import pytest

from harness.config.load_settings import LoadSettings
from harness.contract.finding import Verdict
from harness.errors import SettingsError
from harness.load.journeys.builtin import JOURNEYS, promised_weights
from harness.load.journeys.stream_runner import StreamRunner
from harness.profiles import library
from tests.forked import embedded_server
from tests.load.journeys.rig import OF_RUNS_ALONE, JourneyRig, demo_rig, journey_rig, settings_for
from tests.load.run_server import Connection, Run, RunServer, run_server


def counted(server: RunServer, counts: dict[str, int]) -> None:
    """Wait for the server, which counts a stream shortly after its client has seen the end."""
    give_up_s = time.monotonic() + 5
    while server.stats.counts != counts and time.monotonic() < give_up_s:
        time.sleep(0.005)
    assert server.stats.counts == counts


def test_fresh(tmp_path: Path) -> None:
    with journey_rig(tmp_path) as rig:
        assert rig.go("fresh") == [("run", "done", None)]
        assert rig.server is not None
        counted(rig.server, {"requests": 1, "runs": 1, "terminals sent": 1})


def test_replay(tmp_path: Path) -> None:
    with journey_rig(tmp_path) as rig:
        assert rig.go("replay") == [("original", "done", None), ("retry", "done", None)]
        assert rig.server is not None
        counted(rig.server, {"requests": 2, "runs": 1, "terminals sent": 2})


@pytest.mark.parametrize("last_event_id", [True, False])
def test_resume(tmp_path: Path, last_event_id: bool) -> None:
    target = {"last_event_id": last_event_id, "resume_start": "replay"}
    with journey_rig(tmp_path, target=target, tokens=12, gap_s=0.01) as rig:
        rig.runner.run_lengths["long"] = 13
        lengths = Counter[int]()
        for _ in range(12):
            first, *middle, last = rig.go("resume")
            assert first == ("cut", "abandoned", None)
            if last_event_id and last == ("reread", "done", None):
                last = middle.pop()
            assert last == ("resumed", "done", None)
            assert set(middle) <= {("resumed", "abandoned", None)}
            lengths[1 + len(middle)] += 1
        assert set(lengths) == {1, 2, 3}, "one to three cuts"
        assert rig.runner.run_lengths == {"long": 13}
        resumed = [stream.exchange for stream in rig.finalized if stream.step.name == "resumed"]
        assert len(resumed) == lengths.total() + lengths[2] + 2 * lengths[3]
        named = [
            exchange
            for exchange in resumed
            if exchange and exchange.request.header("last-event-id") is not None
        ]
        assert bool(named) is last_event_id
        rereads = [stream for stream in rig.finalized if stream.step.name == "reread"]
        assert bool(rereads) is last_event_id
        assert rig.server is not None
        assert rig.server.stats.counts["runs"] == 12


def test_a_tail_without_ids_is_cut_once(tmp_path: Path) -> None:
    target = {"last_event_id": False, "resume_start": "tail"}
    with journey_rig(tmp_path, target=target, tokens=6, gap_s=0.01) as rig:
        for _ in range(6):
            steps = [step for step, _, _ in rig.go("resume")]
            assert steps == ["cut", "resumed"]


def test_where_nothing_is_declared_some_runs_are_resumed_by_id(tmp_path: Path) -> None:
    with journey_rig(tmp_path, tokens=12, gap_s=0.01) as rig:
        rig.runner.run_lengths["long"] = 13
        by_id = [
            any(
                stream.exchange and stream.exchange.request.header("last-event-id")
                for stream in _streams_of(rig, "resume")
            )
            for _ in range(12)
        ]
    assert set(by_id) == {True, False}


def _streams_of(rig: JourneyRig, journey: str) -> list[Any]:
    before = len(rig.finalized)
    assert {reason for _, _, reason in rig.go(journey)} == {None}
    return rig.finalized[before:]


@pytest.mark.slow
@pytest.mark.parametrize("fault", ["in-flight-gap", "one-in-flight-gap", "off-by-one-gap"])
def test_a_loss_in_flight_does_not_pass_as_a_tail(tmp_path: Path, fault: str) -> None:
    """Whether the target honours Last-Event-ID is not declared, nor where its streams start."""
    with embedded_server([fault]) as base_url:
        rig = demo_rig(base_url, tmp_path, last_event_id=None, resume_start="any")
        assert rig.target.settings.actions.long is not None
        rig.target.settings.actions.long.update(tokens=10, intervalMs=250)
        for _ in range(
            8
        ):  # a busy machine may resume after the next event, and then a tail explains the loss
            at_once(rig, ["resume"] * 8)
            violated = {requirement for requirement, _ in rig.collector.take().violations}
            if violated:
                break
    assert violated == {"resume.every-cut"}


@pytest.mark.slow
def test_a_wrong_reread_is_not_blamed_on_the_resumption(tmp_path: Path) -> None:
    with embedded_server(["replay-drops-last-token"]) as base_url:
        rig = demo_rig(base_url, tmp_path)
        at_once(rig, ["resume"] * 8)
        batch = rig.collector.take()
    assert {requirement for requirement, _ in batch.violations} == {"resume.replay"}


def test_a_stream_that_ends_before_its_cut(tmp_path: Path) -> None:
    with journey_rig(tmp_path, target={"last_event_id": True}, tokens=0) as rig:
        rig.runner.run_lengths["long"] = 1000
        assert rig.go("resume") == [("cut", "done", None), ("resumed", "done", None)]
        assert rig.runner.run_lengths == {"long": 1}


def test_a_resumption_that_ends_before_its_cut_is_the_last(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    indexes = iter([1, 1000])
    monkeypatch.setattr("harness.load.journeys.builtin._more_cuts", lambda _, **__: 2)
    monkeypatch.setattr(StreamRunner, "random_event_index", lambda *_, **__: next(indexes))
    with journey_rig(tmp_path, target={"last_event_id": False}, tokens=4) as rig:
        assert rig.go("resume") == [("cut", "abandoned", None), ("resumed", "done", None)]


def test_conflict(tmp_path: Path) -> None:
    with journey_rig(tmp_path, gap_s=0.2) as rig:
        assert rig.go("conflict") == [("original", "done", None), ("conflicting", "rejected", None)]
        assert rig.server is not None
        counted(rig.server, {"requests": 2, "runs": 1, "conflicts": 1, "terminals sent": 1})
        original, rejected = rig.finalized
        assert original.exchange is not None
        assert rejected.exchange is not None
        assert rejected.exchange.timing.ended_ns < original.exchange.timing.ended_ns
        assert "conflict_ms" in rejected.measured.values


@pytest.mark.parametrize(
    ("journey", "streams"), [("fresh", 1), ("replay", 2), ("race", 3), ("slow_reader", 2)]
)
def test_a_run_that_fails_with_409_is_a_failed_run(tmp_path: Path, journey: str, streams: int) -> None:
    with journey_rig(tmp_path, fault=lambda _: "only an error with 409") as rig:
        found = [(outcome, reason) for _, outcome, reason in rig.go(journey)]
        assert found == [("error", "ended with error, expected done")] * streams


def test_join(tmp_path: Path) -> None:
    with journey_rig(tmp_path, tokens=8, gap_s=0.01) as rig:
        rig.runner.run_lengths["long"] = 9
        seen = Counter[tuple[str, str, str | None]]()
        for _ in range(10):
            outcomes = rig.go("join")
            assert outcomes[0] == ("original", "done", None)
            assert 2 <= len(outcomes) <= 4
            seen.update(outcomes[1:])
        assert set(seen) == {("joined", "done", None), ("joined", "abandoned", None)}
        assert rig.server is not None
        assert rig.server.stats.counts["runs"] == 10


def test_race(tmp_path: Path) -> None:
    with journey_rig(tmp_path) as rig:
        assert rig.go("race") == [
            ("original", "done", None),
            ("racing", "done", None),
            ("racing", "done", None),
        ]
        assert rig.server is not None
        counted(rig.server, {"requests": 3, "runs": 1, "terminals sent": 3})
        keys = {
            stream.exchange.request.header("idempotency-key") for stream in rig.finalized if stream.exchange
        }
        assert len(keys) == 1


def test_abandon(tmp_path: Path) -> None:
    with journey_rig(tmp_path, tokens=30, gap_s=0.01) as rig:
        rig.runner.run_lengths["long"] = 5
        for _ in range(6):
            assert rig.go("abandon") == [("abandoned", "abandoned", None)]
        ways = {
            stream.exchange.ending_detail.partition(" after ")[0]
            for stream in rig.finalized
            if stream.exchange
        }
        assert ways == {f"the harness cut the connection ({how})" for how in ("FIN", "RST")}
        assert all("ttft_ms" in stream.measured.values for stream in rig.finalized)
        assert rig.server is not None
        assert rig.server.stats.counts["requests"] == 6, "no client comes back"


def test_slow_reader(tmp_path: Path) -> None:
    with journey_rig(tmp_path, tokens=60, gap_s=0.0) as rig:
        assert rig.go("slow_reader") == [("slow", "done", None), ("retry", "done", None)]
        slow, retry = (stream.exchange for stream in rig.finalized)
        assert slow is not None
        assert retry is not None
        assert slow.sequence == retry.sequence
        assert len(slow.reads) > len(b"".join(read.data for read in slow.reads)) / 1024
        run_metrics = {"ttft_ms", "service_ttft_ms", "stall_ms", "duration_ms"}
        assert not run_metrics & set(rig.finalized[0].measured.values)
        assert rig.finalized[0].measured.gaps is None
        assert rig.finalized[0].measured.lags is None


@pytest.mark.parametrize(
    "journey", [name for name in JOURNEYS if name != "cancel"]
)  # this server has no request
def test_an_arrival_is_due_once(tmp_path: Path, journey: str) -> None:
    """Only the first stream of a journey was due at a scheduled time."""
    with journey_rig(tmp_path, gap_s=0.01) as rig:
        rig.go(journey, intended_ns=1)
        assert [stream.scheduled for stream in rig.finalized] == [True] + [False] * (len(rig.finalized) - 1)


SPOILS: dict[str, Callable[[list[bytes]], list[bytes]]] = {
    "none": lambda events: events,
    "dropped": lambda events: [events[0], *events[2:]],
    "doubled": lambda events: [*events[:2], *events[1:]],
    "swapped": lambda events: [events[0], events[2], events[1], *events[3:]],
    "changed": lambda events: [events[0], events[1].replace(b'"content": "t', b'"content": "x'), *events[2:]],
}


def spoil(server: RunServer, connection: int, how: str, *, cut: int) -> None:
    """From now on the nth connection to each run, from 1, gets its second event spoilt.

    cut: how many connections to a run get only the three events after which the client cuts them, however late it is.
    """
    connections = Counter[int]()

    class Spoiling(Connection):
        def play(self, sock: Any, run: Run, fault: str, last_event_id: str | None) -> None:
            with server.lock:
                connections[id(run)] += 1
                number = connections[id(run)]
            events = run.events
            is_last_seen = [event.startswith(f"id: {last_event_id}\n".encode()) for event in events]
            start = is_last_seen.index(True) + 1 if last_event_id else 0
            if number == connection:
                events = [*events[:start], *SPOILS[how](events[start:])]
            if number <= cut:
                events, fault = events[: start + 4], "truncate"
            super().play(sock, Run(run.body, events, run.started, run.gap_s), fault, last_event_id)

    server.RequestHandlerClass = Spoiling


def violations(rig: JourneyRig, journey: str, times: int) -> tuple[set[str], list[str]]:
    """The requirements that streams of the journey violated, and the details."""
    for _ in range(times):
        JOURNEYS[journey](rig.runner, None)
    batch = rig.collector.take()
    failed = sum(row.reason is not None for row in batch.rows)
    assert bool(failed) is bool(batch.violations)
    return {requirement for requirement, _ in batch.violations}, [
        example.detail for example in batch.examples
    ]


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
    monkeypatch.setattr("harness.load.journeys.builtin._more_cuts", lambda _, **__: 1)
    monkeypatch.setattr("harness.load.journeys.builtin._MOST_JOINERS", 2)
    monkeypatch.setattr(random.Random, "randint", lambda _, low, high: high)
    monkeypatch.setattr(StreamRunner, "random_event_index", lambda *_, **__: 3)
    # A busy machine must join while the run is in flight.
    gap_s = {"join": 0.03, "resume": 0.0}.get(journey, 0.005)
    with journey_rig(tmp_path, target={"last_event_id": last_event_id}, tokens=12, gap_s=gap_s) as rig:
        monkeypatch.setattr(rig.runner.rng, "choice", lambda options: options[0])
        assert rig.server is not None
        spoil(rig.server, connection, how, cut=2 if journey == "resume" else 0)
        found, details = violations(rig, journey, times=1)
    if how == "none":
        assert found == set()
        return
    by_ids = {"doubled": {"ids.unique", "ids.increasing"}, "swapped": {"ids.increasing"}}.get(how, set())
    more = {"resume.last-event-id"} if last_event_id and connection == 3 else set()
    assert requirement in found
    assert found <= {requirement} | by_ids | more
    assert any(re.search(r"event \d+ (is id |\(id )\d+-\d+", detail) for detail in details), details


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
        ("join", "late-joiner-hole", "resume.joins"),
        ("join", "first-reader-robbed", "resume.first-reader-kept"),
        ("join", "run-id-per-connection", "run-id.constant"),
        ("join", "closing-one-closes-all", "terminal.always"),
        ("join", "proxy-holds-300-ms", "headers.incremental"),
        ("race", "racing-posts-both-run", "race.same-body"),
        ("conflict", "conflict-missed-in-flight", "conflict.in-flight"),
        ("abandon", "no-ids", "ids.present"),
        ("slow_reader", "replay-drops-last-token", "resume.replay"),
    ],
)
def test_each_journey_finds_its_defects(tmp_path: Path, journey: str, fault: str, requirement: str) -> None:
    with embedded_server([fault]) as base_url:
        rig = demo_rig(base_url, tmp_path)
        for _ in range(8):  # a busy machine may join at moments that meet no hole
            at_once(rig, [journey] * 8)
            violations = rig.collector.take().violations
            if (requirement, journey) in violations:
                break
    assert (requirement, journey) in violations, violations


@pytest.mark.slow
@pytest.mark.parametrize("declared", [True, False])
def test_no_journey_reports_anything_for_a_correct_server(tmp_path: Path, declared: bool) -> None:
    with embedded_server() as base_url:
        undeclared = {} if declared else {"last_event_id": None, "resume_start": "any"}
        rig = demo_rig(base_url, tmp_path, **undeclared)
        at_once(rig, [*JOURNEYS] * 6)
        batch = rig.collector.take()
    assert batch.violations == {}
    assert {row.reason for row in batch.rows} == {None}
    assert {row.journey.partition(".")[0] for row in batch.rows} == set(JOURNEYS)


def at_once(rig: JourneyRig, journeys: list[str]) -> None:
    running = [gevent.spawn(JOURNEYS[journey], rig.runner, None) for journey in journeys]
    gevent.joinall(running, raise_error=True)


@pytest.mark.parametrize(
    ("fault", "outcome", "reason"),
    [
        (
            "truncate",
            "truncated",
            "truncated: the server closed the connection before the end of the response",
        ),
        ("reset", "truncated", "truncated: the connection broke: Connection reset by peer"),
        ("silent", "timed out", "timed out: no event within 2 s"),
        ("busy", "rejected", "unavailable (503)"),
        ("error", "error", "ended with error, expected done"),
    ],
)
def test_streams_that_go_wrong(tmp_path: Path, fault: str, outcome: str, reason: str) -> None:
    with journey_rig(tmp_path, fault=lambda _: fault) as rig:
        assert rig.go("fresh") == [("run", outcome, reason)]


@pytest.mark.parametrize("journey", OF_RUNS_ALONE)
@pytest.mark.parametrize("status", [429, 503])
def test_a_rate_limit_fails_streams_and_breaks_no_rule(tmp_path: Path, journey: str, status: int) -> None:
    """Whichever request of a journey is limited, the others have no part in it."""
    says = {429: "rate limited (429)", 503: "unavailable (503)"}[status]
    for which in range(6):

        def reject(number: int, which: int = which) -> int | None:
            return status if number == which else None

        with journey_rig(tmp_path, reject=reject) as rig:
            JOURNEYS[journey](rig.runner, None)
            batch = rig.collector.take()
        assert batch.violations == {}
        assert {row.reason for row in batch.rows} <= {None, says}
        if which == 0:
            assert [row.reason for row in batch.rows].count(says) == 1


def test_a_swapped_event_is_a_violation(tmp_path: Path) -> None:
    with journey_rig(tmp_path, fault=lambda _: "swap") as rig:
        JOURNEYS["fresh"](rig.runner, None)
        batch = rig.collector.take()
    assert batch.violations == {("ids.increasing", "fresh"): 1}
    assert (batch.rows[0].reason or "").startswith("ids.increasing: id ")
    assert sum(batch.failures.values()) == 1


@pytest.mark.parametrize("journey", OF_RUNS_ALONE)
def test_nobody_listens(tmp_path: Path, journey: str) -> None:
    with run_server() as server:
        base_url = server.base_url
    rig = JourneyRig(settings_for(base_url, tmp_path), None)
    outcomes = rig.go(journey)
    assert len(outcomes) == (3 if journey == "race" else 1)
    assert {(outcome, reason) for _, outcome, reason in outcomes} == {
        ("refused", "refused: Connection refused")
    }
    assert not any(stream.findings for stream in rig.finalized)
    assert rig.runner.refused


def test_a_run_that_did_not_finish_is_not_retried(tmp_path: Path) -> None:
    with journey_rig(tmp_path, fault=lambda _: "truncate") as rig:
        assert [step for step, _, _ in rig.go("replay")] == ["original"]


@pytest.mark.slow
def test_joins_find_a_hole_as_often_as_a_client_that_joins_at_random_moments(tmp_path: Path) -> None:
    """A hole of 40 ms between past and new events, one event every 52 ms: three of four random joins lose one.

    On a busy machine the events are further apart, and fewer joins lose one.
    """
    with embedded_server(["late-joiner-hole"]) as base_url:
        rig = demo_rig(base_url, tmp_path)
        assert rig.target.settings.actions.long is not None
        rig.target.settings.actions.long.update(tokens=60, intervalMs=52)
        rig.go("join")  # teaches it the length of a run, so long that a busy machine joins few after the end
        rig.finalized.clear()
        at_once(rig, ["join"] * 12)
    joined = [stream for stream in rig.finalized if stream.step.name == "joined"]
    lost = [
        stream
        for stream in joined
        if {"resume.joins", "resume.every-cut"}
        & {finding.requirement for finding in stream.findings if finding.verdict is Verdict.FAIL}
    ]
    first, *_ = (stream.exchange for stream in rig.finalized if stream.step.begins_run and stream.exchange)
    arrivals_ns = first.summary.token_arrivals_ns
    gap_ms = (arrivals_ns[-1] - arrivals_ns[0]) / 1e6 / (len(arrivals_ns) - 1)
    assert len(lost) > 0.5 * min(1, 40 / gap_ms) * len(joined), (
        f"{len(lost)} of {len(joined)}, {gap_ms:.0f} ms"
    )


def test_an_api_runs_the_journeys_that_it_promises() -> None:
    weights = LoadSettings().journeys.model_dump()
    assert promised_weights(weights, library.load("workflow-actions")) == weights
    chat = promised_weights(weights, library.load("openai-chat"))
    assert {name for name, weight in chat.items() if weight} == {"fresh", "abandon", "slow_reader"}
    agno = promised_weights(weights, library.load("agno"))
    assert {name for name in weights if agno[name] != weights[name]} == {"conflict"}
    graph = promised_weights(weights, library.load("langgraph"))
    assert {name for name, weight in graph.items() if weights[name] and not weight} == {"race", "conflict"}
    mcp = promised_weights(weights, library.load("mcp"))
    assert {name for name, weight in mcp.items() if weight} == {"fresh", "resume", "abandon", "slow_reader"}
    with pytest.raises(
        SettingsError, match=r"no journey is left to run: race needs .* idempotency key; give fresh"
    ):
        promised_weights({"fresh": 0, "race": 1}, library.load("openai-chat"))
