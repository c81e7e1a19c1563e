"""What a restart does to the streams of a process: which it excuses, what it counts, and what it reads again."""

from __future__ import annotations

import time
from collections import Counter
from pathlib import Path
from typing import Any

import gevent
import pytest

from harness.config.settings import Settings
from harness.contract.exchange import Ending, Exchange
from harness.load.journeys.new_run import NewRun
from harness.load.journeys.stream_handle import StreamHandle
from harness.load.restarts.watch import RestartWatch
from harness.load.stats.collector import PendingStream
from harness.load.stats.stats_batch import StatsBatch
from harness.load.stats.stream_metrics import RETRY, RUN, StreamStep, outcome_of
from harness.run_clock import RUN_CLOCK
from harness.shell_command import run_shell
from tests.contract.exchanges import error, no_answer, reply, run, token, whole_run
from tests.load.journeys.rig import JourneyRig
from tests.mutants.kill_matrix import serving

ENDED_NS = RUN_CLOCK.wall_ns(whole_run().timing.ended_ns)
BROKEN = run(token(0), token(1), ending=Ending.RESET, detail="the connection broke")


class At:
    """A restart `before_s` before these exchanges ended; None: not yet."""

    def __init__(self, before_s: float | None) -> None:
        self.before_s = before_s

    def begun_ns(self) -> int | None:
        return None if self.before_s is None else ENDED_NS - round(self.before_s * 1e9)


def watch(before_s: float | None = 1.0) -> RestartWatch:
    def no_runner() -> Any:
        raise AssertionError("nothing is read")

    return RestartWatch(At(before_s), 60, no_runner)


def counts(*streams: tuple[Exchange, StreamStep], before_s: float | None = 1.0) -> dict[str, int]:
    watched = watch(before_s)
    for exchange, step in streams:
        pending = PendingStream("fresh", step, 0, scheduled=False, exchange=exchange)
        pending.outcome = outcome_of(exchange, step)
        watched.observe(pending)
    batch = StatsBatch()
    watched.report_to(batch)
    watched.report_to(batch)
    return {**batch.restart, **({"lost": len(batch.lost_at)} if batch.lost_at else {})}


@pytest.mark.parametrize(
    "lost",
    [
        BROKEN,
        no_answer(),
        no_answer(Ending.REFUSED, "connection refused"),
        reply(502),
        reply(503),
        run(token(0), ending=Ending.TRUNCATED),
    ],
    ids=["reset", "no answer", "refused", "502", "503", "truncated"],
)
def test_what_a_restart_breaks_is_excused_while_it_lasts(lost: Exchange) -> None:
    assert watch(1).excuses(lost)
    assert not watch(None).excuses(lost)
    assert not watch(-1).excuses(lost), "it broke before the restart began"
    assert not watch(61).excuses(lost), "it broke long after the restart"


@pytest.mark.parametrize(
    "own",
    [
        whole_run(),
        reply(404),
        run(token(0)),  # completed without a terminal event
        run(token(0), error(1)),
        run(token(0), ending=Ending.CUT),
        run(token(0), ending=Ending.LIMIT),
        whole_run(ending=Ending.RESET),
    ],
    ids=["whole", "404", "completed early", "error", "cut by us", "a limit of ours", "reset after the end"],
)
def test_what_a_restart_does_not_break_is_judged(own: Exchange) -> None:
    assert not watch().excuses(own)


def is_cost(exchange: Exchange, step: StreamStep, watched: RestartWatch | None = None) -> bool:
    pending = PendingStream("fresh", step, 0, scheduled=False, exchange=exchange)
    pending.outcome = outcome_of(exchange, step)
    return (watched or watch()).is_cost(pending)


def test_an_error_of_a_run_in_flight_is_a_cost_of_the_restart_and_one_of_a_later_run_is_not() -> None:
    failed = run(token(0), error(1))
    assert is_cost(BROKEN, RUN)
    assert is_cost(failed, RUN)
    assert not is_cost(failed, RUN, watch(61))
    assert not is_cost(whole_run(), RUN)
    seen = watch()
    pending = PendingStream("fresh", RUN, 0, scheduled=False, exchange=no_answer(ended_ms=-50))
    pending.outcome = "timed out"
    seen.observe(pending)
    assert not is_cost(failed, RUN, seen), "it was sent after the first lost connection"
    assert is_cost(failed, RETRY, seen), "its run may have begun before"


def test_each_kind_of_loss_is_counted_once() -> None:
    assert counts((BROKEN, RUN)) == {"interrupted": 1, "lost": 1}
    assert counts((BROKEN, RETRY)) == {"lost": 1}, "the run is counted by the stream that began it"
    assert counts((no_answer(Ending.REFUSED, "connection refused"), RUN), (reply(503), RUN)) == {
        "turned_away": 2,
        "lost": 1,
    }
    assert counts((run(token(0), error(1)), RUN)) == {"errors": 1}
    assert counts((whole_run(), RUN), (reply(404), RUN)) == {}
    assert counts((BROKEN, RUN), before_s=None) == {}
    assert counts((BROKEN, RUN), before_s=61) == {}


def test_an_answer_that_is_not_excused_is_no_interrupted_run() -> None:
    """As from another program that has taken the server's port: it is a failure, and was counted as both."""
    garbage = no_answer(Ending.MALFORMED, "not an HTTP/1.1 response")
    assert not watch().excuses(garbage)
    assert counts((garbage, RUN), (run(token(0)), RUN)) == {}


@pytest.mark.parametrize(
    ("fault", "becomes", "violated"),
    [
        (None, "ended", set()),  # it ends the runs that it finds unfinished with an error event
        ("keys-lost-at-restart", "twice", {"restart.no-new-run"}),
        ("no-terminal-at-restart", "lost", {"restart.ends", "terminal.always", "terminal.exactly-one"}),
    ],
)
def test_interrupted_runs_are_read_again(
    tmp_path: Path, fault: str | None, becomes: str, violated: set[str]
) -> None:
    runs = 4
    with serving(fault, tmp_path / "server", shared=True) as demo:
        rig = JourneyRig(Settings.model_validate(demo), None)
        command = rig.target.settings.restart_command
        assert command is not None
        begun: list[int] = []

        class Moment:
            def begun_ns(self) -> int | None:
                return begun[0] if begun else None

        watched = RestartWatch(Moment(), 60, lambda: rig.runner)
        rig.runner._excuses = watched.excuses
        rig.collector._on_finalized = watched.observe
        rig.collector._excuses = watched.is_cost
        watched.start()
        handles = [rig.runner.begin("fresh", RUN, NewRun("long")) for _ in range(runs)]
        streams = [gevent.spawn(read, rig, handle) for handle in handles]
        assert all(handle.live.wait_for_events(1) for handle in handles)
        begun.append(RUN_CLOCK.wall_ns())
        run_shell(command, 60)
        gevent.joinall(streams, raise_error=True)
        total = read_again(rig, watched)
    assert total[becomes] >= runs
    stats = rig.collector.take()
    assert {requirement for requirement, _ in stats.violations} == violated
    again = [row for row in stats.rows if row.journey == "restart"]
    assert len(again) >= runs
    assert {row.step for row in again} == {"after restart"}
    assert any(row.reason for row in again) == bool(violated)
    broken = [row.reason or "" for row in stats.rows if row.journey == "fresh" and row.reason]
    assert len(broken) >= runs
    assert all(reason.startswith("at the restart: ") for reason in broken)
    assert not any(journey == "fresh" for _, journey in stats.failures)
    assert not any(key[1:] == ("fresh", "failed") for key in stats.rate_counts)
    assert ("restart", "runs") not in {key[1:] for key in stats.rate_counts}, "an error may end it"


def read_again(rig: JourneyRig, watched: RestartWatch) -> Counter[str]:
    """Wait until every interrupted run was read again. Returns the counts."""
    until_s = time.monotonic() + 60
    total = Counter[str]()
    while not total["interrupted"] == sum(total[name] for name in ("resumed", "ended", "twice", "lost")) > 0:
        assert time.monotonic() < until_s, total
        rig.runner.run("fresh", RUN, NewRun("success"))  # shows that the server is there again
        gevent.sleep(0.05)
        batch = StatsBatch()
        watched.report_to(batch)
        total.update(batch.restart)
    watched.stop()
    return total


def read(rig: JourneyRig, handle: StreamHandle) -> None:
    rig.runner.execute(handle)
    rig.runner.finalize(handle)
