"""Which answers a resumption with Last-Event-ID may get: after the terminal event, with an unknown id, between ids."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from harness.contract.exchange import Ending, Exchange
from harness.contract.expectations import Budgets, Expectations
from harness.contract.rules import resume
from harness.contract.rules.last_event_id import place_of
from harness.contract.rules.text_order import misplaced, places_to_resume
from tests.cases import all_cases
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
from tests.contract.rules.case import FAIL, INCONCLUSIVE, PASS, WARN, Case, case, check

RUN = whole_run()
LAST = id_at(3)
TRUNCATED = run(token(0), ending=Ending.TRUNCATED, detail="the server closed the connection")
HEARTBEATS = scripted(
    (0.0, b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n"),
    (500.0, b": still here\n\n"),
    ending=Ending.TIMED_OUT,
    detail="no event within 20 s",
)
LATE = scripted(
    (0.0, b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"),
    *((at_ms, b"5\r\n: x\n\n\r\n") for at_ms in (2000.0, 4000.0, 6000.0)),
    (8000.0, b"0\r\n\r\n"),
)
QUEUED = scripted(
    (8000.0, b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"),
    (8100.0, b"0\r\n\r\n"),
)
UNTIL_THE_END = scripted(
    (-3500.0, b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"),
    (1000.0, b"0\r\n\r\n"),
)
AFTER, IN_FLIGHT = {"sent_ms": 500.0}, {"sent_ms": 15.0}  # RUN has brought two of its four events by then
OLD, FUTURE, FOREIGN = "2-0", "99999999999999-0", f"{EPOCH_MS + 1000}-0"
PATIENT = Expectations(budgets=Budgets(terminal_close_s=10.0))
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


def seen_late(pairs: list[tuple[Exchange, Exchange]]) -> list[tuple[Exchange, Exchange]]:
    """The same, but the end may have come 4 s before a busy harness saw it."""
    return [
        (
            original,
            replace(one, timing=replace(one.timing, end_arrival_ns=one.timing.ended_ns - 4_000_000_000)),
        )
        for original, one in pairs
    ]


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


def known(answers: dict[int, Exchange], run: Exchange | None = None, retry: Exchange | None = None) -> Any:
    """The burst, its retry, and answers to the Last-Event-ID with each of these sequence numbers."""
    named_answers = [named(f"{EPOCH_MS}-{seq}", answer) for seq, answer in answers.items()]
    return run or burst(0), retry or burst(0), named_answers


def own(answers: dict[int, Exchange], retry: Exchange | None = None) -> tuple[Any, ...]:
    """The evidence of id-order from a server that knows what to do with ids that the run does not have."""
    return (*ordered({"2-0": whole_run()}), None, known(answers, retry=retry))


def own_by_id(answers: dict[int, Exchange]) -> tuple[Any, ...]:
    """The same for last-event-id."""
    return RUN, [named(id_at(0), tail(1))], None, (), known(answers)


def without(*places: int) -> Exchange:
    """The burst without its events of these numbers, from 0."""
    frames = [
        frame({"type": "token", "content": str(seq)}, event_id) for seq, event_id in enumerate(BURST_IDS)
    ]
    frames.append(frame({"type": "done", "runId": "run-1"}, f"{EPOCH_MS}-12"))
    return run(*(part for place, part in enumerate(frames) if place not in places))


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
    case(resume.after_terminal, after_the_end(LATE), is_=FAIL, says="stayed open for 8.00 s (allowed: 5 s)"),
    case(resume.after_terminal, after_the_end(LATE), is_=PASS, says="", expect=PATIENT),
    case(
        resume.after_terminal, seen_late(after_the_end(LATE)), is_=INCONCLUSIVE, says="up to 4.00 s earlier"
    ),
    case(resume.after_terminal, after_the_end(QUEUED), is_=PASS, says="status 200 with no event"),
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
    case(resume.bad_last_event_id, bad(FUTURE, LATE), is_=FAIL, says="stayed open for 8.00 s (allowed: 5 s)"),
    case(resume.bad_last_event_id, bad(FUTURE, QUEUED), is_=PASS, says="1 bad id"),
    case(resume.bad_last_event_id, bad(FUTURE, UNTIL_THE_END, -3600.0), is_=PASS, says="1 bad id"),
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
    # the same, for ids that the run does have: seq 10 to 12 come before seq 2 as text
    case(
        resume.id_order,
        *own({0: burst(1), 2: burst(3), 9: burst(10), 10: burst(11)}),
        is_=PASS,
        says="1 id that the run does not have: answered as their numbers say; 3 ids of a run, with a different order",
    ),
    *(
        case(resume.id_order, *own({0: answer, 9: answer}), is_=PASS, says="1 id of a run, with a different")
        for answer in (
            burst(0),
            reply(400),
            burst(12),
        )  # all, none or, as a tail, the end: whatever the id is
    ),
    case(resume.id_order, *own({0: burst(1), 9: burst(0)}), is_=PASS, says="1 id of a run, with a different"),
    case(resume.id_order, *own({0: burst(1), 9: empty_stream()}), is_=FAIL, says=AS_TEXT),
    case(resume.id_order, *own({9: empty_stream()}), is_=FAIL, says=AS_TEXT),
    case(resume.id_order, *own({0: burst(1), 9: HEARTBEATS}), is_=FAIL, says=AS_TEXT),
    case(resume.id_order, *own({0: burst(1), 9: reply(500)}), is_=FAIL, says="'1717000000000-9' caused"),
    case(resume.id_order, *own({0: burst(1), 10: burst(2)}), is_=FAIL, says="9 events repeated", at=0),
    case(
        resume.id_order,  # each id that is greater as text
        *own({0: burst(1), 2: without(0, 1, 2, 10, 11, 12)}),
        is_=FAIL,
        says="3 events missing",
    ),
    case(
        resume.id_order,  # a server that honours ids sends no tails
        *own({0: burst(1), 9: burst(12)}),
        is_=FAIL,
        says="the stream starts with event 13, not with the one after that id",
    ),
    case(
        resume.id_order,  # wrong after any id: not for the order
        *own({0: burst(2), 9: burst(11)}),
        is_=INCONCLUSIVE,
        says="does harm too (see resume.last-event-id)",
    ),
    case(
        resume.id_order,
        *own({0: burst(1), 9: empty_stream()}, retry=another_run()),
        is_=INCONCLUSIVE,
        says="see resume.replay",
    ),
    case(
        resume.id_order,  # what is not seen is not claimed
        *ordered({"2-0": whole_run()}),
        is_=PASS,
        says="; not seen: ids of a run with a different order as text",
    ),
    case(
        resume.last_event_id,
        *own_by_id({0: burst(1), 9: burst(10)}),
        is_=PASS,
        says="each of 3 ids returned exactly",
    ),
    case(
        resume.last_event_id,
        *own_by_id({0: burst(1), 9: empty_stream()}),
        is_=WARN,
        says=f"Last-Event-ID {EPOCH_MS}-9: ",
    ),
    case(
        resume.after_terminal,
        [(burst(0), named(f"{EPOCH_MS}-12", burst(2)))],
        is_=FAIL,
        says="(as if ids were compared as text: see resume.id-order)",
    ),
    case(resume.id_order, *ordered({}), is_=INCONCLUSIVE, says="nothing was tested"),
    case(resume.id_order, TRUNCATED, TRUNCATED, [], is_=INCONCLUSIVE, says="did not reach a terminal"),
]


@all_cases("example", CASES, ids=str)
def test_verdict(example: Case) -> None:
    check(example)


@all_cases(
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


@pytest.mark.parametrize(
    ("ids", "wrong"),
    [
        ([], []),
        (["5-0"], []),
        ([f"{EPOCH_MS}-{seq}" for seq in range(10)], []),
        ([f"{EPOCH_MS}-{seq}" for seq in range(12)], [2, 3, 4, 5, 6, 7, 8, 9, 10]),
        (["8-0", "9-0", "10-0", "11-0"], [0, 1, 2]),
        (["9", "10"], [0]),
        ([f"{EPOCH_MS}-9", f"{EPOCH_MS}-10", f"{EPOCH_MS + 1}-0", f"{EPOCH_MS + 2}-0"], [0, 1]),
        ([f"{EPOCH_MS}-0", f"{EPOCH_MS + 1}-0", f"{EPOCH_MS + 2}-0"], []),
    ],
)
def test_where_the_order_as_text_differs(ids: list[str], wrong: list[int]) -> None:
    assert misplaced(ids) == wrong
    assert set(places_to_resume(ids)) <= set(wrong)


def test_a_few_places_include_the_one_before_ten_and_the_one_after_it() -> None:
    ids = [f"{EPOCH_MS + ms}-{seq}" for ms in range(9) for seq in range(30)]
    places = places_to_resume(ids)
    assert {"9", "10"} <= {ids[place].rpartition("-")[2] for place in places}
    assert len(places) <= 6
    assert places_to_resume([f"{EPOCH_MS}-{seq}" for seq in range(15)])[:2] == [9, 10]
