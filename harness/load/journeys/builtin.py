"""The built-in journeys: what clients of the API do, with one stream or several, each stream checked.

A journey is a function of a StreamRunner and of its due time on the monotonic clock (None in a closed loop). It does
not depend on Locust, so tests run it as is. Journeys with several streams of one run compare them event by event:
a lost, duplicated or changed event is a violation.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial

import gevent

from harness.config.target import Target
from harness.contract.decoding.decoded_frame import DecodedFrame
from harness.contract.exchange import Ending, Exchange
from harness.contract.expectations import Expectations
from harness.contract.finding import Finding
from harness.contract.rules import run_id
from harness.contract.rules.comparisons import (
    canonical_stream,
    check_abandoned,
    check_conflict,
    check_first_reader,
    check_joined,
    check_parts,
    check_race,
    check_resumed,
    check_retry,
    check_survived,
)
from harness.errors import SettingsError
from harness.load.journeys.cancel import CANCEL, cancel
from harness.load.journeys.new_run import NewRun
from harness.load.journeys.stream_handle import StreamHandle
from harness.load.journeys.stream_runner import StreamRunner
from harness.load.journeys.workflow import WORKFLOW, step_name, workflow
from harness.load.stats.stream_metrics import (
    ABANDONED,
    CONFLICTING,
    CUT,
    JOINED,
    JOINED_AND_CUT,
    ORIGINAL,
    RACING,
    REREAD,
    RESUMED,
    RESUMED_AND_CUT,
    RETRY,
    RUN,
    SLOW,
)
from harness.profiles.capability import Capability
from harness.profiles.profile import Profile
from harness.protocol.request import HttpRequest

Journey = Callable[[StreamRunner, int | None], None]

_MOST_CUTS = 3
_BY_ID_SHARE = 0.5
_MOST_JOINERS = 3
_LAST_CONFLICT = 10  # events before the conflicting request, so that it is early in a long run too
_RACERS = 3  # with two, nothing tells which of them is wrong


def fresh(runner: StreamRunner, intended_ns: int | None = None) -> None:
    """One run to its end."""
    runner.run("fresh", RUN, NewRun("success"), intended_ns=intended_ns)


def replay(runner: StreamRunner, intended_ns: int | None = None) -> None:
    """A run, then the same request again: the same events must come back."""
    original = runner.run("replay", ORIGINAL, NewRun("success"), intended_ns=intended_ns)
    if original.outcome is None or not runner.target.knows_run(original.request, original.run_id):
        return

    def check(retry: Exchange) -> list[Finding]:
        return check_retry(original, retry, runner.target.expectations)

    runner.run("replay", RETRY, runner.target.again(original.request, original.run_id), check=check)


def resume(runner: StreamRunner, intended_ns: int | None = None) -> None:
    """A run cut one to three times and resumed each time at a random moment: the parts must add up to the whole run.

    Events lost between two parts show only in the whole run. If no part is the whole run, it is read once more. If
    the settings do not say whether the target honours Last-Event-ID, every second run is resumed with it.
    """
    target = runner.target
    if not target.profile.capabilities >= _READ_AGAIN:
        _resume_once(runner, intended_ns)
        return
    declared = target.settings.last_event_id if target.promises(Capability.RESUME_AFTER_ID) else False
    by_id = runner.rng.random() < _BY_ID_SHARE if declared is None else declared
    action_name = _long_action(target)
    with runner.group("resume", intended_ns) as streams:
        parts = [streams.read(CUT, NewRun(action_name), cut=runner.random_cut(action_name)).exchange]
        if not target.knows_run(parts[0].request, parts[0].run_id):
            return  # it was cut before an event with the id by which it is resumed
        request = target.again(parts[0].request, parts[0].run_id)
        if parts[0].ending is not Ending.CUT:
            if parts[0].outcome is not None:
                check = partial(check_retry, parts[0], expect=target.expectations)
                resumed = streams.read(RESUMED, request, check=check)
                runner.record_shape(action_name, parts[0], resumed.exchange)
            return
        streams.compare = partial(_compare_parts, expect=target.expectations)
        for _ in range(_more_cuts(runner, by_id=by_id)):
            cut = runner.random_cut(action_name, seen=_events_not_repeated(target, parts))
            runner.moments.wait_after_cut(parts[-1], action_name)
            resume_request = _resume_request(target, request, parts, by_id=by_id)
            parts.append(streams.read(RESUMED_AND_CUT, resume_request, cut=cut).exchange)
            if parts[-1].ending is not Ending.CUT:
                break
        if parts[-1].ending is Ending.CUT:
            runner.moments.wait_after_cut(parts[-1], action_name)
            last = _resume_request(target, request, parts, by_id=by_id)
            parts.append(streams.read(RESUMED, last).exchange)
        if parts[-1].over and parts[-1].sequence[0] != parts[0].sequence[0]:
            streams.read(REREAD, request)  # no part is the whole run
        runner.record_shape(action_name, *parts)


def _resume_once(runner: StreamRunner, intended_ns: int | None = None) -> None:
    """A run that is cut and resumed once, for an API whose runs cannot be read again from their first event.

    Where it resumes after an event, the run is read once more after its first one: that shows what the resumption lost.
    Where it resumes with a snapshot, the run must reach its outcome.
    """
    target = runner.target
    action_name = _long_action(target)
    by_id = target.promises(Capability.RESUME_AFTER_ID)
    with runner.group("resume", intended_ns) as streams:
        streams.compare = partial(_compare_once, expect=target.expectations)
        cut = streams.read(CUT, NewRun(action_name), cut=runner.random_cut(action_name)).exchange
        named = [name for event in cut.events if (name := _id_to_name(target, event))] if by_id else []
        is_known = target.knows_run(cut.request, cut.run_id, to_resume=True) and bool(named) is by_id
        if cut.ending is not Ending.CUT or not is_known:
            runner.record_shape(action_name, cut)
            return
        runner.moments.wait_after_cut(cut, action_name)

        def resumption(last_id: str | None) -> HttpRequest:
            return target.resumption(cut.request, cut.run_id, last_id)

        streams.read(RESUMED, resumption(named[-1] if by_id else None))
        if by_id:
            streams.read(REREAD, resumption(named[0]))


def _compare_once(handles: Sequence[StreamHandle], expect: Expectations) -> None:
    """Compare a run that was cut once with its resumption, and with the reread if there is one."""
    by_step = {handle.stream.step: handle for handle in handles}
    resumed = by_step.get(RESUMED)
    if resumed is None:
        return
    cut, reread = by_step[CUT].exchange, by_step.get(REREAD)
    if reread is not None:
        canonical = reread.exchange
        resumed.checks.append(lambda part: check_resumed(cut, part, canonical, expect))
    resumed.checks.append(lambda part: check_survived(cut, part, expect))


def _id_to_name(target: Target, event: DecodedFrame) -> str | None:
    """The id of an event as the request that resumes after it names it."""
    in_field = target.profile.ids is not None and target.profile.ids.in_field
    return event.frame.last_event_id if in_field else event.id


def _compare_parts(handles: Sequence[StreamHandle], expect: Expectations) -> None:
    """Compare the parts of one run, in order, with the reread if there is one."""
    parts = [handle.exchange for handle in handles if handle.stream.step is not REREAD]
    rereads = [handle for handle in handles if handle.stream.step is REREAD]
    if len(parts) < 2 or parts[-1].ending is Ending.CUT:  # stopped before the last part
        return
    whole = rereads[0].exchange if rereads else None
    last = parts[-1]
    index = [handle.exchange for handle in handles].index(last)
    handles[index].checks.append(lambda _: check_parts(parts, whole, expect))
    for reread in rereads:
        reread.checks.append(lambda exchange: [run_id.constant([last, exchange], expect=expect)])


def _more_cuts(runner: StreamRunner, *, by_id: bool) -> int:
    settings = runner.target.settings
    # Without Last-Event-ID, the tail of a tail cannot be distinguished from a replay.
    may_be_tail = settings.resume_start == "tail" or (by_id and settings.resume_start == "any")
    if may_be_tail and settings.last_event_id is not True:
        return 0
    return runner.rng.randint(1, _MOST_CUTS) - 1


def _resume_request(
    target: Target, request: HttpRequest, parts: Sequence[Exchange], *, by_id: bool
) -> HttpRequest:
    """The request that reads the run again; by_id: after the id of the last event that the client received."""
    last = next((part.events[-1] for part in reversed(parts) if part.events), None)
    # After the terminal event there is nothing to resume: the whole run is requested again.
    if not by_id or last is None or parts[-1].over:
        return request
    named = _id_to_name(target, last)
    try:
        return target.resumption(parts[0].request, parts[0].run_id, named) if named else request
    except LookupError:
        return request  # the server sent an id that no request can have


def _events_not_repeated(target: Target, parts: Sequence[Exchange]) -> int:
    resumes_after = target.settings.last_event_id is True or target.settings.resume_start == "tail"
    return sum(len(part.events) for part in parts) if resumes_after else 0


def join(runner: StreamRunner, intended_ns: int | None = None) -> None:
    """A run that one to three readers join in flight, each at a random moment: all must get the same events.

    In about half of these journeys one of the joiners cuts its connection, which must not affect the others.
    """
    target = runner.target
    action_name = _long_action(target)
    joiners = runner.rng.randint(1, _MOST_JOINERS)
    leaver = runner.rng.choice((None, runner.rng.randrange(joiners)))
    with runner.group("join", intended_ns) as streams:
        streams.compare = partial(_compare_joined, expect=target.expectations)
        first = streams.start(ORIGINAL, NewRun(action_name))
        join_at = sorted(runner.random_event_index(action_name) for _ in range(joiners))
        for number, event in enumerate(join_at):
            if not runner.moments.wait_for_events(first.live, event, action_name):
                break
            if not target.knows_run(first.request, first.live.run_id):
                continue  # no event yet has the id by which it is joined
            request = target.again(first.request, first.live.run_id)
            if number == leaver:
                streams.start(JOINED_AND_CUT, request, cut=runner.random_cut(action_name))
            else:
                streams.start(JOINED, request)
        streams.wait()
        runner.record_shape(action_name, first.exchange)


def _compare_joined(handles: Sequence[StreamHandle], expect: Expectations) -> None:
    complete = [handle.exchange for handle in handles if handle.exchange.ending is not Ending.CUT]
    if not complete:
        return
    canonical = canonical_stream(complete, expect)
    joined = [handle for handle in handles if handle.stream.step is not ORIGINAL]
    for handle in _to_compare(joined, canonical):
        check = check_abandoned if handle.exchange.ending is Ending.CUT else check_joined
        handle.checks.append(partial(check, canonical, expect=expect))
    if joined and handles[0].stream.step is ORIGINAL:
        handles[0].checks.append(
            partial(check_first_reader, joined=joined[0].exchange, canonical=canonical, expect=expect)
        )


def race(runner: StreamRunner, intended_ns: int | None = None) -> None:
    """Identical requests, sent at once or before the first event: one execution, and the same events for each."""
    expect = runner.target.expectations
    with runner.group("race", intended_ns) as streams:
        streams.compare = partial(_compare_racers, expect=expect)
        first = streams.start(ORIGINAL, NewRun("success"))
        for wait_s in runner.moments.waits_before_first_event_s(_RACERS - 1, "success"):
            if wait_s:
                gevent.sleep(wait_s)
            streams.start(RACING, first.request)
        streams.wait()
        runner.moments.record("success", first.exchange)


def _compare_racers(handles: Sequence[StreamHandle], expect: Expectations) -> None:
    if handles:
        canonical = canonical_stream([handle.exchange for handle in handles], expect)
        for handle in _to_compare(handles, canonical):
            handle.checks.append(partial(check_race, canonical, expect=expect))


def _to_compare(handles: Sequence[StreamHandle], canonical: Exchange) -> list[StreamHandle]:
    """All but the canonical stream and those whose connection was refused."""
    return [
        handle
        for handle in handles
        if handle.exchange is not canonical and handle.exchange.ending is not Ending.REFUSED
    ]


def conflict(runner: StreamRunner, intended_ns: int | None = None) -> None:
    """A different body under the key of a run, at a random moment in flight: it must be rejected, the run complete."""
    target = runner.target
    action_name = _long_action(target)
    with runner.group("conflict", intended_ns) as streams:
        original = streams.start(ORIGINAL, NewRun(action_name))

        def check(rejected: Exchange) -> list[Finding]:
            return check_conflict(original.exchange, rejected, target.expectations)

        event = min(runner.random_event_index(action_name), runner.rng.randint(1, _LAST_CONFLICT))
        if runner.moments.wait_for_events(original.live, event, action_name):
            streams.read(CONFLICTING, target.conflicting(original.request), only_check=check)
        streams.wait()
        runner.record_shape(action_name, original.exchange)


def abandon(runner: StreamRunner, intended_ns: int | None = None) -> None:
    """A run whose client cuts the connection after some events, by FIN or RST, and does not come back."""
    action_name = _long_action(runner.target)
    runner.run(
        "abandon",
        ABANDONED,
        NewRun(action_name),
        intended_ns=intended_ns,
        cut=runner.random_cut(action_name),
    )


def slow_reader(runner: StreamRunner, intended_ns: int | None = None) -> None:
    """A run read so slowly that the server has to wait: it must neither break off nor lose events."""
    target = runner.target
    action_name = _long_action(target)
    with runner.group("slow_reader", intended_ns) as streams:
        slow = streams.read(SLOW, NewRun(action_name), pace=runner.slow_pace(action_name)).exchange
        runner.record_shape(action_name, slow)
        can_reread = target.promises(Capability.REREAD) and target.knows_run(slow.request, slow.run_id)
        if slow.outcome is not None and can_reread:
            check = partial(check_retry, slow, expect=target.expectations)
            streams.read(RETRY, target.again(slow.request, slow.run_id), check=check)


def cancel_long_run(runner: StreamRunner, intended_ns: int | None = None) -> None:
    """A long run that its user cancels in flight."""
    cancel(runner, _long_action(runner.target), intended_ns)


def _long_action(target: Target) -> str:
    return "long" if target.action("long") is not None else "success"


#: By the names used in settings and results.
JOURNEYS: Mapping[str, Journey] = {
    "fresh": fresh,
    "replay": replay,
    "resume": resume,
    "join": join,
    "conflict": conflict,
    "race": race,
    "abandon": abandon,
    "slow_reader": slow_reader,
    WORKFLOW: workflow,
    CANCEL: cancel_long_run,
}

_REREAD = frozenset({Capability.REREAD})
_READ_AGAIN = frozenset({Capability.SAME_EVENTS, Capability.REREAD})
#: What an API must promise for a journey to make sense; nothing for those that are left out.
_PROMISES: Mapping[str, frozenset[Capability]] = {
    "replay": _REREAD,
    "resume": frozenset({Capability.RESUME}),
    "join": _REREAD,
    "race": frozenset({Capability.IDEMPOTENCY_KEY}),
    "conflict": frozenset({Capability.KEY_CONFLICT}),
    WORKFLOW: frozenset({Capability.PREVIOUS_OUTPUTS}),
    CANCEL: frozenset({Capability.CANCEL, Capability.CANCELLED_EVENT}),
}


def first_step(journey: str) -> str:
    """The name under which an arrival of the journey counts that never starts."""
    return step_name(1) if journey == WORKFLOW else journey


def promised_weights(weights: Mapping[str, int], profile: Profile) -> dict[str, int]:
    """The weights of journeys, 0 for those that the API does not promise. Raises SettingsError if none is left."""
    left = {
        name: weight if _PROMISES.get(name, frozenset()) <= profile.capabilities else 0
        for name, weight in weights.items()
    }
    if not any(left.values()):
        missing = next(name for name, weight in weights.items() if weight)
        lacking = min(_PROMISES[missing] - profile.capabilities)
        raise SettingsError(
            f"no journey is left to run: {missing} needs what {profile.name} does not promise, {lacking}; "
            "give fresh a weight (load.journeys)"
        )
    return left
