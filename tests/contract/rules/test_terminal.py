from __future__ import annotations

from harness.contract.exchange import Ending
from harness.contract.expectations import Budgets, Expectations
from harness.contract.rules import terminal
from harness.profiles import library
from tests.cases import all_cases
from tests.contract.exchanges import (
    cancelled,
    cut_run,
    done,
    empty_stream,
    error,
    frame,
    no_answer,
    rejected_event,
    reply,
    run,
    token,
    whole_run,
)
from tests.contract.rules.case import FAIL, INCONCLUSIVE, PASS, Case, case, check

OPEN = "the stream was still open 5 s after its terminal event"
TIGHT = Expectations(budgets=Budgets(terminal_close_s=1.0))
CHAT = library.load("openai-chat")
BROKEN = frame({"error": {"message": "the model is gone"}})
FINISHED = frame({"object": "chat.completion.chunk", "choices": [{"index": 0, "finish_reason": "stop"}]})

CASES: list[Case] = [
    case(terminal.exactly_one, whole_run(), is_=PASS, says="one terminal event, done"),
    case(terminal.exactly_one, run(token(0)), is_=FAIL, says="no terminal event: status 200 with 1 event"),
    case(terminal.exactly_one, run(done(0), error(1)), is_=FAIL, says="2 terminal events: done, error", at=1),
    case(terminal.exactly_one, cut_run(2), is_=INCONCLUSIVE, says="the harness cut the stream"),
    case(terminal.exactly_one, empty_stream(), is_=INCONCLUSIVE, says="no run to check"),
    case(
        terminal.last,
        run(done(0), b": bye\n\n", b"retry: 1\n: x\n\n"[9:]),
        is_=PASS,
        says="nothing but comments",
    ),
    case(terminal.last, run(token(0), done(1), token(2)), is_=FAIL, says="event 3", at=2),
    case(terminal.last, run(done(0), b"id: 9-9\n\n"), is_=FAIL, says="event 2 (id 9-9) follows", at=1),
    case(terminal.last, run(token(0)), is_=INCONCLUSIVE, says="no terminal event"),
    case(terminal.closes, whole_run(ended_ms=40), is_=PASS, says="closed 10 ms after"),
    case(
        terminal.closes,
        run(done(0), ended_ms=1500),
        is_=FAIL,
        says="closed 1.50 s after its terminal event (allowed: 1 s)",
        at=0,
        expect=TIGHT,
    ),
    case(
        terminal.closes,
        run(token(0), done(1), ending=Ending.TIMED_OUT, detail=OPEN, ended_ms=5010),
        is_=FAIL,
        says=f"{OPEN} (allowed: 5 s)",
        at=1,
    ),
    case(terminal.closes, run(token(0)), is_=INCONCLUSIVE, says="did not reach its terminal event"),
    # An API whose stream may end with an error, without the event that ends the others.
    case(terminal.closes, run(BROKEN, ended_ms=10, profile=CHAT), is_=PASS, says="closed 10 ms after"),
    case(
        terminal.closes,
        run(BROKEN, ended_ms=1500, profile=CHAT),
        is_=FAIL,
        says="closed 1.50 s after its terminal event",
        at=0,
        expect=TIGHT,
    ),
    case(
        terminal.closes,
        run(BROKEN, ending=Ending.TIMED_OUT, detail=OPEN, ended_ms=5010, profile=CHAT),
        is_=FAIL,
        says=f"{OPEN} (allowed: 5 s)",
        at=0,
    ),
    case(terminal.closes, run(FINISHED, profile=CHAT), is_=INCONCLUSIVE, says="did not reach its terminal"),
    case(terminal.closes, run(done(0), ending=Ending.CUT, detail="cut"), is_=INCONCLUSIVE, says="cut"),
    case(terminal.always, run(error(0)), is_=PASS, says="ended with error"),
    case(terminal.always, run(token(0), ending=Ending.TRUNCATED), is_=FAIL, says="without a terminal", at=0),
    case(terminal.always, empty_stream(), is_=FAIL, says="status 200 with no event"),
    case(terminal.always, run(frame({"type": "done"}, "1-0")), is_=FAIL, says="without a terminal", at=0),
    case(terminal.always, reply(500), is_=INCONCLUSIVE, says="no stream to check"),
    case(terminal.always, no_answer(), is_=INCONCLUSIVE, says="no stream to check"),
    case(terminal.always, cut_run(1), is_=INCONCLUSIVE, says="no stream to check"),
    case(terminal.success, [whole_run(), run(done(0))], is_=PASS, says="2 runs ended with done"),
    case(terminal.success, [whole_run(), rejected_event(200)], is_=FAIL, says="1 of 2 valid requests", at=0),
    case(
        terminal.success, [rejected_event(), reply(500)], is_=FAIL, says="with a new key got a conflict", at=0
    ),
    case(terminal.success, [reply(409)], is_=FAIL, says="1 of 1 valid request with a new key got a conflict"),
    case(
        terminal.success,
        [run(error(0, code=409, runId="r"))],
        is_=FAIL,
        says="should succeed did not end with done",
        at=0,
    ),
    case(terminal.success, [run(token(0), error(1))], is_=FAIL, says="1 of 1 run of the action", at=1),
    case(terminal.success, [whole_run(), run(cancelled(0))], is_=FAIL, says="did not end with done", at=0),
    case(terminal.success, [whole_run(), empty_stream()], is_=INCONCLUSIVE, says="did not reach a terminal"),
    case(terminal.success, [reply(500)], is_=INCONCLUSIVE, says="did not reach a terminal event"),
    case(terminal.success, [no_answer()], is_=INCONCLUSIVE, says="did not reach a terminal event"),
    case(terminal.success, [], is_=INCONCLUSIVE, says="nothing was tested"),
    case(terminal.failure, run(token(0), error(1)), is_=PASS, says="ended with error"),
    case(terminal.failure, whole_run(), is_=FAIL, says="ended with done, not error", at=3),
    case(terminal.failure, run(token(0)), is_=FAIL, says="without a terminal event"),
    case(terminal.failure, empty_stream(), is_=INCONCLUSIVE, says="no run to check"),
    case(terminal.cancelled, run(token(0), cancelled(1)), is_=PASS, says="one cancelled"),
    case(terminal.cancelled, run(cancelled(0), cancelled(1)), is_=FAIL, says="cancelled, cancelled", at=1),
    case(terminal.cancelled, run(cancelled(0), done(1)), is_=FAIL, says="with cancelled, done", at=1),
    case(terminal.cancelled, run(error(0)), is_=FAIL, says="ended with error", at=0),
    case(terminal.cancelled, run(token(0)), is_=FAIL, says="without a terminal event"),
    case(terminal.cancelled, empty_stream(), is_=INCONCLUSIVE, says="no run to check"),
    case(terminal.no_tokens, run(done(0)), is_=PASS, says="ended with done"),
    case(terminal.no_tokens, run(token(0, ""), done(1)), is_=PASS, says="ended with done"),
    case(terminal.no_tokens, empty_stream(), is_=FAIL, says="no terminal event: status 200 with no event"),
    case(terminal.no_tokens, whole_run(), is_=INCONCLUSIVE, says="the silent action produced 3 tokens"),
    case(terminal.no_tokens, reply(500), is_=INCONCLUSIVE, says="no stream to check"),
]


@all_cases("example", CASES, ids=str)
def test_verdict(example: Case) -> None:
    check(example)
