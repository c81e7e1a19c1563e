from __future__ import annotations

from harness.contract.exchange import Ending
from harness.contract.rules import input  # noqa: A004 - the area's name
from harness.profiles import library
from harness.protocol.request import HttpRequest
from tests.cases import all_cases
from tests.contract.exchanges import done, error, no_answer, rejected_event, reply, run, token, whole_run
from tests.contract.rules.case import FAIL, INCONCLUSIVE, PASS, WARN, Case, case, check

CONTROL = whole_run()
LARGE = HttpRequest("POST", "/", (), b"x" * 24_000_000)
PROBLEM = {"type": "about:blank", "title": "Bad Request", "status": 400, "detail": "no"}

#: Judges of answers by what was sent, and how each says what "this" was.
EACH = {
    input.not_json: "this",
    input.required: "a body without this",
    input.types: "this",
    input.source: "source this",
    input.timezone: "userTimezone this",
}

CASES: list[Case] = [
    *(
        found
        for rule, what in EACH.items()
        for bad in [WARN if rule is input.timezone else FAIL]
        for found in (
            case(rule, CONTROL, {"this": reply(400), "that": reply(422)}, is_=PASS, says="each is a 4xx"),
            case(rule, CONTROL, {"this": rejected_event(400, code="x")}, is_=PASS, says="each is a 4xx"),
            case(rule, CONTROL, {"this": whole_run()}, is_=bad, says=f"{what} was accepted", at=0),
            case(rule, CONTROL, {"this": run(error(0, code=400))}, is_=bad, says="was accepted", at=0),
            case(rule, CONTROL, {"this": run(token(0), status=400)}, is_=bad, says="with run events", at=0),
            case(rule, CONTROL, {"this": reply(500)}, is_=bad, says=f"{what} got status 500"),
            case(rule, CONTROL, {"this": reply(302)}, is_=bad, says="not a 4xx"),
            case(rule, CONTROL, {"this": reply(200)}, is_=bad, says="status 200 with no event"),
            case(
                rule, CONTROL, {"a": reply(400), "this": no_answer()}, is_=bad, says=f"{what} got no response"
            ),
            case(rule, reply(400), {"this": reply(400)}, is_=INCONCLUSIVE, says="not accepted either"),
            case(rule, CONTROL, {}, is_=INCONCLUSIVE, says="nothing was tested"),
        )
    ),
    case(
        input.required_named,
        CONTROL,
        {"sessionId": reply(400, {"detail": "sessionId is missing"}), "b": reply(500)},
        is_=PASS,
        says="each rejection names the missing field",
    ),
    case(
        input.required_named,
        CONTROL,
        {"workflowAction.toolId": reply(422, {"loc": ["workflowAction", "toolId"]})},
        is_=PASS,
        says="each rejection",
    ),
    case(
        input.required_named,
        CONTROL,
        {"sessionId": reply(400)},
        is_=WARN,
        says="does not name the missing field sessionId",
    ),
    case(
        input.required_named,
        CONTROL,
        {"sessionId": whole_run()},
        is_=INCONCLUSIVE,
        says="no request with a missing field was rejected",
    ),
    case(input.required_named, reply(400), {}, is_=INCONCLUSIVE, says="not accepted either"),
    case(
        input.hostile,
        CONTROL,
        {"deep nesting": reply(400), "a NUL": whole_run(), "an empty 200": reply(200)},
        is_=PASS,
        says="3 hostile bodies: no 5xx, no hang",
    ),
    case(
        input.hostile,
        CONTROL,
        {"a NUL": reply(500), "NaN": reply(502)},
        is_=FAIL,
        says="a NUL caused status 500; NaN caused status 502",
    ),
    case(input.hostile, CONTROL, {"a NUL": no_answer()}, is_=FAIL, says="a NUL got no response (no event"),
    case(
        input.hostile,
        CONTROL,
        {"a NUL": run(token(0), ending=Ending.TIMED_OUT, detail="silent for 30 s")},
        is_=FAIL,
        says="a NUL got status 200 with 1 event, silent for 30 s",
    ),
    case(
        input.hostile,
        CONTROL,
        {"a NUL": no_answer(Ending.TRUNCATED, "the server closed the connection before a response")},
        is_=FAIL,
        says="closed the connection before a response",
    ),
    case(
        input.hostile,
        run(token(0), done(1), at=(8_000, 8_010)),
        {"a NUL": no_answer(ended_ms=10_000)},
        is_=INCONCLUSIVE,
        says="the server was slow for others too: one waited 8.0 s",
    ),
    case(input.hostile, reply(500), {"a NUL": reply(400)}, is_=INCONCLUSIVE, says="not accepted either"),
    case(input.hostile, CONTROL, {}, is_=INCONCLUSIVE, says="nothing was tested"),
    case(input.media_type, CONTROL, reply(415), is_=PASS, says="text/plain got 415"),
    case(input.media_type, CONTROL, reply(400), is_=PASS, says="text/plain got 400"),
    case(
        input.media_type,
        CONTROL,
        reply(422),
        is_=WARN,
        says="status 422 with no event, complete, not 415 or 400",
    ),
    case(input.media_type, CONTROL, reply(422, profile=library.load("agno")), is_=PASS, says="got 422"),
    case(input.media_type, CONTROL, whole_run(), is_=WARN, says="got status 200 with 4 events"),
    case(input.media_type, reply(415), reply(415), is_=INCONCLUSIVE, says="not accepted either"),
    case(input.too_large, CONTROL, reply(413, request=LARGE), is_=PASS, says="a body of 24 MB got 413"),
    case(input.too_large, CONTROL, whole_run(request=LARGE), is_=WARN, says="a body of 24 MB got status 200"),
    case(
        input.too_large,
        CONTROL,
        no_answer(Ending.REFUSED, "Broken pipe", request=LARGE),
        is_=WARN,
        says="got no response (Broken pipe), not 413 or 400",
    ),
    case(input.too_large, reply(500), reply(413), is_=INCONCLUSIVE, says="not accepted either"),
    case(
        input.error_shape,
        [whole_run(), reply(400, PROBLEM), reply(401, {**PROBLEM, "code": "x"}), rejected_event(409)],
        is_=PASS,
        says="2 rejections have the same shape: RFC 9457 problem details",
    ),
    case(
        input.error_shape,
        [whole_run(), reply(400, {"error": "a"}), reply(404, {"error": {"code": 1}})],
        is_=PASS,
        says="fields error",
    ),
    case(
        input.error_shape, [reply(401), reply(401)], is_=INCONCLUSIVE, says="valid requests were rejected too"
    ),
    case(
        input.error_shape,
        [reply(400, PROBLEM), reply(401, {"error": "no"}), reply(404, b"Not Found"), reply(413, [1])],
        is_=WARN,
        says="400: RFC 9457 problem details; 401: fields error; 404: not JSON; 413: not a JSON object",
    ),
    case(input.error_shape, [reply(400), reply(401, b"[" * 100_000)], is_=WARN, says="401: not JSON"),
    case(input.error_shape, [whole_run(), reply(400)], is_=INCONCLUSIVE, says="fewer than two rejections"),
]


@all_cases("example", CASES, ids=str)
def test_verdict(example: Case) -> None:
    check(example)
