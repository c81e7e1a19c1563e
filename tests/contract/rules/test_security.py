from __future__ import annotations

from harness.contract.rules import security
from tests.cases import all_cases
from tests.contract.exchanges import asking, chunk, head, no_answer, reply, run, scripted, token, whole_run
from tests.contract.rules.case import FAIL, INCONCLUSIVE, PASS, WARN, Case, case, check

TOKENS = ("token-1", "garbage-2")
FOREIGN = asking(Origin="https://elsewhere.example")
SPLIT = head(401, {"Transfer-Encoding": "chunked"}) + chunk(b"gar") + chunk(b"bage-2") + b"0\r\n\r\n"


def cors(origin: str | None, credentials: str | None) -> object:
    headers = {"Access-Control-Allow-Origin": origin, "Access-Control-Allow-Credentials": credentials}
    return whole_run(headers=headers, request=FOREIGN)


KEPT_OUT = [reply(403, request=FOREIGN), reply(403, request=FOREIGN)]

CASES: list[Case] = [
    case(
        security.no_secrets,
        [whole_run(), reply(401), no_answer()],
        TOKENS,
        is_=PASS,
        says="no token in 2 responses",
    ),
    case(
        security.no_secrets,
        [whole_run(), reply(401, {"detail": "bad token garbage-2"}, label="a request with a garbage token")],
        TOKENS,
        is_=FAIL,
        says="the response to a request with a garbage token echoes the bearer token",
    ),
    case(security.no_secrets, [run(token(0, "a token-1 b"))], TOKENS, is_=FAIL, says="echoes"),
    case(security.no_secrets, [reply(401, headers={"X-T": "token-1"})], TOKENS, is_=FAIL, says="echoes"),
    case(security.no_secrets, [scripted((0, SPLIT[:70]), (1, SPLIT[70:]))], TOKENS, is_=FAIL, says="echoes"),
    # A short token is found by chance: each token event has the word "token".
    case(
        security.no_secrets, [whole_run()], ("token", "garbage-2"), is_=PASS, says="too short to search for"
    ),
    case(security.no_secrets, [whole_run()], ("token",), is_=INCONCLUSIVE, says="too short to search for"),
    case(security.no_secrets, [no_answer()], TOKENS, is_=INCONCLUSIVE, says="no response to search"),
    case(security.cors, [cors(None, None)], is_=PASS, says="no wildcard"),
    case(security.cors, [cors("*", None)], is_=PASS, says="no wildcard"),
    case(security.cors, [cors("https://ours.example", "true")], is_=PASS, says="no wildcard"),
    case(security.cors, [cors("*", "true")], is_=FAIL, says="any origin (*)"),
    case(
        security.cors,
        [cors(None, None), cors("https://elsewhere.example", "TRUE")],
        is_=FAIL,
        says="every origin (it echoes https://elsewhere.example)",
    ),
    case(security.cors, [reply(401, request=FOREIGN), no_answer()], is_=INCONCLUSIVE, says="was accepted"),
    # A server that lets no foreign page in at all.
    case(security.cors, KEPT_OUT, whole_run(), is_=PASS, says="a foreign Origin get 403"),
    case(security.cors, KEPT_OUT, is_=INCONCLUSIVE, says="was accepted"),
    case(security.cors, KEPT_OUT, reply(403), is_=INCONCLUSIVE, says="was accepted"),
    case(security.cors, [*KEPT_OUT, reply(500)], whole_run(), is_=INCONCLUSIVE, says="was accepted"),
    case(
        security.cors,
        [
            reply(
                403,
                None,
                {"Access-Control-Allow-Origin": "*", "Access-Control-Allow-Credentials": "true"},
                request=FOREIGN,
            )
        ],
        whole_run(),
        is_=FAIL,
        says="any origin (*)",
    ),
    case(
        security.nosniff,
        [whole_run(), reply(401), no_answer()],
        is_=PASS,
        says="2 responses, errors included",
    ),
    case(
        security.nosniff,
        [whole_run(), reply(401, headers={"X-Content-Type-Options": None}, label="a refused request")],
        is_=WARN,
        says="the response to a refused request lacks",
    ),
    case(
        security.nosniff,
        [whole_run(headers={"X-Content-Type-Options": "sniff"})],
        is_=WARN,
        says="lacks X-Content-Type-Options: nosniff",
    ),
    case(security.nosniff, [reply(401)], is_=INCONCLUSIVE, says="no request was accepted"),
]


@all_cases("example", CASES, ids=str)
def test_verdict(example: Case) -> None:
    check(example)
