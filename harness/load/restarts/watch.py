"""What a restart of the server does to the streams of one process, and the runs that are read again after it.

A connection that is lost while the server restarts is a cost of the restart, and breaks no rule. A client that lost
one sends its request again: so does the watch, once the server accepts runs again. These streams are the journey
`restart`, and the rules about restarts judge them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from functools import partial

import gevent
from gevent.event import Event
from gevent.queue import Queue

from harness.contract.exchange import Ending, Exchange
from harness.contract.finding import Finding
from harness.contract.rules import restart
from harness.contract.rules.comparisons import check_after_restart, is_whole
from harness.errors import LocalResourceError
from harness.load.journeys.stream_handle import StreamHandle
from harness.load.journeys.stream_runner import StreamRunner
from harness.load.restarts.moment import RESTART, RestartMoment
from harness.load.stats.collector import CollectorClosedError, PendingStream
from harness.load.stats.stats_batch import StatsBatch
from harness.load.stats.stream_metrics import AFTER_RESTART
from harness.profiles.capability import Capability
from harness.results.ledger import TERMINAL
from harness.run_clock import RUN_CLOCK

MOST_KEPT = 1000
"""Interrupted runs of one process that are kept to be read again; they are in memory until then."""
_READERS = 8
_BETWEEN_TRIES_S = 0.5
_BROKEN = frozenset({Ending.TRUNCATED, Ending.RESET, Ending.TIMED_OUT, Ending.REFUSED})
_SERVER_ERROR = 500


class RestartWatch:
    """Watches the streams of one process of a load.

    moment: when the restart begins. within_s: for how long after that a lost connection is due to it
    (budgets.restart). runner: makes a runner for one stream.
    """

    def __init__(self, moment: RestartMoment, within_s: float, runner: Callable[[], StreamRunner]) -> None:
        self._moment = moment
        self._within_ns = round(within_s * 1e9)
        self._runner = runner
        self._counts: Counter[str] = Counter()
        self._lost_at_ns: int | None = None
        self._unreported: Counter[int] = Counter()
        self._serves_again = Event()
        self._interrupted: Queue[Exchange] = Queue()
        self._kept = 0
        self._readers: list[gevent.Greenlet] = []

    def excuses(self, exchange: Exchange) -> bool:
        """Whether an exchange failed because the server was restarted, so that it says nothing about a rule."""
        complete = exchange.ending is Ending.COMPLETE
        cut = complete and exchange.started_run and restart.may_be_cut(exchange)
        lost = exchange.over is None and (cut or exchange.ending in _BROKEN)
        failed = exchange.status is not None and exchange.status >= _SERVER_ERROR
        return (lost or failed) and self._is_in_time(exchange)

    def _is_in_time(self, exchange: Exchange) -> bool:
        begun_ns = self._moment.begun_ns()
        if begun_ns is None:
            return False
        return 0 <= RUN_CLOCK.wall_ns(exchange.timing.ended_ns) - begun_ns <= self._within_ns

    def is_cost(self, stream: PendingStream) -> bool:
        """Whether a stream failed because the server was restarted: also if its run ended with an error then."""
        exchange = stream.exchange
        if exchange is None or stream.outcome != "error":
            return exchange is not None and self.excuses(exchange)
        return self._is_in_time(exchange) and not (stream.step.begins_run and self._is_after_loss(exchange))

    def _is_after_loss(self, exchange: Exchange) -> bool:
        """Whether it was sent after the first connection was lost: to the server that was restarted."""
        sent_ns = exchange.timing.sent_ns
        if self._lost_at_ns is None or sent_ns is None:
            return False
        return RUN_CLOCK.wall_ns(sent_ns) >= self._lost_at_ns

    def observe(self, stream: PendingStream) -> None:
        """A stream has been finalized."""
        exchange = stream.exchange
        if exchange is None or stream.harness_fault or self._moment.begun_ns() is None:
            return
        if self.excuses(exchange):
            self._count_loss(stream, exchange)
        elif stream.outcome == "error" and stream.step.begins_run and self.is_cost(stream):
            self._counts["errors"] += 1
        elif exchange.started_run and stream.outcome in TERMINAL and self._is_after_loss(exchange):
            self._serves_again.set()

    def _count_loss(self, stream: PendingStream, exchange: Exchange) -> None:
        if self._lost_at_ns is None:
            self._lost_at_ns = RUN_CLOCK.wall_ns(exchange.timing.ended_ns)
            self._unreported[self._lost_at_ns] += 1
        if not stream.step.begins_run:
            return
        if stream.outcome == "refused" or exchange.status not in {None, 200}:
            self._counts["turned_away"] += 1
            return
        self._counts["interrupted"] += 1
        if Capability.IDEMPOTENCY_KEY not in exchange.profile.capabilities:
            self._counts["lost"] += 1  # no request can read it again
        elif self._kept < MOST_KEPT:
            self._kept += 1
            self._interrupted.put(exchange)

    def report_to(self, batch: StatsBatch) -> None:
        """Add what is new since the previous call."""
        batch.restart.update(self._counts)
        batch.lost_at.update(self._unreported)
        self._counts, self._unreported = Counter(), Counter()

    def start(self) -> None:
        """Begin to read interrupted runs again, when there are some and the server accepts runs again."""
        self._readers = [gevent.spawn(self._read_interrupted) for _ in range(_READERS)]

    def stop(self) -> None:
        """End reading. Streams that are open are counted as those of other users."""
        gevent.killall(self._readers)

    def _read_interrupted(self) -> None:
        self._serves_again.wait()
        for run in self._interrupted:
            try:
                what = self._read_again(run)
            except (CollectorClosedError, LocalResourceError):  # the stream is counted, with its reason
                return
            self._counts[what] += 1

    def _read_again(self, run: Exchange) -> str:
        """Send the request of an interrupted run again, until it is answered.

        Returns the count of RestartCost to which the run belongs.
        """
        while True:
            runner = self._runner()
            handle = self._read(runner, run)
            if not self.excuses(handle.exchange):
                break
            if not runner.pause(_BETWEEN_TRIES_S):
                raise CollectorClosedError("the test is ending")
        retry = handle.exchange
        broken = {finding.requirement for finding in handle.stream.findings}
        if retry.over and not is_whole(run, retry, runner.target.expectations):
            # It joined: what it has missed is in the whole run.
            broken |= {finding.requirement for finding in self._read(self._runner(), run).stream.findings}
        if restart.no_new_run.requirement.id in broken:
            return "twice"
        return {"done": "resumed", "error": "ended", "cancelled": "ended"}.get(retry.outcome or "", "lost")

    def _read(self, runner: StreamRunner, run: Exchange) -> StreamHandle:
        handle = runner.begin(RESTART, AFTER_RESTART, runner.target.again(run.request, run.run_id))
        handle.checks.append(partial(_check, run, runner))
        try:
            runner.execute(handle)
        finally:
            runner.finalize(handle)
            runner.end()
        return handle


def _check(run: Exchange, runner: StreamRunner, retry: Exchange) -> list[Finding]:
    return check_after_restart(run, retry, runner.target.expectations)
