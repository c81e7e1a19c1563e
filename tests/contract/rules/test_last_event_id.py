"""Which answers a resumption with Last-Event-ID may get: after the terminal event, with an unknown id, between ids."""

from __future__ import annotations

from typing import Any

import pytest

from harness.contract.exchange import Ending, Exchange
from harness.contract.expectations import Expectations
from harness.contract.rules import resume
from harness.contract.rules.last_event_id import place_of
from tests.contract.exchanges import (
    EPOCH_MS,
    another_run,
    asking,
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
from tests.contract.rules.case import FAIL, INCONCLUSIVE, PASS, Case, case, check

RUN = whole_run()
LAST = id_at(3)
TRUNCATED = run(token(0), ending=Ending.TRUNCATED, detail="the server closed the connection")
HEARTBEATS = scripted(
    (0.0, b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n"),
    (500.0, b": still here\n\n"),
    ending=Ending.TIMED_OUT,
    detail="no event within 20 s",
)
AFTER, IN_FLIGHT = {"sent_ms": 500.0}, {"sent_ms": 15.0}  # RUN has brought two of its four events by then
OLD, FUTURE, FOREIGN = "2-0", "99999999999999-0", f"{EPOCH_MS + 1000}-0"
REPLAY = Expectations(resume_start="replay")


def named(event_id: str, answer: Exchange, sent_ms: float = 500.0) -> Exchange:
    """The same answer to a request with that Last-Event-ID."""
    return scripted(
        *((read.arrival_ns / 1e6 - 50_000, read.data) for read in answer.reads),
        ending=answer.ending,
        detail=answer.ending_detail,
        request=asking(Last_Event_ID=event_id),
        sent_ms=sent_ms,
    )


def after_the_end(answer: Exchange) -> list[tuple[Exchange, Exchange]]:
    return [(RUN, named(LAST, answer))]


def bad(event_id: str, answer: Exchange, sent_ms: float = 500.0) -> list[tuple[Exchange, Exchange]]:
    return [(RUN, named(event_id, answer, sent_ms))]


#: A run with several events per millisecond, whose sequence numbers reach two digits.
BURST_IDS = [f"{EPOCH_MS}-{seq}" for seq in range(12)]


def burst(start: int) -> Exchange:
    """The run's events from number `start` on, from 0."""
    frames = [
        frame({"type": "token", "content": str(seq)}, event_id) for seq, event_id in enumerate(BURST_IDS)
    ]
    return run(*[*frames, frame({"type": "done", "runId": "run-1"}, f"{EPOCH_MS}-12")][start:])


def sparse(start: int) -> Exchange:
    """The same, with ids that leave room between them: seq 2, 5, 8, 11 and so on."""
    frames = [frame({"type": "token", "content": str(n)}, f"{EPOCH_MS}-{2 + 3 * n}") for n in range(5)]
    return run(*[*frames, frame({"type": "done", "runId": "run-1"}, f"{EPOCH_MS}-17")][start:])


def ordered(answers: dict[str, Exchange], control: Exchange | None = None) -> tuple[Any, ...]:
    return (
        RUN,
        named(f"{EPOCH_MS - 1}-0", control or whole_run()),
        [named(event_id, answer) for event_id, answer in answers.items()],
    )


def between(answers: dict[str, Exchange]) -> tuple[Any, ...]:
    return (
        sparse(0),
        named(f"{EPOCH_MS - 1}-0", sparse(0)),
        [named(event_id, answer) for event_id, answer in answers.items()],
    )


AS_TEXT = "(are ids compared as text, or only in part?)"

CASES: list[Case] = [
    # after-terminal
    *(
        case(resume.after_terminal, after_the_end(answer), is_=PASS, says="after the terminal event: ")
        for answer in (
            empty_stream(),
            scripted((0.0, b"HTTP/1.1 204 No Content\r\n\r\n")),
            tail(3),
            whole_run(),
            reply(404),
            reply(410),
            reply(400),
        )
    ),
    case(resume.after_terminal, after_the_end(HEARTBEATS), is_=FAIL, says="no event within 20 s"),
    case(resume.after_terminal, after_the_end(no_answer()), is_=FAIL, says="no response"),
    case(resume.after_terminal, after_the_end(reply(500)), is_=FAIL, says="caused status 500"),
    case(
        resume.after_terminal, after_the_end(reply(409)), is_=FAIL, says="the terminal event got status 409"
    ),
    case(resume.after_terminal, after_the_end(another_run()), is_=FAIL, says="is not the run's", at=0),
    case(resume.after_terminal, after_the_end(run(error(9))), is_=FAIL, says="is not the run's", at=0),
    case(resume.after_terminal, after_the_end(tail(2)), is_=FAIL, says="2 events repeated", at=0),
    case(
        resume.after_terminal,
        after_the_end(run(*(token(place) for place in range(3)))),
        is_=FAIL,
        says="1 event missing",
    ),
    case(
        resume.after_terminal,
        after_the_end(another_run()),
        (whole_run(), another_run()),
        is_=INCONCLUSIVE,
        says="see resume.replay",
    ),
    case(
        resume.after_terminal,
        after_the_end(HEARTBEATS),
        (whole_run(), another_run()),
        is_=FAIL,
        says="no event within 20 s",
    ),
    case(resume.after_terminal, [], is_=INCONCLUSIVE, says="nothing was tested"),
    case(
        resume.after_terminal,
        [(TRUNCATED, named(LAST, whole_run()))],
        is_=INCONCLUSIVE,
        says="did not reach a terminal event",
    ),
    # bad-last-event-id: what a finished run may answer
    *(
        case(resume.bad_last_event_id, bad(event_id, answer), is_=PASS, says="1 bad id")
        for event_id in ("none", "1-2-3", OLD, FUTURE, FOREIGN)
        for answer in (whole_run(), reply(400), tail(3), run(error(7, code=400)))
    ),
    case(resume.bad_last_event_id, bad(FUTURE, empty_stream()), is_=PASS, says="1 bad id"),
    case(resume.bad_last_event_id, bad(FOREIGN, empty_stream()), is_=PASS, says="1 bad id"),
    case(resume.bad_last_event_id, bad("9" * 40, empty_stream()), is_=PASS, says="1 bad id"),
    case(resume.bad_last_event_id, bad(f"{EPOCH_MS + 15}-0", tail(2)), is_=PASS, says="1 bad id"),
    *(
        case(
            resume.bad_last_event_id,
            bad(event_id, empty_stream()),
            is_=FAIL,
            says=f"'{event_id}' got status 200 with no event, complete: the client never learns",
        )
        for event_id in (
            "none",
            "-",
            "$",
            "1-",
            "1-2-3",
            "0-0",
            OLD,
            f"{EPOCH_MS - 1}-0",
            f"{EPOCH_MS + 15}-0",
        )
    ),
    case(
        resume.bad_last_event_id,
        bad(OLD, scripted((0.0, b"HTTP/1.1 204 No Content\r\n\r\n"))),
        is_=FAIL,
        says="status 204 with no event",
    ),
    case(resume.bad_last_event_id, bad("-", HEARTBEATS), is_=FAIL, says="no event within 20 s"),
    case(resume.bad_last_event_id, bad(FUTURE, HEARTBEATS), is_=FAIL, says="no event within 20 s"),
    case(resume.bad_last_event_id, bad("-", reply(500)), is_=FAIL, says="'-' caused status 500"),
    case(resume.bad_last_event_id, bad("-", no_answer()), is_=FAIL, says="'-': no response"),
    case(
        resume.bad_last_event_id,
        bad("-", run(token(0), ending=Ending.TIMED_OUT, detail="silent for 30 s")),
        is_=FAIL,
        says="silent for 30 s",
    ),
    case(
        resume.bad_last_event_id,
        bad("-", run(token(0), token(77))),
        is_=FAIL,
        says=f"returned an event that is not the run's: id {id_at(77)}",
        at=1,
    ),
    case(resume.bad_last_event_id, bad("-", another_run()), is_=FAIL, says="is not the run's", at=0),
    case(resume.bad_last_event_id, bad("none", tail(1)), is_=FAIL, says="1 event lost before it", at=0),
    case(resume.bad_last_event_id, bad(OLD, tail(2)), is_=FAIL, says="2 events lost after that id"),
    case(resume.bad_last_event_id, bad("-", run(token(0), token(1))), is_=FAIL, says="2 events missing"),
    case(resume.bad_last_event_id, [], is_=INCONCLUSIVE, says="nothing was tested"),
    case(
        resume.bad_last_event_id,
        [(TRUNCATED, named("-", whole_run()))],
        is_=INCONCLUSIVE,
        says="did not reach a terminal event",
    ),
    # where a plain retry is no replay either
    case(
        resume.bad_last_event_id,
        bad("-", another_run()),
        (whole_run(), another_run()),
        is_=INCONCLUSIVE,
        says="see resume.replay",
    ),
    *(
        case(resume.bad_last_event_id, bad("-", answer), (whole_run(), another_run()), is_=FAIL, says=says)
        for answer, says in (
            (HEARTBEATS, "no event within"),
            (reply(500), "500"),
            (empty_stream(), "never learns"),
        )
    ),
    # in flight, it may also start with the next event
    case(resume.bad_last_event_id, bad("none", tail(2, at=[5, 15]), 15.0), is_=PASS, says="1 bad id"),
    case(resume.bad_last_event_id, bad("none", whole_run(), 15.0), is_=PASS, says="1 bad id"),
    case(resume.bad_last_event_id, bad(FUTURE, empty_stream(), 15.0), is_=PASS, says="1 bad id"),
    case(
        resume.bad_last_event_id,
        bad("none", tail(2, at=[5, 15]), 15.0),
        is_=FAIL,
        says="2 events lost before it",
        expect=REPLAY,
    ),
    case(
        resume.bad_last_event_id,
        bad(FUTURE, tail(2, at=[5, 15]), 15.0),
        is_=PASS,
        says="1 bad id",
        expect=REPLAY,
    ),
    case(resume.bad_last_event_id, bad("none", tail(1), 15.0), is_=FAIL, says="1 event lost before it"),
    case(resume.bad_last_event_id, bad("none", empty_stream(), 15.0), is_=FAIL, says="never learns"),
    case(resume.bad_last_event_id, bad("none", HEARTBEATS, 15.0), is_=FAIL, says="no event within 20 s"),
    # id-order
    *(
        case(resume.id_order, *ordered({"2-0": answer, "10-0": answer}), is_=PASS, says="2 ids that the run")
        for answer in (whole_run(), reply(400), tail(3))
    ),
    case(resume.id_order, *ordered({"10-0": whole_run(), "2-0": empty_stream()}), is_=FAIL, says=AS_TEXT),
    case(resume.id_order, *ordered({"999999999999-0": HEARTBEATS}), is_=FAIL, says=AS_TEXT),
    case(
        resume.id_order,
        *ordered({"9-0": tail(2)}),
        is_=FAIL,
        says="starts with event 3, id 1717000000020-0: 2 events lost after that id",
        at=0,
    ),
    case(
        resume.id_order,
        *ordered({"2-0": empty_stream()}, control=empty_stream()),
        is_=INCONCLUSIVE,
        says="see resume.bad-last-event-id",
    ),
    case(
        resume.id_order,
        *between({f"{EPOCH_MS}-3": sparse(1), f"{EPOCH_MS}-10": sparse(3)}),
        is_=PASS,
        says="2 ids that the run does not have: answered as their numbers say",
    ),
    case(
        resume.id_order,  # "10" < "2"
        *between({f"{EPOCH_MS}-3": sparse(1), f"{EPOCH_MS}-10": sparse(1)}),
        is_=FAIL,
        says="2 events repeated",
    ),
    case(
        resume.id_order,  # starts with the last event before the id, each time
        *between({f"{EPOCH_MS}-6": sparse(1), f"{EPOCH_MS}-10": sparse(2)}),
        is_=PASS,
        says="2 ids",
    ),
    case(
        resume.id_order,  # by milliseconds only
        *between({f"{EPOCH_MS}-3": empty_stream()}),
        is_=FAIL,
        says="never learns",
    ),
    case(
        resume.id_order,
        *ordered({"2-0": another_run()}),
        (whole_run(), another_run()),
        is_=INCONCLUSIVE,
        says="see resume.replay",
    ),
    case(resume.id_order, *ordered({}), is_=INCONCLUSIVE, says="nothing was tested"),
    case(resume.id_order, TRUNCATED, TRUNCATED, [], is_=INCONCLUSIVE, says="did not reach a terminal"),
]


@pytest.mark.parametrize("example", CASES, ids=str)
def test_verdict(example: Case) -> None:
    check(example)


@pytest.mark.parametrize(
    ("event_id", "place"),
    [
        ("0-0", 0),
        ("2-0", 0),
        (BURST_IDS[0], 1),
        (BURST_IDS[10], 11),
        (f"{EPOCH_MS}-12", 13),
        (f"{EPOCH_MS}-18446744073709551615", 13),
        (f"{EPOCH_MS}", 1),
        ("9" * 40, 13),
        ("1-", None),
        ("none", None),
    ],
)
def test_the_place_of_an_id(event_id: str, place: int | None) -> None:
    assert place_of(event_id, burst(0).sequence) == place


def test_ids_without_an_order_have_a_place_only_if_they_are_the_runs() -> None:
    strange = run(frame({"type": "token", "content": "a"}, "x"), done(1))
    assert place_of("x", strange.sequence) == 1
    assert place_of("2-0", strange.sequence) is None
