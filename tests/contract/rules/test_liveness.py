from __future__ import annotations

from harness.contract.exchange import Ending
from harness.contract.expectations import Budgets, Expectations
from harness.contract.rules import liveness
from tests.cases import all_cases
from tests.contract.exchanges import done, empty_stream, frame, id_at, no_answer, reply, run, token, whole_run
from tests.contract.rules.case import FAIL, INCONCLUSIVE, INFO, PASS, WARN, Case, case, check

BEAT = b": beat\n\n"
ONE_S = Expectations(budgets=Budgets(first_event_s=1.0, heartbeat_s=1.0))


def quiet(*frames: bytes, at: list[float]) -> Case:
    return run(token(0), *frames, done(150), at=[0, *at, 1500])


CASES: list[Case] = [
    case(liveness.first_event, run(done(0), at=[40]), is_=PASS, says="after 40 ms", expect=ONE_S),
    case(
        liveness.first_event,
        run(done(0), at=[1001]),
        is_=WARN,
        says="after 1001 ms (allowed: 1 s)",
        expect=ONE_S,
    ),
    case(liveness.first_event, empty_stream(), is_=WARN, says="no event arrived: status 200"),
    case(liveness.first_event, reply(503), is_=INCONCLUSIVE, says="no run to check"),
    case(liveness.first_event, no_answer(), is_=INCONCLUSIVE, says="no run to check"),
    case(
        liveness.heartbeat,
        quiet(BEAT, BEAT, at=[500, 1000]),
        is_=PASS,
        says="2 comments; the longest silence was 0.5 s",
        expect=ONE_S,
    ),
    case(
        liveness.heartbeat,
        quiet(at=[]),
        is_=WARN,
        says="1.5 s of silence without a comment (allowed: 1 s)",
        expect=ONE_S,
    ),
    case(liveness.heartbeat, quiet(BEAT, at=[100]), is_=WARN, says="1.4 s of silence", expect=ONE_S),
    case(
        liveness.heartbeat,
        run(token(0), ending=Ending.TIMED_OUT, detail="silent for 2 s", ended_ms=2000),
        is_=WARN,
        says="2.0 s of silence",
        expect=ONE_S,
    ),
    case(liveness.heartbeat, whole_run(), is_=INCONCLUSIVE, says="did not pause for 1 s", expect=ONE_S),
    case(
        liveness.heartbeat,
        run(token(0), ending=Ending.TRUNCATED),
        is_=INCONCLUSIVE,
        says="did not pause for 1 s",
        expect=ONE_S,
    ),
    case(liveness.heartbeat, run(done(0)), is_=INCONCLUSIVE, says="did not pause", expect=ONE_S),
    case(liveness.heartbeat, empty_stream(), is_=INCONCLUSIVE, says="no run to check"),
    case(
        liveness.heartbeat_interval,
        quiet(BEAT, BEAT, BEAT, BEAT, at=[100, 600, 1100, 1150]),
        is_=INFO,
        says="a comment about every 0.5 s",
    ),
    case(
        liveness.heartbeat_interval,
        quiet(BEAT, frame({"type": "x"}, extra=": beside it\n"), at=[100, 200]),
        is_=INCONCLUSIVE,
        says="1 comment; an interval needs two",
    ),
    case(
        liveness.heartbeat_interval,  # a comment in its own block, but sent with the event before it
        quiet(BEAT, frame({"type": "x"}), b": about the event\n\n", at=[100, 200, 210]),
        is_=INCONCLUSIVE,
        says="1 comment; an interval needs two",
    ),
    case(
        liveness.heartbeat_interval,  # without blank lines: the last one stands in the block of the terminal event
        quiet(*[b": beat\n"] * 3, at=[400, 800, 1200]),
        is_=INFO,
        says="a comment about every 0.4 s",
    ),
    case(liveness.heartbeat_interval, empty_stream(), is_=INCONCLUSIVE, says="no run to check"),
    case(
        liveness.retry_hint,
        quiet(b"retry: 3\n\n", b"retry: 2500\n\n", at=[1, 2]),
        is_=INFO,
        says="retry: 2500 ms",
    ),
    case(
        liveness.retry_hint, quiet(b"retry: soon\n\n", at=[1]), is_=INFO, says="no retry field: clients use"
    ),
    case(liveness.retry_hint, empty_stream(), is_=INCONCLUSIVE, says="no run to check"),
    case(
        liveness.heartbeat,
        run(token(0), b": the beginning", b" of a comment\n\n", done(150), at=[0, 500, 1000, 1500]),
        is_=PASS,
        says="longest silence was 0.5 s",
        expect=ONE_S,
    ),
    case(liveness.heartbeat_inert, quiet(BEAT, at=[500]), is_=PASS, says="heartbeats are comments"),
    *(
        case(
            liveness.heartbeat_inert,
            # A comment line without a blank line; then a block with an id only and an event, together.
            quiet(*frames, at=at),
            is_=PASS,
            says="heartbeats are comments",
        )
        for frames, at in [
            ([b": beat\n", f"id: {id_at(0)}\n\n".encode() + frame({"type": "x"}, id_at(90))], [500, 900]),
            ([b": beat\n", b": beat\n", b"id: 9-9\n\n" + frame({"type": "x"}, id_at(90))], [500, 899, 900]),
            ([b": beat\n", b"id: 9-9\n\n", frame({"type": "x"}, id_at(90))], [500, 900, 901]),
            ([b": beat\n", b"id: 9-9\n\n"], [500, 900]),
            ([b": beat\n", frame("no JSON", id_at(90))], [500, 900]),
        ]
    ),
    case(
        liveness.heartbeat_inert,
        quiet(b": beat\nid: 9-9\n\n", at=[500]),
        is_=FAIL,
        says="event 2 (id 9-9), carries id or data",
        at=1,
    ),
    case(
        liveness.heartbeat_inert, quiet(b":\ndata\n\n", at=[500]), is_=FAIL, says="carries id or data", at=1
    ),
    *(
        case(
            liveness.heartbeat_inert,
            quiet(beat, at=[500]),
            is_=FAIL,
            says="a heartbeat is dispatched as an event",
            at=1,
        )
        for beat in (
            frame({"type": "heartbeat"}, "1-1"),
            frame({"type": "keep-alive"}, "1-1"),
            frame("{}", "1-1", extra="event: PING\n"),
            frame("ping"),
            frame('"pong"'),
            frame(""),
            frame("{}"),
            frame("null"),
        )
    ),
    case(
        liveness.heartbeat_inert,
        quiet(BEAT, frame({"type": "token", "content": "a"}, "1-1", extra=": beside it\n"), at=[300, 500]),
        is_=PASS,
        says="heartbeats are comments",
    ),
    *(
        case(
            liveness.heartbeat_inert,  # notes beside events only
            quiet(*frames, at=[500]),
            is_=INCONCLUSIVE,
            says="no heartbeat within 15 s",
        )
        for frames in (
            [frame({"type": "x"}, "1-1", extra=": beside it\n")],
            [frame({"type": "x"}, "1-1") + b": after it\n\n"],
            [b": before it\nid: 1-0\n\n" + frame({"type": "x"}, "1-1")],
        )
    ),
    case(liveness.heartbeat_inert, whole_run(), is_=INCONCLUSIVE, says="no heartbeat within 15 s"),
    case(liveness.heartbeat_inert, empty_stream(), is_=INCONCLUSIVE, says="no run to check"),
]


@all_cases("example", CASES, ids=str)
def test_verdict(example: Case) -> None:
    check(example)
