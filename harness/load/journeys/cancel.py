"""The journey of a run that its user cancels in flight, at a random moment and by the API's request."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Sequence
from functools import partial

import gevent

from harness.contract.exchange import Exchange
from harness.contract.expectations import Expectations
from harness.contract.finding import Finding
from harness.contract.rules.comparisons import check_cancelled, check_cancelled_again
from harness.load.journeys.new_run import NewRun
from harness.load.journeys.stream_handle import StreamHandle
from harness.load.journeys.stream_runner import StreamRunner
from harness.load.stats.stream_metrics import CANCELLED, CANCELLING, REREAD_CANCELLED
from harness.profiles.capability import Capability
from harness.protocol.request import HttpRequest

CANCEL = "cancel"
_SECOND_READER_SHARE = 0.5
_REREAD_WITHIN_S = 0.2  # a server may store the outcome some time after it has sent it
_END_FOLLOWS_NS = 250_000_000
_SLACK_S = 0.5  # after the budget, before the harness gives a stream up


def cancel(runner: StreamRunner, action: str, intended_ns: int | None = None) -> None:
    """A run that is cancelled in flight, in about half of the journeys before two readers, then read again.

    action: the one whose run is long enough.
    """
    target = runner.target
    can_reread = target.promises(Capability.REREAD)
    chosen = str(uuid.uuid4()) if target.promises(Capability.CLIENT_RUN_ID) else None
    with runner.group(CANCEL, intended_ns) as streams:
        whole_events = runner.run_lengths.get(action)
        streams.compare = partial(_compare, expect=target.expectations, whole_events=whole_events)
        first = streams.start(CANCELLED, NewRun(action, run_id=chosen))
        readers = [first]
        if (
            can_reread
            and runner.rng.random() < _SECOND_READER_SHARE
            and first.live.wait_for_events(1)
            and target.knows_run(first.request, first.live.run_id)
        ):
            second = streams.start(CANCELLED, target.again(first.request, first.live.run_id))
            second.live.wait_for_events(1)
            readers.append(second)
        if not runner.moments.wait_for_events(first.live, runner.random_event_index(action), action):
            streams.wait()
            runner.record_shape(action, first.exchange)
            return
        request = _request(first, partial(target.cancel, first.request))
        if request is None:
            streams.wait()
            return
        answer = streams.read(CANCELLING, request, only_check=_nothing).exchange
        _wait(readers, target.expectations.budgets.cancel_s + _SLACK_S)
        streams.wait()
        _measure(runner, first, answer)
        known = target.knows_run(first.request, first.exchange.run_id)
        if can_reread and known and first.exchange.outcome == "cancelled":
            runner.pause(runner.rng.uniform(0.0, _REREAD_WITHIN_S))
            streams.read(REREAD_CANCELLED, target.again(first.request, first.exchange.run_id))


def _request(first: StreamHandle, cancelling: Callable[[str | None], HttpRequest]) -> HttpRequest | None:
    """The request that cancels the run, once its events have its id; None if they never have it."""
    seen = 1
    while True:
        try:
            return cancelling(first.live.run_id)
        except LookupError:
            seen += 1
            if not first.live.wait_for_events(seen):
                return None


def _wait(readers: Sequence[StreamHandle], limit_s: float) -> None:
    """Wait for the end of the streams; cut those that are open after the budget."""
    gevent.joinall([reader.greenlet for reader in readers if reader.greenlet is not None], timeout=limit_s)
    for reader in readers:
        if not reader.live.finished:
            reader.live.cut()


def _measure(runner: StreamRunner, first: StreamHandle, answer: Exchange) -> None:
    run, sent_ns = first.exchange, answer.timing.sent_ns
    if run.outcome == "cancelled" and run.over_ns is not None and sent_ns is not None:
        runner.collector.add_value(first.stream, "cancel_ms", max(0, run.over_ns - sent_ns) / 1e6)


def _nothing(_: Exchange) -> list[Finding]:
    return []


def _ended_itself(reader: Exchange, answer: Exchange, whole_events: int | None) -> bool:
    """Whether a run may have ended before it was cancelled, though the answer to that arrived first.

    A server may answer before it has written the end of the run to its readers. Then the run has all events, and its
    end follows the answer closely. whole_events: of an earlier run of the action; None if it is not known.
    """
    over_ns, answered_ns = reader.over_ns, answer.head_ns
    if reader.outcome != "done" or whole_events is None or over_ns is None or answered_ns is None:
        return False
    return reader.summary.events >= whole_events and over_ns - answered_ns < _END_FOLLOWS_NS


def _compare(handles: Sequence[StreamHandle], expect: Expectations, whole_events: int | None) -> None:
    answers = [handle for handle in handles if handle.stream.step is CANCELLING]
    readers = [handle for handle in handles if handle.stream.step is CANCELLED]
    if not answers or not readers or answers[0].exchange.status is None:
        return
    answer, first = answers[0].exchange, readers[0].exchange
    if any(_ended_itself(reader.exchange, answer, whole_events) for reader in readers):
        return
    for reader in readers:
        reader.checks.append(partial(check_cancelled, answer=answer, expect=expect))
    for reread in handles:
        if reread.stream.step is REREAD_CANCELLED:
            reread.checks.append(partial(check_cancelled_again, first, answer))
