from __future__ import annotations

from harness.contract.exchange import Exchange
from harness.contract.rules import run_id
from harness.profiles import library
from tests.cases import all_cases
from tests.contract.exchanges import (
    BODY,
    EPOCH_MS,
    POST,
    another_run,
    cancelled,
    cut_run,
    done,
    error,
    frame,
    reply,
    run,
    token,
    whole_run,
)
from tests.contract.rules.case import FAIL, INCONCLUSIVE, INFO, PASS, WARN, Case, case, check

CONTROL = (another_run(), another_run())
NO_RESUME = (another_run(), whole_run())


def asked(run_id: str | None) -> object:
    return POST.with_json({**BODY, "runId": run_id})


def connection(run_id: str, **options: object) -> Exchange:
    return whole_run(run_id=run_id, **options)


OLD = whole_run(run_id="mine")
NEW = whole_run(run_id="mine", base_ms=EPOCH_MS + 500)

CHAT = library.load("openai-chat")


def chunks(*ids: object, end: bool = True) -> Exchange:
    """A run of OpenAI's chunks with these ids."""
    choice = {"delta": {"content": "a"}, "finish_reason": None}
    pieces = [frame({"id": one, "object": "chat.completion.chunk", "choices": [choice]}) for one in ids]
    over = frame({"object": "chat.completion.chunk", "choices": [{"finish_reason": "stop"}]})
    return run(*pieces, *([over, frame("[DONE]")] if end else []), profile=CHAT)


CASES: list[Case] = [
    case(run_id.single, chunks("c", "c", "c"), is_=PASS, says="one run id"),
    case(run_id.single, chunks("c", None, "c"), is_=PASS, says="one run id"),
    case(
        run_id.single,
        chunks("c", "c", "d"),
        is_=FAIL,
        says="event 3 has the run id 'd', an earlier one 'c'",
        at=2,
    ),
    case(run_id.single, chunks("c", "d", end=False), is_=FAIL, says="event 2 has the run id 'd'", at=1),
    case(run_id.single, chunks(None, None), is_=INCONCLUSIVE, says="no event has a run id"),
    case(
        run_id.single,
        run(frame({"error": {"message": "no"}}), profile=CHAT),
        is_=PASS,
        says="the run failed before it had an id",
    ),
    case(run_id.single, reply(503, profile=CHAT), is_=INCONCLUSIVE, says="no event has a run id: status 503"),
    case(
        run_id.echoed,
        [connection("mine", request=asked("mine")), connection("ours", request=asked("ours"))],
        is_=PASS,
        says="the terminal event's runId is the client's",
    ),
    case(run_id.echoed, [run(cancelled(0, "mine"), request=asked("mine"))], is_=PASS, says="is the client's"),
    case(
        run_id.echoed,
        [connection("mine", request=asked("mine")), connection("theirs", request=asked("mine"))],
        is_=FAIL,
        says="the client's runId 'mine' came back as 'theirs'",
        at=3,
    ),
    case(run_id.echoed, [run(error(0), request=asked("mine"))], is_=FAIL, says="came back as ''", at=0),
    case(run_id.echoed, [cut_run(1, request=asked("mine"))], is_=INCONCLUSIVE, says="did not reach a"),
    case(run_id.echoed, [], is_=INCONCLUSIVE, says="nothing was tested"),
    case(run_id.constant, [connection("r"), connection("r"), cut_run(2)], is_=PASS, says="3 connections"),
    case(
        run_id.constant,
        [connection("r"), connection("q")],
        is_=FAIL,
        says="different runIds: 'r', 'q'",
        at=3,
    ),
    case(run_id.constant, [whole_run(), another_run()], is_=INCONCLUSIVE, says="no event in common"),
    case(
        run_id.constant,
        [whole_run(), cut_run(2)],
        is_=INCONCLUSIVE,
        says="fewer than two connections have a runId",
    ),
    case(run_id.constant, [whole_run(), reply(500)], is_=INCONCLUSIVE, says="no event in common"),
    case(run_id.key_wins, CONTROL, OLD, NEW, reply(409), is_=PASS, says="is a conflict"),
    case(run_id.key_wins, CONTROL, OLD, NEW, OLD, is_=PASS, says="is resumed"),
    case(run_id.key_wins, CONTROL, OLD, NEW, run(error(0, code=409)), is_=PASS, says="is a conflict"),
    case(run_id.key_wins, CONTROL, OLD, NEW, reply(400), is_=PASS, says="is a conflict"),
    case(run_id.key_wins, CONTROL, OLD, OLD, reply(409), is_=FAIL, says="got the old run"),
    case(run_id.key_wins, CONTROL, OLD, reply(409), OLD, is_=FAIL, says="is not a new run: status 409"),
    case(run_id.key_wins, CONTROL, OLD, run(error(0, code=409)), OLD, is_=FAIL, says="is not a new run"),
    case(run_id.key_wins, CONTROL, OLD, run(error(0, message="409")), OLD, is_=PASS, says="is resumed"),
    case(
        run_id.key_wins, CONTROL, OLD, NEW, run(error(0, message="409")), is_=FAIL, says="neither resumed nor"
    ),
    case(
        run_id.key_wins,
        CONTROL,
        OLD,
        NEW,
        whole_run(run_id="new", base_ms=EPOCH_MS + 900),
        is_=FAIL,
        says="an old key with a new runId is neither resumed nor rejected with 409",
    ),
    case(run_id.key_wins, CONTROL, OLD, NEW, reply(500), is_=FAIL, says="neither resumed nor rejected"),
    # A server whose ids start anew with each run: both runs bear the client's runId, so nothing tells.
    case(
        run_id.key_wins,
        (OLD, OLD),
        OLD,
        OLD,
        reply(409),
        is_=INCONCLUSIVE,
        says="same ids and data on this target",
    ),
    case(run_id.key_wins, NO_RESUME, OLD, NEW, OLD, is_=INCONCLUSIVE, says="see resume.replay"),
    case(run_id.key_wins, CONTROL, cut_run(1), NEW, OLD, is_=INCONCLUSIVE, says="did not reach a"),
    case(
        run_id.without_key, whole_run(), whole_run(), is_=INFO, says="a runId without a key resumes its run"
    ),
    case(
        run_id.without_key,
        whole_run(),
        another_run(),
        is_=INFO,
        says="does not resume: the second request got",
    ),
    case(
        run_id.without_key,
        whole_run(),
        reply(409),
        is_=INFO,
        says="does not resume: the second request got sta",
    ),
    case(run_id.without_key, cut_run(1), whole_run(), is_=INCONCLUSIVE, says="did not reach a terminal"),
    case(run_id.resumes, CONTROL, whole_run(), whole_run(), is_=PASS, says="resume the run"),
    case(run_id.resumes, CONTROL, whole_run(), another_run(), is_=WARN, says="do not resume: event 1 is id"),
    case(run_id.resumes, CONTROL, whole_run(), reply(409), is_=WARN, says="do not resume: status 409"),
    case(run_id.resumes, NO_RESUME, whole_run(), whole_run(), is_=INCONCLUSIVE, says="see resume.replay"),
    case(run_id.resumes, CONTROL, run(token(0)), whole_run(), is_=INCONCLUSIVE, says="did not reach a"),
]


@all_cases("example", CASES, ids=str)
def test_verdict(example: Case) -> None:
    check(example)


def test_a_run_id_says_nothing_of_whether_two_runs_are_the_same_run() -> None:
    connections = [run(token(0), done(1, "a")), run(token(0), done(1, "b"))]
    assert connections[0].sequence == connections[1].sequence
    assert run_id.constant(connections).verdict is FAIL
