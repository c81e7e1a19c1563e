from __future__ import annotations

import json

from harness.contract.exchange import Ending
from harness.contract.rules import auth
from tests.cases import all_cases
from tests.contract.exchanges import (
    another_run,
    cut_run,
    empty_stream,
    error,
    no_answer,
    rejected_event,
    reply,
    run,
    token,
    whole_run,
)
from tests.contract.rules.case import FAIL, INCONCLUSIVE, PASS, WARN, Case, case, check

CONTROL = whole_run()
UNUSED = another_run()  # the refused request's key was free for this
CLASH = reply(409, {"code": "conflict"})
AS_EVENT = run(error(0, code=409))
MENTIONS_409 = run(error(0, code="calendar_409", message="409 Conflict", runId="run-409"))
FAILS_SO = run(error(0, code=409, runId="r-1"))  # the action's own failure
REFUSING = [(auth.missing, "a request without a token"), (auth.bad, "a garbage token")]
FOREIGN = "a foreign organizationId"


def unauthorized(**fields: object) -> object:
    return reply(401, {"title": "Unauthorized", **fields})


CASES: list[Case] = [
    *(
        found
        for rule, what in [*REFUSING, (auth.org_mismatch, FOREIGN)]
        for found in (
            case(rule, CONTROL, reply(401), UNUSED, is_=PASS, says=f"{what} got 401"),
            case(rule, CONTROL, run(error(0), status=401), UNUSED, is_=PASS, says=f"{what} got 401"),
            case(rule, CONTROL, whole_run(), UNUSED, is_=FAIL, says=f"{what} was accepted", at=0),
            case(rule, CONTROL, run(error(0, status=401)), UNUSED, is_=FAIL, says="was accepted", at=0),
            case(
                rule, CONTROL, run(token(0), status=401), UNUSED, is_=FAIL, says="but with run events", at=0
            ),
            case(
                rule,
                CONTROL,
                reply(401),
                CLASH,
                is_=FAIL,
                says=f"{what} started a run: its key is already taken",
            ),
            case(rule, CONTROL, reply(401), AS_EVENT, is_=FAIL, says="its key is already taken"),
            # A failed run is not a conflict.
            case(rule, CONTROL, reply(401), MENTIONS_409, is_=PASS, says=f"{what} got 401"),
            case(rule, FAILS_SO, reply(401), AS_EVENT, is_=INCONCLUSIVE, says="fails with the code 409"),
            case(rule, FAILS_SO, reply(401), CLASH, is_=FAIL, says="its key is already taken"),
            case(rule, CONTROL, reply(500), UNUSED, is_=FAIL, says=f"{what} got status 500"),
            case(rule, CONTROL, reply(200), UNUSED, is_=FAIL, says=f"{what} got status 200 with no event"),
            case(rule, CONTROL, no_answer(), UNUSED, is_=FAIL, says=f"{what} got no response"),
            case(rule, reply(401), reply(401), UNUSED, is_=INCONCLUSIVE, says="was not accepted either"),
        )
    ),
    case(auth.missing, CONTROL, reply(403), UNUSED, is_=FAIL, says="not 401"),
    case(auth.bad, CONTROL, reply(403), UNUSED, is_=PASS, says="got 403"),
    case(auth.org_mismatch, CONTROL, reply(404), UNUSED, is_=PASS, says="got 404"),
    case(auth.org_mismatch, CONTROL, reply(400), UNUSED, is_=FAIL, says="not 401, 403, 404"),
    case(
        auth.challenge,
        CONTROL,
        reply(401, headers={"www-authenticate": "Bearer"}),
        is_=PASS,
        says="WWW-Authenticate: Bearer",
    ),
    case(auth.challenge, CONTROL, reply(401), is_=WARN, says="carries no WWW-Authenticate"),
    case(auth.challenge, CONTROL, reply(403), is_=INCONCLUSIVE, says="no 401 to check"),
    case(auth.challenge, reply(401), reply(401), is_=INCONCLUSIVE, says="was not accepted either"),
    case(
        auth.before_key,
        CONTROL,
        unauthorized(trace="a"),
        unauthorized(trace="b"),
        unauthorized(trace="c"),
        unauthorized(trace="d"),
        is_=PASS,
        says="known and unknown keys both get 401",
    ),
    case(
        auth.before_key,
        CONTROL,
        reply(409),
        unauthorized(),
        unauthorized(),
        unauthorized(),
        is_=FAIL,
        says="a known key gets a different response than an unknown one: status is '409' instead of '401'",
    ),
    case(
        auth.before_key,
        CONTROL,
        unauthorized(),
        unauthorized(why={"code": "clash"}),
        unauthorized(),
        unauthorized(),
        is_=FAIL,
        says="a different body gets a different response than an unknown one: body.why.code is 'clash'",
    ),
    case(
        auth.before_key,
        CONTROL,
        unauthorized(list=[1, 2]),
        unauthorized(list=[1, 2]),
        unauthorized(list=[1, 3]),
        unauthorized(list=[1, 3]),
        is_=FAIL,
        says="body.list[1] is '2' instead of '3'",
    ),
    case(
        auth.before_key,
        CONTROL,
        *[reply(401, b"[" * 100_000)] * 4,
        is_=PASS,
        says="both get 401",
    ),
    *(
        case(auth.before_key, CONTROL, *answers, is_=INCONCLUSIVE, says="no whole response to compare")
        for number in range(4)
        for other in (no_answer(), reply(429), reply(401, ending=Ending.TRUNCATED))
        if (answers := [other if place == number else unauthorized() for place in range(4)])
    ),
    case(auth.before_key, CONTROL, *[whole_run()] * 4, is_=INCONCLUSIVE, says="are accepted"),
    case(auth.before_key, reply(401), *[reply(401)] * 4, is_=INCONCLUSIVE, says="not accepted either"),
    case(auth.org_before_conflict, CONTROL, reply(403), is_=PASS, says="got 403"),
    case(auth.org_before_conflict, CONTROL, CLASH, is_=FAIL, says="with a known key got a conflict"),
    case(auth.org_before_conflict, CONTROL, run(error(0, code=409)), is_=FAIL, says="got a conflict"),
    case(auth.org_before_conflict, CONTROL, rejected_event(403, code="org"), is_=PASS, says="got 403"),
    case(auth.org_before_conflict, CONTROL, whole_run(), is_=FAIL, says="was accepted", at=0),
    case(auth.org_before_conflict, reply(500), reply(403), is_=INCONCLUSIVE, says="not accepted either"),
    case(auth.key_scope, whole_run(), another_run(), is_=PASS, says="is two runs"),
    case(auth.key_scope, whole_run(), whole_run(), is_=FAIL, says="returns the first one's run"),
    case(auth.key_scope, whole_run(), run(error(0)), is_=PASS, says="is two runs"),
    case(auth.key_scope, whole_run(), AS_EVENT, is_=FAIL, says="which reveals that the key exists"),
    case(auth.key_scope, whole_run(), MENTIONS_409, is_=PASS, says="is two runs"),
    case(auth.key_scope, FAILS_SO, run(error(0, code=409, runId="r-2")), is_=PASS, says="is two runs"),
    case(auth.key_scope, cut_run(3), cut_run(3), is_=FAIL, says="returns the first one's run"),
    # A server whose ids start anew with each run: the runIds tell.
    case(auth.key_scope, whole_run(), whole_run(run_id="run-2"), is_=PASS, says="is two runs"),
    case(auth.key_scope, whole_run(), CLASH, is_=FAIL, says="which reveals that the key exists"),
    case(auth.key_scope, whole_run(), reply(401), is_=INCONCLUSIVE, says="second principal's request"),
    case(auth.key_scope, reply(401), whole_run(), is_=INCONCLUSIVE, says="was not accepted either"),
    *(
        case(auth.query_token, CONTROL, reply(status), is_=PASS, says=f"got {status}")
        for status in (400, 401, 403, 404)
    ),
    case(auth.query_token, CONTROL, whole_run(), is_=WARN, says="in the query string was accepted", at=0),
    case(auth.query_token, CONTROL, reply(302), is_=WARN, says="got status 302"),
    case(auth.query_token, empty_stream(), reply(401), is_=INCONCLUSIVE, says="not accepted either"),
]


@all_cases("example", CASES, ids=str)
def test_verdict(example: Case) -> None:
    check(example)


def test_what_differs_from_one_unknown_key_to_the_next_tells_nothing() -> None:
    def answer(number: int) -> object:
        return reply(401, json.dumps({"at": number, "ids": [number], "title": "no"}).encode())

    assert auth.before_key(CONTROL, *(answer(number) for number in range(4))).verdict is PASS
