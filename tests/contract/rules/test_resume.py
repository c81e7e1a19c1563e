from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from harness.contract.exchange import Ending, Exchange
from harness.contract.expectations import Expectations
from harness.contract.finding import Finding
from harness.contract.rules import comparisons, resume
from harness.contract.rules.cuts import CutRun, Start, stitch
from harness.contract.rules.sequences import first_difference
from harness.formatting import counted
from harness.profiles.workflow_actions.identity import EventIdentity
from tests.cases import all_cases
from tests.contract.exchanges import (
    CUT,
    another_run,
    asking,
    cut_run,
    done,
    empty_stream,
    error,
    frame,
    id_at,
    no_answer,
    reply,
    run,
    scripted,
    tail,
    token,
    whole_run,
)
from tests.contract.rules.case import FAIL, INCONCLUSIVE, INFO, PASS, WARN, Case, case, check

TAIL, REPLAY = Expectations(resume_start="tail"), Expectations(resume_start="replay")
DECLARED = Expectations(last_event_id=True)
RUN = whole_run()
TRUNCATED = run(token(0), ending=Ending.TRUNCATED, detail="the server closed the connection")
CONTROL = (whole_run(), whole_run())
NO_RESUME = (whole_run(), another_run())
FAILED = run(token(0), error(1))
# A retry that was sent 5 ms before the end of RUN, which its server had not looked at by then.
ANSWERED_LATE = scripted(*((6.0, read.data) for read in RUN.reads), sent_ms=25)
LONG = run(token(0), done(1), at=(0, 600))
LONG_AGAIN = scripted(*((1.0, read.data) for read in LONG.reads), sent_ms=300)
LATE_AT_LONG = scripted(*((280.0, read.data) for read in LONG.reads), sent_ms=300)
"""Sent long before the end of LONG, and answered 20 ms before it."""
DIFFERENT_LATE = scripted(*((6.0, read.data) for read in another_run().reads), sent_ms=25)
SPACED_MS = 400  # between events that are far enough apart for a cut to be in mid-run


def named(event_id: str, found: Exchange) -> Exchange:
    """The same answer to a request with that Last-Event-ID."""
    return scripted(
        *((read.arrival_ns / 1e6 - 50_000, read.data) for read in found.reads),
        ending=found.ending,
        detail=found.ending_detail,
        request=asking(Last_Event_ID=event_id),
    )


def without_ids(run_id: str | None) -> Exchange:
    fields = {"type": "done", "runId": run_id} if run_id else {"type": "cancelled"}
    return run(frame({"type": "token", "content": "a"}), frame(fields))


def stored(sent: Exchange) -> Exchange:
    """The same events from a store that keeps values: sorted keys, spaces, escapes."""
    return run(
        *(
            frame(
                json.dumps(json.loads(event.frame.data or ""), sort_keys=True, indent=1)
                .replace("w", "\\u0077")
                .replace("\n", " "),
                event.frame.id,
            )
            for event in sent.events
        )
    )


def counting(sent: str, again: str) -> tuple[Exchange, Exchange]:
    """A run and its replay that write a value in two ways."""
    first, second = (
        run(frame(f'{{"type":"token","content":"a","n":{value}}}', id_at(0)), done(1))
        for value in (sent, again)
    )
    return first, second


def named_run(name: str) -> Exchange:
    """The run with event names."""
    return run(*(frame(event.frame.data or "", event.frame.id, f"event: {name}\n") for event in RUN.events))


STORED = stored(RUN)

# A run of five events, 400 ms apart, that is cut after some of them and resumed at once.


def spaced(first: int, last: int, **options: Any) -> Exchange:
    frames = [*(token(place * 40) for place in range(4)), done(160)][first:last]
    at = [max(0.0, SPACED_MS * place - options.get("sent_ms", 0.0)) for place in range(first, last)]
    return run(*frames, at=at, **options)


def cut(after: int, start: int, *, last_id: bool = False, canonical: bool = True) -> CutRun:
    """Cut after event `after`, resumed from event `start` on."""
    before = spaced(
        0,
        after,
        ending=Ending.CUT,
        detail=f"{CUT} after {counted(after, 'event')}",
    )
    request = asking(Last_Event_ID=id_at((after - 1) * 40)) if last_id else asking()
    resumed = spaced(start, 5, sent_ms=SPACED_MS * (after - 1) + 5.0, request=request)
    return CutRun(before, resumed, spaced(0, 5, sent_ms=5000) if canonical else None)


def with_resumed(original: CutRun, resumed: Exchange) -> CutRun:
    return CutRun(original.before, resumed, original.canonical)


def with_canonical(original: CutRun, canonical: Exchange) -> CutRun:
    return CutRun(original.before, original.resumed, canonical)


def came_back(after: int, start: int, sent_ms: float) -> CutRun:
    """The same cut, resumed later."""
    original = cut(after, start)
    return with_resumed(original, spaced(start, 5, sent_ms=sent_ms))


def cut_of_counted_ids(after: int, start: int) -> CutRun:
    """The same with ids that are no times: 1-0, 2-0 and so on."""

    def counted_ids(first: int, last: int, **options: Any) -> Exchange:
        frames = [frame({"type": "token", "content": str(place)}, f"{place + 1}-0") for place in range(4)]
        frames.append(frame({"type": "done", "runId": "run-1"}, "5-0"))
        at = [max(0.0, SPACED_MS * place - options.get("sent_ms", 0.0)) for place in range(first, last)]
        return run(*frames[first:last], at=at, **options)

    before = counted_ids(0, after, ending=Ending.CUT, detail=CUT)
    resumed = counted_ids(start, 5, sent_ms=SPACED_MS * (after - 1) + 5.0)
    return CutRun(before, resumed, counted_ids(0, 5, sent_ms=5000))


def _sent_seen_late(exchange: Exchange, late_ms: float) -> Exchange:
    """The same exchange, connected and sent that much earlier than a busy harness saw it."""
    timing = exchange.timing
    assert timing.sent_ns is not None
    earlier_ns = timing.sent_ns - int(late_ms * 1e6)
    return replace(exchange, timing=replace(timing, started_ns=earlier_ns, connected_ns=earlier_ns))


AFTER_END = [CutRun(RUN, named(id_at(place), tail(place + 1)), RUN) for place in range(3)]
IGNORED_AFTER_END = [CutRun(RUN, named(id_at(place), whole_run()), RUN) for place in range(3)]
TAIL_AFTER_END = [CutRun(RUN, named(id_at(place), tail(3)), RUN) for place in range(3)]
LOST_LAST = run(token(0), token(1), done(3))
MERGED = run(token(2, "word0 word1 word2 "), done(3))
BEFORE_HEAD = CutRun(cut_run(0), whole_run(), whole_run())
OTHER_DATA = run(token(0), token(1, "changed"), token(2), done(3))
LOST = run(token(0), token(2), done(3))

CASES: list[Case] = [
    # replay
    case(resume.replay, RUN, whole_run(), is_=PASS, says="the same 4 events"),
    case(resume.replay, RUN, whole_run(run_id="run-2"), is_=PASS, says="the same 4 events"),
    case(resume.replay, RUN, LOST, is_=FAIL, says=f"event 2 is id {id_at(2)} instead of id {id_at(1)}"),
    case(
        resume.replay, RUN, OTHER_DATA, is_=FAIL, says='instead of \'{"type": "token", "content": "word1 "}'
    ),
    case(resume.replay, RUN, tail(3), is_=FAIL, says="3 events lost before it"),
    case(resume.replay, RUN, TRUNCATED, is_=FAIL, says=f"3 events missing, from id {id_at(1)} on"),
    case(resume.replay, RUN, reply(409), is_=FAIL, says="status 409 with no event"),
    case(resume.replay, RUN, no_answer(), is_=FAIL, says="no response"),
    case(resume.replay, TRUNCATED, whole_run(), is_=INCONCLUSIVE, says="did not reach a terminal event"),
    case(resume.replay, empty_stream(), empty_stream(), is_=INCONCLUSIVE, says="status 200 with no event"),
    # no-new-run
    case(resume.no_new_run, RUN, whole_run(), is_=PASS, says="no new event"),
    case(resume.no_new_run, RUN, tail(3), is_=PASS, says="no new event"),
    case(resume.no_new_run, RUN, whole_run(run_id="run-2"), is_=PASS, says="no new event"),
    case(resume.no_new_run, RUN, another_run(), is_=FAIL, says="runId 'run-2' instead of 'run-1'", at=3),
    case(
        resume.no_new_run,
        RUN,
        run(token(0), token(90), ending=Ending.TRUNCATED),
        is_=FAIL,
        says=f"1 new event, the first with id {id_at(90)}: the action was executed again",
    ),
    case(resume.no_new_run, without_ids("a"), without_ids("b"), is_=FAIL, says="'b' instead of 'a'"),
    case(resume.no_new_run, without_ids("a"), without_ids("a"), is_=PASS, says="no new event"),
    case(
        resume.no_new_run,
        without_ids(None),
        without_ids(None),
        is_=INCONCLUSIVE,
        says="it is unknown which run this is",
    ),
    case(resume.no_new_run, RUN, reply(409), is_=INCONCLUSIVE, says="the retry returned no run"),
    case(resume.no_new_run, TRUNCATED, whole_run(), is_=INCONCLUSIVE, says="did not reach a terminal"),
    # joins: RUN's events come at 0, 10, 20 and 30 ms
    case(
        resume.joins, RUN, whole_run(sent_ms=15), is_=PASS, says="after 2 of 4 events joined the run (replay)"
    ),
    case(resume.joins, RUN, tail(2, sent_ms=15), is_=PASS, says="joined the run (tail)"),
    case(resume.joins, RUN, tail(3, sent_ms=15, at=[5]), is_=PASS, says="joined the run (tail)"),
    case(
        resume.joins,
        RUN,
        tail(1, sent_ms=15),
        is_=FAIL,
        says="differs from it: event 1 is id",
    ),
    case(resume.joins, RUN, _sent_seen_late(tail(1, sent_ms=15), 8), is_=PASS, says="joined the run (tail)"),
    case(resume.joins, RUN, tail(2, sent_ms=15), is_=FAIL, says="2 events lost before it", expect=REPLAY),
    case(resume.joins, RUN, another_run(sent_ms=15), is_=FAIL, says="differs from it: event 1 is id"),
    case(resume.joins, RUN, reply(409, sent_ms=15), is_=FAIL, says="got status 409"),
    case(
        resume.joins,
        RUN,
        run(token(0), token(1), ending=Ending.TRUNCATED, sent_ms=15),
        is_=FAIL,
        says="2 events missing",
    ),
    case(resume.joins, RUN, whole_run(sent_ms=30), is_=INCONCLUSIVE, says="ended before it could be joined"),
    case(
        resume.joins,
        RUN,
        no_answer(Ending.REFUSED, "Connection refused", sent_ms=None),
        is_=INCONCLUSIVE,
        says="ended before it could be joined",
    ),
    case(resume.joins, TRUNCATED, whole_run(), is_=INCONCLUSIVE, says="did not reach a terminal event"),
    # Sent before the head of the other response: the server may have read either request first.
    case(resume.joins, tail(1), whole_run(sent_ms=-1), is_=PASS, says="joined the run (tail)"),
    case(resume.joins, tail(1), whole_run(sent_ms=1), is_=FAIL, says="event 1 is id"),
    case(resume.joins, tail(1), whole_run(sent_ms=-1), is_=FAIL, says="event 1 is id", expect=REPLAY),
    case(
        resume.joins,
        run(token(1), done(3)),
        whole_run(sent_ms=-1),
        is_=FAIL,
        says="1 event lost before it",
    ),
    case(resume.joins, tail(1), another_run(sent_ms=-1), is_=FAIL, says="event 1 is id"),
    # The second one began the run. The third one was answered after its end, or got in flight what the first one lacks.
    case(
        resume.joins,
        tail(1),
        whole_run(sent_ms=-1),
        tail(2, sent_ms=12),
        whole_run(sent_ms=15, at=[35, 36, 37, 38]),
        is_=PASS,
        says="3 retries at different moments joined the run",
    ),
    # Two that were there before the first event, of which the original is the tail.
    case(
        resume.joins,
        tail(1, at=[100, 200, 300]),
        whole_run(sent_ms=-1, at=[5, 101, 201, 301]),
        whole_run(sent_ms=-0.5, at=[5, 101, 201, 301]),
        is_=PASS,
        says="2 retries at different moments joined the run",
    ),
    case(
        resume.joins,
        tail(1, at=[0, 200, 300]),
        whole_run(sent_ms=-1, at=[0, 100, 200, 300]),
        whole_run(sent_ms=50, at=[60, 100, 200, 300]),
        is_=FAIL,
        says="event 1 is id",
    ),
    case(
        resume.joins,
        RUN,
        whole_run(sent_ms=5),
        whole_run(sent_ms=15),
        whole_run(sent_ms=30),
        is_=PASS,
        says="2 retries at different moments joined the run",
    ),
    case(
        resume.joins,
        RUN,
        whole_run(sent_ms=5),
        run(token(0), token(2), done(3), at=[0, 5, 15], sent_ms=15),
        is_=FAIL,
        says="differs from it",
    ),
    case(
        resume.joins, RUN, whole_run(sent_ms=30), whole_run(sent_ms=31), is_=INCONCLUSIVE, says="ended before"
    ),
    # Where a replay differs from its run, a retry that was answered about at the end may have got the replay.
    case(resume.joins, RUN, DIFFERENT_LATE, NO_RESUME, is_=INCONCLUSIVE, says="see resume.replay"),
    case(resume.joins, RUN, DIFFERENT_LATE, CONTROL, is_=FAIL, says="differs from it: event 1 is id"),
    case(resume.joins, RUN, DIFFERENT_LATE, is_=FAIL, says="differs from it: event 1 is id"),
    case(
        resume.joins,
        whole_run(at=[0, 400, 800, 1200]),
        whole_run(sent_ms=5, at=[6, 400, 800, 1200]),
        scripted(*((900.0, read.data) for read in another_run().reads), sent_ms=700),
        NO_RESUME,
        is_=PASS,
        says="joined the run (replay)",
    ),
    # The server wrote the end late, and answered another request after the run had ended.
    case(
        resume.joins,
        whole_run(at=[0, 400, 800, 1200]),
        scripted(*((10.0, read.data) for read in another_run().reads), sent_ms=850),
        NO_RESUME,
        is_=INCONCLUSIVE,
        says="see resume.replay",
    ),
    # A tail-style server does not replay a run in flight: this reader got all of it since it had ended.
    case(
        resume.joins,
        run(token(1), token(2), done(3), at=[400, 800, 1200]),
        run(token(0), token(1), token(2), done(3), at=[0, 400, 800, 1200], sent_ms=-1),
        scripted(*((10.0, read.data) for read in whole_run().reads), sent_ms=850),
        is_=PASS,
        says="joined the run",
    ),
    case(
        resume.joins,
        whole_run(at=[0, 400, 800, 1200]),
        scripted(*((10.0, read.data) for read in another_run().reads), sent_ms=700),
        NO_RESUME,
        is_=FAIL,
        says="differs from it: event 1 is id",
    ),
    case(resume.joins, RUN, reply(409, sent_ms=29), NO_RESUME, is_=FAIL, says="got status 409"),
    # every-cut
    case(
        resume.every_cut,
        [BEFORE_HEAD, *(cut(after, 0) for after in range(1, 5))],
        is_=PASS,
        says="5 cuts, each resumed to the canonical sequence",
    ),
    case(resume.every_cut, [cut(after, after) for after in range(1, 5)], is_=PASS, says="4 cuts"),
    case(resume.every_cut, [cut(2, 3)], is_=PASS, says="1 cut,"),  # a tail, whose reader came late
    case(
        resume.every_cut,
        [cut(after, after, last_id=True) for after in range(1, 5)],
        is_=PASS,
        says="4 cuts",
        expect=DECLARED,
    ),
    case(resume.every_cut, [cut(2, 0), cut(3, 3, last_id=True)], is_=PASS, says="2 cuts"),
    case(resume.every_cut, [cut(2, 0, canonical=False)], is_=PASS, says="1 cut,"),
    case(
        resume.every_cut,
        [cut(2, 3, last_id=True)],
        is_=FAIL,
        says="cut after event 2: the resumed stream starts with event 4",
        expect=DECLARED,
    ),
    case(
        resume.every_cut,
        [cut(3, 2)],
        is_=FAIL,
        says="1 event repeated, although the stream is not a full replay",
    ),
    case(
        resume.every_cut,
        [cut(2, 3)],
        is_=FAIL,
        says="1 event lost at the resume point",
        expect=REPLAY,
    ),
    case(resume.every_cut, [cut(2, 0)], is_=FAIL, says="starts with event 1", expect=TAIL),
    case(
        resume.every_cut,
        [cut(1, 0), cut(2, 2)],
        is_=FAIL,
        says="some resumed streams replay from the first event and some start later",
    ),
    case(
        resume.every_cut,
        [cut(1, 0), with_resumed(cut(2, 0), reply(404)), with_resumed(cut(3, 0), reply(404))],
        is_=FAIL,
        says="cut after event 2: the resumption got status 404 with no event, complete; cut after event 3: ",
    ),
    case(
        resume.every_cut,
        [with_resumed(cut(2, 0), TRUNCATED)],
        is_=FAIL,
        says="the resumed stream did not end",
    ),
    case(
        resume.every_cut,
        [CutRun(cut_run(2), LOST, whole_run())],
        is_=FAIL,
        says="the resumed stream differs: event 2 is id",
    ),
    case(
        resume.every_cut,
        [CutRun(cut_run(2), OTHER_DATA, OTHER_DATA)],
        is_=FAIL,
        says="the events before the cut differ from the run's replay",
    ),
    case(
        resume.every_cut,
        [CutRun(cut_run(2), whole_run(), TRUNCATED)],
        is_=INCONCLUSIVE,
        says="did not reach a terminal event",
    ),
    case(resume.every_cut, [], is_=INCONCLUSIVE, says="no run could be cut"),
    # what the server does after the end, it must do in flight
    *(
        case(
            resume.every_cut,
            [cut(1, 1, last_id=True), lossy],
            AFTER_END,
            is_=FAIL,
            says="the resumed stream starts with event 4, id 1717000001200-0: 1 event lost at the resume point",
        )
        for lossy in (cut(2, 3, last_id=True), cut(2, 3, last_id=True, canonical=True))
    ),
    case(resume.every_cut, [cut(2, 0, last_id=True)], AFTER_END, is_=PASS, says="(replay: 1)"),
    case(resume.every_cut, [cut(2, 2, last_id=True)], AFTER_END, is_=PASS, says="(after Last-Event-ID: 1)"),
    case(resume.every_cut, [cut(2, 3, last_id=True)], IGNORED_AFTER_END, is_=PASS, says="(tail: 1)"),
    case(resume.every_cut, AFTER_END, AFTER_END, is_=PASS, says="(after Last-Event-ID: 3)"),
    case(resume.every_cut, IGNORED_AFTER_END, IGNORED_AFTER_END, is_=PASS, says="(replay: 3)"),
    case(
        resume.every_cut, TAIL_AFTER_END, TAIL_AFTER_END, is_=PASS, says="(after Last-Event-ID: 1, tail: 2)"
    ),
    case(
        resume.every_cut,
        [*AFTER_END[1:], CutRun(RUN, named(id_at(0), tail(3)), RUN)],
        AFTER_END[1:],
        is_=FAIL,
        says="2 events lost at the resume point",
    ),
    case(
        resume.every_cut,  # a tail of a finished run is its terminal event
        [CutRun(RUN, named(id_at(0), tail(2)), RUN)],
        is_=FAIL,
        says="1 event lost at the resume point",
    ),
    # a tail has what was made after it began, which the ids tell
    case(resume.every_cut, [cut(1, 2)], is_=FAIL, says="1 event lost at the resume point"),
    case(resume.every_cut, [cut(1, 2, last_id=True)], is_=FAIL, says="1 event lost at the resume point"),
    case(resume.every_cut, [came_back(1, 2, SPACED_MS + 10.0)], is_=PASS, says="(tail: 1)"),
    case(resume.every_cut, [cut_of_counted_ids(1, 2)], is_=PASS, says="(tail: 1)"),
    # which side is wrong
    case(
        resume.every_cut,
        [CutRun(cut_run(2), named(id_at(1), tail(2)), LOST_LAST)],
        is_=FAIL,
        says="cut after event 2: the run's replay lacks 1 event that its readers got, from id 1717000000020-0 on",
    ),
    *(
        case(resume.every_cut, cuts, (), (whole_run(), wrong), is_=INCONCLUSIVE, says="see resume.replay")
        for wrong in (LOST_LAST, MERGED, another_run(), reply(404))
        for cuts in ([cut(2, 2)], [cut(2, 0)], [with_canonical(cut(2, 2), LOST_LAST)])
    ),
    case(
        resume.every_cut,
        [with_canonical(cut(3, 2), LOST_LAST)],
        (),
        (whole_run(), LOST_LAST),
        is_=FAIL,
        says="1 event repeated, although",
    ),
    case(
        resume.every_cut,  # the run was executed again
        [with_resumed(cut(2, 0), another_run(sent_ms=SPACED_MS + 5.0))],
        (),
        (whole_run(), another_run()),
        is_=INCONCLUSIVE,
        says="see resume.replay",
        expect=REPLAY,
    ),
    case(
        resume.every_cut,
        [with_resumed(cut(2, 0), reply(404))],
        (),
        (whole_run(), LOST_LAST),
        is_=INCONCLUSIVE,
        says="see resume.replay",
    ),
    # last-event-id
    case(
        resume.last_event_id,
        RUN,
        [named(id_at(0), tail(1)), named(id_at(2), tail(3))],
        is_=PASS,
        says="each of 2 ids returned exactly the events after it",
    ),
    case(
        resume.last_event_id,
        RUN,
        [named(id_at(1), whole_run())],
        is_=WARN,
        says=f"Last-Event-ID {id_at(1)}: the stream was replayed from the first event",
    ),
    case(
        resume.last_event_id,
        RUN,
        [named(id_at(1), tail(1))],
        is_=FAIL,
        says=f"Last-Event-ID {id_at(1)}: event 1 is id {id_at(1)}",
        expect=DECLARED,
    ),
    case(resume.last_event_id, RUN, [named(id_at(1), tail(3))], is_=WARN, says="1 event lost before it"),
    case(resume.last_event_id, RUN, [named(id_at(1), reply(500))], is_=WARN, says="status 500"),
    case(resume.last_event_id, RUN, [], is_=INCONCLUSIVE, says="nothing was tested"),
    case(
        resume.last_event_id,
        RUN,
        [named(id_at(0), tail(1))],
        CONTROL,
        [cut(1, 1, last_id=True), cut(2, 2, last_id=True)],
        is_=PASS,
        says="each of 3 ids",
    ),
    case(
        resume.last_event_id,
        RUN,
        [named(id_at(0), tail(1))],
        CONTROL,
        [cut(1, 1, last_id=True), cut(2, 0, last_id=True)],
        is_=WARN,
        says="in flight: the stream was replayed from the first event",
    ),
    case(
        resume.last_event_id,
        RUN,
        [named(id_at(1), tail(3))],
        (whole_run(), LOST_LAST),
        is_=INCONCLUSIVE,
        says="see resume.replay",
    ),
    case(resume.last_event_id, TRUNCATED, [], is_=INCONCLUSIVE, says="did not reach a terminal event"),
    # survives-disconnect
    case(
        resume.survives_disconnect,
        [CutRun(cut_run(2), whole_run(), None), CutRun(cut_run(0), whole_run(), None)],
        is_=PASS,
        says=f"after each cut: {CUT} after 2 events, {CUT} before the response head",
    ),
    case(
        resume.survives_disconnect,
        [CutRun(cut_run(2), run(token(0), error(1)), None)],
        is_=FAIL,
        says="the run ended with error, but ends with done if nobody disconnects",
    ),
    case(
        resume.survives_disconnect,
        [CutRun(cut_run(2), reply(404), None)],
        is_=FAIL,
        says=f"{CUT} after 2 events: the retry got status 404",
    ),
    case(
        resume.survives_disconnect,
        [CutRun(whole_run(), whole_run(), None)],
        is_=INCONCLUSIVE,
        says="ended before it could be cut",
    ),
    case(resume.survives_disconnect, [], is_=INCONCLUSIVE, says="no run could be cut"),
    # bad-last-event-id, after-terminal, id-order: more in test_last_event_id.py
    case(
        resume.bad_last_event_id,
        [(RUN, named("-", whole_run())), (RUN, named("9-9", reply(400)))],
        is_=PASS,
        says="2 bad ids: no hang, no 5xx, no forged event, nothing lost",
    ),
    case(
        resume.after_terminal, [(RUN, named(id_at(3), empty_stream()))], is_=PASS, says="status 200 with no"
    ),
    case(
        resume.id_order,
        RUN,
        named("0-0", whole_run()),
        [named("2-0", whole_run())],
        is_=PASS,
        says="1 id that the run does not have",
    ),
    # retention: RUN ends at 30 ms
    case(
        resume.retention,
        RUN,
        whole_run(sent_ms=530),
        whole_run(sent_ms=8030),
        is_=PASS,
        says="still resumed its run 8.0 s after the end",
    ),
    case(
        resume.retention,
        RUN,
        whole_run(sent_ms=530),
        another_run(sent_ms=8030),
        is_=WARN,
        says="0.5 s after the end of its run resumed it, one after 8.0 s did not: event 1 is id",
    ),
    case(
        resume.retention,
        RUN,
        whole_run(sent_ms=530),
        reply(404, sent_ms=8030),
        is_=WARN,
        says="did not: status 404",
    ),
    case(
        resume.retention,
        RUN,
        whole_run(sent_ms=530),
        another_run(sent_ms=8030),
        is_=FAIL,
        says="one after 8.0 s did not",
        expect=Expectations(key_retention_s=9),
    ),
    case(
        resume.retention,
        RUN,
        whole_run(sent_ms=530),
        another_run(sent_ms=8030),
        is_=INCONCLUSIVE,
        says="when the key was forgotten; the target declares 7 s",
        expect=Expectations(key_retention_s=7),
    ),
    case(
        resume.retention,
        RUN,
        whole_run(sent_ms=530),
        whole_run(sent_ms=8030),
        is_=PASS,
        says="8.0 s after the end, when the suite ended; whether it works for longer was not tested; "
        "the target declares 86400 s",
        expect=Expectations(key_retention_s=86400),
    ),
    case(
        resume.retention,
        RUN,
        whole_run(sent_ms=530),
        whole_run(sent_ms=8030),
        [(RUN, whole_run(sent_ms=2030)), (RUN, whole_run(sent_ms=1030))],
        is_=PASS,
        says="was not tested; first retries resumed their runs after 1.0, 2.0 s",
    ),
    case(
        resume.retention,
        RUN,
        whole_run(sent_ms=530),
        whole_run(sent_ms=8030),
        [(RUN, whole_run(sent_ms=1030)), (RUN, another_run(sent_ms=4030)), (RUN, another_run(sent_ms=8030))],
        is_=WARN,
        says="the first retry of a run, 4.0 s after its end, did not resume it, and after 1.0 s one did: event 1 is id",
    ),
    case(
        resume.retention,
        RUN,
        whole_run(sent_ms=530),
        whole_run(sent_ms=8030),
        [(RUN, another_run(sent_ms=4030))],
        is_=FAIL,
        says="4.0 s after its end, did not resume it: event 1 is id",
        expect=Expectations(key_retention_s=9),
    ),
    case(
        resume.retention,
        RUN,
        whole_run(sent_ms=530),
        whole_run(sent_ms=8030),
        [(RUN, another_run(sent_ms=4030))],
        is_=PASS,
        says="still resumed its run",
        expect=Expectations(key_retention_s=3),
    ),
    case(
        resume.retention,
        RUN,
        whole_run(sent_ms=530),
        whole_run(sent_ms=8030),
        [(RUN, no_answer(sent_ms=None)), (cut_run(2), another_run(sent_ms=4030))],
        is_=PASS,
        says="still resumed its run",
    ),
    case(resume.retention, RUN, another_run(), another_run(), is_=INCONCLUSIVE, says="see resume.replay"),
    case(
        resume.retention,
        RUN,
        whole_run(),
        no_answer(Ending.REFUSED, "Connection refused", sent_ms=None),
        is_=INCONCLUSIVE,
        says="could not be sent",
    ),
    # failure-replayed
    case(resume.failure_replayed, CONTROL, FAILED, run(token(0), error(1)), is_=PASS, says="replayed"),
    case(resume.failure_replayed, CONTROL, FAILED, whole_run(), is_=FAIL, says="does not replay the failure"),
    case(resume.failure_replayed, CONTROL, FAILED, reply(500), is_=FAIL, says="the failure: status 500"),
    case(resume.failure_replayed, CONTROL, RUN, whole_run(), is_=INCONCLUSIVE, says="ended with done"),
    case(resume.failure_replayed, NO_RESUME, FAILED, FAILED, is_=INCONCLUSIVE, says="see resume.replay"),
    case(resume.failure_replayed, CONTROL, TRUNCATED, FAILED, is_=INCONCLUSIVE, says="did not reach a"),
    # terminal-race: RUN's terminal event comes at 30 ms
    case(
        resume.terminal_race,
        [(RUN, whole_run(sent_ms=25)), (RUN, tail(3, sent_ms=29, at=[1]))],
        is_=PASS,
        says="2 retries around the terminal event",
    ),
    case(
        resume.terminal_race,
        [(RUN, whole_run(sent_ms=25)), (RUN, empty_stream(sent_ms=29))],
        is_=FAIL,
        says="a retry that raced the terminal event: status 200 with no event",
    ),
    case(
        resume.terminal_race,
        [(RUN, run(*(token(place) for place in range(3)), sent_ms=25, ending=Ending.TRUNCATED))],
        is_=FAIL,
        says=f"1 event missing, from id {id_at(3)} on",
    ),
    case(resume.terminal_race, [(RUN, tail(2, sent_ms=25))], is_=FAIL, says="2 events lost", expect=REPLAY),
    case(
        resume.terminal_race,
        [(RUN, run(token(0), token(1), done(3), sent_ms=25))],
        (whole_run(), LOST_LAST),
        is_=INCONCLUSIVE,
        says="see resume.replay",
    ),
    case(resume.terminal_race, [(TRUNCATED, whole_run())], is_=INCONCLUSIVE, says="did not reach a"),
    case(
        resume.terminal_race, [(RUN, whole_run(sent_ms=31))], is_=INCONCLUSIVE, says="no retry was answered"
    ),
    case(resume.terminal_race, [(RUN, ANSWERED_LATE)], is_=INCONCLUSIVE, says="no retry was answered"),
    case(resume.terminal_race, [(LONG, LONG_AGAIN)], is_=INCONCLUSIVE, says="no retry was answered"),
    case(resume.terminal_race, [(LONG, LATE_AT_LONG)], is_=PASS, says="1 of them shortly before it"),
    case(resume.terminal_race, [], is_=INCONCLUSIVE, says="nothing was tested"),
    # first-reader-kept
    case(
        resume.first_reader_kept,
        RUN,
        whole_run(sent_ms=15),
        whole_run(),
        is_=PASS,
        says="the first reader got the whole run",
    ),
    case(
        resume.first_reader_kept,
        cut_run(2, ending=Ending.TRUNCATED, label="the first reader"),
        whole_run(sent_ms=15),
        whole_run(),
        is_=FAIL,
        says="a second reader affected the first one: 2 events missing",
    ),
    case(
        resume.first_reader_kept,
        RUN,
        whole_run(sent_ms=30),
        whole_run(),
        is_=INCONCLUSIVE,
        says="ended before it could be joined",
    ),
    case(
        resume.first_reader_kept,
        RUN,
        whole_run(sent_ms=15),
        TRUNCATED,
        is_=INCONCLUSIVE,
        says="did not reach a terminal event",
    ),
    case(
        resume.first_reader_kept,
        RUN,
        whole_run(sent_ms=15),
        tail(1),
        is_=INCONCLUSIVE,
        says="lacks events that its first reader got",
    ),
    case(
        resume.first_reader_kept,
        run(token(0), token(1), token(1), token(2), done(3)),
        whole_run(sent_ms=15),
        whole_run(),
        is_=FAIL,
        says="a second reader affected the first one",
    ),
    *(
        case(
            resume.first_reader_kept,
            RUN,
            whole_run(sent_ms=15),
            later,
            (whole_run(), later),
            is_=INCONCLUSIVE,
            says="(see resume.replay)",
        )
        for later in (MERGED, another_run(), LOST_LAST)
    ),
    case(
        resume.first_reader_kept,
        RUN,
        whole_run(sent_ms=15),
        another_run(),
        (whole_run(), whole_run()),
        is_=INCONCLUSIVE,
        says="events that both of its readers got (see resume.replay)",
    ),
    case(
        resume.first_reader_kept,
        LOST,
        whole_run(sent_ms=15),
        whole_run(),
        (whole_run(), whole_run()),
        is_=FAIL,
        says="a second reader affected the first one",
    ),
    # start
    case(resume.start, [cut(1, 0), cut(2, 0)], is_=INFO, says="starts with: replay"),
    case(resume.start, [cut(1, 1)], is_=INFO, says="starts with: tail"),
    case(resume.start, [cut(1, 0), cut(2, 2)], is_=INFO, says="starts with: replay, tail"),
    case(
        resume.start,  # both may have ended
        [came_back(2, 0, 9000.0), came_back(1, 4, 9000.0)],
        is_=INFO,
        says="starts with: tail",
    ),
    case(resume.start, [cut(1, 1, last_id=True)], is_=INCONCLUSIVE, says="no run was resumed without"),
    case(
        resume.start, [with_resumed(cut(2, 0), reply(404))], is_=INCONCLUSIVE, says="could not be determined"
    ),
    case(resume.start, [], is_=INCONCLUSIVE, says="no run was resumed without"),
    # replay-bytes
    case(resume.replay_bytes, RUN, whole_run(), is_=INFO, says="the same bytes"),
    case(resume.replay_bytes, RUN, whole_run(run_id="run-2"), is_=INFO, says="the same bytes"),
    case(resume.replay_bytes, RUN, STORED, is_=INFO, says="bytes (key order"),
    case(resume.replay_bytes, RUN, another_run(), is_=INCONCLUSIVE, says="returned different events"),
    case(resume.replay_bytes, TRUNCATED, whole_run(), is_=INCONCLUSIVE, says="did not reach a terminal"),
    # An event is the same when its id, its name and the value of its data are.
    case(resume.replay, RUN, STORED, is_=PASS, says="the same 4 events"),
    case(resume.no_new_run, RUN, STORED, is_=PASS, says="no new event"),
    case(resume.replay, *counting("1", "1.0"), is_=PASS, says="the same"),
    case(resume.replay, *counting("1" + "0" * 5000, "1e5000"), is_=PASS, says="the same"),
    case(resume.replay, *counting("9007199254740993", "9007199254740992"), is_=FAIL, says="event 1"),
    case(resume.replay, *counting("1", '"1"'), is_=FAIL, says="event 1"),
    case(resume.replay, *counting("1", "true"), is_=FAIL, says="event 1"),
    case(resume.replay, *counting("null", "{}"), is_=FAIL, says="event 1"),
    case(resume.replay, *counting('"e\u0301"', '"\u00e9"'), is_=FAIL, says="event 1"),
    case(resume.replay, RUN, named_run("message"), is_=PASS, says="the same 4 events"),
    case(resume.replay, RUN, named_run("token"), is_=FAIL, says="event name 'token' instead of 'message'"),
]


@all_cases("example", CASES, ids=str)
def test_verdict(example: Case) -> None:
    check(example)


@pytest.mark.parametrize(
    ("expected", "actual", "difference"),
    [
        ("abc", "abc", None),
        ("", "", None),
        ("abc", "ab", "1 event missing, from id c on"),
        ("ab", "abcd", "2 events too many, from id c on"),
        ("abcd", "acd", "event 2 is id c instead of id b: 1 event lost before it"),
        ("abcd", "abab", "event 3 is id a instead of id c: it was already sent"),
        ("ab", "ax", "event 2 is id x instead of id b"),
        ("abc", "", "3 events missing, from id a on"),
    ],
)
def test_first_difference(expected: str, actual: str, difference: str | None) -> None:
    def events(names: str) -> Sequence[EventIdentity]:
        return tuple(EventIdentity(name, f"data {name}") for name in names)

    assert first_difference(events(expected), events(actual)) == difference


def test_where_the_data_differs_both_are_shown() -> None:
    def difference(*events: EventIdentity) -> str | None:
        return first_difference(events[:1], events[1:])

    one, two = EventIdentity("a", "one"), EventIdentity("a", "two")
    assert difference(one, two) == "event 1 (id a) has data 'two' instead of 'one'"
    without_id = difference(EventIdentity(None, "one"), EventIdentity(None, "two"))
    assert without_id == "event 1 is data 'two' instead of data 'one'"
    named = difference(one, EventIdentity("a", "one", "token"))
    assert named == "event 1 (id a) has the event name 'token' instead of 'message'"


@pytest.mark.parametrize("after", range(1, 5))
def test_the_whole_run_need_not_be_known(after: int) -> None:
    policy, result = stitch(cut(after, 0, canonical=False), REPLAY)
    assert (policy, result.verdict) == (Start.REPLAY, PASS)
    policy, result = stitch(cut(after, after, last_id=True, canonical=False), DECLARED)
    assert (policy, result.verdict) == (Start.AFTER_ID, PASS)
    policy, result = stitch(cut(after, after, canonical=False), TAIL)
    assert (policy, result.verdict) == (Start.TAIL, PASS)


def test_events_after_the_named_id_count_as_not_seen() -> None:
    resumed = CutRun(cut_run(3), named(id_at(0), tail(1)), whole_run())
    assert resumed.seen == whole_run().sequence[:1]
    assert stitch(resumed, DECLARED)[0] is Start.AFTER_ID


def test_a_tail_of_a_finished_run_is_its_terminal_event() -> None:
    resumed = CutRun(cut_run(3, ending=Ending.CUT), tail(3), whole_run())
    assert stitch(resumed, TAIL)[0] is Start.TAIL
    seen_to_the_end = CutRun(whole_run(ending=Ending.CUT), tail(3), whole_run())
    assert stitch(seen_to_the_end, TAIL)[0] is Start.TAIL


def pointed_at(finding: Finding) -> list[int | None]:
    return [None if place.frame is None else place.frame.index for place in finding.places]


FRAMES = [*(token(place) for place in range(9)), done(9)]


@pytest.mark.parametrize(
    ("places", "where"),
    [
        ([0, 1, 2, 4, 5, 6, 7, 8, 9], [3, 3]),  # one lost
        ([0, 1, 2, 2, 3, 4, 5, 6, 7, 8, 9], [3, 3]),  # one doubled
        ([0, 1, 3, 2, 4, 5, 6, 7, 8, 9], [2, 2]),  # two swapped
        ([0, 1, 2, 3], [4, 3]),  # the end lost
        ([*range(10), 0], [9, 10]),  # one too many
        ([], [0, None]),
    ],
)
def test_where_two_runs_part_is_pointed_at_in_both(places: list[int], where: list[int | None]) -> None:
    original, retry = run(*FRAMES), run(*(FRAMES[place] for place in places))
    assert pointed_at(resume.replay(original, retry)) == where


def test_where_a_resumed_stream_lost_events_both_sides_of_the_cut_are_pointed_at() -> None:
    before, resumed = cut_run(4), named(id_at(3), run(*FRAMES[6:]))
    assert pointed_at(resume.every_cut([CutRun(before, resumed, run(*FRAMES))], expect=DECLARED)) == [3, 0]
    owned_up_to = named(id_at(1), run(*FRAMES[6:]))
    assert pointed_at(resume.every_cut([CutRun(before, owned_up_to, run(*FRAMES))], expect=DECLARED)) == [
        1,
        0,
    ]


def test_what_the_run_does_not_replay_is_pointed_at_on_the_connection_that_brought_it() -> None:
    strange = run(
        FRAMES[0],
        token(1, "other"),
        FRAMES[2],
        ending=Ending.CUT,
        detail=CUT,
    )
    assert pointed_at(resume.every_cut([CutRun(strange, run(*FRAMES), None)], expect=REPLAY)) == [1, None]
    later = comparisons.LaterCut(strange, run(*FRAMES), run(*FRAMES), kept=(EventIdentity("9-9", "x"),))
    assert pointed_at(resume.every_cut([later], expect=REPLAY)) == [None, None]
