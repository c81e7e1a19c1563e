from __future__ import annotations

import logging
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from harness.contract.finding import Finding, Verdict
from harness.export.load_families import load_families
from harness.export.metric_families import Distribution, Family
from harness.load.stats.collector import Collector
from harness.load.stats.otlp_push import OtlpPush
from harness.load.stats.stats_batch import StatsBatch
from harness.load.stats.stream_metrics import RUN
from harness.results.reader import Results
from harness.results.records import ProcessRecord
from harness.results.writer import ResultsWriter
from tests.load.stats.test_collector import WHOLE

_WITHIN_S = 20.0


class Sender:
    """Keeps what it is given, in the thread that gives it."""

    url = "http://collector"

    def __init__(self) -> None:
        self.pushes: list[dict[str, Family]] = []
        self.threads: set[int] = set()
        self.arrives = True
        self.may_go = threading.Event()
        self.may_go.set()
        self.got = threading.Semaphore(0)
        self.closed = False

    def push(self, families: Sequence[Family]) -> bool:
        self.pushes.append({family.name: family for family in families})
        self.threads.add(threading.get_ident())
        self.got.release()
        assert self.may_go.wait(_WITHIN_S)
        return self.arrives

    def close(self) -> None:
        self.closed = True


class Clock:
    now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def sender() -> Iterator[Sender]:
    sender = Sender()
    yield sender
    sender.may_go.set()


@pytest.fixture
def clock() -> Clock:
    return Clock()


def telemetry(sender: Sender, clock: Clock, *, has_warmup: bool = False) -> OtlpPush:
    return OtlpPush(sender, target="t", has_warmup=has_warmup, every_s=10.0, clock=clock)


def one_run(journey: str = "fresh") -> StatsBatch:
    collector = Collector("w")
    stream = collector.schedule(journey, RUN)
    collector.end(stream, WHOLE)
    collector.finalize(stream, [])
    return collector.take()


def scheduled(families: dict[str, Family]) -> dict[str, object]:
    return {one.labels["journey"]: one.value for one in families["agent.run.streams.scheduled"].samples}


def until_idle(one: OtlpPush) -> None:
    for _ in range(int(_WITHIN_S / 0.01)):
        if one._idle:
            return
        threading.Event().wait(0.01)
    raise AssertionError("the push never ended")


def test_it_pushes_at_every_interval(sender: Sender, clock: Clock) -> None:
    one = telemetry(sender, clock)
    one.started(0, None)
    one.add(one_run(), "w")
    clock.now_s = 9.9
    one.flush()
    assert sender.pushes == []
    clock.now_s = 10.0
    one.flush()
    assert sender.got.acquire(timeout=_WITHIN_S)
    until_idle(one)
    one.add(one_run("replay"), "v")
    one.flush()  # not yet again
    clock.now_s = 20.0
    one.flush()
    assert sender.got.acquire(timeout=_WITHIN_S)
    assert [scheduled(push) for push in sender.pushes] == [{"fresh": 1}, {"fresh": 1, "replay": 1}]
    assert threading.get_ident() not in sender.threads
    one.close("finished", [])


def test_the_last_push_has_everything(sender: Sender, clock: Clock, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    one = telemetry(sender, clock)
    one.started(0, None)
    one.add(one_run(), "w")
    one.close("finished", [])
    (push,) = sender.pushes
    assert scheduled(push) == {"fresh": 1}
    (ttft,) = push["agent.run.ttft"].samples
    assert isinstance(ttft.value, Distribution)
    assert (ttft.value.count, ttft.labels["target"]) == (1, "t")
    assert (sender.closed, one.pushed, one.failed) == (True, 1, 0)
    assert "pushed metrics to http://collector 1 times" in caplog.text


def test_warm_up_is_left_out_and_nothing_counts_before_it_is_known(sender: Sender, clock: Clock) -> None:
    one = telemetry(sender, clock, has_warmup=True)
    one.add(one_run(), "w")
    one.started(0, 2**33)
    one.add(one_run(), "w")
    one.close("finished", [])
    (push,) = sender.pushes
    assert scheduled(push) == {"fresh": 2}
    assert "agent.run.ttft" not in push
    assert [sample.value for sample in push["agent.run.streams.judged"].samples] == [0]


def test_a_slow_collector_blocks_nothing_and_skips_pushes(sender: Sender, clock: Clock) -> None:
    one = telemetry(sender, clock)
    sender.may_go.clear()
    for clock.now_s in (10.0, 20.0, 30.0):
        one.add(one_run(), "w")
        one.flush()
    assert sender.got.acquire(timeout=_WITHIN_S)
    sender.may_go.set()
    one.close("finished", [])
    assert [scheduled(push) for push in sender.pushes] == [{"fresh": 1}, {"fresh": 3}]


def test_a_failed_push_is_logged_once_and_retried(
    sender: Sender, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    one = telemetry(sender, clock)
    sender.arrives = False
    for clock.now_s in (10.0, 20.0):
        one.flush()
        assert sender.got.acquire(timeout=_WITHIN_S)
        until_idle(one)
    sender.arrives = True
    one.close("finished", [])
    assert (one.pushed, one.failed, one.problem) == (1, 2, None)
    assert caplog.text.count("did not reach") == 1


def test_a_failed_last_push_is_logged(sender: Sender, clock: Clock, caplog: pytest.LogCaptureFixture) -> None:
    one = telemetry(sender, clock)
    sender.arrives = False
    one.close("interrupted", [])
    assert "the final metrics did not reach http://collector" in caplog.text
    assert one.problem == (
        "the final metrics did not reach http://collector (0 of 1 pushes arrived); check [export] otlp_endpoint"
    )


def test_a_sender_that_breaks_does_not_end_the_thread(
    sender: Sender, clock: Clock, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = telemetry(sender, clock)

    def broken(_: object) -> bool:
        raise ZeroDivisionError

    monkeypatch.setattr(sender, "push", broken)
    one.close("finished", [])
    assert "ZeroDivisionError" in caplog.text
    assert (one.failed, sender.closed) == (1, True)


def broken_run(journey: str, requirement: str) -> StatsBatch:
    collector = Collector("w")
    stream = collector.schedule(journey, RUN)
    collector.end(stream, WHOLE)
    collector.finalize(stream, [Finding(requirement, Verdict.FAIL, "wrong")])
    return collector.take()


@pytest.mark.parametrize("measured_from", [None, 0, 2**33])
def test_what_is_pushed_is_what_the_results_file_says(
    tmp_path: Path, sender: Sender, clock: Clock, measured_from: int | None
) -> None:
    one = telemetry(sender, clock, has_warmup=measured_from is not None)
    one.started(0, measured_from)
    batches = [
        one_run(),
        one_run("replay"),
        broken_run("replay", "ids.increasing"),
        broken_run("fresh", "x.y"),
    ]
    still_open = Collector("v")
    still_open.schedule("resume", RUN)
    batches.append(still_open.take())
    batches.append(
        StatsBatch(processes=[ProcessRecord(worker="v", second=5, cpu=1.0, rss_bytes=1, open_streams=1)])
    )
    batches[-1].record("hub_delay_ms", "", 5, 0.25)
    path = tmp_path / "results.sqlite"
    with ResultsWriter(path) as writer:
        if measured_from is not None:
            writer.set_manifest(measured_from=measured_from)
        for number, batch in enumerate(batches):
            one.add(batch, f"w{number}")
            batch.write_to(writer, f"w{number}")
    one.close("finished", [])
    with Results(path) as results:
        expected = {family.name: family for family in load_families(results, "t")}
    (push,) = sender.pushes
    assert push == expected
    assert {"agent.run.violations", "agent.run.streams.in_flight"} <= set(push)
