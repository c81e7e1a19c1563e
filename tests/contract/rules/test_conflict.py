from __future__ import annotations

from dataclasses import replace

import pytest

from harness.contract.exchange import Ending, Exchange
from harness.contract.expectations import Expectations
from harness.contract.rules import conflict
from tests.cases import all_cases
from tests.contract.exchanges import (
    EPOCH_MS,
    another_run,
    chunk,
    cut_run,
    error,
    frame,
    head,
    id_at,
    no_answer,
    rejected_event,
    reply,
    run,
    scripted,
    token,
    whole_run,
)
from tests.contract.rules.case import FAIL, INCONCLUSIVE, INFO, PASS, WARN, Case, case, check

FIRST = whole_run()
AS_JSON = reply(409, {"code": "idempotency_conflict"})
AS_STATUS_AND_EVENT = rejected_event(409, code="conflict")
AS_EVENT = run(error(0, code=409))
FORMS = {
    "status 409 with a JSON body": AS_JSON,
    "status 409 with an error event": AS_STATUS_AND_EVENT,
    "an error event with the code 409": AS_EVENT,
}
BARE = reply(409, b"conflict", {"Content-Type": "text/plain"})
HTML = reply(409, b"<h1>409 Conflict</h1>", {"Content-Type": "text/html"})
EMPTY = reply(409, b"", {"Content-Type": "text/plain"})
WITH_TOKENS = run(token(0), error(1), status=409)
CONTROL = (whole_run(), whole_run())
NO_REPLAY = (whole_run(), another_run())
FAILS_SO = run(error(0, code=409, runId="run-1"))
FAILS = (run(error(0)), run(error(0)))
HTTP, EVENT = Expectations(conflict="http-409"), Expectations(conflict="event")
IN_FLIGHT, LATER = {"sent_ms": 15.0}, {"sent_ms": 500.0}


def in_flight(answer: Exchange) -> Exchange:
    """The same answer to a request that was sent while FIRST was going on."""
    return scripted(
        *((read.arrival_ns / 1e6 - 50_000, read.data) for read in answer.reads),
        ending=answer.ending,
        detail=answer.ending_detail,
        sent_ms=15.0,
    )


#: Sent while FIRST was going on, answered after its end.
ANSWERED_LATER = scripted(
    *((500.0, read.data) for read in AS_JSON.reads), ending=AS_JSON.ending, sent_ms=15.0
)


def asked(answer: Exchange, body: object) -> Exchange:
    """The same answer, to a request with that body."""
    return replace(answer, request=answer.request.with_json(body))


SECRET = "secret-in-the-first-body"
SPLIT = chunk(b'{"was": "secret-in-') + chunk(b'the-first-body"}') + b"0\r\n\r\n"

CASES: list[Case] = [
    case(conflict.rejected, [(FIRST, AS_JSON)], is_=PASS, says="status 409 with a JSON body"),
    case(conflict.rejected, [(FIRST, whole_run()), (FIRST, AS_EVENT)], is_=PASS, says="with the code 409"),
    case(
        conflict.rejected,
        [(FIRST, whole_run())],
        is_=FAIL,
        says="the same key with a different body returned the first body's run",
    ),
    case(conflict.rejected, [(FIRST, another_run())], is_=FAIL, says="got status 200 with 4 events"),
    case(conflict.rejected, [(FIRST, no_answer())], is_=FAIL, says="no response"),
    case(conflict.rejected, [(FIRST, reply(422))], is_=FAIL, says="got 422, as draft-ietf"),
    case(conflict.rejected, [(FIRST, run(error(0, code=400)))], is_=FAIL, says="not a 409"),
    case(conflict.rejected, [(FIRST, run(token(0), error(1, code=409)))], is_=FAIL, says="not a 409"),
    case(conflict.rejected, [(FIRST, run(token(0), status=409))], is_=PASS, says="not one error event"),
    *(
        case(conflict.rejected, [(FIRST, answer)], is_=PASS, says="rejected (status 409 with")
        for answer in (BARE, HTML, EMPTY, WITH_TOKENS)
    ),
    *(
        case(conflict.rejected, [(FIRST, run(error(0, **fields)))], is_=FAIL, says="not a 409")
        for fields in (
            {"code": 500, "message": "the calendar service answered 409"},
            {"code": "calendar_409"},
            {"runId": "run-409"},
            {"message": "409 Conflict"},
        )
    ),
    # The action's own runs fail with the code 409.
    case(conflict.rejected, [(FAILS_SO, FAILS_SO)], is_=FAIL, says="returned the first body's run"),
    case(conflict.rejected, [(FAILS_SO, AS_JSON)], is_=PASS, says="status 409 with a JSON body"),
    case(
        conflict.rejected,
        [(FAILS_SO, run(error(7, code=409)))],
        is_=INCONCLUSIVE,
        says="may be a rejection or",
    ),
    case(
        conflict.rejected,
        [(FAILS_SO, run(error(7, code=409, runId="run-2")))],
        is_=FAIL,
        says="not a 409",
    ),
    # A rejection that names the first run is a rejection; conflict.leaks-nothing says the rest.
    case(conflict.rejected, [(FIRST, run(error(9, code=409, runId="run-7")))], is_=PASS, says="code 409"),
    case(conflict.rejected, [(reply(500), AS_JSON)], is_=INCONCLUSIVE, says="was not accepted either"),
    case(conflict.rejected, [(AS_EVENT, AS_EVENT)], is_=INCONCLUSIVE, says="was not accepted either"),
    case(conflict.rejected, [(reply(500), AS_JSON), (FIRST, reply(422))], is_=FAIL, says="got 422"),
    case(conflict.rejected, [], is_=INCONCLUSIVE, says="nothing was tested"),
    *(
        case(conflict.after_completion, FIRST, answer, is_=PASS, says=f"rejected ({form})")
        for form, answer in FORMS.items()
    ),
    case(conflict.after_completion, FIRST, BARE, is_=PASS, says="neither JSON nor an event"),
    *(
        case(conflict.after_completion, FIRST, answer, is_=PASS, says="rejected", expect=expect)
        for answer, expect in (
            (AS_JSON, HTTP),
            (AS_STATUS_AND_EVENT, HTTP),
            (AS_STATUS_AND_EVENT, EVENT),
            (AS_EVENT, EVENT),
        )
    ),
    *(
        case(
            conflict.after_completion,
            FIRST,
            answer,
            is_=FAIL,
            says=f"the target declares {expect.conflict}",
            expect=expect,
        )
        for answer, expect in ((AS_EVENT, HTTP), (AS_JSON, EVENT), (BARE, EVENT))
    ),
    case(conflict.after_completion, FIRST, reply(422), is_=FAIL, says="got 422"),
    case(conflict.after_completion, FIRST, whole_run(), is_=FAIL, says="first body's run"),
    case(
        conflict.after_completion,
        run(token(0), ending=Ending.TRUNCATED),
        AS_JSON,
        is_=INCONCLUSIVE,
        says="did not reach a terminal event",
    ),
    case(conflict.in_flight, FIRST, reply(409, **IN_FLIGHT), is_=PASS, says="rejected (status 409"),
    case(
        conflict.in_flight,
        FIRST,
        in_flight(another_run()),
        is_=FAIL,
        says="a different body while the first run was in flight got status 200",
    ),
    case(conflict.in_flight, FIRST, reply(409, **LATER), is_=INCONCLUSIVE, says="ended before"),
    case(
        conflict.in_flight,
        FIRST,
        ANSWERED_LATER,
        is_=INCONCLUSIVE,
        says="ended before the different body was",
    ),
    case(
        conflict.in_flight,
        FIRST,
        reply(409, **IN_FLIGHT),
        reply(409, **IN_FLIGHT),
        reply(409, **LATER),
        is_=PASS,
        says="2 different bodies at different moments were rejected",
    ),
    case(
        conflict.in_flight,
        FIRST,
        reply(409, **IN_FLIGHT),
        in_flight(another_run()),
        is_=FAIL,
        says="got status 200",
    ),
    case(
        conflict.in_flight,
        FIRST,
        no_answer(Ending.REFUSED, "Connection refused", sent_ms=None),
        is_=INCONCLUSIVE,
        says="ended before",
    ),
    case(conflict.in_flight, reply(500), reply(409), is_=INCONCLUSIVE, says="was not accepted either"),
    *(
        case(conflict.form, FIRST, answer, is_=INFO, says=f"a reused key with a different body gets {form}")
        for form, answer in FORMS.items()
    ),
    case(conflict.form, FIRST, whole_run(), is_=INCONCLUSIVE, says="no 409 to check"),
    case(conflict.form, reply(500), AS_JSON, is_=INCONCLUSIVE, says="not accepted either"),
    case(conflict.error_event, FIRST, AS_EVENT, is_=PASS, says="an error event with the code 409"),
    case(conflict.error_event, FIRST, AS_STATUS_AND_EVENT, is_=PASS, says="409 with an error event"),
    case(conflict.error_event, FIRST, AS_JSON, is_=WARN, says="with a JSON body, not an error event"),
    case(conflict.error_event, FIRST, BARE, is_=WARN, says="neither JSON nor an event"),
    case(conflict.error_event, FIRST, HTML, is_=WARN, says="neither JSON nor an event"),
    case(conflict.error_event, FIRST, EMPTY, is_=WARN, says="with an empty body, not an error event"),
    case(conflict.error_event, FIRST, WITH_TOKENS, is_=WARN, says="not one error event"),
    *(
        case(conflict.error_event, FIRST, answer, is_=PASS, says="as the target declares", expect=HTTP)
        for answer in (AS_JSON, BARE, HTML, EMPTY)
    ),
    case(conflict.error_event, FIRST, AS_JSON, is_=WARN, says="not an error event", expect=EVENT),
    case(conflict.error_event, FIRST, reply(422), is_=INCONCLUSIVE, says="no 409 to check"),
    case(conflict.error_event, reply(500), AS_EVENT, is_=INCONCLUSIVE, says="not accepted either"),
    case(
        conflict.any_field,
        FIRST,
        {"source": AS_JSON, "sessionId": AS_EVENT},
        is_=PASS,
        says="is a conflict: source, sessionId",
    ),
    case(
        conflict.any_field,
        FIRST,
        {"source": AS_JSON, "sessionId": whole_run(), "userTimezone": whole_run()},
        is_=FAIL,
        says="a different sessionId returned the first body's run; the same key with a different userTimezone",
    ),
    case(
        conflict.any_field,
        FIRST,
        {"source": asked(reply(400), {"source": "automation"}), "sessionId": AS_JSON},
        is_=FAIL,
        says='a different source ("automation") got status 400',
    ),
    case(
        conflict.any_field,
        FIRST,
        {"source": asked(whole_run(), {"source": "automation"})},
        is_=FAIL,
        says="a different source returned the first body's run",
    ),
    case(
        conflict.any_field, FIRST, {"source": reply(400)}, is_=FAIL, says="a different source got status 400"
    ),
    case(conflict.any_field, FIRST, {}, is_=INCONCLUSIVE, says="nothing was tested"),
    case(conflict.any_field, reply(500), {"source": AS_JSON}, is_=INCONCLUSIVE, says="not accepted"),
    case(conflict.original_untouched, CONTROL, FIRST, AS_JSON, whole_run(), is_=PASS, says="continued to"),
    *(
        case(
            conflict.original_untouched,
            CONTROL,
            FIRST,
            answer,
            whole_run(),
            True,
            is_=verdict,
            says="first run",
        )
        for answer, verdict in (
            (reply(409, **IN_FLIGHT), PASS),
            (ANSWERED_LATER, INCONCLUSIVE),
            (reply(409, **LATER), INCONCLUSIVE),
        )
    ),
    case(
        conflict.original_untouched,
        CONTROL,
        run(token(0), error(1)),
        reply(409, sent_ms=5.0),
        whole_run(),
        is_=FAIL,
        says="did not end with done after a conflict",
    ),
    case(
        conflict.original_untouched,
        CONTROL,
        run(token(0), error(1)),
        reply(409, **LATER),
        whole_run(),
        is_=INCONCLUSIVE,
        says="had ended before the conflict",
    ),
    case(
        conflict.original_untouched,
        FAILS,
        run(token(0), error(1)),
        reply(409, sent_ms=5.0),
        whole_run(),
        is_=INCONCLUSIVE,
        says="a run without a conflict does not end with done either",
    ),
    case(
        conflict.original_untouched,
        CONTROL,
        FIRST,
        AS_JSON,
        reply(409),
        is_=FAIL,
        says="no longer resumes",
    ),
    case(conflict.original_untouched, CONTROL, FIRST, AS_JSON, another_run(), is_=FAIL, says="event 1 is id"),
    case(
        conflict.original_untouched,
        NO_REPLAY,
        FIRST,
        AS_JSON,
        another_run(),
        is_=INCONCLUSIVE,
        says="see resume.replay",
    ),
    case(
        conflict.original_untouched,
        CONTROL,
        FIRST,
        another_run(),
        another_run(),
        is_=INCONCLUSIVE,
        says="was not rejected (see conflict.rejected)",
    ),
    case(
        conflict.original_untouched, CONTROL, reply(500), AS_JSON, FIRST, is_=INCONCLUSIVE, says="not accep"
    ),
    *(
        case(conflict.starts_nothing, CONTROL, FIRST, answer, whole_run(), answer, is_=PASS, says="no run")
        for answer in (AS_JSON, AS_EVENT, BARE, EMPTY, reply(422))
    ),
    case(
        conflict.starts_nothing,
        CONTROL,
        FIRST,
        AS_JSON,
        whole_run(),
        another_run(),
        is_=FAIL,
        says="the rejected body, sent again, returns a run",
    ),
    case(
        conflict.starts_nothing,
        CONTROL,
        FIRST,
        WITH_TOKENS,
        whole_run(),
        AS_JSON,
        is_=FAIL,
        says="the rejection contains an event of a run",
        at=0,
    ),
    *(
        case(
            conflict.starts_nothing,
            CONTROL,
            FIRST,
            answer,
            whole_run(),
            AS_JSON,
            is_=INCONCLUSIVE,
            says="was not rejected (see conflict.rejected)",
        )
        for answer in (another_run(), whole_run(), reply(500), reply(429), no_answer())
    ),
    case(
        conflict.starts_nothing,
        CONTROL,
        FIRST,
        AS_JSON,
        another_run(),
        AS_JSON,
        is_=FAIL,
        says="the key returns a different run: runId 'run-2' instead of 'run-1'",
    ),
    case(
        conflict.starts_nothing,
        CONTROL,
        FIRST,
        AS_JSON,
        run(*(token(place) for place in range(3)), token(7)),
        AS_JSON,
        is_=FAIL,
        says="events that its run did not have",
        at=3,
    ),
    case(
        conflict.starts_nothing,
        NO_REPLAY,
        FIRST,
        AS_JSON,
        another_run(),
        AS_JSON,
        is_=INCONCLUSIVE,
        says="see resume.replay",
    ),
    case(
        conflict.starts_nothing,
        CONTROL,
        cut_run(2),
        AS_JSON,
        whole_run(),
        AS_JSON,
        is_=INCONCLUSIVE,
        says="did not reach a terminal event",
    ),
    case(conflict.leaks_nothing, FIRST, AS_JSON, SECRET, is_=PASS, says="contains nothing"),
    case(
        conflict.leaks_nothing,
        FIRST,
        reply(409, {"was": {"fileThreadId": SECRET}}),
        SECRET,
        is_=FAIL,
        says="contains a value of the first request's body",
    ),
    case(
        conflict.leaks_nothing,
        FIRST,
        scripted((0, head(409, {"Transfer-Encoding": "chunked"}) + SPLIT)),
        SECRET,
        is_=FAIL,
        says="contains a value of the first request's body",
    ),
    case(
        conflict.leaks_nothing,
        FIRST,
        reply(409, headers={"X-Original": SECRET}),
        SECRET,
        is_=FAIL,
        says="contains a value",
    ),
    case(conflict.leaks_nothing, FIRST, reply(409, {"run": "run-1"}), SECRET, is_=FAIL, says="runId"),
    case(
        conflict.leaks_nothing,
        FIRST,
        reply(409, {"last": id_at(1)}),
        SECRET,
        is_=FAIL,
        says=f"contains an event of the first run (id {EPOCH_MS + 10}-0)",
    ),
    case(
        conflict.leaks_nothing, FIRST, reply(422, {"was": SECRET}), SECRET, is_=FAIL, says="contains a value"
    ),
    case(
        conflict.leaks_nothing,
        FIRST,
        run(token(1), error(2), status=409),
        SECRET,
        is_=FAIL,
        says="contains an event of the first run",
        at=0,
    ),
    case(
        conflict.leaks_nothing,
        whole_run(run_id="Straße-1"),
        reply(409, {"detail": "the run is Straße-1"}),
        SECRET,
        is_=FAIL,
        says="runId",
    ),
    case(
        conflict.leaks_nothing,
        FIRST,
        reply(409, headers={"X-Run": "run-1"}),
        SECRET,
        is_=FAIL,
        says="runId",
    ),
    case(
        conflict.leaks_nothing, FIRST, reply(500, {"was": SECRET}), SECRET, is_=FAIL, says="contains a value"
    ),
    # A short runId is found by chance, in the status line too; part of a longer word is no runId.
    *(
        case(conflict.leaks_nothing, whole_run(run_id=run_id), answer, SECRET, is_=PASS, says="nothing")
        for run_id, answer in (
            ("1", AS_JSON),
            ("409", reply(409, {"status": 409, "code": "409"})),
            ("Because", AS_JSON),
            ("conflict", reply(409, {"code": "idempotency_conflict"})),
            ("key-1", reply(409, {"detail": "key-1 was used with a different body"})),
        )
    ),
    *(
        case(
            conflict.leaks_nothing,
            FIRST,
            answer,
            SECRET,
            is_=INCONCLUSIVE,
            says="was not rejected (see conflict.rejected)",
        )
        for answer in (whole_run(), another_run(), reply(503), no_answer())
    ),
    case(conflict.leaks_nothing, reply(500), AS_JSON, SECRET, is_=INCONCLUSIVE, says="not accepted"),
]


@all_cases("example", CASES, ids=str)
def test_verdict(example: Case) -> None:
    check(example)


@pytest.mark.parametrize(("form", "answer"), FORMS.items())
def test_the_forms_of_a_rejection(form: str, answer: Exchange) -> None:
    assert conflict.rejection_form(answer) == form


@pytest.mark.parametrize(
    "answer",
    [
        FIRST,
        run(error(0, code=500)),
        run(error(0, code=409), error(1, code=409)),
        run(frame({"type": "rejected", "code": 409}, "1-0")),
        reply(400, {"code": 409}),
        reply(422),
        no_answer(),
    ],
)
def test_what_is_no_rejection(answer: Exchange) -> None:
    assert conflict.rejection_form(answer) is None
    assert conflict.rejections([answer, AS_JSON]) == [AS_JSON]
