"""The journey of a run that its user cancels in flight, at a random moment: by the API's request, or by leaving."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Sequence
from functools import partial

import gevent

from harness.contract.exchange import Ending, Exchange
from harness.contract.expectations import Expectations
from harness.contract.finding import Finding
from harness.contract.rules.cancel import UsualRun, depends_on_usual, may_have_ended_first
from harness.contract.rules.comparisons import (
    check_cancelled,
    check_cancelled_again,
    check_left,
    check_outcome_of_left,
)
from harness.load.journeys.new_run import NewRun
from harness.load.journeys.stream_handle import StreamHandle
from harness.load.journeys.stream_runner import StreamRunner
from harness.load.stats.stream_metrics import (
    ASKING,
    CANCELLED,
    CANCELLING,
    CUT,
    REREAD_CANCELLED,
    REREAD_LEFT,
    RUN,
)
from harness.profiles.capability import Capability
from harness.protocol.request import HttpRequest
from harness.transport.receiver import CutHow

CANCEL = "cancel"
_SECOND_READER_SHARE = 0.5
_REREAD_WITHIN_S = 0.2  # a server may store the outcome some time after it has sent it
_END_FOLLOWS_NS = 250_000_000
_SLACK_S = 0.5  # after the budget, before the harness gives a stream up
_ASKED = 10  # times how the run ended, while it is not over
_ASKED_EVERY_S = 0.2


def cancel(runner: StreamRunner, action: str, intended_ns: int | None = None) -> None:
    """A run that is cancelled in flight, in about half of the journeys before two readers, then read again.

    action: the one whose run is long enough. An API may have no request for it: then the reader leaves. Where the run
    ended otherwise at about the time of the answer, and no whole run was seen before, one is read to compare with.
    """
    target = runner.target
    if target.profile.cancel is not None and target.profile.cancel.disconnect:
        leave(runner, action, intended_ns)
        return
    can_reread = target.promises(Capability.REREAD)
    chosen = str(uuid.uuid4()) if target.promises(Capability.CLIENT_RUN_ID) else None
    with runner.group(CANCEL, intended_ns) as streams:
        usual = partial(runner.moments.usual, action)
        streams.compare = partial(_compare, expect=target.expectations, usual=usual)
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
        if usual() is None and _unclear(first, answer) and runner.pause(0.0):
            runner.record_shape(action, streams.read(RUN, NewRun(action)).exchange)
        known = target.knows_run(first.request, first.exchange.run_id)
        if can_reread and known and first.exchange.outcome == "cancelled":
            runner.pause(runner.rng.uniform(0.0, _REREAD_WITHIN_S))
            streams.read(REREAD_CANCELLED, target.again(first.request, first.exchange.run_id))


def leave(runner: StreamRunner, action: str, intended_ns: int | None = None) -> None:
    """A run that its only reader cancels by disconnecting, and what others find after the time budget.

    The harness ends the stream, so it counts as abandoned. Where the run can be read again, it is, twice; where the API
    tells how a run ended, it is asked. An API with neither shows nobody how such a run ends: nothing of it is judged.
    Until it is known how long a run takes that nobody leaves, the run is read to its end.
    """
    target = runner.target
    can_reread, can_ask = target.promises(Capability.REREAD), target.promises(Capability.OUTCOME_REQUEST)
    whole_s = runner.moments.whole_s(action)
    if (can_reread or can_ask) and whole_s is None:
        runner.record_shape(action, runner.run(CANCEL, RUN, NewRun(action), intended_ns=intended_ns))
        return
    wait_s = target.expectations.budgets.cancel_s
    chosen = str(uuid.uuid4()) if target.promises(Capability.CLIENT_RUN_ID) else None
    with runner.group(CANCEL, intended_ns) as streams:
        streams.compare = partial(_compare_left, expect=target.expectations, whole_s=whole_s)
        first = streams.start(CUT, NewRun(action, run_id=chosen))
        early = 1.0 if whole_s is None else max(0.0, 1.0 - (wait_s + _SLACK_S) / whole_s)
        event = max(1, round(runner.random_event_index(action) * early))
        is_in_flight = runner.moments.wait_for_events(first.live, event, action)
        again = _request(first, partial(target.again, first.request)) if can_reread else None
        asking = _request(first, partial(target.outcome, first.request)) if can_ask else None
        if is_in_flight:
            first.live.cut(runner.rng.choice((CutHow.FIN, CutHow.RST)))
        streams.wait()
        runner.record_shape(action, first.exchange)
        if first.exchange.ending is not Ending.CUT or not (again or asking) or not runner.pause(wait_s):
            return
        if again is not None:
            found = streams.read(REREAD_LEFT, again).exchange
            streams.read(REREAD_CANCELLED if found.outcome == "cancelled" else REREAD_LEFT, again)
        for _ in range(_ASKED):
            if asking is None:
                break
            answer = streams.read(ASKING, asking, only_check=_nothing).exchange
            if _told(answer) is not None or not runner.pause(_ASKED_EVERY_S):
                break


def _told(answer: Exchange) -> str | None:
    """How a run ended, by the answer to this question; None if it is not over, or if the answer does not tell it."""
    asked = answer.profile.outcome
    return None if asked is None else asked.read(asked.value(answer.body))


def _compare_left(handles: Sequence[StreamHandle], expect: Expectations, whole_s: float | None) -> None:
    """Check what others found of a run whose only reader left.

    A run that ended on its own within the budget proves nothing. It was in flight after that if a second reader got its
    end later than a replay of it takes, or if the answer to the first question did not tell an outcome.
    """
    left = [handle.exchange for handle in handles if handle.stream.step is CUT]
    rereads = [handle for handle in handles if handle.stream.step in {REREAD_LEFT, REREAD_CANCELLED}]
    asked = [handle for handle in handles if handle.stream.step is ASKING]
    if not left or left[0].ending is not Ending.CUT:
        return
    is_cancelled = False
    if len(rereads) == 2:
        found, later = rereads
        is_cancelled = found.exchange.outcome == "cancelled"
        if is_cancelled:
            later.checks.append(partial(check_cancelled_again, found.exchange, left[0]))
        if is_cancelled or _was_in_flight(left[0], found.exchange, later.exchange, whole_s):
            found.checks.append(partial(check_left, left=left[0], expect=expect))
    if asked and asked[-1].exchange.status == 200:
        ran_on = len(asked) > 1 and _is_early(left[0], asked[0].exchange, whole_s)
        if is_cancelled or ran_on or _told(asked[-1].exchange) in {"cancelled", None}:
            asked[-1].checks.append(partial(check_outcome_of_left, left[0]))


def _was_in_flight(left: Exchange, found: Exchange, later: Exchange, whole_s: float | None) -> bool:
    """Whether a run was in flight when it was read again, judging by a replay of it, and by the time of a whole run."""
    sent_ns, replayed_from_ns = found.timing.sent_ns, later.timing.sent_ns
    if sent_ns is None or replayed_from_ns is None or found.over_ns is None or later.over_ns is None:
        return False
    waited_ns, replay_ns = found.over_ns - sent_ns, later.over_ns - replayed_from_ns
    return _is_early(left, found, whole_s) and waited_ns > 2 * replay_ns + _END_FOLLOWS_NS


def _is_early(left: Exchange, later: Exchange, whole_s: float | None) -> bool:
    """Whether a request was sent before a run that nobody leaves would have ended on its own."""
    began_ns, sent_ns = left.timing.sent_ns, later.timing.sent_ns
    if began_ns is None or sent_ns is None or whole_s is None:
        return False
    return (sent_ns - began_ns) / 1e9 < whole_s


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


def _unclear(first: StreamHandle, answer: Exchange) -> bool:
    """Whether only the length of a run that nobody cancels shows whether this one ended on its own."""
    return answer.status is not None and depends_on_usual(([first.exchange], answer, None, None))


def _compare(
    handles: Sequence[StreamHandle], expect: Expectations, usual: Callable[[], UsualRun | None]
) -> None:
    """Check the readers of a cancelled run. usual: asked when all have ended."""
    answers = [handle for handle in handles if handle.stream.step is CANCELLING]
    readers = [handle for handle in handles if handle.stream.step is CANCELLED]
    if not answers or not readers or answers[0].exchange.status is None:
        return
    answer, first = answers[0].exchange, readers[0].exchange
    known = usual()
    if may_have_ended_first(([reader.exchange for reader in readers], answer, None, None), known):
        return
    for reader in readers:
        reader.checks.append(partial(check_cancelled, answer=answer, expect=expect, usual=known))
    for reread in handles:
        if reread.stream.step is REREAD_CANCELLED:
            reread.checks.append(partial(check_cancelled_again, first, answer))
