from __future__ import annotations

import json
from dataclasses import replace

from harness.contract.exchange import Ending, Exchange
from harness.contract.rules import key
from harness.profiles import library
from tests.cases import all_cases
from tests.contract.exchanges import (
    EPOCH_MS,
    another_run,
    asking,
    cut_run,
    done,
    empty_stream,
    error,
    frame,
    no_answer,
    reply,
    run,
    token,
    whole_run,
)
from tests.contract.rules.case import FAIL, INCONCLUSIVE, INFO, PASS, WARN, Case, case, check

CONTROL = (whole_run(), whole_run())
RUN = whole_run()
INJECTION = "<script>alert(1)</script>"
INJECTING = asking(Idempotency_Key=INJECTION)
NO_IDS = [frame({"type": "token", "content": "a"})]

FAILED = run(error(0))
#: Two runs of an action that fails at once.
FAILED_IN_THE_SAME_MS = [run(error(0, base_ms=EPOCH_MS + 7)), run(error(0, base_ms=EPOCH_MS + 7))]


def of(text: str, number: int) -> Exchange:
    """The run number `number`, as the response to the key `text`."""
    request = asking(Idempotency_Key=text)
    return whole_run(run_id=f"run-{number}0", base_ms=EPOCH_MS + 1000 * number, request=request)


WITHOUT_RUN_ID = library.load("resumable-stream")
ONE, OTHER = (f"marker-{letter * 16}" for letter in "ab")


def echoing(key: str, asked: str, answered: str) -> Exchange:
    """A run without a runId, with the ids of all others, whose text is what a request was asked to echo."""
    request = replace(asking(Idempotency_Key=key), body=json.dumps({"message": asked}).encode())
    frames = [
        frame({"type": "token", "content": piece}, str(n))
        for n, piece in enumerate((answered[:9], answered[9:]))
    ]
    return run(*frames, frame({"type": "done"}, "2"), request=request, profile=WITHOUT_RUN_ID)


PLAIN = echoing("plain", "hello", "hello")

UUID = "a9b0d83f-566d-4f3a-b0c3-39f0e4b4f85d"
OTHER_UUID = f"{UUID[:-1]}e"
TWO_UUIDS = [of(OTHER_UUID, 1), of(f"{UUID[:-1]}f", 2)]
ONE_UUID = [
    of(text, 3) for text in (UUID, UUID.replace("-", ""), f"{{{UUID}}}", f"urn:uuid:{UUID}", UUID.upper())
]
KEY_A = asking(Idempotency_Key="A")
HUNG = empty_stream(
    ending=Ending.TIMED_OUT, detail="no event within 20 s", ended_ms=20_000, request=INJECTING
)


def slow_run(first_ms: float) -> Exchange:
    """A run whose first event comes late."""
    return run(token(0), done(1), at=(first_ms, first_ms + 10))


CASES: list[Case] = [
    case(key.none_independent, whole_run(), another_run(), is_=PASS, says="are two runs"),
    case(key.none_independent, whole_run(), whole_run(), is_=FAIL, says="got the same run"),
    # A server whose ids start anew with each run: the runIds tell.
    case(key.none_independent, whole_run(), whole_run(run_id="run-2"), is_=PASS, says="are two runs"),
    case(
        key.none_independent,
        run(token(0), frame({"type": "cancelled"}, "1-0")),
        run(token(0), frame({"type": "cancelled"}, "1-0")),
        is_=FAIL,
        says="got the same run",
    ),
    case(key.none_independent, whole_run(), cut_run(1), is_=INCONCLUSIVE, says="did not reach a terminal"),
    case(
        key.distinct,
        CONTROL,
        {"letter case": [of("A", 1), of("a", 2), of("Aa", 3)], "accents": [reply(400), reply(422)]},
        is_=PASS,
        says="two runs that differ only in letter case; not compared, as the server rejects such keys: accents",
    ),
    case(
        key.distinct,
        CONTROL,
        {"accents": [of("e", 1), of("f", 2)], "letter case": [of("A", 3), of("a", 3)]},
        is_=FAIL,
        says="keys that differ only in letter case: the key 'a' returned the run of the key 'A'",
    ),
    case(
        key.distinct,
        CONTROL,
        {"letter case": [of("A", 1), of("a", 1)], "white space": [of("b", 2), of("c", 3), of("d", 3)]},
        is_=FAIL,
        says="keys that differ only in letter case, white space",
    ),
    *(
        case(
            key.distinct,
            CONTROL,
            {"letter case": [of("A", 1), answer]},
            is_=FAIL,
            says="the key 'a' is new, but got status",
        )
        for answer in (
            reply(409, request=asking(Idempotency_Key="a")),
            run(error(0, code=409), request=asking(Idempotency_Key="a")),
        )
    ),
    # The server cuts the key, so that even keys of different pairs are one.
    case(
        key.distinct,
        CONTROL,
        {"letter case": [of("A", 1), of("a", 2)], "accents": [of("e", 3), of("f", 2)]},
        is_=FAIL,
        says="the key 'f' returned the run of the key 'a'",
    ),
    case(
        key.distinct,
        CONTROL,
        {"letter case": [of("A", 1), whole_run(request=asking(Idempotency_Key="a"))]},
        is_=FAIL,
        says="the key 'a' returned the run of the key 'key-1'",
    ),
    *(
        case(key.distinct, control, {"accents": responses}, is_=INCONCLUSIVE, says=says)
        for control, responses, says in (
            (CONTROL, FAILED_IN_THE_SAME_MS, "ended with error without a runId"),
            (CONTROL, [of("a", 1), reply(400)], "no pair of keys was accepted"),
            (CONTROL, [reply(400), of("a", 1)], "no pair of keys was accepted"),
            (CONTROL, [of("a", 1), reply(503)], "did not reach a terminal event: status 503"),
            (CONTROL, [of("a", 1), reply(429)], "did not reach a terminal event: status 429"),
            (CONTROL, [], "no pair of keys"),
            ((whole_run(), another_run()), [of("a", 1), of("b", 1)], "see resume.replay"),
            ((FAILED, FAILED), [FAILED, FAILED], "without a runId"),
        )
    ),
    # A flawed replay of the same run is enough to see that keys have an effect.
    case(
        key.distinct,
        (whole_run(), run(token(0), done(3))),
        {"accents": [of("a", 1), of("b", 1)]},
        is_=FAIL,
        says="returned the run of",
    ),
    # A server that accepts only UUIDs reads them: the ways to write one are one key. No other two keys are.
    case(
        key.distinct,
        CONTROL,
        {"the last character": TWO_UUIDS, "letter case": [reply(400, request=KEY_A)], "UUID": ONE_UUID},
        is_=PASS,
        says="differ only in the last character; not compared, as the server rejects such keys: letter case; not "
        "compared, as the server accepts only UUIDs: UUID",
    ),
    *(
        case(key.distinct, CONTROL, {"case": [other], "UUID": ONE_UUID}, is_=FAIL, says="UUID: the key")
        for other in (of("A", 1), reply(429, request=KEY_A), no_answer(request=KEY_A))
    ),
    case(
        key.distinct,
        CONTROL,
        {
            "UUID": ONE_UUID,
            "letter case": [reply(400, request=KEY_A), reply(409, request=asking(Idempotency_Key="a"))],
        },
        is_=FAIL,
        says="differ only in UUID, letter case",
    ),
    case(key.distinct, CONTROL, {"UUID": ONE_UUID}, is_=FAIL, says="keys that differ only in UUID"),
    case(
        key.distinct,
        CONTROL,
        {"the last character": [of(UUID, 1), of(OTHER_UUID, 1)], "letter case": [reply(400, request=KEY_A)]},
        is_=FAIL,
        says="differ only in the last character",
    ),
    case(
        key.distinct,
        CONTROL,
        {"letter case": [reply(500, request=KEY_A)], "UUID": ONE_UUID},
        is_=INCONCLUSIVE,
        says="status 500",
    ),
    # Without runIds, equal ids say nothing, and what a run echoes tells whose it is.
    *(
        case(key.distinct, (PLAIN, PLAIN), {"letter case": responses}, is_=verdict, says=says)
        for responses, verdict, says in (
            ([echoing("A", ONE, ONE), echoing("a", OTHER, OTHER)], PASS, "differ only in letter case"),
            (
                [echoing("A", ONE, ONE), echoing("a", OTHER, ONE)],
                FAIL,
                "the key 'a' returned the run of the key 'A': it has the text of that request",
            ),
            ([echoing("A", ONE, "hello"), echoing("a", OTHER, "hello")], INCONCLUSIVE, "look the same"),
            ([echoing("A", "hello", "hello"), echoing("a", "hello", "hello")], INCONCLUSIVE, "look the same"),
        )
    ),
    case(key.quotes, CONTROL, [of('"a"', 1), of("a", 2)], is_=PASS, says="differ only in quotes"),
    case(key.quotes, CONTROL, [of('"a"', 1), of("a", 1)], is_=WARN, says="differ only in quotes"),
    case(key.quotes, CONTROL, [reply(400), of("a", 1)], is_=INCONCLUSIVE, says="no pair of keys"),
    case(
        key.opaque,
        CONTROL,
        {"a UUID": CONTROL, "a plain token": (another_run(), another_run())},
        is_=PASS,
        says="each works as a key: a UUID, a plain token",
    ),
    case(key.opaque, CONTROL, {"a UUID": (reply(400), reply(400))}, is_=WARN, says="not accepted as a key"),
    case(key.opaque, CONTROL, {"a UUID": (whole_run(), another_run())}, is_=WARN, says="the retry differs"),
    case(
        key.opaque,
        (whole_run(), another_run()),
        {"a UUID": CONTROL},
        is_=INCONCLUSIVE,
        says="see resume.replay",
    ),
    case(key.opaque, CONTROL, {}, is_=INCONCLUSIVE, says="nothing was tested"),
    case(key.bad, RUN, {"an empty text": reply(400)}, is_=PASS, says="each got 400: an empty text"),
    case(key.bad, RUN, {"a": reply(400), "b": whole_run()}, is_=WARN, says="b as key got status 200"),
    case(key.bad, reply(500), {"a": reply(400)}, is_=INCONCLUSIVE, says="not accepted either"),
    case(key.bad, RUN, {}, is_=INCONCLUSIVE, says="nothing was tested"),
    case(
        key.inert,
        RUN,
        {"markup": whole_run(request=INJECTING), "again": reply(400, request=INJECTING)},
        is_=PASS,
        says="2 injections had no effect",
    ),
    case(
        key.inert,
        RUN,
        {"markup": reply(400, {"detail": f"bad key {INJECTION}"}, request=INJECTING)},
        is_=FAIL,
        says=f"the key {INJECTION!r} is echoed raw",
    ),
    case(
        key.inert,
        RUN,
        {"markup": reply(400, headers={"X-Key": INJECTION}, request=INJECTING)},
        is_=FAIL,
        says="is echoed raw",
    ),
    case(key.inert, RUN, {"markup": reply(500, request=INJECTING)}, is_=FAIL, says="broke the server"),
    case(key.inert, RUN, {"markup": no_answer(request=INJECTING)}, is_=FAIL, says="broke the server"),
    case(
        key.inert,
        RUN,
        {"markup": run(token(0), ending=Ending.TIMED_OUT, detail="silent for 30 s", request=INJECTING)},
        is_=FAIL,
        says="silent for 30 s",
    ),
    case(
        key.inert,
        RUN,
        {"CRLF": whole_run(headers={"X-Injected": "yes"}, request=asking(Idempotency_Key="a%0d%0ab"))},
        is_=FAIL,
        says="injected a header",
    ),
    # A server that is slow for all keys at that moment.
    *(
        case(key.inert, RUN, {"markup": HUNG, "path": other}, is_=verdict, says=says)
        for other, verdict, says in (
            (slow_run(12_000), INCONCLUSIVE, "slow for others too: one waited 12.0 s"),
            (slow_run(2_000), FAIL, "broke the server: status 200 with no event"),
            (HUNG, FAIL, "broke the server"),
        )
    ),
    *(
        case(
            key.opaque,
            CONTROL,
            {"a UUID": (other, other), "a token": (HUNG, HUNG)},
            is_=verdict,
            says=says,
        )
        for other, verdict, says in (
            (slow_run(12_000), INCONCLUSIVE, "slow for others too"),
            (RUN, WARN, "a token is not accepted as a key"),
        )
    ),
    case(key.inert, slow_run(12_000), {"markup": HUNG}, is_=INCONCLUSIVE, says="slow for others too"),
    case(key.inert, reply(500), {"markup": RUN}, is_=INCONCLUSIVE, says="not accepted either"),
    case(key.inert, RUN, {}, is_=INCONCLUSIVE, says="nothing was tested"),
    case(key.other_route, RUN, reply(409), is_=INFO, says="is the same key: a conflict"),
    case(key.other_route, RUN, run(error(0, code=409)), is_=INFO, says="is the same key: a conflict"),
    case(key.other_route, RUN, run(error(0, message="409")), is_=INFO, says="is a different key"),
    case(key.other_route, RUN, whole_run(), is_=INFO, says="is the same key"),
    case(key.other_route, RUN, another_run(), is_=INFO, says="is a different key"),
    case(key.other_route, RUN, reply(404), is_=INCONCLUSIVE, says="did not accept"),
    case(key.other_route, cut_run(1), another_run(), is_=INCONCLUSIVE, says="did not reach a terminal"),
    case(
        key.body_canonical,
        RUN,
        whole_run(),
        reply(409),
        is_=INFO,
        says="a different key order makes the same body; different whitespace makes a different body",
    ),
    case(
        key.body_canonical,
        RUN,
        reply(500),
        whole_run(),
        is_=INCONCLUSIVE,
        says="neither resumed nor a conflict: status 500",
    ),
    case(
        key.body_canonical, RUN, RUN, another_run(), is_=INCONCLUSIVE, says="neither resumed nor a conflict"
    ),
    case(key.body_canonical, run(token(0)), RUN, RUN, is_=INCONCLUSIVE, says="did not reach a terminal"),
]


@all_cases("example", CASES, ids=str)
def test_verdict(example: Case) -> None:
    check(example)


def test_runs_without_ids_differ_by_run_id() -> None:
    def without_ids(run_id: str) -> object:
        return run(*NO_IDS, frame({"type": "done", "runId": run_id}))

    assert key.none_independent(without_ids("a"), without_ids("b")).verdict is PASS
    assert key.none_independent(without_ids("a"), without_ids("a")).verdict is FAIL
    assert done(0)  # an event with an id is what the documentation shows
